"""What staff see and do: lists, the kitchen, moves, refunds."""

from uuid import uuid4

import msgspec
import pytest

from comanda.checkout.order_document import OrderList, OrderPage, RefundDocument, RefundList
from comanda.staff.keys import Role
from tests.running_diner import Diner

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_orders_come_newest_first_page_by_page(house: Diner) -> None:
    placed = []
    for _ in range(5):
        placed.append((await house.place(1))["id"])
        await house.later(seconds=1)
    seen: list[str] = []
    path = "/v1/orders?limit=2"
    cursor = ""
    while len(seen) < 5:
        answer = await house.call("GET", path + cursor, role=Role.STAFF)
        assert set(answer.body) == {"orders", "next_cursor"}
        msgspec.convert(answer.body, OrderPage)
        seen += [order["id"] for order in answer.body["orders"]]
        cursor = f"&cursor={answer.body['next_cursor']}"
    assert seen[:5] == placed[::-1]


async def test_the_last_page_has_no_cursor(house: Diner) -> None:
    await house.place(1)
    answer = await house.call("GET", "/v1/orders?limit=200", role=Role.STAFF)
    assert answer.body["next_cursor"] is None


async def test_orders_by_status(house: Diner) -> None:
    paid = await house.place_paid(1)
    answer = await house.call("GET", "/v1/orders?status=paid", role=Role.STAFF)
    assert paid["id"] in [order["id"] for order in answer.body["orders"]]
    assert {order["status"] for order in answer.body["orders"]} == {"paid"}


async def test_the_kitchen_sees_ready_then_preparing_then_paid(house: Diner) -> None:
    orders = []
    for _ in range(6):
        orders.append(await house.place_paid(1))
        await house.later(seconds=1)
    for order in orders[:2]:
        await house.advance(order, "preparing", "ready")
    for order in orders[2:4]:
        await house.advance(order, "preparing")
    answer = await house.call("GET", "/v1/kitchen", role=Role.STAFF)
    assert set(answer.body) == {"orders"}
    msgspec.convert(answer.body, OrderList)
    ours = [order["id"] for order in answer.body["orders"] if order["id"] in {order["id"] for order in orders}]
    assert ours == [order["id"] for order in orders]
    ranks = [["ready", "preparing", "paid"].index(order["status"]) for order in answer.body["orders"]]
    assert ranks == sorted(ranks)


async def test_an_order_walks_to_pick_up_and_back_one_step(house: Diner) -> None:
    order = await house.place_paid(1)
    assert (await house.advance(order, "preparing")).body["status"] == "preparing"
    assert (await house.advance(order, "preparing")).status == 200
    assert (await house.advance(order, "paid")).body["status"] == "paid"
    assert (await house.advance(order, "preparing", "ready", "picked_up")).body["status"] == "picked_up"
    assert (await house.advance(order, "ready")).body["status"] == "ready"
    again = await house.advance(order, "preparing")
    assert (again.status, again.code) == (409, "too_late_to_step_back")


async def test_a_step_back_comes_too_late_after_30_seconds(house: Diner) -> None:
    order = await house.place_paid(1)
    await house.advance(order, "preparing")
    await house.later(seconds=31)
    answer = await house.advance(order, "paid")
    assert (answer.status, answer.code) == (409, "too_late_to_step_back")


@pytest.mark.parametrize("status", ["awaiting_payment", "ready", "picked_up", "cancelled", "expired"])
async def test_moves_that_there_are_not(house: Diner, status: str) -> None:
    answer = await house.advance(await house.place_paid(1), status)
    assert (answer.status, answer.code) == (409, "illegal_move")


@pytest.mark.parametrize("body", [{"status": "eaten"}, {}, {"status": None}, {"status": "paid", "x": 1}, [], None])
async def test_moves_that_are_none(house: Diner, body: object) -> None:
    order = await house.place_paid(1)
    answer = await house.call("PATCH", f"/v1/orders/{order['id']}", body, role=Role.STAFF)
    assert (answer.status, answer.code) == (422, "invalid")


