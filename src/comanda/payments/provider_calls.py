"""What calls to the payment provider are counted by: how long each took, and what came of it."""

import asyncio
from time import perf_counter
from types import TracebackType

from prometheus_client import Counter, Histogram

from comanda.payments.provider import ProviderDenied, ProviderRefused, ProviderUnavailable

request_duration_seconds = Histogram(
    "comanda_provider_request_duration_seconds",
    "Time from asking the payment provider to its answer read, or to giving up.",
    ["operation"],
    buckets=(0.025, 0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0, 8.0, 13.0),
)
requests_total = Counter(
    "comanda_provider_requests_total",
    "Calls to the payment provider by outcome: ok, missing (404), refused, denied, unavailable,"
    " abandoned (we stopped waiting) or failed (a fault of ours).",
    ["operation", "outcome"],
)
OPERATIONS = (
    "create_pix",
    "get_payment",
    "search_payments",
    "cancel_payment",
    "create_refund",
    "list_refunds",
    "get_refund",
)
OUTCOMES = ("ok", "missing", "refused", "denied", "unavailable", "abandoned", "failed")
# Made now, so that every series is there from the start, at zero, and no call pays for looking them up.
_durations = {operation: request_duration_seconds.labels(operation) for operation in OPERATIONS}
_counters = {
    (operation, outcome): requests_total.labels(operation, outcome) for operation in OPERATIONS for outcome in OUTCOMES
}


class measured:  # noqa: N801 (read as `with measured(...)`)
    """Count the outcome of a call, one of `OPERATIONS`, and its time, whatever they are."""

    __slots__ = ("_operation", "_started")

    def __init__(self, operation: str) -> None:
        self._operation = operation

    def __enter__(self) -> None:
        self._started = perf_counter()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        _durations[self._operation].observe(perf_counter() - self._started)
        _counters[self._operation, _outcome(error)].inc()


def _outcome(error: BaseException | None) -> str:
    match error:
        case None:
            return "ok"
        case ProviderUnavailable():
            return "unavailable"
        case ProviderDenied():
            return "denied"
        case ProviderRefused():
            return "missing" if error.status == 404 else "refused"
        case asyncio.CancelledError():
            return "abandoned"
        case _:
            return "failed"
