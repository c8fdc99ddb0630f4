"""Being paid: a webhook is a hint, the provider's own word counts, and without a webhook the worker asks."""

import hashlib
import hmac
import time
from datetime import timedelta
from typing import Any

import pytest

import comanda.payments.store
from comanda.payments.model import Review
from tests.accounting import assert_every_real_is_accounted_for
from tests.checkout.meddling import pass_time
from tests.running_diner import Answer, Diner


async def notify(diner: Diner, payment_id: int | str, *, secret: str | None = None, **changes: Any) -> Answer:
    """Send a webhook about a payment as the provider would, signed with its secret or another."""
    ts = str(int(time.time() * 1000))
    manifest = f"id:{payment_id};request-id:r-1;ts:{ts};"
    signed = hmac.new((secret or diner.sandbox.webhook_secret).encode(), manifest.encode(), hashlib.sha256).hexdigest()
    body = {"id": 1, "type": "payment", "action": "payment.updated", "data": {"id": str(payment_id)}, **changes}
    return await diner.call(
        "POST",
        f"/v1/webhooks/mercado-pago?data.id={payment_id}&type=payment",
        body,
        headers={"x-signature": f"ts={ts},v1={signed}", "x-request-id": "r-1"},
    )


async def outcomes(diner: Diner) -> list[str]:
    """Answer what became of the stored webhooks, in order."""
    rows = await diner.pool.fetch("SELECT COALESCE(outcome, status) AS outcome FROM webhook_events ORDER BY id")
    return [row["outcome"] for row in rows]


async def assert_paid_once(diner: Diner, order: dict[str, Any]) -> None:
    """Say that an order is paid, was so once, and nothing of it is owed."""
    assert (await diner.order(order["id"]))["status"] == "paid"
    assert (await diner.history(order)).count("paid") == 1
    sums = await assert_every_real_is_accounted_for(diner)
    assert (sums.served, sums.open, sums.refunded) == (order["total_cents"], 0, 0)


async def test_a_webhook_is_enough(diner: Diner) -> None:
    order = await diner.place()
    await diner.sandbox.settled()
    await diner.work()
    await diner.pay(order)
    assert await diner.work("webhooks") == 1
    await assert_paid_once(diner, order)
    found = await diner.order(order["id"])
    assert found["paid_at"] is not None
    assert found["payment"]["status"] == "approved"
    assert found["payment"]["pix"] is None
    assert await outcomes(diner) == ["pending", "approved"]


async def test_without_a_webhook_a_watched_payment_is_seen_within_15_seconds(diner: Diner) -> None:
    diner.sandbox.arm("webhook_never", times=None)
    order = await diner.place()
    await pass_time(diner, minutes=3)
    now = diner.checkout.clock()
    async with diner.pool.acquire() as connection:
        await comanda.payments.store.note_watched(
            connection,
            [order_id async for order_id in _ids(diner)],
            watched_until=now + timedelta(seconds=diner.checkout.settings.watch_window),
            check_by=now + timedelta(seconds=diner.checkout.settings.check_watched),
        )
    await diner.pay(order)
    await diner.later(seconds=diner.checkout.settings.check_watched)
    await diner.work()
    await assert_paid_once(diner, order)


async def _ids(diner: Diner) -> Any:
    for row in await diner.pool.fetch("SELECT id FROM orders"):
        yield row["id"]


