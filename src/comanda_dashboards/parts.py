"""What a dashboard is made of, and the JSON that Grafana reads of it.

The names are those of Grafana's own schema (@grafana/schema, `Dashboard`); against it the tests check what comes out.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

Json = dict[str, Any]

DATASOURCE = {"type": "prometheus", "uid": "comanda-prometheus"}
"""Provisioned under this uid: infra/deployment/monitoring/grafana/1-grafana-config-map.yaml."""
SCHEMA_VERSION = 42
"""The newest that @grafana/schema 13.2.3 knows."""
PLUGIN_VERSION = "13.2.3"
COLUMNS = 24
"""Of Grafana's grid."""
ANY = ".*"
"""What stands for `All` of a variable: no series is lost because the list of its values is old."""

GREEN, YELLOW, RED = "green", "yellow", "red"


@dataclass(frozen=True)
class Query:
    """One query of a panel.

    Args:
        expr: PromQL. legend: of its series, with labels as {{label}}; for a table: the title of its column.
        instant: one value of now instead of a line.
    """

    expr: str
    legend: str = ""
    instant: bool = False


@dataclass(frozen=True)
class Panel:
    """One panel.

    Args:
        title, unit: for people; the unit is one of Grafana's ids. about: what is not obvious.
        kind: timeseries, stat, bargauge, table or state-timeline.
        steps: from which value on which colour, the first from the lowest on; none: one colour.
        width, height: on Grafana's grid. bottom, top: of the axis, where it is not the data's.
        stacked: whether series add up. mappings: what a value is shown as. none: what is shown without data.
        every: the shortest time between two points, where the job is not scraped every 15 s.
        sorted_by: of a table, the column; largest first. hidden: columns of a table that nobody wants.
        renamed: the titles of its columns, by label.
    """

    title: str
    unit: str
    queries: tuple[Query, ...]
    about: str = ""
    kind: str = "timeseries"
    steps: tuple[tuple[float, str], ...] = ()
    first: str = GREEN
    width: int = 8
    height: int = 8
    bottom: float | None = None
    top: float | None = None
    decimals: int | None = None
    stacked: bool = False
    mappings: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    none: str = ""
    every: str = ""
    sorted_by: str = ""
    renamed: Mapping[str, str] = field(default_factory=dict)

    def json(self, number: int, x: int, y: int) -> Json:
        """Answer it as Grafana reads it.

        Args:
            number: its id within the dashboard. x, y: where it stands on the grid.
        """
        body: Json = {
            "id": number,
            "type": self.kind,
            "title": self.title,
            "gridPos": {"h": self.height, "w": self.width, "x": x, "y": y},
            "datasource": DATASOURCE,
            "pluginVersion": PLUGIN_VERSION,
            "fieldConfig": {"defaults": self._defaults(), "overrides": []},
            "options": self._options(),
            "targets": [self._target(place, query) for place, query in enumerate(self.queries)],
        }
        if self.about:
            body["description"] = self.about
        if self.every:
            body["interval"] = self.every
        if self.kind == "table":
            body["transformations"] = list(self._transformations())
        return body

    def _target(self, place: int, query: Query) -> Json:
        target: Json = {
            "refId": chr(ord("A") + place),
            "datasource": DATASOURCE,
            "editorMode": "code",
            "expr": query.expr,
            "legendFormat": query.legend or "__auto",
            "range": not query.instant,
            "instant": query.instant,
            "format": "table" if self.kind == "table" else "time_series",
        }
        if self.every:
            target["interval"] = self.every
        return target

    def _defaults(self) -> Json:
        steps = [{"value": None, "color": self.first}, *({"value": at, "color": color} for at, color in self.steps)]
        defaults: Json = {
            "unit": self.unit,
            "color": {"mode": "thresholds" if self._colours_by_value else "palette-classic"},
            "thresholds": {"mode": "absolute", "steps": steps},
        }
        for name, value in (("min", self.bottom), ("max", self.top), ("decimals", self.decimals)):
            if value is not None:
                defaults[name] = value
        if self.none:
            defaults["noValue"] = self.none
        if self.mappings:
            shown = {
                value: {"text": text, "color": color, "index": place}
                for place, (value, (text, color)) in enumerate(self.mappings.items())
            }
            defaults["mappings"] = [{"type": "value", "options": shown}]
        if self.kind == "timeseries":
            defaults["custom"] = {
                "drawStyle": "line",
                "lineInterpolation": "linear",
                "lineWidth": 1,
                "fillOpacity": 30 if self.stacked else 8,
                "showPoints": "never",
                "spanNulls": False,
                "stacking": {"mode": "normal" if self.stacked else "none", "group": "A"},
                "thresholdsStyle": {"mode": "line" if self.steps else "off"},
            }
        elif self.kind == "state-timeline":
            defaults["custom"] = {"lineWidth": 0, "fillOpacity": 80}
        elif self.kind == "table":
            defaults["custom"] = {"align": "auto", "cellOptions": {"type": "auto"}, "inspect": False}
        return defaults

    @property
    def _colours_by_value(self) -> bool:
        return self.kind in {"stat", "bargauge", "state-timeline"}

    def _options(self) -> Json:
        legend = {"displayMode": "list", "placement": "bottom", "showLegend": True, "calcs": []}
        reduced = {"values": False, "calcs": ["lastNotNull"], "fields": ""}
        if self.kind == "stat":
            return {
                "colorMode": "value",
                "graphMode": "none" if all(query.instant for query in self.queries) else "area",
                "justifyMode": "auto",
                "orientation": "auto",
                "percentChangeColorMode": "standard",
                "reduceOptions": reduced,
                "showPercentChange": False,
                "textMode": "auto",
                "wideLayout": True,
            }
        if self.kind == "bargauge":
            return {
                "displayMode": "basic",
                "legend": {**legend, "showLegend": False},
                "maxVizHeight": 300,
                "minVizHeight": 16,
                "minVizWidth": 8,
                "namePlacement": "left",
                "orientation": "horizontal",
                "reduceOptions": reduced,
                "showUnfilled": True,
                "sizing": "auto",
                "valueMode": "color",
            }
        if self.kind == "table":
            by = [{"displayName": self.sorted_by, "desc": True}] if self.sorted_by else []
            return {"cellHeight": "sm", "frameIndex": 0, "showHeader": True, "sortBy": by}
        tooltip = {"mode": "multi", "sort": "desc"}
        if self.kind == "state-timeline":
            return {
                "legend": legend,
                "mergeValues": True,
                "rowHeight": 0.8,
                "showValue": "auto",
                "tooltip": tooltip,
            }
        return {"legend": legend, "tooltip": tooltip}

    def _transformations(self) -> Iterator[Json]:
        """One row for what has the same labels, with a column for each query."""
        if len(self.queries) > 1:
            yield {"id": "merge", "options": {}}
        values = ["Value"] if len(self.queries) == 1 else [f"Value #{chr(ord('A') + at)}" for at in range(26)]
        columns = {value: query.legend for value, query in zip(values, self.queries, strict=False)}
        yield {
            "id": "organize",
            "options": {
                "excludeByName": {"Time": True, "__name__": True},
                "indexByName": {},
                "renameByName": {**self.renamed, **columns},
            },
        }


