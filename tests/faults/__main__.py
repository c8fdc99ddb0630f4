"""`make faults`: runs with faults, as many as wanted, and what held in them.

make faults RUNS=1000 SEED=7 KIND=inprocess
"""

import argparse
import asyncio
import os
import secrets
import sys
import time
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from comanda_local.postgres import EmbeddedPostgres
from tests.conftest import url_of
from tests.faults import processes
from tests.faults.invariants import INVARIANTS
from tests.faults.kinds import ALL
from tests.faults.many import Tally, folder, many, prepare, server
from tests.faults.run import Result, one_run
from tests.faults.world import Stage

RATE = 0.02
SHRINKS_AT_MOST = 60
SAYS_EACH = 10
BEFORE, LAST = 10, 80
"""How many steps of a failing run are shown before its first fault, and how many in all."""


def main() -> int:
    """Do what was asked for; answer the exit code: 0 only if all held in all runs."""
    parser = argparse.ArgumentParser(prog="make faults", description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=100)
    parser.add_argument("--seed", default="")
    parser.add_argument("--rate", type=float, default=RATE, help="how likely something befalls a step")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--kind", choices=("inprocess", "processes"), default="inprocess")
    parser.add_argument("--only", default="", help="one run, by its whole seed, with its steps")
    parser.add_argument(
        "--faults",
        type=lambda text: frozenset(map(int, filter(None, text.split(",")))),
        help="with --only: none but those of its faults, by their numbers: 3,17",
    )
    options = parser.parse_args()
    seed = options.seed or str(secrets.randbelow(2**32))
    if options.kind == "processes":
        seeds = [options.only] if options.only else [f"{seed}-{number}" for number in range(options.runs)]
        print(f"faults: {len(seeds)} runs of whole processes, seed {seed}", flush=True)
        with folder() as within:
            return asyncio.run(of_processes(within, seeds))
    with server() as running:
        names = [f"faults{number}" for number in range(1 if options.only else options.jobs)]
        asyncio.run(prepare(running, names))
        if options.only:
            return asyncio.run(one(running, names[0], options.only, options.rate, options.faults))
        print(f"faults: {options.runs} runs, seed {seed}, {options.jobs} at once", flush=True)
        tally, seconds = many(running, names, options.runs, seed, options.rate)
        table(tally, seconds)
        if tally.failed:
            shortest = min(tally.failed, key=lambda result: result.drawn)
            asyncio.run(explain(running, names[0], shortest, options.rate))
        return 1 if tally.failed or tally.diverged else 0


def table(tally: Tally, seconds: float) -> None:
    """Print what was injected and what held."""
    counted(ALL, tally.faults)
    print(f"{'what must hold':48} held, of {tally.runs} runs")
    for name in INVARIANTS:
        print(f"{name:48} {tally.held[name]:10}")
    print(f"\n{tally.runs} runs, {tally.steps} steps, {seconds:.0f} s; {len(tally.failed)} failed")
    said = f"; these were not: {', '.join(tally.diverged)}" if tally.diverged else ""
    print(f"{tally.compared} of them done twice and compared step by step{said}", flush=True)


async def of_processes(within: Path, seeds: list[str]) -> int:
    """Do runs with whole processes, one after the other in one house; answer the exit code."""
    faults: Counter[str] = Counter()
    failed: list[str] = []
    orders, began = 0, time.monotonic()
    async with processes.Processes(within) as house:
        for number, seed in enumerate(seeds, 1):
            result = await processes.one_run(house, seed)
            faults += result.faults
            orders += result.orders
            if result.failure:
                failed.append(seed)
                print(f"failed: {seed}, {dict(result.faults)}: {result.failure}")
                print(f"again: make faults KIND=processes ARGS='--only {seed}'", flush=True)
            if number % SAYS_EACH == 0:
                seconds = time.monotonic() - began
                print(f"faults: {number} of {len(seeds)}, {len(failed)} failed, {seconds:.0f} s", flush=True)
    counted(processes.KINDS, faults)
    seconds = time.monotonic() - began
    print(f"{len(seeds)} runs, {orders} orders, {seconds:.0f} s; {len(failed)} failed", flush=True)
    return 1 if failed else 0


def counted(names: Iterable[str], faults: Counter[str]) -> None:
    """Print how often each fault really happened."""
    print(f"\n{'fault':42} really happened")
    for name in names:
        print(f"{name:42} {faults[name]:10}")
    print(f"{'all':42} {sum(faults.values()):10}\n")


async def one(
    running: EmbeddedPostgres, name: str, seed: str, rate: float, allowed: frozenset[int] | None = None
) -> int:
    """Do one run, with all of its faults or with those, and say all of it."""
    async with Stage(url_of(running, name), url_of(running, name, user="app")) as stage:
        result = await one_run(stage, seed, rate=rate, allowed=allowed)
    print("\n".join(result.log))
    print(f"{seed}: digest {result.digest}, {result.steps} steps, {result.drawn} faults drawn")
    print(result.failure or "all held")
    return 1 if result.failure else 0


async def explain(running: EmbeddedPostgres, name: str, result: Result, rate: float) -> None:
    """Find as few of a failing run's faults as still make it fail, and say how it is had again."""
    print(f"\nfailed: {result.seed}: {result.failure}", flush=True)
    async with Stage(url_of(running, name), url_of(running, name, user="app")) as stage:
        shortest, tries = await shrunk(stage, result, rate)
    print(f"with {len(shortest[0])} of {result.drawn} faults, after {tries} tries:")
    steps = shortest[1].log
    first = next((number for number, line in enumerate(steps) if "!" in line), len(steps))
    shown = steps[max(0, first - BEFORE) :] if first < len(steps) else steps[-LAST:]
    for line in shown if len(shown) <= LAST else [*shown[: LAST // 2], "…", *shown[-LAST // 2 :]]:
        print(f"  {line}")
    print(f"  {shortest[1].failure}")
    only = f" --faults {','.join(map(str, sorted(shortest[0])))}" if len(shortest[0]) < result.drawn else ""
    print(f"again: make faults ARGS='--only {result.seed} --rate {rate}{only}'", flush=True)


async def shrunk(stage: Stage, result: Result, rate: float) -> tuple[tuple[frozenset[int], Result], int]:
    """Leave out faults, halves first, as long as the run still fails."""
    best = frozenset(range(1, result.drawn + 1)), result
    tries, piece = 0, max(1, len(best[0]) // 2)
    while tries < SHRINKS_AT_MOST:
        smaller = None
        ordered = sorted(best[0])
        for begin in range(0, len(ordered), piece):
            if tries >= SHRINKS_AT_MOST:
                break
            tries += 1
            kept = frozenset(ordered[:begin] + ordered[begin + piece :])
            tried = await one_run(stage, result.seed, rate=rate, allowed=kept)
            if tried.failure:
                smaller = kept, tried
                break
        if smaller is not None:
            best = smaller
        elif piece == 1:
            break
        else:
            piece = max(1, piece // 2)
    return best, tries


if __name__ == "__main__":
    sys.exit(main())
