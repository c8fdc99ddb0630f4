"""Pickup numbers: 1 to 999, from 1 again at the diner's midnight, never two open orders with the same.

They come from a sequence, whose lock ends with the call and not with the transaction, so that many payments can be
settled at once. A rolled-back payment leaves a gap, which hurts nobody. The unique index `pickup_number_once` stands
behind it all.
"""

import logging
from datetime import date

from prometheus_client import Counter

from comanda.database.pool import Connection

logger = logging.getLogger(__name__)

EXHAUSTED = Counter("comanda_pickup_numbers_exhausted_total", "Paid orders that had to wait for a free pickup number.")

SHORT = 999
LONGEST = 9999
TRIES = 12

NEXT = """
WITH next AS MATERIALIZED (SELECT nextval('pickup_numbers') AS number),
opened AS (INSERT INTO pickup_days (day, base) SELECT $1, number - 1 FROM next ON CONFLICT DO NOTHING)
SELECT number FROM next
"""
TAKEN = """
SELECT EXISTS (SELECT FROM orders WHERE pickup_number = $1 AND status IN ('paid', 'preparing', 'ready'))
"""
SMALLEST_FREE = """
SELECT number FROM generate_series(1, $1::int) AS number
WHERE NOT EXISTS (
    SELECT FROM orders WHERE pickup_number = number AND status IN ('paid', 'preparing', 'ready'))
ORDER BY number LIMIT 1
"""


class NoPickupNumberFree(Exception):
    """All 9,999 numbers are on open orders: somebody forgot to hand over a great many meals.

    The payment is tried again until the worker has handed over what was ready for FORGOTTEN_AFTER.
    """


async def next_number(connection: Connection, day: date) -> int:
    """Take the next number of `day` (the diner's own date) that no open order has.

    Past 12 taken ones in a row, when far more orders stand open than a day has short numbers, it is the smallest
    free one, with four digits if need be.

    Raises:
        NoPickupNumberFree: there is none.
    """
    for _ in range(TRIES):
        number = await connection.fetchval(NEXT, day)
        base = await connection.fetchval("SELECT base FROM pickup_days WHERE day = $1", day)
        candidate = int((number - base - 1) % SHORT) + 1
        if not await is_taken(connection, candidate):
            return candidate
    smallest: int | None = await connection.fetchval(SMALLEST_FREE, LONGEST)
    if smallest is None:
        EXHAUSTED.inc()
        logger.error("no pickup number is free: hand over what was picked up", extra={"numbers": LONGEST})
        raise NoPickupNumberFree(f"all {LONGEST} pickup numbers are on open orders")
    return smallest


async def pass_over(connection: Connection, day: date, count: int) -> None:
    """Leave out the next `count` numbers of `day`, or all but one where that is more: guests hold them already.

    After a restore the sequence has gone back, and with it perhaps the day's beginning, which is noted first.
    """
    await connection.fetchval(NEXT, day)
    await connection.fetch("SELECT nextval('pickup_numbers') FROM generate_series(2, $1::int)", min(count, SHORT - 1))


async def is_taken(connection: Connection, number: int) -> bool:
    """Answer whether an open order has this number."""
    return bool(await connection.fetchval(TAKEN, number))
