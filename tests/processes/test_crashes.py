"""Pods that die in the worst moment. The sandbox's ledger is the judge: one charge an order, one refund, no loss."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import asyncpg
import pytest

from comanda.database.migrate import migrate
from comanda_local.postgres import EmbeddedPostgres, StopMode
from comanda_sandbox.running import RunningSandbox
from tests.processes.conftest import stock
from tests.processes.pods import Pod, call, environment, eventually
from tests.processes.test_stop import basket
from tests.running_diner import Answer

Start = Callable[..., Awaitable[Pod]]
Rows = Any


async def statuses(rows: Rows, orders: list[str]) -> list[str]:
    """Answer where orders stand, in their order."""
    found = await rows.fetch("SELECT id::text, status FROM orders")
    by_id = {row["id"]: row["status"] for row in found}
    return [by_id[order] for order in orders]


async def test_killed_between_intent_and_charge(
    database_url: str,
    staff_key: str,
    api_port: int,
    sandbox: RunningSandbox,
    start: Start,
    session: aiohttp.ClientSession,
    rows: Rows,
) -> None:
    settings = environment(database_url, sandbox, PORT=api_port, PROVIDER_TIMEOUT_MS=10_000, WORKER_LEASE=31)
    api = await (await start("serve", settings)).ready()
    wanted = await basket(session, api)
    # The charge is never made, is made and not answered, is made when nobody waits any more.
    faults = [
        sandbox.arm("time_out", seconds=60, match={"operation": "create_payment"}),
        sandbox.arm("slow_answer", seconds=60, match={"operation": "create_payment"}),
        sandbox.arm("slow", seconds=2, match={"operation": "create_payment"}),
    ]
    keys = [f"crash-test-key-{number}" for number in range(3)]
    placing = [
        asyncio.create_task(call(session, "POST", f"{api.url}/v1/orders", wanted, headers={"Idempotency-Key": key}))
        for key in keys
    ]
    for fault in faults:
        await sandbox.struck(fault)
    await api.kill()
    gone = await asyncio.gather(*placing, return_exceptions=True)
    assert all(isinstance(error, aiohttp.ClientError) for error in gone)
    orders = [row["id"] for row in await rows.fetch("SELECT id::text FROM orders")]
    assert len(orders) == 3
    assert await statuses(rows, orders) == ["awaiting_payment"] * 3

    # The dead API's lease ends now rather than in a while.
    await rows.execute("UPDATE payments SET next_check_at = now()")
    api = await (await start("serve", settings)).ready()
    await (await start("worker", environment(database_url, sandbox, PROVIDER_TIMEOUT_MS=1400, WORKER_LEASE=5))).ready()

    async def charged() -> bool:
        return bool(await rows.fetchval("SELECT count(*) = 3 FROM payments WHERE status = 'pending'"))

    await eventually(charged, "every order has its Pix")
    # A guest who sends the same again, as a page does after a lost answer, has the same order.
    await rows.execute("UPDATE idempotency_keys SET busy_until = NULL")
    again = [
        await call(session, "POST", f"{api.url}/v1/orders", wanted, headers={"Idempotency-Key": key}) for key in keys
    ]
    assert {answer.status for answer in again} == {201}
    assert sorted(answer.body["id"] for answer in again) == sorted(orders)
    for order in orders:
        [charge] = sandbox.payments(order)
        sandbox.act(charge.id, "pay")

    async def paid() -> bool:
        return await statuses(rows, orders) == ["paid"] * 3

    await eventually(paid, "every order is paid")
    assert [len(sandbox.payments(order)) for order in orders] == [1, 1, 1]


async def test_killed_while_settling_and_while_refunding(
    database_url: str,
    staff_key: str,
    api_port: int,
    sandbox: RunningSandbox,
    start: Start,
    session: aiohttp.ClientSession,
    rows: Rows,
) -> None:
    api = await (await start("serve", environment(database_url, sandbox, PORT=api_port))).ready()
    order = (await call(session, "POST", f"{api.url}/v1/orders", await basket(session, api))).body
    [charge] = sandbox.payments(order["id"])
    worker = await (await start("worker", environment(database_url, sandbox))).ready()
    # Whoever asks, for the webhook or by itself, is kept waiting.
    reading = sandbox.arm("slow_answer", times=None, seconds=60, match={"operation": "get_payment"})
    sandbox.act(charge.id, "pay")
    await sandbox.struck(reading)
    await worker.kill()
    sandbox.clear_faults()
    assert await statuses(rows, [order["id"]]) == ["awaiting_payment"]

    refunding = sandbox.arm("slow_answer", seconds=60, match={"operation": "create_refund"})
    worker = await (await start("worker", environment(database_url, sandbox))).ready()

    async def paid() -> bool:
        return await statuses(rows, [order["id"]]) == ["paid"]

    await eventually(paid, "the order is paid")
    refund = await call(session, "POST", f"{api.url}/v1/orders/{order['id']}/refunds", {"all": True}, key=staff_key)
    assert refund.status in {200, 201, 202}, refund
    await sandbox.struck(refunding)
    # The money has gone back, and nobody here knows.
    assert len(sandbox.refunds(charge.id)) == 1
    await worker.kill()

    await (await start("worker", environment(database_url, sandbox))).ready()

    async def refunded() -> bool:
        document = (await call(session, "GET", f"{api.url}/v1/orders/{order['id']}")).body
        return bool(document["payment"]["status"] == "refunded")

    await eventually(refunded, "the refund is known")
    [given_back] = sandbox.refunds(charge.id)
    assert given_back.amount_cents == order["total_cents"]
    assert await rows.fetchval("SELECT count(*) FROM refunds") == 1
    history = await rows.fetch("SELECT status_to FROM order_events ORDER BY version")
    assert [row["status_to"] for row in history] == ["awaiting_payment", "paid", "cancelled"]


async def test_ten_workers_share_one_backlog(
    database_url: str,
    staff_key: str,
    api_port: int,
    sandbox: RunningSandbox,
    start: Start,
    session: aiohttp.ClientSession,
    rows: Rows,
) -> None:
    api = await (await start("serve", environment(database_url, sandbox, PORT=api_port))).ready()
    wanted = await basket(session, api)
    placed = await asyncio.gather(*(call(session, "POST", f"{api.url}/v1/orders", wanted) for _ in range(40)))
    orders = [answer.body["id"] for answer in placed]
    for order in orders:
        [charge] = sandbox.payments(order)
        sandbox.act(charge.id, "pay")
    # Ten of them are given up by their guests just before the money is seen: all of that goes back.
    cancelled = [await call(session, "POST", f"{api.url}/v1/orders/{order}/cancel") for order in orders[:10]]
    assert {answer.status for answer in cancelled} == {200}
    await sandbox.settled()
    assert await rows.fetchval("SELECT count(*) FROM webhook_events WHERE status = 'waiting'") == 40
    workers = [await start("worker", environment(database_url, sandbox)) for _ in range(10)]
    for worker in workers:
        await worker.ready()

    async def done() -> bool:
        return await statuses(rows, orders) == ["cancelled"] * 10 + ["paid"] * 30

    async def given_back() -> bool:
        return bool(await rows.fetchval("SELECT count(*) = 10 FROM payments WHERE status = 'refunded'"))

    await eventually(done, "every order is settled", 30)
    await eventually(given_back, "what was cancelled is given back", 30)
    # Once each: in the ledger, in the history, and among the numbers that are called out.
    assert [len(sandbox.payments(order)) for order in orders] == [1] * 40
    assert len(sandbox.refunds()) == 10
    numbers = await rows.fetch("SELECT pickup_number FROM orders WHERE status = 'paid'")
    assert len({row["pickup_number"] for row in numbers}) == 30
    assert await rows.fetchval("SELECT count(*) FROM order_events WHERE status_to = 'paid'") == 30
    shares = [await worker.metric("comanda_worker_items_total") for worker in workers]
    assert sum(share > 0 for share in shares) > 1, shares


@dataclass
class Crowd:
    """Guests who order and pay, and send the same again as their page does while the diner's database is away."""

    session: aiohttp.ClientSession
    api: Pod
    sandbox: RunningSandbox
    wanted: dict[str, Any]
    chance: random.Random
    answers: list[Answer] = field(default_factory=list)
    turned_away: asyncio.Event = field(default_factory=asyncio.Event)

    async def order(self, number: int) -> str:
        """Order with one key until it is taken; answer the order's id."""
        headers = {"Idempotency-Key": f"guest-{number:016}"}
        while True:
            answer = await call(self.session, "POST", f"{self.api.url}/v1/orders", self.wanted, headers=headers)
            self.answers.append(answer)
            if answer.status == 201:
                return str(answer.body["id"])
            if answer.status == 503:
                self.turned_away.set()
            await asyncio.sleep(self.chance.uniform(0.02, 0.1))

    async def row(self, numbers: range) -> list[str]:
        """Guests one after the other; answer their orders."""
        orders = []
        for number in numbers:
            orders.append(await self.order(number))
            self.pay(orders[-1:])
        return orders

    def pay(self, orders: list[str]) -> None:
        """Pay what has a Pix and is not paid."""
        for order in orders:
            for charge in self.sandbox.payments(order):
                if charge.status == "pending":
                    self.sandbox.act(charge.id, "pay")

    async def underway(self) -> bool:
        """Whether the first of them have their orders."""
        return sum(answer.status == 201 for answer in self.answers) >= 8


