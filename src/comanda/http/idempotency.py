"""Idempotency keys of callers: the same key and the same body make one thing once, whoever asks how often.

The key is stored in the transaction that makes the thing, so a crash keeps both or neither. Its reply is the thing
as it now is. Keys are stored hashed: with a key and a body, somebody else could read the order.
"""

import hashlib
from datetime import datetime, timedelta
from uuid import UUID

import msgspec

from comanda.database.pool import Connection
from comanda.errors import BadRequest, Conflict

BUSY_AT_MOST = timedelta(seconds=30)
"""How long a key can answer 'still at work' after its request ended or was lost."""

INSERT = """
INSERT INTO idempotency_keys (scope, key_hash, request_hash, resource_id, created_at)
VALUES ($1, $2, $3, $4, $5)
ON CONFLICT (scope, key_hash) DO UPDATE
    SET request_hash = EXCLUDED.request_hash, resource_id = EXCLUDED.resource_id,
        busy_until = NULL, created_at = EXCLUDED.created_at
    WHERE idempotency_keys.created_at < $6
"""


class IdempotencyKey(msgspec.Struct, frozen=True):
    """A caller's key in hashed form, with the hash of what it was sent with.

    `scope` keeps the keys of different requests apart.
    """

    scope: str
    key_hash: bytes
    request_hash: bytes


def read_key(header: str | None, *, scope: str, request: object) -> IdempotencyKey | None:
    """Read the `Idempotency-Key` header (draft-ietf-httpapi-idempotency-key-header).

    Args:
        header: its value, None without one.
        scope: what the key is for.
        request: the decoded body; two that encode alike count as the same.

    Raises:
        BadRequest: not 16 to 64 printable ASCII characters.
    """
    if header is None:
        return None
    if not 16 <= len(header) <= 64 or not all(" " <= char <= "~" for char in header):
        raise BadRequest(
            "Idempotency-Key must be 16 to 64 printable ASCII characters, best random ones",
            code="invalid_idempotency_key",
        )
    body = msgspec.json.encode(request, order="deterministic")
    return IdempotencyKey(scope, hashlib.sha256(header.encode()).digest(), hashlib.sha256(body).digest())


async def remember(
    connection: Connection, key: IdempotencyKey, resource_id: UUID, *, now: datetime, retention: timedelta
) -> None:
    """Store a key in the transaction that makes `resource_id`, unless it is known and younger than `retention`."""
    await connection.execute(INSERT, key.scope, key.key_hash, key.request_hash, resource_id, now, now - retention)


class Recalled(msgspec.Struct, frozen=True):
    """What a key made before, and whether its first request may still be at work on it."""

    resource_id: UUID
    busy: bool


async def recall(
    connection: Connection, key: IdempotencyKey, *, now: datetime, retention: timedelta
) -> Recalled | None:
    """Answer what a key made, None if it is new or was forgotten.

    Raises:
        Conflict: it came with another body.
    """
    row = await connection.fetchrow(
        """
        SELECT request_hash, resource_id, busy_until FROM idempotency_keys
        WHERE scope = $1 AND key_hash = $2 AND created_at >= $3
        """,
        key.scope,
        key.key_hash,
        now - retention,
    )
    if row is None:
        return None
    if row["request_hash"] != key.request_hash:
        raise Conflict("this Idempotency-Key was used with another body", code="idempotency_key_reused")
    return Recalled(row["resource_id"], row["busy_until"] is not None and row["busy_until"] > now)


def still_at_work() -> Conflict:
    """Build the refusal of a key whose first request is still at work."""
    return Conflict("the first request with this key is still at work", code="request_in_progress", retry_after=1)


async def release(connection: Connection, key: IdempotencyKey) -> None:
    """Note that the key's first request has ended, where nothing else tells it."""
    await connection.execute(
        "UPDATE idempotency_keys SET busy_until = NULL WHERE scope = $1 AND key_hash = $2",
        key.scope,
        key.key_hash,
    )


async def forget(connection: Connection, *, before: datetime, limit: int = 1000) -> int:
    """Delete keys made before a moment, at most `limit`; answer how many."""
    gone = await connection.fetch(
        """
        DELETE FROM idempotency_keys WHERE (scope, key_hash) IN (
            SELECT scope, key_hash FROM idempotency_keys WHERE created_at < $1 LIMIT $2)
        RETURNING scope
        """,
        before,
        limit,
    )
    return len(gone)
