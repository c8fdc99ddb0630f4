"""What a Prometheus answers to the queries of a panel, as Grafana would ask them."""

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from http.client import HTTPConnection, HTTPSConnection
from typing import Any, Protocol
from urllib.parse import urlencode, urlsplit

from comanda_dashboards.filled import SCRAPED_EVERY, filled, scraped_every
from comanda_dashboards.parts import Dashboard, Panel, Query

POINTS = 240
"""Of a line, at most: as many as a panel a third of the page wide has room for."""
NAMELESS = "Value"
"""What Grafana calls a series whose legend comes out empty."""


class Ask(Protocol):
    """What asks Prometheus: Prometheus.ask of tests/cluster/comanda, or `over_http`."""

    def __call__(self, path: str, **parameters: str) -> Any:
        """Answer the `data` of an answer of the HTTP API, as of "query_range"."""


class Unanswered(Exception):
    """A query of a panel failed; it says of which panel of which dashboard."""


@dataclass(frozen=True)
class Span:
    """The time that is drawn.

    Args:
        begin, end: aware.
    """

    begin: datetime
    end: datetime

    @property
    def seconds(self) -> int:
        """How long it is."""
        return round((self.end - self.begin).total_seconds())

    def apart(self, panel: Panel) -> int:
        """Answer the seconds between two points of a panel."""
        return max(scraped_every(panel), math.ceil(self.seconds / POINTS / SCRAPED_EVERY) * SCRAPED_EVERY)

    def times(self, panel: Panel) -> list[int]:
        """Answer when a panel has points, in seconds since 1970; every line has one at each, or a gap."""
        apart = self.apart(panel)
        first = math.floor(self.begin.timestamp() / apart) * apart
        return list(range(first, math.floor(self.end.timestamp()) + 1, apart))


@dataclass(frozen=True)
class Series:
    """One series of a panel.

    Args:
        name: as the legend has it. labels: without the metric's name. query: the place of its query in the panel.
        times: seconds since 1970. values: one for each of them; NaN where there is none.
    """

    name: str
    labels: Mapping[str, str]
    query: int
    times: tuple[float, ...]
    values: tuple[float, ...]

    @property
    def last(self) -> float:
        """The newest value that is one (Grafana's lastNotNull); NaN if none is."""
        return next((value for value in reversed(self.values) if not math.isnan(value)), math.nan)


def answered(ask: Ask, dashboard: Dashboard, panel: Panel, span: Span) -> list[Series]:
    """Answer what there is to draw in a panel: no series that has no value.

    Raises:
        Unanswered: a query failed.
    """
    found: list[Series] = []
    for place, query in enumerate(panel.queries):
        expr = filled(query.expr, dashboard, panel, f"{span.seconds}s", span.apart(panel))
        try:
            found += (
                _now(ask, place, query, expr, span) if query.instant else _lines(ask, place, query, expr, panel, span)
            )
        except Exception as error:
            raise Unanswered(f"dashboard {dashboard.slug}, panel {panel.title!r}: {error} (asked: {expr})") from error
    return [series for series in found if not math.isnan(series.last)]


def _now(ask: Ask, place: int, query: Query, expr: str, span: Span) -> list[Series]:
    data = ask("query", query=expr, time=str(span.end.timestamp()))
    result = [{"metric": {}, "value": data["result"]}] if data["resultType"] == "scalar" else data["result"]
    return [
        _series(each["metric"], place, query, expr, {float(each["value"][0]): float(each["value"][1])})
        for each in result
    ]


def _lines(ask: Ask, place: int, query: Query, expr: str, panel: Panel, span: Span) -> list[Series]:
    times = span.times(panel)
    data = ask("query_range", query=expr, start=str(times[0]), end=str(times[-1]), step=str(span.apart(panel)))
    found = []
    for each in data["result"]:
        given = {round(float(at)): float(value) for at, value in each["values"]}
        found.append(_series(each["metric"], place, query, expr, {at: given.get(at, math.nan) for at in times}))
    return found


def _series(metric: dict[str, str], place: int, query: Query, expr: str, points: Mapping[float, float]) -> Series:
    labels = {name: value for name, value in metric.items() if name != "__name__"}
    name = named(query.legend, labels) if query.legend else ", ".join(labels.values()) or expr
    return Series(name, labels, place, tuple(points), tuple(points.values()))


def named(legend: str, labels: Mapping[str, str]) -> str:
    """Answer a legend with the labels of a series in it."""
    return re.sub(r"\{\{\s*(\w+)\s*\}\}", lambda found: labels.get(found[1], ""), legend).strip() or NAMELESS


def over_http(url: str) -> Ask:
    """Answer what asks the Prometheus at an address, as http://127.0.0.1:9090."""
    at = urlsplit(url)
    if at.scheme not in {"http", "https"} or not at.hostname:
        raise ValueError(f"{url!r} is not the address of a Prometheus")
    kind = HTTPSConnection if at.scheme == "https" else HTTPConnection

    def ask(path: str, **parameters: str) -> Any:
        connection = kind(str(at.hostname), at.port, timeout=60)
        try:
            connection.request("GET", f"{at.path.rstrip('/')}/api/v1/{path}?{urlencode(parameters)}")
            body = connection.getresponse().read()
        finally:
            connection.close()
        answer = json.loads(body)
        if answer["status"] != "success":
            raise ValueError(answer.get("error", answer))
        return answer["data"]

    return ask
