"""The stand-in put together: the cluster's mirror, the load balancer, its ports."""

import asyncio
import logging
import ssl
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path

from aiohttp import web

from tests.cluster.alb import kubeconfig
from tests.cluster.alb.accesslog import AccessLog
from tests.cluster.alb.admin import Admin
from tests.cluster.alb.balancer import Balancer
from tests.cluster.alb.certificate import self_signed
from tests.cluster.alb.clock import Bell, Clock
from tests.cluster.alb.controller import Controller
from tests.cluster.alb.health import Checker
from tests.cluster.alb.kubernetes import Api, Json
from tests.cluster.alb.listeners import Listeners, Place
from tests.cluster.alb.model import Naming
from tests.cluster.alb.targets import Lags
from tests.cluster.alb.webhook import application

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Options:
    """What it is told.

    Args:
        kubeconfig: which cluster. listen, listen_tls, admin, webhook: HOST and port each; port 0 takes a free one.
        certificate, key: of the webhook. namespace: the only one that counts; "" for all.
        log: of accesses, appended to.
    """

    kubeconfig: Path
    listen: tuple[str, int]
    listen_tls: tuple[str, int] | None = None
    admin: tuple[str, int] | None = None
    webhook: tuple[str, int] | None = None
    certificate: Path | None = None
    key: Path | None = None
    namespace: str = ""
    lags: Lags = field(default_factory=Lags)
    log: Path | None = None
    naming: Naming = field(default_factory=Naming)


class StandIn:
    """The load balancer's stand-in. Used as `async with`; then `failed` ends when it cannot go on."""

    def __init__(self, options: Options, clock: Clock) -> None:
        self.bell = Bell()
        self.log = AccessLog(options.log, clock.utc, self.bell.ring)
        self._options = options
        self._clock = clock
        self._checker = Checker(clock)
        self.balancer = Balancer(clock, options.lags, self._checker, self._target_changed)
        places = {"HTTP": Place(*options.listen)}
        if options.listen_tls:
            places["HTTPS"] = Place(*options.listen_tls, self_signed("alb.test", "localhost"))
        self.listeners = Listeners(places, self.balancer, self.log, clock)
        self.controller: Controller | None = None
        self.admin_port = 0
        self.webhook_port = 0
        self._stack = AsyncExitStack()
        self._running: asyncio.Task[None] | None = None

    async def __aenter__(self) -> "StandIn":
        async with AsyncExitStack() as stack:
            stack.callback(self.log.close)
            await stack.enter_async_context(self._checker)
            api = await stack.enter_async_context(Api(kubeconfig.read(self._options.kubeconfig)))
            stack.push_async_callback(self.balancer.close)
            stack.push_async_callback(self.listeners.close)
            self.controller = Controller(
                api,
                self._clock,
                self.balancer,
                self.listeners,
                self._options.naming,
                self._options.namespace,
                self.bell.ring,
            )
            if self._options.admin:
                admin = Admin(self.balancer, self.log, self._clock, self.bell, self._shown)
                self.admin_port = await _serve(stack, admin.application(), self._options.admin)
                logger.info("admin is open at %s:%d", self._options.admin[0], self.admin_port)
            if self._options.webhook:
                context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
                assert self._options.certificate, "a webhook has a certificate: the API server asks for it"
                context.load_cert_chain(self._options.certificate, self._options.key)
                app = application(self.controller.groups_of)
                self.webhook_port = await _serve(stack, app, self._options.webhook, context)
            self._running = asyncio.create_task(self.controller.run(), name="controller")
            stack.push_async_callback(self._stop)
            self._stack = stack.pop_all()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    async def failed(self) -> None:
        """Wait for good, or until it cannot go on; then raise why."""
        assert self._running
        await asyncio.shield(self._running)

    def _target_changed(self) -> None:
        """A target's state may open a gate, and may be what somebody waits for."""
        self.bell.ring()
        if self.controller:
            self.controller.look()

    def _shown(self) -> Json:
        controller = self.controller
        return {
            "synced": controller is not None and controller.synced,
            "open": self.listeners.open,
        }

    async def _stop(self) -> None:
        if self._running:
            self._running.cancel()
            await asyncio.gather(self._running, return_exceptions=True)


async def _serve(
    stack: AsyncExitStack, app: web.Application, at: tuple[str, int], tls: ssl.SSLContext | None = None
) -> int:
    """Open a port until the stack is closed; answer its number."""
    runner = web.AppRunner(app, access_log=None, handle_signals=False, handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    stack.push_async_callback(runner.cleanup)
    await web.TCPSite(runner, *at, ssl_context=tls).start()
    port: int = runner.addresses[0][1]
    return port
