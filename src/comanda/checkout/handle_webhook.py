"""Handle one stored notification: read the payment back from the provider, and settle by that."""

import logging
from uuid import UUID

import comanda.payments.store
from comanda.checkout import measures
from comanda.checkout.check_payment import cancel_if_due, check_payment
from comanda.checkout.context import Checkout
from comanda.checkout.second_charge import settle_another_charge
from comanda.checkout.settle_payment import settle_payment
from comanda.payments import webhooks
from comanda.payments.model import Payment
from comanda.payments.provider import ProviderError, ProviderRefused, ProviderUnavailable
from comanda.payments.schedule import backoff, no_sooner
from comanda.payments.webhooks import WebhookEvent

logger = logging.getLogger(__name__)

UNKNOWN_AT_MOST = 6
"""How often a payment that the provider does not know, or knows nothing new of, is asked about: its replicas lag."""

REFUSED_AT_MOST = 20
"""How often the provider may refuse to tell of a payment, in about an hour: by then it is ours to mend, or not ours."""


async def handle_webhook(checkout: Checkout, event: WebhookEvent) -> None:
    """Bring one event forward: settled, dropped as not ours, or left for later.

    Args:
        event: as claimed.

    Raises:
        ProviderError: the provider did not answer; the event waits with backoff.
    """
    try:
        await _handle(checkout, event)
    except ProviderError as error:
        if isinstance(error, ProviderRefused) and event.attempts >= REFUSED_AT_MOST:
            # A payment of ours is asked about further by its own schedule.
            await _finish(checkout, event, "refused")
            return
        retry_after = error.retry_after if isinstance(error, ProviderUnavailable) else None
        await _later(checkout, event, retry_after)
        raise


async def _handle(checkout: Checkout, event: WebhookEvent) -> None:
    async with checkout.pool.acquire(timeout=5) as connection:
        payment = await comanda.payments.store.by_provider_id(connection, event.provider_payment_id)
    if payment is not None:
        patient = not event.announces and event.attempts < UNKNOWN_AT_MOST
        await check_payment(checkout, payment, actor="webhook", event_id=event.id, patient=patient)
        if patient and await _later(checkout, event, None):
            return
        measures.WEBHOOKS.labels("settled").inc()
        return
    # Not known by its id: somebody else's, or the answer to our own request was lost.
    view = await checkout.provider.get_payment(event.provider_payment_id, request_id=event.request_id)
    if view is None:
        if event.attempts >= UNKNOWN_AT_MOST:
            await _finish(checkout, event, "unknown_payment")
        else:
            await _later(checkout, event, None)
        return
    ours = await _by_reference(checkout, view.external_reference)
    if ours is None:
        await _finish(checkout, event, "not_ours")
        return
    if ours.provider_payment_id not in {None, view.id}:
        verdict = await settle_another_charge(checkout, ours, view, actor="webhook", request_id=event.request_id)
        await _finish(checkout, event, verdict.review or "not_ours")
        return
    verdict = await settle_payment(checkout, ours.order_id, view, actor="webhook", event_id=event.id)
    await cancel_if_due(checkout, ours, view.id, verdict)
    measures.WEBHOOKS.labels("settled").inc()


async def _by_reference(checkout: Checkout, reference: str | None) -> Payment | None:
    try:
        order_id = UUID(reference or "")
    except ValueError:
        return None
    async with checkout.pool.acquire(timeout=5) as connection:
        return await comanda.payments.store.by_order(connection, order_id)


async def _finish(checkout: Checkout, event: WebhookEvent, outcome: str) -> None:
    measures.WEBHOOKS.labels(outcome).inc()
    logger.info("webhook dropped", extra={"payment": event.provider_payment_id, "outcome": outcome})
    async with checkout.pool.acquire(timeout=5) as connection:
        await webhooks.finish(connection, event.id, outcome=outcome, now=checkout.clock())


async def _later(checkout: Checkout, event: WebhookEvent, retry_after: float | None) -> bool:
    """Leave an event for later; answer False if it is handled already."""
    wait = no_sooner(backoff(event.attempts, checkout.settings, checkout.chance), retry_after)
    async with checkout.pool.acquire(timeout=5) as connection:
        return await webhooks.retry(connection, event.id, at=checkout.clock() + wait)
