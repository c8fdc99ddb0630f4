"""`make bench`: measures the API process and the operator's plan against their budgets, in minutes, on loopback alone.

CPU per request is the figure to trust, best on a quiet machine: a crowded one adds up to a third. Requests per second
and latencies come from 32 connections that never pause, and suffer from whatever else runs.
"""

import argparse
import platform
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import msgspec
import uvloop

from bench import listeners, plan, report, scenarios
from bench.diner import Diner, running_surroundings
from bench.listeners import StreamResult
from bench.measuring import Result, looking_at
from bench.process import machine

API = ("guests", "kitchen", "provider", "operations", "streams")
FINISHED = 1_000_000
PACKAGES = ("litestar", "granian", "asyncpg", "msgspec", "aiohttp", "prometheus-client", "uvloop")


class Report(msgspec.Struct, kw_only=True):
    """All that a run of the bench found."""

    at: datetime
    machine: str
    python: str
    packages: dict[str, str]
    results: list[Result]
    streams: list[StreamResult]
    plan_seconds: dict[str, float]
    broken: list[str]


def main() -> int:
    """Measure, tell, and answer 1 if a budget is broken."""
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__.partition("\n")[0])
    parser.add_argument("--million", action="store_true", help="also with a million finished orders (minutes longer)")
    parser.add_argument("--only", nargs="*", choices=[*API, "plan"])
    parser.add_argument("--folder", type=Path, default=Path(".comanda/bench"), help="for the database, while it runs")
    parser.add_argument("--output", type=Path, help="where the JSON goes; without one, result.json in the folder")
    options = parser.parse_args()
    results: list[Result] = []
    streams: list[StreamResult] = []
    of_the_api = [name for name in options.only or API if name in API]
    if of_the_api:
        with (
            running_surroundings(options.folder.absolute()) as diner,
            diner.running([sys.executable, "-m", "comanda", "serve"]) as pid,
        ):
            results, streams = uvloop.run(measure(diner, pid, of_the_api, million=options.million))
    plans: dict[str, float] = {}
    if not options.only or "plan" in options.only:
        print("measuring: plan", file=sys.stderr)
        plans = plan.seconds()
    found = Report(
        at=datetime.now(UTC),
        machine=machine(),
        python=platform.python_version(),
        packages={name: version(name) for name in PACKAGES},
        results=results,
        streams=streams,
        plan_seconds=plans,
        broken=[*report.broken(results), *report.broken_plans(plans)],
    )
    output = options.output or options.folder / "result.json"
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_bytes(msgspec.json.format(msgspec.json.encode(found), indent=1))
    if results:
        print(report.table(results))
    if plans:
        print(report.plan_table(plans))
    if streams:
        print(report.stream_table(streams))
    print(f"medians of 3 on {found.machine}; CPU is of the API process, per request; details: {output}")
    for line in found.broken:
        print(f"over budget: {line}", file=sys.stderr)
    return 1 if found.broken else 0


async def measure(
    diner: Diner, pid: int, names: Sequence[str], *, million: bool
) -> tuple[list[Result], list[StreamResult]]:
    """Go through the scenarios of these names."""
    results: list[Result] = []
    streams: list[StreamResult] = []
    async with looking_at(diner, pid) as bench:
        for name in names:
            print(f"measuring: {name}", file=sys.stderr)
            if name == "streams":
                streams = await listeners.streams(bench)
            else:
                results += await getattr(scenarios, name)(bench)
        if million:
            print(f"measuring: kitchen after {FINISHED:,} finished orders", file=sys.stderr)
            results += await scenarios.kitchen(bench, finished=FINISHED)
    return results, streams


if __name__ == "__main__":
    sys.exit(main())
