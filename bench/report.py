"""The budgets, and how a result is told: a table for people, JSON for whoever compares."""

from collections.abc import Mapping, Sequence

from bench.listeners import StreamResult
from bench.measuring import Result
from bench.plan import PLAN_SECONDS

# By the beginning of a scenario's name: CPU of the API process in milliseconds per request, must and aim.
CPU_BUDGETS = {
    "menu": (0.2, 0.1),
    "one order by id": (0.5, 0.25),
    "placing": (1.5, 0.75),
    "kitchen": (10.0, 5.0),
}
WEBHOOK_P99_MS = 50.0


def budget(name: str) -> tuple[float, float] | None:
    """Answer must and aim of a scenario, in milliseconds of CPU per request; None if it has no budget."""
    return next((limits for begin, limits in CPU_BUDGETS.items() if name.startswith(begin)), None)


def broken(results: Sequence[Result]) -> list[str]:
    """Answer one line for every budget that is not kept."""
    lines = []
    for result in results:
        limits = budget(result.name)
        if limits and result.cpu_ms > limits[0]:
            lines.append(f"{result.name}: {result.cpu_ms:.3f} ms of CPU per request, must be at most {limits[0]}")
        if result.name.startswith("webhook") and result.p99_ms > WEBHOOK_P99_MS:
            lines.append(f"{result.name}: p99 {result.p99_ms:.1f} ms, must be at most {WEBHOOK_P99_MS:.0f}")
    return lines


def table(results: Sequence[Result]) -> str:
    """Tell the results as a table."""
    head = f"{'':48} {'CPU ms':>8} {'must':>6} {'aim':>6}  {'req/s':>8} {'p50 ms':>8} {'p99 ms':>8}"
    lines = [f"{head} {'PG CPU':>8} {'RSS MB':>7}"]
    for result in results:
        must, aim = budget(result.name) or ("", "")
        lines.append(
            f"{result.name:48} {result.cpu_ms:8.3f} {must:>6} {aim:>6}  {result.requests_per_second:8.0f} "
            f"{result.p50_ms:8.2f} {result.p99_ms:8.2f} {result.postgres_cpu_ms:8.3f} {result.rss_mb:7.1f}"
        )
    return "\n".join(lines)


def broken_plans(plans: Mapping[str, float]) -> list[str]:
    """Answer one line for every plan of the deployment that takes too long."""
    return [
        f"{name}: {taken:.2f} s, must be under {PLAN_SECONDS:.0f}"
        for name, taken in plans.items()
        if taken > PLAN_SECONDS
    ]


def plan_table(plans: Mapping[str, float]) -> str:
    """Tell what plans of the deployment take."""
    return "\n".join(f"{name:48} {taken:8.2f} s, must be under {PLAN_SECONDS:.0f}" for name, taken in plans.items())


def stream_table(results: Sequence[StreamResult]) -> str:
    """Tell what listeners cost as a table."""
    lines = [f"{'':48} {'all told':>9} {'its CPU':>8}  {'idle CPU':>10} {'PG idle':>10} {'kB each':>8} {'RSS MB':>7}"]
    lines += [
        f"{result.name:48} {result.all_told_ms:6.0f} ms {result.all_told_cpu_ms:5.0f} ms  "
        f"{result.idle_cpu_ms_per_second:5.1f} ms/s {result.idle_postgres_cpu_ms_per_second:5.1f} ms/s "
        f"{result.kilobytes_each:8.1f} {result.rss_mb:7.1f}"
        for result in results
    ]
    return "\n".join(lines)
