"""Payments and refunds as they are, and the moves between their states. No I/O."""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

REFUND_WINDOW = timedelta(days=180)


class ImpossibleMoveError(Exception):
    """The payment's or refund's state does not allow what was asked; the message says which and why."""


@dataclass(frozen=True, slots=True)
class Payment:
    """A Pix payment. Amounts are in centavos, times aware and in UTC.

    ``refunded_cents`` counts approved refunds alone. ``payer`` and ``metadata`` are as they were sent.
    """

    id: int
    status: str
    status_detail: str
    amount_cents: int
    refunded_cents: int
    external_reference: str | None
    description: str | None
    payer: dict[str, Any]
    metadata: dict[str, Any]
    notification_url: str | None
    created_at: datetime
    updated_at: datetime
    approved_at: datetime | None
    expires_at: datetime
    qr_code: str
    qr_code_base64: str


@dataclass(frozen=True, slots=True)
class Refund:
    """A refund: ``approved``, ``in_process`` until the operator decides, or ``rejected``."""

    id: int
    payment_id: int
    amount_cents: int
    status: str
    created_at: datetime
    updated_at: datetime


def as_created(payment: Payment) -> Payment:
    """The payment as the answer to its creation showed it."""
    return replace(
        payment,
        status="pending",
        status_detail="pending_waiting_transfer",
        refunded_cents=0,
        approved_at=None,
        updated_at=payment.created_at,
    )


def approve(payment: Payment, now: datetime, *, late: bool = False) -> Payment:
    """The money arrives.

    Args:
        late: the payment may be cancelled or expired already, as when a bank's answer crosses the expiry.
    """
    open_ones = {"pending", "in_process"}
    if payment.status == "cancelled" and not late:
        raise ImpossibleMoveError(f"payment {payment.id} is {_state(payment)}; to play a late payment, say late=true")
    _require(payment, open_ones | ({"cancelled"} if late else set()), "be paid")
    return replace(payment, status="approved", status_detail="accredited", approved_at=now, updated_at=now)


def reject(payment: Payment, now: datetime, *, detail: str = "rejected_by_bank") -> Payment:
    """The payer's bank refuses."""
    _require(payment, {"pending", "in_process"}, "be rejected")
    return replace(payment, status="rejected", status_detail=detail, updated_at=now)


def expire(payment: Payment, now: datetime) -> Payment:
    """Nobody paid in time."""
    _require(payment, {"pending"}, "expire")
    return replace(payment, status="cancelled", status_detail="expired", updated_at=now)


def cancel(payment: Payment, now: datetime, *, by: str = "collector") -> Payment:
    """``by`` is collector, payer or admin."""
    _require(payment, {"pending", "in_process"}, "be cancelled")
    return replace(payment, status="cancelled", status_detail=f"by_{by}", updated_at=now)


def process(payment: Payment, now: datetime) -> Payment:
    """The payment is held for a check, neither paid nor refused."""
    _require(payment, {"pending"}, "be put in process")
    return replace(payment, status="in_process", status_detail="pending_contingency", updated_at=now)


def mediate(payment: Payment, now: datetime) -> Payment:
    """The payer complains and Mercado Pago looks into it."""
    _require(payment, {"approved"}, "go into mediation")
    return replace(payment, status="in_mediation", status_detail="pending", updated_at=now)


def resolve(payment: Payment, now: datetime) -> Payment:
    """The mediation ends in the seller's favour."""
    _require(payment, {"in_mediation"}, "leave mediation")
    return replace(payment, status="approved", status_detail=_approved_detail(payment), updated_at=now)


def charge_back(payment: Payment, now: datetime, *, outcome: str = "in_process") -> Payment:
    """The payer's bank takes the money back; ``outcome`` is in_process, settled or reimbursed."""
    _require(payment, {"approved", "in_mediation", "charged_back"}, "be charged back")
    if payment.status == "charged_back" and (payment.status_detail != "in_process" or outcome == "in_process"):
        raise ImpossibleMoveError(f"payment {payment.id} is {_state(payment)} already")
    return replace(payment, status="charged_back", status_detail=outcome, updated_at=now)


def refunded(payment: Payment, amount_cents: int, now: datetime) -> Payment:
    """The payment after an approved refund: still approved as long as some of the money stays."""
    total = payment.refunded_cents + amount_cents
    after = replace(payment, refunded_cents=total, updated_at=now)
    if total == payment.amount_cents:
        return replace(after, status="refunded", status_detail="refunded")
    if payment.status == "approved":
        return replace(after, status_detail="partially_refunded")
    return after


def decide(refund: Refund, now: datetime, *, approved: bool) -> Refund:
    """The operator's word on a refund in process."""
    if refund.status != "in_process":
        raise ImpossibleMoveError(f"refund {refund.id} is {refund.status}: only one in process can be decided")
    return replace(refund, status="approved" if approved else "rejected", updated_at=now)


def _approved_detail(payment: Payment) -> str:
    return "partially_refunded" if payment.refunded_cents else "accredited"


def _require(payment: Payment, allowed: set[str], what: str) -> None:
    if payment.status not in allowed:
        raise ImpossibleMoveError(
            f"payment {payment.id} is {_state(payment)}: only {' or '.join(sorted(allowed))} can {what}"
        )


def _state(payment: Payment) -> str:
    return f"{payment.status}/{payment.status_detail}"
