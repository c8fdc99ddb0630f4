"""Admits the steps of many tasks one at a time, in an order that dice choose, and takes down which it was.

A task parks at every point that it reaches: before and after each statement, each commit and each call of the
provider. When all are parked, asleep or wait for a row that a parked one holds, the dice choose who goes on, and what
befalls them. So the same seed gives the same run, as far as PostgreSQL goes along; that it did is seen by the digest.
"""

import asyncio
import hashlib
import random
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import Enum
from typing import Any

from tests.faults.hand_clock import HandClock

LOOKS_SECONDS = 0.004
"""How long a task may take before it is asked whether it waits for a lock."""
STUCK_SECONDS = 30
AT_ONCE = {"Loop._attempt"}
"""What a task of an actor begins and does not await at once: an actor of its own."""
STEP = timedelta(milliseconds=1)


class Crash(BaseException):
    """The process is gone: no code of ours may catch it."""


class Stuck(Exception):
    """Nobody can go on, and nobody says why."""


class State(Enum):
    """Where a task is."""

    RUNNING = "running"
    PARKED = "parked"
    ASLEEP = "asleep"


@dataclass(eq=False)
class Actor:
    """A task, and where it is.

    Args:
        pod: whose it is, in which it dies; None: of nobody that can die.
        backend: the process of PostgreSQL that it asks just now, 0 if none.
    """

    name: str
    pod: object | None = None
    state: State = State.RUNNING
    place: str = ""
    until: datetime | None = None
    backend: int = 0
    task: "asyncio.Task[Any] | None" = None
    admitted: "asyncio.Future[str] | None" = None
    children: int = 0

    def waits_for_others(self) -> bool:
        """Whether it gathers tasks of its own, which are actors themselves."""
        waiter = getattr(self.task, "_fut_waiter", None)
        return isinstance(waiter, asyncio.Future) and type(waiter).__name__ == "_GatheringFuture" and not waiter.done()


Chooses = Callable[[Actor, str], str]
"""Says what befalls an actor at a place: the name of a fault, or "" for nothing."""


