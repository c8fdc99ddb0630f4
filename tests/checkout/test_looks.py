"""How often the provider is asked: soon again after one lost answer, and not for ever about what never ends."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest

import comanda.payments.store
from comanda.checkout.handle_webhook import REFUSED_AT_MOST, UNKNOWN_AT_MOST
from comanda.payments.model import Review
from comanda.payments.schedule import LATE_LOOKS, PAID_LOOKS
from comanda.staff.keys import Role
from tests.checkout.meddling import pass_time, with_provider
from tests.checkout.test_being_paid import assert_paid_once, notify, outcomes
from tests.checkout.test_refunds import ALL, lines, review
from tests.running_diner import Diner


async def watch(diner: Diner) -> None:
    """Look at every order, as an open page does."""
    now = diner.checkout.clock()
    ids = [row["id"] for row in await diner.pool.fetch("SELECT id FROM orders")]
    async with diner.pool.acquire() as connection:
        await comanda.payments.store.note_watched(
            connection,
            ids,
            watched_until=now + timedelta(seconds=diner.checkout.settings.watch_window),
            check_by=now + timedelta(seconds=diner.checkout.settings.check_watched),
        )


async def next_look_in(diner: Diner) -> float:
    """Answer in how many seconds the only payment is asked about."""
    due = await diner.value("SELECT next_check_at FROM payments")
    return float((due - diner.checkout.clock()).total_seconds())


async def old_and_silent(diner: Diner, *, watched: bool = False) -> dict[str, Any]:
    """Place an order that has been looked at many times and of which no webhook tells."""
    diner.sandbox.arm("webhook_never", times=None)
    order = await diner.place()
    for _ in range(30):
        if watched:
            await watch(diner)
        await diner.later(seconds=20)
        await diner.work()
    return order


async def test_one_look_without_an_answer_is_made_up_for_at_once(diner: Diner) -> None:
    order = await old_and_silent(diner)
    await diner.later(seconds=diner.checkout.settings.check_unwatched_max)
    diner.sandbox.arm("server_error", match={"operation": "get_payment"}, times=2)
    assert await diner.work() == 1
    assert await next_look_in(diner) <= diner.checkout.settings.retry_first
    await diner.later(seconds=diner.checkout.settings.retry_first)
    assert await diner.work() == 1
    assert await next_look_in(diner) <= 2 * diner.checkout.settings.retry_first
    await diner.pay(order)
    await pass_time(diner, minutes=0.5, step=5)
    await assert_paid_once(diner, order)
    assert await diner.value("SELECT failures FROM payments") == 0


@pytest.mark.parametrize("ended", [False, True])
async def test_while_a_guest_watches_or_has_cancelled_many_failures_do_not_make_it_rare(
    diner: Diner, ended: bool
) -> None:
    order = await old_and_silent(diner, watched=not ended)
    diner.sandbox.arm("server_error", match={"operation": "get_payment"}, times=None)
    if ended:
        assert (await diner.call("POST", f"/v1/orders/{order['id']}/cancel")).status == 200
        assert await diner.work() == 1
    for _ in range(12):
        if not ended:
            await watch(diner)
        await diner.later(seconds=diner.checkout.settings.check_watched)
        assert await diner.work() == 1
        assert await next_look_in(diner) <= diner.checkout.settings.check_watched
    diner.sandbox.clear_faults()
    await pass_time(diner, minutes=0.5, step=5)
    assert diner.sandbox.payments()[0].status == ("cancelled" if ended else "pending")


@pytest.mark.parametrize("operation", ["get_payment", "cancel_payment"])
async def test_the_provider_says_when_to_come_again(diner: Diner, operation: str) -> None:
    order = await old_and_silent(diner)
    await diner.call("POST", f"/v1/orders/{order['id']}/cancel")
    diner.sandbox.arm("rate_limited", retry_after=40, match={"operation": operation})
    await diner.work()
    assert 40 <= await next_look_in(diner) <= 42
    await diner.later(seconds=42)
    await diner.work()
    assert diner.sandbox.payments()[0].status == "cancelled"


# A webhook and an answer that is older --------------------------------------------------------------------------


@pytest.mark.parametrize("lag", ["not_found", "old_view"])
async def test_a_webhook_that_the_provider_shows_nothing_of_is_looked_into_again_soon(diner: Diner, lag: str) -> None:
    order = await diner.place()
    await diner.sandbox.settled()
    await pass_time(diner, minutes=15, step=60)
    real = diner.checkout.provider
    stale = await real.get_payment(diner.charge(order))
    answers = [None if lag == "not_found" else stale] * 2

    async def lagging(*arguments: Any, **named: Any) -> Any:
        return answers.pop() if answers else await real.get_payment(*arguments, **named)

    for loop in diner.loops.values():
        loop._checkout = with_provider(diner.checkout, get_payment=lagging)
    await diner.pay(order)
    await diner.work("webhooks")
    assert (await diner.order(order["id"]))["status"] == "awaiting_payment"
    assert (await outcomes(diner))[-1] == "claimed"
    for _ in range(6):
        await diner.later(seconds=3)
        await diner.work("webhooks")
    await assert_paid_once(diner, order)
    assert (await outcomes(diner))[-1] == "approved"


async def test_a_webhook_without_anything_new_is_given_up(diner: Diner) -> None:
    order = await diner.place()
    await diner.sandbox.settled()
    await diner.work()
    await notify(diner, diner.charge(order))
    asked = 0
    for _ in range(30):
        asked += await diner.work("webhooks")
        await diner.later(seconds=20)
    assert asked == UNKNOWN_AT_MOST
    assert (await outcomes(diner))[-1] == "pending"


async def test_a_webhook_that_tells_of_a_new_payment_is_not_looked_into_twice(diner: Diner) -> None:
    await diner.place()
    await diner.sandbox.settled()
    assert await diner.work("webhooks") == 1
    assert await outcomes(diner) == ["pending"]


@pytest.mark.parametrize("ours", [True, False])
async def test_a_webhook_whose_payment_the_provider_refuses_to_show_is_given_up(diner: Diner, ours: bool) -> None:
    order = await diner.place_paid()
    diner.sandbox.arm("forbidden_by_policy", times=None, match={"operation": "get_payment"})
    await notify(diner, diner.charge(order) if ours else 990_000_000_001)
    asked = 0
    for _ in range(2 * REFUSED_AT_MOST):
        asked += await diner.work("webhooks")
        await diner.later(minutes=6)
    assert asked == REFUSED_AT_MOST
    assert (await outcomes(diner))[-1] == "refused"


# What never ends ------------------------------------------------------------------------------------------------


def not_found(diner: Diner) -> None:
    """Let the provider know nothing of any payment from now on."""
    diner.sandbox.arm("not_found_after_create", times=None)


def unknown(diner: Diner) -> None:
    """Let the provider say a status that nobody knows from now on."""
    diner.sandbox.arm("unknown_status", times=None, match={"operation": "get_payment"})


def refused(diner: Diner) -> None:
    """Let the provider refuse to tell of any payment from now on."""
    diner.sandbox.arm("forbidden_by_policy", times=None, match={"operation": "get_payment"})


@pytest.mark.parametrize(
    ("silent", "why"),
    [
        (not_found, Review.NOT_FOUND),
        (refused, Review.NOT_FOUND),
        (unknown, Review.UNKNOWN_STATUS),
    ],
)
async def test_what_never_ends_is_asked_about_a_few_times_more_and_left_to_a_person(
    diner: Diner, silent: Callable[[Diner], None], why: Review
) -> None:
    order = await old_and_silent(diner)
    silent(diner)
    await pass_time(diner, minutes=42, step=120)
    assert (await diner.order(order["id"]))["status"] == "expired"
    looks = 0
    for _ in range(48):
        await watch(diner)
        await diner.later(hours=1)
        looks += await diner.work("payments")
    assert looks <= len(LATE_LOOKS)
    assert await review(diner) == why
    assert await diner.value("SELECT next_check_at FROM payments") is None
    # A webhook still counts.
    diner.sandbox.clear_faults()
    await notify(diner, diner.charge(order))
    await pass_time(diner, minutes=1)
    assert (await diner.order(order["id"]))["payment"]["status"] == "expired"
    assert await review(diner) is None


async def test_what_the_provider_never_ends_is_left_to_a_person_too(diner: Diner) -> None:
    order = await old_and_silent(diner)
    view = await diner.checkout.provider.get_payment(diner.charge(order))

    async def pending(*_: Any, **__: Any) -> Any:
        return view

    diner.loops["payments"]._checkout = with_provider(diner.checkout, get_payment=pending, cancel_payment=pending)
    await pass_time(diner, minutes=42, step=120)
    for _ in range(48):
        await diner.later(hours=1)
        await diner.work("payments")
    found = await diner.order(order["id"])
    assert (found["status"], found["payment"]["status"]) == ("expired", "pending")
    assert await review(diner) == Review.UNKNOWN_STATUS
    assert await diner.value("SELECT next_check_at FROM payments") is None


# What a person looked at ----------------------------------------------------------------------------------------


async def test_a_refusal_is_made_good_by_a_later_refund_of_the_same_lines(diner: Diner) -> None:
    order = await diner.place_paid(3, 1)
    diner.sandbox.arm("refund_refused", times=2)
    for line in (1, 2):
        await diner.refund(order, lines((line, 1)))
        await diner.work()
    for line, why in ((1, Review.REFUND_REFUSED), (2, None)):
        assert (await diner.refund(order, lines((line, 1)))).status == 201
        await diner.work()
        assert await review(diner) == why
    looks = 0
    for _ in range(24 * 4):
        await diner.later(hours=1)
        looks += await diner.work("payments")
    assert looks <= len(PAID_LOOKS) + 1


async def test_a_dispute_that_a_person_has_cleared_stays_cleared(diner: Diner) -> None:
    order = await diner.place_paid()
    diner.sandbox.act(diner.charge(order), "charge-back", outcome="settled")
    await diner.sandbox.settled()
    await diner.work()
    assert await review(diner) == Review.DISPUTED
    await diner.pool.execute("UPDATE payments SET review = NULL")
    looks = 0
    for _ in range(24 * 40):
        await diner.later(hours=1)
        looks += await diner.work("payments")
    assert 0 < looks <= len(PAID_LOOKS)
    assert await review(diner) is None


async def test_what_is_given_back_does_not_step_back_into_the_kitchen(diner: Diner) -> None:
    orders = [await diner.place_paid(), await diner.place_paid()]
    for order in orders:
        await diner.advance(order, "preparing", "ready", "picked_up")
    assert (await diner.refund(orders[0], ALL)).status == 201
    for _ in range(2):
        back = await diner.advance(orders[0], "ready")
        assert (back.status, back.code) == (409, "refunded")
        await diner.work()
    assert (await diner.advance(orders[1], "ready")).status == 200
    kitchen = (await diner.call("GET", "/v1/kitchen", role=Role.STAFF)).body
    assert [UUID(order["id"]) for order in kitchen["orders"]] == [UUID(orders[1]["id"])]
