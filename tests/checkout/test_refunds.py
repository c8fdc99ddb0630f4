"""Giving money back: promised once, asked for until the provider decides, never more than was paid."""

import asyncio
from typing import Any
from uuid import UUID, uuid4

import msgspec
import pytest

import comanda.payments.refunds
from comanda.checkout.send_refund import send_refund
from comanda.payments.model import Review
from comanda.staff.keys import Role
from tests.accounting import assert_every_real_is_accounted_for
from tests.checkout.meddling import Crash, dies_after, dies_before, pass_time, with_provider
from tests.running_diner import Diner

ALL = {"all": True}


def lines(*quantities: tuple[int, int]) -> dict[str, Any]:
    """Build the body of a refund of so many of these lines."""
    return {"items": [{"item_id": item, "quantity": quantity} for item, quantity in quantities]}


async def listed(diner: Diner, order: dict[str, Any]) -> list[tuple[str, int]]:
    """Answer an order's refunds as staff see them: status and amount."""
    answer = await diner.call("GET", f"/v1/orders/{order['id']}/refunds", role=Role.STAFF)
    assert answer.status == 200
    return [(refund["status"], refund["amount_cents"]) for refund in answer.body["refunds"]]


async def money(diner: Diner, order: dict[str, Any]) -> tuple[str, str, int]:
    """Answer where an order and its payment stand, and what of it went back."""
    found = await diner.order(order["id"])
    return found["status"], found["payment"]["status"], found["refunded_cents"]


async def in_kitchen(diner: Diner) -> set[str]:
    """Answer the ids of what the kitchen works on."""
    answer = await diner.call("GET", "/v1/kitchen", role=Role.STAFF)
    return {order["id"] for order in answer.body["orders"]}


async def review(diner: Diner) -> str | None:
    """Answer why a person must look at the only payment."""
    found: str | None = await diner.value("SELECT review FROM payments")
    return found


async def refunded_lines(diner: Diner) -> list[int]:
    """Answer how many of each line of the only order are given back, or about to be."""
    return [row["n"] for row in await diner.pool.fetch("SELECT refunded_quantity AS n FROM order_items ORDER BY id")]


async def test_all_before_pick_up_cancels_and_leaves_the_kitchen_at_once(diner: Diner) -> None:
    order = await diner.place_paid(2, 1)
    await diner.advance(order, "preparing")
    answer = await diner.refund(order, {**ALL, "reason": " acabou \n o pão "})
    assert answer.status == 201
    assert (answer.body["status"], answer.body["reason"]) == ("requested", "acabou o pão")
    assert answer.body["amount_cents"] == order["total_cents"]
    assert answer.body["items"] == [{"item_id": 1, "quantity": 2}, {"item_id": 2, "quantity": 1}]
    assert await money(diner, order) == ("cancelled", "approved", 0)
    assert order["id"] not in await in_kitchen(diner)
    await diner.work()
    assert await money(diner, order) == ("cancelled", "refunded", order["total_cents"])
    assert await listed(diner, order) == [("approved", order["total_cents"])]
    sums = await assert_every_real_is_accounted_for(diner)
    assert (sums.open, sums.served) == (0, 0)


async def test_after_pick_up_the_order_keeps_its_status(diner: Diner) -> None:
    order = await diner.place_paid()
    await diner.advance(order, "preparing", "ready", "picked_up")
    assert (await diner.refund(order, ALL)).status == 201
    await diner.work()
    await pass_time(diner, minutes=1)
    assert await money(diner, order) == ("picked_up", "refunded", order["total_cents"])
    await assert_every_real_is_accounted_for(diner)


async def test_line_by_line_until_nothing_is_left(diner: Diner) -> None:
    order = await diner.place_paid(3, 1)
    price = order["items"][0]["unit_price_cents"]
    first = await diner.refund(order, lines((1, 2)))
    assert (first.body["amount_cents"], first.body["items"]) == (2 * price, [{"item_id": 1, "quantity": 2}])
    too_many = await diner.refund(order, lines((1, 2)))
    assert (too_many.status, too_many.code) == (409, "already_refunded")
    await diner.work()
    assert await money(diner, order) == ("paid", "partially_refunded", 2 * price)
    assert order["id"] in await in_kitchen(diner)
    # One line, then everything that is left.
    rest = await diner.refund(order, ALL)
    assert rest.body["amount_cents"] == order["total_cents"] - 2 * price
    assert rest.body["items"] == [{"item_id": 1, "quantity": 1}, {"item_id": 2, "quantity": 1}]
    await diner.work()
    assert await money(diner, order) == ("cancelled", "refunded", order["total_cents"])
    nothing = await diner.refund(order, ALL)
    assert (nothing.status, nothing.code) == (409, "not_refundable")
    assert (await assert_every_real_is_accounted_for(diner)).refunded == order["total_cents"]


