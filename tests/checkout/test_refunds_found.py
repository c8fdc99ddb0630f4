"""Which of the provider's refunds is ours: nobody else's, no older one, no other copy; and what is counted then."""

import asyncio
from typing import Any
from uuid import UUID

import pytest

import comanda.payments.store
from comanda.checkout.check_payment import check_payment
from comanda.payments.model import Review
from comanda.payments.provider import ProviderRefund
from tests.accounting import assert_every_real_is_accounted_for
from tests.checkout.meddling import pass_time, waits_in, with_provider
from tests.checkout.test_refunds import lines, listed, money, refunded_lines, review
from tests.running_diner import Diner

ONE = lines((1, 1))


async def refunded_in_panel(diner: Diner, order: dict[str, Any], amount_cents: int) -> None:
    """Give back a part in the provider's panel, and settle it."""
    diner.sandbox.act(diner.charge(order), "refund", amount_cents=amount_cents)
    await diner.sandbox.settled()
    await diner.work()


async def test_a_refusal_of_the_second_try_is_not_mended_by_an_older_refund_of_the_same_amount(diner: Diner) -> None:
    order = await diner.place_paid(3)
    price = order["items"][0]["unit_price_cents"]
    await refunded_in_panel(diner, order, price)
    await diner.later(minutes=2)
    diner.sandbox.arm("server_error", match={"operation": "create_refund"})
    diner.sandbox.arm("refund_refused")
    await diner.refund(order, ONE)
    await pass_time(diner, minutes=1)
    assert await listed(diner, order) == [("rejected", price)]
    assert await money(diner, order) == ("paid", "partially_refunded", price)
    assert await review(diner) == Review.REFUND_REFUSED


async def test_nor_by_one_of_the_same_minute_that_we_have_counted(diner: Diner) -> None:
    order = await diner.place_paid(3)
    price = order["items"][0]["unit_price_cents"]
    await refunded_in_panel(diner, order, price)
    diner.sandbox.arm("server_error", match={"operation": "create_refund"})
    diner.sandbox.arm("refund_refused")
    await diner.refund(order, ONE)
    await pass_time(diner, minutes=0.5, step=5)
    assert await listed(diner, order) == [("rejected", price)]
    assert await refunded_lines(diner) == [0]


async def test_ours_is_found_beside_an_older_one_of_the_same_amount(diner: Diner) -> None:
    order = await diner.place_paid(3)
    price = order["items"][0]["unit_price_cents"]
    await refunded_in_panel(diner, order, price)
    diner.sandbox.arm("refund_answer_lost")
    diner.sandbox.arm("refused", code=2063, match={"operation": "create_refund"})
    await diner.refund(order, ONE)
    await pass_time(diner, minutes=1)
    assert await listed(diner, order) == [("approved", price)]
    assert await money(diner, order) == ("paid", "partially_refunded", 2 * price)
    newest = max(refund.id for refund in diner.sandbox.refunds())
    assert await diner.value("SELECT provider_refund_id FROM refunds") == newest
    await assert_every_real_is_accounted_for(diner)


async def test_one_made_under_a_key_that_is_forgotten_since_is_found_and_not_made_twice(diner: Diner) -> None:
    diner.sandbox.behave(key_memory_seconds=86_400)
    order = await diner.place_paid(3)
    price = order["items"][0]["unit_price_cents"]
    diner.sandbox.arm("refund_answer_lost")
    await diner.refund(order, ONE)
    await diner.work()
    assert await listed(diner, order) == [("requested", price)]
    await diner.later(hours=25)
    await pass_time(diner, minutes=1)
    assert await listed(diner, order) == [("approved", price)]
    assert [refund.amount_cents for refund in diner.sandbox.refunds()] == [price]
    await assert_every_real_is_accounted_for(diner)


async def test_an_old_one_that_was_never_made_is_made_beside_one_of_the_panel(diner: Diner) -> None:
    diner.sandbox.behave(key_memory_seconds=86_400)
    order = await diner.place_paid(3)
    price = order["items"][0]["unit_price_cents"]
    await refunded_in_panel(diner, order, price)
    diner.sandbox.arm("server_error", match={"operation": "create_refund"})
    await diner.refund(order, ONE)
    await diner.work()
    await diner.later(hours=25)
    await pass_time(diner, minutes=1)
    assert await listed(diner, order) == [("approved", price)]
    assert await money(diner, order) == ("paid", "partially_refunded", 2 * price)
    await assert_every_real_is_accounted_for(diner)


