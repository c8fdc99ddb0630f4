"""The checkout's own metrics. Labels are from closed sets, whatever guests and providers send."""

from prometheus_client import Counter, Histogram

ORDERS_PLACED = Counter("comanda_orders_placed_total", "Orders stored, unpaid as yet.")
ORDERS_PAID = Counter("comanda_orders_paid_total", "Orders whose Pix was approved in time.")
REQUESTED_TO_APPROVED = Histogram(
    "comanda_payment_approval_seconds",
    "From the stored intent to charge to the approval that we learnt of.",
    buckets=(5, 10, 20, 30, 45, 60, 90, 120, 180, 300, 600, 1800),
)
REFUNDS_OWED = Counter("comanda_refunds_owed_total", "Refunds promised, by who promised them.", ["by"])
REFUNDS_DECIDED = Counter("comanda_refunds_decided_total", "Refunds that the provider decided.", ["outcome"])
REVIEWS = Counter("comanda_payment_reviews_total", "Payments that a person must look at, by reason.", ["reason"])
CHARGES = Counter("comanda_charges_total", "Tries to make a Pix charge, by what came of it.", ["outcome"])
WEBHOOKS = Counter("comanda_webhooks_total", "Webhooks received, by what was done with them.", ["outcome"])
