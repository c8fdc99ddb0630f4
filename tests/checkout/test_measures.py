"""What the owner and the operator are told in numbers: of orders, of money that waits, and of how long guests wait."""

import pytest
from prometheus_client import REGISTRY

from comanda.checkout.what_waits import say_what_waits
from tests.checkout.meddling import pass_time
from tests.running_diner import Diner


def value(name: str, **labels: str) -> float:
    """Answer what a metric stands at."""
    found = REGISTRY.get_sample_value(name, labels)
    assert found is not None, f"there is no {name}{labels}"
    return found


def spent(status: str) -> tuple[float, float]:
    """Answer how many orders went on from a status, and how long all of them were in it."""
    name = "comanda_order_status_seconds"
    return value(f"{name}_count", status=status), value(f"{name}_sum", status=status)


async def look(diner: Diner) -> None:
    """Have the worker look at what waits."""
    async with diner.pool.acquire() as connection:
        await say_what_waits(connection, diner.checkout.clock())


async def test_how_long_an_order_takes_from_step_to_step(diner: Diner) -> None:
    before = {status: spent(status) for status in ("awaiting_payment", "paid", "preparing", "ready")}
    order = await diner.place()
    for step in ("paid", "preparing", "ready", "picked_up"):
        await diner.later(seconds=100)
        if step == "paid":
            await diner.pay(order)
            await diner.work()
        else:
            await diner.advance(order, step)
    for status, (count, seconds) in before.items():
        assert spent(status)[0] == count + 1
        assert spent(status)[1] - seconds == pytest.approx(100, abs=1)


async def test_steps_back_and_orders_that_end_are_not_taken_for_speed(diner: Diner) -> None:
    order = await diner.place_paid()
    await diner.advance(order, "preparing")
    before = spent("preparing"), spent("awaiting_payment")
    await diner.advance(order, "paid")
    unpaid = await diner.place()
    assert (await diner.call("POST", f"/v1/orders/{unpaid['id']}/cancel")).status == 200
    assert (spent("preparing"), spent("awaiting_payment")) == before


@pytest.mark.parametrize("told", [True, False])
async def test_how_soon_the_kitchen_sees_what_was_paid_and_who_told(diner: Diner, told: bool) -> None:
    by = "webhook" if told else "poll"
    before = value("comanda_approvals_total", learnt_by=by)
    count, seconds = (value(f"comanda_paid_to_kitchen_seconds_{each}") for each in ("count", "sum"))
    if not told:
        diner.sandbox.arm("webhook_never", times=None)
    order = await diner.place()
    await diner.pay(order)
    if not told:
        await pass_time(diner, minutes=1, step=5)
    await diner.work()
    assert (await diner.order(order["id"]))["status"] == "paid"
    assert value("comanda_approvals_total", learnt_by=by) == before + 1
    assert value("comanda_paid_to_kitchen_seconds_count") == count + 1
    waited = value("comanda_paid_to_kitchen_seconds_sum") - seconds
    assert waited < 2 if told else 2 < waited <= 60


async def test_a_provider_whose_clock_is_ahead_makes_no_time_of_less_than_nothing(diner: Diner) -> None:
    before = value("comanda_paid_to_kitchen_seconds_sum")
    order = await diner.place()
    await diner.pay(order)
    await diner.later(seconds=-30)
    await diner.work()
    assert value("comanda_paid_to_kitchen_seconds_sum") == before


async def test_what_waits_is_said_by_status_with_the_oldest(diner: Diner) -> None:
    await diner.place()
    await diner.later(seconds=40)
    first, second = await diner.place_paid(), await diner.place_paid()
    await diner.advance(first, "preparing")
    await diner.later(seconds=20)
    await look(diner)
    counts = {status: value("comanda_orders", status=status) for status in ("awaiting_payment", "paid", "preparing")}
    assert counts == {"awaiting_payment": 1, "paid": 1, "preparing": 1}
    assert value("comanda_orders", status="ready") == value("comanda_oldest_order_seconds", status="ready") == 0
    assert value("comanda_oldest_order_seconds", status="awaiting_payment") == pytest.approx(60, abs=2)
    assert value("comanda_oldest_order_seconds", status="paid") == pytest.approx(20, abs=2)
    await diner.advance(second, "preparing")
    await look(diner)
    assert value("comanda_orders", status="paid") == 0


async def test_money_that_is_owed_is_counted_until_the_provider_has_decided(diner: Diner) -> None:
    order = await diner.place_paid(2)
    price = order["items"][0]["unit_price_cents"]
    await diner.refund(order, {"items": [{"item_id": 1, "quantity": 1}]})
    await look(diner)
    assert (value("comanda_refunds_open"), value("comanda_refunds_open_cents")) == (1, price)
    await diner.work()
    await look(diner)
    assert (value("comanda_refunds_open"), value("comanda_refunds_open_cents")) == (0, 0)


async def test_a_refund_that_nobody_decides_is_said_aloud(diner: Diner, caplog: pytest.LogCaptureFixture) -> None:
    diner.sandbox.arm("refund_in_process")
    order = await diner.place_paid()
    await diner.refund(order, {"items": [{"item_id": 1, "quantity": 1}]})
    await diner.work()
    for minutes, said in ((9, []), (2, ["a refund is owed for too long"])):
        await diner.later(minutes=minutes)
        caplog.clear()
        await look(diner)
        assert [each.message for each in caplog.records if each.levelname == "ERROR"] == said
    assert value("comanda_oldest_waiting_seconds", item="refund") == pytest.approx(660, abs=5)


async def test_the_pool_says_how_many_connections_are_in_use(diner: Diner) -> None:
    name = "comanda_database_pool_connections"
    async with diner.pool.acquire(), diner.pool.acquire():
        busy = value(name, state="in_use")
        assert busy >= 2
    assert value(name, state="in_use") < busy
    assert value("comanda_database_pool_max") == diner.checkout.settings.database_pool_size