async def test_an_empty_replay_does_not_take_an_older_refund_for_ours(diner: Diner) -> None:
    order = await diner.place_paid(3)
    price = order["items"][0]["unit_price_cents"]
    await refunded_in_panel(diner, order, price)
    await diner.later(minutes=2)

    async def nothing(*_: Any, **__: Any) -> None:
        return None

    await diner.refund(order, ONE)
    loop = diner.loops["refunds"]
    loop._checkout = with_provider(diner.checkout, create_refund=nothing)
    await loop.once()
    assert await listed(diner, order) == [("requested", price)], "it is asked for again"
    loop._checkout = diner.checkout
    await pass_time(diner, minutes=1)
    assert await money(diner, order) == ("paid", "partially_refunded", 2 * price)
    await assert_every_real_is_accounted_for(diner)


@pytest.mark.parametrize("told", [1, -1])
@pytest.mark.parametrize("second_try", ["replayed", "refused"])
async def test_all_of_a_payment_is_found_whose_amount_was_told_wrong_at_approval(
    told: int, second_try: str, diner: Diner
) -> None:
    # Found by `make faults ARGS='--only 1851968200-1'`.
    order = await diner.place()
    total = order["total_cents"]
    await diner.work()
    diner.sandbox.behave(refund_replay="empty")
    diner.sandbox.arm("wrong_amount", amount_cents=total + told, match={"operation": "get_payment"})
    diner.sandbox.arm("refund_answer_lost")
    if second_try == "refused":
        diner.sandbox.arm("refused", code=2063, match={"operation": "create_refund"})
    diner.sandbox.act(diner.charge(order), "pay")
    await diner.sandbox.settled()
    await pass_time(diner, minutes=2)
    assert await listed(diner, order) == [("approved", total + told)]
    assert await money(diner, order) == ("cancelled", "refunded", total + told)
    assert [refund.amount_cents for refund in diner.sandbox.refunds()] == [total]
    assert await review(diner) is None


async def test_one_that_came_to_nothing_does_not_hide_the_one_that_gave_the_money_back(diner: Diner) -> None:
    order = await diner.place_paid(3)
    price = order["items"][0]["unit_price_cents"]
    charge, real = diner.charge(order), diner.checkout.provider

    async def with_rejected_ones(*arguments: Any, **named: Any) -> list[ProviderRefund]:
        fields: dict[str, Any] = {"payment_id": charge, "amount_cents": price}
        first = ProviderRefund(id=77, status="rejected", **fields)
        last = ProviderRefund(id=2**62, status="cancelled", created_at=diner.checkout.clock(), **fields)
        return [first, *await real.list_refunds(*arguments, **named), last]

    diner.loops["refunds"]._checkout = with_provider(diner.checkout, list_refunds=with_rejected_ones)
    diner.sandbox.behave(refund_replay="empty")
    diner.sandbox.arm("refund_answer_lost")
    await diner.refund(order, ONE)
    await pass_time(diner, minutes=1)
    assert await listed(diner, order) == [("approved", price)]
    assert await refunded_lines(diner) == [1]
    await assert_every_real_is_accounted_for(diner)


async def test_what_the_panel_gave_back_is_not_forgotten_when_ours_is_approved(diner: Diner) -> None:
    order = await diner.place()
    await diner.work()
    diner.sandbox.arm("webhook_never", times=None)
    charge = diner.charge(order)
    diner.sandbox.arm("refused", code=2063, times=None, match={"operation": "cancel_payment"})
    await diner.call("POST", f"/v1/orders/{order['id']}/cancel")
    diner.sandbox.act(charge, "pay")
    diner.sandbox.act(charge, "refund", amount_cents=100)
    await diner.work("payments")
    assert await listed(diner, order) == [("requested", order["total_cents"] - 100)]
    # A look whose answer is older than the refund, and is settled after it.
    entered, go_on = asyncio.Event(), asyncio.Event()
    async with diner.pool.acquire() as connection:
        payment = await comanda.payments.store.by_order(connection, UUID(order["id"]))
    assert payment is not None
    looking = asyncio.create_task(check_payment(waits_in(diner.checkout, "get_payment", entered, go_on), payment))
    await entered.wait()
    await diner.work("refunds")
    assert await money(diner, order) == ("cancelled", "refunded", order["total_cents"])
    go_on.set()
    await looking
    await pass_time(diner, minutes=2)
    assert await listed(diner, order) == [("approved", order["total_cents"] - 100)]
    assert await review(diner) is None
    await assert_every_real_is_accounted_for(diner)
