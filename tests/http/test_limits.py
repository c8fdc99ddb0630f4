"""Limits on how much, how often and how slowly one client may ask."""

import asyncio
import json
import random
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import pytest

from comanda.staff.keys import Role
from tests.http.listening import listening
from tests.running_diner import Answer, Diner, running_diner

BEHIND_A_PROXY: dict[str, Any] = {"TRUSTED_PROXIES": "127.0.0.0/8", "RATE_LIMIT_EXEMPT": ""}


async def place(diner: Diner, client: str, key: str = "") -> Answer:
    """Place an order as the load balancer passes it on."""
    headers = {"X-Forwarded-For": client} | ({"Idempotency-Key": key} if key else {})
    return await diner.call("POST", "/v1/orders", diner.basket(1), headers=headers)


async def raw(diner: Diner, request: bytes, within: float = 5) -> bytes:
    """Send bytes and answer what comes until the server closes the connection."""
    parts = urlsplit(diner.url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    try:
        writer.write(request)
        async with asyncio.timeout(within):
            return await reader.read()
    finally:
        writer.close()


async def test_bursts_are_counted_by_client(database_url: str, chance: random.Random) -> None:
    async with running_diner(database_url, chance, ORDER_BURST="3/minute", **BEHIND_A_PROXY) as diner:
        for _ in range(3):
            assert (await place(diner, "203.0.113.1")).status == 201
        over = await place(diner, "203.0.113.1")
        assert (over.status, over.code) == (429, "too_many_requests")
        assert int(over.headers["retry-after"]) >= 1
        # What the client wrote itself, on the left, makes no other client of it.
        for spoofed in ("198.51.100.1, 203.0.113.1", "127.0.0.1,203.0.113.1", ", ,203.0.113.1", "x,203.0.113.1"):
            assert (await place(diner, spoofed)).status == 429, spoofed
        assert (await place(diner, "203.0.113.2")).status == 201
        assert (await diner.call("GET", "/v1/menu", headers={"X-Forwarded-For": "203.0.113.1"})).status == 200


async def test_a_line_of_its_own_is_the_proxys(database_url: str, chance: random.Random) -> None:
    async with running_diner(database_url, chance, ORDER_BURST="1/minute", **BEHIND_A_PROXY) as diner:
        body = json.dumps(diner.basket(1))
        statuses = []
        for number in range(3):
            request = (
                f"POST /v1/orders HTTP/1.1\r\nHost: diner\r\nConnection: close\r\nContent-Type: application/json\r\n"
                f"X-Forwarded-For: 198.51.100.{number}\r\nX-Forwarded-For: 203.0.113.1\r\n"
                f"Content-Length: {len(body)}\r\n\r\n{body}"
            )
            statuses.append((await raw(diner, request.encode())).split()[1])
        assert statuses == [b"201", b"429", b"429"]


async def test_without_a_trusted_proxy_nobody_is_believed(database_url: str, chance: random.Random) -> None:
    async with running_diner(database_url, chance, ORDER_BURST="1/minute", RATE_LIMIT_EXEMPT="") as diner:
        assert (await place(diner, "203.0.113.1")).status == 201
        assert (await place(diner, "203.0.113.2")).status == 429


async def test_exempt_addresses_meet_no_limit(database_url: str, chance: random.Random) -> None:
    async with running_diner(
        database_url,
        chance,
        ORDER_BURST="1/minute",
        MAX_UNPAID_ORDERS_PER_CLIENT=1,
        RATE_LIMIT_EXEMPT="10.0.0.0/8,127.0.0.0/8",
    ) as diner:
        for _ in range(3):
            assert (await place(diner, "203.0.113.1")).status == 201


async def test_unpaid_orders_of_one_client(database_url: str, chance: random.Random) -> None:
    async with running_diner(database_url, chance, MAX_UNPAID_ORDERS_PER_CLIENT=2, **BEHIND_A_PROXY) as diner:
        key = str(uuid4())
        first = await place(diner, "2001:db8::1", key)
        assert (first.status, (await place(diner, "2001:db8::2")).status) == (201, 201)
        over = await place(diner, "2001:db8::ffff")
        assert (over.status, over.code) == (429, "too_many_unpaid_orders")
        assert int(over.headers["retry-after"]) >= 1
        assert (await place(diner, "2001:db8::1", key)).body["id"] == first.body["id"]
        assert (await place(diner, "2001:db8:1::1")).status == 201
        await diner.call("POST", f"/v1/orders/{first.body['id']}/cancel")
        assert (await place(diner, "2001:db8::3")).status == 201
        hashes = await diner.pool.fetch("SELECT client_hash FROM orders WHERE client_hash IS NOT NULL")
        assert not any(b"2001" in row["client_hash"] for row in hashes)


async def test_unpaid_orders_in_all(database_url: str, chance: random.Random) -> None:
    async with running_diner(database_url, chance, MAX_UNPAID_ORDERS=2, **BEHIND_A_PROXY) as diner:
        orders = [(await place(diner, f"203.0.113.{number}")).body for number in range(2)]
        over = await place(diner, "203.0.113.9")
        assert (over.status, over.code) == (429, "too_many_unpaid_orders")
        await diner.pay(orders[0])
        await diner.work()
        assert (await place(diner, "203.0.113.9")).status == 201


async def test_wrong_keys_lock_nobody_out(database_url: str, chance: random.Random) -> None:
    async with running_diner(database_url, chance, **BEHIND_A_PROXY) as diner:

        async def ask(key: str) -> int:
            headers = {"X-Forwarded-For": "203.0.113.1", "Authorization": f"Bearer {key}"}
            return (await diner.call("GET", "/v1/kitchen", headers=headers)).status

        # A guest with too much time, on the address that the kitchen's tablet has too.
        assert {await ask(f"guess {number}") for number in range(60)} == {401}
        assert await ask(diner.keys[Role.STAFF]) == 200


async def test_a_body_that_does_not_come(database_url: str, chance: random.Random) -> None:
    async with running_diner(database_url, chance, BODY_TIMEOUT_MS=100) as diner:
        for path in (b"/v1/orders", b"/v1/webhooks/mercado-pago?data.id=1&type=payment"):
            head = b"POST " + path + b" HTTP/1.1\r\nHost: diner\r\nContent-Type: application/json\r\n"
            answer = await raw(diner, head + b"Content-Length: 100\r\n\r\n{")
            if b"webhooks" in path:
                # Refused for its signature, before its body is waited for.
                assert answer.startswith(b"HTTP/1.1 401 ")
                continue
            assert answer.startswith(b"HTTP/1.1 408 ")
            assert b"content-type: application/problem+json" in answer
            assert b'"code":"request_timeout"' in answer
            assert b"connection: close" in answer
        assert (await diner.call("GET", "/v1/menu")).status == 200
        assert await diner.gate.wait_idle(5)


async def test_a_body_that_comes_drop_by_drop(database_url: str, chance: random.Random) -> None:
    async with running_diner(database_url, chance, BODY_TIMEOUT_MS=10_000, REQUEST_TIMEOUT_MS=200) as diner:
        head = (
            b"POST /v1/orders HTTP/1.1\r\nHost: diner\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n{"
        )
        answer = await raw(diner, head)
        assert answer.startswith(b"HTTP/1.1 408 ")
        assert b'"code":"request_timeout"' in answer


async def test_a_client_that_leaves_before_its_body_is_no_fault_of_ours(diner: Diner) -> None:
    head = b"POST /v1/orders HTTP/1.1\r\nHost: diner\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{"
    with pytest.raises(TimeoutError):
        await raw(diner, head, within=0.1)
    assert await diner.gate.wait_idle(5)
    assert (await diner.call("GET", "/v1/menu")).status == 200


async def test_headers_that_do_not_come(database_url: str, chance: random.Random) -> None:
    async with running_diner(database_url, chance, HEADER_TIMEOUT_MS=100) as diner:
        # The server closes the connection, with or without a word.
        answer = await raw(diner, b"GET /v1/menu HTTP/1.1\r\nHost: diner\r\nX-Slow: ")
        assert answer == b"" or answer.startswith(b"HTTP/1.1 4")


async def test_too_many_at_once(database_url: str, chance: random.Random) -> None:
    async with running_diner(database_url, chance, MAX_REQUESTS_IN_FLIGHT=1) as diner:
        async with listening(diner, "/v1/board/events") as stream:
            await stream.next()
            refused = await diner.call("GET", "/v1/menu")
            assert (refused.status, refused.code) == (503, "overloaded")
            assert int(refused.headers["retry-after"]) >= 1
        assert await diner.gate.wait_idle(5)
        assert (await diner.call("GET", "/v1/menu")).status == 200


async def test_a_request_that_takes_too_long(database_url: str, chance: random.Random) -> None:
    async with running_diner(database_url, chance, REQUEST_TIMEOUT_MS=300) as diner:
        diner.sandbox.arm("slow_answer", seconds=1.0)
        key = str(uuid4())
        late = await place(diner, "", key)
        assert (late.status, late.code) == (503, "timed_out")
        assert int(late.headers["retry-after"]) >= 1
        # That request is over, so its key is not held: here is the order, whose Pix the worker sees to.
        again = await place(diner, "", key)
        assert (again.status, again.body["payment"]["status"]) == (201, "requested")
        await diner.later(seconds=31)
        await diner.work()
        again = await place(diner, "", key)
        assert (again.status, again.body["payment"]["status"]) == (201, "pending")
        assert await diner.value("SELECT count(*) FROM orders") == 1
        assert len(diner.sandbox.payments(again.body["id"])) == 1


async def test_what_is_no_http(diner: Diner) -> None:
    for request, status in (
        (b"NONSENSE", b"400"),
        (b"GET /v1/menu HTTP/9.9", b"400"),
        (b"GET /v1/menu HTTP/1.1\r\nContent-Length: x", b"400"),
        (b"GET /v1/menu HTTP/1.1\r\nBig: " + b"x" * 1_000_000, b"431"),
        # Two lengths are how requests are smuggled past a proxy.
        (b"POST /v1/orders HTTP/1.1\r\nTransfer-Encoding: chunked\r\nContent-Length: 5", b"4"),
        (b"POST /v1/orders HTTP/1.1\r\nContent-Length: 5\r\nContent-Length: 6", b"4"),
    ):
        answer = await raw(diner, request + b"\r\nConnection: close\r\n\r\n0\r\n\r\n")
        assert answer.count(b"HTTP/1.1 ") == 1, request[:80]
        assert answer.split()[1].startswith(status), request[:80]
