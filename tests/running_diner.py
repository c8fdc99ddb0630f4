"""A whole diner inside one test: the real API on a real port, the worker's loops, PostgreSQL and the Pix sandbox.

The worker is turned by hand (`await diner.work()`), and time is the sandbox's clock (`await diner.later(minutes=31)`),
so that hours pass in milliseconds and nothing happens behind a test's back.
"""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID

import aiohttp

from comanda.api.services import Services
from comanda.api.streams import Streams
from comanda.app import build_litestar, make_server, what_to_hear
from comanda.checkout.context import Checkout
from comanda.database.listener import Listener
from comanda.database.pool import Pool, open_pool
from comanda.http.gate import Gate
from comanda.http.limits import Limits
from comanda.http.ops import Readiness
from comanda.menu.cache import MenuCache
from comanda.menu.sample import load_menu, sample_menu
from comanda.process import make_provider
from comanda.settings import Settings, read_settings
from comanda.staff.keys import Role, create_key
from comanda.worker import Loop, make_loops
from comanda_local.ports import free_port
from comanda_sandbox.running import RunningSandbox, running_sandbox


@dataclass
class Answer:
    """What the API answered."""

    status: int
    headers: dict[str, str]
    body: Any

    @property
    def code(self) -> str:
        """The stable code of a problem document."""
        assert self.headers["content-type"] == "application/problem+json", self
        return str(self.body["code"])


@dataclass
class Diner:
    """A running diner, and what guests, staff and the provider do in it."""

    url: str
    sandbox: RunningSandbox
    checkout: Checkout
    streams: Streams
    menu: MenuCache
    gate: Gate
    listener: Listener
    ready: Readiness
    session: aiohttp.ClientSession
    loops: dict[str, Loop[Any]]
    keys: dict[Role, str]
    products: list[dict[str, Any]] = field(default_factory=list)

    @property
    def pool(self) -> Pool:
        """The database, with the rights of API and worker."""
        return self.checkout.pool

    async def call(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        role: Role | None = None,
        headers: dict[str, str] | None = None,
    ) -> Answer:
        """Send a request with a JSON body and answer what came, whatever its status."""
        sent = dict(headers or {})
        if role is not None:
            sent["Authorization"] = f"Bearer {self.keys[role]}"
        async with self.session.request(method, self.url + path, json=body, headers=sent) as response:
            text = await response.text()
            kind = response.headers.get("content-type", "")
            decoded = await response.json(content_type=None) if "json" in kind and text else text
            return Answer(response.status, {k.lower(): v for k, v in response.headers.items()}, decoded)

    def basket(self, *quantities: int) -> dict[str, Any]:
        """Build the body of an order: so many of the first product, so many of the second, and so on."""
        items = [
            {"product_id": product["id"], "quantity": quantity}
            for product, quantity in zip(self.products, quantities, strict=False)
            if quantity
        ]
        return {"items": items}

    async def place(self, *quantities: int, key: str | None = None) -> dict[str, Any]:
        """Place an order, of one piece of the first product if nothing is said; answer its document."""
        headers = {"Idempotency-Key": key} if key else None
        answer = await self.call("POST", "/v1/orders", self.basket(*(quantities or (1,))), headers=headers)
        assert answer.status == 201, answer
        return dict(answer.body)

    async def order(self, order_id: str) -> dict[str, Any]:
        """Read an order's document."""
        answer = await self.call("GET", f"/v1/orders/{order_id}")
        assert answer.status == 200, answer
        return dict(answer.body)

    def charge(self, order: dict[str, Any]) -> int:
        """Answer the provider's id of an order's only charge, from the provider's own ledger."""
        [payment] = self.sandbox.payments(order["id"])
        return payment.id

    async def pay(self, order: dict[str, Any], **options: Any) -> None:
        """Pay an order's Pix at the provider and wait until its webhooks have been delivered."""
        self.sandbox.act(self.charge(order), "pay", **options)
        await self.sandbox.settled()

    async def place_paid(self, *quantities: int) -> dict[str, Any]:
        """Place an order, pay it, and let the worker settle it; answer its document."""
        order = await self.place(*quantities)
        await self.pay(order)
        await self.work()
        paid = await self.order(order["id"])
        assert paid["status"] == "paid", paid
        return paid

    async def advance(self, order: dict[str, Any], *statuses: str) -> Answer:
        """Move an order through statuses as staff; answer the last reply."""
        answer = Answer(0, {}, None)
        for status in statuses:
            answer = await self.call("PATCH", f"/v1/orders/{order['id']}", {"status": status}, role=Role.STAFF)
        return answer

    async def refund(self, order: dict[str, Any], body: object, key: str | None = None) -> Answer:
        """Ask for a refund as staff."""
        headers = {"Idempotency-Key": key} if key else None
        return await self.call("POST", f"/v1/orders/{order['id']}/refunds", body, role=Role.STAFF, headers=headers)

    async def work(self, *names: str) -> int:
        """Turn the worker's loops (all, or those named) until nothing is due now; answer how many items that was."""
        handled = 0
        while taken := sum([await self.loops[name].once() for name in names or self.loops]):
            handled += taken
            await self.sandbox.settled()
        return handled

    async def later(self, **by: float) -> None:
        """Let time pass for everybody, by `timedelta`'s arguments, without the worker doing anything."""
        await self.sandbox.advance(**by)

    async def value(self, query: str, *arguments: object) -> Any:
        """Answer one value from the database."""
        return await self.pool.fetchval(query, *arguments)

    async def history(self, order: dict[str, Any]) -> list[str]:
        """Answer the statuses that an order went through, oldest first."""
        rows = await self.pool.fetch(
            "SELECT status_to FROM order_events WHERE order_id = $1 ORDER BY version", UUID(order["id"])
        )
        return [row["status_to"] for row in rows]


