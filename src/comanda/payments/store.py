"""Payments in PostgreSQL: intent first, then what the provider said, each change with its history row."""

from collections.abc import Collection, Iterable
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import asyncpg

from comanda.database.pool import Connection
from comanda.money import Cents
from comanda.payments.model import Payment, PaymentStatus
from comanda.payments.provider import ProviderPayment

WATCH_AGAIN = timedelta(seconds=10)
COLUMNS = ", ".join(Payment.__struct_fields__)
CLAIMED = ", ".join(f"payments.{name}" for name in Payment.__struct_fields__)

STORE_PIX = """
WITH answered AS (
    UPDATE payments
    SET status = 'pending', version = version + 1, provider_payment_id = $2, provider_status = $3,
        provider_status_detail = $4, provider_updated_at = $5, copy_paste = $6, qr_code_png_base64 = $7,
        next_check_at = $8, checks = 0, updated_at = $9
    WHERE id = $1 AND status = 'requested'
    RETURNING *
), noted AS (
    INSERT INTO payment_events (payment_id, version, status_from, status_to, provider_status, actor, request_id, at)
    SELECT id, version, 'requested', 'pending', $3, 'provider', request_id, $9 FROM answered
)
"""

UPDATE = """
WITH changed AS (
    UPDATE payments
    SET status = $2, version = version + 1, provider_payment_id = COALESCE(provider_payment_id, $3),
        provider_status = COALESCE($4, provider_status), provider_status_detail = COALESCE($5, provider_status_detail),
        provider_updated_at = COALESCE($6, provider_updated_at),
        copy_paste = COALESCE(copy_paste, $7), qr_code_png_base64 = COALESCE(qr_code_png_base64, $8),
        approved_at = COALESCE(approved_at, $9), paid_cents = COALESCE(paid_cents, $10), refunded_cents = $11,
        review = $12, next_check_at = $13, checks = $14, failures = 0, updated_at = $15
    WHERE id = $1
    RETURNING id, version
)
INSERT INTO payment_events (payment_id, version, status_from, status_to, provider_status, refunded_cents, actor,
                            reason, request_id, at)
SELECT id, version, $16, $2, $4, $11, $17, COALESCE($19, $12), $18, $15 FROM changed
"""

# Materialized, so that the plan cannot run it twice and claim more than LIMIT.
CLAIM = f"""
WITH due AS MATERIALIZED (
    SELECT id FROM payments WHERE next_check_at <= $1 ORDER BY next_check_at LIMIT $3 FOR UPDATE SKIP LOCKED)
UPDATE payments SET next_check_at = $2, checks = checks + 1
FROM due WHERE payments.id = due.id
RETURNING {CLAIMED}
"""

WATCH = """
UPDATE payments
SET watched_until = $2,
    next_check_at = CASE WHEN status = 'requested' THEN next_check_at ELSE LEAST(next_check_at, $3) END
WHERE id IN (
    SELECT id FROM payments
    WHERE order_id = ANY($1::uuid[]) AND status IN ('requested', 'pending', 'in_process')
      AND (watched_until IS NULL OR watched_until <= $4) AND provider_expires_at > $3
    FOR UPDATE SKIP LOCKED)
"""


def from_record(record: Any) -> Payment:
    """Build a payment from a row that has `COLUMNS`."""
    return Payment(**{**record, "status": PaymentStatus(record["status"])})


async def lock_by_order(connection: Connection, order_id: UUID) -> Payment | None:
    """Lock an order's payment until the transaction ends. Only after the order's row: see `checkout.locks`."""
    row = await connection.fetchrow(f"SELECT {COLUMNS} FROM payments WHERE order_id = $1 FOR UPDATE", order_id)
    return None if row is None else from_record(row)


async def by_id(connection: Connection, payment_id: UUID) -> Payment:
    """Read a payment that exists, without a lock."""
    row = await connection.fetchrow(f"SELECT {COLUMNS} FROM payments WHERE id = $1", payment_id)
    assert row is not None
    return from_record(row)


async def by_provider_id(connection: Connection, provider_payment_id: int) -> Payment | None:
    """Find the payment that the provider calls by this id."""
    row = await connection.fetchrow(
        f"SELECT {COLUMNS} FROM payments WHERE provider_payment_id = $1",
        provider_payment_id,
    )
    return None if row is None else from_record(row)


async def by_order(connection: Connection, order_id: UUID) -> Payment | None:
    """Find an order's payment, without a lock."""
    row = await connection.fetchrow(f"SELECT {COLUMNS} FROM payments WHERE order_id = $1", order_id)
    return None if row is None else from_record(row)


