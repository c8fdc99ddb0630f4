"""Orders in PostgreSQL: every change of status is one statement, together with its history row."""

from datetime import datetime
from uuid import UUID

import asyncpg
import msgspec

from comanda.database.pool import Collision, Connection
from comanda.orders.model import NewOrder, Order, OrderStatus

INSERT = """
WITH placed AS (
    INSERT INTO orders (id, status, total_cents, name, notes, client_hash, request_id, created_at, status_changed_at)
    SELECT $1, 'awaiting_payment', $2, $3, $4, $5, $6, $7, $7
    WHERE ($13::int IS NULL OR (SELECT count(*) FROM (
               SELECT FROM orders WHERE status = 'awaiting_payment' LIMIT $13) AS unpaid) < $13)
      AND ($5::bytea IS NULL OR (SELECT count(*) FROM (
               SELECT FROM orders WHERE status = 'awaiting_payment' AND client_hash = $5 LIMIT $14) AS theirs) < $14)
    RETURNING id
), lines AS (
    INSERT INTO order_items (order_id, id, product_id, name, quantity, unit_price_cents, notes)
    SELECT placed.id, line.number, line.product_id, line.name, line.quantity, line.price, line.notes
    FROM placed, unnest($8::uuid[], $9::text[], $10::int[], $11::bigint[], $12::text[])
        WITH ORDINALITY AS line (product_id, name, quantity, price, notes, number)
)
INSERT INTO order_events (order_id, version, status_to, actor, request_id, at)
SELECT id, 1, 'awaiting_payment', 'guest', $6, $7 FROM placed
RETURNING version
"""

CHANGE = """
WITH moved AS (
    UPDATE orders
    SET status = $3, version = version + 1, status_changed_at = $4, undo_until = $8, client_hash = NULL,
        paid_at = COALESCE(paid_at, $9), pickup_number = COALESCE(pickup_number, $10)
    WHERE id = $1 AND status = $2
    RETURNING id, version
)
INSERT INTO order_events (order_id, version, status_from, status_to, actor, reason, request_id, at)
SELECT id, version, $2, $3, $5, $6, $7, $4 FROM moved
RETURNING version
"""

LOCK = """
SELECT id, status, version, total_cents, pickup_number, paid_at, undo_until, request_id
FROM orders WHERE id = $1 FOR UPDATE
"""


class OrderItem(msgspec.Struct, frozen=True):
    """A stored line, as far as a refund needs it."""

    id: int
    quantity: int
    refunded_quantity: int
    unit_price_cents: int


async def insert(connection: Connection, order: NewOrder, *, max_unpaid: int | None, max_unpaid_of_client: int) -> bool:
    """Store a new order with its lines and the first row of its history.

    Args:
        max_unpaid: how many unpaid orders there may be in all; None for any number.
        max_unpaid_of_client: how many of the same `client_hash`; one without a hash is not counted.

    Returns:
        False, with nothing stored, if there are too many unpaid orders already.
    """
    stored = await connection.fetchval(
        INSERT,
        order.id,
        order.total_cents,
        order.name,
        order.notes,
        order.client_hash,
        order.request_id,
        order.created_at,
        [item.product_id for item in order.items],
        [item.name for item in order.items],
        [item.quantity for item in order.items],
        [item.unit_price_cents for item in order.items],
        [item.notes for item in order.items],
        max_unpaid,
        max_unpaid_of_client,
    )
    return stored is not None


async def lock(connection: Connection, order_id: UUID) -> Order | None:
    """Lock one order's row until the transaction ends. Called through `checkout.locks` alone when money is involved."""
    row = await connection.fetchrow(LOCK, order_id)
    if row is None:
        return None
    return Order(**{**row, "status": OrderStatus(row["status"])})


async def change_status(
    connection: Connection,
    order: Order,
    to: OrderStatus,
    *,
    now: datetime,
    actor: str,
    reason: str | None = None,
    request_id: str | None = None,
    undo_until: datetime | None = None,
    pickup_number: int | None = None,
) -> None:
    """Move a locked order and write the history of it, in one statement.

    Args:
        order: as `lock` answered it in this transaction.
        pickup_number: given with the move to `paid`, which stamps `paid_at` with `now`.

    Raises:
        Collision: the pickup number was taken by an order that was paid in the same moment; try the whole again.
    """
    paid_at = now if pickup_number is not None else None
    try:
        version = await connection.fetchval(
            CHANGE,
            order.id,
            order.status,
            to,
            now,
            actor,
            reason,
            request_id or order.request_id,
            undo_until,
            paid_at,
            pickup_number,
        )
    except asyncpg.UniqueViolationError as error:
        if error.constraint_name == "pickup_number_once":
            raise Collision("pickup number taken") from error
        raise
    if version is None:
        raise Collision(f"order {order.id} moved under its lock")


async def items_of(connection: Connection, order_id: UUID) -> list[OrderItem]:
    """Answer an order's lines, in order."""
    rows = await connection.fetch(
        "SELECT id, quantity, refunded_quantity, unit_price_cents FROM order_items WHERE order_id = $1 ORDER BY id",
        order_id,
    )
    return [OrderItem(**row) for row in rows]


async def mark_refunded(connection: Connection, order_id: UUID, quantities: dict[int, int]) -> None:
    """Add to the refunded quantity of lines, or take away where negative. A CHECK keeps it within what was ordered."""
    await connection.execute(
        """
        UPDATE order_items AS item SET refunded_quantity = refunded_quantity + change.quantity
        FROM unnest($2::int[], $3::int[]) AS change (item_id, quantity)
        WHERE item.order_id = $1 AND item.id = change.item_id
        """,
        order_id,
        list(quantities),
        list(quantities.values()),
    )
