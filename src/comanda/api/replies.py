"""How the API answers: JSON that is bytes already, and event streams."""

from collections.abc import AsyncGenerator
from typing import Any

import msgspec
from litestar import MediaType, Response
from litestar.background_tasks import BackgroundTask
from litestar.openapi.datastructures import ResponseSpec
from litestar.response import Stream
from litestar.types import Receive, Scope, Send

NO_STORE = {"cache-control": "no-store"}


class StreamEvent(msgspec.Struct):
    """One server-sent event: what it is about, its id for `Last-Event-ID`, and a JSON document."""

    id: str
    event: str
    data: str


class ReadyReply(Response[bytes]):
    """JSON that is bytes already, as its own ASGI application: nothing is left for the framework to build."""

    def __init__(self, body: bytes, status: int, headers: dict[str, str]) -> None:
        # Set rather than built by the framework's own, which copies and checks: some microseconds of every answer.
        self.content = body
        self.status_code = status
        self.headers = headers
        self.media_type = MediaType.JSON
        self.background = None
        self.cookies = []
        self.encoding = "utf-8"
        self.response_type_encoders = {}

    def to_asgi_response(self, *_: Any, **__: Any) -> Any:
        """Answer what sends it."""
        return self._send

    async def _send(self, _scope: Scope, _receive: Receive, send: Send) -> None:
        head = []
        if self.content:
            head = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(self.content))]
        head += [(name.encode(), value.encode()) for name, value in self.headers.items()]
        await send({"type": "http.response.start", "status": self.status_code or 200, "headers": head})
        await send({"type": "http.response.body", "body": self.content, "more_body": False})


def json_reply(body: bytes, *, status: int = 200, headers: dict[str, str] | None = None) -> Response[bytes]:
    """Answer with JSON that is built already. An order is for nobody's cache."""
    return ReadyReply(body, status, headers or NO_STORE)


def not_modified(headers: dict[str, str]) -> Response[bytes]:
    """Answer that what the caller has is what there is."""
    return ReadyReply(b"", 304, headers)


def event_stream(events: AsyncGenerator[bytes, None]) -> Stream:
    """Answer with server-sent events, past every buffer on the way.

    `events` is closed when the answer ends: a client that left while it was being sent to would else be listening
    until the garbage collector comes by.
    """

    async def close() -> None:
        await events.aclose()

    return Stream(
        events,
        background=BackgroundTask(close),
        media_type="text/event-stream",
        headers={"cache-control": "no-store", "x-accel-buffering": "no"},
    )


def documented(status: int, data: Any, description: str) -> dict[int, ResponseSpec]:
    """Document the successful answer of a route whose bytes are built elsewhere, for OpenAPI."""
    return {status: ResponseSpec(data_container=data, description=description, generate_examples=False)}


def documented_stream(description: str) -> dict[int, ResponseSpec]:
    """Document an event stream."""
    return {
        200: ResponseSpec(
            data_container=StreamEvent,
            description=description,
            media_type="text/event-stream",
            generate_examples=False,
        )
    }
