"""Promise a refund: what it gives back is marked and reserved with it, in the caller's transaction.

The worker asks the provider for it (`send_refund`); a CHECK on each of the three rows bounds what can be promised.
"""

from datetime import datetime
from uuid import uuid4

import comanda.orders.store
import comanda.payments.refunds
import comanda.payments.store
from comanda.database.pool import Connection
from comanda.money import Cents
from comanda.payments.model import Payment, Refund, RefundItem, RefundStatus


async def promise_refund(
    connection: Connection,
    payment: Payment,
    amount_cents: Cents,
    quantities: dict[int, int],
    *,
    whole: bool,
    actor: str,
    reason: str | None,
    request_id: str | None,
    now: datetime,
) -> Refund:
    """Promise `amount_cents` of a locked payment back.

    Args:
        quantities: how many of each line it gives back, by the line's id.
        whole: whether that is all that was ever paid, in one piece.
        actor: who promises it, for the history.
    """
    refund = Refund(
        id=uuid4(),
        payment_id=payment.id,
        status=RefundStatus.REQUESTED,
        amount_cents=amount_cents,
        items=[RefundItem(item_id, quantity) for item_id, quantity in quantities.items() if quantity],
        reason=reason,
        actor=actor,
        idempotency_key=str(uuid4()),
        whole=whole,
        provider_refund_id=None,
        request_id=request_id,
        attempts=0,
        created_at=now,
        decided_at=None,
    )
    await comanda.orders.store.mark_refunded(connection, payment.order_id, quantities)
    await comanda.payments.store.reserve_refund(connection, payment.id, amount_cents)
    await comanda.payments.refunds.insert(connection, refund)
    return refund
