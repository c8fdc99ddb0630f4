"""Server-sent events: nothing is lost, whoever is slow, gone or stopped in between."""

import asyncio
import gc
import json
import random
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from functools import partial
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

import aiohttp
import pytest
from prometheus_client import REGISTRY

from comanda.api import streams
from comanda.checkout import order_document
from comanda.checkout.order_document import Rendered
from comanda.database.pool import Connection
from comanda.staff.keys import Role, create_key, revoke_key, rotate_key
from tests.http.listening import Stream, listening, until
from tests.running_diner import Diner, running_diner


def listeners(diner: Diner) -> int:
    return len(diner.streams._all())


async def to_its_end(stream: Stream) -> None:
    while True:
        await stream.next()


@asynccontextmanager
async def second_pod(diner: Diner, chance: random.Random) -> AsyncIterator[Diner]:
    """Another API on the same database."""
    url = diner.checkout.settings.database_url
    # The keys of a diner have names of their own, once per database.
    await diner.pool.execute("UPDATE api_keys SET name = name || ' of the first'")
    async with running_diner(url, chance, menu=False) as other:
        yield other


async def end_listener(diner: Diner) -> None:
    """Cut the connection that listens for changes, and wait until it is."""
    await diner.pool.execute(
        "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity "
        "WHERE datname = current_database() AND application_name LIKE '%-listen'"
    )


async def test_an_order_is_told_first_and_then_each_change(diner: Diner) -> None:
    order = await diner.place(1)
    async with listening(diner, f"/v1/orders/{order['id']}/events") as stream:
        first = await stream.next()
        assert (first.name, first.data) == ("order", order)
        await diner.pay(order)
        await diner.work()
        paid = await stream.until("paid")
        assert paid.data == await diner.order(order["id"])
        seen = [first, paid]
        for status in ("preparing", "ready", "picked_up"):
            await diner.advance(order, status)
            seen.append(await stream.until(status))
        ids = [int(event.id) for event in seen]
        assert ids == sorted(set(ids))


async def test_a_stream_goes_on_from_the_last_event_id(diner: Diner) -> None:
    order = await diner.place(1)
    path = f"/v1/orders/{order['id']}/events"
    async with listening(diner, path) as stream:
        first = await stream.next()
    async with listening(diner, path, last_event_id=first.id) as stream:
        assert await stream.silent()
    await diner.pay(order)
    await diner.work()
    async with listening(diner, path, last_event_id=first.id) as stream:
        event = await stream.next()
        assert (event.data["status"], int(event.id) > int(first.id)) == ("paid", True)


async def test_a_last_event_id_that_we_never_gave(diner: Diner) -> None:
    order = await diner.place(1)
    for last in ("", "0", "-1", "x", "99999999999999999999", "9" * 5000, "1.5", "\u0663", "\u00b2"):
        async with listening(diner, f"/v1/orders/{order['id']}/events", last_event_id=last) as stream:
            assert (await stream.next()).data["id"] == order["id"]


async def test_what_an_unread_stream_missed_is_one_event(diner: Diner) -> None:
    order = await diner.place_paid(1)
    async with listening(diner, f"/v1/orders/{order['id']}/events") as stream:
        await stream.next()
        await diner.advance(order, "preparing", "ready", "picked_up")
        await stream.until("picked_up")
        assert await stream.silent()


async def test_the_kitchen_gets_a_snapshot_and_then_orders(diner: Diner) -> None:
    waiting = await diner.place_paid(1)
    async with listening(diner, "/v1/kitchen/events", role=Role.STAFF, last_event_id="7") as stream:
        snapshot = await stream.next()
        assert (snapshot.name, [order["id"] for order in snapshot.data["orders"]]) == ("snapshot", [waiting["id"]])
        unpaid = await diner.place(1)
        await diner.advance(waiting, "preparing")
        moved = await stream.until("preparing")
        assert (moved.name, moved.data["id"]) == ("order", waiting["id"])
        await diner.pay(unpaid)
        await diner.work()
        paid = await stream.until("paid")
        assert paid.data["id"] == unpaid["id"]
        await diner.refund(unpaid, {"all": True})
        assert (await stream.until("cancelled")).data["id"] == unpaid["id"]
        ids = [int(event.id) for event in (snapshot, moved, paid)]
        assert ids == sorted(set(ids))


