"""Each dashboard as one picture.

PNG, not SVG: a dashboard has up to some hundred lines of 240 points, which as SVG are several hundred kB each, and its
letters would be drawn as paths or depend on the reader's fonts. With a palette of our own colours a PNG is some 100 kB,
and a line keeps its colour, which a palette made of each picture's commonest would take from the thin ones. The same
data give the same bytes, as long as matplotlib and Pillow are the same: no time and no name of a program is in it.
"""

import io
import textwrap
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

from matplotlib.figure import Figure
from PIL import Image

from comanda_dashboards.every import DASHBOARDS
from comanda_dashboards.parts import COLUMNS, Dashboard, Panel
from tests.monitoring.drawing import bars, lines, numbers, states, tables
from tests.monitoring.drawing.asking import Ask, Series, Span, answered
from tests.monitoring.drawing.colours import BORDER, PANEL, QUIET, inks
from tests.monitoring.drawing.sheet import DPI, Box, Sheet

WIDTH, EDGE, HEAD = 1200, 8, 62
"""Pixels: of the page, of its margin, and above the panels."""
UNIT, GAP = 32, 6
"""Of a line of the grid, and what is left free of it between panels."""
TITLE, TITLED = 12, 28
INKS = inks()
NOTHING = "No data"
"""What Grafana says where the panel has no word of its own."""

KINDS: dict[str, Callable[[Sheet, Box, Panel, Sequence[Series], Span], None]] = {
    "timeseries": lines.draw,
    "stat": numbers.draw,
    "bargauge": bars.draw,
    "table": tables.draw,
    "state-timeline": states.draw,
}


def draw_all(ask: Ask, out: Path, begin: datetime, end: datetime) -> list[Path]:
    """Draw every dashboard into a folder, as <slug>.png, and answer the files.

    Args:
        ask: asks Prometheus. begin, end: of the time that is drawn, aware.

    Raises:
        Unanswered: a query of a panel failed; pictures of dashboards before it are written.
    """
    out.mkdir(parents=True, exist_ok=True)
    files = []
    for dashboard in DASHBOARDS:
        file = out / f"{dashboard.slug}.png"
        file.write_bytes(png(drawn(ask, dashboard, Span(begin, end))))
        files.append(file)
    return files


def drawn(ask: Ask, dashboard: Dashboard, span: Span) -> Figure:
    """Answer a dashboard as a figure.

    Raises:
        Unanswered: a query of one of its panels failed.
    """
    placed = dashboard.json()["panels"]
    grid = max(each["gridPos"]["y"] + each["gridPos"]["h"] for each in placed)
    sheet = Sheet(WIDTH, HEAD + grid * UNIT + EDGE)
    _head(sheet, dashboard, span)
    panels = iter(dashboard.panels)
    for each in placed:
        place = box(**each["gridPos"])
        if each["type"] == "row":
            sheet.text(place.left + 2, place.top + place.height / 2 + 3, each["title"], 14, weight="bold")
        else:
            panel = next(panels)
            _panel(sheet, place, panel, answered(ask, dashboard, panel, span), span)
    return sheet.figure


def box(x: int, y: int, w: int, h: int) -> Box:
    """Answer where a place of Grafana's grid is on the page."""
    column = (WIDTH - 2 * EDGE + GAP) / COLUMNS
    return Box(EDGE + x * column, HEAD + y * UNIT, w * column - GAP, h * UNIT - GAP)


def png(figure: Figure) -> bytes:
    """Answer a figure as the bytes of a PNG."""
    raw, small = io.BytesIO(), io.BytesIO()
    figure.savefig(raw, format="png", dpi=DPI, metadata={"Software": None})
    palette = Image.new("P", (1, 1))
    palette.putpalette([part for color in INKS for part in color])
    with Image.open(raw) as image:
        few = image.convert("RGB").quantize(palette=palette, dither=Image.Dither.NONE)
    few.save(small, format="PNG", optimize=True)
    return small.getvalue()


def _head(sheet: Sheet, dashboard: Dashboard, span: Span) -> None:
    sheet.text(EDGE + 2, 20, dashboard.title, 19, weight="bold")
    begin, end = (at.astimezone(UTC) for at in (span.begin, span.end))
    last = f"{end:%H:%M}" if end.date() == begin.date() else f"{end:%Y-%m-%d %H:%M}"
    chosen = "".join(f"{each.label}: All   " for each in dashboard.variables)
    sheet.text(WIDTH - EDGE, 20, f"{chosen}{begin:%Y-%m-%d %H:%M} - {last} UTC", 12, QUIET, ha="right")
    sheet.text(EDGE + 2, 46, dashboard.about, sheet.size_for(dashboard.about, WIDTH - 2 * EDGE, 12), QUIET)


def _panel(sheet: Sheet, place: Box, panel: Panel, series: Sequence[Series], span: Span) -> None:
    sheet.card(place, PANEL, BORDER)
    room = place.width - 16
    lines_of = [panel.title]
    if sheet.width_of(panel.title, TITLE - 1, "bold") > room:
        lines_of = textwrap.wrap(panel.title, max(8, int(len(panel.title) * 0.65)))
    size = min(sheet.size_for(line, room, TITLE, "bold") for line in lines_of)
    for number, line in enumerate(lines_of):
        sheet.text(place.left + 8, place.top + 15 + number * (size + 3), line, size, weight="bold")
    inner = place.within(top=TITLED + (len(lines_of) - 1) * (size + 3))
    if series:
        KINDS[panel.kind](sheet, inner, panel, series, span)
    else:
        middle = inner.left + inner.width / 2, inner.top + inner.height * 0.42
        said = panel.none or NOTHING
        sheet.text(*middle, said, sheet.size_for(said, room, 15), QUIET, ha="center")
