"""What becomes of an order and its payment when the provider says something: the rules, as a pure function.

Facts in, verdict out, no I/O; `settle_payment` applies it. The table of all cases is in `docs/payments.md`.
"""

from datetime import datetime

import msgspec

from comanda.money import Cents
from comanda.orders.model import IN_KITCHEN, UNSERVED_END, Order, OrderStatus
from comanda.payments.model import (
    DISPUTED,
    MONEY_CAME,
    OPEN,
    REFUNDABLE,
    Payment,
    PaymentStatus,
    Review,
    mismatch,
    status_by_amounts,
    status_of,
)
from comanda.payments.provider import ProviderPayment


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """What is to become of an order and its payment.

    `order_status` is None where the order stays. `refund_owed` is why all that is left must go back, None if it need
    not. `cancel_at_provider` says that the charge is still open there and must not be. `believed` is False for words
    that do not belong in the payment's row: older ones than it holds, or about another payment. `second_charge` says
    that they are about a second payment of the order, and that its money must go back. `reason` goes into the history.
    """

    payment_status: PaymentStatus
    paid_cents: Cents | None
    refunded_cents: Cents
    review: str | None = None
    order_status: OrderStatus | None = None
    refund_owed: str | None = None
    cancel_at_provider: bool = False
    believed: bool = True
    second_charge: bool = False
    reason: str | None = None

    def changes(self, payment: Payment, view: ProviderPayment | None) -> bool:
        """Whether anything of the payment's own row would change; `view` is None where it is not believed."""
        return (
            self.payment_status != payment.status
            or self.refunded_cents != payment.refunded_cents
            or self.paid_cents != payment.paid_cents
            or self.review != payment.review
            or (view is not None and payment.provider_payment_id is None)
            or (view is not None and payment.copy_paste is None and view.copy_paste is not None)
        )


def decide(order: Order, payment: Payment, view: ProviderPayment, now: datetime) -> Verdict:
    """Decide what the provider's word means for an order and its payment.

    Args:
        order: as locked.
        payment: its payment, as locked.
        view: what the provider says of the payment, read back from it (a webhook's own words count for nothing).
        now: the present moment.
    """
    problem = mismatch(payment, view)
    if problem is Review.REFERENCE_MISMATCH:
        return _another_payment(order, payment, view, now)
    if _is_older(payment, view):
        return msgspec.structs.replace(undecided(order, payment, now, review=payment.review), believed=False)
    if problem is Review.LIVE_MODE_MISMATCH:
        return undecided(order, payment, now, review=_flag(payment, problem))
    told = status_of(view)
    if told is None:
        return undecided(order, payment, now, review=_flag(payment, Review.UNKNOWN_STATUS))
    if told in MONEY_CAME:
        return _money_came(order, payment, view, told, problem)
    if payment.status in MONEY_CAME:
        return _as_it_was(payment, _flag(payment, Review.WENT_BACK))
    if told in OPEN:
        return _still_open(order, payment, told, problem, now)
    return _ended(order, payment, told, now)


def undecided(order: Order, payment: Payment, now: datetime, *, review: str | None) -> Verdict:
    """Decide without a usable word from the provider: wait, but no longer than anybody could still pay.

    Past `provider_expires_at` the order expires. A payment that the provider never confirmed to exist expires with
    it; one that exists keeps its status and is asked about further, so that money that came is found and given back.
    """
    verdict = _as_it_was(payment, review)
    if order.status is not OrderStatus.AWAITING_PAYMENT or now < payment.provider_expires_at:
        return verdict
    status = PaymentStatus.EXPIRED if payment.provider_payment_id is None else payment.status
    return msgspec.structs.replace(verdict, order_status=OrderStatus.EXPIRED, payment_status=status)


def _another_payment(order: Order, payment: Payment, view: ProviderPayment, now: datetime) -> Verdict:
    """Decide about a payment that is not the one that we made; if it is paid and says to be of our order, loudly."""
    told = status_of(view)
    ours = view.external_reference == str(payment.order_id) and view.live_mode == payment.live_mode
    kept = ours and told in MONEY_CAME and told is not PaymentStatus.REFUNDED
    review = _flag(payment, Review.SECOND_CHARGE if kept else Review.REFERENCE_MISMATCH)
    return msgspec.structs.replace(
        undecided(order, payment, now, review=review),
        believed=False,
        second_charge=kept and told in REFUNDABLE,
        reason=f"{Review.SECOND_CHARGE} {view.id}" if kept else None,
    )


def _is_older(payment: Payment, view: ProviderPayment) -> bool:
    """Whether we have seen a later state already (a reordered answer, a lagging replica of theirs).

    Only of money that came: what nobody has paid as yet may be told of with any date, and 'approved' is never too old.
    """
    return (
        payment.status in MONEY_CAME
        and view.updated_at is not None
        and payment.provider_updated_at is not None
        and view.updated_at < payment.provider_updated_at
    )


