"""When the provider is asked about a payment again if no webhook comes. Pure: status and counts in, a moment out."""

import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import accumulate

from comanda.payments.model import MONEY_CAME, OPEN, PaymentStatus
from comanda.settings import Settings

# After the end: a payment can still come in late, a charge can turn up that the search did not show, money can be
# taken back. Seconds from the end, or from the look before.
LATE_LOOKS = (60, 600, 3600, 6 * 3600, 24 * 3600)
# After approval: refunds made in the provider's panel and charge-backs come by webhook; these looks are for lost ones.
PAID_LOOKS = (3600, 24 * 3600, 7 * 24 * 3600, 30 * 24 * 3600)
AT_ONCE = datetime(2000, 1, 1, tzinfo=UTC)
"""Due for every worker, also one whose clock is behind that of the pod which says so."""


def backoff(tries: int, settings: Settings, chance: random.Random) -> timedelta:
    """Answer how long to wait after `tries` tries: doubling from RETRY_FIRST to RETRY_MAX, less up to a third."""
    seconds = min(settings.retry_first * 2 ** min(tries, 20), settings.retry_max)
    return _jittered(seconds, chance)


def no_sooner(wait: timedelta, retry_after: float | None) -> timedelta:
    """Answer `wait`, lengthened to what the provider asked for: `retry_after` in seconds, None if it did not."""
    return wait if retry_after is None else max(wait, timedelta(seconds=int(retry_after) + 1))


def next_look(
    status: PaymentStatus,
    *,
    looks: int,
    watched: bool,
    deadline: datetime,
    over_at: datetime | None = None,
    now: datetime,
    settings: Settings,
    chance: random.Random,
) -> datetime | None:
    """Answer when to ask about a payment next, None for never by itself.

    Args:
        status: ours, after what was just learnt.
        looks: how often it was asked about in this status.
        watched: whether a guest is looking at it now.
        deadline: when the Pix expires; an open payment is asked about then at the latest.
        over_at: from when on nobody can pay it any more, where its order has ended. What is open at the provider even
            then is asked about LATE_LOOKS more, whoever watches.
    """
    if status in OPEN and over_at is not None and now >= over_at:
        return next((over_at + late for late in _late_looks() if over_at + late > now), None)
    if status in OPEN:
        if watched:
            wait = _jittered(settings.check_watched, chance)
        elif looks == 0:
            wait = timedelta(seconds=settings.check_first)
        else:
            seconds = min(settings.check_unwatched * 2 ** min(looks - 1, 10), settings.check_unwatched_max)
            wait = _jittered(seconds, chance)
        due = now + wait
        return min(due, deadline) if now < deadline else due
    table = PAID_LOOKS if status in MONEY_CAME else LATE_LOOKS
    if status is PaymentStatus.REFUNDED or looks >= len(table):
        return None
    return now + _jittered(table[looks], chance)


def _late_looks() -> Iterator[timedelta]:
    return (timedelta(seconds=seconds) for seconds in accumulate(LATE_LOOKS))


def _jittered(seconds: int, chance: random.Random) -> timedelta:
    # Whole milliseconds, and never later than asked for: bounds stay bounds.
    return timedelta(milliseconds=seconds * 1000 - chance.randrange(seconds * 1000 // 3 + 1))
