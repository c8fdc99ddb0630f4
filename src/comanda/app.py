"""The API process: what it is made of, how it starts, and how it stops without losing a request."""

import asyncio
import logging
import random
from collections.abc import Callable
from functools import cache
from typing import Any

from granian.constants import HTTPModes, Interfaces
from granian.http import HTTP1Settings
from granian.server.embed import Server
from litestar import Litestar, Response, get
from litestar.datastructures import State
from litestar.di import Provide
from litestar.enums import MediaType
from litestar.openapi.config import OpenAPIConfig
from litestar.openapi.datastructures import ResponseSpec
from litestar.openapi.spec import Components, SecurityScheme

from comanda import __version__
from comanda.api import docs_page, kitchen, menu, orders, webhooks
from comanda.api.bodies import StrictRequest
from comanda.api.openapi import document
from comanda.api.options import options_handlers
from comanda.api.services import Services, Shared
from comanda.api.streams import Streams
from comanda.checkout.context import Checkout
from comanda.clock import utc_now
from comanda.database.listener import Listener
from comanda.database.pool import close_pool
from comanda.http import metrics
from comanda.http.gate import Gate
from comanda.http.limits import Limits
from comanda.http.ops import Readiness
from comanda.http.problems import EXCEPTION_HANDLERS
from comanda.menu.cache import MenuCache
from comanda.process import (
    ProcessError,
    check_port_is_free,
    make_provider,
    open_ops,
    stop_on_signals,
    wait_for_database,
)
from comanda.settings import Settings

logger = logging.getLogger(__name__)

CLIENTS_SECONDS = 5
"""How long a stopping server waits for clients who do not read or write."""


@get(
    "/readyz",
    tags=["operations"],
    summary="Whether requests are wanted",
    media_type=MediaType.TEXT,
    responses={
        503: ResponseSpec(
            data_container=str, description="Not ready.", media_type=MediaType.TEXT, generate_examples=False
        )
    },
)
async def readyz(services: Shared) -> Response[str]:
    """Answer 200 once started and while not draining, else 503."""
    ready = services.ready()
    return Response("ready\n" if ready else "not ready\n", status_code=200 if ready else 503)


HANDLERS = [*menu.HANDLERS, *orders.HANDLERS, *kitchen.HANDLERS, *webhooks.HANDLERS, readyz]


def openapi_config() -> OpenAPIConfig:
    """Build what the OpenAPI document says beside the routes."""
    return OpenAPIConfig(
        title="Comanda",
        version=__version__,
        description="Self-service ordering for a diner, paid by Pix. Money is in centavos, times are UTC (RFC 3339), "
        "errors are problem documents (RFC 9457) with a stable code.",
        components=Components(
            security_schemes={
                "key": SecurityScheme(type="http", scheme="bearer", description="A staff or manager key.")
            }
        ),
    )


@cache
def describe() -> dict[str, Any]:
    """Answer the OpenAPI document, without a database."""
    app = Litestar(
        HANDLERS,
        openapi_config=openapi_config(),
        dependencies={"services": Provide(lambda: None, sync_to_thread=False)},
        logging_config=None,
    )
    return document(app)


def build_litestar(services: Services) -> Litestar:
    """Build the framework's application around the services of one process."""
    handlers = [*HANDLERS, *docs_page.handlers(describe())]
    app = Litestar(
        [*options_handlers(handlers), *handlers],
        request_class=StrictRequest,
        dependencies={"services": Provide(lambda: services, sync_to_thread=False, use_cache=True)},
        state=State({"services": services}),
        exception_handlers=EXCEPTION_HANDLERS,
        # The document is described once, and served by handlers of our own, whose errors are problem documents.
        openapi_config=None,
        request_max_body_size=services.checkout.settings.max_body_bytes,
        logging_config=None,
    )
    for route in app.routes:
        for method in route.methods - {"HEAD", "OPTIONS"}:
            metrics.expect(route.path_format, method)
    return app


