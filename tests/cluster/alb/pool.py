"""Connections to one target, kept alive; and what is said on them is said once."""

import types
from typing import Any

import aiohttp

from tests.cluster.alb.flights import Flight

LONGEST_LINE = 16 * 1024
LONGEST_HEAD = 32 * 1024
MOST_FIELDS = 1000


class TargetClosed(aiohttp.ClientError):
    """The target ended the connection, or reset it, with a request outstanding.

    aiohttp's own errors for it make its client send idempotent requests a second time; this one does not.
    """


async def once(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
    """Send a request, once."""
    try:
        return await handler(request)
    except aiohttp.ClientConnectorError:
        raise
    except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as error:
        raise TargetClosed(str(error)) from error


class Pool:
    """The connections to one target. Opened at the first request."""

    def __init__(self) -> None:
        self._session: aiohttp.ClientSession | None = None

    def open(self, idle: float) -> aiohttp.ClientSession:
        """Answer the session whose connections are kept for so many idle seconds."""
        if self._session is None:
            traces = aiohttp.TraceConfig()
            traces.on_connection_create_end.append(_connected)
            traces.on_connection_reuseconn.append(_connected)
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=idle, ssl=False),
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=None),
                max_line_size=LONGEST_LINE,
                max_field_size=LONGEST_LINE,
                max_headers=MOST_FIELDS,
                middlewares=(once,),
                trace_configs=[traces],
            )
        return self._session

    async def close(self) -> None:
        """End all connections."""
        if self._session:
            await self._session.close()
            self._session = None


async def _connected(_session: aiohttp.ClientSession, context: types.SimpleNamespace, _params: Any) -> None:
    flight: Flight = context.trace_request_ctx
    flight.connected()
