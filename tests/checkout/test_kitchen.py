"""The kitchen moves orders along, also two cooks at once, and takes a step back while it is fresh."""

import asyncio
from typing import Any

import pytest

from comanda.staff.keys import Role
from tests.checkout.meddling import pass_time
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
