"""`python -m bench.frameworks.serve FRAMEWORK SERVER`: one candidate, with comanda's settings, until SIGTERM."""

import asyncio
import importlib
import os
import random
import signal
import sys

import uvloop

from comanda.api.services import Services
from comanda.api.streams import Streams
from comanda.app import make_server
from comanda.checkout.context import Checkout
from comanda.clock import utc_now
from comanda.database.pool import open_pool
from comanda.http.gate import Gate
from comanda.http.limits import Limits
from comanda.http.logs import set_up_logs
from comanda.http.ops import Readiness, serve_ops
from comanda.menu.cache import MenuCache
from comanda.process import make_provider
from comanda.settings import Settings, read_settings


async def serve(framework: str, server: str) -> None:
    """Serve until SIGTERM."""
    settings = read_settings(os.environ)
    set_up_logs(settings.log_level)
    stop = asyncio.Event()
    ready = Readiness()
    async with make_provider(settings) as provider:
        pool = await open_pool(settings, "bench")
        checkout = Checkout(pool, provider, settings, utc_now, random.SystemRandom())
        cache = MenuCache(pool)
        await cache.current()
        services = Services(checkout, cache, Streams(pool, settings, utc_now), Limits(settings), ready)
        app = await importlib.import_module(f"bench.frameworks.{framework}_app").build(services)
        gate = Gate(app, settings)
        serving = asyncio.create_task(_granian(gate, settings) if server == "granian" else _uvicorn(gate, settings))
        ops = await serve_ops(settings.ops_host, settings.ops_port, ready)
        ready.started = True
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
        await asyncio.wait(
            {serving, asyncio.create_task(stop.wait())},
            return_when=asyncio.FIRST_COMPLETED,
        )
        if serving.done():
            serving.result()
        await ops.cleanup()
    # The candidates' own ways to stop are not what is measured.
    os._exit(0)


async def _granian(gate: Gate, settings: Settings) -> None:
    await make_server(gate, settings).serve()


async def _uvicorn(gate: Gate, settings: Settings) -> None:
    import uvicorn  # noqa: PLC0415 (one of the candidates, in an environment of its own)

    config = uvicorn.Config(
        gate,  # type: ignore[arg-type]
        host=settings.host,
        port=settings.port,
        http="httptools",
        lifespan="off",
        ws="none",
        log_config=None,
        access_log=False,
        backlog=1024,
        server_header=False,
        date_header=True,
    )
    await uvicorn.Server(config)._serve()


if __name__ == "__main__":
    uvloop.run(serve(sys.argv[1], sys.argv[2]))
