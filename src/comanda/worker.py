"""The worker process: everything that happens without a request.

Each loop claims rows whose time has come (`FOR UPDATE SKIP LOCKED`) under a lease, so that ten copies share the
work and a dead one loses none of it. A notification wakes a loop at once; a timer does when no notification came.
"""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from typing import Any, Generic, TypeVar

from prometheus_client import REGISTRY, Counter, Gauge

import comanda.payments.refunds
import comanda.payments.store
from comanda.backups.report import Reports
from comanda.checkout.check_payment import check_payment
from comanda.checkout.context import Checkout
from comanda.checkout.handle_webhook import handle_webhook
from comanda.checkout.send_refund import send_refund
from comanda.checkout.what_waits import say_what_waits
from comanda.clock import utc_now
from comanda.database.listener import Listener
from comanda.database.pool import COLLISIONS, OUTAGES, Connection, close_pool
from comanda.http import idempotency, logs
from comanda.http.ops import Readiness
from comanda.kitchen.hand_over_forgotten import hand_over_forgotten
from comanda.payments import webhooks
from comanda.payments.provider import ProviderDenied, ProviderError
from comanda.process import make_provider, open_ops, stop_on_signals, wait_for_database
from comanda.settings import Settings

logger = logging.getLogger(__name__)

ROUND = Gauge("comanda_worker_round_timestamp_seconds", "When a loop last looked for work, Unix time.", ["loop"])
HANDLED = Counter("comanda_worker_items_total", "Items that a loop brought forward, by outcome.", ["loop", "outcome"])

Item = TypeVar("Item")
HOUSEKEEPING_SECONDS = 15


class Loop(Generic[Item]):
    """Claims items and handles each in a task of its own, so that a slow one holds up nobody.

    Args:
        name: for metrics and logs.
        checkout: what the stories work with.
        claim: takes up to `limit` due items under a lease.
        handle: brings one forward; what it raises is counted, and the item comes due again by its own schedule.
        request_id: whose request an item came from, for the logs.
    """

    def __init__(
        self,
        name: str,
        checkout: Checkout,
        claim: Callable[..., Awaitable[Sequence[Item]]],
        handle: Callable[[Checkout, Item], Awaitable[None]],
        request_id: Callable[[Item], str | None],
    ) -> None:
        self.name = name
        self.bell = asyncio.Event()
        self._checkout = checkout
        self._claim = claim
        self._handle = handle
        self._request_id = request_id
        self._tasks: set[asyncio.Task[None]] = set()
        for outcome in ("failed", "database_error", "provider_denied", "provider_error"):
            HANDLED.labels(name, outcome)  # at zero, so that its first time is an increase

    async def run(self, stop: asyncio.Event) -> None:
        """Work until `stop` is set, then finish what was begun, within SHUTDOWN_TIMEOUT."""
        while not stop.is_set():
            self.bell.clear()
            more = False
            try:
                more = await self._round()
            except OUTAGES as error:
                logger.warning("no work without a database", extra={"loop": self.name, "error": type(error).__name__})
            except Exception:
                logger.exception("a loop failed; it goes on", extra={"loop": self.name})
            ROUND.labels(self.name).set_to_current_time()
            if not more:
                await self._rest(stop)
        await self._finish()

    async def once(self) -> int:
        """Claim and handle what is due now, one round, and wait for it; answer how many. For tests and tools."""
        before = len(self._tasks)
        await self._round()
        taken = len(self._tasks) - before
        await asyncio.gather(*self._tasks)
        return taken

    async def _round(self) -> bool:
        """Claim as much as there is room for; answer whether there may be more right now."""
        room = self._checkout.settings.worker_concurrency - len(self._tasks)
        if room <= 0:
            # Not for long: whoever wants us to stop meanwhile is not to wait for the provider.
            patience = self._checkout.settings.worker_poll_ms / 1000
            await asyncio.wait(self._tasks, timeout=patience, return_when=asyncio.FIRST_COMPLETED)
            return True
        now = self._checkout.clock()
        async with self._checkout.pool.acquire(timeout=5) as connection:
            items = await self._claim(connection, now=now, lease_until=now + self._checkout.settings.lease, limit=room)
        for item in items:
            task = asyncio.create_task(self._attempt(item))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        return len(items) == room

    async def _attempt(self, item: Item) -> None:
        logs.request_id.set(self._request_id(item))
        outcome = "done"
        try:
            await self._handle(self._checkout, item)
        except ProviderDenied as error:
            outcome = "provider_denied"
            logger.error(
                "the provider denies us: check the access token and the account",
                extra={"loop": self.name, "error": str(error)},
            )
        except ProviderError as error:
            outcome = "provider_error"
            logger.warning("the provider did not answer", extra={"loop": self.name, "error": str(error)})
        except (*OUTAGES, *COLLISIONS) as error:
            outcome = "database_error"
            logger.warning("given up for now", extra={"loop": self.name, "error": type(error).__name__})
        except Exception:
            outcome = "failed"
            logger.exception("an item failed; it is tried again after its lease", extra={"loop": self.name})
        HANDLED.labels(self.name, outcome).inc()

    async def _rest(self, stop: asyncio.Event) -> None:
        """Wait for a bell, or the timer; with jitter, so that ten workers do not come at once."""
        seconds = self._checkout.settings.worker_poll_ms / 1000 * self._checkout.chance.uniform(0.7, 1.0)
        bells = {asyncio.create_task(self.bell.wait()), asyncio.create_task(stop.wait())}
        await asyncio.wait(bells, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        for bell in bells:
            bell.cancel()

    async def _finish(self) -> None:
        if self._tasks:
            _, late = await asyncio.wait(self._tasks, timeout=self._checkout.settings.shutdown_timeout)
            for task in late:
                logger.warning("stopping with an item at work; another worker finishes it", extra={"loop": self.name})
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)


