"""How a pod stops: nothing that was begun is lost, nothing new is taken, and it ends within its bound."""

import asyncio
import json
import signal
from collections.abc import Awaitable, Callable
from typing import Any

import aiohttp

from comanda_sandbox.running import RunningSandbox
from tests.processes.pods import Pod, call, environment, eventually

PATIENT = {"PROVIDER_TIMEOUT_MS": 6000, "WORKER_LEASE": 20}
"""Settings of a pod that waits for a slow provider."""

Start = Callable[..., Awaitable[Pod]]


async def basket(session: aiohttp.ClientSession, api: Pod) -> dict[str, Any]:
    """Build the body of an order: one piece of the menu's first product."""
    menu = (await call(session, "GET", f"{api.url}/v1/menu")).body
    return {"items": [{"product_id": menu["categories"][0]["products"][0]["id"], "quantity": 1}]}


async def test_the_api_drains_red_serving_and_whole(
    database_url: str,
    staff_key: str,
    api_port: int,
    sandbox: RunningSandbox,
    start: Start,
    session: aiohttp.ClientSession,
) -> None:
    settings = environment(
        database_url, sandbox, PORT=api_port, DRAIN_SECONDS=2, PROVIDER_TIMEOUT_MS=6000, WORKER_LEASE=20
    )
    api = await (await start("serve", settings)).ready()
    wanted = await basket(session, api)
    staff = {"Authorization": f"Bearer {staff_key}"}
    streams = [
        await session.get(f"{api.url}/v1/board/events"),
        await session.get(f"{api.url}/v1/kitchen/events", headers=staff),
    ]
    idle_reader, idle_writer = await asyncio.open_connection("127.0.0.1", api_port)

    slow = sandbox.arm("slow", seconds=3)
    placing = asyncio.create_task(call(session, "POST", f"{api.url}/v1/orders", wanted))
    await sandbox.struck(slow)
    api.send(signal.SIGTERM)

    # Red at once, on both ports; everything else is served until the load balancer has seen it.
    await api.hears('"message":"draining"')
    assert (await call(session, "GET", f"{api.ops}/readyz")).status == 503
    assert (await call(session, "GET", f"{api.ops}/livez")).status == 200
    late = await call(session, "GET", f"{api.url}/readyz")
    assert late.status == 503
    during = await call(session, "POST", f"{api.url}/v1/orders", wanted)
    assert during.status == 201
    assert during.headers["connection"] == "close"

    # Streams end as whole answers, so that their clients connect again, to another pod.
    for stream in streams:
        async with asyncio.timeout(5):
            assert b"event: " in await stream.read()
    assert await idle_reader.read() == b""
    idle_writer.close()

    # What was begun before is finished, even after the drain.
    placed = await placing
    assert placed.status == 201
    assert placed.body["payment"]["status"] == "pending"
    assert len(sandbox.payments(placed.body["id"])) == 1
    assert await api.ends(5) == 0
    try:
        await call(session, "GET", f"{api.url}/readyz")
    except aiohttp.ClientConnectionError:
        pass
    else:
        raise AssertionError("somebody still listens")


async def test_clients_who_do_nothing_do_not_hold_the_api(
    database_url: str, staff_key: str, api_port: int, start: Start, session: aiohttp.ClientSession
) -> None:
    settings = environment(database_url, PORT=api_port, SHUTDOWN_TIMEOUT=1, HEADER_TIMEOUT_MS=600_000)
    api = await (await start("serve", settings)).ready()
    # One says nothing, one says half of a head, one does not send its body, one does not read its answers.
    clients = [await asyncio.open_connection("127.0.0.1", api_port) for _ in range(4)]
    clients[1][1].write(b"GET /v1/menu HT")
    clients[2][1].write(b"POST /v1/orders HTTP/1.1\r\nHost: comanda\r\nContent-Length: 1000\r\n\r\n{")
    clients[3][1].write(b"GET /v1/menu HTTP/1.1\r\nHost: comanda\r\n\r\n" * 2000)
    for _, writer in clients:
        await writer.drain()

    async def arrived() -> bool:
        return await api.metric('http_requests_total{method="GET",route="/v1/menu"') > 0

    await eventually(arrived, "a request of the client who does not read")
    api.send(signal.SIGTERM)
    assert await api.ends(9) == 0
    for _, writer in clients:
        writer.close()


