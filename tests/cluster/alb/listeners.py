"""The ports at which the load balancer listens: open while an Ingress wants them, closed to everybody otherwise."""

import logging
import ssl
from dataclasses import dataclass

from aiohttp import web
from aiohttp.http import HttpProcessingError
from aiohttp.typedefs import Handler, Middleware

from tests.cluster.alb import heads
from tests.cluster.alb.accesslog import AccessLog
from tests.cluster.alb.balancer import Balancer
from tests.cluster.alb.clock import Clock
from tests.cluster.alb.model import Listener
from tests.cluster.alb.proxy import FROM_TARGET, Proxy

logger = logging.getLogger(__name__)

_http = logging.getLogger(f"{__name__}.http")


def _is_a_fault(record: logging.LogRecord) -> bool:
    """Answer whether it is ours. Of clients that send nonsense aiohttp need not speak: they are in the access log."""
    return record.exc_info is not None and not isinstance(record.exc_info[1], HttpProcessingError)


_http.addFilter(_is_a_fault)


@dataclass
class Place:
    """Where one listener is to be had.

    Args:
        port: 0 takes a free one, and keeps it.
    """

    host: str
    port: int
    tls: ssl.SSLContext | None = None


class Listeners:
    """Opens and closes them.

    Args:
        places: by protocol, HTTP and HTTPS; one that has no place here is not opened.
    """

    def __init__(self, places: dict[str, Place], balancer: Balancer, log: AccessLog, clock: Clock) -> None:
        self.places = places
        self._balancer = balancer
        self._log = log
        self._clock = clock
        self._open: dict[str, web.AppRunner] = {}

    @property
    def open(self) -> dict[str, int]:
        """The ports that are open now, by protocol."""
        return {protocol: self.places[protocol].port for protocol in self._open}

    async def follow(self) -> None:
        """Open what the model wants, close what it does not."""
        wanted = self._balancer.model.listeners
        for protocol in [each for each in self._open if each not in wanted]:
            await self._open.pop(protocol).cleanup()
        for protocol, listener in wanted.items():
            place = self.places.get(protocol)
            if place and protocol not in self._open:
                self._open[protocol] = await self._opened(listener, place)

    async def close(self) -> None:
        """Close all of them."""
        while self._open:
            await self._open.popitem()[1].cleanup()

    async def _opened(self, listener: Listener, place: Place) -> web.AppRunner:
        proxy = Proxy(listener.protocol, self._balancer, self._log, self._clock)

        @web.middleware
        async def everything(request: web.Request, handler: Handler) -> web.StreamResponse:
            del handler
            return await proxy.answer(request)

        # No path is routed here: the middleware has all of them, also those that are no paths.
        middlewares: list[Middleware] = [everything]
        app = web.Application(middlewares=middlewares)
        app.on_response_prepare.append(_only_what_the_target_said)
        runner = web.AppRunner(
            app,
            handle_signals=False,
            handler_cancellation=True,
            access_log=_http,
            access_log_class=self._log.of_malformed(),
            logger=_http,
            auto_decompress=False,
            keepalive_timeout=listener.settings.idle_timeout,
            max_line_size=heads.LONGEST_LINE,
            max_field_size=heads.LONGEST_LINE,
            max_headers=heads.MOST_FIELDS,
            shutdown_timeout=0.1,
        )
        await runner.setup()
        try:
            await web.TCPSite(runner, place.host, place.port, ssl_context=place.tls).start()
        except BaseException:
            await runner.cleanup()
            raise
        place.port = runner.addresses[0][1]
        logger.info("%s is open at %s:%d", listener.protocol, place.host, place.port)
        return runner


async def _only_what_the_target_said(_request: web.Request, response: web.StreamResponse) -> None:
    """Take back what aiohttp adds to answers by itself."""
    if FROM_TARGET in response:
        said = response[FROM_TARGET]
        for name in {"Server", "Content-Type"} - said:
            response.headers.popall(name, None)
