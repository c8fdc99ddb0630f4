"""The HTTP metrics, under the names that the runbook's dashboards ask for.

`route` is the route's template, never a path; `method` one that we know; `status` the class, `2XX` to `5XX`: what
clients send cannot make new time series.
"""

from prometheus_client import Counter, Histogram

LABELS = ["route", "method", "status"]
SIZES = (100, 500, 1_000, 5_000, 10_000, 50_000, 100_000, 500_000, 1_000_000, 5_000_000)
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})

REQUESTS = Counter("http_requests_total", "HTTP requests answered.", LABELS)
DURATION = Histogram(
    "http_request_duration_seconds",
    "From the request's head to the end of the answer.",
    LABELS,
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
)
REQUEST_LENGTH = Histogram("http_request_length_bytes", "Length of request bodies.", LABELS, buckets=SIZES)
RESPONSE_LENGTH = Histogram("http_response_length_bytes", "Length of response bodies.", LABELS, buckets=SIZES)

_series: dict[tuple[str, str, int], tuple[Counter, Histogram, Histogram, Histogram]] = {}


def expect(route: str, method: str) -> None:
    """Have failures of a route counted from zero: a series that begins at 1 has no increase, and hides the first."""
    REQUESTS.labels(route, method, "5XX")


def observe(route: str, method: str, status: int, *, seconds: float, request_bytes: int, response_bytes: int) -> None:
    """Count one answered request."""
    series = _series.get((route, method, status // 100))
    if series is None:
        labels = (route, method if method in METHODS else "OTHER", f"{status // 100}XX")
        series = (
            REQUESTS.labels(*labels),
            DURATION.labels(*labels),
            REQUEST_LENGTH.labels(*labels),
            RESPONSE_LENGTH.labels(*labels),
        )
        if method in METHODS:
            _series[route, method, status // 100] = series
    requests, duration, request_length, response_length = series
    requests.inc()
    duration.observe(seconds)
    request_length.observe(request_bytes)
    response_length.observe(response_bytes)
