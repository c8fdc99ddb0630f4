"""Pickup numbers: short, from 1 again at the diner's midnight, never two open orders with the same."""

import asyncio
import random
from datetime import UTC, date, datetime
from zoneinfo import ZoneInfo

import asyncpg
import pytest

from comanda.orders.pickup import EXHAUSTED, LONGEST, SHORT, TRIES, NoPickupNumberFree, is_taken, next_number, pass_over
from tests.database.rows import add_open_orders, add_order, connected
from tests.running_diner import Diner, running_diner

MONDAY, TUESDAY = date(2026, 11, 23), date(2026, 11, 24)


async def test_they_count_from_1_and_from_1_again_the_next_day(database_url: str) -> None:
    async with connected(database_url) as connection:
        assert [await next_number(connection, MONDAY) for _ in range(3)] == [1, 2, 3]
        assert [await next_number(connection, TUESDAY) for _ in range(2)] == [1, 2]
        # A payment that was settled late on the day before.
        assert await next_number(connection, MONDAY) == 6


async def test_they_wrap_at_999(database_url: str, owner_url: str) -> None:
    async with connected(owner_url) as owner:
        await owner.execute("INSERT INTO pickup_days VALUES ($1, 0)", MONDAY)
        await owner.execute("SELECT setval('pickup_numbers', $1)", SHORT - 1)
    async with connected(database_url) as connection:
        assert [await next_number(connection, MONDAY) for _ in range(3)] == [999, 1, 2]


async def test_some_can_be_passed_over_also_before_the_first_of_a_day(database_url: str) -> None:
    async with connected(database_url) as connection:
        await pass_over(connection, MONDAY, 5)
        assert await next_number(connection, MONDAY) == 6
        await pass_over(connection, MONDAY, 1)
        assert await next_number(connection, MONDAY) == 8
        # Never a whole round, which would end where it began.
        await pass_over(connection, MONDAY, 5000)
        assert await next_number(connection, MONDAY) == 8


async def test_a_number_on_an_open_order_is_passed_over_and_one_that_was_picked_up_is_not(database_url: str) -> None:
    async with connected(database_url) as connection:
        await add_open_orders(connection, 1, 2)
        await add_order(connection, "picked_up", pickup_number=3)
        assert (await is_taken(connection, 2), await is_taken(connection, 3)) == (True, False)
        assert await next_number(connection, MONDAY) == 3


async def test_with_more_open_orders_than_short_numbers_they_have_four_digits(database_url: str) -> None:
    async with connected(database_url) as connection:
        await add_open_orders(connection, 1, 1005)
        assert await next_number(connection, MONDAY) == 1006
        await add_open_orders(connection, 1006, 1006)
        # One that is cooked is as open as one that is paid.
        await connection.execute("UPDATE orders SET status = 'preparing', version = 2 WHERE pickup_number <= 500")
        assert await next_number(connection, MONDAY) == 1007


async def test_after_many_taken_ones_in_a_row_it_is_the_smallest_free_one(database_url: str) -> None:
    async with connected(database_url) as connection:
        await add_open_orders(connection, 1, TRIES)
        await add_open_orders(connection, TRIES + 2, TRIES + 30)
        assert await next_number(connection, MONDAY) == TRIES + 1


async def test_without_any_free_number_it_says_so(database_url: str) -> None:
    async with connected(database_url) as connection:
        await add_open_orders(connection, 1, LONGEST)
        before = EXHAUSTED._value.get()
        with pytest.raises(NoPickupNumberFree):
            await next_number(connection, MONDAY)
        assert EXHAUSTED._value.get() == before + 1


async def test_many_transactions_at_once_get_distinct_ones_without_waiting_for_each_other(database_url: str) -> None:
    async with asyncpg.create_pool(database_url, min_size=10, max_size=10) as pool:
        async with pool.acquire() as connection:
            first = await next_number(connection, MONDAY)
        together = asyncio.Barrier(10)

        async def take() -> int:
            async with pool.acquire() as connection, connection.transaction():
                number = await next_number(connection, MONDAY)
                # Nobody commits before everybody has one: a lock held to the end would stop here.
                async with asyncio.timeout(5):
                    await together.wait()
                return number

        assert sorted([first, *await asyncio.gather(*[take() for _ in range(10)])]) == list(range(1, 12))


async def test_two_payments_that_want_the_same_number_get_one_each(diner: Diner) -> None:
    orders = [await diner.place() for _ in range(4)]
    async with diner.pool.acquire() as connection:
        await add_open_orders(connection, 1, 999)
    for order in orders:
        diner.sandbox.act(diner.charge(order), "pay")
    await diner.sandbox.settled()
    await diner.work()
    await diner.later(minutes=1)
    await diner.work()
    numbers = [(await diner.order(order["id"]))["pickup_number"] for order in orders]
    assert sorted(numbers) == [1000, 1001, 1002, 1003]


async def test_the_first_of_a_day_may_be_rolled_back(database_url: str) -> None:
    async with connected(database_url) as connection:
        transaction = connection.transaction()
        await transaction.start()
        assert await next_number(connection, MONDAY) == 1
        await transaction.rollback()
        assert await next_number(connection, MONDAY) == 1


@pytest.mark.parametrize(
    ("zone", "midnight"),
    [
        ("America/Sao_Paulo", datetime(2026, 11, 24, 3, 0, tzinfo=UTC)),
        ("Asia/Tokyo", datetime(2026, 11, 24, 15, 0, tzinfo=UTC)),
    ],
)
async def test_the_day_begins_at_the_diners_midnight(
    database_url: str, chance: random.Random, zone: str, midnight: datetime
) -> None:
    async with running_diner(database_url, chance, TIME_ZONE=zone) as diner:
        before = (midnight - diner.sandbox.clock.now()).total_seconds() % 86400
        await diner.later(seconds=before - 60)
        one, two = await diner.place_paid(), await diner.place_paid()
        await diner.later(seconds=120)
        assert diner.checkout.clock().astimezone(ZoneInfo(zone)).hour == 0
        three = await diner.place_paid()
        # 1 is still on an open order.
        assert [order["pickup_number"] for order in (one, two, three)] == [1, 2, 3]
        await diner.advance(one, "preparing", "ready", "picked_up")
        await diner.later(days=1)
        assert (await diner.place_paid())["pickup_number"] == 1