async def test_the_last_lines_cancel_like_all_of_it(diner: Diner) -> None:
    order = await diner.place_paid(1, 1)
    await diner.refund(order, lines((1, 1)))
    await diner.refund(order, lines((2, 1)))
    assert (await money(diner, order))[0] == "cancelled"
    again = await diner.refund(order, ALL)
    assert (again.status, again.code) == (409, "already_refunded")
    await diner.work()
    assert await money(diner, order) == ("cancelled", "refunded", order["total_cents"])


REFUSED: list[tuple[dict[str, Any], int, str]] = [
    ({}, 422, "items_or_all"),
    ({**ALL, **lines((1, 1))}, 422, "items_or_all"),
    (lines((1, 1), (1, 1)), 422, "item_twice"),
    (lines((9, 1)), 422, "item_not_found"),
    (lines((1, 2)), 409, "already_refunded"),
]


async def test_what_cannot_be_given_back_is_refused(diner: Diner) -> None:
    order = await diner.place_paid()
    for body, status, code in REFUSED:
        refused = await diner.refund(order, body)
        assert (refused.status, refused.code) == (status, code)
    assert await refunded_lines(diner) == [0]
    assert await listed(diner, order) == []


async def test_what_was_not_paid_cannot_be_given_back(diner: Diner) -> None:
    order = await diner.place()
    refused = await diner.refund(order, ALL)
    assert (refused.status, refused.code) == (409, "not_refundable")
    unknown = await diner.refund({"id": str(uuid4())}, ALL)
    assert (unknown.status, unknown.code) == (404, "order_not_found")


async def test_two_in_one_moment_never_give_back_more_than_was_paid(diner: Diner) -> None:
    order = await diner.place_paid(2, 1)
    bodies = [ALL, ALL, lines((1, 2)), lines((1, 1)), lines((2, 1)), lines((1, 1))]
    answers = await asyncio.gather(*[diner.refund(order, body) for body in bodies])
    assert {answer.status for answer in answers} == {201, 409}
    promised = sum(answer.body["amount_cents"] for answer in answers if answer.status == 201)
    assert promised <= order["total_cents"]
    await diner.work()
    await pass_time(diner, minutes=1)
    assert (await money(diner, order))[2] == promised
    await assert_every_real_is_accounted_for(diner)


# Idempotency keys ---------------------------------------------------------------------------------------------


async def test_the_same_key_makes_one_refund(diner: Diner) -> None:
    order = await diner.place_paid(2)
    key = "refund-key-0123456789"
    first = await diner.refund(order, lines((1, 1)), key)
    again = await diner.refund(order, lines((1, 1)), key)
    assert again.body == first.body
    other = await diner.refund(order, ALL, key)
    assert (other.status, other.code) == (409, "idempotency_key_reused")
    await diner.work()
    now = await diner.refund(order, lines((1, 1)), key)
    assert (now.body["id"], now.body["status"]) == (first.body["id"], "approved")
    assert len(diner.sandbox.refunds()) == 1
    await diner.later(hours=24, seconds=1)
    second = await diner.refund(order, lines((1, 1)), key)
    assert (second.status, second.body["id"] != first.body["id"]) == (201, True)


async def test_the_same_key_twice_in_one_moment_makes_one_refund(diner: Diner) -> None:
    order = await diner.place_paid()
    answers = await asyncio.gather(*[diner.refund(order, ALL, "refund-key-0123456789") for _ in range(5)])
    assert [answer.status for answer in answers] == [201] * 5, answers
    assert len({answer.body["id"] for answer in answers}) == 1


async def test_a_key_belongs_to_its_order(diner: Diner) -> None:
    one, two = await diner.place_paid(), await diner.place_paid()
    key = "refund-key-0123456789"
    first, second = await diner.refund(one, ALL, key), await diner.refund(two, ALL, key)
    assert (first.status, second.status) == (201, 201)
    assert first.body["id"] != second.body["id"]