async def test_a_refund_of_a_line_has_a_state_of_its_own(house: Diner) -> None:
    order = await house.place_paid(2, 1)
    body = {"items": [{"item_id": 1, "quantity": 1}], "reason": "acabou"}
    made = await house.refund(order, body, key="k" * 16)
    assert made.status == 201
    assert set(made.body) == {
        "id",
        "order_id",
        "status",
        "amount_cents",
        "items",
        "reason",
        "created_at",
        "decided_at",
    }
    msgspec.convert(made.body, RefundDocument)
    assert (made.body["status"], made.body["decided_at"], made.body["reason"]) == ("requested", None, "acabou")
    assert made.body["amount_cents"] == order["items"][0]["unit_price_cents"]
    assert (await house.refund(order, body, key="k" * 16)).body["id"] == made.body["id"]
    assert (await house.refund(order, {"all": True}, key="k" * 16)).code == "idempotency_key_reused"
    await house.work()
    listed = await house.call("GET", f"/v1/orders/{order['id']}/refunds", role=Role.STAFF)
    msgspec.convert(listed.body, RefundList)
    [refund] = listed.body["refunds"]
    assert (refund["id"], refund["status"]) == (made.body["id"], "approved")
    after = await house.order(order["id"])
    assert (after["refunded_cents"], after["payment"]["status"], after["status"]) == (
        made.body["amount_cents"],
        "partially_refunded",
        "paid",
    )


async def test_a_full_refund_leaves_the_kitchen_at_once(house: Diner) -> None:
    order = await house.place_paid(1)
    assert (await house.refund(order, {"all": True})).status == 201
    assert (await house.order(order["id"]))["status"] == "cancelled"
    kitchen = await house.call("GET", "/v1/kitchen", role=Role.STAFF)
    assert order["id"] not in [each["id"] for each in kitchen.body["orders"]]
    assert (await house.refund(order, {"all": True})).code == "already_refunded"


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({}, "items_or_all"),
        ({"all": False}, "items_or_all"),
        ({"all": True, "items": [{"item_id": 1, "quantity": 1}]}, "items_or_all"),
        ({"items": []}, "invalid"),
        ({"items": [{"item_id": 0, "quantity": 1}]}, "invalid"),
        ({"items": [{"item_id": 1, "quantity": 0}]}, "invalid"),
        ({"items": [{"item_id": 1, "quantity": "1"}]}, "invalid"),
        ({"items": [{"item_id": 9, "quantity": 1}]}, "item_not_found"),
        ({"items": [{"item_id": 1, "quantity": 1}] * 2}, "item_twice"),
        ({"all": 1}, "invalid"),
        ({"all": True, "amount_cents": 1}, "invalid"),
        ({"all": True, "reason": "x" * 201}, "invalid"),
        ({"all": True, "reason": "\x00"}, "invalid"),
    ],
)
async def test_refunds_that_are_none(house: Diner, body: object, code: str) -> None:
    answer = await house.refund(await house.place_paid(1), body)
    assert (answer.status, answer.code) == (422, code)


async def test_never_more_than_was_ordered(house: Diner) -> None:
    answer = await house.refund(await house.place_paid(1), {"items": [{"item_id": 1, "quantity": 2}]})
    assert (answer.status, answer.code) == (409, "already_refunded")


async def test_an_unpaid_order_has_nothing_to_give_back(house: Diner) -> None:
    answer = await house.refund(await house.place(1), {"all": True})
    assert (answer.status, answer.code) == (409, "not_refundable")


@pytest.mark.parametrize(("method", "rest"), [("PATCH", ""), ("POST", "/refunds"), ("GET", "/refunds")])
async def test_no_such_order(house: Diner, method: str, rest: str) -> None:
    body = {"PATCH": {"status": "ready"}, "POST": {"all": True}}.get(method)
    answer = await house.call(method, f"/v1/orders/{uuid4()}{rest}", body, role=Role.STAFF)
    assert (answer.status, answer.code) == (404, "order_not_found")