async def serve(settings: Settings) -> None:
    """Run the API until SIGTERM or SIGINT, then drain: readiness red, wait, finish what is in flight, stop.

    Raises:
        SettingsError: a setting turns out to be wrong.
        ProcessError: a port is taken, the database refuses us, or the server ended by itself.
    """
    stop = stop_on_signals()
    ready = Readiness()
    ops = await open_ops(settings, ready)
    try:
        check_port_is_free(settings)
        pool = await wait_for_database(settings, "api", stop)
        if pool is None:
            return
        try:
            async with make_provider(settings) as provider:
                checkout = Checkout(pool, provider, settings, utc_now, random.SystemRandom())
                await _serve_with(checkout, ready, stop)
        finally:
            await close_pool(pool)
    finally:
        await ops.cleanup()


def what_to_hear(menu_cache: MenuCache, streams: Streams) -> dict[str, Callable[[str], None]]:
    """Answer what a pod that serves does at a notice of the database, by the notice's channel."""
    return {
        "comanda_menu": lambda _: menu_cache.forget(),
        "comanda_orders": streams.order_changed,
        "comanda_payments": streams.payment_changed,
        "comanda_keys": streams.key_revoked,
    }


async def _serve_with(checkout: Checkout, ready: Readiness, stop: asyncio.Event) -> None:
    settings = checkout.settings
    streams = Streams(checkout.pool, settings, checkout.clock)
    menu_cache = MenuCache(checkout.pool)

    def hear_everything() -> None:
        menu_cache.forget()
        streams.resync()

    listener = Listener(
        settings,
        "api",
        what_to_hear(menu_cache, streams),
        hear_everything,
    )
    gate = Gate(build_litestar(Services(checkout, menu_cache, streams, Limits(settings), ready)), settings)
    listener.start()
    streams.start()
    try:
        await _run_server(make_server(gate, settings), gate, streams, settings, ready, stop)
    finally:
        await streams.stop()
        await listener.stop()
    logger.info("stopped")


async def _run_server(
    server: Server, gate: Gate, streams: Streams, settings: Settings, ready: Readiness, stop: asyncio.Event
) -> None:
    serving = asyncio.create_task(server.serve(), name="server")
    await _until_open(settings, serving)
    ready.started = True
    logger.info("ready", extra={"port": settings.port})
    stopping = asyncio.create_task(stop.wait(), name="stopping")
    await asyncio.wait({serving, stopping}, return_when=asyncio.FIRST_COMPLETED)
    ready.draining = gate.draining = True
    stopping.cancel()
    if serving.done():
        raise _server_ended(serving)
    logger.info("draining", extra={"seconds": settings.drain_seconds})
    # The load balancer needs this long to see that readiness is red; until then it still sends requests.
    await asyncio.sleep(settings.drain_seconds)
    await streams.stop()
    # From here on nothing new is taken; what is in flight is finished.
    server.stop()  # type: ignore[no-untyped-call]
    if not await gate.wait_idle(settings.shutdown_timeout):
        logger.warning("stopping with requests in flight")
    # What is left is in the hands of clients: an answer not yet read, a request not yet sent whole.
    _, late = await asyncio.wait({serving}, timeout=CLIENTS_SECONDS)
    if late:
        logger.warning("stopping with connections open")


async def _until_open(settings: Settings, serving: "asyncio.Task[None]") -> None:
    """Wait until the server takes connections: granian says nothing of it."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(settings.host, settings.host)  # noqa: S104 (compared only)
    while not serving.done():
        try:
            _, writer = await asyncio.open_connection(host, settings.port)
        except OSError:
            await asyncio.sleep(0.005)
        else:
            writer.close()
            return
    raise _server_ended(serving)


def _server_ended(serving: "asyncio.Task[None]") -> ProcessError:
    error = serving.exception()
    # A failure inside granian's own runtime carries a stack trace of its own; its first line says what it is.
    reason = str(error).partition("\n")[0] if error else "no reason given"
    return ProcessError(f"the HTTP server ended by itself: {reason}")


def make_server(gate: Gate, settings: Settings) -> Server:
    """Build the HTTP server: one process, one event loop, HTTP/1.1 as load balancers speak it to their targets."""
    return Server(
        gate,
        address=settings.host,
        port=settings.port,
        interface=Interfaces.ASGINL,
        http=HTTPModes.http1,
        websockets=False,
        backlog=1024,
        backpressure=settings.max_requests_in_flight + settings.max_streams,
        http1_settings=HTTP1Settings(header_read_timeout=settings.header_timeout_ms, keep_alive=True),
        log_access=False,
        log_enabled=False,
    )
