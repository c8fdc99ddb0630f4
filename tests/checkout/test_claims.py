"""What the worker takes from its queues: one refund of a payment at a time, what is new at once, never too much."""

from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest

import comanda.payments.refunds
import comanda.payments.store
from comanda.database.pool import Connection
from comanda.payments import webhooks
from tests.accounting import assert_every_real_is_accounted_for
from tests.checkout.meddling import pass_time
from tests.checkout.test_refunds import lines, listed
from tests.running_diner import Diner

ONE = lines((1, 1))
# Plans under which a subquery with a LIMIT may be run once for every row.
PLANS = [(), ("hashagg", "sort"), ("hashagg", "sort", "hashjoin", "mergejoin", "material")]


async def test_two_refunds_of_one_amount_and_payment_are_not_confused(diner: Diner) -> None:
    order = await diner.place_paid(3)
    price = order["items"][0]["unit_price_cents"]
    # The first one is made and its answer lost, the second one is not made, and refused when it is asked for again.
    diner.sandbox.arm("refund_answer_lost")
    await diner.refund(order, ONE)
    await diner.work("refunds")
    diner.sandbox.arm("server_error", match={"operation": "create_refund"})
    diner.sandbox.arm("refund_refused")
    await diner.refund(order, ONE)
    assert await diner.work("refunds") == 0, "the first one is not known yet"
    await pass_time(diner, minutes=5)
    assert sorted(await listed(diner, order)) == [("approved", price), ("rejected", price)]
    assert [refund.amount_cents for refund in diner.sandbox.refunds()] == [price]
    assert await diner.value("SELECT refund_reserved_cents FROM payments") == 0
    await assert_every_real_is_accounted_for(diner)


async def test_a_refund_that_was_begun_goes_before_one_that_a_slow_clock_made_older(diner: Diner) -> None:
    order = await diner.place_paid(3)
    diner.sandbox.arm("refund_answer_lost")
    await diner.refund(order, ONE)
    await diner.work("refunds")
    await diner.refund(order, ONE)
    await diner.pool.execute("UPDATE refunds SET created_at = created_at - interval '1 hour' WHERE attempts = 0")
    assert await diner.work("refunds") == 0
    await pass_time(diner, minutes=1)
    assert {status for status, _ in await listed(diner, order)} == {"approved"}
    assert len(diner.sandbox.refunds()) == 2


async def test_refunds_of_different_orders_do_not_wait_for_each_other(diner: Diner) -> None:
    one, two = await diner.place_paid(), await diner.place_paid()
    diner.sandbox.arm("server_error", match={"operation": "create_refund"})
    await diner.refund(one, ONE)
    await diner.work("refunds")
    await diner.refund(two, ONE)
    assert await diner.work("refunds") == 1
    assert (await listed(diner, two))[0][0] == "approved"


async def test_a_worker_whose_clock_is_behind_takes_what_is_new_at_once(diner: Diner) -> None:
    paid, waiting = await diner.place_paid(), await diner.place()
    await diner.sandbox.settled()
    await diner.work()
    assert (await diner.refund(paid, ONE)).status == 201
    assert (await diner.call("POST", f"/v1/orders/{waiting['id']}/cancel")).status == 200
    now = diner.checkout.clock()
    behind = now - timedelta(seconds=10)
    lease = behind + timedelta(seconds=9)
    async with diner.pool.acquire() as connection:
        await webhooks.store(connection, provider_payment_id=5, body=b"{}", request_id="r", now=now)
        [event] = await webhooks.claim_due(connection, now=behind, lease_until=lease, limit=5)
        [refund] = await comanda.payments.refunds.claim_due(connection, now=behind, lease_until=lease, limit=5)
        [payment] = await comanda.payments.store.claim_due(connection, now=behind, lease_until=lease, limit=5)
        again = await webhooks.claim_due(connection, now=behind, lease_until=lease, limit=5)
    assert (event.provider_payment_id, refund.amount_cents) == (5, paid["total_cents"])
    assert payment.order_id == UUID(waiting["id"])
    assert again == [], "what was taken waits for the end of its lease"


async def _planned(connection: Connection, off: tuple[str, ...], claim: Any, diner: Diner) -> int:
    for name in off:
        await connection.execute(f"SET enable_{name} = off")
    now = diner.checkout.clock()
    taken = await claim(connection, now=now, lease_until=now + timedelta(minutes=5), limit=2)
    for name in off:
        await connection.execute(f"RESET enable_{name}")
    return len(taken)


@pytest.mark.parametrize("off", PLANS, ids=lambda off: "+".join(off) or "usual")
async def test_no_plan_claims_more_than_asked_for(diner: Diner, off: tuple[str, ...]) -> None:
    for order in [await diner.place_paid() for _ in range(5)]:
        await diner.refund(order, ONE)
    await diner.pool.execute("UPDATE payments SET next_check_at = now() - interval '1 year'")
    async with diner.pool.acquire() as connection:
        for number in range(5):
            now = diner.checkout.clock()
            await webhooks.store(connection, provider_payment_id=number + 1, body=b"{}", request_id="r", now=now)
        for claim in (comanda.payments.store.claim_due, comanda.payments.refunds.claim_due, webhooks.claim_due):
            assert await _planned(connection, off, claim, diner) == 2