@dataclass(eq=False)
class Conductor:
    """Who there is, who goes on, and what was done.

    Args:
        dice: decide. clock: everybody's time. waiting: answers which backends of PostgreSQL wait for a lock.
        befalls: decides on faults.
    """

    dice: random.Random
    clock: HandClock
    waiting: Callable[[], Awaitable[set[int]]]
    befalls: Chooses
    steps: int = 0
    failures: list[str] = field(default_factory=list)
    log: list[str] = field(default_factory=list)
    free: bool = False
    _actors: list[Actor] = field(default_factory=list)
    _by_task: "dict[asyncio.Task[Any], Actor]" = field(default_factory=dict)
    _moved: asyncio.Event = field(default_factory=asyncio.Event)
    _blocked: set[Actor] = field(default_factory=set)
    _digest: Any = field(default_factory=hashlib.sha256)

    @property
    def digest(self) -> str:
        """The run so far, in a word: who went on, where, and what befell them."""
        return str(self._digest.hexdigest()[:16])

    def start(self, name: str, work: Coroutine[Any, Any, object], pod: object | None = None) -> Actor:
        """Begin a task whose steps are admitted."""
        actor = Actor(name, pod)
        self._adopt(actor, asyncio.Task(work, loop=asyncio.get_running_loop(), name=name))
        return actor

    def factory(self, loop: asyncio.AbstractEventLoop, work: Any, **named: Any) -> "asyncio.Task[Any]":
        """Make a task as the event loop does, and know whose it is."""
        task = asyncio.Task(work, loop=loop, **named)
        try:
            parent = self._by_task.get(asyncio.current_task(loop))  # type: ignore[arg-type]
        except RuntimeError:
            parent = None
        if parent is None or self.free:
            return task
        if getattr(work, "__qualname__", "") in AT_ONCE:
            parent.children += 1
            self._adopt(Actor(f"{parent.name}/{parent.children}", parent.pod), task)
        else:
            # Whoever made it awaits it: a step of theirs.
            self._by_task[task] = parent
            task.add_done_callback(self._by_task.pop)
        return task

    def who(self) -> Actor | None:
        """Answer whose task this is."""
        task = asyncio.current_task()
        return self._by_task.get(task) if task is not None else None

    async def at(self, place: str) -> str:
        """Park until admitted; answer what befalls this actor here, "" for nothing.

        Raises:
            Crash: its process is gone meanwhile.
        """
        actor = self.who()
        if actor is None or self.free:
            return ""
        return await self._park(actor, State.PARKED, place)

    async def sleep(self, seconds: float) -> None:
        """Let time pass for this actor, on everybody's clock."""
        actor = self.who()
        assert actor is not None
        actor.until = self.clock.now() + timedelta(seconds=seconds)
        await self._park(actor, State.ASLEEP, "sleeps")

    async def _park(self, actor: Actor, state: State, place: str) -> str:
        actor.state, actor.place = state, place
        actor.admitted = asyncio.get_running_loop().create_future()
        self._moved.set()
        return await actor.admitted

    def kill(self, pod: object) -> None:
        """End all actors of a process but the one that this is said by, as SIGKILL does: without a word."""
        me = self.who()
        for actor in self._actors:
            if actor.pod is pod and actor is not me and actor.admitted is not None and not actor.admitted.done():
                actor.state = State.RUNNING
                actor.admitted.set_exception(Crash())
        self._blocked.clear()

    async def run(self, done: Callable[[], bool], most_steps: int) -> None:
        """Admit one step after another.

        Raises:
            Stuck: nobody can go on, or it does not end.
        """
        while not done():
            await self._quiet()
            if done():
                return
            awake = self._awake()
            if not awake:
                asleep = [actor.until for actor in self._actors if actor.state is State.ASLEEP and actor.until]
                if not asleep:
                    raise Stuck(f"nobody is left who could go on: {self._who_is_where()}")
                self.clock.to(min(asleep))
                continue
            actor = awake[self.dice.randrange(len(awake))]
            fault = self.befalls(actor, actor.place) if actor.state is State.PARKED else ""
            self._admit(actor, fault)
            self.steps += 1
            if self.steps > most_steps:
                raise Stuck(f"it did not end in {most_steps} steps: {self._who_is_where()}")
        await self._quiet()

    def busy(self) -> bool:
        """Answer whether somebody is still at it."""
        return bool(self._actors)

    def let_go(self) -> None:
        """From now on nobody is held, and nothing befalls anybody."""
        self.free = True
        for actor in self._actors:
            if actor.admitted is not None and not actor.admitted.done():
                actor.admitted.set_result("")

    def _admit(self, actor: Actor, fault: str) -> None:
        line = f"{actor.name}: {actor.place}" + (f" !{fault}" if fault else "")
        self.log.append(line)
        self._digest.update(line.encode())
        # Whoever ends a transaction, or dies, may let others on.
        if fault or "COMMIT" in actor.place or "ROLLBACK" in actor.place:
            self._blocked.clear()
        self.clock.go_on(STEP)
        actor.state = State.RUNNING
        assert actor.admitted is not None
        actor.admitted.set_result(fault)

    def _awake(self) -> list[Actor]:
        now = self.clock.now()
        return [
            actor
            for actor in self._actors
            if actor.state is State.PARKED
            or (actor.state is State.ASLEEP and actor.until is not None and actor.until <= now)
        ]

    async def _quiet(self) -> None:
        """Wait until each actor is parked, asleep, at its end, or waits for others or for a lock."""
        loop = asyncio.get_running_loop()
        give_up = loop.time() + STUCK_SECONDS
        while running := [
            actor
            for actor in self._actors
            if actor.state is State.RUNNING and actor not in self._blocked and not actor.waits_for_others()
        ]:
            self._moved.clear()
            try:
                async with asyncio.timeout(LOOKS_SECONDS):
                    await self._moved.wait()
            except TimeoutError:
                waiting = await self.waiting()
                if all(actor.backend in waiting for actor in running):
                    self._blocked.update(running)
            if loop.time() > give_up:
                raise Stuck(f"waited {STUCK_SECONDS} s in vain: {self._who_is_where()}")

    def _adopt(self, actor: Actor, task: "asyncio.Task[Any]") -> None:
        actor.task = task
        self._actors.append(actor)
        self._by_task[task] = actor
        task.add_done_callback(self._ended)

    def _ended(self, task: "asyncio.Task[Any]") -> None:
        actor = self._by_task.pop(task)
        self._actors.remove(actor)
        self._blocked.discard(actor)
        self._moved.set()
        if not task.cancelled() and (error := task.exception()) is not None and not isinstance(error, Crash):
            self.failures.append(f"{actor.name}: {type(error).__name__}: {error}")

    def _who_is_where(self) -> str:
        return "; ".join(f"{each.name} {each.state.value} at {each.place}" for each in self._actors)
