"""A cable between Comanda and its database that a test can cut, and mend again."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit


class Cable:
    """A TCP proxy on loopback.

    `cut` ends every connection and refuses new ones; `freeze` leaves them open and says nothing more, as a lost node
    does; `mend` undoes both.
    """

    def __init__(self, database_url: str) -> None:
        self._parts = urlsplit(database_url)
        self._server: asyncio.Server | None = None
        self._port = 0
        self._writers: set[asyncio.StreamWriter] = set()
        self._flowing = asyncio.Event()
        self._flowing.set()

    @property
    def url(self) -> str:
        """The database's URL, through the cable."""
        user = f"{self._parts.username}:{self._parts.password}"
        return f"postgresql://{user}@127.0.0.1:{self._port}{self._parts.path}?sslmode=disable"

    async def open(self) -> None:
        self._server = await asyncio.start_server(self._connect, "127.0.0.1", self._port)
        self._port = self._server.sockets[0].getsockname()[1]

    async def cut(self) -> None:
        assert self._server is not None
        self._server.close()
        for writer in list(self._writers):
            writer.transport.abort()
        # aborted transports close in the loop's next turn
        await asyncio.sleep(0)

    def freeze(self) -> None:
        self._flowing.clear()

    async def mend(self) -> None:
        self._flowing.set()
        if self._server is None or not self._server.is_serving():
            await self.open()

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert self._parts.hostname
        there, back = await asyncio.open_connection(self._parts.hostname, self._parts.port)
        self._writers |= {writer, back}
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._carry(reader, back))
                group.create_task(self._carry(there, writer))
        finally:
            self._writers -= {writer, back}

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                await self._flowing.wait()
                writer.write(data)
                await writer.drain()
        writer.close()


@asynccontextmanager
async def cable_to(database_url: str) -> AsyncIterator[Cable]:
    """Lay a cable until the block ends."""
    cable = Cable(database_url)
    await cable.open()
    try:
        yield cable
    finally:
        await cable.mend()
        await cable.cut()
