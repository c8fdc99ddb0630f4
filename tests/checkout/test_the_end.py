"""An unpaid order ends: it expires or is cancelled. Money that comes all the same is given back, all of it, once."""

import asyncio
from typing import Any
from uuid import UUID

import pytest

from comanda.checkout.cancel_order import cancel_order
from comanda.checkout.settle_payment import settle_payment
from tests.accounting import assert_every_real_is_accounted_for
from tests.checkout.meddling import Crash, dies_before, only_order, pass_time, place_with, waits_in
from tests.running_diner import Answer, Diner


async def cancel(diner: Diner, order: dict[str, Any]) -> Answer:
    """Cancel an order as its guest."""
    return await diner.call("POST", f"/v1/orders/{order['id']}/cancel")


async def assert_all_of_it_went_back_once(diner: Diner, order: dict[str, Any]) -> None:
    """Say that the order's whole money is back with its guest, by one refund."""
    found = await diner.order(order["id"])
    assert (found["payment"]["status"], found["refunded_cents"]) == ("refunded", order["total_cents"])
    assert [refund.amount_cents for refund in diner.sandbox.refunds(diner.charge(order))] == [order["total_cents"]]
    sums = await assert_every_real_is_accounted_for(diner)
    assert (sums.charged, sums.refunded, sums.open) == (order["total_cents"], order["total_cents"], 0)


# Expiry -------------------------------------------------------------------------------------------------------


async def test_nobody_pays_and_the_worker_cancels_the_charge_at_our_expiry(diner: Diner) -> None:
    order = await diner.place()
    await diner.sandbox.settled()
    await diner.work()
    await diner.later(minutes=29, seconds=50)
    await diner.work()
    assert (await diner.order(order["id"]))["status"] == "awaiting_payment"
    await diner.later(seconds=11)
    await diner.work()
    found = await diner.order(order["id"])
    assert (found["status"], found["payment"]["status"], found["payment"]["pix"]) == ("expired", "expired", None)
    [charge] = diner.sandbox.payments()
    assert (charge.status, charge.status_detail) == ("cancelled", "by_collector")
    await assert_every_real_is_accounted_for(diner)


@pytest.mark.parametrize("webhook", [True, False])
async def test_the_provider_lets_it_expire(diner: Diner, webhook: bool) -> None:
    diner.sandbox.behave(expiry_webhook=webhook)
    order = await diner.place()
    await diner.work()
    await diner.later(minutes=41)
    await diner.work()
    found = await diner.order(order["id"])
    assert (found["status"], found["payment"]["status"]) == ("expired", "expired")
    assert diner.sandbox.payments()[0].status_detail == "expired"


async def test_the_provider_is_away_when_an_order_expires(diner: Diner) -> None:
    order = await diner.place()
    await diner.sandbox.settled()
    await diner.work()
    diner.sandbox.arm("time_out", seconds=0.0, times=None)
    await pass_time(diner, minutes=39, step=180)
    assert (await diner.order(order["id"]))["status"] == "awaiting_payment", "it may have been paid"
    await pass_time(diner, minutes=9, step=60)
    found = await diner.order(order["id"])
    assert (found["status"], found["payment"]["status"]) == ("expired", "pending")
    diner.sandbox.clear_faults()
    await pass_time(diner, minutes=10, step=60)
    assert (await diner.order(order["id"]))["payment"]["status"] == "expired"
    await assert_every_real_is_accounted_for(diner)


async def test_paid_while_the_provider_is_away_over_the_expiry_is_given_back(diner: Diner) -> None:
    order = await diner.place()
    await diner.sandbox.settled()
    await diner.work()
    diner.sandbox.arm("time_out", seconds=0.0, times=None)
    await diner.pay(order)
    await pass_time(diner, minutes=48, step=120)
    assert (await diner.order(order["id"]))["status"] == "expired"
    diner.sandbox.clear_faults()
    await pass_time(diner, minutes=12, step=60)
    assert (await diner.order(order["id"]))["status"] == "expired"
    await assert_all_of_it_went_back_once(diner, order)


