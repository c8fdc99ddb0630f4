"""Ask the provider for the Pix of a stored payment: at once for the guest who waits, again by the worker.

Always with the stored key and the stored words, so that however often it is asked, there is one charge.
"""

import logging
from datetime import datetime, timedelta
from uuid import UUID

import comanda.payments.store
from comanda.checkout import measures
from comanda.checkout.context import Checkout
from comanda.checkout.locks import lock_order
from comanda.checkout.order_document import ANSWERED, Rendered, rendered
from comanda.checkout.settle_payment import settle_payment
from comanda.checkout.settlement import Verdict
from comanda.database.pool import Connection, in_transaction
from comanda.orders.model import OrderStatus
from comanda.orders.store import change_status
from comanda.payments.model import NewPayment, Payment, PaymentStatus, mismatch, status_of
from comanda.payments.provider import (
    PixCharge,
    ProviderDenied,
    ProviderPayment,
    ProviderRefused,
    ProviderUnavailable,
)
from comanda.payments.schedule import backoff, next_look, no_sooner
from comanda.settings import MINIMUM_PAYMENT_TIMEOUT, Settings

logger = logging.getLogger(__name__)


def charge_deadline(payment: Payment, settings: Settings) -> datetime:
    """Answer until when it makes sense to ask for the charge.

    Later, its date of expiration would be nearer than Mercado Pago's 30 minutes and refused; and past
    PAYMENT_EXPIRY_MARGIN no guest is still waiting for a QR code.
    """
    latest = payment.provider_expires_at - timedelta(seconds=MINIMUM_PAYMENT_TIMEOUT + 60)
    return min(latest, payment.created_at + timedelta(seconds=settings.payment_expiry_margin))


async def request_pix_charge(checkout: Checkout, payment: NewPayment | Payment, *, tries: int) -> Rendered | None:
    """Ask for the charge once and store what came of it.

    Args:
        payment: stored, `requested`.
        tries: how often it was asked for before; after a first try a refusal may be of the second copy only.

    Returns:
        The order's document, now with its Pix; None if it has none yet, and the worker goes on.
    """
    charge = PixCharge(
        payment_id=payment.id,
        external_reference=str(payment.order_id),
        amount_cents=payment.amount_cents,
        description=payment.description,
        payer_email=payment.payer_email,
        expires_at=payment.provider_expires_at,
        idempotency_key=payment.idempotency_key,
        notification_url=payment.notification_url,
    )
    try:
        view = await checkout.provider.create_pix(charge, request_id=payment.request_id)
    except ProviderDenied as error:
        measures.CHARGES.labels("denied").inc()
        logger.error("the provider denies us: check the access token and the account", extra={"error": str(error)})
        await _later(checkout, payment.id, tries, None)
        return None
    except ProviderUnavailable as error:
        measures.CHARGES.labels("no_answer").inc()
        logger.warning("no answer to a charge", extra={"order_id": str(payment.order_id), "error": str(error)})
        await _later(checkout, payment.id, tries, error.retry_after)
        return None
    except ProviderRefused as error:
        measures.CHARGES.labels("refused").inc()
        logger.error("the provider refuses a charge", extra={"order_id": str(payment.order_id), "error": str(error)})
        if tries == 0 or not await adopt_charge(checkout, payment.order_id):
            await _give_up(
                checkout,
                payment.order_id,
                PaymentStatus.REJECTED,
                reason=f"refused {error.code or error.status}",
            )
        return None
    measures.CHARGES.labels("made").inc()
    return await _record(checkout, payment, view)


async def adopt_charge(checkout: Checkout, order_id: UUID) -> Verdict | None:
    """Look for a charge whose answer was lost, by its reference, and settle by the newest that is found.

    Returns:
        The verdict; None if none is found, which is no proof that there is none (the provider's index lags).

    Raises:
        ProviderError: the search failed.
    """
    found = await checkout.provider.search_payments(str(order_id))
    if not found:
        return None
    return await settle_payment(checkout, order_id, found[0], actor="poll")


async def abandon_charge(checkout: Checkout, order_id: UUID) -> None:
    """End a payment that no charge was ever found for; the order expires, unless it was cancelled.

    It is still looked for now and then: one that turns up is cancelled, and given back if it was paid.
    """
    await _give_up(checkout, order_id, PaymentStatus.EXPIRED, reason="no charge was made in time")


async def _record(checkout: Checkout, payment: NewPayment | Payment, view: ProviderPayment) -> Rendered | None:
    """Store the answer: in one statement where it is what was asked for, by the rules in every other case."""
    now = checkout.clock()
    if status_of(view) is PaymentStatus.PENDING and mismatch(payment, view) is None:
        due = now + timedelta(seconds=checkout.settings.check_first)
        async with checkout.pool.acquire(timeout=5) as connection:
            row = await comanda.payments.store.store_pix(
                connection, payment.id, view, next_check_at=due, now=now, select=ANSWERED
            )
            if row is not None:
                return rendered(row)
    await settle_payment(checkout, payment.order_id, view, actor="provider")
    return None


async def _later(checkout: Checkout, payment_id: UUID, tries: int, retry_after: float | None) -> None:
    wait = no_sooner(backoff(tries, checkout.settings, checkout.chance), retry_after)
    async with checkout.pool.acquire(timeout=5) as connection:
        await comanda.payments.store.schedule(connection, payment_id, checkout.clock() + wait)


async def _give_up(checkout: Checkout, order_id: UUID, status: PaymentStatus, *, reason: str) -> None:
    async def work(connection: Connection) -> None:
        now = checkout.clock()
        order, payment = await lock_order(connection, order_id)
        if payment.status is not PaymentStatus.REQUESTED:
            return
        await comanda.payments.store.update(
            connection,
            payment,
            PaymentStatus.CANCELLED if order.status is OrderStatus.CANCELLED else status,
            view=None,
            paid_cents=None,
            refunded_cents=0,
            review=payment.review,
            next_check_at=next_look(
                status,
                looks=0,
                watched=False,
                deadline=payment.expires_at,
                now=now,
                settings=checkout.settings,
                chance=checkout.chance,
            ),
            checks=0,
            actor="worker",
            now=now,
        )
        if order.status is OrderStatus.AWAITING_PAYMENT:
            to = OrderStatus.EXPIRED if status is PaymentStatus.EXPIRED else OrderStatus.CANCELLED
            await change_status(connection, order, to, now=now, actor="worker", reason=reason)

    await in_transaction(checkout.pool, work)
