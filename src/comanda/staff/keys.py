"""Keys of staff and managers: made by a command, shown once, stored hashed, named, revocable.

`revoked_at` is from when on a key is not valid: of one that was rotated it lies ahead for a while. A version that does
not know of that refuses such a key at once, which is the safe side (docs/decisions/0003-migrations.md).

A key is 256 random bits, so a plain SHA-256 of it is as good as a slow hash: there is nothing to guess.
"""

import hashlib
import secrets
from datetime import datetime, timedelta
from enum import StrEnum
from uuid import UUID, uuid4

import asyncpg
import msgspec

from comanda.database.pool import Connection
from comanda.errors import Conflict, NotFound

# Whatever was opened with a key, in whatever pod, is told. Those of that name that were to end later end now, too.
REVOKE = """
WITH revoked AS (
    UPDATE api_keys SET revoked_at = $2 WHERE name = $1 AND (revoked_at IS NULL OR revoked_at > $2) RETURNING id
)
SELECT id, pg_notify('comanda_keys', id::text) FROM revoked
"""
END_LATER = """
WITH ending AS (UPDATE api_keys SET revoked_at = $2 WHERE name = $1 AND revoked_at IS NULL RETURNING id, role)
SELECT role, pg_notify('comanda_keys', id::text) FROM ending
"""


class Role(StrEnum):
    """What a key may do. A manager may do all that staff may."""

    STAFF = "staff"
    MANAGER = "manager"


class Principal(msgspec.Struct, frozen=True):
    """Who a valid key belongs to."""

    id: UUID
    name: str
    role: Role

    def may(self, needed: Role) -> bool:
        """Whether this key has the right that is needed."""
        return needed is Role.STAFF or self.role is Role.MANAGER


class KeyRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A key as it is listed: never the key itself.

    Args:
        revoked_at: from when on it is not valid, which may be to come. valid: whether it is now.
    """

    id: UUID
    name: str
    role: Role
    created_at: datetime
    revoked_at: datetime | None
    valid: bool


def make_key(role: Role) -> str:
    """Make a new key. The prefix tells a person, and a secret scanner, what it is."""
    return f"comanda_{role}_{secrets.token_urlsafe(32)}"


def hash_key(key: str) -> bytes:
    """Answer what is stored of a key, 32 bytes."""
    return hashlib.sha256(key.encode()).digest()


async def create_key(connection: Connection, *, name: str, role: Role, now: datetime) -> str:
    """Make and store a key; answer it, for the only time. Raises Conflict if a living key has that name."""
    key = make_key(role)
    await _insert(connection, key, name, role, now)
    return key


async def ensure_key(connection: Connection, *, name: str, role: Role, key: str, now: datetime) -> None:
    """Make sure that a given key is valid under that name; whatever else had the name is revoked."""
    known = await connection.fetchval("SELECT revoked_at IS NULL FROM api_keys WHERE key_hash = $1", hash_key(key))
    if known:
        return
    if known is not None:
        raise Conflict("this key was revoked; a revoked key does not come back", code="key_revoked")
    async with connection.transaction():
        await connection.execute(REVOKE, name, now)
        await _insert(connection, key, name, role, now)


async def rotate_key(connection: Connection, *, name: str, keep: timedelta, now: datetime) -> str:
    """Make and store a new key of the same name and role, and answer it, for the only time.

    The one before stays valid for `keep`. So does, until its own time, one that was rotated earlier: whoever lost what
    this answered rotates again, and the tablet that still has the first key is not locked out.

    Raises:
        NotFound: there is no living key of that name.
    """
    async with connection.transaction():
        # Two at once: the second then finds what the first has made.
        await connection.execute("SELECT pg_advisory_xact_lock(hashtextextended('api_keys ' || $1, 0))", name)
        role = await connection.fetchval(END_LATER, name, now + keep)
        if role is None:
            raise NotFound(f"there is no valid key named {name!r}", code="key_not_found")
        key = make_key(Role(role))
        await _insert(connection, key, name, Role(role), now)
    return key


async def revoke_key(connection: Connection, name: str, now: datetime) -> None:
    """Revoke the key of that name, and those that it replaced, at once and everywhere. Raises NotFound."""
    # All rows, since each is told of as it is read.
    if not await connection.fetch(REVOKE, name, now):
        raise NotFound(f"there is no valid key named {name!r}", code="key_not_found")


async def list_keys(connection: Connection, now: datetime) -> list[KeyRecord]:
    """Answer all keys, living ones first, then those that are to end."""
    rows = await connection.fetch(
        """
        SELECT id, name, role, created_at, revoked_at, (revoked_at IS NULL OR revoked_at > $1) AS valid
        FROM api_keys ORDER BY valid DESC, revoked_at NULLS FIRST, created_at
        """,
        now,
    )
    return [KeyRecord(**{**row, "role": Role(row["role"])}) for row in rows]


async def end_of(connection: Connection, key_id: UUID) -> datetime | None:
    """Answer from when on a key is not valid, None as long as no end is set."""
    ends: datetime | None = await connection.fetchval("SELECT revoked_at FROM api_keys WHERE id = $1", key_id)
    return ends


async def find_principal(connection: Connection, key: str, now: datetime) -> Principal | None:
    """Answer whose valid key this is, None if nobody's. Read every time, so that a revoked key ends at once."""
    row = await connection.fetchrow(
        "SELECT id, name, role FROM api_keys WHERE key_hash = $1 AND (revoked_at IS NULL OR revoked_at > $2)",
        hash_key(key),
        now,
    )
    return None if row is None else Principal(row["id"], row["name"], Role(row["role"]))


async def _insert(connection: Connection, key: str, name: str, role: Role, now: datetime) -> None:
    try:
        await connection.execute(
            "INSERT INTO api_keys (id, name, role, key_hash, created_at) VALUES ($1, $2, $3, $4, $5)",
            uuid4(),
            name,
            role,
            hash_key(key),
            now,
        )
    except asyncpg.UniqueViolationError:
        raise Conflict(f"there is a valid key named {name!r}: revoke it first", code="key_exists") from None