# How the provider answers -------------------------------------------------------------------------------------


@pytest.mark.parametrize("body", [ALL, lines((1, 1))])
async def test_a_refund_in_process_waits_until_the_provider_approves(diner: Diner, body: dict[str, Any]) -> None:
    order = await diner.place_paid(2)
    diner.sandbox.arm("refund_in_process")
    amount = (await diner.refund(order, body)).body["amount_cents"]
    await diner.work()
    assert await listed(diner, order) == [("in_process", amount)]
    assert (await money(diner, order))[2] == 0
    left = await diner.refund(order, ALL)
    assert left.status == (409 if body is ALL else 201), "what is promised is not promised twice"
    [refund, *_] = diner.sandbox.refunds()
    await pass_time(diner, minutes=3)
    assert (await listed(diner, order))[0] == ("in_process", amount)
    diner.sandbox.decide_refund(refund.id, approved=True)
    await pass_time(diner, minutes=6, step=60)
    assert (await listed(diner, order))[0] == ("approved", amount)
    assert await money(diner, order) == ("cancelled", "refunded", order["total_cents"])
    assert (await assert_every_real_is_accounted_for(diner)).open == 0


async def test_a_refund_in_process_that_is_refused_frees_its_lines_and_a_person_looks(diner: Diner) -> None:
    order = await diner.place_paid(2)
    diner.sandbox.arm("refund_in_process")
    amount = (await diner.refund(order, lines((1, 1)))).body["amount_cents"]
    await diner.work()
    assert await refunded_lines(diner) == [1]
    diner.sandbox.decide_refund(diner.sandbox.refunds()[0].id, approved=False)
    await pass_time(diner, minutes=6, step=60)
    assert await listed(diner, order) == [("rejected", amount)]
    assert await refunded_lines(diner) == [0]
    assert await money(diner, order) == ("paid", "approved", 0)
    assert await review(diner) == Review.REFUND_REFUSED
    # It can be asked for again, by a person.
    assert (await diner.refund(order, ALL)).status == 201
    await diner.work()
    await pass_time(diner, minutes=1)
    assert await money(diner, order) == ("cancelled", "refunded", order["total_cents"])
    assert await review(diner) is None
    await assert_every_real_is_accounted_for(diner)


async def test_a_refused_refund_of_all_is_not_asked_for_again_by_itself(diner: Diner) -> None:
    order = await diner.place_paid()
    diner.sandbox.arm("refund_refused", times=None)
    await diner.refund(order, ALL)
    await pass_time(diner, minutes=3 * 60, step=1200)
    assert await listed(diner, order) == [("rejected", order["total_cents"])]
    assert await money(diner, order) == ("cancelled", "approved", 0)
    assert await review(diner) == Review.REFUND_REFUSED
    assert (await assert_every_real_is_accounted_for(diner)).open == order["total_cents"]
    diner.sandbox.clear_faults()
    assert (await diner.refund(order, ALL)).status == 201
    await diner.work()
    assert await money(diner, order) == ("cancelled", "refunded", order["total_cents"])
    assert (await assert_every_real_is_accounted_for(diner)).open == 0


async def test_a_refusal_is_not_mended_by_somebody_elses_refund_of_the_same_amount(diner: Diner) -> None:
    order = await diner.place_paid(3)
    price = order["items"][0]["unit_price_cents"]
    diner.sandbox.act(diner.charge(order), "refund", amount_cents=price)
    await diner.sandbox.settled()
    await diner.work()
    diner.sandbox.arm("refund_refused")
    await diner.refund(order, lines((1, 1)))
    await diner.work()
    assert await listed(diner, order) == [("rejected", price)]
    assert await money(diner, order) == ("paid", "partially_refunded", price)


@pytest.mark.parametrize("replay", ["empty", "first_result"])
@pytest.mark.parametrize("body", [ALL, lines((1, 1))])
async def test_a_refund_whose_answer_was_lost_is_found_again(diner: Diner, body: dict[str, Any], replay: str) -> None:
    diner.sandbox.behave(refund_replay=replay)
    order = await diner.place_paid(2)
    diner.sandbox.arm("refund_answer_lost", times=2)
    amount = (await diner.refund(order, body)).body["amount_cents"]
    await diner.work()
    assert await listed(diner, order) == [("requested", amount)]
    await pass_time(diner, minutes=1)
    assert await listed(diner, order) == [("approved", amount)]
    assert [refund.amount_cents for refund in diner.sandbox.refunds()] == [amount]
    assert (await money(diner, order))[2] == amount
    await assert_every_real_is_accounted_for(diner)


