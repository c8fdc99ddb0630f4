"""A further charge under an order's reference, which we never asked for: its money goes back, and a person is told."""

import logging

from comanda.checkout.context import Checkout
from comanda.checkout.settle_payment import settle_payment
from comanda.checkout.settlement import Verdict
from comanda.payments.model import Payment
from comanda.payments.provider import ProviderPayment

logger = logging.getLogger(__name__)


async def settle_another_charge(
    checkout: Checkout, ours: Payment, view: ProviderPayment, *, actor: str, request_id: str | None
) -> Verdict:
    """Settle a charge that has our reference and is not the one that we made; paid, it is given back whole.

    Args:
        ours: the order's own payment, known by another id.
        view: the other one, read back from the provider.
        actor: who learnt it, for the history.
        request_id: for the provider's call.

    Raises:
        ProviderError: no answer; asked again, it is the same refund by the same key.
    """
    verdict = await settle_payment(checkout, ours.order_id, view, actor=actor)
    if verdict.second_charge:
        logger.error("a second charge of an order was paid", extra={"order_id": str(ours.order_id), "payment": view.id})
        await checkout.provider.create_refund(
            view.id,
            amount_cents=None,
            idempotency_key=f"{ours.idempotency_key}-{view.id}",
            request_id=request_id,
        )
    return verdict
