"""Pods of ours inside this process: each with a pool, a provider's client, the API's handlers and a worker's loops."""

import random
from datetime import datetime, timedelta
from typing import Any, cast

import msgspec

import comanda.database.pool
from comanda.api.services import Services
from comanda.api.streams import Streams
from comanda.app import build_litestar
from comanda.checkout.context import Checkout
from comanda.database.pool import Pool, open_pool
from comanda.http.gate import Gate
from comanda.http.limits import Limits
from comanda.http.ops import Readiness
from comanda.menu.cache import MenuCache
from comanda.payments.mercado_pago import MercadoPago
from comanda.process import make_provider
from comanda.settings import Settings
from comanda.worker import Loop, make_loops
from comanda_sandbox.sandbox import Sandbox
from tests.faults.conductor import Conductor
from tests.faults.kinds import AT_PROVIDER, Faults
from tests.faults.watched import WatchedConnection, with_session

GOES_WITHIN_MS = 10_000

TAKES = {"slow": 4.0, "time-out without effect": 5.0, "time-out with effect": 5.0}
"""Seconds that go by over a call."""


class _Present:
    """What a pod has just now in a place: handlers keep this, and what stands behind it changes when a pod dies."""

    def __init__(self) -> None:
        self.now: Any = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self.now, name)


class InProcessPod:
    """API and worker of one process, which can die. Its handlers are built once, for all runs."""

    conductor: Conductor
    sandbox: Sandbox

    def __init__(self, name: str, settings: Settings) -> None:
        self.name = name
        self.dead = True
        self._settings = settings
        self._pool, self._provider = _Present(), _Present()
        self._dice = random.Random()
        self.checkout = Checkout(
            cast(Pool, self._pool), cast(MercadoPago, self._provider), settings, self._time, self._dice
        )
        self.menu = MenuCache(self.pool)
        streams = Streams(self.pool, settings, self._time)
        self.app = Gate(
            build_litestar(Services(self.checkout, self.menu, streams, Limits(settings), Readiness())), settings
        )

    @property
    def pool(self) -> Pool:
        """Its connections, as long as it lives."""
        return self.checkout.pool

    def _time(self) -> datetime:
        return self.sandbox.clock.now()

    def attach(self, conductor: Conductor, faults: Faults, sandbox: Sandbox, admin: Pool, seed: str) -> None:
        """Take part in a run. `admin` is the database as its owner."""
        self.conductor, self._faults, self.sandbox, self._admin = conductor, faults, sandbox, admin
        self._dice.seed(f"{seed} {self.name}")

    async def open(self, base_url: str) -> None:
        """Begin, or begin again, with the provider at this URL."""
        self.dead = False
        watched = type("Watched", (WatchedConnection,), {"pod": self})
        before = comanda.database.pool.PlainConnection
        comanda.database.pool.PlainConnection = watched  # type: ignore[misc, assignment]
        try:
            self._pool.now = await open_pool(self._settings, self.name)
        finally:
            comanda.database.pool.PlainConnection = before  # type: ignore[misc]
        # The machine's time is not the run's: nobody who is parked runs into a time-out.
        settings = msgspec.structs.replace(self._settings, mercado_pago_base_url=base_url, provider_timeout_ms=120_000)
        self._provider.now = make_provider(settings)
        await self._provider.now.open()
        with_session(self._provider.now, self)
        # Read once by nobody: of two who ask for it at once one waits for the other, and not for the database.
        await self.menu.current()
        self.loops: dict[str, Loop[Any]] = {loop.name: loop for loop in make_loops(self.checkout)}

    async def die(self) -> None:
        """End as SIGKILL ends a process: its connections go, nothing of it is said or done any more."""
        self.dead = True
        self._pool.now.terminate()
        self.conductor.kill(self)
        # One that waits for a lock would notice only once it has it.
        await _until_gone(self._admin, "application_name = $1", f"comanda-{self.name}")

    async def ended(self, backend: int) -> None:
        """Wait until PostgreSQL has done with a connection that is gone: what it held is let go then."""
        await _until_gone(self._admin, "pid = $1", backend)

    def strike(self, operation: str, fault: str) -> None:
        """Have the provider's next answer to an operation go wrong, or time pass over it."""
        if fault in TAKES:
            self.sandbox.clock.advance(timedelta(seconds=TAKES[fault]))
            return
        name = fault.removesuffix(" with effect").removesuffix(" with Retry-After")
        values = AT_PROVIDER[fault][1]
        armed = self.sandbox.faults.arm({"fault": name, "times": 1, "match": {"operation": operation}, **values})
        self._faults.armed.append((fault, armed))

    async def close(self) -> None:
        """Clear up after it; whatever it still was at is over."""
        self.dead = True
        self._pool.now.terminate()
        await self._provider.now.close()


async def _until_gone(admin: Pool, which: str, value: object) -> None:
    """End some backends and wait until they are gone, so that what comes next finds their locks let go in each run."""
    backends = f"FROM pg_stat_activity WHERE datname = current_database() AND {which}"
    await admin.fetchval(f"SELECT count(pg_terminate_backend(pid, {GOES_WITHIN_MS})) {backends}", value)
