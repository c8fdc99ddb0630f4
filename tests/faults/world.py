"""One run's diner: a database emptied, the provider's ledger new, pods, and everybody's clock."""

import contextlib
import os
import random
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import asyncpg
from aiohttp import web

import comanda.menu.cache
from comanda.database.pool import Connection, Pool
from comanda.menu.sample import load_menu, sample_menu
from comanda.settings import Settings, read_settings
from comanda.staff.keys import Role, create_key
from comanda_sandbox.running import TOKEN, WEBHOOK_SECRET, RunningSandbox
from comanda_sandbox.sandbox import Sandbox
from comanda_sandbox.sandbox import Settings as SandboxSettings
from comanda_sandbox.server import application
from tests.faults.asgi import ask
from tests.faults.conductor import Conductor, Crash
from tests.faults.hand_clock import HandClock
from tests.faults.kinds import Faults
from tests.faults.pods import InProcessPod
from tests.running_diner import Answer

PUBLIC_URL = "https://comanda.example.com"
PODS = 2

PATIENT: dict[str, object] = {
    f"{name}_TIMEOUT_MS": 120_000
    for name in ("PROVIDER_CONNECT", "DATABASE_STATEMENT", "DATABASE_LOCK", "REQUEST", "BODY")
}
"""Who is parked waits in the machine's time, in which nobody is to be hurried: time-outs are the faults' to play."""

FORGETS = """
TRUNCATE orders, order_items, order_events, payments, payment_events, refunds, webhook_events, idempotency_keys,
    pickup_days RESTART IDENTITY
"""
NEXT_DUE = """
SELECT min(at) FROM (
    SELECT min(next_check_at) AS at FROM payments WHERE next_check_at IS NOT NULL
    UNION ALL SELECT min(next_attempt_at) FROM refunds WHERE status IN ('requested', 'in_process')
    UNION ALL SELECT min(next_attempt_at) FROM webhook_events WHERE status <> 'handled'
) AS due
"""
# Whom it waits for, by PostgreSQL's table of locks: the column `wait_event_type` lags behind it.
WAITING = """
SELECT pid FROM pg_stat_activity
WHERE datname = current_database() AND wait_event_type = 'Lock' AND cardinality(pg_blocking_pids(pid)) > 0
"""


class ConnectionLost(Exception):
    """The pod that was asked is gone, and with it the answer."""


@dataclass(eq=False)
class World:
    """What everybody in a run sees.

    Args:
        admin: the database, as its owner, for who looks on. pool: the same, with the rights of API and worker.
    """

    seed: str
    conductor: Conductor
    faults: Faults
    clock: HandClock
    sandbox: RunningSandbox
    settings: Settings
    admin: Connection
    pool: Pool
    pods: list[InProcessPod]
    keys: dict[Role, str]
    products: list[dict[str, Any]]
    made: dict[str, str] = field(default_factory=dict)
    moving: list[str] = field(default_factory=list)
    over: bool = False

    def dice(self, name: str) -> random.Random:
        """Answer dice of somebody's own, the same for the same seed."""
        return random.Random(f"{self.seed} {name}")

    async def value(self, query: str, *arguments: object) -> Any:
        """Answer one value from the database."""
        return await self.admin.fetchval(query, *arguments)

    async def next_due(self) -> datetime | None:
        """Answer when a worker has something to do, None if nothing is left."""
        due: datetime | None = await self.pool.fetchval(NEXT_DUE)
        return due

    async def something_is_due(self) -> bool:
        """Answer whether a worker has something to do now."""
        due = await self.next_due()
        return due is not None and due <= self.clock.now()

    async def call(
        self,
        method: str,
        path: str,
        body: bytes = b"",
        *,
        dice: random.Random,
        role: Role | None = None,
        headers: dict[str, str] | None = None,
    ) -> Answer:
        """Ask a pod that lives, as the load balancer chooses it.

        Raises:
            ConnectionLost: it died over it, or none lives.
        """
        living = [pod for pod in self.pods if not pod.dead]
        if not living:
            raise ConnectionLost("no pod lives")
        pod = living[dice.randrange(len(living))]
        sent = {"content-type": "application/json", **(headers or {})}
        if role is not None:
            sent["authorization"] = f"Bearer {self.keys[role]}"
        actor = self.conductor.who()
        if actor is None:
            return await ask(pod.app, method, path, body=body, headers=sent)
        # As long as it is at work on this, it dies with the pod.
        before, actor.pod = actor.pod, pod
        try:
            return await ask(pod.app, method, path, body=body, headers=sent)
        except Crash:
            raise ConnectionLost(pod.name) from None
        finally:
            actor.pod = before


