"""Placing an order: intent first, then the charge; whatever gets lost on the way, one charge or none."""

import asyncio
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest

import comanda.payments.store
from comanda.checkout.check_payment import check_payment
from comanda.checkout.request_pix_charge import abandon_charge, adopt_charge
from comanda.payments.model import Payment
from comanda.payments.provider import ProviderUnavailable
from tests.accounting import assert_every_real_is_accounted_for
from tests.checkout.meddling import (
    Crash,
    dies_after,
    dies_before,
    only_order,
    pass_time,
    place_with,
    waits_in,
)
from tests.running_diner import Diner


async def stored(diner: Diner, order: dict[str, object]) -> Payment:
    """Read an order's payment from the database."""
    async with diner.pool.acquire() as connection:
        payment = await comanda.payments.store.by_order(connection, UUID(str(order["id"])))
    assert payment is not None
    return payment


async def test_the_charge_is_what_was_stored_before_it_was_asked_for(diner: Diner) -> None:
    order = await diner.place(2, 1)
    [charge] = diner.sandbox.payments(order["id"])
    payment = await stored(diner, order)
    assert (charge.amount_cents, charge.external_reference) == (order["total_cents"], order["id"])
    assert timedelta(0) <= payment.provider_expires_at - charge.expires_at < timedelta(milliseconds=1)
    assert charge.payer["email"] == "guest@comanda.example.com"
    assert diner.sandbox.sandbox.ledger.idempotency_keys() == [("payments", payment.idempotency_key, charge.id)]
    assert order["payment"]["provider_payment_id"] == charge.id
    assert order["payment"]["pix"]["copy_paste"] == charge.qr_code


UNANSWERED: list[tuple[str, dict[str, Any]]] = [
    ("create_answer_lost", {}),
    ("server_error", {"effect": True}),
    ("non_json", {"effect": True, "status": 201}),
    ("time_out", {"seconds": 0.0}),
    ("server_error", {"status": 503}),
    ("non_json", {}),
    ("rate_limited", {}),
    ("locked", {}),
    ("refused", {"status": 401, "code": 7}),
    ("forbidden_by_policy", {}),
    ("refused", {"status": 400, "code": 2001}),
]


@pytest.mark.parametrize("webhooks", [True, False])
async def test_a_charge_without_an_answer_is_asked_for_again_with_the_same_key(diner: Diner, webhooks: bool) -> None:
    if not webhooks:
        diner.sandbox.arm("webhook_never", times=None)
    orders = []
    for fault, values in UNANSWERED:
        diner.sandbox.arm(fault, match={"operation": "create_payment"}, **values)
        order = await diner.place()
        assert (order["status"], order["payment"]["status"]) == ("awaiting_payment", "requested"), fault
        assert order["payment"]["pix"] is None
        orders.append(order)

    await pass_time(diner, minutes=1.2, step=12)
    for order in orders:
        found = await diner.order(order["id"])
        assert (found["status"], found["payment"]["status"]) == ("awaiting_payment", "pending")
        assert found["payment"]["pix"]["copy_paste"].startswith("000201")
        await diner.pay(order)
    assert len(diner.sandbox.payments()) == len(orders)
    await pass_time(diner, minutes=5, step=60)
    assert {(await diner.order(order["id"]))["status"] for order in orders} == {"paid"}
    sums = await assert_every_real_is_accounted_for(diner)
    assert (sums.served, sums.open) == (sum(order["total_cents"] for order in orders), 0)


async def test_too_many_requests_is_honoured_before_the_next_try(diner: Diner) -> None:
    limited = diner.sandbox.arm("rate_limited", retry_after=45, times=None)
    order = await diner.place()
    await pass_time(diner, minutes=0.7, step=14)
    assert limited.struck == 1
    diner.sandbox.clear_faults()
    await pass_time(diner, minutes=0.3, step=6)
    assert (await diner.order(order["id"]))["payment"]["status"] == "pending"


async def test_a_refused_charge_ends_the_order_at_once(diner: Diner) -> None:
    diner.sandbox.arm("refused", code=13253)
    order = await diner.place()
    assert (order["status"], order["payment"]["status"]) == ("cancelled", "rejected")
    reason = await diner.value("SELECT reason FROM order_events WHERE status_to = 'cancelled'")
    assert reason == "refused 13253"
    await pass_time(diner, minutes=20, step=120)
    assert diner.sandbox.payments() == []
    await assert_every_real_is_accounted_for(diner)


async def test_a_refusal_without_a_code_names_its_status(diner: Diner) -> None:
    diner.sandbox.arm("refused", status=422, code=0)
    order = await diner.place()
    assert order["payment"]["status"] == "rejected"


