"""Ask the provider where a payment stands, and act on it: what the worker does when no webhook has."""

import logging
from datetime import datetime, timedelta

import comanda.payments.store
from comanda.checkout.context import Checkout
from comanda.checkout.request_pix_charge import (
    abandon_charge,
    adopt_charge,
    charge_deadline,
    request_pix_charge,
)
from comanda.checkout.settle_payment import settle_payment
from comanda.checkout.settlement import Verdict
from comanda.orders.model import OrderStatus
from comanda.payments.model import OPEN, Payment, PaymentStatus
from comanda.payments.provider import ProviderError, ProviderRefused, ProviderUnavailable
from comanda.payments.schedule import backoff, next_look, no_sooner

logger = logging.getLogger(__name__)

SEARCH_LAG = timedelta(seconds=60)
"""How long a charge may be missing from the provider's search. An empty result before that proves nothing."""


async def check_payment(
    checkout: Checkout,
    payment: Payment,
    *,
    actor: str = "poll",
    event_id: int | None = None,
    patient: bool = False,
) -> None:
    """Bring one payment forward: make its charge, read it back, cancel it when its time is over.

    Args:
        payment: as claimed. What has changed meanwhile is seen under the lock.
        actor: who asks, for the history.
        event_id: the webhook event that is handled with it.
        patient: whether to leave the event as it is if there is nothing new.

    Raises:
        ProviderError: the provider did not answer; nothing was changed but the time of the next look, and an order
            past any possible payment has expired.
    """
    try:
        if payment.provider_payment_id is None:
            await _look_for_charge(checkout, payment)
        else:
            await _read_back(checkout, payment, payment.provider_payment_id, actor, event_id, patient)
    except ProviderError as error:
        over = checkout.clock() >= payment.provider_expires_at
        if over:
            await settle_payment(checkout, payment.order_id, None, actor=actor)
        # Refused for good, it is asked about as rarely as what has ended, and a person is told in the end.
        if not over or isinstance(error, ProviderUnavailable):
            await _postpone(checkout, payment, error)
        raise


async def _postpone(checkout: Checkout, payment: Payment, error: ProviderError) -> None:
    """Ask again later: soon after one failure, more and more rarely after many in a row."""
    now = checkout.clock()
    wait = backoff(payment.failures, checkout.settings, checkout.chance)
    if payment.status in OPEN and now < payment.provider_expires_at and await _is_urgent(checkout, payment, now):
        wait = min(wait, timedelta(seconds=checkout.settings.check_watched))
    if isinstance(error, ProviderUnavailable):
        wait = no_sooner(wait, error.retry_after)
    async with checkout.pool.acquire(timeout=5) as connection:
        await comanda.payments.store.postpone(connection, payment.id, now + wait, failures=payment.failures + 1)


async def _is_urgent(checkout: Checkout, payment: Payment, now: datetime) -> bool:
    """Whether a guest watches, or could pay what is cancelled here."""
    watched = payment.watched_until is not None and payment.watched_until > now
    return watched or not await _is_awaited(checkout, payment)


async def _read_back(
    checkout: Checkout, payment: Payment, provider_id: int, actor: str, event_id: int | None, patient: bool
) -> None:
    view = await checkout.provider.get_payment(provider_id, request_id=payment.request_id)
    if view is None:
        # 404 just after creation is a lagging replica. Later it is silence, and treated like it.
        logger.warning("the provider does not know a payment of ours", extra={"order_id": str(payment.order_id)})
        await settle_payment(checkout, payment.order_id, None, actor=actor, event_id=event_id, patient=patient)
        return
    verdict = await settle_payment(checkout, payment.order_id, view, actor=actor, event_id=event_id, patient=patient)
    await cancel_if_due(checkout, payment, provider_id, verdict)


async def cancel_if_due(checkout: Checkout, payment: Payment, provider_id: int, verdict: Verdict) -> None:
    """Cancel a charge that must not be paid any more, and settle by what the provider makes of that.

    Raises:
        ProviderError: no answer; the next look does it.
    """
    if not verdict.cancel_at_provider:
        return
    try:
        view = await checkout.provider.cancel_payment(
            provider_id, idempotency_key=f"{payment.idempotency_key}-cancel", request_id=payment.request_id
        )
    except ProviderRefused as error:
        # Paid or ended in this very moment (2063, 3005): what it became is read back, and decides.
        logger.info("cancelled too late", extra={"order_id": str(payment.order_id), "error": str(error)})
        again = await checkout.provider.get_payment(provider_id, request_id=payment.request_id)
        if again is not None:
            await settle_payment(checkout, payment.order_id, again, actor="poll")
        return
    await settle_payment(checkout, payment.order_id, view, actor="poll")


async def _look_for_charge(checkout: Checkout, payment: Payment) -> None:
    """A payment whose charge was never answered: make it while it makes sense, else find it, else end it."""
    now = checkout.clock()
    wanted = payment.status is PaymentStatus.REQUESTED and await _is_awaited(checkout, payment)
    if wanted and now < charge_deadline(payment, checkout.settings):
        await request_pix_charge(checkout, payment, tries=payment.checks)
        return
    verdict = await adopt_charge(checkout, payment.order_id)
    if verdict is not None:
        await _cancel_adopted(checkout, payment, verdict)
    elif payment.status is PaymentStatus.REQUESTED and now >= charge_deadline(payment, checkout.settings) + SEARCH_LAG:
        await abandon_charge(checkout, payment.order_id)
    else:
        await _look_again(checkout, payment)


async def _cancel_adopted(checkout: Checkout, payment: Payment, verdict: Verdict) -> None:
    async with checkout.pool.acquire(timeout=5) as connection:
        adopted = await comanda.payments.store.by_order(connection, payment.order_id)
    assert adopted is not None, "an order is stored with its payment"
    assert adopted.provider_payment_id is not None, "what is adopted has the provider's id"
    await cancel_if_due(checkout, adopted, adopted.provider_payment_id, verdict)


async def _look_again(checkout: Checkout, payment: Payment) -> None:
    now = checkout.clock()
    due: datetime | None
    if payment.status is PaymentStatus.REQUESTED:
        due = now + backoff(payment.checks, checkout.settings, checkout.chance)
    else:
        due = next_look(
            payment.status,
            looks=payment.checks,
            watched=False,
            deadline=payment.expires_at,
            now=now,
            settings=checkout.settings,
            chance=checkout.chance,
        )
    async with checkout.pool.acquire(timeout=5) as connection:
        await comanda.payments.store.schedule(connection, payment.id, due)


async def _is_awaited(checkout: Checkout, payment: Payment) -> bool:
    async with checkout.pool.acquire(timeout=5) as connection:
        status = await connection.fetchval("SELECT status FROM orders WHERE id = $1", payment.order_id)
    return bool(status == OrderStatus.AWAITING_PAYMENT)
