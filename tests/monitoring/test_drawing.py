"""The pictures of the dashboards: what a reader must find on them, and that none is drawn from half an answer."""

import json
import math
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.text import Text
from PIL import Image

from comanda_dashboards.every import DASHBOARDS
from comanda_dashboards.parts import RED, YELLOW, Dashboard, Panel, Query, Row, stat
from tests.monitoring.drawing import __main__ as command
from tests.monitoring.drawing.asking import Span, Unanswered, answered
from tests.monitoring.drawing.colours import NAMED, PALETTE, inks
from tests.monitoring.drawing.picture import box, drawn, png
from tests.monitoring.drawing.units import UNITS, shown, tick
from tests.monitoring.test_dashboards import UNITS as UNITS_IN_USE

END = datetime(2026, 11, 2, 15, 3, 12, tzinfo=UTC)
SPAN = Span(END - timedelta(minutes=10), END)
Values = Callable[[int], float]
"""The value of the n-th point."""
Series = Sequence[tuple[dict[str, str], Values | float]]
"""Labels and values of each."""


class Given:
    """A Prometheus that has of each query, by its text, such series; and remembers what it was asked."""

    def __init__(self, series: Mapping[str, Series]) -> None:
        self.series = series
        self.asked: list[tuple[str, dict[str, str]]] = []

    def __call__(self, path: str, **parameters: str) -> Any:
        self.asked.append((path, parameters))
        known = self.series.get(parameters["query"], [])
        if path == "query":
            at = float(parameters["time"])
            found = [
                {"metric": labels, "value": [at, str(value(0) if callable(value) else value)]}
                for labels, value in known
            ]
            return {"resultType": "vector", "result": found}
        times = range(int(parameters["start"]), int(parameters["end"]) + 1, int(parameters["step"]))
        lines = []
        for labels, value in known:
            points = [(at, value(n) if callable(value) else value) for n, at in enumerate(times)]
            # A gap is a point that is not there; NaN is a value of Prometheus' own.
            lines.append({"metric": labels, "values": [[at, str(found)] for at, found in points if found != math.inf]})
        return {"resultType": "matrix", "result": lines}


def board(*panels: Panel) -> Dashboard:
    """Answer a dashboard of these."""
    return Dashboard("some", "Some", "about", (Row("row", panels),))


def lines(*queries: Query, unit: str = "short", **more: Any) -> Panel:
    """Answer a panel of time series."""
    return Panel("Lines", unit, queries, **more)


def words(figure: Figure) -> list[str]:
    """Answer all that can be read on a picture."""
    texts = [one for one in figure.findobj(Text) if isinstance(one, Text)]
    return [" ".join(one.get_text().split()) for one in texts if one.get_text()]


def colour_of(figure: Figure, said: str) -> str:
    """Answer the colour in which something is written."""
    [found] = [one for one in figure.findobj(Text) if isinstance(one, Text) and one.get_text() == said]
    return to_hex(found.get_color()).upper()


def heights(line: Line2D) -> list[float]:
    """Answer the values of a line, point by point."""
    return [float(value) for value in np.asarray(line.get_ydata(), dtype=float)]


# Every panel.


@pytest.mark.parametrize("dashboard", DASHBOARDS, ids=lambda one: one.slug)
def test_every_panel_is_at_its_place_with_its_title(dashboard: Dashboard) -> None:
    figure = drawn(Given({}), dashboard, SPAN)
    height = figure.get_figheight() * figure.dpi
    width = figure.get_figwidth() * figure.dpi
    written = [
        (" ".join(one.get_text().split()), one.get_position()[0] * width, (1 - one.get_position()[1]) * height)
        for one in figure.findobj(Text)
        if isinstance(one, Text)
    ]
    wanted = dashboard.json()["panels"]
    assert len(wanted) > len(dashboard.rows)
    for panel in wanted:
        place = box(**panel["gridPos"])
        inside = " ".join(
            text for text, x, y in written if place.left <= x <= place.right and place.top <= y <= place.bottom
        )
        assert panel["title"] in inside, f"{panel['title']!r} is not where it belongs: {inside!r}"
        assert place.right <= width, panel["title"]
        assert place.bottom <= height, panel["title"]
        if panel["type"] != "row":
            none = panel["fieldConfig"]["defaults"].get("noValue", "No data")
            assert none in inside, f"{panel['title']!r} is left blank"
    assert dashboard.title in words(figure)
    assert "2026-11-02 14:53 - 15:03 UTC" in " ".join(words(figure))


