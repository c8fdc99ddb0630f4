"""What a pod of ours asks of PostgreSQL and of the provider, with a place to park, and to fail, before and after it."""

import contextlib
import re
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Any, Protocol

import aiohttp
import asyncpg

from comanda.database.pool import PlainConnection
from tests.faults.conductor import Conductor, Crash

OPERATIONS = (
    ("POST", r"/v1/payments", "create_payment"),
    ("GET", r"/v1/payments/search", "search_payments"),
    ("GET", r"/v1/payments/\d+", "get_payment"),
    ("PUT", r"/v1/payments/\d+", "cancel_payment"),
    ("POST", r"/v1/payments/\d+/refunds", "create_refund"),
    ("GET", r"/v1/payments/\d+/refunds", "list_refunds"),
    ("GET", r"/v1/payments/\d+/refunds/\d+", "get_refund"),
)


class Pod(Protocol):
    """What is asked of a pod here."""

    conductor: Conductor
    dead: bool

    async def die(self) -> None:
        """End it, as SIGKILL does."""

    async def ended(self, backend: int) -> None:
        """Wait until PostgreSQL has done with a connection that is gone: what it held is let go then."""

    def strike(self, operation: str, fault: str) -> None:
        """Have the provider's next answer to an operation go wrong, or time pass over it."""


class WatchedConnection(PlainConnection):
    """A connection of one pod. Each pod has a subclass of its own, which says whose it is."""

    pod: Pod

    async def execute(self, query: str, *args: Any, **named: Any) -> str:
        """As asyncpg's."""
        parent = super().execute
        done: str = await self._watched(query, lambda: parent(query, *args, **named))
        return done

    async def executemany(self, command: str, args: Any, **named: Any) -> None:
        """As asyncpg's."""
        parent = super().executemany
        await self._watched(command, lambda: parent(command, args, **named))

    async def fetch(self, query: str, *args: Any, **named: Any) -> Any:
        """As asyncpg's."""
        parent = super().fetch
        return await self._watched(query, lambda: parent(query, *args, **named))

    async def fetchrow(self, query: str, *args: Any, **named: Any) -> Any:
        """As asyncpg's."""
        parent = super().fetchrow
        return await self._watched(query, lambda: parent(query, *args, **named))

    async def fetchval(self, query: str, *args: Any, **named: Any) -> Any:
        """As asyncpg's."""
        parent = super().fetchval
        return await self._watched(query, lambda: parent(query, *args, **named))

    async def _watched(self, query: str, ask: Callable[[], Awaitable[Any]]) -> Any:
        pod, conductor = self.pod, self.pod.conductor
        if pod.dead:
            raise Crash
        actor = conductor.who()
        if actor is None or conductor.free:
            return await ask()
        what = brief(query)
        actor.backend = self.get_server_pid()
        try:
            await self._befalls(await conductor.at(f"before {what}"))
            answer = await ask()
            await self._befalls(await conductor.at(f"after {what}"))
        except Crash:
            raise
        except BaseException:
            if pod.dead:
                raise Crash from None
            raise
        finally:
            actor.backend = 0
        return answer

    async def _befalls(self, fault: str) -> None:
        match fault:
            case "":
                return
            case "crash":
                await self.pod.die()
                raise Crash
            case "serialization failure":
                raise asyncpg.SerializationError("could not serialize access due to concurrent update")
            case "deadlock":
                raise asyncpg.DeadlockDetectedError("deadlock detected")
            case "connection lost":
                backend = self.get_server_pid()
                self.terminate()
                await self.pod.ended(backend)
                raise asyncpg.ConnectionDoesNotExistError("connection was closed in the middle of operation")
            case _:
                raise AssertionError(f"{fault} befalls no connection")


def brief(query: str) -> str:
    """Answer a statement in a few words, the same in each run."""
    words = " ".join(query.split())
    table = re.search(r"\b(?:FROM|INTO|UPDATE|JOIN) (?:ONLY )?([a-z_]+)", words)
    return f"db {words.split(' ')[0].rstrip(';')} {table[1] if table else ''}".strip()


class WatchedSession:
    """The provider's client's way to the provider."""

    def __init__(self, pod: Pod, session: aiohttp.ClientSession) -> None:
        self._pod = pod
        self._session = session

    def request(self, method: str, url: Any, **named: Any) -> "_Watched":
        """As aiohttp's."""
        operation = next(name for verb, path, name in OPERATIONS if verb == method and re.fullmatch(path, url.path))
        return _Watched(self._pod, operation, self._session.request(method, url, **named))

    async def close(self) -> None:
        """As aiohttp's."""
        await self._session.close()


class _Watched:
    def __init__(self, pod: Pod, operation: str, asked: Any) -> None:
        self._pod = pod
        self._operation = operation
        self._asked = asked
        self._sent = False

    async def __aenter__(self) -> aiohttp.ClientResponse:
        conductor = self._pod.conductor
        try:
            fault = await conductor.at(f"before provider {self._operation}")
            if fault == "crash":
                await self._pod.die()
                raise Crash
            if fault == "time-out without effect":
                self._pod.strike(self._operation, fault)
                raise TimeoutError
            if fault:
                self._pod.strike(self._operation, fault)
        except BaseException:
            # Nobody awaits what was never sent.
            with contextlib.suppress(AttributeError):
                self._asked._coro.close()
            raise
        response: aiohttp.ClientResponse = await self._asked.__aenter__()
        fault = await conductor.at(f"after provider {self._operation}")
        if fault == "crash":
            response.close()
            await self._pod.die()
            raise Crash
        if fault:
            self._pod.strike(self._operation, fault)
        if fault == "time-out with effect":
            response.close()
            raise TimeoutError
        if self._pod.dead:
            raise Crash
        return response

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._asked.__aexit__(kind, error, traceback)


def with_session(provider: Any, pod: Pod) -> None:
    """Put our session in the place of an open client's own."""
    provider._session = WatchedSession(pod, provider._session)
