"""When the provider is asked again: bounds that guests and the provider rely on."""

import random
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from comanda.payments.model import MONEY_CAME, OPEN, PaymentStatus
from comanda.payments.schedule import LATE_LOOKS, PAID_LOOKS, backoff, next_look, no_sooner
from tests.unit.samples import EXPIRES, PLACED, a_settings

KNOBS = a_settings()
ENDED = [status for status in PaymentStatus if status not in OPEN]
always = settings(derandomize=True, max_examples=200, deadline=None)


def look(status: PaymentStatus, seed: int = 0, **facts: object) -> timedelta | None:
    """Answer how long after `now` the next look is."""
    known: dict[str, object] = {"looks": 0, "watched": False, "deadline": EXPIRES, "now": PLACED}
    known |= facts
    due = next_look(status, **known, settings=KNOBS, chance=random.Random(seed))  # type: ignore[arg-type]
    return None if due is None else due - known["now"]  # type: ignore[operator]


@always
@given(st.sampled_from(sorted(OPEN)), st.integers(0, 10_000), st.integers(), st.booleans())
def test_a_watched_payment_is_asked_about_within_check_watched(
    status: PaymentStatus, looks: int, seed: int, late: bool
) -> None:
    now = EXPIRES + timedelta(minutes=3) if late else PLACED
    wait = look(status, seed, looks=looks, watched=True, now=now)
    assert wait is not None
    assert timedelta(seconds=KNOBS.check_watched * 2 / 3 - 0.001) <= wait <= timedelta(seconds=KNOBS.check_watched)


@always
@given(st.sampled_from(sorted(OPEN)), st.integers(0, 10_000), st.integers(0, 3600 * 1000), st.integers())
def test_an_open_payment_is_asked_about_at_its_deadline_at_the_latest(
    status: PaymentStatus, looks: int, milliseconds: int, seed: int
) -> None:
    now = EXPIRES - timedelta(milliseconds=milliseconds)
    wait = look(status, seed, looks=looks, now=now)
    assert wait is not None
    assert timedelta(0) < wait <= timedelta(seconds=KNOBS.check_unwatched_max)
    if now < EXPIRES:
        assert now + wait <= EXPIRES


def test_an_unwatched_payment_is_asked_about_less_and_less() -> None:
    waits = [look(PaymentStatus.PENDING, looks=looks, deadline=EXPIRES + timedelta(days=9)) for looks in range(8)]
    assert waits[0] == timedelta(seconds=KNOBS.check_first)
    most = [min(KNOBS.check_unwatched * 2**doubled, KNOBS.check_unwatched_max) for doubled in range(7)]
    for wait, seconds in zip(waits[1:], most, strict=True):
        assert wait is not None
        assert seconds * 2 / 3 <= wait.total_seconds() + 0.001 <= seconds + 0.001


def test_what_is_open_although_nobody_can_pay_it_is_asked_about_a_few_times_more_whoever_watches() -> None:
    for watched in (False, True):
        for status in OPEN:
            now, waits = EXPIRES, []
            while (wait := look(status, looks=10_000, watched=watched, over_at=EXPIRES, now=now)) is not None:
                waits.append(wait.total_seconds())
                now += wait
            assert tuple(waits) == LATE_LOOKS
            before = look(status, watched=True, over_at=EXPIRES, now=EXPIRES - timedelta(seconds=60))
            assert before is not None
            assert before <= timedelta(seconds=KNOBS.check_watched)


def test_an_ended_payment_is_asked_about_a_few_times_more_and_then_left_alone() -> None:
    for status in ENDED:
        table: tuple[int, ...] = PAID_LOOKS if status in MONEY_CAME else LATE_LOOKS
        if status is PaymentStatus.REFUNDED:
            table = ()
        for looks, seconds in enumerate(table):
            wait = look(status, looks=looks)
            assert wait is not None
            assert seconds * 2 / 3 <= wait.total_seconds() + 0.001 <= seconds + 0.001
        assert look(status, looks=len(table)) is None


@always
@given(st.integers(0, 10**6), st.integers())
def test_backoff_is_bounded_and_never_zero(tries: int, seed: int) -> None:
    wait = backoff(tries, KNOBS, random.Random(seed)).total_seconds()
    assert KNOBS.retry_first * 2 / 3 - 0.001 <= wait <= KNOBS.retry_max


def test_backoff_doubles() -> None:
    for tries in range(5):
        most = KNOBS.retry_first * 2**tries
        waits = [backoff(tries, KNOBS, random.Random(seed)).total_seconds() for seed in range(50)]
        assert most * 2 / 3 - 0.001 <= min(waits) < max(waits) <= most


class Widest(random.Random):
    """Chance that always says the most."""

    def randrange(self, stop: int) -> int:  # type: ignore[override]
        return stop - 1


def test_at_the_most_a_third_is_taken_off_and_at_the_least_nothing() -> None:
    knobs = a_settings(RETRY_FIRST=30, RETRY_MAX=60)
    assert backoff(0, knobs, Widest()) == timedelta(seconds=20)
    assert max(backoff(0, knobs, random.Random(seed)) for seed in range(50)) <= timedelta(seconds=30)


@pytest.mark.parametrize(
    ("retry_after", "seconds"), [(None, 20), (0, 20), (19, 20), (19.9, 20), (20, 21), (20.5, 21), (3600, 3601)]
)
def test_it_is_asked_again_no_sooner_than_the_provider_wants(retry_after: float | None, seconds: int) -> None:
    assert no_sooner(timedelta(seconds=20), retry_after) == timedelta(seconds=seconds)


def test_the_shortest_knobs_still_wait() -> None:
    knobs = a_settings(RETRY_FIRST=1, RETRY_MAX=1)
    assert backoff(9, knobs, random.Random(0)) > timedelta(0)
