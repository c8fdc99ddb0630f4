"""A request's way: refused, answered, redirected, or taken to one target and no other."""

import asyncio
import logging
import re
from collections.abc import AsyncIterator, Awaitable
from http import HTTPStatus
from weakref import WeakKeyDictionary

import aiohttp
from aiohttp import web
from multidict import CIMultiDict
from yarl import URL

from tests.cluster.alb import heads
from tests.cluster.alb.accesslog import LOGGED, AccessLog, Entry
from tests.cluster.alb.balancer import Balancer
from tests.cluster.alb.clock import Clock
from tests.cluster.alb.flights import Cut, Flight
from tests.cluster.alb.model import Listener
from tests.cluster.alb.pool import LONGEST_HEAD, TargetClosed
from tests.cluster.alb.rules import Fixed, Forward, Redirect, choose
from tests.cluster.alb.targets import Target, TargetGroup

logger = logging.getLogger(__name__)

SERVER = "awselb/2.0"
FROM_TARGET = web.ResponseKey("from-target", set[str])
"""The names of the fields that a target's answer had."""
OWN_PHRASES = {460: "Client Closed Request", 463: "Too Many Addresses"}


class ClientGone(Exception):
    """The client's connection ended while it was being answered."""


class Proxy:
    """Answers the requests of one listener.

    Args:
        protocol: HTTP or HTTPS; which listener of the balancer it is, as that stands at the time.
    """

    def __init__(self, protocol: str, balancer: Balancer, log: AccessLog, clock: Clock) -> None:
        self._protocol = protocol
        self._balancer = balancer
        self._log = log
        self._clock = clock
        self._since: WeakKeyDictionary[asyncio.BaseTransport, float] = WeakKeyDictionary()

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """Answer a request and write it into the log."""
        request[LOGGED] = True
        entry = self._entry(request)
        try:
            response = await self._answer(request, entry)
            self._close_old(request, response)
            if isinstance(response, web.Response):
                entry.sent = response.content_length or 0
        except asyncio.CancelledError:
            # The client went, or the listener is being closed.
            gone = _is_gone(request)
            entry.status = entry.status or (460 if gone else 502)
            entry.reason = "client-closed" if gone else "listener-closed"
            raise
        except ClientGone:
            entry.status = entry.status or 460
            entry.reason = "client-closed"
            return web.Response()
        except Exception:
            # A fault of the stand-in's own must not look like anything else.
            logger.exception("a fault of the load balancer's stand-in")
            entry.status, entry.reason = 500, "fault-of-the-stand-in"
            if request.writer.output_size and request.transport:
                request.transport.close()
            return self._own(500)
        finally:
            self._log.write(entry)
        return response

    def _entry(self, request: web.Request) -> Entry:
        tls = request.transport.get_extra_info("ssl_object") if request.transport else None
        address, port = heads.client(request)
        return Entry(
            self._log.utc(),
            protocol=self._protocol.lower(),
            client=f"{address}:{port}",
            received=len(request.method) + len(request.raw_path) + 12 + heads.field_bytes(request.raw_headers),
            method=request.method,
            host=_host(request),
            path=heads.path_and_query(request),
            version=f"HTTP/{request.version.major}.{request.version.minor}",
            agent=request.headers.get("User-Agent", "-"),
            cipher=tls.cipher()[0] if tls else "-",
            tls=tls.version() if tls else "-",
        )

    async def _answer(self, request: web.Request, entry: Entry) -> web.StreamResponse:
        listener = self._balancer.model.listeners.get(self._protocol)
        if listener is None:
            return self._said(entry, 503, "no-listener")
        entry.port, entry.balancer = listener.port, self._balancer.name
        if status := heads.refusal(request):
            return self._said(entry, status, "refused")
        path = heads.path_and_query(request).partition("?")[0]
        action, priority = choose(listener.rules, _host(request), path, listener.default)
        entry.priority = str(priority)
        entry.trace = heads.trace(request, entry.began.timestamp())
        match action:
            case Fixed():
                entry.action, entry.status = "fixed-response", action.status
                headers = {"Server": SERVER, "Content-Type": "text/plain; charset=utf-8"}
                return web.Response(status=action.status, body=action.body.encode(), headers=headers)
            case Redirect():
                entry.action, entry.status = "redirect", action.status
                entry.redirect = f"https://{_host(request)}:{action.port}{heads.path_and_query(request)}"
                return self._own(action.status, {"Location": entry.redirect})
            case Forward():
                entry.action = "forward"
                return await self._forward(request, entry, listener, self._balancer.groups.get(action.group))

    async def _forward(
        self, request: web.Request, entry: Entry, listener: Listener, group: TargetGroup | None
    ) -> web.StreamResponse:
        target = group.choose() if group else None
        if group is None or target is None:
            return self._said(entry, 503, "no-target")
        entry.group, entry.target = group.spec.name, target.name
        flight = Flight(self._clock, listener.settings.idle_timeout)
        target.flights.add(flight)
        target.requests += 1
        started = web.StreamResponse()
        try:
            async with flight.bounded():
                return await self._exchange(request, entry, listener, group, target, flight, started)
        except Cut as cut:
            return self._broken(request, entry, started, cut)
        except aiohttp.ClientConnectorError:
            return self._broken(request, entry, started, Cut(502, "connection-refused"))
        except (TargetClosed, aiohttp.ClientPayloadError, aiohttp.ClientConnectionError):
            if _is_gone(request):
                raise ClientGone from None
            return self._broken(request, entry, started, Cut(502, "target-closed"))
        except aiohttp.ClientError:
            return self._broken(request, entry, started, Cut(502, "malformed-answer"))
        finally:
            target.flights.discard(flight)

    async def _exchange(
        self,
        request: web.Request,
        entry: Entry,
        listener: Listener,
        group: TargetGroup,
        target: Target,
        flight: Flight,
        response: web.StreamResponse,
    ) -> web.StreamResponse:
        began = self._clock.now()
        scheme = group.spec.settings.protocol.lower()
        host = f"[{target.address}]" if ":" in target.address else target.address
        async with target.pool.open(listener.settings.idle_timeout).request(
            request.method,
            URL(f"{scheme}://{host}:{target.port}{heads.path_and_query(request)}", encoded=True),
            headers=heads.to_target(request, listener, entry.trace),
            skip_auto_headers=("Accept", "Accept-Encoding", "Content-Type", "User-Agent"),
            data=_upload(request, entry, flight) if request.body_exists else None,
            allow_redirects=False,
            trace_request_ctx=flight,
        ) as answer:
            head_at = self._clock.now()
            sent_at = flight.connected_at or began
            entry.request_time, entry.target_time = sent_at - began, head_at - sent_at
            entry.target_status = answer.status
            if heads.field_bytes(answer.raw_headers) > LONGEST_HEAD:
                raise Cut(502, "answer-head-too-long")
            flight.touch()
            response.set_status(answer.status, answer.reason)
            response.headers.extend(heads.to_client(answer.headers))
            response[FROM_TARGET] = {name.title() for name in answer.headers}
            self._close_old(request, response)
            await _to_client(response.prepare(request))
            entry.status, entry.response_time = answer.status, self._clock.now() - head_at
            entry.sent = len(answer.reason or "") + 15 + heads.field_bytes(answer.raw_headers)
            async for chunk in answer.content.iter_any():
                flight.touch()
                await _to_client(response.write(chunk))
                entry.sent += len(chunk)
                flight.touch()
            await _to_client(response.write_eof())
        return response

    def _broken(self, request: web.Request, entry: Entry, response: web.StreamResponse, cut: Cut) -> web.StreamResponse:
        """Answer a request that its target did not answer to the end: with an error, or with the end of the connection.

        Whoever counts faults in the log is to find this one, though the client got another status with half a body.
        """
        entry.status, entry.reason = cut.status, cut.reason
        if not response.prepared:
            return self._own(cut.status)
        response.force_close()
        if request.transport:
            request.transport.close()
        return response

    def _said(self, entry: Entry, status: int, reason: str) -> web.Response:
        entry.status, entry.reason = status, reason
        return self._own(status)

    def _own(self, status: int, headers: dict[str, str] | None = None) -> web.Response:
        """Answer in the load balancer's own name."""
        phrase = OWN_PHRASES.get(status) or HTTPStatus(status).phrase
        title = f"{status} {phrase}"
        body = f"<html>\r\n<head><title>{title}</title></head>\r\n<body>\r\n<center><h1>{title}</h1></center>\r\n"
        fields = CIMultiDict({"Server": SERVER, "Content-Type": "text/html", **(headers or {})})
        return web.Response(status=status, reason=phrase, text=f"{body}</body>\r\n</html>\r\n", headers=fields)

    def _close_old(self, request: web.Request, response: web.StreamResponse) -> None:
        """Let a client's connection end with this answer, if it is as old as client_keep_alive allows."""
        listener = self._balancer.model.listeners.get(self._protocol)
        if request.transport is None or listener is None or response.prepared:
            return
        since = self._since.setdefault(request.transport, self._clock.now())
        if self._clock.now() - since >= listener.settings.keep_alive:
            response.force_close()


async def _upload(request: web.Request, entry: Entry, flight: Flight) -> AsyncIterator[bytes]:
    """Answer a client's body, as it comes in."""
    flight.uploading = True
    try:
        async for chunk in request.content.iter_any():
            flight.touch()
            entry.received += len(chunk)
            # From here on it is the target that is waited for, until it has taken this.
            flight.uploading = False
            yield chunk
            flight.uploading = True
            flight.touch()
    finally:
        flight.uploading = False


async def _to_client(writing: Awaitable[object]) -> None:
    """Write to the client.

    Raises:
        ClientGone: it is not there any more.
    """
    try:
        await writing
    except ConnectionError as error:
        raise ClientGone from error


def _is_gone(request: web.Request) -> bool:
    return request.transport is None or request.transport.is_closing()


def _host(request: web.Request) -> str:
    """Answer the host that was asked for, without its port."""
    return re.sub(r":\d*$", "", request.headers.get("Host", "-"))
