"""A client of the event streams, as browsers are one."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp

from comanda.staff.keys import Role
from tests.running_diner import Diner


@dataclass
class Event:
    """One server-sent event, its data decoded."""

    id: str
    name: str
    data: Any


class Stream:
    """An open stream."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self.response = response

    async def next(self, within: float = 5) -> Event:
        """Wait for the next event; comments and `retry` are passed over."""
        async with asyncio.timeout(within):
            fields: dict[str, str] = {}
            while line := await self.response.content.readline():
                name, _, value = line.decode().rstrip("\n").partition(":")
                if name:
                    fields[name] = value.removeprefix(" ")
                elif line == b"\n" and "data" in fields:
                    return Event(fields["id"], fields["event"], json.loads(fields["data"]))
        raise EOFError("the stream ended")

    async def until(self, status: str) -> Event:
        """Wait for the event of an order in a status; events of other statuses before it are passed over."""
        while True:
            event = await self.next()
            if event.data["status"] == status:
                return event

    async def silent(self, seconds: float = 0.2) -> bool:
        """Whether nothing comes for a while."""
        try:
            await self.next(seconds)
        except TimeoutError:
            return True
        return False


@asynccontextmanager
async def listening(
    diner: Diner,
    path: str,
    *,
    role: Role | None = None,
    last_event_id: str | None = None,
    session: aiohttp.ClientSession | None = None,
) -> AsyncIterator[Stream]:
    """Open a stream and close it at the end of the block."""
    headers = {"Last-Event-ID": last_event_id} if last_event_id is not None else {}
    if role is not None:
        headers["Authorization"] = f"Bearer {diner.keys[role]}"
    async with (session or diner.session).get(diner.url + path, headers=headers) as response:
        assert response.status == 200, await response.text()
        assert response.content_type == "text/event-stream"
        yield Stream(response)


async def until(true: Callable[[], bool | Awaitable[bool]], within: float = 5) -> None:
    """Wait for something that tells nobody when it comes true."""

    async def now() -> bool:
        answer = true()
        return answer if isinstance(answer, bool) else await answer

    async with asyncio.timeout(within):
        while not await now():  # noqa: ASYNC110 (what it waits for is not ours to ring)
            await asyncio.sleep(0.005)
