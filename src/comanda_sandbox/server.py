"""The sandbox as an HTTP server."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from aiohttp import web

from comanda_sandbox import api, operator_api, page
from comanda_sandbox.answering import SANDBOX, problem, refusal
from comanda_sandbox.errors import RefusedError
from comanda_sandbox.sandbox import Sandbox, Settings

# A payment's request has less than 2 KB.
_LARGEST_BODY = 64 * 1024


def application(sandbox: Sandbox) -> web.Application:
    """The routes over a sandbox."""
    app = web.Application(middlewares=[_errors], client_max_size=_LARGEST_BODY)
    app[SANDBOX] = sandbox
    app.add_routes([*api.routes(), *operator_api.routes(), *page.routes()])
    return app


@asynccontextmanager
async def serving(settings: Settings, *, host: str, port: int) -> AsyncIterator[tuple[Sandbox, str]]:
    """Serve a sandbox until the block ends.

    Args:
        port: 0 takes a free one.

    Yields:
        The sandbox and its URL, without a trailing slash.

    Raises:
        UnusableLedgerError: the ledger cannot be opened.
        OSError: the address cannot be listened at.
    """
    sandbox = Sandbox(settings)
    # No access log: it would write the references of orders, and nothing here writes the token.
    runner = web.AppRunner(application(sandbox), access_log=None, shutdown_timeout=2)
    try:
        await runner.setup()
        site = web.TCPSite(runner, host, port)
        await site.start()
        sandbox.start()
        bound = runner.addresses[0][1]
        yield sandbox, f"http://{f'[{host}]' if ':' in host else host}:{bound}"
    finally:
        # Whatever a fault holds back is let go, so that the server can end.
        sandbox.stopping.set()
        try:
            await runner.cleanup()
        finally:
            await sandbox.stop()


@web.middleware
async def _errors(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    try:
        return await handler(request)
    except web.HTTPException as error:
        if error.status < 400:
            raise
        answer = (
            refusal(RefusedError(error.status, error.reason))
            if request.path.startswith("/v1/")
            else problem(error.status, error.reason)
        )
        if "Allow" in error.headers:
            answer.headers["Allow"] = error.headers["Allow"]
        return answer
