"""What has been ready for a day was handed over, or nobody comes for it: others need its pickup number."""

import logging
from contextlib import suppress
from datetime import timedelta

from comanda.clock import Clock
from comanda.database.pool import Pool
from comanda.errors import Conflict
from comanda.kitchen.advance_order import advance_order
from comanda.orders.model import OrderStatus

logger = logging.getLogger(__name__)

AT_ONCE = 500
"""How many orders one round moves at most; the next round is some seconds later."""

FORGOTTEN = """
SELECT id FROM orders WHERE status = 'ready' AND status_changed_at < $1 ORDER BY status_changed_at LIMIT $2
"""


async def hand_over_forgotten(pool: Pool, clock: Clock, after: timedelta) -> None:
    """Move orders to `picked_up` that have been `ready` for longer than `after`. Staff can still give money back."""
    rows = await pool.fetch(FORGOTTEN, clock() - after, AT_ONCE)
    for row in rows:
        # Cancelled by a refund in this moment, it has left the kitchen too.
        with suppress(Conflict):
            await advance_order(
                pool, clock, row["id"], OrderStatus.PICKED_UP, actor="worker", request_id=None, reason="forgotten"
            )
    if rows:
        logger.warning("ready orders were forgotten", extra={"orders": len(rows)})