async def test_the_worker_finishes_what_it_began_and_takes_nothing_new(
    database_url: str,
    staff_key: str,
    api_port: int,
    sandbox: RunningSandbox,
    start: Start,
    session: aiohttp.ClientSession,
    rows: Any,
) -> None:
    settings = environment(database_url, sandbox, PORT=api_port)
    api = await (await start("serve", settings)).ready()
    wanted = await basket(session, api)
    first, second = [(await call(session, "POST", f"{api.url}/v1/orders", wanted)).body for _ in range(2)]
    # The worker meets the payments before anybody is told to ask about them.
    await rows.execute("UPDATE payments SET next_check_at = next_check_at + interval '1 hour'")
    await sandbox.settled()
    worker = await (await start("worker", environment(database_url, sandbox, **PATIENT))).ready()

    async def all_handled() -> bool:
        return not await rows.fetchval("SELECT count(*) FROM webhook_events WHERE status <> 'handled'")

    await eventually(all_handled, "what the provider said of the new charges")
    [charge] = sandbox.payments(first["id"])
    slow = sandbox.arm("slow_answer", seconds=1.5, match={"operation": "get_payment", "payment_id": charge.id})
    sandbox.act(charge.id, "pay")
    await sandbox.struck(slow)

    worker.send(signal.SIGTERM)
    await worker.hears('"message":"draining"')
    assert (await call(session, "GET", f"{worker.ops}/readyz")).status == 503
    sandbox.act(sandbox.payments(second["id"])[0].id, "pay")
    await sandbox.settled()
    assert await rows.fetchval("SELECT count(*) FROM webhook_events WHERE status = 'waiting'") == 1
    assert await worker.ends(8) == 0

    assert await rows.fetchval("SELECT status FROM orders WHERE id = $1", first["id"]) == "paid"
    assert await rows.fetchval("SELECT status FROM orders WHERE id = $1", second["id"]) == "awaiting_payment"
    assert await rows.fetchval("SELECT status FROM webhook_events ORDER BY id DESC LIMIT 1") == "waiting"
    await (await start("worker", environment(database_url, sandbox))).ready()

    async def paid() -> bool:
        return bool(await rows.fetchval("SELECT status = 'paid' FROM orders WHERE id = $1", second["id"]))

    await eventually(paid, "the second order is paid")


async def test_a_worker_that_cannot_finish_in_time_stops_within_its_bound(
    database_url: str,
    staff_key: str,
    api_port: int,
    sandbox: RunningSandbox,
    start: Start,
    session: aiohttp.ClientSession,
    rows: Any,
) -> None:
    api = await (await start("serve", environment(database_url, sandbox, PORT=api_port))).ready()
    order = (await call(session, "POST", f"{api.url}/v1/orders", await basket(session, api))).body
    bounded = environment(
        database_url, sandbox, SHUTDOWN_TIMEOUT=1, WORKER_CONCURRENCY=1, PROVIDER_TIMEOUT_MS=60_000, WORKER_LEASE=181
    )
    stuck = sandbox.arm("time_out", seconds=60, match={"operation": "get_payment"})
    worker = await (await start("worker", bounded)).ready()
    await sandbox.struck(stuck)
    worker.send(signal.SIGTERM)
    assert await worker.ends(5) == 0
    assert any("another worker finishes it" in json.loads(line)["message"] for line in worker.lines)
    assert await rows.fetchval("SELECT status FROM orders WHERE id = $1", order["id"]) == "awaiting_payment"
