"""Time, as an argument: the stand-in waits for tens of seconds, and its tests do not."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Protocol


class Timer(Protocol):
    """What is yet to come."""

    def cancel(self) -> None:
        """See that it does not."""


class Clock(Protocol):
    """Tells the time and rings."""

    def now(self) -> float:
        """Answer seconds since some moment; never back."""

    def utc(self) -> datetime:
        """Answer the time of day."""

    def call_later(self, seconds: float, ring: Callable[[], None]) -> Timer:
        """Call something in so many seconds."""

    def deadline(self, seconds: float, ring: Callable[[], None]) -> Timer:
        """Do the same for what bounds work that is going on: a test's clock lets such work have its chance first."""


class LoopClock:
    """The running event loop's time."""

    def now(self) -> float:
        """Answer the loop's seconds."""
        return asyncio.get_running_loop().time()

    def utc(self) -> datetime:
        """Answer the machine's time."""
        return datetime.now(UTC)

    def call_later(self, seconds: float, ring: Callable[[], None]) -> Timer:
        """Call something in so many seconds."""
        return asyncio.get_running_loop().call_later(seconds, ring)

    deadline = call_later


async def sleep(clock: Clock, seconds: float) -> None:
    """Wait so many seconds of a clock."""
    over = asyncio.Event()
    timer = clock.call_later(max(0.0, seconds), over.set)
    try:
        await over.wait()
    finally:
        timer.cancel()


@asynccontextmanager
async def time_limit(clock: Clock, seconds: float) -> AsyncIterator[None]:
    """Let the block take so many seconds of a clock, and no more.

    Raises:
        TimeoutError: it took longer.
    """
    async with asyncio.timeout(None) as scope:
        timer = clock.deadline(seconds, lambda: end_now(scope))
        try:
            yield
        finally:
            timer.cancel()


def end_now(scope: asyncio.Timeout) -> None:
    """End a block under `asyncio.timeout` as if its time were over; one that has ended stays as it is."""
    if not scope.expired():
        scope.reschedule(asyncio.get_running_loop().time())


class Bell:
    """Rung when something changed, for those who wait for something to be so."""

    def __init__(self) -> None:
        self._waiting: set[asyncio.Future[None]] = set()

    def ring(self) -> None:
        """Let all who wait look again."""
        for future in self._waiting:
            if not future.done():
                future.set_result(None)

    async def until(self, true: Callable[[], bool]) -> None:
        """Wait until something is so, looking at each ring."""
        while not true():
            future = asyncio.get_running_loop().create_future()
            self._waiting.add(future)
            try:
                await future
            finally:
                self._waiting.discard(future)