async def test_the_rest_that_was_given_back_without_an_answer_is_found_although_it_is_less(diner: Diner) -> None:
    order = await diner.place_paid(2)
    diner.sandbox.arm("webhook_never", times=None)
    diner.sandbox.act(diner.charge(order), "refund", amount_cents=100)
    diner.sandbox.arm("refund_answer_lost")
    await diner.refund(order, ALL)
    await pass_time(diner, minutes=1)
    assert await listed(diner, order) == [("approved", order["total_cents"])]
    assert await money(diner, order) == ("cancelled", "refunded", order["total_cents"])
    assert [refund.amount_cents for refund in diner.sandbox.refunds()] == [100, order["total_cents"] - 100]
    await assert_every_real_is_accounted_for(diner)


@pytest.mark.parametrize("body", [ALL, lines((1, 1))])
async def test_a_refusal_of_the_second_copy_finds_the_first(diner: Diner, body: dict[str, Any]) -> None:
    order = await diner.place_paid(2)
    diner.sandbox.arm("refund_answer_lost")
    diner.sandbox.arm("refused", code=2063, match={"operation": "create_refund"})
    amount = (await diner.refund(order, body)).body["amount_cents"]
    await pass_time(diner, minutes=1)
    assert await listed(diner, order) == [("approved", amount)]
    assert len(diner.sandbox.refunds()) == 1
    await assert_every_real_is_accounted_for(diner)


async def test_a_replay_that_the_list_does_not_show_yet_is_asked_again(diner: Diner) -> None:
    order = await diner.place_paid(2)

    async def nothing(*_: Any, **__: Any) -> None:
        return None

    async def empty(*_: Any, **__: Any) -> list[object]:
        return []

    await diner.refund(order, lines((1, 1)))
    loop = diner.loops["refunds"]
    loop._checkout = with_provider(diner.checkout, create_refund=nothing, list_refunds=empty)
    await loop.once()
    assert (await listed(diner, order))[0][0] == "requested"
    assert "does not show" in await diner.value("SELECT last_error FROM refunds")
    loop._checkout = diner.checkout
    await pass_time(diner, minutes=1)
    assert (await listed(diner, order))[0][0] == "approved"


UNDECIDED: list[tuple[str, dict[str, Any]]] = [
    ("server_error", {}),
    ("server_error", {"effect": True}),
    ("time_out", {"seconds": 0.0}),
    ("rate_limited", {"retry_after": 20}),
    ("refused", {"status": 401, "code": 7}),
]


async def test_a_refund_is_asked_for_until_the_provider_decides(diner: Diner) -> None:
    orders = []
    for fault, values in UNDECIDED:
        order = await diner.place_paid()
        diner.sandbox.arm(fault, match={"operation": "create_refund"}, **values)
        await diner.refund(order, ALL)
        await diner.work("refunds")
        assert (await listed(diner, order))[0][0] == "requested"
        orders.append(order)
    assert await diner.value("SELECT count(last_error) FROM refunds") == len(orders)
    await pass_time(diner, minutes=1.5, step=15)
    for order in orders:
        assert await money(diner, order) == ("cancelled", "refunded", order["total_cents"])
    assert len(diner.sandbox.refunds()) == len(orders)
    assert (await assert_every_real_is_accounted_for(diner)).open == 0


async def test_a_refund_that_the_provider_has_forgotten_is_asked_for_anew(diner: Diner) -> None:
    order = await diner.place_paid()
    diner.sandbox.arm("refund_in_process")
    await diner.refund(order, ALL)
    await diner.work()
    diner.sandbox.decide_refund(diner.sandbox.refunds()[0].id, approved=True)
    diner.sandbox.arm("refused", status=404, code=2000, match={"operation": "get_refund"})
    await pass_time(diner, minutes=1)
    assert (await listed(diner, order))[0][0] == "approved"
    assert len(diner.sandbox.refunds()) == 1


