"""A thousand idle listeners to server-sent events: what they weigh, what they cost, how soon all are told."""

import asyncio
import statistics
import time
from collections.abc import Callable
from typing import cast

import msgspec

from bench.load import request
from bench.measuring import REPETITIONS, Bench
from bench.process import rss_megabytes
from bench.stock import clear_orders, stock_orders

LISTENERS = 1000
QUIET_SECONDS = 1.0
IDLE_SECONDS = 9.0
PATIENCE_SECONDS = 30

# Written past the API, but with the triggers that tell of it.
ONE_ORDER = """
UPDATE orders SET version = version + 1, status = 'ready'
WHERE id = (SELECT id FROM orders WHERE status = 'preparing' LIMIT 1)
"""
EVERY_PAYMENT = """
UPDATE payments SET version = version + 1
WHERE status = 'pending' AND order_id IN (SELECT id FROM orders WHERE status = 'awaiting_payment')
"""


class StreamResult(msgspec.Struct, kw_only=True):
    """What a kind of stream costs with so many listeners."""

    name: str
    listeners: int
    connected_seconds: float
    rss_mb_before: float
    rss_mb: float
    kilobytes_each: float
    idle_cpu_ms_per_second: float
    idle_postgres_cpu_ms_per_second: float
    all_told_ms: float
    all_told_cpu_ms: float


class _Listener(asyncio.Protocol):
    """One open stream, which counts the events that it gets."""

    def __init__(self) -> None:
        self.events = 0
        self.heard_at = 0.0
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        if b"event: " in data:
            self.events += 1
            self.heard_at = time.perf_counter()


async def streams(bench: Bench) -> list[StreamResult]:
    """Measure a thousand boards, then a thousand guests, each watching an order of their own."""
    connection = bench.connection
    await stock_orders(connection, 20, "preparing")
    boards = await _measure(bench, f"{LISTENERS:,} boards, one change", ["/v1/board/events"] * LISTENERS, ONE_ORDER)
    await clear_orders(connection, "preparing")
    await clear_orders(connection, "ready")
    await stock_orders(connection, LISTENERS, "awaiting_payment")
    rows = await connection.fetch("SELECT id FROM orders WHERE status = 'awaiting_payment' LIMIT $1", LISTENERS)
    paths = [f"/v1/orders/{row['id']}/events" for row in rows]
    guests = await _measure(bench, f"{LISTENERS:,} guests, every order changes", paths, EVERY_PAYMENT)
    await clear_orders(connection, "awaiting_payment")
    return [boards, guests]


async def _measure(bench: Bench, name: str, paths: list[str], change: str) -> StreamResult:
    before = rss_megabytes(bench.pid)
    began = time.perf_counter()
    opened = await _open(bench.diner.port, paths)
    try:
        await _until(lambda: all(listener.events for listener in opened))
        connected = time.perf_counter() - began
        # Those who came first are told again of whatever came in while the others connected.
        await _until(lambda: time.perf_counter() - max(listener.heard_at for listener in opened) > QUIET_SECONDS)
        idle = bench.cpu()
        await asyncio.sleep(IDLE_SECONDS)
        api, postgres = (now - then for then, now in zip(idle, bench.cpu(), strict=True))
        told = [await _tell(bench, opened, change) for _ in range(REPETITIONS)]
        after = rss_megabytes(bench.pid)
    finally:
        for listener in opened:
            if listener.transport is not None:
                listener.transport.close()
    return StreamResult(
        name=name,
        listeners=len(paths),
        connected_seconds=round(connected, 2),
        rss_mb_before=round(before, 1),
        rss_mb=round(after, 1),
        kilobytes_each=round((after - before) * 1000 / len(paths), 1),
        idle_cpu_ms_per_second=round(api * 1000 / IDLE_SECONDS, 2),
        idle_postgres_cpu_ms_per_second=round(postgres * 1000 / IDLE_SECONDS, 2),
        all_told_ms=round(statistics.median(milliseconds for milliseconds, _ in told), 1),
        all_told_cpu_ms=round(statistics.median(cpu for _, cpu in told), 1),
    )


async def _open(port: int, paths: list[str]) -> list[_Listener]:
    loop = asyncio.get_running_loop()
    opened = []
    for path in paths:
        transport, listener = await loop.create_connection(_Listener, "127.0.0.1", port)
        transport.write(request("GET", path, headers={"Accept": "text/event-stream"}))
        opened.append(listener)
    return opened


async def _tell(bench: Bench, opened: list[_Listener], change: str) -> tuple[float, float]:
    """Change something; answer the milliseconds until everybody has heard of it, and the CPU that it took."""
    for listener in opened:
        listener.events = 0
    before, _ = bench.cpu()
    began = time.perf_counter()
    await bench.connection.execute(change)
    await _until(lambda: all(listener.events for listener in opened))
    milliseconds = (max(listener.heard_at for listener in opened) - began) * 1000
    await asyncio.sleep(QUIET_SECONDS)
    return milliseconds, (bench.cpu()[0] - before) * 1000


async def _until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not holds():  # noqa: ASYNC110 (what is waited for is on the other side of a thousand sockets)
            await asyncio.sleep(0.005)