def _as_it_was(payment: Payment, review: str | None) -> Verdict:
    return Verdict(
        payment_status=payment.status,
        paid_cents=payment.paid_cents,
        refunded_cents=payment.refunded_cents,
        review=review,
    )


def _flag(payment: Payment, review: Review) -> str:
    """Answer why a person must look. A refused refund stays the reason: nothing else asks for that money again."""
    return Review.REFUND_REFUSED if payment.review == Review.REFUND_REFUSED else _sticky(payment) or review


def _sticky(payment: Payment) -> str | None:
    """Answer what no look at our own charge takes away: that there was a second one, or that the order was lost."""
    return payment.review if payment.review in {Review.SECOND_CHARGE, Review.RECOVERED} else None


def _money_came(
    order: Order, payment: Payment, view: ProviderPayment, told: PaymentStatus, problem: Review | None
) -> Verdict:
    paid = payment.paid_cents or view.amount_cents
    given_back = paid if told is PaymentStatus.REFUNDED else min(view.refunded_cents, paid)
    # What we have promised back ourselves is counted when its own answer comes, not twice.
    refunded = max(payment.refunded_cents, given_back - payment.refund_reserved_cents)
    nothing_left = refunded == paid
    status = told if told in DISPUTED else status_by_amounts(paid, refunded)
    review = _review_of_money(payment, told, problem, nothing_left)
    verdict = Verdict(payment_status=status, paid_cents=paid, refunded_cents=refunded, review=review)
    to = _order_after_money(
        order, serve=told not in DISPUTED and problem is None and not nothing_left, gone=nothing_left
    )
    left = paid - refunded - payment.refund_reserved_cents
    unserved = (to or order.status) in UNSERVED_END
    owed = None
    if unserved and left > 0 and told not in DISPUTED and review != Review.REFUND_REFUSED:
        owed = problem or "paid_after_the_end"
    return msgspec.structs.replace(verdict, order_status=to, refund_owed=owed)


def _review_of_money(payment: Payment, told: PaymentStatus, problem: Review | None, nothing_left: bool) -> str | None:
    # An order that was lost and kept is no question any more once its money is gone.
    if payment.review == Review.SECOND_CHARGE or (payment.review == Review.RECOVERED and not nothing_left):
        return payment.review
    if told in DISPUTED:
        # Said when it begins: what a person has looked at and cleared stays cleared.
        return None if payment.status is told and payment.review is None else Review.DISPUTED
    if nothing_left:
        return None
    # A refused refund is not asked for again by itself: the provider has decided, so a person must.
    return Review.REFUND_REFUSED if payment.review == Review.REFUND_REFUSED else problem


def _order_after_money(order: Order, *, serve: bool, gone: bool) -> OrderStatus | None:
    if order.status is OrderStatus.AWAITING_PAYMENT:
        return OrderStatus.PAID if serve else OrderStatus.CANCELLED
    if order.status in IN_KITCHEN and gone:
        return OrderStatus.CANCELLED
    return None


def _still_open(order: Order, payment: Payment, told: PaymentStatus, problem: Review | None, now: datetime) -> Verdict:
    # A charge that turned up after we had given it up keeps our word for it until the provider has cancelled it.
    status = told if payment.status in OPEN else payment.status
    verdict = msgspec.structs.replace(_as_it_was(payment, _sticky(payment) or problem), payment_status=status)
    if order.status is not OrderStatus.AWAITING_PAYMENT:
        return msgspec.structs.replace(verdict, cancel_at_provider=True)
    if problem is not None:
        return msgspec.structs.replace(verdict, cancel_at_provider=True, order_status=OrderStatus.CANCELLED)
    if now >= payment.provider_expires_at:
        return msgspec.structs.replace(verdict, cancel_at_provider=True, order_status=OrderStatus.EXPIRED)
    return msgspec.structs.replace(verdict, cancel_at_provider=now >= payment.expires_at)


def _ended(order: Order, payment: Payment, told: PaymentStatus, now: datetime) -> Verdict:
    ran_out = told is PaymentStatus.EXPIRED or (
        told is PaymentStatus.CANCELLED and now >= payment.expires_at and order.status is not OrderStatus.CANCELLED
    )
    status = payment.status
    if status in OPEN:
        status = PaymentStatus.EXPIRED if ran_out else told
    verdict = msgspec.structs.replace(_as_it_was(payment, _sticky(payment)), payment_status=status)
    if order.status is not OrderStatus.AWAITING_PAYMENT:
        return verdict
    to = OrderStatus.EXPIRED if status is PaymentStatus.EXPIRED else OrderStatus.CANCELLED
    return msgspec.structs.replace(verdict, order_status=to)
