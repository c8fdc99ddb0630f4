"""A target group: who is registered, who is healthy, who is leaving, and whose turn it is."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from tests.cluster.alb.clock import Clock, sleep
from tests.cluster.alb.endpoints import Address, Pod
from tests.cluster.alb.flights import Flight
from tests.cluster.alb.model import GroupSpec
from tests.cluster.alb.pool import Pool

REMEMBERED = 50
"""Targets that are gone, kept to be shown."""


class State(StrEnum):
    """As DescribeTargetHealth names them."""

    INITIAL = "initial"
    HEALTHY = "healthy"
    UNHEALTHY = "unhealthy"
    DRAINING = "draining"
    UNUSED = "unused"


@dataclass(frozen=True)
class Outcome:
    """Of one health check; why, in AWS's words, if it failed."""

    healthy: bool
    reason: str = ""
    description: str = ""


Check = Callable[[str, int, GroupSpec], Awaitable[Outcome]]


@dataclass(frozen=True)
class Lags:
    """How late the load balancer is, in seconds.

    Args:
        registration: until a new target's health checks begin. removal: how long one that is gone from the endpoint
            slices still gets new requests, before it drains.
    """

    registration: float = 3
    removal: float = 10


@dataclass(eq=False)
class Target:
    """One address in a group.

    Args:
        reason, description: of its state, in AWS's words; "" for a healthy one. leaving: whether it is gone from the
            slices. requests: since it was registered. streak: of checks passed, negative for failed ones.
        slow_until: by the clock. credit: for its turn.
    """

    address: str
    port: int
    pod: Pod
    state: State = State.INITIAL
    reason: str = "Elb.RegistrationInProgress"
    description: str = "Target registration is in progress"
    leaving: bool = False
    flights: set[Flight] = field(default_factory=set)
    requests: int = 0
    streak: int = 0
    slow_until: float = 0
    credit: float = 0
    pool: Pool = field(default_factory=Pool)
    watching: "asyncio.Task[None] | None" = None
    retiring: "asyncio.Task[None] | None" = None

    @property
    def name(self) -> str:
        """Its address and port, as in the log."""
        return f"{self.address}:{self.port}"

    def shown(self) -> dict[str, Any]:
        """Answer it for the state page."""
        return {
            "target": self.name,
            "pod": self.pod.name,
            "state": self.state.value,
            "reason": self.reason,
            "description": self.description,
            "leaving": self.leaving,
            "requests": self.requests,
            "in_flight": len(self.flights),
        }


