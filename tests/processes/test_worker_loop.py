"""The worker's loop by itself: bad items, failing claims, its bounds; and tasks that must not end unnoticed."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from typing import Any

import pytest
from prometheus_client import REGISTRY

import comanda.api.streams
import comanda.checkout.order_document
import comanda.tasks
from comanda.checkout.context import Checkout
from comanda.database.listener import Listener
from comanda.payments.provider import ProviderDenied, ProviderUnavailable
from comanda.worker import Loop, keep_house
from tests.running_diner import Diner

Handle = Callable[[Checkout, str], Awaitable[None]]


class Backlog:
    """Items that are claimed once each, and what is known of their handling."""

    def __init__(self, *items: str, failing_claims: int = 0) -> None:
        self.waiting = list(items)
        self.failing_claims = failing_claims
        self.handled: list[str] = []
        self.empty = asyncio.Event()

    async def claim(self, _connection: object, *, now: datetime, lease_until: datetime, limit: int) -> Sequence[str]:
        """Take up to `limit`."""
        assert lease_until > now
        if self.failing_claims:
            self.failing_claims -= 1
            raise RuntimeError("a claim that nobody expected to fail")
        taken, self.waiting = self.waiting[:limit], self.waiting[limit:]
        return taken

    async def handle(self, _checkout: Checkout, item: str) -> None:
        """Fail with what the item is called after."""
        self.handled.append(item)
        if not self.waiting:
            self.empty.set()
        if item == "poison":
            raise RuntimeError("poison")
        if item == "silent":
            raise ProviderUnavailable("no answer")
        if item == "denied":
            raise ProviderDenied(401, None, "invalid access token")

    def loop(self, checkout: Checkout, handle: Handle | None = None) -> Loop[str]:
        """Build the loop that works on it."""
        return Loop("test", checkout, self.claim, handle or self.handle, lambda item: f"request-of-{item}")


def outcomes(outcome: str) -> float:
    """Answer how many items of the tests' loops ended so."""
    labels = {"loop": "test", "outcome": outcome}
    return REGISTRY.get_sample_value("comanda_worker_items_total", labels) or 0.0


async def test_poison_and_failing_claims_stop_nobody(diner: Diner, caplog: pytest.LogCaptureFixture) -> None:
    backlog = Backlog("poison", "good", "silent", "denied", "poison", "good", failing_claims=2)
    before = {outcome: outcomes(outcome) for outcome in ("failed", "done", "provider_error", "provider_denied")}
    stop = asyncio.Event()
    running = asyncio.create_task(backlog.loop(diner.checkout).run(stop))
    async with asyncio.timeout(10):
        await backlog.empty.wait()
        stop.set()
        await running
    assert sorted(backlog.handled) == ["denied", "good", "good", "poison", "poison", "silent"]
    counted = {outcome: outcomes(outcome) - count for outcome, count in before.items()}
    assert counted == {"failed": 2, "done": 2, "provider_error": 1, "provider_denied": 1}
    # What an operator must mend is said as that.
    assert "the provider denies us: check the access token and the account" in caplog.messages


async def test_no_more_than_the_setting_at_once_and_no_wait_when_told_to_stop(diner: Diner) -> None:
    most = diner.checkout.settings.worker_concurrency
    backlog = Backlog(*(f"item-{number}" for number in range(3 * most)))
    full, open_gate = asyncio.Event(), asyncio.Event()
    at_work: set[str] = set()

    async def handle(_checkout: Checkout, item: str) -> None:
        at_work.add(item)
        assert len(at_work) <= most
        if len(at_work) == most:
            full.set()
        await open_gate.wait()
        at_work.discard(item)

    stop = asyncio.Event()
    running = asyncio.create_task(backlog.loop(diner.checkout, handle).run(stop))
    async with asyncio.timeout(10):
        await full.wait()
        stop.set()
        # What is at work is waited for; what is not begun is left to others.
        open_gate.set()
        await running
    assert not at_work
    assert len(backlog.waiting) == 2 * most


async def test_resting_leaves_no_tasks_behind(diner: Diner) -> None:
    rounds = asyncio.Semaphore(0)

    async def claim(*_: object, **__: object) -> Sequence[str]:
        rounds.release()
        return []

    loop: Loop[str] = Loop("test", diner.checkout, claim, Backlog().handle, lambda _: None)
    stop = asyncio.Event()
    running = asyncio.create_task(loop.run(stop))
    counts = []
    async with asyncio.timeout(10):
        for _ in range(50):
            await rounds.acquire()
            counts.append(len(asyncio.all_tasks()))
            loop.bell.set()
        stop.set()
        await running
    assert max(counts[25:]) <= max(counts[:25]) + 1, counts


async def test_housekeeping_goes_on_after_a_failure(diner: Diner, monkeypatch: pytest.MonkeyPatch) -> None:
    looks = asyncio.Semaphore(0)

    async def fail(*_: object) -> None:
        looks.release()
        raise RuntimeError("a query that nobody expected to fail")

    monkeypatch.setattr("comanda.worker.say_what_waits", fail)
    monkeypatch.setattr("comanda.worker.HOUSEKEEPING_SECONDS", 0.01)
    stop = asyncio.Event()
    running = asyncio.create_task(keep_house(diner.checkout, stop))
    async with asyncio.timeout(10):
        for _ in range(3):
            await looks.acquire()
        stop.set()
        await running


async def test_streams_tell_on_after_an_error_that_nobody_expected(
    diner: Diner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(comanda.tasks, "REST_SECONDS", 0.01)
    order = await diner.place()
    reading = comanda.checkout.order_document.read_orders
    failures = [RuntimeError("nobody expected this"), ValueError("nor this")]

    async def read_orders(*arguments: Any) -> Any:
        if failures:
            raise failures.pop()
        return await reading(*arguments)

    async with diner.session.get(f"{diner.url}/v1/orders/{order['id']}/events") as stream:
        monkeypatch.setattr(comanda.api.streams, "read_orders", read_orders)
        await diner.pay(order)
        await diner.work()
        async with asyncio.timeout(10):
            status = ""
            while status != "paid":
                line = (await stream.content.readline()).decode()
                if line.startswith("data: "):
                    status = json.loads(line.removeprefix("data: "))["status"]
    assert not failures


async def test_the_listener_begins_again_at_once(diner: Diner, owner_url: str) -> None:
    connected = asyncio.Semaphore(0)
    failures = [RuntimeError("nobody expected this")]

    def on_connect() -> None:
        connected.release()
        if failures:
            raise failures.pop()

    heard = asyncio.Queue[str]()
    listener = Listener(diner.checkout.settings, "again", {"comanda_test": heard.put_nowait}, on_connect)
    listener.start()
    try:
        async with asyncio.timeout(10):
            await connected.acquire()  # and fails
            await connected.acquire()
            async with asyncio.timeout(1):
                # Its connection is ended by the server: known at once, not at the next heartbeat.
                await diner.pool.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                    " WHERE application_name = 'comanda-again-listen' AND datname = current_database()"
                )
                await connected.acquire()
            await diner.pool.execute("SELECT pg_notify('comanda_test', 'still here')")
            assert await heard.get() == "still here"
    finally:
        await listener.stop()