@dataclass(frozen=True)
class Row:
    """Panels under a heading."""

    title: str
    panels: tuple[Panel, ...]


@dataclass(frozen=True)
class Variable:
    """What a reader chooses at the top: one or more values of a label.

    Args:
        values: a query of Grafana's for Prometheus, as label_values(metric, label).
    """

    name: str
    label: str
    values: str

    def json(self) -> Json:
        """Answer it as Grafana reads it."""
        return {
            "type": "query",
            "name": self.name,
            "label": self.label,
            "datasource": DATASOURCE,
            "query": {"query": self.values, "refId": "values"},
            "refresh": 2,
            "sort": 1,
            "multi": True,
            "includeAll": True,
            "allValue": ANY,
            "current": {"selected": True, "text": ["All"], "value": ["$__all"]},
            "options": [],
            "hide": 0,
        }


@dataclass(frozen=True)
class Dashboard:
    """One dashboard.

    Args:
        slug: of its file and its ConfigMap; with `comanda-` before it, its uid. shown: how far back at first.
    """

    slug: str
    title: str
    about: str
    rows: tuple[Row, ...]
    variables: tuple[Variable, ...] = ()
    shown: str = "now-3h"
    refresh: str = "30s"

    @property
    def panels(self) -> Sequence[Panel]:
        """All of its panels."""
        return [panel for row in self.rows for panel in row.panels]

    def json(self) -> Json:
        """Answer it as Grafana reads it."""
        return {
            "uid": f"comanda-{self.slug}",
            "title": self.title,
            "description": self.about,
            "tags": ["comanda"],
            "timezone": "browser",
            "editable": False,
            "graphTooltip": 1,
            "schemaVersion": SCHEMA_VERSION,
            "refresh": self.refresh,
            "time": {"from": self.shown, "to": "now"},
            "timepicker": {},
            "templating": {"list": [each.json() for each in self.variables]},
            "annotations": {"list": []},
            "links": [
                {
                    "type": "dashboards",
                    "title": "Comanda",
                    "tags": ["comanda"],
                    "asDropdown": True,
                    "icon": "external link",
                    "includeVars": False,
                    "keepTime": True,
                    "targetBlank": False,
                    "tooltip": "",
                    "url": "",
                }
            ],
            "panels": list(self._placed()),
        }

    def _placed(self) -> Iterator[Json]:
        """Lay panels out, left to right and row by row, under their headings."""
        number, y = 0, 0
        for row in self.rows:
            number += 1
            place = {"h": 1, "w": COLUMNS, "x": 0, "y": y}
            yield {
                "id": number,
                "type": "row",
                "title": row.title,
                "collapsed": False,
                "gridPos": place,
                "panels": [],
            }
            x, y, tallest = 0, y + 1, 0
            for panel in row.panels:
                if x + panel.width > COLUMNS:
                    x, y, tallest = 0, y + tallest, 0
                number += 1
                yield panel.json(number, x, y)
                x, tallest = x + panel.width, max(tallest, panel.height)
            y += tallest


def stat(title: str, unit: str, expr: str, **more: Any) -> Panel:
    """Answer a panel of one number."""
    given = {"kind": "stat", "width": 4, "height": 5, **more}
    return Panel(title, unit, (Query(expr),), **given)