async def test_a_refusal_of_the_second_copy_finds_the_first(diner: Diner) -> None:
    diner.sandbox.arm("webhook_never", times=None)
    diner.sandbox.arm("create_answer_lost")
    diner.sandbox.arm("refused", code=23, match={"operation": "create_payment"})
    order = await diner.place()
    assert order["payment"]["status"] == "requested"
    await pass_time(diner, minutes=0.2, step=4)
    found = await diner.order(order["id"])
    assert found["payment"]["status"] == "pending"
    assert found["payment"]["pix"] is not None
    await assert_every_real_is_accounted_for(diner)


async def test_a_refusal_of_the_second_copy_that_the_search_does_not_show_yet_ends_the_order_and_its_charge(
    diner: Diner,
) -> None:
    diner.sandbox.arm("webhook_never", times=None)
    diner.sandbox.arm("create_answer_lost")
    diner.sandbox.arm("refused", code=23, match={"operation": "create_payment"})
    diner.sandbox.arm("search_lag", seconds=40.0, times=None)
    order = await diner.place()
    await pass_time(diner, minutes=0.2, step=4)
    assert (await diner.order(order["id"]))["payment"]["status"] == "rejected"
    await pass_time(diner, minutes=2, step=20)
    assert diner.sandbox.payments()[0].status == "cancelled"
    found = await diner.order(order["id"])
    assert (found["status"], found["payment"]["status"], found["payment"]["pix"]) == ("cancelled", "rejected", None)
    await assert_every_real_is_accounted_for(diner)


async def test_a_token_that_is_refused_keeps_the_order_until_an_operator_mends_it(diner: Diner) -> None:
    diner.sandbox.arm("refused", status=401, code=7, times=None)
    order = await diner.place()
    await pass_time(diner, minutes=4)
    assert (await diner.order(order["id"]))["status"] == "awaiting_payment"
    diner.sandbox.clear_faults()
    await pass_time(diner, minutes=5, step=60)
    assert (await diner.order(order["id"]))["payment"]["status"] == "pending"
    assert len(diner.sandbox.payments()) == 1


# Crashes ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dies", [dies_before, dies_after])
async def test_an_order_whose_process_died_around_the_providers_call_is_finished_by_the_worker(
    diner: Diner, dies: object
) -> None:
    diner.sandbox.arm("webhook_never", times=None)
    with pytest.raises(Crash):
        await place_with(diner, dies(diner.checkout, "create_pix"))  # type: ignore[operator]
    order = await only_order(diner)
    assert order["payment"]["status"] == "requested"
    assert await diner.work() == 0, "the worker leaves it to the request while that may be at work"
    await diner.later(seconds=diner.checkout.settings.worker_lease)
    await diner.work()
    found = await diner.order(order["id"])
    assert found["payment"]["status"] == "pending"
    assert len(diner.sandbox.payments()) == 1
    await diner.pay(order)
    await pass_time(diner, minutes=0.5, step=10)
    assert (await diner.order(order["id"]))["status"] == "paid"
    await assert_every_real_is_accounted_for(diner)


async def test_a_worker_that_died_with_the_answer_in_its_hand_is_followed_by_another(diner: Diner) -> None:
    diner.sandbox.arm("time_out", seconds=0.0)
    order = await diner.place()
    with pytest.raises(Crash):
        await check_payment(dies_after(diner.checkout, "create_pix"), await stored(diner, order))
    await pass_time(diner, minutes=0.5, step=10)
    assert (await diner.order(order["id"]))["payment"]["status"] == "pending"
    assert len(diner.sandbox.payments()) == 1


@pytest.mark.parametrize("paid", [False, True])
async def test_the_worker_may_overtake_the_request(diner: Diner, paid: bool) -> None:
    answered, go_on = asyncio.Event(), asyncio.Event()
    placing = asyncio.create_task(place_with(diner, waits_in(diner.checkout, "create_pix", answered, go_on)))
    await answered.wait()
    order = await only_order(diner)
    if paid:
        await diner.pay(order)
    await diner.later(seconds=diner.checkout.settings.worker_lease)
    await diner.work()
    go_on.set()
    await placing
    await diner.work()
    found = await diner.order(order["id"])
    assert (found["status"], found["payment"]["status"]) == (
        ("paid", "approved") if paid else ("awaiting_payment", "pending")
    )
    assert await diner.value("SELECT review FROM payments") is None
    assert len(diner.sandbox.payments()) == 1
    await assert_every_real_is_accounted_for(diner)


async def test_a_webhook_may_overtake_our_own_answer(diner: Diner) -> None:
    answered, go_on = asyncio.Event(), asyncio.Event()
    placing = asyncio.create_task(place_with(diner, waits_in(diner.checkout, "create_pix", answered, go_on)))
    await answered.wait()
    await diner.sandbox.settled()
    order = await only_order(diner)
    await diner.work("webhooks")
    overtaken = await diner.order(order["id"])
    assert overtaken["payment"]["status"] == "pending"
    assert overtaken["payment"]["pix"] is not None
    go_on.set()
    await placing
    assert (await diner.order(order["id"]))["payment"] == overtaken["payment"]