@contextmanager
def seeded_entropy(seed: str) -> Iterator[None]:
    """Have ids and keys come from the seed, so that whoever sorts by them does so in each run alike."""
    dice = random.Random(f"entropy {seed}")
    before, random_state = os.urandom, random.getstate()
    os.urandom = dice.randbytes
    random.seed(seed)
    try:
        yield
    finally:
        os.urandom = before
        random.setstate(random_state)


class Stage:
    """A database that is migrated, with a menu and keys, in which one run after the other takes place.

    Args:
        owner_url: the database, as its owner. url: the same, as the API's user.
        overrides: settings by variable name.
    """

    def __init__(self, owner_url: str, url: str, **overrides: object) -> None:
        self._owner_url = owner_url
        self._url = url
        self._overrides = overrides
        self._keys: dict[Role, str] = {}

    async def __aenter__(self) -> "Stage":
        # By the machine's time, which is nobody's here: when the menu is read again would differ from run to run.
        self._trusted = comanda.menu.cache.TRUSTED_SECONDS
        comanda.menu.cache.TRUSTED_SECONDS = 10**9
        self._admin = await asyncpg.connect(self._owner_url)
        self._watching = await asyncpg.create_pool(self._owner_url, min_size=2, max_size=4)
        self._pool = await asyncpg.create_pool(self._url, min_size=1, max_size=4)
        clock = HandClock()
        async with self._pool.acquire() as connection:
            if not await connection.fetchval("SELECT count(*) FROM products"):
                await load_menu(connection, sample_menu(), clock.now())
            self._keys = {
                role: await create_key(connection, name=f"faults {role} {uuid.uuid4()}", role=role, now=clock.now())
                for role in Role
            }
        rows = await self._admin.fetch("SELECT id, price_cents FROM products WHERE available ORDER BY name")
        self._products = [{"id": str(row["id"]), "price_cents": row["price_cents"]} for row in rows]
        environment = {
            "DATABASE_URL": self._url,
            "DATABASE_POOL_SIZE": 24,
            "MERCADO_PAGO_ACCESS_TOKEN": TOKEN,
            "MERCADO_PAGO_WEBHOOK_SECRET": WEBHOOK_SECRET,
            "PAYER_EMAIL": "guest@comanda.example.com",
            "PUBLIC_URL": PUBLIC_URL,
            "RATE_LIMIT_EXEMPT": "127.0.0.0/8",
            **PATIENT,
            **self._overrides,
        }
        self._settings = read_settings({name: str(value) for name, value in environment.items()})
        self._pods = [InProcessPod(f"pod{number}", self._settings) for number in range(1, PODS + 1)]
        return self

    async def __aexit__(self, *_: object) -> None:
        comanda.menu.cache.TRUSTED_SECONDS = self._trusted
        self._pool.terminate()
        self._watching.terminate()
        await self._admin.close()

    async def _waiting(self) -> set[int]:
        return {row["pid"] for row in await self._watching.fetch(WAITING)}

    @asynccontextmanager
    async def world(self, seed: str, *, rate: float, allowed: frozenset[int] | None = None) -> AsyncIterator[World]:
        """Set up one run, and clear up after it."""
        async with self._admin.transaction():
            await self._admin.execute("SET LOCAL session_replication_role = replica")
            await self._admin.execute(FORGETS)
            await self._admin.execute("ALTER SEQUENCE pickup_numbers RESTART")
        clock = HandClock()
        faults = Faults(random.Random(f"faults {seed}"), rate, allowed)
        conductor = Conductor(random.Random(f"order {seed}"), clock, self._waiting, faults.befalls)
        async with _provider(clock) as sandbox:
            for pod in self._pods:
                pod.attach(conductor, faults, sandbox.sandbox, self._watching, seed)
                await pod.open(sandbox.url)
            try:
                yield World(
                    seed=seed,
                    conductor=conductor,
                    faults=faults,
                    clock=clock,
                    sandbox=sandbox,
                    settings=self._settings,
                    admin=self._admin,
                    pool=self._pool,
                    pods=self._pods,
                    keys=self._keys,
                    products=self._products,
                )
            finally:
                for pod in self._pods:
                    with contextlib.suppress(Exception):
                        await pod.close()


@asynccontextmanager
async def _provider(clock: HandClock) -> AsyncIterator[RunningSandbox]:
    """Serve the provider's API; its webhooks are carried by whoever asks its courier for them."""
    sandbox = Sandbox(SandboxSettings(token=TOKEN, webhook_secret=WEBHOOK_SECRET, webhook_time_scale=1, clock=clock))
    runner = web.AppRunner(application(sandbox), access_log=None, shutdown_timeout=1)
    try:
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield RunningSandbox(f"http://127.0.0.1:{runner.addresses[0][1]}", sandbox)
    finally:
        sandbox.stopping.set()
        await runner.cleanup()
        await sandbox.stop()
