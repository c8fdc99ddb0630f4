"""Tasks that live as long as their process, and never end unnoticed."""

import asyncio
import logging
from collections.abc import Awaitable, Callable

from prometheus_client import Counter

logger = logging.getLogger(__name__)

FAILURES = Counter("comanda_task_failures_total", "Background tasks that failed and began again.", ["task"])
REST_SECONDS = 1.0


async def keep_going(
    name: str, work: Callable[[], Awaitable[None]], *, after_failure: Callable[[], None] = lambda: None
) -> None:
    """Run `work`, which never returns by itself, until cancelled; begin again when it fails.

    A task whose error nobody expected would otherwise end without a word, and its process would look healthy
    while, say, no guest hears of a change any more.

    Args:
        name: for logs and metrics.
        after_failure: called before each new beginning, to make good what the failure may have lost.
    """
    FAILURES.labels(name)  # at zero, so that its first time is an increase
    while True:
        try:
            await work()
            logger.error("a task ended by itself; it begins again", extra={"task": name})
        except Exception:
            logger.exception("a task failed; it begins again", extra={"task": name})
        FAILURES.labels(name).inc()
        await asyncio.sleep(REST_SECONDS)
        after_failure()