# Orders for which no charge was ever made ---------------------------------------------------------------------


async def test_an_order_that_no_charge_can_be_made_for_expires(diner: Diner) -> None:
    diner.sandbox.arm("server_error", match={"operation": "create_payment"}, times=None)
    order = await diner.place()
    await pass_time(diner, minutes=9, step=60)
    assert (await diner.order(order["id"]))["status"] == "awaiting_payment"
    await pass_time(diner, minutes=8, step=60)
    found = await diner.order(order["id"])
    assert (found["status"], found["payment"]["status"]) == ("expired", "expired")
    assert (await diner.history(order))[-1] == "expired"
    diner.sandbox.clear_faults()
    await pass_time(diner, minutes=48 * 60, step=3 * 3600)
    assert diner.sandbox.payments() == []
    assert await diner.value("SELECT next_check_at FROM payments") is None
    await assert_every_real_is_accounted_for(diner)


async def test_an_order_expires_even_if_the_provider_never_speaks_again(diner: Diner) -> None:
    diner.sandbox.arm("time_out", seconds=0.0, times=None)
    order = await diner.place()
    await pass_time(diner, minutes=38, step=120)
    assert (await diner.order(order["id"]))["status"] == "awaiting_payment"
    await pass_time(diner, minutes=8, step=60)
    found = await diner.order(order["id"])
    assert (found["status"], found["payment"]["status"]) == ("expired", "expired")


@pytest.mark.parametrize("paid", [False, True])
async def test_a_charge_that_turns_up_after_it_was_given_up_is_cancelled_or_given_back(
    diner: Diner, paid: bool
) -> None:
    diner.sandbox.arm("webhook_never", times=None)
    diner.sandbox.arm("create_answer_lost", times=None)
    diner.sandbox.arm("search_lag", times=None)
    order = await diner.place()
    await pass_time(diner, minutes=17, step=60)
    found = await diner.order(order["id"])
    assert (found["status"], found["payment"]["status"]) == ("expired", "expired")
    assert len(diner.sandbox.payments()) == 1
    if paid:
        await diner.pay(order)
    diner.sandbox.clear_faults()
    diner.sandbox.arm("webhook_never", times=None)
    await pass_time(diner, minutes=10, step=60)
    [charge] = diner.sandbox.payments()
    found = await diner.order(order["id"])
    assert charge.status == ("refunded" if paid else "cancelled")
    assert (found["status"], found["payment"]["status"]) == ("expired", "refunded" if paid else "expired")
    sums = await assert_every_real_is_accounted_for(diner)
    assert sums.open == 0
    assert len(diner.sandbox.refunds()) == int(paid)


async def test_a_search_that_fails_is_asked_again(diner: Diner) -> None:
    diner.sandbox.arm("create_answer_lost", times=None)
    diner.sandbox.arm("webhook_never", times=None)
    diner.sandbox.arm("server_error", match={"operation": "search_payments"})
    order = await diner.place()
    with pytest.raises(ProviderUnavailable):
        await adopt_charge(diner.checkout, UUID(order["id"]))
    assert await adopt_charge(diner.checkout, UUID(order["id"])) is not None
    assert (await diner.order(order["id"]))["payment"]["status"] == "pending"


async def test_a_charge_that_was_answered_meanwhile_is_not_given_up(diner: Diner) -> None:
    order = await diner.place()
    await abandon_charge(diner.checkout, UUID(order["id"]))
    assert await diner.order(order["id"]) == order


async def test_an_order_cancelled_while_its_charge_is_not_known_has_it_found_and_cancelled(diner: Diner) -> None:
    diner.sandbox.arm("webhook_never", times=None)
    diner.sandbox.arm("create_answer_lost")
    diner.sandbox.arm("search_lag", times=2)
    order = await diner.place()
    cancelled = await diner.call("POST", f"/v1/orders/{order['id']}/cancel")
    assert cancelled.body["status"] == "cancelled"
    await pass_time(diner, minutes=1, step=10)
    [charge] = diner.sandbox.payments()
    assert charge.status == "cancelled"
    assert (await diner.order(order["id"]))["payment"]["status"] == "cancelled"


async def test_an_order_cancelled_for_which_no_charge_was_made_is_looked_for_until_it_is_certain(diner: Diner) -> None:
    diner.sandbox.arm("time_out", seconds=0.0)
    order = await diner.place()
    await diner.call("POST", f"/v1/orders/{order['id']}/cancel")
    await pass_time(diner, minutes=18, step=60)
    found = await diner.order(order["id"])
    assert (found["status"], found["payment"]["status"]) == ("cancelled", "cancelled")
    assert diner.sandbox.payments() == []
