"""What waits, how much of it and for how long, as the worker's metrics say it. Every worker says the same of it all."""

import logging
from datetime import datetime, timedelta

from prometheus_client import Gauge

from comanda.database.pool import Connection

ORDERS = Gauge("comanda_orders", "Orders that are not at their end, by status.", ["status"])
OLDEST_ORDER = Gauge("comanda_oldest_order_seconds", "How long one of them at most has been in its status.", ["status"])
OLDEST = Gauge("comanda_oldest_waiting_seconds", "Age of the oldest item that waits to be decided.", ["item"])
REFUNDS = Gauge("comanda_refunds_open", "Refunds that were promised and are not decided.")
REFUNDS_CENTS = Gauge("comanda_refunds_open_cents", "How much they come to, in centavos.")
TO_REVIEW = Gauge("comanda_payments_to_review", "Payments that a person must look at.")
OPEN = ("awaiting_payment", "paid", "preparing", "ready")
OVERDUE_REFUND = timedelta(minutes=10)

logger = logging.getLogger(__name__)


async def say_what_waits(connection: Connection, now: datetime) -> None:
    """Look once, set the metrics, and log a refund that is owed for too long."""
    row = await connection.fetchrow(
        """
        SELECT refund.since AS refund, refund.count AS refunds, refund.cents AS refunds_cents,
               (SELECT min(received_at) FROM webhook_events WHERE status <> 'handled') AS webhook,
               (SELECT count(*) FROM payments WHERE review IS NOT NULL) AS to_review
        FROM (SELECT min(created_at) AS since, count(*), COALESCE(sum(amount_cents), 0)::bigint AS cents
              FROM refunds WHERE status IN ('requested', 'in_process')) AS refund
        """
    )
    assert row is not None
    for item in ("refund", "webhook"):
        OLDEST.labels(item).set((now - row[item]).total_seconds() if row[item] else 0)
    REFUNDS.set(row["refunds"])
    REFUNDS_CENTS.set(row["refunds_cents"])
    TO_REVIEW.set(row["to_review"])
    # Each half has a partial index of its own.
    orders = await connection.fetch(
        """
        SELECT status, count(*), min(status_changed_at) AS since FROM orders WHERE status = 'awaiting_payment'
        GROUP BY status
        UNION ALL
        SELECT status, count(*), min(status_changed_at) FROM orders WHERE status IN ('paid', 'preparing', 'ready')
        GROUP BY status
        """
    )
    found = {each["status"]: each for each in orders}
    for status in OPEN:
        there = found.get(status)
        ORDERS.labels(status).set(there["count"] if there else 0)
        OLDEST_ORDER.labels(status).set((now - there["since"]).total_seconds() if there else 0)
    if row["refund"] is not None and now - row["refund"] > OVERDUE_REFUND:
        logger.error("a refund is owed for too long", extra={"since": row["refund"].isoformat()})