@pytest.mark.parametrize("dies", [dies_before, dies_after])
async def test_a_worker_that_dies_around_a_refund_is_followed_by_another(diner: Diner, dies: Any) -> None:
    order = await diner.place_paid()
    await diner.refund(order, ALL)
    now = diner.checkout.clock()
    async with diner.pool.acquire() as connection:
        lease = now + diner.checkout.settings.lease
        [refund] = await comanda.payments.refunds.claim_due(connection, now=now, lease_until=lease, limit=5)
    with pytest.raises(Crash):
        await send_refund(dies(diner.checkout, "create_refund"), refund)
    assert await diner.work("refunds") == 0
    await diner.later(seconds=diner.checkout.settings.worker_lease)
    await diner.work()
    assert await money(diner, order) == ("cancelled", "refunded", order["total_cents"])
    assert len(diner.sandbox.refunds()) == 1


async def test_two_workers_with_the_same_refund_decide_it_once(diner: Diner) -> None:
    order = await diner.place_paid(2)
    await diner.refund(order, lines((1, 1)))
    async with diner.pool.acquire() as connection:
        [refund] = await comanda.payments.refunds.of_order(connection, UUID(order["id"]))
    twice = msgspec.structs.replace(refund, attempts=2)
    await asyncio.gather(send_refund(diner.checkout, twice), send_refund(diner.checkout, twice))
    # And one that comes to it only now: the row that it holds says nothing of the decision.
    await send_refund(diner.checkout, twice)
    await diner.work()
    assert await listed(diner, order) == [("approved", refund.amount_cents)]
    assert await diner.value("SELECT refund_reserved_cents FROM payments") == 0
    assert len(diner.sandbox.refunds()) == 1
    await assert_every_real_is_accounted_for(diner)


async def test_a_refund_seen_in_the_payment_before_its_own_answer_is_counted_once(diner: Diner) -> None:
    order = await diner.place_paid(2)
    price = order["items"][0]["unit_price_cents"]
    await diner.advance(order, "preparing", "ready", "picked_up")
    diner.sandbox.arm("refund_answer_lost")
    await diner.refund(order, lines((1, 1)))
    await diner.work("refunds")
    await diner.sandbox.settled()
    await diner.work("webhooks")
    assert (await diner.order(order["id"]))["refunded_cents"] == 0
    rest = await diner.refund(order, ALL)
    assert rest.body["amount_cents"] == price
    await pass_time(diner, minutes=1)
    assert await money(diner, order) == ("picked_up", "refunded", 2 * price)
    await assert_every_real_is_accounted_for(diner)


# Given back by others -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("webhook", [True, False])
async def test_a_part_given_back_in_the_providers_panel_is_seen(diner: Diner, webhook: bool) -> None:
    order = await diner.place_paid(2)
    if not webhook:
        diner.sandbox.arm("webhook_never", times=None)
    diner.sandbox.act(diner.charge(order), "refund", amount_cents=100)
    await diner.sandbox.settled()
    if not webhook:
        await diner.later(hours=1)
    await diner.work()
    assert await money(diner, order) == ("paid", "partially_refunded", 100)
    too_much = await diner.refund(order, lines((1, 2)))
    assert (too_much.status, too_much.code) == (409, "more_than_paid")
    rest = await diner.refund(order, ALL)
    assert rest.body["amount_cents"] == order["total_cents"] - 100
    await diner.work()
    await pass_time(diner, minutes=1)
    assert await money(diner, order) == ("cancelled", "refunded", order["total_cents"])
    await assert_every_real_is_accounted_for(diner)


async def test_all_given_back_in_the_providers_panel_leaves_the_kitchen(diner: Diner) -> None:
    order, eaten = await diner.place_paid(), await diner.place_paid()
    await diner.advance(order, "preparing", "ready")
    await diner.advance(eaten, "preparing", "ready", "picked_up")
    for paid in (order, eaten):
        diner.sandbox.act(diner.charge(paid), "refund")
    await diner.sandbox.settled()
    await diner.work()
    assert await money(diner, order) == ("cancelled", "refunded", order["total_cents"])
    assert await money(diner, eaten) == ("picked_up", "refunded", order["total_cents"])
    assert await in_kitchen(diner) == set()
    await assert_every_real_is_accounted_for(diner)


async def test_all_given_back_in_the_panel_while_a_part_is_promised_here(diner: Diner) -> None:
    order = await diner.place_paid(2)
    diner.sandbox.act(diner.charge(order), "refund")
    amount = (await diner.refund(order, lines((1, 1)))).body["amount_cents"]
    await diner.sandbox.settled()
    await diner.work()
    await pass_time(diner, minutes=1)
    assert await listed(diner, order) == [("rejected", amount)]
    assert await money(diner, order) == ("cancelled", "refunded", order["total_cents"])
    assert await review(diner) is None
    await assert_every_real_is_accounted_for(diner)


