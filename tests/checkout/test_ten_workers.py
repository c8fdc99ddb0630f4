"""Ten workers at once: they share the work, and nothing is done twice in effect."""

import asyncio
from collections import Counter

from comanda.worker import make_loops
from tests.accounting import assert_every_real_is_accounted_for
from tests.running_diner import Diner


async def all_at_once(diner: Diner) -> None:
    """Let ten workers turn all their loops together until nothing is due."""
    workers = [make_loops(diner.checkout) for _ in range(10)]
    while sum(await asyncio.gather(*[loop.once() for loops in workers for loop in loops])):
        await diner.sandbox.settled()


async def test_ten_workers_settle_twenty_payments_once_each_with_distinct_numbers(diner: Diner) -> None:
    orders = [await diner.place() for _ in range(20)]
    await diner.sandbox.settled()
    diner.sandbox.arm("webhook_duplicated", times=None, copies=2)
    for order in orders:
        diner.sandbox.act(diner.charge(order), "pay")
    await diner.sandbox.settled()
    # The polls come due in the same moment as the webhooks.
    await diner.pool.execute("UPDATE payments SET next_check_at = now() - interval '1 hour'")
    await all_at_once(diner)
    found = [await diner.order(order["id"]) for order in orders]
    assert {order["status"] for order in found} == {"paid"}
    assert len({order["pickup_number"] for order in found}) == 20
    for order in orders:
        assert await diner.history(order) == ["awaiting_payment", "paid"]
    sums = await assert_every_real_is_accounted_for(diner)
    assert (sums.served, sums.open) == (20 * orders[0]["total_cents"], 0)


async def test_ten_workers_give_late_payments_back_once_each(diner: Diner) -> None:
    orders = [await diner.place() for _ in range(8)]
    for order in orders:
        await diner.call("POST", f"/v1/orders/{order['id']}/cancel")
        diner.sandbox.act(diner.charge(order), "pay")
    await diner.sandbox.settled()
    diner.sandbox.arm("refund_answer_lost", times=4)
    await all_at_once(diner)
    await diner.later(seconds=30)
    await all_at_once(diner)
    assert Counter(refund.payment_id for refund in diner.sandbox.refunds()) == Counter(map(diner.charge, orders))
    assert await diner.value("SELECT count(*) FROM refunds WHERE status = 'approved'") == 8
    assert (await assert_every_real_is_accounted_for(diner)).open == 0


async def test_ten_workers_finish_lost_answers_with_one_charge_each(diner: Diner) -> None:
    diner.sandbox.arm("create_answer_lost", times=4)
    diner.sandbox.arm("time_out", seconds=0.0, times=4, match={"operation": "create_payment"})
    orders = [await diner.place() for _ in range(8)]
    await diner.later(seconds=30)
    await all_at_once(diner)
    assert {(await diner.order(order["id"]))["payment"]["status"] for order in orders} == {"pending"}
    assert len(diner.sandbox.payments()) == 8
    await assert_every_real_is_accounted_for(diner)