def test_every_dashboard_can_be_drawn_when_every_query_finds_something() -> None:
    class Everything(Given):
        def __call__(self, path: str, **parameters: str) -> Any:
            self.series = {parameters["query"]: [({"pod": "a"}, lambda n: n / 7), ({"pod": "b"}, 1.0)]}
            return super().__call__(path, **parameters)

    for dashboard in DASHBOARDS:
        ask = Everything({})
        figure = drawn(ask, dashboard, SPAN)
        assert len(ask.asked) == sum(len(panel.queries) for panel in dashboard.panels)
        assert not {"No data", *(panel.none for panel in dashboard.panels if panel.none)} & set(words(figure))


# Values and their units, as Grafana's own formatters write them (@grafana/data, valueFormats).


def test_every_unit_in_use_can_be_written() -> None:
    assert set(UNITS) == UNITS_IN_USE


@pytest.mark.parametrize(
    ("value", "unit", "decimals", "text"),
    [
        (12.5, "currencyBRL", 2, "R$12.50"),
        (1234.5, "currencyBRL", 2, "R$1.23K"),
        (-3, "currencyBRL", 2, "-R$3.00"),
        (0.995, "percentunit", None, "99.5%"),
        (0.07, "percentunit", None, "7%"),
        (1, "percentunit", 3, "100.000%"),
        (0, "s", None, "0 s"),
        (0.0000005, "s", None, "500 ns"),
        (0.00123, "s", None, "1.23 ms"),
        (0.25, "s", None, "250 ms"),
        (59, "s", None, "59 s"),
        (60, "s", None, "1 min"),
        (90, "s", None, "1.50 mins"),
        (7200, "s", None, "2 hours"),
        (1209600, "s", None, "2 weeks"),
        (0, "bytes", None, "0 B"),
        (1536, "bytes", None, "1.50 KiB"),
        (8 * 1024**3, "bytes", None, "8 GiB"),
        (1500, "Bps", None, "1.50 kB/s"),
        (1234, "reqps", None, "1.23K req/s"),
        (0.2, "cps", None, "0.200 c/s"),
        (42, "ops", None, "42 ops/s"),
        (1234567, "short", None, "1.23 Mil"),
        (1000, "short", None, "1 K"),
        (3, "none", None, "3"),
        (90061, "dtdurations", None, "1 day"),
        (90061, "dtdurations", 1, "1 day, 1 hour"),
        (math.inf, "s", None, "inf"),
    ],
)
def test_values_are_written_as_grafana_writes_them(value: float, unit: str, decimals: int | None, text: str) -> None:
    assert shown(value, unit, decimals) == text


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (0.1 + 0.2, "short", "0.3"),
        (0, "percentunit", "0%"),
        (1, "percentunit", "100%"),
        (0.025, "percentunit", "2.5%"),
        (0, "reqps", "0 req/s"),
        (10, "short", "10"),
        (20480, "bytes", "20 KiB"),
    ],
)
def test_ticks_have_no_more_decimals_than_they_need(value: float, unit: str, text: str) -> None:
    assert tick(value, unit) == text


def test_every_kind_of_panel_shows_its_value_in_its_unit() -> None:
    figure = drawn(
        Given(
            {
                "money": [({}, 12.5)],
                "size": [({"pod": "a"}, lambda n: n * 1024**2)],
                "full": [({"pod": "b"}, 0.85)],
                "cpu": [({"node": "n1"}, 0.42), ({"node": "n2"}, 0.77)],
                "memory": [({"node": "n1"}, 0.13)],
                "state": [({"what": "c"}, 1)],
            }
        ),
        board(
            stat("Money", "currencyBRL", "money", decimals=2),
            Panel("Size", "bytes", (Query("size", "of {{pod}}"),), bottom=0),
            Panel("Full", "percentunit", (Query("full", "{{pod}}!", instant=True),), kind="bargauge", top=1),
            Panel(
                "Each",
                "percentunit",
                (Query("cpu", "CPU", instant=True), Query("memory", "Memory", instant=True)),
                kind="table",
                sorted_by="CPU",
                renamed={"node": "Node"},
            ),
            Panel("State", "short", (Query("state", "it"),), kind="state-timeline", mappings={"1": ("well", "green")}),
        ),
        SPAN,
    )
    said = words(figure)
    assert {"R$12.50", "of a", "0 B", "20 MiB", "40 MiB", "b!", "85%", "Node", "CPU", "Memory", "it", "well"} <= set(
        said
    )
    table = [each for each in said if each in {"n1", "n2", "42%", "77%", "13%"}]
    assert sorted(table) == ["13%", "42%", "77%", "n1", "n2"]
    assert table.index("n2") < table.index("n1"), "sorted by CPU, largest first"