async def test_a_payment_stays_watched_for_a_while_and_is_asked_about_soon_all_along(diner: Diner) -> None:
    diner.sandbox.arm("webhook_never", times=None)
    order = await diner.place()
    now = diner.checkout.clock()
    async with diner.pool.acquire() as connection:
        for later in (0, 5, 11):
            until = now + timedelta(seconds=30 + later)
            ids = [order_id async for order_id in _ids(diner)]
            await comanda.payments.store.note_watched(connection, ids, watched_until=until, check_by=until)
    noted = await diner.value("SELECT watched_until FROM payments")
    assert noted == now + timedelta(seconds=41), "noted again after 10 s, not before"
    gaps = []
    for _ in range(6):
        due = await diner.value("SELECT next_check_at FROM payments")
        gaps.append((due - diner.checkout.clock()).total_seconds())
        await diner.later(seconds=max(0.0, gaps[-1]) + 0.001)
        assert await diner.work("payments") == 1
    assert max(gaps[1:]) <= diner.checkout.settings.check_watched
    await diner.pay(order)
    await pass_time(diner, minutes=1)
    await assert_paid_once(diner, order)


async def test_without_a_webhook_and_unwatched_it_is_seen_within_check_unwatched_max(diner: Diner) -> None:
    diner.sandbox.arm("webhook_never", times=None)
    order = await diner.place()
    await pass_time(diner, minutes=15, step=60)
    await diner.pay(order)
    await diner.later(seconds=diner.checkout.settings.check_unwatched_max)
    await diner.work()
    await assert_paid_once(diner, order)


async def test_without_a_webhook_a_payment_made_at_once_is_seen_at_the_first_look(diner: Diner) -> None:
    diner.sandbox.arm("webhook_never", times=None)
    order = await diner.place()
    await diner.pay(order)
    await diner.later(seconds=diner.checkout.settings.check_first)
    await diner.work()
    await assert_paid_once(diner, order)


WEBHOOK_FAULTS = [
    "webhook_duplicated",
    "webhook_replayed",
    "webhook_reordered",
    "webhook_delayed",
    "webhook_dropped",
    "webhook_forged",
    "webhook_ipn_twin",
    "webhook_merchant_order",
    "webhook_other_payment",
    "webhook_body_mismatch",
    "webhook_string_id",
    "webhook_seconds_ts",
    "webhook_never",
]


async def test_however_webhooks_come_an_order_is_paid_once(diner: Diner) -> None:
    orders = []
    for fault in WEBHOOK_FAULTS:
        diner.sandbox.arm(fault, times=None)
        orders.append(await diner.place())
        await diner.work()
        await diner.pay(orders[-1])
        await diner.work()
        diner.sandbox.clear_faults()
    await pass_time(diner, minutes=20, step=150)
    for order in orders:
        assert await diner.history(order) == ["awaiting_payment", "paid"]
    assert not {"waiting", "claimed"} & set(await outcomes(diner))
    sums = await assert_every_real_is_accounted_for(diner)
    assert (sums.served, sums.open) == (sum(order["total_cents"] for order in orders), 0)


async def test_a_webhook_that_comes_again_hours_later_moves_nothing_back(diner: Diner) -> None:
    order = await diner.place_paid()
    await diner.advance(order, "preparing", "ready", "picked_up")
    before = await diner.order(order["id"])
    await diner.later(hours=5)
    assert (await notify(diner, diner.charge(order))).body == {"outcome": "stored"}
    assert (await notify(diner, diner.charge(order))).body == {"outcome": "repeated"}
    await diner.work()
    assert await diner.order(order["id"]) == before
    assert (await outcomes(diner))[-1] == "approved"
    assert await diner.value("SELECT deliveries FROM webhook_events ORDER BY id DESC LIMIT 1") == 2


@pytest.mark.parametrize("lost", [False, True])
async def test_a_webhook_for_a_payment_that_the_provider_does_not_know_is_given_up(diner: Diner, lost: bool) -> None:
    if lost:
        diner.sandbox.arm("server_error", match={"operation": "get_payment"})
    assert (await notify(diner, 990_000_000_001)).status == 200
    await pass_time(diner, minutes=8, step=10)
    assert await outcomes(diner) == ["unknown_payment"]


