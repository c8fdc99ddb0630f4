"""Staff move an order along: paid, preparing, ready, picked up, and one step back while it is fresh."""

from datetime import datetime
from uuid import UUID

import comanda.orders.measures
import comanda.orders.store
import comanda.payments.store
from comanda.clock import Clock
from comanda.database.pool import Connection, Pool, in_transaction
from comanda.errors import Conflict, NotFound
from comanda.orders.model import Order, OrderStatus, step
from comanda.orders.pickup import is_taken


async def advance_order(
    pool: Pool,
    clock: Clock,
    order_id: UUID,
    wanted: OrderStatus,
    *,
    actor: str,
    request_id: str | None,
    reason: str | None = None,
) -> None:
    """Move an order as staff ask. Two cooks who ask for the same are both right; the status that it has is no error.

    Args:
        actor: who moves it, for the history: the name of a key.
        reason: why, for the history, where it is not the kitchen's work.

    Raises:
        NotFound: there is no such order.
        Conflict: the move is not one of the kitchen's, comes too late to be a step back, or would take an order whose
            money has all gone back, or is about to, into the kitchen again.
    """

    async def work(connection: Connection) -> tuple[Order, datetime] | None:
        now = clock()
        order = await comanda.orders.store.lock(connection, order_id)
        if order is None:
            raise NotFound("there is no such order", code="order_not_found")
        move = step(order, wanted, now)
        if move is None:
            return None
        if order.status is OrderStatus.PICKED_UP:
            # Under the order's lock, which whoever moves its money takes first.
            payment = await comanda.payments.store.by_order(connection, order_id)
            if payment is not None and payment.refundable_cents <= 0:
                raise Conflict("all of it was given back, or is about to be", code="refunded")
            if await is_taken(connection, order.pickup_number or 0):
                raise Conflict("its number is on a newer order by now", code="too_late_to_step_back")
        await comanda.orders.store.change_status(
            connection,
            order,
            move.to,
            now=now,
            actor=actor,
            reason=reason,
            request_id=request_id,
            undo_until=move.undo_until,
        )
        return order, now

    moved = await in_transaction(pool, work)
    if moved is not None:
        order, now = moved
        comanda.orders.measures.moved(order, wanted, now)