class TargetGroup:
    """A group and its targets.

    Args:
        check: makes one health check. changed: called after each change of a state.
    """

    def __init__(self, spec: GroupSpec, clock: Clock, lags: Lags, check: Check, changed: Callable[[], None]) -> None:
        self.spec = spec
        self.targets: dict[Address, Target] = {}
        self.former: list[Target] = []
        """Whose address was registered anew while they were draining or gone."""
        self._clock = clock
        self._lags = lags
        self._check = check
        self._changed = changed

    def set_wanted(self, wanted: dict[Address, Pod]) -> None:
        """Let exactly these be registered, with the load balancer's lags."""
        for at, pod in wanted.items():
            target = self.targets.get(at)
            if target is None or target.state is State.DRAINING:
                if target is not None:
                    self._remember(target)
                self._register(at, pod)
            else:
                target.pod = pod
                if target.leaving and target.retiring:
                    target.retiring.cancel()
                target.leaving = False
        for at, target in self.targets.items():
            if at not in wanted and not target.leaving:
                target.leaving = True
                target.retiring = asyncio.create_task(self._retire(target), name=f"retire {target.name}")
                self._changed()

    def choose(self) -> Target | None:
        """Answer whose turn it is, None if there is nobody.

        The healthy ones; with none but unhealthy ones all of those (fails open). One that never passed a check is
        neither, nor is one that drains.
        """
        able = [each for each in self.targets.values() if each.state is State.HEALTHY]
        able = able or [each for each in self.targets.values() if each.state is State.UNHEALTHY]
        if not able:
            return None
        if self.spec.settings.least_outstanding:
            least = min(len(each.flights) for each in able)
            able = [each for each in able if len(each.flights) == least]
        # Turns are taken in proportion to the weights, spread evenly; with equal weights one after the other.
        weights = {id(each): self._weight(each) for each in able}
        for each in able:
            each.credit += weights[id(each)]
        chosen = max(able, key=lambda each: each.credit)
        chosen.credit -= sum(weights.values())
        return chosen

    def everyone(self) -> Iterable[Target]:
        """Answer all targets, those that are gone too."""
        return [*self.targets.values(), *self.former]

    def shown(self) -> dict[str, Any]:
        """Answer the group for the state page."""
        return {
            "namespace": self.spec.key.namespace,
            "service": self.spec.key.service,
            "port": self.spec.key.port,
            "name": self.spec.name,
            "deregistration_delay": self.spec.settings.delay,
            "targets": [each.shown() for each in self.everyone()],
        }

    async def close(self) -> None:
        """Let go of all targets at once, as when the group is deleted."""
        tasks = []
        for target in self.everyone():
            tasks += [task for task in (target.watching, target.retiring) if task]
            for flight in list(target.flights):
                flight.cut(502, "target-group-deleted")
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for target in self.everyone():
            await target.pool.close()

    def _register(self, at: Address, pod: Pod) -> None:
        target = self.targets[at] = Target(*at, pod)
        target.watching = asyncio.create_task(self._watch(target), name=f"watch {target.name}")
        self._changed()

    def _weight(self, target: Target) -> float:
        """Answer its share: a whole one, or less while it starts slowly."""
        left = target.slow_until - self._clock.now()
        if left <= 0 or not self.spec.settings.slow_start:
            return 1.0
        return max(0.01, 1 - left / self.spec.settings.slow_start)

    async def _watch(self, target: Target) -> None:
        await sleep(self._clock, self._lags.registration)
        self._become(target, State.INITIAL, "Elb.InitialHealthChecking", "Initial health checks in progress")
        while True:
            began = self._clock.now()
            outcome = await self._check(target.address, target.port, self.spec)
            self._count(target, outcome)
            await sleep(self._clock, began + self.spec.settings.health.interval - self._clock.now())

    def _count(self, target: Target, outcome: Outcome) -> None:
        """Take a check's outcome into account.

        The streak is positive for checks passed in a row, negative for failed ones.
        """
        health = self.spec.settings.health
        if outcome.healthy:
            target.streak = max(target.streak, 0) + 1
            needed = health.healthy if target.state is State.UNHEALTHY else 1
            if target.state is not State.HEALTHY and target.streak >= needed:
                self._start_slowly(target)
                self._become(target, State.HEALTHY)
            return
        target.streak = min(target.streak, 0) - 1
        if -target.streak >= health.unhealthy:
            target.slow_until = 0
            self._become(target, State.UNHEALTHY, outcome.reason, outcome.description)

    def _start_slowly(self, target: Target) -> None:
        """Begin slow start, if there is somebody who carries the load meanwhile."""
        now = self._clock.now()
        others = (each for each in self.targets.values() if each.state is State.HEALTHY and each.slow_until <= now)
        if self.spec.settings.slow_start and any(others):
            target.slow_until = now + self.spec.settings.slow_start

    def _become(self, target: Target, state: State, reason: str = "", description: str = "") -> None:
        if (target.state, target.reason, target.description) != (state, reason, description):
            target.state, target.reason, target.description = state, reason, description
            self._changed()

    async def _retire(self, target: Target) -> None:
        await sleep(self._clock, self._lags.removal)
        if target.watching:
            target.watching.cancel()
        self._become(target, State.DRAINING, "Target.DeregistrationInProgress", "Target deregistration is in progress")
        await sleep(self._clock, self.spec.settings.delay)
        for flight in list(target.flights):
            flight.cut(502, "deregistration-delay-over")
        if self.targets.get((target.address, target.port)) is target:
            del self.targets[target.address, target.port]
            self._remember(target)
        self._become(target, State.UNUSED, "Target.NotRegistered", "Target is not registered to the target group")
        await target.pool.close()

    def _remember(self, target: Target) -> None:
        """Keep a target that is no more in the group; of those that are wholly gone, only so many."""
        gone = [each for each in self.former if each.state is State.UNUSED][-REMEMBERED:]
        self.former = [*gone, *(each for each in self.former if each.state is not State.UNUSED), target]
