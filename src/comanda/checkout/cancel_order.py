"""Cancel an order before it is paid."""

from uuid import UUID

from comanda.checkout.context import Checkout
from comanda.checkout.locks import lock_order
from comanda.database.pool import Connection, in_transaction
from comanda.errors import Conflict
from comanda.orders.model import OrderStatus
from comanda.orders.store import change_status
from comanda.payments.schedule import AT_ONCE
from comanda.payments.store import schedule


async def cancel_order(checkout: Checkout, order_id: UUID, *, request_id: str) -> None:
    """Cancel an unpaid order; the worker cancels its charge at the provider right after.

    Doing it again is no error. Should the guest's Pix win the race, the money is given back.

    Raises:
        NotFound: there is no such order.
        Conflict: it is paid, or it has expired.
    """

    async def work(connection: Connection) -> None:
        now = checkout.clock()
        order, payment = await lock_order(connection, order_id)
        if order.status is OrderStatus.CANCELLED:
            return
        if order.status is not OrderStatus.AWAITING_PAYMENT:
            raise Conflict(f"the order is {order.status}; only an unpaid one can be cancelled", code="not_cancellable")
        await change_status(connection, order, OrderStatus.CANCELLED, now=now, actor="guest", request_id=request_id)
        # An order that waits for its payment has an open one, known to the provider or not.
        await schedule(connection, payment.id, AT_ONCE)
        await connection.execute("SELECT pg_notify('comanda_work', 'payments')")

    await in_transaction(checkout.pool, work)
