"""Orders in PostgreSQL: every change of status is one statement, together with its history row."""

from datetime import datetime
from uuid import UUID

import asyncpg
import msgspec

from comanda.database.pool import Collision, Connection
from comanda.orders.model import Order, OrderStatus

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
SELECT id, status, version, total_cents, pickup_number, paid_at, status_changed_at, undo_until, request_id
FROM orders WHERE id = $1 FOR UPDATE
"""


class OrderItem(msgspec.Struct, frozen=True):
    """A stored line, as far as a refund needs it."""

    id: int
    quantity: int
    refunded_quantity: int
    unit_price_cents: int


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
