"""What is measured of the API, each as guests, the kitchen or the provider would ask it."""

import hmac
import json
import secrets
import time
from itertools import count

from bench import load
from bench.load import request
from bench.measuring import Bench, Result
from bench.stock import clear_orders, stock_orders

ORDERS = 1000
_payment_ids = count(8_000_000_000)


async def guests(bench: Bench) -> list[Result]:
    """Menu, placing, one order by id: what guests do."""
    results = []
    menu = request("GET", "/v1/menu")
    results.append(await bench.measure("menu", lambda n: [menu] * n, 6000))
    connection = await load.connect(bench.diner.port)
    head = (await connection.ask(menu)).head
    connection.close()
    etag = next(line for line in head.split(b"\r\n") if line.startswith(b"etag:")).partition(b": ")[2].decode()
    unchanged = request("GET", "/v1/menu", headers={"If-None-Match": etag})
    results.append(await bench.measure("menu, unchanged (304)", lambda n: [unchanged] * n, 6000, status=304))

    async def expire() -> None:
        await clear_orders(bench.connection, "awaiting_payment")

    results += [
        await bench.measure(
            f"placing an order of 3 lines, {'with' if keyed else 'without'} a key",
            lambda n, keyed=keyed: [placing(bench.diner.products, keyed) for _ in range(n)],  # type: ignore[misc]
            600,
            status=201,
            between=expire,
        )
        for keyed in (True, False)
    ]
    await stock_orders(bench.connection, ORDERS, "awaiting_payment")
    ids = [
        str(row["id"])
        for row in await bench.connection.fetch("SELECT id FROM orders WHERE status = 'awaiting_payment'")
    ]
    results.append(await bench.measure("one order by id (1,000 orders)", lambda n: reading(ids, n), 3000))
    await expire()
    return results


def placing(products: list[str], keyed: bool) -> bytes:
    """Build the request that places an order of three lines."""
    items = [{"product_id": product, "quantity": 1 + place} for place, product in enumerate(products[:3])]
    items[0]["notes"] = "sem cebola"
    body = json.dumps({"items": items, "name": "Ana"}).encode()
    return request("POST", "/v1/orders", headers={"Idempotency-Key": secrets.token_hex(16)} if keyed else {}, body=body)


def reading(ids: list[str], number: int) -> list[bytes]:
    """Build so many requests for orders, in turn."""
    return [request("GET", f"/v1/orders/{ids[place % len(ids)]}") for place in range(number)]


async def kitchen(bench: Bench, *, finished: int = 0) -> list[Result]:
    """The kitchen's list and the board, of 1,000 open orders, after so many finished ones."""
    behind = f", {finished:,} finished" if finished else ""
    if finished:
        # A finished order keeps its texts, but a million pictures would only measure the disk.
        await stock_orders(bench.connection, finished, "picked_up", pictures=False)
    await stock_orders(bench.connection, ORDERS, "preparing")
    listing = request("GET", "/v1/kitchen", headers=bench.staff())
    board = request("GET", "/v1/board")
    results = [
        await bench.measure(f"kitchen, 1,000 open orders{behind}", lambda n: [listing] * n, 60, connections=8),
        await bench.measure(f"board, 1,000 open orders{behind}", lambda n: [board] * n, 400),
    ]
    await clear_orders(bench.connection, "preparing")
    return results


async def provider(bench: Bench) -> list[Result]:
    """Signed webhooks, each of another payment. Few at a time: what counts is how soon one is answered."""
    secret = bench.diner.webhook_secret
    return [
        await bench.measure(
            "webhook, signed", lambda n: [webhook(secret, next(_payment_ids)) for _ in range(n)], 600, connections=4
        )
    ]


def webhook(secret: str, payment_id: int) -> bytes:
    """Build a notification as Mercado Pago sends it, signed now."""
    request_id, ts = secrets.token_hex(16), int(time.time() * 1000)
    manifest = f"id:{payment_id};request-id:{request_id};ts:{ts};"
    signature = hmac.digest(secret.encode(), manifest.encode(), "sha256").hex()
    body = {
        "action": "payment.updated",
        "api_version": "v1",
        "data": {"id": str(payment_id)},
        "date_created": "2026-11-22T20:00:00Z",
        "id": payment_id,
        "live_mode": False,
        "type": "payment",
        "user_id": "1",
    }
    return request(
        "POST",
        f"/v1/webhooks/mercado-pago?data.id={payment_id}&type=payment",
        headers={"x-signature": f"ts={ts},v1={signature}", "x-request-id": request_id},
        body=json.dumps(body).encode(),
    )


async def operations(bench: Bench) -> list[Result]:
    """The metrics, as one scraper reads them."""
    metrics = request("GET", "/metrics")
    return [await bench.measure("/metrics", lambda n: [metrics] * n, 150, connections=1, port=bench.diner.ops_port)]
