"""A small load generator: so many connections, each sending its next request as soon as it has its answer."""

import asyncio
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import cast


@dataclass
class Answer:
    """The last answer of a connection."""

    status: int
    head: bytes
    body: bytes


@dataclass
class Outcome:
    """What a run of requests took."""

    latencies: list[float]
    """Seconds from sending a request to the end of its answer, sorted."""
    seconds: float
    """The whole run."""
    last: Answer

    def percentile(self, percent: float) -> float:
        """Answer a percentile of the latencies, in milliseconds."""
        return self.latencies[min(len(self.latencies) - 1, int(len(self.latencies) * percent / 100))] * 1000


class Connection(asyncio.Protocol):
    """One HTTP/1.1 connection that is kept alive."""

    def __init__(self) -> None:
        self._buffer = b""
        self._needed = 0
        self._head = b""
        self._answer: asyncio.Future[Answer] | None = None
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(exc or ConnectionError("the server closed the connection"))

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if not self._needed:
            end = self._buffer.find(b"\r\n\r\n")
            if end < 0:
                return
            self._head = self._buffer[:end].lower()
            self._needed = end + 4 + _length(self._head)
        if len(self._buffer) >= self._needed and self._answer is not None and not self._answer.done():
            body = self._buffer[len(self._head) + 4 : self._needed]
            self._buffer, self._needed = self._buffer[self._needed :], 0
            self._answer.set_result(Answer(int(self._head[9:12]), self._head, body))

    async def ask(self, request: bytes) -> Answer:
        """Send a whole request and wait for its whole answer."""
        assert self._transport is not None
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        return await self._answer

    def close(self) -> None:
        """Close the connection."""
        if self._transport is not None:
            self._transport.close()


def _length(head: bytes) -> int:
    """Read Content-Length; an answer that has no body (304) may come without one."""
    assert b"transfer-encoding" not in head, "chunked answers are not read here"
    begin = head.find(b"\r\ncontent-length:")
    return 0 if begin < 0 else int(head[begin + 17 :].split(b"\r\n", 1)[0])


async def connect(port: int) -> Connection:
    """Open a connection to a server on this machine."""
    _, connection = await asyncio.get_running_loop().create_connection(Connection, "127.0.0.1", port)
    return connection


async def run(
    port: int, requests: Sequence[bytes], *, connections: int, status: int, timeout_seconds: float = 60
) -> Outcome:
    """Send all requests, each once, over so many connections.

    Raises:
        AssertionError: an answer had another status.
        TimeoutError: it took longer than `timeout_seconds`.
    """
    opened = [await connect(port) for _ in range(connections)]
    latencies: list[float] = []
    try:
        async with asyncio.timeout(timeout_seconds):
            rest = iter(requests)
            began = time.perf_counter()
            lasts = await asyncio.gather(*(_drive(connection, rest, status, latencies) for connection in opened))
            seconds = time.perf_counter() - began
    finally:
        for connection in opened:
            connection.close()
    return Outcome(sorted(latencies), seconds, next(last for last in lasts if last is not None))


async def _drive(
    connection: Connection, requests: Iterator[bytes], status: int, latencies: list[float]
) -> Answer | None:
    answer = None
    for request in requests:
        began = time.perf_counter()
        answer = await connection.ask(request)
        latencies.append(time.perf_counter() - began)
        assert answer.status == status, f"{answer.status} instead of {status}: {answer.body[:500]!r}"
    return answer


def request(method: str, path: str, *, headers: dict[str, str] | None = None, body: bytes = b"") -> bytes:
    """Build the bytes of a request."""
    lines = [f"{method} {path} HTTP/1.1", "Host: 127.0.0.1", *(f"{k}: {v}" for k, v in (headers or {}).items())]
    if body:
        lines += ["Content-Type: application/json", f"Content-Length: {len(body)}"]
    return "\r\n".join([*lines, "", ""]).encode() + body
