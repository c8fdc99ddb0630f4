"""One scenario: its requests sent some times over, what that cost, and the medians."""

import asyncio
import contextlib
import statistics
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

import asyncpg
import msgspec

from bench import load
from bench.diner import Diner
from bench.process import cpu_seconds, rss_megabytes
from comanda_local.postgres import processes_in

REPETITIONS = 3
CONNECTIONS = 32


class Result(msgspec.Struct, kw_only=True, omit_defaults=True):
    """What a scenario cost: medians of its repetitions, in milliseconds and megabytes, per request."""

    name: str
    requests: int
    cpu_ms: float
    cpu_ms_all: list[float]
    """Of the API process, in each repetition."""
    requests_per_second: float
    p50_ms: float
    p99_ms: float
    postgres_cpu_ms: float
    rss_mb: float
    answer_bytes: int


class Bench(msgspec.Struct):
    """The running API, and how to look at it."""

    diner: Diner
    pid: int
    connection: "asyncpg.Connection[asyncpg.Record]"
    """The superuser's."""

    def cpu(self) -> tuple[float, float]:
        """Answer the CPU seconds that the API process and all of PostgreSQL have used so far."""
        postgres = 0.0
        for pid in processes_in(self.diner.postgres.data_dir):
            with contextlib.suppress(OSError):
                postgres += cpu_seconds(pid)
        return cpu_seconds(self.pid), postgres

    def staff(self) -> dict[str, str]:
        """Answer the headers of a request by staff."""
        return {"Authorization": f"Bearer {self.diner.staff_key}"}

    async def measure(
        self,
        name: str,
        make: Callable[[int], Sequence[bytes]],
        count: int,
        *,
        status: int = 200,
        connections: int = CONNECTIONS,
        port: int | None = None,
        between: Callable[[], Awaitable[None]] | None = None,
    ) -> Result:
        """Measure one kind of request.

        Args:
            make: builds so many requests, new ones at each call.
            count: requests in a repetition; a sixth of it is sent first, to warm up.
            between: what to do after each run, outside of the measurement.
        """
        port = port or self.diner.port
        outcomes: list[load.Outcome] = []
        cpus: list[float] = []
        postgres: list[float] = []
        for warming in (True, *[False] * REPETITIONS):
            requests = make(max(connections, count // 6) if warming else count)
            before = self.cpu()
            outcome = await load.run(port, requests, connections=connections, status=status)
            after = self.cpu()
            if not warming:
                outcomes.append(outcome)
                cpus.append(round((after[0] - before[0]) * 1000 / count, 4))
                postgres.append((after[1] - before[1]) * 1000 / count)
            if between is not None:
                await between()
        return Result(
            name=name,
            requests=count,
            cpu_ms=statistics.median(cpus),
            cpu_ms_all=cpus,
            requests_per_second=round(statistics.median(count / outcome.seconds for outcome in outcomes), 1),
            p50_ms=round(statistics.median(outcome.percentile(50) for outcome in outcomes), 2),
            p99_ms=round(statistics.median(outcome.percentile(99) for outcome in outcomes), 2),
            postgres_cpu_ms=round(statistics.median(postgres), 3),
            rss_mb=round(rss_megabytes(self.pid), 1),
            answer_bytes=len(outcomes[-1].last.body),
        )


@contextlib.asynccontextmanager
async def looking_at(diner: Diner, pid: int) -> AsyncIterator[Bench]:
    """Open what a measurement needs beside the API process."""
    connection = await asyncpg.connect(diner.owner_url)
    try:
        yield Bench(diner, pid, connection)
    finally:
        with contextlib.suppress(TimeoutError, asyncio.CancelledError):
            await connection.close(timeout=5)