@pytest.mark.parametrize("reference", ["another-shop", "11111111-1111-4111-8111-111111111111", None])
async def test_a_payment_of_the_account_that_is_no_order_of_ours_is_not_ours(
    diner: Diner, reference: str | None
) -> None:
    async with diner.session.post(
        f"{diner.sandbox.url}/v1/payments",
        json={
            "transaction_amount": 10.5,
            "payment_method_id": "pix",
            "payer": {"email": "someone@example.com"},
            "external_reference": reference,
        },
        headers={"Authorization": f"Bearer {diner.sandbox.token}", "X-Idempotency-Key": "other"},
    ) as answer:
        assert answer.status == 201
    await diner.sandbox.settled()
    await diner.work()
    assert await outcomes(diner) == ["not_ours"]


async def test_a_webhook_may_come_before_a_lagging_replica_knows_the_payment(diner: Diner) -> None:
    diner.sandbox.arm("create_answer_lost")
    diner.sandbox.arm("not_found_after_create", times=2)
    order = await diner.place()
    await diner.sandbox.settled()
    await diner.work("webhooks")
    assert await outcomes(diner) == ["claimed"]
    await pass_time(diner, minutes=0.5, step=5)
    assert (await diner.order(order["id"]))["payment"]["status"] == "pending"
    assert await outcomes(diner) == ["pending"]


async def test_a_payment_that_the_provider_forgets_is_asked_about_again(diner: Diner) -> None:
    order = await diner.place()
    await diner.work()
    diner.sandbox.arm("not_found_after_create", times=2)
    await diner.pay(order)
    await diner.work("webhooks")
    assert (await diner.order(order["id"]))["status"] == "awaiting_payment"
    await pass_time(diner, minutes=4)
    await assert_paid_once(diner, order)


async def test_a_webhook_waits_while_the_provider_is_away(diner: Diner) -> None:
    order = await diner.place()
    await diner.work()
    diner.sandbox.arm("rate_limited", retry_after=30, match={"operation": "get_payment"})
    diner.sandbox.arm("server_error", match={"operation": "get_payment"}, times=2)
    await diner.pay(order)
    await diner.work()
    assert (await outcomes(diner))[-1] == "claimed"
    await pass_time(diner, minutes=1, step=5)
    await assert_paid_once(diner, order)
    assert (await outcomes(diner))[-1] == "approved"


@pytest.mark.parametrize("secret", ["another-secret", ""])
async def test_a_forged_webhook_is_refused_and_not_even_kept(diner: Diner, secret: str) -> None:
    order = await diner.place()
    await diner.sandbox.settled()
    await diner.work()
    refused = await notify(diner, diner.charge(order), secret=secret or "x")
    assert (refused.status, refused.code) == (401, "invalid_signature")
    mismatched = await notify(diner, diner.charge(order), data={"id": "5"})
    assert (mismatched.status, mismatched.code) == (401, "invalid_signature")
    assert await outcomes(diner) == ["pending"]


# What the provider says does not fit --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fault", "values"),
    [("wrong_amount", {"amount_cents": 1}), ("wrong_amount", {}), ("wrong_currency", {})],
)
async def test_our_guests_money_that_does_not_fit_is_given_back_once_and_not_cooked_for(
    diner: Diner, fault: str, values: dict[str, Any]
) -> None:
    order = await diner.place()
    await diner.work()
    diner.sandbox.arm(fault, match={"operation": "get_payment"}, times=None, **values)
    await diner.pay(order)
    await diner.work()
    found = await diner.order(order["id"])
    assert (found["status"], found["payment"]["status"]) == ("cancelled", "refunded")
    assert "paid" not in await diner.history(order)
    assert [refund.status for refund in diner.sandbox.refunds()] == ["approved"]
    reasons = [row["reason"] for row in await diner.pool.fetch("SELECT reason FROM payment_events ORDER BY id")]
    assert Review.AMOUNT_MISMATCH in reasons
    diner.sandbox.clear_faults()
    await pass_time(diner, minutes=60, step=600)
    sums = await assert_every_real_is_accounted_for(diner)
    assert (sums.open, sums.served, sums.refunded) == (0, 0, order["total_cents"])