def settings_for(database_url: str, sandbox: RunningSandbox, port: int, **overrides: object) -> Settings:
    """Build a diner's settings as the environment would give them; `overrides` are variables by name."""
    environment: dict[str, object] = {
        "DATABASE_URL": database_url,
        "MERCADO_PAGO_ACCESS_TOKEN": sandbox.token,
        "MERCADO_PAGO_WEBHOOK_SECRET": sandbox.webhook_secret,
        "MERCADO_PAGO_BASE_URL": sandbox.url,
        "PAYER_EMAIL": "guest@comanda.example.com",
        "PUBLIC_URL": f"http://127.0.0.1:{port}",
        "HOST": "127.0.0.1",
        "PORT": port,
        "OPS_HOST": "127.0.0.1",
        "PROVIDER_TIMEOUT_MS": 1500,
        "WORKER_LEASE": 10,
        # Tests move the clock by days; signatures carry real time.
        "WEBHOOK_TOLERANCE": 90 * 24 * 3600,
        "RATE_LIMIT_EXEMPT": "127.0.0.0/8",
        "DRAIN_SECONDS": "0",
        **overrides,
    }
    return read_settings({name: str(value) for name, value in environment.items()})


@asynccontextmanager
async def running_diner(
    database_url: str, chance: random.Random, *, ledger: Path | None = None, menu: bool = True, **overrides: object
) -> AsyncIterator[Diner]:
    """Run a diner until the block ends.

    Args:
        database_url: a migrated database.
        chance: the dice for jitter.
        ledger: where the sandbox keeps its ledger.
        menu: whether to load the sample menu.
        overrides: settings by variable name.
    """
    port = free_port()
    webhook_url = f"http://127.0.0.1:{port}/v1/webhooks/mercado-pago"
    async with running_sandbox(webhook_url=webhook_url, ledger=ledger, webhook_time_scale=1) as sandbox:
        settings = settings_for(database_url, sandbox, port, **overrides)
        pool = await open_pool(settings, "test")
        try:
            keys = await _fill(pool, sandbox, menu)
            async with make_provider(settings) as provider, aiohttp.ClientSession() as session:
                checkout = Checkout(pool, provider, settings, sandbox.clock.now, chance)
                async with _serving(checkout, sandbox, session, keys) as diner:
                    yield diner
        finally:
            await pool.close()


async def _fill(pool: Pool, sandbox: RunningSandbox, menu: bool) -> dict[Role, str]:
    now = sandbox.clock.now()
    async with pool.acquire() as connection:
        if menu:
            await load_menu(connection, sample_menu(), now)
        return {role: await create_key(connection, name=f"test {role}", role=role, now=now) for role in Role}


@asynccontextmanager
async def _serving(
    checkout: Checkout, sandbox: RunningSandbox, session: aiohttp.ClientSession, keys: dict[Role, str]
) -> AsyncIterator[Diner]:
    settings = checkout.settings
    ready = Readiness()
    streams = Streams(checkout.pool, settings, checkout.clock)
    listening = asyncio.Event()
    cache = MenuCache(checkout.pool)

    def hear_everything() -> None:
        cache.forget()
        streams.resync()
        listening.set()

    listener = Listener(settings, "test", what_to_hear(cache, streams), hear_everything)
    gate = Gate(build_litestar(Services(checkout, cache, streams, Limits(settings), ready)), settings)
    server = make_server(gate, settings)
    listener.start()
    streams.start()
    serving = asyncio.create_task(server.serve())
    url = f"http://127.0.0.1:{settings.port}"
    ready.started = True
    await listening.wait()
    await _answering(session, url, serving)
    loops = {loop.name: loop for loop in make_loops(checkout)}
    diner = Diner(url, sandbox, checkout, streams, cache, gate, listener, ready, session, loops, keys)
    menu = (await diner.call("GET", "/v1/menu")).body
    diner.products = [product for category in menu["categories"] for product in category["products"]]
    try:
        yield diner
    finally:
        await streams.stop()
        await listener.stop()
        server.stop()  # type: ignore[no-untyped-call]
        await serving


async def _answering(session: aiohttp.ClientSession, url: str, serving: "asyncio.Task[None]") -> None:
    """Wait until the port is open: the server says nothing of it."""
    async with asyncio.timeout(10):
        while True:
            assert not serving.done(), serving
            try:
                async with session.get(f"{url}/readyz"):
                    return
            except aiohttp.ClientConnectorError:
                await asyncio.sleep(0.005)
