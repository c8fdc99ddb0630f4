"""Idempotency keys of placing: the same key and body is the same order, whoever asks how often."""

import asyncio

import pytest

from comanda.staff.keys import Role
from tests.accounting import assert_every_real_is_accounted_for
from tests.checkout.meddling import Crash, dies_after, dies_before, place_with
from tests.running_diner import Diner

KEY = "a-key-of-some-length"


async def count(diner: Diner) -> int:
    """Answer how many orders there are."""
    return int(await diner.value("SELECT count(*) FROM orders"))


async def test_the_same_key_and_body_answers_with_the_order_as_it_now_is(diner: Diner) -> None:
    order = await diner.place(2, key=KEY)
    assert await diner.place(2, key=KEY) == order
    await diner.pay(order)
    await diner.work()
    again = await diner.place(2, key=KEY)
    assert (again["id"], again["status"], again["pickup_number"]) == (order["id"], "paid", 1)
    assert await count(diner) == 1
    assert (await assert_every_real_is_accounted_for(diner)).served == order["total_cents"]


async def test_the_same_key_with_another_body_is_a_conflict(diner: Diner) -> None:
    await diner.place(2, key=KEY)
    refused = await diner.call("POST", "/v1/orders", diner.basket(1), headers={"Idempotency-Key": KEY})
    assert (refused.status, refused.code) == (409, "idempotency_key_reused")
    assert await count(diner) == 1


async def test_without_a_key_the_same_body_is_another_order(diner: Diner) -> None:
    assert (await diner.place())["id"] != (await diner.place())["id"]


async def test_many_at_once_with_one_key_make_one_order(diner: Diner) -> None:
    body, headers = diner.basket(1), {"Idempotency-Key": KEY}
    answers = await asyncio.gather(*[diner.call("POST", "/v1/orders", body, headers=headers) for _ in range(6)])
    assert await count(diner) == 1
    assert len(diner.sandbox.payments()) == 1
    made = {answer.body["id"] for answer in answers if answer.status == 201}
    assert len(made) == 1
    for answer in answers:
        if answer.status != 201:
            assert (answer.status, answer.code) == (409, "request_in_progress")
            assert int(answer.headers["retry-after"]) >= 1


@pytest.mark.parametrize("dies", [dies_before, dies_after])
async def test_a_key_whose_request_was_lost_is_free_when_that_request_must_have_ended(
    diner: Diner, dies: object
) -> None:
    with pytest.raises(Crash):
        await place_with(diner, dies(diner.checkout, "create_pix"), key=KEY)  # type: ignore[operator]
    headers = {"Idempotency-Key": KEY}
    busy = await diner.call("POST", "/v1/orders", diner.basket(1), headers=headers)
    assert (busy.status, busy.code, busy.headers["retry-after"]) == (409, "request_in_progress", "1")
    await diner.later(seconds=14)
    assert (await diner.call("POST", "/v1/orders", diner.basket(1), headers=headers)).status == 409
    await diner.later(seconds=1)
    answer = await diner.call("POST", "/v1/orders", diner.basket(1), headers=headers)
    assert (answer.status, answer.body["payment"]["status"]) == (201, "requested")
    await diner.later(seconds=15)  # the worker's lease
    await diner.work()
    answer = await diner.call("POST", "/v1/orders", diner.basket(1), headers=headers)
    assert (answer.status, answer.body["payment"]["status"]) == (201, "pending")
    assert await count(diner) == len(diner.sandbox.payments()) == 1


async def test_after_24_hours_a_key_is_new(diner: Diner) -> None:
    order = await diner.place(key=KEY)
    await diner.later(hours=23, minutes=59)
    assert (await diner.place(key=KEY))["id"] == order["id"]
    await diner.later(minutes=2)
    assert (await diner.place(key=KEY))["id"] != order["id"]
    assert await count(diner) == 2


async def test_a_key_still_answers_when_the_menu_has_changed(diner: Diner) -> None:
    order = await diner.place(key=KEY)
    product = diner.products[0]["id"]
    changed = await diner.call("PATCH", f"/v1/products/{product}", {"available": False}, role=Role.MANAGER)
    assert changed.status == 200
    diner.menu.forget()
    assert (await diner.place(key=KEY))["id"] == order["id"]
    for headers in ({"Idempotency-Key": "another-key-of-some-length"}, None):
        refused = await diner.call("POST", "/v1/orders", diner.basket(1), headers=headers)
        assert (refused.status, refused.code) == (422, "product_unavailable")


async def test_prices_and_names_are_those_of_the_moment(diner: Diner) -> None:
    order = await diner.place(2)
    product = diner.products[0]
    path = f"/v1/products/{product['id']}"
    await diner.call("PATCH", path, {"price_cents": 1, "name": "Outro"}, role=Role.MANAGER)
    found = await diner.order(order["id"])
    assert found["items"] == order["items"]
    assert (found["items"][0]["name"], found["total_cents"]) == (product["name"], 2 * product["price_cents"])
