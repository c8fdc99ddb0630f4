"""LISTEN on a connection of its own: one per process, watched, and opened again when it is lost.

PostgreSQL tells nothing of what was notified while nobody listened, so every (re)connection rings `on_connect`:
whoever keeps a copy of something takes a fresh one.
"""

import asyncio
import contextlib
import logging
import random
from collections.abc import Callable, Mapping
from typing import Any

import asyncpg

from comanda.database.pool import OUTAGES, session_settings
from comanda.settings import Settings
from comanda.tasks import keep_going

logger = logging.getLogger(__name__)

HEARTBEAT_SECONDS = 3
SLOWEST_RETRY_SECONDS = 5


class Listener:
    """Listens for one process.

    Args:
        settings: where and how to connect.
        application: the name in pg_stat_activity.
        channels: what to call with a notification's payload, by channel.
        on_connect: called after every connection, before any notification.
    """

    def __init__(
        self,
        settings: Settings,
        application: str,
        channels: Mapping[str, Callable[[str], None]],
        on_connect: Callable[[], None],
    ) -> None:
        self._settings = settings
        self._application = application
        self._channels = channels
        self._on_connect = on_connect
        self._task: asyncio.Task[None] | None = None
        self.connected = False

    def start(self) -> None:
        """Begin to listen, in a task of its own."""
        self._task = asyncio.create_task(keep_going("listener", self._run), name="listener")

    async def stop(self) -> None:
        """Stop listening."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    async def _run(self) -> None:
        tries = 0
        while True:
            reason = "the connection was lost"
            try:
                await self._listen()
                tries = 0
            except OUTAGES as error:
                tries = 0 if self.connected else tries + 1
                reason = type(error).__name__
            finally:
                self.connected = False
            logger.warning("not listening to the database", extra={"error": reason})
            wait = min(0.1 * 2 ** min(tries, 10), SLOWEST_RETRY_SECONDS)
            await asyncio.sleep(wait * random.uniform(0.5, 1))  # noqa: S311 (jitter, no secret)

    async def _listen(self) -> None:
        connection = await asyncpg.connect(
            self._settings.database_url,
            timeout=self._settings.database_connect_timeout_ms / 1000,
            command_timeout=HEARTBEAT_SECONDS,
            server_settings=session_settings(self._settings, f"{self._application}-listen"),
        )
        try:
            lost = asyncio.Event()
            connection.add_termination_listener(lambda _: lost.set())
            for channel, heard in self._channels.items():
                await connection.add_listener(channel, _callback(heard))
            self.connected = True
            self._on_connect()
            # A connection cut without a word (a lost node, a firewall) shows only when it is used.
            while not await _within(HEARTBEAT_SECONDS, lost):
                await connection.execute("SELECT 1")
        finally:
            connection.terminate()


async def _within(seconds: float, event: asyncio.Event) -> bool:
    try:
        async with asyncio.timeout(seconds):
            return await event.wait()
    except TimeoutError:
        return False


def _callback(heard: Callable[[str], None]) -> Callable[[Any, int, str, object], None]:
    def call(_connection: Any, _pid: int, _channel: str, payload: object) -> None:
        heard(str(payload))

    return call
