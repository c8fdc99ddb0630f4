"""What a payment is in our books, and how the provider's words map onto it. No I/O, and nothing of orders."""

from collections.abc import Sequence
from datetime import datetime
from enum import StrEnum
from uuid import UUID

import msgspec

from comanda.money import CURRENCY, Cents
from comanda.payments.provider import ProviderPayment


class PaymentStatus(StrEnum):
    """Where a payment stands. The words are Mercado Pago's, but for `requested` (not yet answered) and `expired`."""

    REQUESTED = "requested"
    PENDING = "pending"
    IN_PROCESS = "in_process"
    APPROVED = "approved"
    REJECTED = "rejected"
    CANCELLED = "cancelled"
    EXPIRED = "expired"
    REFUNDED = "refunded"
    PARTIALLY_REFUNDED = "partially_refunded"
    IN_MEDIATION = "in_mediation"
    CHARGED_BACK = "charged_back"


OPEN = frozenset({PaymentStatus.REQUESTED, PaymentStatus.PENDING, PaymentStatus.IN_PROCESS})
"""May still be paid."""

MONEY_CAME = frozenset(
    {
        PaymentStatus.APPROVED,
        PaymentStatus.REFUNDED,
        PaymentStatus.PARTIALLY_REFUNDED,
        PaymentStatus.IN_MEDIATION,
        PaymentStatus.CHARGED_BACK,
    }
)
"""The guest has paid; what happened to the money afterwards is another matter."""

REFUNDABLE = frozenset({PaymentStatus.APPROVED, PaymentStatus.PARTIALLY_REFUNDED})
"""There is money that we can give back."""


DISPUTED = frozenset({PaymentStatus.IN_MEDIATION, PaymentStatus.CHARGED_BACK})
"""Somebody asks for the money back past us; what becomes of it is decided elsewhere."""


def status_by_amounts(paid_cents: Cents, refunded_cents: Cents) -> PaymentStatus:
    """Answer where money that came stands, by how much of it went back."""
    if refunded_cents >= paid_cents:
        return PaymentStatus.REFUNDED
    return PaymentStatus.PARTIALLY_REFUNDED if refunded_cents else PaymentStatus.APPROVED


class Review(StrEnum):
    """Why a person must look at a payment."""

    UNKNOWN_STATUS = "unknown_status"
    NOT_FOUND = "not_found"
    REFERENCE_MISMATCH = "reference_mismatch"
    SECOND_CHARGE = "second_charge"
    LIVE_MODE_MISMATCH = "live_mode_mismatch"
    AMOUNT_MISMATCH = "amount_mismatch"
    REFUND_REFUSED = "refund_refused"
    DISPUTED = "disputed"
    WENT_BACK = "went_back"
    RECOVERED = "recovered"


class NewPayment(msgspec.Struct, frozen=True, kw_only=True):
    """A charge that we intend to ask for: the whole of the provider's request, stored before it is sent."""

    id: UUID
    order_id: UUID
    amount_cents: Cents
    idempotency_key: str
    description: str
    payer_email: str
    notification_url: str | None
    live_mode: bool
    expires_at: datetime
    provider_expires_at: datetime
    next_check_at: datetime
    request_id: str | None
    created_at: datetime


class Payment(msgspec.Struct, frozen=True, kw_only=True):
    """A stored payment."""

    id: UUID
    order_id: UUID
    status: PaymentStatus
    version: int
    amount_cents: Cents
    idempotency_key: str
    description: str
    payer_email: str
    notification_url: str | None
    live_mode: bool
    expires_at: datetime
    provider_expires_at: datetime
    provider_payment_id: int | None
    provider_status: str | None
    provider_updated_at: datetime | None
    copy_paste: str | None
    approved_at: datetime | None
    paid_cents: Cents | None
    refunded_cents: Cents
    refund_reserved_cents: Cents
    review: str | None
    request_id: str | None
    checks: int
    failures: int
    watched_until: datetime | None
    created_at: datetime

    @property
    def refundable_cents(self) -> Cents:
        """What was paid and has been neither given back nor promised back."""
        return (self.paid_cents or 0) - self.refunded_cents - self.refund_reserved_cents


def status_of(view: ProviderPayment) -> PaymentStatus | None:
    """Translate the provider's status; None for one that we do not know.

    Mercado Pago leaves a partly refunded payment `approved` and says the rest in the amounts; a payment that ran out
    is `cancelled` with the detail `expired`.
    """
    if view.status == "refunded":
        return PaymentStatus.REFUNDED
    if view.status == "approved":
        return status_by_amounts(view.amount_cents, view.refunded_cents)
    if view.status == "cancelled" and view.status_detail == "expired":
        return PaymentStatus.EXPIRED
    if view.status == "authorized":
        return PaymentStatus.IN_PROCESS
    if view.status in {"pending", "in_process", "rejected", "cancelled", "in_mediation", "charged_back"}:
        return PaymentStatus(view.status)
    return None


def mismatch(payment: NewPayment | Payment, view: ProviderPayment) -> Review | None:
    """Compare what the provider holds with what we asked for; answer the first thing that differs.

    A payment of somebody else's reference, or of test credentials, is not our guest's money, whatever it says.
    """
    if view.external_reference != str(payment.order_id):
        return Review.REFERENCE_MISMATCH
    known = payment.provider_payment_id if isinstance(payment, Payment) else None
    if known is not None and view.id != known:
        return Review.REFERENCE_MISMATCH
    if view.live_mode != payment.live_mode:
        return Review.LIVE_MODE_MISMATCH
    if view.amount_cents != payment.amount_cents or view.currency != CURRENCY:
        return Review.AMOUNT_MISMATCH
    return None


class RefundStatus(StrEnum):
    """Where a refund stands. Only the provider's word makes it `approved` or `rejected`."""

    REQUESTED = "requested"
    IN_PROCESS = "in_process"
    APPROVED = "approved"
    REJECTED = "rejected"


class RefundItem(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """So many of one line of an order."""

    item_id: int
    quantity: int


class Refund(msgspec.Struct, frozen=True, kw_only=True):
    """A stored refund, with the lines that it gives back; `whole` if it is all that was ever paid, in one piece."""

    id: UUID
    payment_id: UUID
    status: RefundStatus
    amount_cents: Cents
    items: list[RefundItem]
    reason: str | None
    actor: str
    idempotency_key: str
    whole: bool
    provider_refund_id: int | None
    request_id: str | None
    attempts: int
    created_at: datetime
    decided_at: datetime | None


def all_made_good(refunds: Sequence[Refund]) -> bool:
    """Answer whether the lines of every rejected refund were given back by approved ones that were promised later."""
    for refused in refunds:
        if refused.status is not RefundStatus.REJECTED or refused.decided_at is None:
            continue
        given = {item.item_id: 0 for item in refused.items}
        for refund in refunds:
            if refund.status is RefundStatus.APPROVED and refund.created_at >= refused.decided_at:
                for item in refund.items:
                    given[item.item_id] = given.get(item.item_id, 0) + item.quantity
        # One without lines was of money alone, which only 'nothing is left' makes good.
        if not refused.items or any(given[item.item_id] < item.quantity for item in refused.items):
            return False
    return True
