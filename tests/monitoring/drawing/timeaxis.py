"""The hours below a panel."""

from datetime import UTC, datetime

from matplotlib.axes import Axes

from tests.monitoring.drawing.asking import Span
from tests.monitoring.drawing.colours import GRID, QUIET
from tests.monitoring.drawing.sheet import DPI

MINUTE, HOUR, DAY = 60, 3600, 86400
STEPS = (*(MINUTE * each for each in (1, 2, 5, 10, 15, 30)), *(HOUR * each for each in (1, 2, 3, 6, 12)), DAY, 2 * DAY)
ROOM = 64
"""Pixels that a label takes."""
SIZE = 9.5 * 72 / DPI
"""Of labels beside axes, in points."""


def draw(axes: Axes, span: Span, width: float) -> None:
    """Write the hours, in UTC, below axes whose x is seconds since 1970."""
    begin, end = span.begin.timestamp(), span.end.timestamp()
    step = next((each for each in STEPS if (end - begin) / each * ROOM <= width), 7 * DAY)
    ticks = [at for at in range(int(begin // step * step), int(end) + 1, step) if at >= begin]
    form = "%H:%M" if step < DAY else "%d/%m"
    axes.set_xlim(begin, end)
    axes.set_xticks(ticks, [datetime.fromtimestamp(at, UTC).strftime(form) for at in ticks])
    axes.tick_params(axis="x", labelsize=SIZE, labelcolor=QUIET)
    axes.grid(axis="x", color=GRID, linewidth=0.7)
    axes.set_axisbelow(True)
