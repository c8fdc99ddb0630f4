"""How long orders take, step by step."""

from datetime import datetime

from prometheus_client import Histogram

from comanda.orders.model import Order, OrderStatus

STEPS = (
    OrderStatus.AWAITING_PAYMENT,
    OrderStatus.PAID,
    OrderStatus.PREPARING,
    OrderStatus.READY,
    OrderStatus.PICKED_UP,
)
IN_STATUS = Histogram(
    "comanda_order_status_seconds",
    "How long an order was in a status that it left for the next one.",
    ["status"],
    buckets=(5, 15, 30, 60, 120, 300, 600, 900, 1800, 3600),
)
for _status in STEPS[:-1]:
    IN_STATUS.labels(_status)


def moved(order: Order, to: OrderStatus, now: datetime) -> None:
    """Count a step that is committed. Steps back, and orders that end without being served, say nothing of speed.

    Args:
        order: as it was before. now: when it moved.
    """
    if order.status in STEPS and to in STEPS and STEPS.index(to) > STEPS.index(order.status):
        IN_STATUS.labels(order.status).observe((now - order.status_changed_at).total_seconds())
