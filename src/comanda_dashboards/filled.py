"""Every query as Prometheus is asked it: with Grafana's variables filled in."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from comanda_dashboards.every import DASHBOARDS
from comanda_dashboards.parts import ANY, Dashboard, Panel, Query

SCRAPED_EVERY = 15
"""Seconds, as the data source is told: jsonData.timeInterval."""
SECONDS = {"s": 1, "m": 60}


@dataclass(frozen=True)
class Filled:
    """A query of a panel that could be asked as it stands.

    Args:
        dashboard: its slug. panel: its title. expr: PromQL. instant: whether one moment is asked for.
    """

    dashboard: str
    panel: str
    expr: str
    instant: bool


def queries(shown: str = "1h") -> Iterator[Filled]:
    """Answer every query of every panel, all values chosen of each variable.

    Args:
        shown: the time that a dashboard shows, `$__range`.
    """
    for dashboard in DASHBOARDS:
        for panel in dashboard.panels:
            for query in panel.queries:
                expr = filled(query.expr, dashboard, panel, shown)
                yield Filled(dashboard.slug, panel.title, expr, query.instant)


def variable_queries() -> Iterator[tuple[str, str, str]]:
    """Answer of every variable its dashboard, and the metric and the label whose values it offers."""
    for dashboard in DASHBOARDS:
        for variable in dashboard.variables:
            found = re.fullmatch(r"label_values\((.+), (\w+)\)", variable.values)
            assert found, variable.values
            yield dashboard.slug, found[1], found[2]


def scraped_every(panel: Panel) -> int:
    """Answer the seconds between two samples of what a panel shows."""
    return _seconds(panel.every) if panel.every else SCRAPED_EVERY


def filled(expr: str, dashboard: Dashboard, panel: Panel, shown: str, apart: int = 0) -> str:
    """Answer a query with Grafana's own variables, and those of its dashboard, filled in.

    Args:
        shown: the time that the dashboard shows. apart: seconds between two points, where samples are closer.
    """
    step = scraped_every(panel)
    rate = max(4 * step, apart + step)
    known = {"__rate_interval": f"{rate}s", "__interval": f"{max(step, apart)}s", "__range": shown}
    known |= {variable.name: ANY for variable in dashboard.variables}
    return re.sub(r"\$(\w+)", lambda found: known[found[1]], expr)


def _seconds(text: str) -> int:
    return int(text[:-1]) * SECONDS[text[-1]]


__all__ = ["Filled", "Query", "filled", "queries", "scraped_every", "variable_queries"]