@pytest.mark.parametrize("fault", ["wrong_reference", "live_mode_flipped"])
async def test_money_that_does_not_seem_our_guests_is_not_cooked_for_and_a_person_looks(
    diner: Diner, fault: str
) -> None:
    order = await diner.place()
    await diner.work()
    strange = diner.sandbox.arm(fault, match={"operation": "get_payment"}, times=None)
    await diner.pay(order)
    await diner.work()
    found = await diner.order(order["id"])
    assert (found["status"], found["payment"]["status"]) == ("awaiting_payment", "pending")
    assert str(await diner.value("SELECT review FROM payments")).removesuffix("_mismatch") in fault
    assert diner.sandbox.refunds() == []
    assert strange.struck
    # Should the provider come to its senses, the order is cooked.
    diner.sandbox.clear_faults()
    await pass_time(diner, minutes=6, step=60)
    await assert_paid_once(diner, order)
    assert await diner.value("SELECT review FROM payments") is None


@pytest.mark.parametrize("fault", ["wrong_reference", "live_mode_flipped", "wrong_amount", "unknown_status"])
async def test_a_charge_whose_answer_does_not_fit_is_not_shown_to_the_guest(diner: Diner, fault: str) -> None:
    diner.sandbox.arm("webhook_never", times=None)
    diner.sandbox.arm(fault, match={"operation": "create_payment"}, times=None)
    diner.sandbox.arm(fault, match={"operation": "get_payment"}, times=None)
    order = await diner.place()
    assert order["payment"]["pix"] is None
    assert await diner.value("SELECT review FROM payments") == (
        fault if fault == "unknown_status" else "live_mode_mismatch" if "live" in fault else f"{fault[6:]}_mismatch"
    )
    await pass_time(diner, minutes=3)
    assert len(diner.sandbox.payments()) == 1
    diner.sandbox.clear_faults()
    diner.sandbox.arm("webhook_never", times=None)
    await pass_time(diner, minutes=6)
    found = await diner.order(order["id"])
    if fault == "wrong_amount":
        assert (found["status"], diner.sandbox.payments()[0].status) == ("cancelled", "cancelled")
    else:
        assert (found["status"], found["payment"]["status"]) == ("awaiting_payment", "pending")
        assert found["payment"]["pix"] is not None
    await assert_every_real_is_accounted_for(diner)


@pytest.mark.parametrize("fault", [None, "server_error", "refund_answer_lost"])
async def test_a_second_charge_under_our_reference_goes_back_and_does_not_touch_the_first(
    diner: Diner, fault: str | None
) -> None:
    order = await diner.place()
    await diner.sandbox.settled()
    await diner.work()
    async with diner.session.post(
        f"{diner.sandbox.url}/v1/payments",
        json={
            "transaction_amount": order["total_cents"] / 100,
            "payment_method_id": "pix",
            "payer": {"email": "someone@example.com"},
            "external_reference": order["id"],
        },
        headers={"Authorization": f"Bearer {diner.sandbox.token}", "X-Idempotency-Key": "second"},
    ) as answer:
        second = (await answer.json())["id"]
    await diner.later(seconds=2)
    if fault is not None:
        diner.sandbox.arm(fault, match={"operation": "create_refund"})
    diner.sandbox.act(second, "pay")
    await diner.sandbox.settled()
    await diner.work("webhooks")
    assert await diner.value("SELECT review FROM payments") == Review.SECOND_CHARGE
    assert (await diner.order(order["id"]))["status"] == "awaiting_payment"
    # The first one's word still counts, although it is older than the second one's.
    first = order["payment"]["provider_payment_id"]
    assert first != second
    await pass_time(diner, minutes=1)
    found = await diner.order(order["id"])
    assert (found["payment"]["status"], found["payment"]["provider_payment_id"]) == ("pending", first)
    assert found["payment"]["pix"]["copy_paste"] == order["payment"]["pix"]["copy_paste"]
    assert [refund.payment_id for refund in diner.sandbox.refunds()] == [second]
    assert diner.sandbox.payment(second).status == "refunded"
    # However the first one goes on, a person is told of the second.
    diner.sandbox.act(first, "pay")
    await diner.sandbox.settled()
    await diner.work()
    assert (await diner.order(order["id"]))["status"] == "paid"
    assert await diner.value("SELECT review FROM payments") == Review.SECOND_CHARGE
    reasons = await diner.pool.fetch("SELECT DISTINCT reason FROM payment_events WHERE reason LIKE '% %'")
    assert [row["reason"] for row in reasons] == [f"second_charge {second}"]
    assert not {"waiting", "claimed"} & set(await outcomes(diner))