# Where there is nothing.


@pytest.mark.parametrize(("none", "said"), [("sem pedidos", "sem pedidos"), ("", "No data")])
@pytest.mark.parametrize("series", [[], [({}, math.nan)], [({}, math.inf)]], ids=["none", "NaN", "no points"])
def test_a_panel_without_data_says_so(series: Series, none: str, said: str) -> None:
    there = stat("There", "short", "there")
    figure = drawn(
        Given({"gone": series, "there": [({}, 7)]}), board(lines(Query("gone", "x"), none=none), there), SPAN
    )
    assert words(figure).count(said) == 1
    assert "7" in words(figure)
    assert "x" not in words(figure), "no legend of what is not there"


@pytest.mark.parametrize("kind", ["timeseries", "table"])
def test_a_query_that_fails_is_said_with_dashboard_and_panel(kind: str) -> None:
    def refusing(path: str, **parameters: str) -> Any:
        if parameters["query"] == "bad":
            raise ValueError("parse error: unexpected end")
        return Given({})(path, **parameters)

    panel = Panel("Odd one", "short", (Query("good"), Query("bad", instant=kind == "table")), kind=kind)
    with pytest.raises(Unanswered, match=r"dashboard some, panel 'Odd one': parse error.*asked: bad"):
        drawn(refusing, board(panel), SPAN)


# Colours.


@pytest.mark.parametrize(("value", "color"), [(59, "green"), (60, "yellow"), (100, "red")])
def test_a_number_has_the_colour_of_the_threshold_that_it_reaches(value: float, color: str) -> None:
    panel = stat("Age", "short", "age", steps=((60, YELLOW), (100, RED)))
    assert colour_of(drawn(Given({"age": [({}, value)]}), board(panel), SPAN), str(value)) == NAMED[color]


def test_the_newest_value_counts_and_a_word_has_the_colour_of_its_mapping() -> None:
    panel = stat("Last", "none", "last", first="green", mappings={"0": ("failed", RED), "1": ("well", "green")})
    figure = drawn(Given({"last": [({}, lambda n: 1.0 if n < 20 else 0.0)]}), board(panel), SPAN)
    assert colour_of(figure, "failed") == NAMED["red"]
    assert "well" not in words(figure)


def test_a_threshold_is_a_line_of_its_colour_where_the_axis_reaches_it() -> None:
    panel = lines(Query("x", "x"), unit="s", steps=((15, RED), (1000, YELLOW)), bottom=0)
    figure = drawn(Given({"x": [({}, lambda n: n)]}), board(panel), SPAN)
    level = [one for one in figure.axes[0].lines if len(set(heights(one))) == 1]
    assert [(heights(one)[0], to_hex(one.get_color()).upper()) for one in level] == [(15, NAMED["red"])]


def test_a_thin_line_keeps_its_colour_in_the_file(tmp_path: Path) -> None:
    panel = lines(Query("a", "a"), Query("b", "b"))
    data = png(drawn(Given({"a": [({}, 1)], "b": [({}, 2)]}), board(panel), SPAN))
    file = tmp_path / "some.png"
    file.write_bytes(data)
    with Image.open(file) as image:
        colors = image.convert("RGB").getcolors(1 << 20)
    seen = {"#{:02X}{:02X}{:02X}".format(*color) for _, color in colors or [] if isinstance(color, tuple)}
    assert {PALETTE[0], PALETTE[1]} <= seen
    assert PALETTE[2] not in seen
    assert len(inks()) <= 256


# Lines.


def test_series_have_the_names_that_the_legend_makes_of_their_labels() -> None:
    panel = lines(Query("a", "{{pod}} in {{ zone }}"), Query("b", "{{route}}"))
    found = answered(Given({"a": [({"pod": "p", "zone": "z"}, 1)], "b": [({}, 2)]}), board(panel), panel, SPAN)
    assert [each.name for each in found] == ["p in z", "Value"]


