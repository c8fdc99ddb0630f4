"""The ops port, never behind the load balancer: metrics, liveness, readiness."""

import prometheus_client
from aiohttp import web


class Readiness:
    """Whether this process wants requests: started, and not draining."""

    def __init__(self) -> None:
        self.started = False
        self.draining = False

    def __call__(self) -> bool:
        """Answer whether it does."""
        return self.started and not self.draining


async def serve_ops(host: str, port: int, ready: Readiness) -> web.AppRunner:
    """Open the ops port.

    Args:
        host: address to listen on.
        port: 0 takes a free one.
        ready: whether this process has started, and is not draining. A database that is away does not count: it
            would take every pod out at once. But nobody starts without one.

    Returns:
        What to `cleanup()` at the end.

    Raises:
        OSError: the port cannot be had.
    """

    async def metrics(_request: web.Request) -> web.Response:
        return web.Response(
            body=prometheus_client.generate_latest(),
            headers={"Content-Type": prometheus_client.CONTENT_TYPE_LATEST},
        )

    async def livez(_request: web.Request) -> web.Response:
        return web.Response(text="alive\n")

    async def readyz(_request: web.Request) -> web.Response:
        return web.Response(text="ready\n") if ready() else web.Response(status=503, text="not ready\n")

    async def startupz(_request: web.Request) -> web.Response:
        return web.Response(text="started\n") if ready.started else web.Response(status=503, text="starting\n")

    paths = {"/metrics": metrics, "/livez": livez, "/readyz": readyz, "/startupz": startupz}
    app = web.Application()
    app.add_routes([web.get(path, handler) for path, handler in paths.items()])
    runner = web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=1)
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port).start()
    except BaseException:
        await runner.cleanup()
        raise
    return runner