def make_loops(checkout: Checkout) -> list[Loop[Any]]:
    """Build the worker's loops: webhooks to handle, payments to ask about, refunds to send."""
    return [
        Loop("webhooks", checkout, webhooks.claim_due, handle_webhook, lambda event: event.request_id),
        Loop("payments", checkout, comanda.payments.store.claim_due, check_payment, lambda payment: payment.request_id),
        Loop(
            "refunds",
            checkout,
            comanda.payments.refunds.claim_due,
            send_refund,
            lambda refund: refund.request_id,
        ),
    ]


async def work(settings: Settings) -> None:
    """Run the worker until SIGTERM or SIGINT, then finish what was begun and take nothing new.

    Raises:
        SettingsError: a setting turns out to be wrong.
        ProcessError: the ops port is taken, or the database refuses us.
    """
    stop = stop_on_signals()
    ready = Readiness()
    # The API has them not: of one worker after another nothing is lost, and ten series would say the same.
    REGISTRY.register(Reports())
    ops = await open_ops(settings, ready)
    try:
        pool = await wait_for_database(settings, "worker", stop)
        if pool is None:
            return
        try:
            async with make_provider(settings) as provider:
                await _work_with(Checkout(pool, provider, settings, utc_now, random.SystemRandom()), ready, stop)
        finally:
            await close_pool(pool)
    finally:
        await ops.cleanup()


async def _work_with(checkout: Checkout, ready: Readiness, stop: asyncio.Event) -> None:
    loops = make_loops(checkout)
    by_name = {loop.name: loop for loop in loops}

    def ring(name: str) -> None:
        if name in by_name:
            by_name[name].bell.set()

    def ring_all() -> None:
        for loop in loops:
            loop.bell.set()

    listener = Listener(checkout.settings, "worker", {"comanda_work": ring}, ring_all)
    listener.start()
    ready.started = True
    logger.info("ready")
    async with asyncio.TaskGroup() as group:
        for loop in loops:
            group.create_task(loop.run(stop), name=loop.name)
        group.create_task(keep_house(checkout, stop), name="housekeeping")
        await stop.wait()
        ready.draining = True
        logger.info("draining")
    await listener.stop()
    logger.info("stopped")


async def keep_house(checkout: Checkout, stop: asyncio.Event) -> None:
    """Hand over and forget what is old enough, say what waits too long, now and then, until `stop` is set."""
    while not stop.is_set():
        try:
            after = timedelta(seconds=checkout.settings.forgotten_after)
            await hand_over_forgotten(checkout.pool, checkout.clock, after)
            async with checkout.pool.acquire(timeout=5) as connection:
                await _forget(connection, checkout)
                await say_what_waits(connection, checkout.clock())
            ROUND.labels("housekeeping").set_to_current_time()
        except OUTAGES as error:
            logger.warning("housekeeping waits for the database", extra={"error": type(error).__name__})
        except Exception:
            logger.exception("housekeeping failed; it goes on")
        seconds = HOUSEKEEPING_SECONDS * checkout.chance.uniform(0.7, 1.0)
        try:
            async with asyncio.timeout(seconds):
                await stop.wait()
        except TimeoutError:
            continue


async def _forget(connection: Connection, checkout: Checkout) -> None:
    settings, now = checkout.settings, checkout.clock()
    await idempotency.forget(connection, before=now - timedelta(seconds=settings.idempotency_retention))
    await webhooks.forget_handled(connection, before=now - timedelta(seconds=settings.webhook_retention))
