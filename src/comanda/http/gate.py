"""What every request passes first and last: id, limits on time and size, metrics, one line of log, and the drain.

A plain ASGI application around the framework's, so that it also sees what the framework refuses.
"""

import asyncio
import logging
import random
import re
import time
from datetime import UTC, datetime
from typing import Any, TypeAlias

from litestar.enums import ScopeType
from litestar.types import ASGIApp, Message, Receive, Scope, Send

from comanda.errors import TooSlow
from comanda.http import logs, metrics
from comanda.http.problems import PROBLEM_JSON, problem_bytes
from comanda.settings import Settings

logger = logging.getLogger("comanda.access")

Headers: TypeAlias = list[tuple[bytes, bytes]]

# Ids tell requests apart and are no secret; the system's dice (`uuid4`) are a call into the kernel for each.
_dice = random.Random()  # noqa: S311
_GOOD_ID = re.compile(rb"[A-Za-z0-9._-]{8,64}")
_WITH_BODY = frozenset({"POST", "PUT", "PATCH", "DELETE"})
_SECURITY: Headers = [
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-frame-options", b"DENY"),
]


class Gate:
    """The outermost ASGI application of the public port.

    Args:
        app: the framework's application.
        settings: limits, in bytes and milliseconds.
    """

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self._app = app
        self._settings = settings
        self._in_flight = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self.draining = False

    async def wait_idle(self, seconds: float) -> bool:
        """Wait until no request is in flight, at most so long; answer whether there is none."""
        try:
            async with asyncio.timeout(seconds):
                await self._idle.wait()
        except TimeoutError:
            return False
        return True

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request; lifespan and anything else is not ours."""
        if scope["type"] != ScopeType.HTTP:
            return
        exchange = _Exchange(self, scope, receive, send, self._settings)
        self._in_flight += 1
        self._idle.clear()
        try:
            overloaded = self._in_flight > self._settings.max_requests_in_flight
            await exchange.run(None if overloaded else self._app)
        finally:
            self._in_flight -= 1
            if self._in_flight == 0:
                self._idle.set()


class _Exchange:
    """One request and its answer."""

    def __init__(self, gate: Gate, scope: Any, receive: Receive, send: Send, settings: Settings) -> None:
        self._gate = gate
        self._scope = scope
        self._receive = receive
        self._send = send
        self._settings = settings
        self._began = time.perf_counter()
        self._request_bytes = 0
        self._response_bytes = 0
        self._status = 0
        self._answered = self._began
        self._reading = False
        self._method = scope["method"]
        self._has_body = self._method in _WITH_BODY
        self._streaming = scope["path"].endswith("/events")
        given = next((value for name, value in scope["headers"] if name == b"x-request-id"), b"")
        self._id = given.decode() if _GOOD_ID.fullmatch(given) else f"{_dice.getrandbits(128):032x}"
        scope["state"] = {"request_id": self._id}

    async def run(self, app: ASGIApp | None) -> None:
        """Let the framework answer, or refuse if there is None."""
        token = logs.request_id.set(self._id)
        if self._method == "HEAD" and not self._streaming:
            # The same answer as to GET; the server leaves its body out.
            self._scope["method"] = "GET"
        try:
            if app is None:
                await self.refuse(503, "overloaded", "too many requests at once; try again in a moment")
            elif self._streaming:
                await app(self._scope, self.receive, self.send)
            else:
                async with asyncio.timeout(self._settings.request_timeout_ms / 1000):
                    await app(self._scope, self.receive, self.send)
        except TimeoutError:
            if self._reading:
                # It came, but drop by drop.
                await self.refuse(408, TooSlow.code, "the body did not come in time")
            else:
                await self.refuse(503, "timed_out", "this took too long here; nothing is lost, ask again")
        finally:
            self._finish()
            logs.request_id.reset(token)

    async def receive(self) -> Any:
        if not self._has_body:
            return await self._receive()
        self._reading = True
        try:
            async with asyncio.timeout(self._settings.body_timeout_ms / 1000):
                message = await self._receive()
        except TimeoutError:
            raise TooSlow("the body did not come in time") from None
        self._reading = False
        if message["type"] == "http.disconnect":
            # Nobody hears this; it ends the request as the client's doing, not as a fault of ours.
            raise TooSlow("the client left before its body was there")
        if message["type"] == "http.request":
            self._request_bytes += len(message.get("body", b""))
            if not message.get("more_body"):
                # From here on, waiting means waiting for the client to leave, which has no time limit.
                self._has_body = False
        return message

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._status = message["status"]
            self._answered = time.perf_counter()
            headers: Headers = [*message["headers"], (b"x-request-id", self._id.encode()), *_SECURITY]
            if self._gate.draining or self._status in {408, 413}:
                # To 408 and 413 because the rest of the body may still come, and is not the next request.
                headers.append((b"connection", b"close"))
            message["headers"] = headers
        elif message["type"] == "http.response.body":
            self._response_bytes += len(message.get("body", b""))
        await self._send(message)

    async def refuse(self, status: int, code: str, detail: str) -> None:
        if self._status:
            # The head of another answer is out already: all that is left is to end it.
            await self._send({"type": "http.response.body", "body": b"", "more_body": False})
            return
        body = problem_bytes(status, code, detail)
        headers = [(b"content-type", PROBLEM_JSON.encode()), (b"content-length", str(len(body)).encode())]
        if status == 503:
            headers.append((b"retry-after", b"2"))
        await self.send({"type": "http.response.start", "status": status, "headers": headers})
        await self.send({"type": "http.response.body", "body": body, "more_body": False})

    def _finish(self) -> None:
        # A stream lasts as long as somebody looks; what can be fast or slow about it is how it begins.
        ended = self._answered if self._streaming else time.perf_counter()
        seconds = ended - self._began
        route = self._scope.get("path_template") or "unmatched"
        # A client that left before an answer is counted as 499 would be by nginx: its own doing.
        status = self._status or 499
        metrics.observe(
            route,
            self._method,
            status,
            seconds=seconds,
            request_bytes=self._request_bytes,
            response_bytes=self._response_bytes,
        )
        if logger.isEnabledFor(logging.INFO):
            logs.write_access(
                logs.AccessLine(
                    at=datetime.now(UTC),
                    request_id=self._id,
                    method=self._method if self._method in metrics.METHODS else "OTHER",
                    route=route,
                    status=status,
                    milliseconds=round(seconds * 1000, 1),
                )
            )
