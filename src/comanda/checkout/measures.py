"""The checkout's own metrics. Labels are from closed sets, whatever guests and providers send."""

from prometheus_client import Counter, Histogram

from comanda.payments.model import RefundStatus, Review
from comanda.payments.signature import Rejection

ORDERS_PLACED = Counter("comanda_orders_placed_total", "Orders stored, unpaid as yet.")
ORDERS_PAID = Counter("comanda_orders_paid_total", "Orders whose Pix was approved in time.")
REQUESTED_TO_APPROVED = Histogram(
    "comanda_payment_approval_seconds",
    "From the stored intent to charge to the approval that we learnt of.",
    buckets=(5, 10, 20, 30, 45, 60, 90, 120, 180, 300, 600, 1800),
)
PAID_TO_KITCHEN = Histogram(
    "comanda_paid_to_kitchen_seconds",
    "From the provider's approval to the order standing as paid, which is when the kitchen sees it.",
    buckets=(0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600),
)
APPROVALS = Counter(
    "comanda_approvals_total",
    "Approvals by how we learnt of them: webhook, poll (of which no webhook told), provider (in the answer to the"
    " charge) or restore.",
    ["learnt_by"],
)
REFUNDS_OWED = Counter("comanda_refunds_owed_total", "Refunds promised, by who promised them.", ["by"])
REFUNDS_DECIDED = Counter("comanda_refunds_decided_total", "Refunds that the provider decided.", ["outcome"])
REVIEWS = Counter("comanda_payment_reviews_total", "Payments that a person must look at, by reason.", ["reason"])
RESTORED = Counter("comanda_restored_payments_total", "Payments looked at after a restore, by outcome.", ["outcome"])
CHARGES = Counter("comanda_charges_total", "Tries to make a Pix charge, by what came of it.", ["outcome"])
WEBHOOKS = Counter("comanda_webhooks_total", "Webhooks received, by what was done with them.", ["outcome"])
WEBHOOKS_BY_PREVIOUS_SECRET = Counter(
    "comanda_webhooks_by_previous_secret_total", "Webhooks that were signed with a secret that is being replaced."
)

_FROM_THE_START = {
    APPROVALS: ("webhook", "poll", "provider", "restore"),
    CHARGES: ("made", "refused", "no_answer", "denied"),
    REFUNDS_OWED: ("staff", "automatic"),
    REFUNDS_DECIDED: (RefundStatus.APPROVED, RefundStatus.REJECTED),
    REVIEWS: tuple(Review),
    WEBHOOKS: ("stored", "repeated", "settled", *(f"signature_{reason}" for reason in Rejection)),
}
"""What is at zero before it happens: a series that begins at 1 has no increase, and the first of its kind is missed."""
for _counter, _values in _FROM_THE_START.items():
    for _value in _values:
        _counter.labels(str(_value))
