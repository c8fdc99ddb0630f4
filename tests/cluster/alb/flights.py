"""Requests on their way to a target: how long they may be silent, and what ends them."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tests.cluster.alb.clock import Clock, Timer, end_now

CONNECT_SECONDS = 10
"""To a connection, after which it is a 504 (guide to Application Load Balancers, troubleshooting)."""


class Cut(Exception):
    """A request came to an end that its target did not give it.

    Args:
        status: what the client is told, if it was told nothing yet. reason: in a word, for the log.
    """

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason


class Flight:
    """One request at one target. Bytes that flow, in either direction, keep it alive.

    Args:
        idle: seconds without a byte that end it.
    """

    def __init__(self, clock: Clock, idle: float) -> None:
        self._clock = clock
        self._idle = idle
        self._heard = clock.now()
        self._timer: Timer | None = None
        self._scope: asyncio.Timeout | None = None
        self._end: Cut | None = None
        self.connected_at: float | None = None
        self.uploading = False
        """Whether it is the client whose bytes are awaited."""

    def touch(self) -> None:
        """A byte flowed."""
        self._heard = self._clock.now()

    def connected(self) -> None:
        """There is a connection; what is awaited from now on is bytes."""
        self.touch()
        if self.connected_at is None and self._timer:
            self.connected_at = self._clock.now()
            self._timer.cancel()
            self._timer = self._clock.deadline(self._idle, self._look)

    def cut(self, status: int, reason: str) -> None:
        """End it, wherever it is."""
        if self._end is None:
            self._end = Cut(status, reason)
            if self._scope:
                end_now(self._scope)

    @asynccontextmanager
    async def bounded(self) -> AsyncIterator[None]:
        """Hold the block to the bounds.

        Raises:
            Cut: it was ended.
        """
        if self._end:
            raise self._end
        try:
            async with asyncio.timeout(None) as scope:
                self._scope = scope
                self._timer = self._clock.deadline(CONNECT_SECONDS, self._look)
                try:
                    yield
                finally:
                    self._end_timer()
                    self._scope = None
        except TimeoutError:
            if self._end is None:
                raise
            raise self._end from None

    def _end_timer(self) -> None:
        if self._timer:
            self._timer.cancel()

    def _look(self) -> None:
        """End it if nothing flowed for too long; else look again when it could be so."""
        if self.connected_at is None:
            self.cut(504, "no-connection-in-time")
            return
        left = self._heard + self._idle - self._clock.now()
        if left > 0:
            self._timer = self._clock.deadline(left, self._look)
        elif self.uploading:
            self.cut(408, "client-silent")
        else:
            self.cut(504, "target-silent")
