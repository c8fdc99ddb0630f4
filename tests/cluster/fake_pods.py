"""Pods for the load balancer's tests: real HTTP servers on loopback addresses, which misbehave as they are told."""

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field


@dataclass
class Asked:
    """A request as it came over the wire."""

    line: str
    fields: list[tuple[str, str]]
    body: bytes = b""

    @property
    def path(self) -> str:
        """What was asked for."""
        return self.line.split(" ")[1]

    def all(self, name: str) -> list[str]:
        """Answer the values of a field, however its name is written."""
        return [value for each, value in self.fields if each.lower() == name.lower()]


Serve = Callable[[Asked, asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def plain(text: str, status: str = "200 OK", more: str = "") -> bytes:
    """Answer an answer."""
    return (
        f"HTTP/1.1 {status}\r\nContent-Type: text/plain\r\nContent-Length: {len(text)}\r\n{more}\r\n{text}"
    ).encode()


@dataclass
class FakePod:
    """One pod's server.

    Args:
        healthy: what its /readyz says. serve: answers the rest; the default says its name. tls: for HTTPS.
    """

    name: str
    address: str
    port: int = 0
    healthy: bool = True
    serve: Serve | None = None
    tls: ssl.SSLContext | None = None
    asked: list[Asked] = field(default_factory=list)
    checks: list[Asked] = field(default_factory=list)
    connections: int = 0
    arrived: asyncio.Condition = field(default_factory=asyncio.Condition)
    _server: asyncio.Server | None = None
    _open: set[asyncio.StreamWriter] = field(default_factory=set)

    async def start(self) -> None:
        """Listen."""
        self._server = await asyncio.start_server(self._connected, self.address, self.port, ssl=self.tls)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """End at once: every connection is reset, new ones are refused."""
        if self._server:
            self._server.close()
            self._server = None
        for writer in list(self._open):
            writer.transport.abort()
        await asyncio.sleep(0)

    async def until_asked(self, times: int = 1) -> None:
        """Wait until so many requests have come."""
        async with asyncio.timeout(5), self.arrived:
            await self.arrived.wait_for(lambda: len(self.asked) >= times)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._open.add(writer)
        try:
            with suppress(ConnectionError, asyncio.IncompleteReadError):
                while asked := await _read_head(reader):
                    await self._answer(asked, reader, writer)
        finally:
            self._open.discard(writer)
            writer.close()

    async def _answer(self, asked: Asked, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if asked.path.startswith("/readyz"):
            self.checks.append(asked)
            writer.write(plain("ready" if self.healthy else "no", "200 OK" if self.healthy else "503 No"))
        else:
            async with self.arrived:
                self.asked.append(asked)
                self.arrived.notify_all()
            if self.serve:
                await self.serve(asked, reader, writer)
            else:
                asked.body = await read_body(asked, reader)
                writer.write(plain(self.name))
        await writer.drain()


async def _read_head(reader: asyncio.StreamReader) -> Asked | None:
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        return None
    line, *lines = head.decode("latin-1").removesuffix("\r\n\r\n").split("\r\n")
    return Asked(line, [(name, value.strip()) for name, _, value in (each.partition(":") for each in lines)])


async def read_body(asked: Asked, reader: asyncio.StreamReader) -> bytes:
    """Answer a request's body."""
    if length := asked.all("Content-Length"):
        return await reader.readexactly(int(length[0]))
    body = b""
    if asked.all("Transfer-Encoding"):
        while chunk := await read_chunk(reader):
            body += chunk
    return body


async def read_chunk(reader: asyncio.StreamReader) -> bytes:
    """Answer the next chunk, the last one being empty."""
    size = int(await reader.readline(), 16)
    return (await reader.readexactly(size + 2))[:-2]