async def test_the_kitchen_hears_nothing_of_unpaid_orders(diner: Diner) -> None:
    async with listening(diner, "/v1/kitchen/events", role=Role.MANAGER) as stream:
        assert (await stream.next()).data == {"orders": []}
        order = await diner.place(1)
        await diner.call("POST", f"/v1/orders/{order['id']}/cancel")
        assert await stream.silent()


async def test_the_board_is_told_whole_at_each_change(diner: Diner) -> None:
    order = await diner.place_paid(1)
    async with listening(diner, "/v1/board/events") as stream:
        first = await stream.next()
        assert (first.name, first.data) == ("board", {"preparing": [], "ready": []})
        for status, board in (
            ("preparing", {"preparing": [1], "ready": []}),
            ("ready", {"preparing": [], "ready": [1]}),
            ("picked_up", {"preparing": [], "ready": []}),
        ):
            await diner.advance(order, status)
            while (event := await stream.next()).data != board:
                assert event.name == "board"


async def test_nothing_is_lost_while_nobody_listened_to_the_database(diner: Diner) -> None:
    order = await diner.place_paid(1)
    async with (
        listening(diner, f"/v1/orders/{order['id']}/events") as guest,
        listening(diner, "/v1/kitchen/events", role=Role.STAFF) as kitchen,
        listening(diner, "/v1/board/events") as board,
    ):
        for stream in (guest, kitchen, board):
            await stream.next()
        await end_listener(diner)
        # A change that no notification tells of: the listener is away.
        await diner.advance(order, "preparing")
        assert (await guest.until("preparing")).data["id"] == order["id"]
        while '"preparing"' not in json.dumps((await kitchen.next()).data):
            pass
        while (await board.next()).data != {"preparing": [1], "ready": []}:
            pass
        await until(lambda: diner.listener.connected)
        await diner.advance(order, "ready")
        await guest.until("ready")


async def test_another_pod_sees_the_changes(diner: Diner, chance: random.Random) -> None:
    order = await diner.place_paid(1)
    async with (
        second_pod(diner, chance) as other,
        listening(other, f"/v1/orders/{order['id']}/events") as guest,
        listening(other, "/v1/kitchen/events", role=Role.STAFF) as kitchen,
        listening(other, "/v1/board/events") as board,
    ):
        for stream in (guest, kitchen, board):
            await stream.next()
        await diner.advance(order, "preparing")
        await guest.until("preparing")
        await kitchen.until("preparing")
        while (await board.next()).data != {"preparing": [1], "ready": []}:
            pass


async def test_a_stop_ends_streams_cleanly(diner: Diner) -> None:
    order = await diner.place(1)
    paths = (f"/v1/orders/{order['id']}/events", "/v1/board/events")
    async with AsyncExitStack() as stack:
        opened = [await stack.enter_async_context(listening(diner, path)) for path in paths]
        for stream in opened:
            await stream.next()
        await diner.streams.stop()
        for stream in opened:
            # An end without the terminating chunk would be a ClientPayloadError here.
            assert b"event:" not in await asyncio.wait_for(stream.response.read(), 5)
        assert await diner.gate.wait_idle(5)
    for path in paths:
        refused = await diner.call("GET", path)
        assert (refused.status, refused.code, refused.headers["retry-after"]) == (503, "stopping", "1")


async def test_a_client_that_leaves_is_forgotten(diner: Diner) -> None:
    order = await diner.place(1)
    async with AsyncExitStack() as stack:
        for path in (f"/v1/orders/{order['id']}/events", "/v1/board/events"):
            for _ in range(3):
                await (await stack.enter_async_context(listening(diner, path))).next()
        assert listeners(diner) == 6
    await until(lambda: listeners(diner) == 0)
    assert diner.streams._orders == {}
    assert diner.streams._clients.total() == 0
    assert await diner.gate.wait_idle(5)


async def open_raw(diner: Diner, path: str, *, receive_buffer: int | None = None) -> socket.socket:
    """Ask for a stream and read nothing of it."""
    raw = socket.socket()
    if receive_buffer:
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    raw.setblocking(False)
    loop = asyncio.get_running_loop()
    await loop.sock_connect(raw, (urlsplit(diner.url).hostname, urlsplit(diner.url).port))
    key = diner.keys[Role.STAFF]
    request = f"GET {path} HTTP/1.1\r\nHost: diner\r\nAuthorization: Bearer {key}\r\n\r\n"
    await loop.sock_sendall(raw, request.encode())
    return raw


