"""Ask the provider for a refund that is owed, until it decides. Only its word makes a refund approved or rejected."""

import logging
from datetime import timedelta

import comanda.orders.store
import comanda.payments.refunds
import comanda.payments.store
from comanda.checkout import measures
from comanda.checkout.context import Checkout
from comanda.checkout.locks import lock_refund
from comanda.database.pool import Connection, in_transaction
from comanda.payments.model import (
    DISPUTED,
    Payment,
    PaymentStatus,
    Refund,
    RefundStatus,
    Review,
    all_made_good,
    status_by_amounts,
    status_of,
)
from comanda.payments.provider import ProviderDenied, ProviderRefund, ProviderRefused, ProviderUnavailable
from comanda.payments.schedule import backoff, no_sooner

logger = logging.getLogger(__name__)

CAME_TO_NOTHING = frozenset({"rejected", "cancelled"})
STAYS = frozenset({Review.DISPUTED, Review.SECOND_CHARGE})
"""What a person must look at although all of the money has gone back."""

KEY_IS_TRUSTED_FOR = timedelta(hours=1)
"""How long we rely on the provider to know a key again. Mercado Pago does not say how long it does; an older refund was
promised before a long outage or comes back from a backup, and may have been made under a key that is forgotten."""

CLOCK_SKEW = timedelta(seconds=60)
"""How far the provider's clock may be behind ours: a refund that is older than ours by more is somebody else's."""


async def send_refund(checkout: Checkout, refund: Refund) -> None:
    """Bring one refund forward.

    Args:
        refund: as claimed; its key makes every repeated call the same refund at the provider.

    Raises:
        ProviderError: no answer, or an answer that decides nothing; the refund is asked for again later.
    """
    async with checkout.pool.acquire(timeout=5) as connection:
        payment = await comanda.payments.store.by_id(connection, refund.payment_id)
    assert payment.provider_payment_id is not None, "a refund is owed only of what was paid"
    try:
        told = await _ask(checkout, payment.provider_payment_id, refund)
    except ProviderDenied as error:
        await _later(checkout, refund, str(error), None)
        raise
    except ProviderUnavailable as error:
        await _later(checkout, refund, str(error), error.retry_after)
        raise
    except ProviderRefused as error:
        # Refused at the first try, it is refused. Later it may be the second copy that is: the first one's answer
        # was lost.
        again = refund.attempts > 1
        told = await _find(checkout, payment.provider_payment_id, refund, without_key=True) if again else None
        if told is None:
            await _settle(checkout, payment, refund, RefundStatus.REJECTED, None, str(error))
            return
    if told is None:
        await _later(checkout, refund, "the provider repeats an answer that it does not show yet", None)
    elif told.status == "approved":
        await _settle(checkout, payment, refund, RefundStatus.APPROVED, told, None)
    elif told.status in CAME_TO_NOTHING:
        await _settle(checkout, payment, refund, RefundStatus.REJECTED, told, f"the provider says {told.status}")
    else:
        await _later(checkout, refund, None, None, told)


async def _ask(checkout: Checkout, provider_id: int, refund: Refund) -> ProviderRefund | None:
    if refund.provider_refund_id is not None:
        told = await checkout.provider.get_refund(provider_id, refund.provider_refund_id, request_id=refund.request_id)
        if told is not None:
            return told
    if checkout.clock() - refund.created_at > KEY_IS_TRUSTED_FOR:
        told = await _find(checkout, provider_id, refund, without_key=True)
        if told is not None:
            return told
    told = await checkout.provider.create_refund(
        provider_id,
        amount_cents=None if refund.whole else refund.amount_cents,
        idempotency_key=refund.idempotency_key,
        request_id=refund.request_id,
    )
    # A replay of a known key is answered 200 with an empty body: the refund exists, and the list names it.
    return told if told is not None else await _find(checkout, provider_id, refund)