@pytest.mark.parametrize("mode", ["immediate", "fast"])
async def test_a_database_that_stops_under_load(
    mode: StopMode,
    tmp_path: Path,
    api_port: int,
    sandbox: RunningSandbox,
    start: Start,
    session: aiohttp.ClientSession,
    chance: random.Random,
) -> None:
    with EmbeddedPostgres(tmp_path / "crashing") as postgres:
        url = postgres.superuser_url
        await migrate(url)
        key = await stock(url)
        api = await (await start("serve", environment(url, sandbox, PORT=api_port, DATABASE_POOL_SIZE=5))).ready()
        await (await start("worker", environment(url, sandbox))).ready()
        crowd = Crowd(session, api, sandbox, await basket(session, api), chance)
        board = await session.get(f"{api.url}/v1/board/events", timeout=aiohttp.ClientTimeout(total=None))
        rows = [asyncio.create_task(crowd.row(range(at, at + 10))) for at in range(0, 40, 10)]
        await eventually(crowd.underway, "the first orders")

        await asyncio.to_thread(postgres.stop, mode)
        async with asyncio.timeout(10):
            await crowd.turned_away.wait()
        # Calm meanwhile: ready, the last menu known, and staff told to come back.
        assert (await call(session, "GET", f"{api.ops}/readyz")).status == 200
        assert (await call(session, "GET", f"{api.url}/v1/menu")).status == 200
        kitchen = await call(session, "GET", f"{api.url}/v1/kitchen", key=key)
        assert (kitchen.status, kitchen.code) == (503, "database_unavailable")
        await asyncio.to_thread(postgres.start)

        look = await asyncpg.connect(url)
        # A request that was at work in the crash keeps its key busy for 15 s; these guests are spared the wait.
        await look.execute("UPDATE idempotency_keys SET busy_until = NULL")
        async with asyncio.timeout(40):
            orders = [order for row in await asyncio.gather(*rows) for order in row]
        refused = {(answer.status, answer.code) for answer in crowd.answers if answer.status != 201}
        assert refused <= {(503, "database_unavailable"), (409, "request_in_progress")}
        assert all("retry-after" in answer.headers for answer in crowd.answers if answer.status != 201)

        async def settled() -> bool:
            crowd.pay(orders)  # those whose Pix was still unknown when their order was taken
            return not await look.fetchval("SELECT count(*) FROM orders WHERE status <> 'paid'")

        await eventually(settled, "every order is paid", 30)
        # Nothing lost, nothing twice: not one order more than guests know of, one charge each.
        known = [row["id"] for row in await look.fetch("SELECT id::text FROM orders")]
        assert sorted(known) == sorted(orders)
        assert [len(sandbox.payments(order)) for order in orders] == [1] * 40
        await look.close()
        # A stream that was open all the time tells of what comes after.
        changed = await call(session, "PATCH", f"{api.url}/v1/orders/{orders[0]}", {"status": "preparing"}, key=key)
        assert changed.status == 200
        async with asyncio.timeout(10):
            while f'"preparing":[{changed.body["pickup_number"]}]'.encode() not in await board.content.readline():
                pass
        board.close()