async def test_paid_in_the_last_second_is_cooked(diner: Diner) -> None:
    order = await diner.place()
    await diner.sandbox.settled()
    await diner.work()
    diner.sandbox.arm("webhook_never", times=None)
    await diner.later(minutes=29, seconds=59)
    await diner.pay(order)
    await diner.later(seconds=30)
    await diner.work()
    assert (await diner.order(order["id"]))["status"] == "paid"


async def test_paid_while_it_is_being_cancelled_for_its_expiry_is_cooked(diner: Diner) -> None:
    order = await diner.place()
    await diner.sandbox.settled()
    await diner.work()
    diner.sandbox.arm("webhook_never", times=None)
    cancelling = diner.sandbox.arm("slow", seconds=0.2, match={"operation": "cancel_payment"})
    await diner.later(minutes=30, seconds=1)
    working = asyncio.create_task(diner.work())
    await diner.sandbox.struck(cancelling)
    diner.sandbox.act(diner.charge(order), "pay")
    await working
    assert (await diner.order(order["id"]))["status"] == "paid"
    await assert_every_real_is_accounted_for(diner)


async def test_a_charge_that_ended_while_it_was_being_cancelled_and_is_not_shown_is_asked_about_again(
    diner: Diner,
) -> None:
    order = await diner.place()
    await diner.sandbox.settled()
    await diner.work()
    diner.sandbox.arm("webhook_never", times=None)
    diner.sandbox.arm("refused", code=3005, match={"operation": "cancel_payment"})
    diner.sandbox.arm("not_found_after_create", skip=1)
    await diner.later(minutes=30, seconds=1)
    await diner.work()
    assert (await diner.order(order["id"]))["status"] == "awaiting_payment"
    await pass_time(diner, minutes=6, step=60)
    assert (await diner.order(order["id"]))["status"] == "expired"


@pytest.mark.parametrize("webhook", [True, False])
async def test_a_payment_that_comes_after_the_expiry_is_given_back(diner: Diner, webhook: bool) -> None:
    order = await diner.place()
    await diner.work()
    await diner.later(minutes=31)
    await diner.work()
    assert (await diner.order(order["id"]))["status"] == "expired"
    if not webhook:
        diner.sandbox.arm("webhook_never", times=None)
    await diner.pay(order, late=True)
    await pass_time(diner, minutes=15, step=60)
    assert (await diner.order(order["id"]))["status"] == "expired"
    assert "paid" not in await diner.history(order)
    await assert_all_of_it_went_back_once(diner, order)
    assert await diner.value("SELECT reason FROM refunds") == "paid_after_the_end"


async def test_silence_about_an_order_that_is_paid_already_changes_nothing(diner: Diner) -> None:
    order = await diner.place_paid()
    before = await diner.order(order["id"])
    await settle_payment(diner.checkout, UUID(order["id"]), None, actor="poll")
    assert await diner.order(order["id"]) == before


# Cancelling ---------------------------------------------------------------------------------------------------


async def test_a_guest_cancels_and_so_does_the_worker_at_the_provider(diner: Diner) -> None:
    order = await diner.place()
    first, second = await cancel(diner, order), await cancel(diner, order)
    assert (first.status, second.status) == (200, 200)
    assert first.body["status"] == second.body["status"] == "cancelled"
    assert first.body["payment"]["pix"] is None
    assert await diner.history(order) == ["awaiting_payment", "cancelled"]
    await diner.work()
    assert diner.sandbox.payments()[0].status == "cancelled"
    found = await diner.order(order["id"])
    assert (found["status"], found["payment"]["status"]) == ("cancelled", "cancelled")
    assert (await cancel(diner, order)).body == found
    await assert_every_real_is_accounted_for(diner)


