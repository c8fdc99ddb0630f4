"""The intent of an order in one statement: its key, the order with its lines, the charge to ask for, both histories.

One statement is one transaction, and one trip to the database instead of five: a third of the CPU of placing.
"""

from datetime import datetime, timedelta
from enum import Enum, auto

import asyncpg
import msgspec

from comanda.database.pool import Connection
from comanda.http.idempotency import IdempotencyKey
from comanda.orders.model import NewOrder
from comanda.payments.model import NewPayment

INTEND = """
WITH room AS (
    SELECT ($13::int IS NULL OR (SELECT count(*) FROM (
               SELECT FROM orders WHERE status = 'awaiting_payment' LIMIT $13) AS unpaid) < $13)
       AND ($5::bytea IS NULL OR (SELECT count(*) FROM (
               SELECT FROM orders WHERE status = 'awaiting_payment' AND client_hash = $5 LIMIT $14) AS theirs) < $14)
        AS free
), remembered AS (
    INSERT INTO idempotency_keys (scope, key_hash, request_hash, resource_id, busy_until, created_at)
    SELECT $15::text, $16::bytea, $17::bytea, $1, $18::timestamptz, $7 FROM room WHERE free AND $15 IS NOT NULL
    ON CONFLICT (scope, key_hash) DO UPDATE
        SET request_hash = EXCLUDED.request_hash, resource_id = EXCLUDED.resource_id,
            busy_until = EXCLUDED.busy_until, created_at = EXCLUDED.created_at
        WHERE idempotency_keys.created_at < $19::timestamptz
    RETURNING scope
), wanted AS (
    SELECT FROM remembered UNION ALL SELECT FROM room WHERE free AND $15 IS NULL
), placed AS (
    INSERT INTO orders (id, status, total_cents, name, notes, client_hash, request_id, created_at, status_changed_at)
    SELECT $1::uuid, 'awaiting_payment', $2::bigint, $3::text, $4::text, $5, $6::text, $7::timestamptz, $7 FROM wanted
    RETURNING id
), lines AS (
    INSERT INTO order_items (order_id, id, product_id, name, quantity, unit_price_cents, notes)
    SELECT placed.id, line.number, line.product_id, line.name, line.quantity, line.price, line.notes
    FROM placed, unnest($8::uuid[], $9::text[], $10::int[], $11::bigint[], $12::text[])
        WITH ORDINALITY AS line (product_id, name, quantity, price, notes, number)
), noted AS (
    INSERT INTO order_events (order_id, version, status_to, actor, request_id, at)
    SELECT id, 1, 'awaiting_payment', 'guest', $6, $7 FROM placed
), intended AS (
    INSERT INTO payments (id, order_id, status, amount_cents, idempotency_key, description, payer_email,
        notification_url, live_mode, expires_at, provider_expires_at, next_check_at, request_id, created_at, updated_at)
    SELECT $20::uuid, id, 'requested', $2, $21::text, $22::text, $23::text,
        $24::text, $25::boolean, $26::timestamptz, $27::timestamptz, $28::timestamptz, $6, $7, $7 FROM placed
    RETURNING id
), charge_noted AS (
    INSERT INTO payment_events (payment_id, version, status_to, actor, request_id, at)
    SELECT id, 1, 'requested', 'guest', $6, $7 FROM intended
)
SELECT free, EXISTS (SELECT FROM placed) AS placed FROM room
"""


class Intent(Enum):
    """What became of an intent."""

    STORED = auto()
    KNOWN_KEY = auto()
    TOO_MANY = auto()


async def intend_order(
    connection: Connection,
    order: NewOrder,
    payment: NewPayment,
    key: IdempotencyKey | None,
    *,
    busy_until: datetime,
    max_unpaid: int | None,
    max_unpaid_of_client: int,
    retention: timedelta,
) -> Intent:
    """Store an order, the charge to ask for and the caller's key: all of it, or nothing.

    Args:
        busy_until: when the request that sent the key has ended, whatever became of it.
        max_unpaid: how many unpaid orders there may be in all; None does not count them.
        max_unpaid_of_client: how many of the same `client_hash`; one without a hash is not counted.
        retention: how long a key is known.

    Returns:
        Why nothing was stored, if nothing was. Too many is said before the key is looked at.
    """
    now: datetime = order.created_at
    row: asyncpg.Record | None = await connection.fetchrow(
        INTEND,
        order.id,
        order.total_cents,
        order.name,
        order.notes,
        order.client_hash,
        order.request_id,
        now,
        [item.product_id for item in order.items],
        [item.name for item in order.items],
        [item.quantity for item in order.items],
        [item.unit_price_cents for item in order.items],
        [item.notes for item in order.items],
        max_unpaid,
        max_unpaid_of_client,
        *(msgspec.structs.astuple(key) if key is not None else (None, None, None)),
        busy_until,
        now - retention,
        payment.id,
        payment.idempotency_key,
        payment.description,
        payment.payer_email,
        payment.notification_url,
        payment.live_mode,
        payment.expires_at,
        payment.provider_expires_at,
        payment.next_check_at,
    )
    assert row is not None
    if row["placed"]:
        return Intent.STORED
    return Intent.KNOWN_KEY if row["free"] else Intent.TOO_MANY
