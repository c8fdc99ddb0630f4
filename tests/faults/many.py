"""Many runs, some at once, each process with a database of its own in one PostgreSQL; and what came of all of them."""

import asyncio
import multiprocessing
import queue
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import asyncpg

from comanda.database.migrate import migrate
from comanda_local.postgres import EmbeddedPostgres
from tests.conftest import make_users, url_of
from tests.faults.run import Result, one_run
from tests.faults.world import Stage

TWICE_EACH = 25
"""One run of so many is done twice: the same seed must give the same run."""
SAYS_EACH_SECONDS = 10
SETTINGS: dict[str, str | int] = {
    "max_connections": 300,
    # It comes by the machine's time, and counts rows: of two that are due at once another would be claimed first.
    "autovacuum": "off",
}


@dataclass
class Tally:
    """What came of all runs so far."""

    runs: int = 0
    steps: int = 0
    compared: int = 0
    diverged: list[str] = field(default_factory=list)
    faults: Counter[str] = field(default_factory=Counter)
    held: Counter[str] = field(default_factory=Counter)
    failed: list[Result] = field(default_factory=list)

    def add(self, result: Result, again: str) -> None:
        """Add a run, and the digest of the same run done again, "" if it was not."""
        self.runs += 1
        self.steps += result.steps
        self.faults += result.faults
        self.held.update(result.held)
        if result.failure:
            self.failed.append(result)
        if again:
            self.compared += 1
            if again != result.digest:
                self.diverged.append(result.seed)


@contextmanager
def folder() -> Iterator[Path]:
    """A folder for a server's data, which goes after it. Root hands that to another user, who must get in."""
    with tempfile.TemporaryDirectory(prefix="comanda-faults-") as made:
        Path(made).chmod(0o755)
        yield Path(made)


@contextmanager
def server() -> Iterator[EmbeddedPostgres]:
    """A PostgreSQL of our own, which need not outlive us."""
    with (
        folder() as within,
        EmbeddedPostgres(within / "data", fsync=False, settings=SETTINGS) as running,
    ):
        yield running


async def prepare(running: EmbeddedPostgres, databases: list[str]) -> None:
    """Make the users, and databases that are migrated."""
    connection = await asyncpg.connect(running.superuser_url)
    try:
        await make_users(connection)
        for name in databases:
            await connection.execute(f"CREATE DATABASE {name}")
    finally:
        await connection.close()
    for name in databases:
        await migrate(url_of(running, name))


def child(owner: str, app: str, rate: float, seed: str, runs: int, begun: Any, results: Any) -> None:
    """Do run after run, in a process of its own, until as many are begun as are wanted."""

    async def work() -> None:
        async with Stage(owner, app) as stage:
            while True:
                with begun.get_lock():
                    number = begun.value
                    begun.value += 1
                if number >= runs:
                    return
                result = await one_run(stage, f"{seed}-{number}", rate=rate)
                again = ""
                if number % TWICE_EACH == 0:
                    again = (await one_run(stage, f"{seed}-{number}", rate=rate)).digest
                if not result.failure:
                    result.log = []
                results.put((result, again))

    asyncio.run(work())


def many(running: EmbeddedPostgres, names: list[str], runs: int, seed: str, rate: float) -> tuple[Tally, float]:
    """Do the runs, some at once; answer what came of them, and how many seconds it took."""
    context = multiprocessing.get_context("spawn")
    begun, results = context.Value("q", 0), context.Queue()
    urls = [(url_of(running, name), url_of(running, name, user="app")) for name in names]
    children = [context.Process(target=child, args=(*each, rate, seed, runs, begun, results)) for each in urls]
    for each in children:
        each.start()
    tally, began, said = Tally(), time.monotonic(), time.monotonic()
    while tally.runs < runs:
        try:
            result, again = results.get(timeout=1)
            tally.add(result, again)
            if result.failure:
                # Said at once: who waits for thousands need not wait for the others.
                print(f"faults: {result.seed} failed: {result.failure.splitlines()[0]}", flush=True)
        except queue.Empty:
            if not any(each.is_alive() for each in children):
                raise RuntimeError("the processes that do the runs have ended before all were done") from None
        if time.monotonic() - said > SAYS_EACH_SECONDS:
            said = time.monotonic()
            print(f"faults: {tally.runs} of {runs}, {len(tally.failed)} failed, {said - began:.0f} s", flush=True)
    for each in children:
        each.join()
    return tally, time.monotonic() - began