async def test_what_is_paid_or_expired_cannot_be_cancelled(diner: Diner) -> None:
    order = await diner.place_paid()
    refused = await cancel(diner, order)
    assert (refused.status, refused.code) == (409, "not_cancellable")
    late = await diner.place()
    await diner.later(minutes=45)
    await diner.work()
    refused = await cancel(diner, late)
    assert (refused.status, refused.code) == (409, "not_cancellable")
    unknown = await cancel(diner, {"id": "11111111-1111-4111-8111-111111111111"})
    assert (unknown.status, unknown.code) == (404, "order_not_found")


async def test_a_rejected_order_is_cancelled_already(diner: Diner) -> None:
    diner.sandbox.arm("refused", code=13253)
    order = await diner.place()
    assert (await cancel(diner, order)).body["status"] == "cancelled"
    assert await diner.work() == 0


@pytest.mark.parametrize("webhook", [True, False])
async def test_a_payment_that_wins_against_the_cancellation_is_given_back(diner: Diner, webhook: bool) -> None:
    order = await diner.place()
    await diner.work()
    if not webhook:
        diner.sandbox.arm("webhook_never", times=None)
    diner.sandbox.act(diner.charge(order), "pay")
    assert (await cancel(diner, order)).status == 200
    await diner.sandbox.settled()
    await pass_time(diner, minutes=1)
    assert (await diner.order(order["id"]))["status"] == "cancelled"
    await assert_all_of_it_went_back_once(diner, order)


async def test_a_payment_after_the_cancellation_is_given_back(diner: Diner) -> None:
    order = await diner.place()
    await cancel(diner, order)
    await diner.work()
    await diner.pay(order, late=True)
    await pass_time(diner, minutes=1)
    await assert_all_of_it_went_back_once(diner, order)


async def test_cancelling_and_paying_in_one_moment(diner: Diner) -> None:
    orders = [await diner.place() for _ in range(4)]
    await diner.sandbox.settled()
    await diner.work()
    for order in orders:
        await diner.pay(order)
    answers, _ = await asyncio.gather(asyncio.gather(*[cancel(diner, order) for order in orders]), diner.work())
    for order, answer in zip(orders, answers, strict=True):
        status = (await diner.order(order["id"]))["status"]
        assert (answer.status, status) in {(200, "cancelled"), (409, "paid")}
    await pass_time(diner, minutes=1)
    assert (await assert_every_real_is_accounted_for(diner)).open == 0


async def test_an_order_cancelled_before_its_charge_is_answered(diner: Diner) -> None:
    diner.sandbox.arm("webhook_never", times=None)
    answered, go_on = asyncio.Event(), asyncio.Event()
    placing = asyncio.create_task(place_with(diner, waits_in(diner.checkout, "create_pix", answered, go_on)))
    await answered.wait()
    order = await only_order(diner)
    await cancel(diner, order)
    go_on.set()
    await placing
    found = await diner.order(order["id"])
    assert (found["status"], found["payment"]["pix"]) == ("cancelled", None)
    await pass_time(diner, minutes=0.5, step=10)
    assert diner.sandbox.payments()[0].status == "cancelled"
    assert (await diner.order(order["id"]))["payment"]["status"] == "cancelled"


async def test_a_worker_that_dies_while_it_cancels_is_followed_by_another(diner: Diner) -> None:
    diner.sandbox.arm("webhook_never", times=None)
    order = await diner.place()
    await cancel_order(diner.checkout, UUID(order["id"]), request_id="test")
    loop = diner.loops["payments"]
    loop._checkout = dies_before(diner.checkout, "cancel_payment")
    with pytest.raises(Crash):
        await loop.once()
    loop._checkout = diner.checkout
    await pass_time(diner, minutes=6, step=60)
    assert diner.sandbox.payments()[0].status == "cancelled"


async def test_a_provider_that_is_away_is_asked_to_cancel_until_it_does(diner: Diner) -> None:
    order = await diner.place()
    await diner.sandbox.settled()
    await diner.work()
    diner.sandbox.arm("server_error", match={"operation": "cancel_payment"}, times=3)
    await cancel(diner, order)
    await pass_time(diner, minutes=1)
    assert diner.sandbox.payments()[0].status == "cancelled"
    assert (await diner.order(order["id"]))["payment"]["status"] == "cancelled"
