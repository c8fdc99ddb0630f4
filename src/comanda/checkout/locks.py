"""The one place where the rows of an order are locked together, always in one order: order, payment, refund.

Whoever locked them the other way round could deadlock with everybody else; a test looks for `FOR UPDATE` elsewhere.
"""

from uuid import UUID

import comanda.orders.store
import comanda.payments.refunds
import comanda.payments.store
from comanda.database.pool import Connection
from comanda.errors import NotFound
from comanda.orders.model import Order
from comanda.payments.model import Payment, Refund


async def lock_order(connection: Connection, order_id: UUID) -> tuple[Order, Payment]:
    """Lock an order and its payment until the transaction ends. Raises NotFound."""
    order = await comanda.orders.store.lock(connection, order_id)
    if order is None:
        raise NotFound("there is no such order", code="order_not_found")
    payment = await comanda.payments.store.lock_by_order(connection, order_id)
    assert payment is not None, "an order is stored with its payment"
    return order, payment


async def lock_refund(connection: Connection, order_id: UUID, refund_id: UUID) -> tuple[Order, Payment, Refund]:
    """Lock an order, its payment and one of its refunds until the transaction ends."""
    order, payment = await lock_order(connection, order_id)
    return order, payment, await comanda.payments.refunds.lock(connection, refund_id)