async def test_a_reader_that_stopped_reading_holds_up_nobody(diner: Diner, request: pytest.FixtureRequest) -> None:
    body = {"items": [{**diner.basket(1)["items"][0], "notes": "x" * 200}] * 50}
    order = (await diner.call("POST", "/v1/orders", body)).body
    await diner.pay(order)
    await diner.work()
    # The garbage collector would find them sooner or later; nobody shall wait for it.
    gc.disable()
    request.addfinalizer(gc.enable)
    deaf = [await open_raw(diner, "/v1/kitchen/events", receive_buffer=4096) for _ in range(5)]
    for raw in deaf:
        request.addfinalizer(raw.close)
    await until(lambda: listeners(diner) == 5)
    async with listening(diner, "/v1/kitchen/events", role=Role.STAFF) as stream:
        await stream.next()

        def held_up() -> list[streams._Listener]:
            return [listener for listener in diner.streams._kitchen if listener.resync or listener.events]

        # Until every buffer on the way to those who do not read is full. One that is only late, as on a busy machine,
        # is held up for a moment; one whose buffers are full stays so.
        stays = 0
        while stays < 50:
            stays = stays + 1 if len(held_up()) == len(deaf) else 0
            diner.streams.resync()
            while (await stream.next()).name != "snapshot":
                pass
        await diner.advance(order, "preparing")
        await stream.until("preparing")
        assert len(held_up()) == len(deaf)
        assert max(len(listener.events) for listener in held_up()) <= streams.KITCHEN_QUEUE
    for raw in deaf:
        raw.close()
    await until(lambda: listeners(diner) == 0)
    assert diner.streams._clients.total() == 0


async def test_many_listeners_hear_of_a_change(diner: Diner, monkeypatch: pytest.MonkeyPatch) -> None:
    reads = 0

    async def read_orders(connection: Connection, order_ids: list[UUID]) -> dict[UUID, Rendered]:
        nonlocal reads
        reads += 1
        return await order_document.read_orders(connection, order_ids)

    monkeypatch.setattr(streams, "read_orders", read_orders)
    order = await diner.place_paid(1)
    path = f"/v1/orders/{order['id']}/events"
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session, AsyncExitStack() as stack:

        async def opened() -> Stream:
            stream = await stack.enter_async_context(listening(diner, path, session=session))
            await stream.next()
            return stream

        opened_streams = [await opened() for _ in range(200)]
        assert listeners(diner) == 200
        reads = 0
        await diner.advance(order, "preparing")
        await asyncio.gather(*(stream.until("preparing") for stream in opened_streams))
        assert 1 <= reads <= 3
    await until(lambda: listeners(diner) == 0)


async def test_streams_have_a_limit(database_url: str, chance: random.Random) -> None:
    async with running_diner(database_url, chance, MAX_STREAMS=2) as diner:
        async with AsyncExitStack() as stack:
            for _ in range(2):
                await (await stack.enter_async_context(listening(diner, "/v1/board/events"))).next()
            refused = await diner.call("GET", "/v1/board/events")
            assert (refused.status, refused.code) == (503, "too_many_streams")
            assert int(refused.headers["retry-after"]) >= 1
        await until(lambda: listeners(diner) == 0)
        async with listening(diner, "/v1/board/events") as stream:
            await stream.next()


async def test_one_address_takes_neither_all_streams_nor_the_kitchens(database_url: str, chance: random.Random) -> None:
    limits: dict[str, Any] = {"MAX_STREAMS": 4, "MAX_STREAMS_PER_CLIENT": 3}
    async with running_diner(
        database_url, chance, TRUSTED_PROXIES="127.0.0.0/8", RATE_LIMIT_EXEMPT="", **limits
    ) as diner:

        async def board(client: str) -> aiohttp.ClientResponse:
            headers = {"X-Forwarded-For": client}
            return await diner.session.get(f"{diner.url}/v1/board/events", headers=headers)

        # All at once: who is let in is counted before the next one is asked.
        asked = await asyncio.gather(*(board("203.0.113.1") for _ in range(12)))
        assert sorted(response.status for response in asked) == [200] * 3 + [503] * 9
        others = [await board("203.0.113.2") for _ in range(2)]
        assert [response.status for response in others] == [200, 503]
        async with listening(diner, "/v1/kitchen/events", role=Role.STAFF) as kitchen:
            assert (await kitchen.next()).name == "snapshot"
        for response in (*asked, *others):
            response.close()