def test_of_a_legend_too_long_the_rest_is_counted() -> None:
    pods = [({"pod": f"comanda-api-{number:02}"}, 1.0) for number in range(20)]
    said = words(drawn(Given({"x": pods}), board(lines(Query("x", "{{pod}}"))), SPAN))
    named = [each for each in said if each.startswith("comanda-api-")]
    assert 3 <= len(named) < 20
    assert f"+{20 - len(named)}" in said


def test_a_gap_stays_a_gap_and_what_is_stacked_adds_up() -> None:
    series: dict[str, Series] = {
        "a": [({}, lambda n: math.inf if 10 < n < 20 else 1.0)],
        "b": [({}, 2.0)],
    }
    queries = Query("a", "a"), Query("b", "b")
    for stacked, highest in ((False, 2.0), (True, 3.0)):
        axes = drawn(Given(series), board(lines(*queries, stacked=stacked, bottom=0)), SPAN).axes[0]
        a, b = [found for one in axes.lines if len(found := heights(one)) > 30]
        assert [math.isnan(value) for value in a] == [10 < n < 20 for n in range(len(a))]
        assert (b[0], b[15]) == (highest, 2.0)
        area = np.asarray(axes.collections[1].get_paths()[0].vertices)
        begin = area[area[:, 0] == area[:, 0].min()][:, 1]
        assert (begin.min(), begin.max()) == (highest - 2.0, highest), "between what it stands on and its line"


def test_bands_of_states_last_until_the_state_changes() -> None:
    panel = Panel(
        "S", "short", (Query("s", "s"),), kind="state-timeline", mappings={"0": ("no", RED), "1": ("yes", "green")}
    )
    figure = drawn(Given({"s": [({}, lambda n: float(n >= 20))]}), board(panel), SPAN)
    bars = figure.axes[0].patches
    assert [to_hex(each.get_facecolor()).upper() for each in bars] == [NAMED["red"], NAMED["green"]]
    first, second = (each.get_extents() for each in bars)
    assert first.width == pytest.approx(second.width, rel=0.1), "half of the time each"
    assert first.x1 == pytest.approx(second.x0), "a point counts until the next"


# Asking.


@pytest.mark.parametrize(
    ("hours", "step", "rate", "shown_time"), [(1, "15", "60s", "3600s"), (6, "90", "105s", "21600s")]
)
def test_a_query_is_asked_as_grafana_asks_it(hours: int, step: str, rate: str, shown_time: str) -> None:
    panel = lines(Query("rate(x[$__rate_interval]) + increase(y[$__range])"))
    ask = Given({})
    answered(ask, board(panel), panel, Span(END - timedelta(hours=hours), END))
    [(path, asked)] = ask.asked
    assert (path, asked["step"]) == ("query_range", step)
    assert asked["query"] == f"rate(x[{rate}]) + increase(y[{shown_time}])"
    assert int(asked["start"]) % int(step) == int(asked["end"]) % int(step) == 0


@contextmanager
def prometheus(answer: dict[str, Any]) -> Iterator[tuple[str, list[str]]]:
    """Answer the address of one that says always the same, and the paths that it is asked."""
    paths: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            paths.append(self.path)
            body = json.dumps(answer).encode()
            self.send_response(200 if answer["status"] == "success" else 400)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            """Keep quiet."""

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/", paths
        server.shutdown()
        thread.join()


def test_the_command_draws_every_dashboard_the_same_way_each_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    nothing = {"status": "success", "data": {"resultType": "matrix", "result": []}}
    with prometheus(nothing) as (url, paths):
        monkeypatch.setattr(sys, "argv", ["drawing", "--prometheus", url, "--out", str(tmp_path / "new")])
        assert command.main() == 0
    assert {file.name for file in (tmp_path / "new").iterdir()} == {f"{each.slug}.png" for each in DASHBOARDS}
    assert len(capsys.readouterr().out.splitlines()) == len(DASHBOARDS)
    assert all(path.startswith(("/api/v1/query_range?", "/api/v1/query?")) for path in paths)
    some = board(lines(Query("x", "x")))
    once, again = (png(drawn(Given({"x": [({}, lambda n: n)]}), some, SPAN)) for _ in range(2))
    assert once == again


def test_what_prometheus_says_against_a_query_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with prometheus({"status": "error", "error": "too many samples"}) as (url, _):
        monkeypatch.setattr(sys, "argv", ["drawing", "--prometheus", url, "--out", str(tmp_path)])
        with pytest.raises(Unanswered, match="dashboard orders, panel 'Pedidos: aguardando Pix': too many samples"):
            command.main()
    assert list(tmp_path.iterdir()) == []