async def _find(
    checkout: Checkout, provider_id: int, refund: Refund, *, without_key: bool = False
) -> ProviderRefund | None:
    """Find our refund among the provider's: of our amount, not older than ours, not matched to another of ours.

    One that gives money back goes before one that came to nothing, and a newer one before an older one.

    Args:
        without_key: our key was not recognized, or not asked. Then nothing says that ours exists, but that more went
            back than we know of.
    """
    told = await checkout.provider.list_refunds(provider_id, request_id=refund.request_id)
    async with checkout.pool.acquire(timeout=5) as connection:
        known = await comanda.payments.refunds.known_provider_ids(connection, refund)
        payment = await comanda.payments.store.by_id(connection, refund.payment_id)
        ours = await comanda.payments.refunds.approved_cents(connection, refund.payment_id)
    since = refund.created_at - CLOCK_SKEW
    unknown = [each for each in told if each.id not in known]
    recent = [each for each in unknown if each.created_at is None or each.created_at >= since]
    alike = [each for each in recent if each.amount_cents == refund.amount_cents]
    # Asked without an amount it is of all that was left: less than we know of where the provider's panel has given
    # back a part unseen by us, and what was really paid where the amount that we were told at approval was wrong.
    nothing_left = refund.whole and not alike and recent and await _is_given_back(checkout, provider_id, refund)
    if nothing_left:
        alike = recent
    found = max(alike, key=lambda each: (each.status not in CAME_TO_NOTHING, each.id), default=None)
    if found is None or not without_key:
        return found
    # A refund in the provider's panel may be of our amount too; it was counted when we read the payment back.
    in_panel = payment.refunded_cents - ours
    gone = sum(each.amount_cents for each in unknown if each.status == "approved" or each is found)
    return found if gone >= in_panel + (found.amount_cents if nothing_left else refund.amount_cents) else None


async def _is_given_back(checkout: Checkout, provider_id: int, refund: Refund) -> bool:
    """Whether the provider says that nothing is left of the payment."""
    view = await checkout.provider.get_payment(provider_id, request_id=refund.request_id)
    return view is not None and status_of(view) is PaymentStatus.REFUNDED


async def _settle(
    checkout: Checkout,
    payment: Payment,
    refund: Refund,
    status: RefundStatus,
    told: ProviderRefund | None,
    error: str | None,
) -> None:
    """Write the provider's decision: refund, payment, lines and history in one commit."""

    async def work(connection: Connection) -> bool:
        now = checkout.clock()
        order, locked, current = await lock_refund(connection, payment.order_id, refund.id)
        if current.status in {RefundStatus.APPROVED, RefundStatus.REJECTED}:
            return False
        await comanda.payments.refunds.decide(
            connection,
            refund.id,
            status,
            provider_refund_id=told.id if told else None,
            error=error,
            now=now,
        )
        await comanda.payments.store.reserve_refund(connection, locked.id, -refund.amount_cents)
        paid, refunded = locked.paid_cents or 0, locked.refunded_cents
        review = locked.review
        if status is RefundStatus.APPROVED:
            # What the payment told of this one before is left out there while it is reserved, so it is added here,
            # once. It may be more than is left where the panel has given back a part that we never saw.
            refunded = min(paid, refunded + refund.amount_cents)
            every = await comanda.payments.refunds.of_order(connection, order.id)
            if review == Review.REFUND_REFUSED and all_made_good(every):
                review = None
        else:
            review = Review.REFUND_REFUSED
            await comanda.orders.store.mark_refunded(
                connection, order.id, {item.item_id: -item.quantity for item in refund.items}
            )
        nothing_left = refunded == paid
        await comanda.payments.store.update(
            connection,
            locked,
            locked.status if locked.status in DISPUTED else status_by_amounts(paid, refunded),
            view=None,
            paid_cents=locked.paid_cents,
            refunded_cents=refunded,
            review=None if nothing_left and review not in STAYS else review,
            # Read back soon: a refund made in the provider's panel meanwhile shows only there.
            next_check_at=now + timedelta(seconds=checkout.settings.retry_first),
            checks=0,
            actor=refund.actor,
            now=now,
        )
        return True

    if not await in_transaction(checkout.pool, work):
        return
    measures.REFUNDS_DECIDED.labels(str(status)).inc()
    level = logging.INFO if status is RefundStatus.APPROVED else logging.ERROR
    logger.log(
        level,
        "refund decided",
        extra={
            "order_id": str(payment.order_id),
            "refund_id": str(refund.id),
            "status": str(status),
            "error": error,
        },
    )


async def _later(
    checkout: Checkout,
    refund: Refund,
    error: str | None,
    retry_after: float | None,
    told: ProviderRefund | None = None,
) -> None:
    wait = no_sooner(backoff(refund.attempts, checkout.settings, checkout.chance), retry_after)
    async with checkout.pool.acquire(timeout=5) as connection:
        await comanda.payments.refunds.retry(
            connection,
            refund.id,
            at=checkout.clock() + wait,
            error=error,
            provider_refund_id=told.id if told else None,
        )
