"""Refunds in PostgreSQL. A refund is promised first, then asked for until the provider decides, exactly once."""

from collections.abc import Collection
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec

from comanda.database.pool import Connection
from comanda.money import Cents
from comanda.payments.model import Refund, RefundItem, RefundStatus

COLUMNS = ", ".join(Refund.__struct_fields__)
CLAIMED = ", ".join(f"refunds.{name}" for name in Refund.__struct_fields__)

INSERT = """
WITH promised AS (
    INSERT INTO refunds (id, payment_id, status, amount_cents, items, reason, actor, idempotency_key, whole,
                         request_id, next_attempt_at, created_at)
    VALUES ($1, $2, 'requested', $3, $4::jsonb, $5, $6, $7, $8, $9, $10, $10)
)
SELECT pg_notify('comanda_work', 'refunds')
"""

# A new one is due whatever the clock says: the pod that promised it may be ahead of the worker. One that the provider
# has not named yet keeps the later ones of its payment back, begun before unbegun: two of one amount, both without an
# answer, could not be told apart in the provider's list.
CLAIM = f"""
WITH due AS MATERIALIZED (
    SELECT r.id FROM refunds AS r
    WHERE r.status IN ('requested', 'in_process') AND (r.attempts = 0 OR r.next_attempt_at <= $1)
      AND NOT EXISTS (
          SELECT FROM refunds AS other
          WHERE other.payment_id = r.payment_id AND other.status = 'requested' AND other.provider_refund_id IS NULL
            AND (other.attempts = 0, other.created_at, other.id) < (r.attempts = 0, r.created_at, r.id))
    ORDER BY r.next_attempt_at LIMIT $3 FOR UPDATE OF r SKIP LOCKED)
UPDATE refunds SET next_attempt_at = $2, attempts = attempts + 1
FROM due WHERE refunds.id = due.id
RETURNING {CLAIMED}
"""


def from_record(record: Any) -> Refund:
    """Build a refund from a row that has `COLUMNS`."""
    items = msgspec.json.decode(record["items"], type=list[RefundItem])
    return Refund(**{**record, "status": RefundStatus(record["status"]), "items": items})


async def insert(connection: Connection, refund: Refund) -> None:
    """Store a refund that is owed and ring for the worker."""
    await connection.execute(
        INSERT,
        refund.id,
        refund.payment_id,
        refund.amount_cents,
        msgspec.json.encode(refund.items).decode(),
        refund.reason,
        refund.actor,
        refund.idempotency_key,
        refund.whole,
        refund.request_id,
        refund.created_at,
    )


async def claim_due(connection: Connection, *, now: datetime, lease_until: datetime, limit: int) -> list[Refund]:
    """Take refunds whose time has come, so that no other worker takes them before `lease_until`. Oldest first."""
    claimed = [from_record(row) for row in await connection.fetch(CLAIM, now, lease_until, limit)]
    return sorted(claimed, key=lambda refund: (refund.created_at, refund.id))


async def lock(connection: Connection, refund_id: UUID) -> Refund:
    """Lock a refund that exists. Only after its order and payment: see `checkout.locks`."""
    row = await connection.fetchrow(f"SELECT {COLUMNS} FROM refunds WHERE id = $1 FOR UPDATE", refund_id)
    assert row is not None
    return from_record(row)


async def decide(
    connection: Connection,
    refund_id: UUID,
    status: RefundStatus,
    *,
    provider_refund_id: int | None,
    error: str | None,
    now: datetime,
) -> None:
    """Write the provider's decision, which ends the refund."""
    await connection.execute(
        """
        UPDATE refunds SET status = $2, provider_refund_id = COALESCE(provider_refund_id, $3), last_error = $4,
               decided_at = $5, next_attempt_at = NULL
        WHERE id = $1
        """,
        refund_id,
        status,
        provider_refund_id,
        error,
        now,
    )


async def retry(
    connection: Connection,
    refund_id: UUID,
    *,
    at: datetime,
    error: str | None = None,
    provider_refund_id: int | None = None,
) -> None:
    """Note that the provider has not decided, and when to ask again. With its id, it has the refund in process."""
    await connection.execute(
        """
        UPDATE refunds SET next_attempt_at = $2, last_error = $3,
               provider_refund_id = COALESCE(provider_refund_id, $4),
               status = CASE WHEN $4::bigint IS NULL THEN status ELSE 'in_process' END
        WHERE id = $1 AND status IN ('requested', 'in_process')
        """,
        refund_id,
        at,
        error,
        provider_refund_id,
    )


async def of_order(connection: Connection, order_id: UUID) -> list[Refund]:
    """Answer an order's refunds, oldest first."""
    columns = ", ".join(f"r.{name}" for name in Refund.__struct_fields__)
    rows = await connection.fetch(
        f"""
        SELECT {columns} FROM refunds AS r JOIN payments AS p ON p.id = r.payment_id
        WHERE p.order_id = $1 ORDER BY r.created_at, r.id
        """,
        order_id,
    )
    return [from_record(row) for row in rows]


async def promised_cents(connection: Connection, order_ids: Collection[UUID], *, since: datetime) -> Cents:
    """Answer the centavos that were promised back of these orders from a moment on, whatever became of them."""
    cents: Cents = await connection.fetchval(
        """
        SELECT COALESCE(sum(r.amount_cents), 0)::bigint FROM refunds AS r JOIN payments AS p ON p.id = r.payment_id
        WHERE p.order_id = ANY($1::uuid[]) AND r.created_at >= $2
        """,
        list(order_ids),
        since,
    )
    return cents


async def known_provider_ids(connection: Connection, refund: Refund) -> set[int]:
    """Answer the provider's ids of the payment's refunds that are already matched to another one of ours."""
    rows = await connection.fetch(
        """
        SELECT provider_refund_id FROM refunds
        WHERE payment_id = $1 AND id <> $2 AND provider_refund_id IS NOT NULL
        """,
        refund.payment_id,
        refund.id,
    )
    return {row["provider_refund_id"] for row in rows}


async def approved_cents(connection: Connection, payment_id: UUID) -> Cents:
    """Answer the centavos of this payment's approved refunds."""
    cents: Cents = await connection.fetchval(
        "SELECT COALESCE(sum(amount_cents), 0)::bigint FROM refunds WHERE payment_id = $1 AND status = 'approved'",
        payment_id,
    )
    return cents