async def test_a_status_that_nobody_knows_waits_for_a_known_one(diner: Diner) -> None:
    order = await diner.place()
    await diner.work()
    diner.sandbox.arm("unknown_status", times=2, match={"operation": "get_payment"})
    await diner.pay(order)
    await diner.work()
    assert (await diner.order(order["id"]))["status"] == "awaiting_payment"
    assert await diner.value("SELECT review FROM payments") == Review.UNKNOWN_STATUS
    await pass_time(diner, minutes=10, step=60)
    await assert_paid_once(diner, order)
    assert await diner.value("SELECT review FROM payments") is None


async def test_a_status_that_nobody_knows_lets_the_order_expire_and_the_money_go_back(diner: Diner) -> None:
    order = await diner.place()
    await diner.work()
    diner.sandbox.arm("unknown_status", times=None, match={"operation": "get_payment"})
    await diner.pay(order)
    await pass_time(diner, minutes=46, step=120)
    found = await diner.order(order["id"])
    assert (found["status"], found["payment"]["status"]) == ("expired", "pending")
    assert (await assert_every_real_is_accounted_for(diner)).open == order["total_cents"]
    diner.sandbox.clear_faults()
    await pass_time(diner, minutes=10, step=60)
    found = await diner.order(order["id"])
    assert (found["status"], found["payment"]["status"]) == ("expired", "refunded")
    assert (await assert_every_real_is_accounted_for(diner)).open == 0


@pytest.mark.parametrize("fault", ["null_payer", "null_approved", "string_amounts", "string_id"])
async def test_odd_but_harmless_answers_are_understood(diner: Diner, fault: str) -> None:
    diner.sandbox.arm(fault, times=None)
    order = await diner.place()
    await diner.pay(order)
    await diner.work()
    await assert_paid_once(diner, order)


async def test_a_qr_that_was_missing_in_the_first_answer_follows(diner: Diner) -> None:
    diner.sandbox.arm("webhook_never", times=None)
    diner.sandbox.arm("null_qr", match={"operation": "create_payment"})
    order = await diner.place()
    assert (order["payment"]["status"], order["payment"]["pix"]) == ("pending", None)
    await diner.later(seconds=diner.checkout.settings.check_first)
    await diner.work()
    assert (await diner.order(order["id"]))["payment"]["pix"]["copy_paste"].startswith("000201")


async def test_a_bank_that_looks_into_it_and_then_pays_or_rejects(diner: Diner) -> None:
    one, two = await diner.place(), await diner.place(2)
    for order in (one, two):
        diner.sandbox.act(diner.charge(order), "process")
    await diner.sandbox.settled()
    await diner.work()
    found = await diner.order(one["id"])
    assert (found["status"], found["payment"]["status"]) == ("awaiting_payment", "in_process")
    await diner.pay(one)
    diner.sandbox.act(diner.charge(two), "reject")
    await diner.sandbox.settled()
    await diner.work()
    assert (await diner.order(one["id"]))["status"] == "paid"
    rejected = await diner.order(two["id"])
    assert (rejected["status"], rejected["payment"]["status"]) == ("cancelled", "rejected")
    await assert_every_real_is_accounted_for(diner)