async def test_a_part_given_back_in_the_panel_while_a_part_is_promised_here(diner: Diner) -> None:
    order = await diner.place_paid(2)
    price = order["items"][0]["unit_price_cents"]
    diner.sandbox.act(diner.charge(order), "refund", amount_cents=100)
    await diner.refund(order, lines((1, 1)))
    await diner.sandbox.settled()
    await diner.work()
    await pass_time(diner, minutes=1)
    assert await money(diner, order) == ("paid", "partially_refunded", price + 100)
    await assert_every_real_is_accounted_for(diner)


async def test_given_back_before_we_knew_that_it_was_paid(diner: Diner) -> None:
    order = await diner.place()
    await diner.sandbox.settled()
    await diner.work()
    diner.sandbox.act(diner.charge(order), "pay")
    diner.sandbox.act(diner.charge(order), "refund")
    await diner.sandbox.settled()
    await diner.work()
    assert await money(diner, order) == ("cancelled", "refunded", order["total_cents"])
    assert "paid" not in await diner.history(order)
    await assert_every_real_is_accounted_for(diner)


# Disputes -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("action", "options", "status"),
    [
        ("mediate", {}, "in_mediation"),
        ("charge-back", {"outcome": "settled"}, "charged_back"),
        ("charge-back", {"outcome": "in_process"}, "charged_back"),
    ],
)
async def test_contested_money_is_looked_at_and_not_given_back_beside(
    diner: Diner, action: str, options: dict[str, str], status: str
) -> None:
    order = await diner.place_paid()
    diner.sandbox.act(diner.charge(order), action, **options)
    await diner.sandbox.settled()
    await diner.work()
    assert await money(diner, order) == ("paid", status, 0)
    assert await review(diner) == Review.DISPUTED
    refused = await diner.refund(order, ALL)
    assert (refused.status, refused.code) == (409, "not_refundable")
    assert (await diner.advance(order, "preparing")).status == 200
    await assert_every_real_is_accounted_for(diner)


async def test_a_mediation_that_ends_well_leaves_everything_as_it_was(diner: Diner) -> None:
    order = await diner.place_paid()
    diner.sandbox.act(diner.charge(order), "mediate")
    await diner.sandbox.settled()
    await diner.work()
    diner.sandbox.arm("webhook_never", times=None)
    diner.sandbox.act(diner.charge(order), "resolve")
    await diner.later(hours=1)
    await diner.work()
    assert await money(diner, order) == ("paid", "approved", 0)
    assert await review(diner) is None


async def test_contested_before_we_knew_that_it_was_paid_is_not_cooked(diner: Diner) -> None:
    order = await diner.place()
    await diner.sandbox.settled()
    await diner.work()
    diner.sandbox.act(diner.charge(order), "pay")
    diner.sandbox.act(diner.charge(order), "mediate")
    await diner.sandbox.settled()
    await diner.work()
    assert await money(diner, order) == ("cancelled", "in_mediation", 0)
    diner.sandbox.act(diner.charge(order), "resolve")
    await diner.sandbox.settled()
    await diner.work()
    await pass_time(diner, minutes=1)
    assert await money(diner, order) == ("cancelled", "refunded", order["total_cents"])
    await assert_every_real_is_accounted_for(diner)


@pytest.mark.parametrize("body", [ALL, lines((1, 1))])
async def test_contested_while_a_refund_is_under_way(diner: Diner, body: dict[str, Any]) -> None:
    order = await diner.place_paid(2)
    diner.sandbox.arm("refund_in_process")
    amount = (await diner.refund(order, body)).body["amount_cents"]
    await diner.work()
    diner.sandbox.act(diner.charge(order), "mediate")
    await diner.sandbox.settled()
    await diner.work()
    diner.sandbox.decide_refund(diner.sandbox.refunds()[0].id, approved=True)
    await pass_time(diner, minutes=6, step=60)
    assert await listed(diner, order) == [("approved", amount)]
    if body is not ALL:
        assert await money(diner, order) == ("paid", "in_mediation", amount)
        assert await review(diner) == Review.DISPUTED
    assert (await diner.order(order["id"]))["refunded_cents"] == amount
    await assert_every_real_is_accounted_for(diner)
