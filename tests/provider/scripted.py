"""A server that answers exactly the bytes it was told to, for what no honest server would say."""

import asyncio
from dataclasses import dataclass, field
from types import TracebackType

HANG = b""
"""An answer that never comes: the connection stays open and silent."""


@dataclass(frozen=True)
class Asked:
    """One request as it came over the wire; header names in lower case."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Answer:
    """Bytes to send, after which the connection stays open, or is closed or reset."""

    raw: bytes
    then: str = "keep"  # keep, close, reset or hang


@dataclass
class ScriptedServer:
    """Plays `answers` one after another, the last one for ever, and keeps what it was asked in `asked`."""

    answers: list[Answer] = field(default_factory=list)
    asked: list[Asked] = field(default_factory=list)
    connections: int = 0

    def __post_init__(self) -> None:
        self.arrived = asyncio.Event()
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        host, port = self._server.sockets[0].getsockname()[:2]
        return f"http://{host}:{port}"

    def will_answer(
        self, status: int, body: bytes | str = b"", headers: dict[str, str] | None = None, then: str = "keep"
    ) -> None:
        """Add an answer of the usual form, its length and type filled in unless given."""
        content = body.encode() if isinstance(body, str) else body
        told = {"Content-Type": "application/json", "Content-Length": str(len(content)), **(headers or {})}
        lines = "".join(f"{name}: {value}\r\n" for name, value in told.items())
        self.answers.append(Answer(f"HTTP/1.1 {status} X\r\n{lines}\r\n".encode() + content, then))

    def will_send(self, raw: bytes, then: str = "keep") -> None:
        """Add raw bytes as an answer."""
        self.answers.append(Answer(raw, then))

    async def __aenter__(self) -> "ScriptedServer":
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        task = asyncio.get_running_loop().create_task(self._serve(reader, writer))
        self._tasks.add(task)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while (asked := await _read_request(reader)) is not None:
                self.asked.append(asked)
                answer = self.answers[min(len(self.asked), len(self.answers)) - 1]
                self.arrived.set()
                writer.write(answer.raw)
                if answer.then == "reset":
                    writer.transport.abort()
                    return
                await writer.drain()
                if answer.then == "hang":
                    await asyncio.Event().wait()
                if answer.then == "close":
                    return
        except ConnectionError:
            return
        finally:
            writer.close()


async def _read_request(reader: asyncio.StreamReader) -> Asked | None:
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
    except asyncio.IncompleteReadError:
        return None
    first, *lines = head.removesuffix("\r\n\r\n").split("\r\n")
    method, target, _ = first.split(" ")
    pairs = [line.split(": ", 1) for line in lines]
    headers = {name.lower(): value for name, value in pairs}
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    return Asked(method, target, headers, body)