async def known_orders(connection: Connection, order_ids: Collection[UUID], *, paid: bool = False) -> set[UUID]:
    """Answer which of these orders there are; with `paid`, only those whose money is known to have come."""
    rows = await connection.fetch(
        "SELECT order_id FROM payments WHERE order_id = ANY($1::uuid[]) AND (paid_cents IS NOT NULL OR NOT $2)",
        list(order_ids),
        paid,
    )
    return {row["order_id"] for row in rows}


async def is_requested(connection: Connection, order_id: UUID) -> bool:
    """Answer whether an order's charge has not been answered yet."""
    return bool(await connection.fetchval("SELECT status = 'requested' FROM payments WHERE order_id = $1", order_id))


async def store_pix(
    connection: Connection,
    payment_id: UUID,
    view: ProviderPayment,
    *,
    next_check_at: datetime,
    now: datetime,
    select: str,
) -> asyncpg.Record | None:
    """Store the answer to a new charge in one statement: the common case, a pending Pix that matches the intent.

    Args:
        select: what to read of `answered`, the payment's row as it then is.

    Returns:
        What `select` read; None, with nothing stored, if the payment is no longer `requested`.
    """
    return await connection.fetchrow(
        STORE_PIX + select,
        payment_id,
        view.id,
        view.status,
        view.status_detail,
        view.updated_at,
        view.copy_paste,
        view.qr_code_png_base64,
        next_check_at,
        now,
    )


async def update(
    connection: Connection,
    payment: Payment,
    status: PaymentStatus,
    *,
    view: ProviderPayment | None,
    paid_cents: Cents | None,
    refunded_cents: Cents,
    review: str | None,
    next_check_at: datetime | None,
    checks: int,
    actor: str,
    now: datetime,
    reason: str | None = None,
) -> None:
    """Write a locked payment's new state and its history row.

    Args:
        view: what the provider said, None where it was not asked.
        paid_cents: what came in, known from the first approved answer on.
        checks: how often the provider has been asked in this status.
        reason: why, for the history, where `review` does not say it all.
    """
    await connection.execute(
        UPDATE,
        payment.id,
        status,
        view.id if view else None,
        view.status if view else None,
        view.status_detail if view else None,
        view.updated_at if view else None,
        view.copy_paste if view else None,
        view.qr_code_png_base64 if view else None,
        view.approved_at if view else None,
        paid_cents,
        refunded_cents,
        review,
        next_check_at,
        checks,
        now,
        payment.status,
        actor,
        payment.request_id,
        reason,
    )


async def reserve_refund(connection: Connection, payment_id: UUID, cents: Cents) -> None:
    """Promise `cents` of a locked payment back, or take the promise away where negative. A CHECK bounds the sum."""
    await connection.execute(
        "UPDATE payments SET refund_reserved_cents = refund_reserved_cents + $2 WHERE id = $1",
        payment_id,
        cents,
    )


async def schedule(connection: Connection, payment_id: UUID, next_check_at: datetime | None) -> None:
    """Say when the provider is asked about this payment next; None: not by itself."""
    await connection.execute(
        "UPDATE payments SET next_check_at = $2, failures = 0 WHERE id = $1", payment_id, next_check_at
    )


async def postpone(connection: Connection, payment_id: UUID, next_check_at: datetime, *, failures: int) -> None:
    """Say when the provider is asked again after it did not answer, `failures` times in a row by now."""
    await connection.execute(
        "UPDATE payments SET next_check_at = $2, failures = $3 WHERE id = $1", payment_id, next_check_at, failures
    )


async def claim_due(connection: Connection, *, now: datetime, lease_until: datetime, limit: int) -> list[Payment]:
    """Take payments whose time has come, so that no other worker takes them before `lease_until`.

    A worker that dies leaves nothing behind: the row comes due again by itself. Oldest first.
    """
    claimed = [from_record(row) for row in await connection.fetch(CLAIM, now, lease_until, limit)]
    # An UPDATE answers its rows as they lie on the disk, which is another order each time.
    return sorted(claimed, key=lambda payment: (payment.created_at, payment.id))


async def note_watched(
    connection: Connection, order_ids: Iterable[UUID], *, watched_until: datetime, check_by: datetime
) -> None:
    """Note that guests are looking at these orders, so that the provider is asked soon rather than rarely.

    One that is noted for a while yet is left alone: many looks are no reason for many writes. One that is locked is
    being settled just now, and two pods that note the same orders do not wait for each other. What nobody can pay any
    more keeps its schedule, however long a page stays open.
    """
    lately = watched_until - WATCH_AGAIN
    await connection.execute(WATCH, list(order_ids), watched_until, check_by, lately)
