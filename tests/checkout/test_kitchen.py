"""The kitchen moves orders along, also two cooks at once, and takes a step back while it is fresh."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from comanda.kitchen.hand_over_forgotten import hand_over_forgotten
from comanda.orders.pickup import LONGEST
from comanda.staff.keys import Role
from tests.checkout.meddling import pass_time
from tests.database.rows import add_open_orders
from tests.running_diner import Diner


async def board(diner: Diner) -> dict[str, list[int]]:
    """Read the board."""
    answer = await diner.call("GET", "/v1/board")
    assert answer.status == 200
    return dict(answer.body)


async def test_the_board_shows_what_is_prepared_and_ready_longest_first(diner: Diner) -> None:
    orders = [await diner.place_paid() for _ in range(4)]
    assert await board(diner) == {"preparing": [], "ready": []}
    for order in (orders[2], orders[0], orders[1]):
        await diner.later(seconds=1)
        await diner.advance(order, "preparing")
    assert await board(diner) == {"preparing": [3, 1, 2], "ready": []}
    await diner.advance(orders[1], "ready")
    assert await board(diner) == {"preparing": [3, 1], "ready": [2]}
    await diner.advance(orders[1], "picked_up")
    assert await board(diner) == {"preparing": [3, 1], "ready": []}


async def test_who_moves_it_is_in_the_history(diner: Diner) -> None:
    order = await diner.place_paid()
    await diner.advance(order, "preparing")
    rows = await diner.pool.fetch("SELECT actor, status_from, status_to FROM order_events ORDER BY version")
    assert [tuple(row) for row in rows] == [
        ("guest", None, "awaiting_payment"),
        ("webhook", "awaiting_payment", "paid"),
        ("test staff", "paid", "preparing"),
    ]


async def test_two_cooks_who_want_the_same_are_both_right(diner: Diner) -> None:
    order = await diner.place_paid()
    answers = await asyncio.gather(*[diner.advance(order, "preparing") for _ in range(6)])
    assert {(answer.status, answer.body["status"]) for answer in answers} == {(200, "preparing")}
    assert (await diner.history(order)).count("preparing") == 1


async def test_two_cooks_who_want_different_things_do_one_after_the_other(diner: Diner) -> None:
    order = await diner.place_paid()
    await diner.advance(order, "preparing")
    forward, back = await asyncio.gather(diner.advance(order, "ready"), diner.advance(order, "paid"))
    assert sorted([forward.status, back.status]) == [200, 409]
    status = "ready" if forward.status == 200 else "paid"
    assert (await diner.order(order["id"]))["status"] == status


@pytest.mark.parametrize("steps", [["preparing"], ["preparing", "ready"], ["preparing", "ready", "picked_up"]])
async def test_a_step_back_within_30_seconds_and_not_after(diner: Diner, steps: list[str]) -> None:
    one, two = await diner.place_paid(), await diner.place_paid()
    for order in (one, two):
        await diner.advance(order, *steps)
    before = ["paid", *steps][-2]
    await diner.later(seconds=28)
    assert (await diner.advance(one, before)).body["status"] == before
    again = await diner.advance(one, ["awaiting_payment", "paid", *steps][-3])
    assert again.status == 409, "one step, once"
    await diner.later(seconds=3)
    late = await diner.advance(two, before)
    assert (late.status, late.code) == (409, "too_late_to_step_back")
    assert (await diner.advance(one, steps[-1])).status == 200
    found = await diner.order(one["id"])
    assert (found["pickup_number"], found["paid_at"]) == (one["pickup_number"], one["paid_at"])


async def test_any_other_move_is_refused(diner: Diner) -> None:
    waiting, paid = await diner.place(), await diner.place_paid()
    for order, status in [
        (waiting, "paid"),
        (waiting, "preparing"),
        (paid, "ready"),
        (paid, "picked_up"),
        (paid, "cancelled"),
        (paid, "awaiting_payment"),
    ]:
        refused = await diner.advance(order, status)
        assert (refused.status, refused.code) == (409, "illegal_move")
    unknown = await diner.advance({"id": "11111111-1111-4111-8111-111111111111"}, "preparing")
    assert (unknown.status, unknown.code) == (404, "order_not_found")


async def test_an_order_whose_number_is_on_a_newer_one_does_not_step_back(diner: Diner) -> None:
    order = await diner.place_paid()
    await diner.advance(order, "preparing", "ready", "picked_up")
    newer = await diner.place_paid()
    await diner.pool.execute("UPDATE orders SET pickup_number = 1 WHERE pickup_number = 2")
    refused = await diner.advance(order, "ready")
    assert (refused.status, refused.code) == (409, "too_late_to_step_back")
    assert (await diner.order(newer["id"]))["pickup_number"] == order["pickup_number"]


async def test_cooking_and_refunding_in_one_moment(diner: Diner) -> None:
    orders = [await diner.place_paid() for _ in range(3)]
    tasks: list[Any] = [diner.advance(order, "preparing") for order in orders]
    tasks += [diner.refund(order, {"all": True}) for order in orders]
    answers = await asyncio.gather(*tasks)
    assert {answer.status for answer in answers[3:]} == {201}
    assert {answer.status for answer in answers[:3]} <= {200, 409}
    await pass_time(diner, minutes=1)
    assert {(await diner.order(order["id"]))["status"] for order in orders} == {"cancelled"}
    assert (await diner.call("GET", "/v1/kitchen", role=Role.STAFF)).body == {"orders": []}


async def test_what_was_ready_for_a_day_is_handed_over_and_its_number_is_free_again(diner: Diner) -> None:
    async with diner.pool.acquire() as connection:
        await add_open_orders(connection, 4, LONGEST)
    forgotten, cancelled = await diner.place_paid(), await diner.place_paid()
    for order in (forgotten, cancelled):
        await diner.advance(order, "preparing", "ready")
    after = timedelta(seconds=diner.checkout.settings.forgotten_after)
    await diner.later(seconds=after.total_seconds() - 1)
    fresh = await diner.place_paid()
    await diner.advance(fresh, "preparing", "ready")
    before = await diner.history(forgotten)
    await hand_over_forgotten(diner.pool, diner.checkout.clock, after)
    assert await diner.history(forgotten) == before, "not yet"
    await diner.refund(cancelled, {"all": True})
    await diner.later(seconds=2)
    await hand_over_forgotten(diner.pool, diner.checkout.clock, after)
    statuses = [(await diner.order(order["id"]))["status"] for order in (forgotten, cancelled, fresh)]
    assert statuses == ["picked_up", "cancelled", "ready"]
    last = await diner.pool.fetchrow("SELECT actor, reason FROM order_events ORDER BY id DESC LIMIT 1")
    assert tuple(last or ()) == ("worker", "forgotten")
    assert (await diner.place_paid())["pickup_number"] in {forgotten["pickup_number"], cancelled["pickup_number"]}


async def test_one_that_is_given_back_while_it_is_handed_over_is_left_alone(diner: Diner) -> None:
    order = await diner.place_paid()
    await diner.advance(order, "preparing", "ready")
    await diner.later(days=1, seconds=1)
    async with diner.pool.acquire() as connection, connection.transaction():
        await connection.execute("SELECT FROM orders FOR UPDATE")
        moving = asyncio.create_task(hand_over_forgotten(diner.pool, diner.checkout.clock, timedelta(days=1)))
        async with asyncio.timeout(10):
            while not await diner.value("SELECT count(*) FROM pg_locks WHERE NOT granted"):
                pass
        await connection.execute("UPDATE orders SET status = 'cancelled', version = version + 1")
    await moving
    assert (await diner.order(order["id"]))["status"] == "cancelled"
