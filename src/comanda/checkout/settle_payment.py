"""Apply what the provider says of a payment: order, payment, history, refund owed and event, in one commit."""

import logging
from datetime import datetime, timedelta
from uuid import UUID

import msgspec

import comanda.orders.measures
import comanda.orders.store
import comanda.payments.store
from comanda.checkout import measures
from comanda.checkout.context import Checkout
from comanda.checkout.locks import lock_order
from comanda.checkout.promise_refund import promise_refund
from comanda.checkout.settlement import Verdict, decide, undecided
from comanda.database.pool import Connection, in_transaction
from comanda.orders.model import Order, OrderStatus
from comanda.orders.pickup import next_number
from comanda.payments import webhooks
from comanda.payments.model import OPEN, Payment, Review
from comanda.payments.provider import ProviderPayment
from comanda.payments.schedule import next_look

logger = logging.getLogger(__name__)


async def settle_payment(
    checkout: Checkout,
    order_id: UUID,
    view: ProviderPayment | None,
    *,
    actor: str,
    event_id: int | None = None,
    patient: bool = False,
) -> Verdict:
    """Settle an order's payment by what the provider said, or by its silence.

    Args:
        order_id: whose payment it is.
        view: read back from the provider before this call, outside any transaction; None when it has no usable
            answer, which can only let the order expire.
        actor: who learnt it, for the history: `webhook`, `poll`, `provider`.
        event_id: the webhook event that is handled with it.
        patient: whether to leave the event as it is where this says nothing new of a payment that is open: the
            provider's replicas lag, and it was told of for a reason.

    Returns:
        The verdict that was applied.
    """

    async def work(connection: Connection) -> tuple[Verdict, Order, Payment]:
        now = checkout.clock()
        order, payment = await lock_order(connection, order_id)
        if view is None:
            verdict = undecided(order, payment, now, review=payment.review)
        else:
            verdict = decide(order, payment, view, now)
        believed = view if verdict.believed else None
        due = _next_look(checkout, order, payment, verdict, now)
        if due is None and verdict.payment_status in OPEN and verdict.review is None:
            # It never ended, and nobody asks any more.
            review = Review.NOT_FOUND if believed is None else Review.UNKNOWN_STATUS
            verdict = msgspec.structs.replace(verdict, review=review)
        await _apply(checkout, connection, order, payment, believed, verdict, actor, now, due)
        nothing_new = verdict.payment_status in OPEN and not verdict.changes(payment, believed)
        if event_id is not None and not (patient and nothing_new):
            await webhooks.finish(connection, event_id, outcome=str(verdict.payment_status), now=now)
        return verdict, order, payment

    verdict, order, payment = await in_transaction(checkout.pool, work)
    _tell(checkout, verdict, order, payment, view, actor)
    return verdict


def _looks(payment: Payment, verdict: Verdict) -> int:
    return payment.checks if verdict.payment_status is payment.status else 0


def _next_look(checkout: Checkout, order: Order, payment: Payment, verdict: Verdict, now: datetime) -> datetime | None:
    ended = (verdict.order_status or order.status) is not OrderStatus.AWAITING_PAYMENT
    return next_look(
        verdict.payment_status,
        looks=_looks(payment, verdict),
        watched=payment.watched_until is not None and payment.watched_until > now,
        deadline=payment.expires_at,
        over_at=payment.provider_expires_at if ended else None,
        now=now,
        settings=checkout.settings,
        chance=checkout.chance,
    )


async def _apply(
    checkout: Checkout,
    connection: Connection,
    order: Order,
    payment: Payment,
    view: ProviderPayment | None,
    verdict: Verdict,
    actor: str,
    now: datetime,
    due: datetime | None,
) -> None:
    if verdict.changes(payment, view):
        await comanda.payments.store.update(
            connection,
            payment,
            verdict.payment_status,
            view=view,
            paid_cents=verdict.paid_cents,
            refunded_cents=verdict.refunded_cents,
            review=verdict.review,
            next_check_at=due,
            checks=_looks(payment, verdict),
            actor=actor,
            now=now,
            reason=verdict.reason,
        )
    else:
        await comanda.payments.store.schedule(connection, payment.id, due)
    if verdict.order_status is not None:
        number = None
        if verdict.order_status is OrderStatus.PAID:
            number = await next_number(connection, now.astimezone(checkout.settings.zone).date())
        await comanda.orders.store.change_status(
            connection,
            order,
            verdict.order_status,
            now=now,
            actor=actor,
            reason=verdict.refund_owed or verdict.review,
            pickup_number=number,
        )
    if verdict.refund_owed is not None:
        left = (verdict.paid_cents or 0) - verdict.refunded_cents - payment.refund_reserved_cents
        items = await comanda.orders.store.items_of(connection, order.id)
        await promise_refund(
            connection,
            payment,
            left,
            {item.id: item.quantity - item.refunded_quantity for item in items},
            whole=left == verdict.paid_cents,
            actor="system",
            reason=verdict.refund_owed,
            request_id=payment.request_id,
            now=now,
        )


def _tell(
    checkout: Checkout, verdict: Verdict, order: Order, payment: Payment, view: ProviderPayment | None, actor: str
) -> None:
    if verdict.order_status is OrderStatus.PAID:
        now = checkout.clock()
        measures.ORDERS_PAID.inc()
        measures.APPROVALS.labels(actor).inc()
        measures.REQUESTED_TO_APPROVED.observe((now - payment.created_at).total_seconds())
        if view is not None and view.approved_at is not None:
            # By two clocks: what the provider's is ahead is no time.
            measures.PAID_TO_KITCHEN.observe(max(now - view.approved_at, timedelta()).total_seconds())
        comanda.orders.measures.moved(order, OrderStatus.PAID, now)
    if verdict.refund_owed is not None:
        measures.REFUNDS_OWED.labels("automatic").inc()
    if verdict.review is not None and verdict.review != payment.review:
        measures.REVIEWS.labels(verdict.review).inc()
        logger.error(
            "a payment needs a person's look",
            extra={"order_id": str(order.id), "review": str(verdict.review)},
        )
    if verdict.payment_status != payment.status or verdict.order_status is not None:
        logger.info(
            "payment settled",
            extra={
                "order_id": str(order.id),
                "payment_status": str(verdict.payment_status),
                "order_status": str(verdict.order_status or order.status),
            },
        )
