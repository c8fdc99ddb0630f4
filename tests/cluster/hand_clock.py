"""A clock whose hands a test moves: tens of seconds pass in a few turns of the event loop."""

import asyncio
import heapq
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import count

TURNS = 20
"""Of the event loop, in which what a timer began gets as far as it can without the network."""
LOOKS = 60
"""After so many looks, of a few milliseconds, work that should be done in time counts as stuck."""


@dataclass(order=True)
class Alarm:
    """What rings at a time, unless it is called off."""

    at: float
    number: int
    ring: Callable[[], None] = field(compare=False)
    bounds_work: bool = field(compare=False)
    off: bool = field(default=False, compare=False)

    def cancel(self) -> None:
        """Call it off."""
        self.off = True


class HandClock:
    """Stands still until a test lets time pass."""

    def __init__(self) -> None:
        self._now = 0.0
        self._alarms: list[Alarm] = []
        self._numbers = count()

    def now(self) -> float:
        """Answer the seconds that have passed."""
        return self._now

    def utc(self) -> datetime:
        """Answer a time of day that goes with them."""
        return datetime(2026, 11, 3, 12, tzinfo=UTC) + timedelta(seconds=self._now)

    def call_later(self, seconds: float, ring: Callable[[], None]) -> Alarm:
        """Call something in so many seconds."""
        return self._set(seconds, ring, False)

    def deadline(self, seconds: float, ring: Callable[[], None]) -> Alarm:
        """Do the same for what bounds work that really goes on, which gets its chance when the time comes."""
        return self._set(seconds, ring, True)

    async def pass_(self, seconds: float) -> None:
        """Let time pass, and let all that is due in it happen, in its order."""
        end = self._now + seconds
        await _settle()
        while self._alarms and self._alarms[0].at <= end:
            alarm = heapq.heappop(self._alarms)
            if alarm.off:
                continue
            self._now = max(self._now, alarm.at)
            if alarm.bounds_work:
                await _give_chance(alarm)
            if not alarm.off:
                alarm.ring()
                await _settle()
        self._now = end
        await _settle()

    async def flow(self, true: Callable[[], bool], most: float = 600, step: float = 1) -> float:
        """Let time flow until something is so; answer how many seconds it took."""
        began = self._now
        while not true():
            assert self._now - began < most, f"not so after {most} s"
            await self.pass_(step)
            await asyncio.sleep(0.002)
        return self._now - began

    def _set(self, seconds: float, ring: Callable[[], None], bounds_work: bool) -> Alarm:
        alarm = Alarm(self._now + seconds, next(self._numbers), ring, bounds_work)
        heapq.heappush(self._alarms, alarm)
        return alarm


async def _settle() -> None:
    for _ in range(TURNS):
        await asyncio.sleep(0)


async def _give_chance(alarm: Alarm) -> None:
    for _ in range(LOOKS):
        if alarm.off:
            return
        await asyncio.sleep(0.002)
