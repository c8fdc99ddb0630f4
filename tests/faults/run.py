"""One run: a diner opens, things happen to it in an order that the seed decides, and then every real is looked for."""

import asyncio
import logging
import traceback
from collections import Counter
from dataclasses import dataclass, field
from datetime import timedelta

from tests.faults import invariants
from tests.faults.people import cook, courier, deliver_all, guest, keeper, manager, worker
from tests.faults.world import Stage, World, seeded_entropy

GUESTS = 3
MOST_STEPS = 60_000
OPEN_FOR = timedelta(minutes=50)
SETTLES_WITHIN = timedelta(days=3)
"""How long after the last fault everything must be decided: five looks within a day and a half, and a refund after."""


@dataclass
class Result:
    """What became of a run.

    Args:
        drawn: how many faults the dice would have had. failure: "" if all held.
        held: by name, which invariants did; none of a run that did not come to its end.
    """

    seed: str
    digest: str = ""
    steps: int = 0
    drawn: int = 0
    failure: str = ""
    held: frozenset[str] = frozenset()
    faults: Counter[str] = field(default_factory=Counter)
    log: list[str] = field(default_factory=list)


async def one_run(stage: Stage, seed: str, *, rate: float, allowed: frozenset[int] | None = None) -> Result:
    """Do one run and answer what became of it.

    Args:
        rate: how likely something befalls a step. allowed: the numbers of the faults that may; None: all.
    """
    result = Result(seed)
    loop = asyncio.get_running_loop()
    logging.disable(logging.CRITICAL)
    with seeded_entropy(seed):
        async with stage.world(seed, rate=rate, allowed=allowed) as world:
            loop.set_task_factory(world.conductor.factory)
            try:
                await _happen(world)
                await settle(world)
                broken = await invariants.broken(world)
                result.held = frozenset(invariants.INVARIANTS) - broken.keys()
                result.failure = "; ".join(broken.values())
            except AssertionError as error:
                result.failure = str(error) or traceback.format_exc(limit=-2)
            except Exception:
                result.failure = traceback.format_exc(limit=-3)
            finally:
                loop.set_task_factory(None)
                world.conductor.let_go()
                logging.disable(logging.NOTSET)
            result.failure = "; ".join(filter(None, [*world.conductor.failures, result.failure]))
            result.digest, result.steps = world.conductor.digest, world.conductor.steps
            result.drawn, result.faults = world.faults.drawn, +world.faults.happened()
            result.log = world.conductor.log
    return result


async def _happen(world: World) -> None:
    conductor = world.conductor
    people = [conductor.start(f"guest{number}", guest(world, number)) for number in range(1, GUESTS + 1)]
    conductor.start("cook1", cook(world, 1))
    conductor.start("cook2", cook(world, 2))
    conductor.start("manager", manager(world, 1))
    conductor.start("courier", courier(world))
    conductor.start("keeper", keeper(world))
    for pod in world.pods:
        conductor.start(f"{pod.name} worker", worker(world, pod), pod)
    closes = world.clock.now() + OPEN_FOR

    def over() -> bool:
        if world.clock.now() >= closes and all(each.task is not None and each.task.done() for each in people):
            world.over = True
            world.faults.active = False
        return world.over and not conductor.busy()

    await conductor.run(over, MOST_STEPS)
    if conductor.failures:
        raise AssertionError("somebody met what nobody should")


async def settle(world: World) -> None:
    """Let time pass without faults until nothing is due, as far as it may take."""
    world.sandbox.clear_faults()
    world.conductor.let_go()
    for pod in world.pods:
        if pod.dead:
            await pod.close()
            await pod.open(world.sandbox.url)
    end = world.clock.now() + SETTLES_WITHIN
    dice = world.dice("settling")
    while world.clock.now() < end:
        moved = await deliver_all(world, dice)
        for pod in world.pods:
            for loop in pod.loops.values():
                moved += await loop.once()
        if moved:
            continue
        for refund in world.sandbox.refunds():
            if refund.status == "in_process":
                world.sandbox.decide_refund(refund.id, approved=dice.random() < 0.7)
        due = await world.next_due()
        coming = world.sandbox.sandbox.ledger.next_due_after(world.clock.now())
        moments = [each for each in (due, coming) if each is not None]
        if not moments:
            return
        world.clock.to(max(min(moments), world.clock.now() + timedelta(milliseconds=1)))