async def test_how_long_somebody_looked_is_not_how_slow_we_are(diner: Diner) -> None:
    labels = {"route": "/v1/board/events", "method": "GET", "status": "2XX"}

    def seconds() -> float:
        return REGISTRY.get_sample_value("http_request_duration_seconds_sum", labels) or 0.0

    before = seconds()
    async with listening(diner, "/v1/board/events") as stream:
        await stream.next()
        assert await stream.silent(0.5)
    await until(lambda: seconds() > before)
    assert seconds() - before < 0.5


async def test_an_idle_stream_has_a_heartbeat(database_url: str, chance: random.Random) -> None:
    async with (
        running_diner(database_url, chance, STREAM_HEARTBEAT_MS=50, REQUEST_TIMEOUT_MS=100) as diner,
        listening(diner, "/v1/board/events") as stream,
    ):
        await stream.next()
        lines = [await asyncio.wait_for(stream.response.content.readline(), 5) for _ in range(20)]
        # It also outlives the time-out that other requests have.
        assert lines.count(b": still here\n") >= 5


async def test_watched_orders_are_noted_for_the_worker(
    database_url: str, chance: random.Random, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "WATCH_FLUSH_SECONDS", 0.02)
    query = "SELECT watched_until IS NOT NULL FROM payments WHERE order_id = $1"
    async with running_diner(database_url, chance) as diner:
        looked_at, listened_to, alone = [await diner.place(1) for _ in range(3)]
        await diner.order(looked_at["id"])
        async with listening(diner, f"/v1/orders/{listened_to['id']}/events"):
            for order in (looked_at, listened_to):
                await until(partial(diner.value, query, UUID(order["id"])))
        assert not await diner.value(query, UUID(alone["id"]))


async def test_a_revoked_key_hears_nothing_more(diner: Diner) -> None:
    async with diner.pool.acquire() as connection:
        diner.keys[Role.STAFF] = await create_key(
            connection, name="tablet", role=Role.STAFF, now=diner.checkout.clock()
        )
        async with (
            listening(diner, "/v1/kitchen/events", role=Role.STAFF) as theirs,
            listening(diner, "/v1/kitchen/events", role=Role.MANAGER) as others,
        ):
            for stream in (theirs, others):
                assert (await stream.next()).name == "snapshot"
            await revoke_key(connection, "tablet", diner.checkout.clock())
            with pytest.raises(EOFError):
                await theirs.next()
            order = await diner.place_paid()
            assert (await others.next()).data["id"] == order["id"]


async def test_a_rotated_key_hears_on_until_its_time_comes(database_url: str, chance: random.Random) -> None:
    async with running_diner(database_url, chance, STREAM_HEARTBEAT_MS=20) as diner:
        async with diner.pool.acquire() as connection:
            diner.keys[Role.STAFF] = await create_key(
                connection, name="tablet", role=Role.STAFF, now=diner.checkout.clock()
            )
        async with listening(diner, "/v1/kitchen/events", role=Role.STAFF) as stream:
            assert (await stream.next()).name == "snapshot"
            async with diner.pool.acquire() as connection:
                await rotate_key(connection, name="tablet", keep=timedelta(hours=1), now=diner.checkout.clock())
            # It learns of its end by the notice, and then of an order as before.
            assert (await stream.next()).name == "snapshot"
            order = await diner.place_paid()
            assert (await stream.next()).data["id"] == order["id"]
            await diner.later(minutes=61)
            with pytest.raises(EOFError):
                await to_its_end(stream)
        answer = await diner.call("GET", "/v1/kitchen", role=Role.STAFF)
        assert answer.status == 401


async def test_a_revocation_that_was_not_heard_counts_too(diner: Diner) -> None:
    async with listening(diner, "/v1/kitchen/events", role=Role.STAFF) as stream:
        await stream.next()
        # Past the code, so that nobody is told; then word may have been missed.
        # By the diner's clock, which knows milliseconds: PostgreSQL's own `now()` may be within its next one.
        now = diner.checkout.clock()
        await diner.pool.execute("UPDATE api_keys SET revoked_at = $1 WHERE role = 'staff'", now)
        diner.streams.resync()
        with pytest.raises(EOFError):
            await stream.next()


async def test_a_revoked_key_opens_no_more_streams(diner: Diner) -> None:
    async with diner.pool.acquire() as connection:
        key = await create_key(connection, name="gone", role=Role.STAFF, now=diner.checkout.clock())
    await diner.pool.execute("UPDATE api_keys SET revoked_at = now() WHERE name = 'gone'")
    answer = await diner.call("GET", "/v1/kitchen/events", headers={"Authorization": f"Bearer {key}"})
    assert answer.status == 401
