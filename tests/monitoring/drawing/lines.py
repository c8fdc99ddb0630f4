"""Time series: lines, or areas on top of each other."""

import math
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from comanda_dashboards.parts import Panel
from tests.monitoring.drawing import legend, timeaxis
from tests.monitoring.drawing.asking import Series, Span
from tests.monitoring.drawing.colours import GRID, NAMED, QUIET, of_place
from tests.monitoring.drawing.sheet import Box, Sheet
from tests.monitoring.drawing.units import base, tick

HOURS = 20
"""Pixels below the axes."""


def draw(sheet: Sheet, box: Box, panel: Panel, series: Sequence[Series], span: Span) -> None:
    """Draw them with axes and legend; a point between two gaps, which Grafana leaves out, as a dot."""
    box = box.within(left=8, right=10, bottom=6)
    box = box.within(bottom=legend.draw(sheet, box, [(each.name, of_place(at)) for at, each in enumerate(series)]))
    floors, tops = stacked(series) if panel.stacked else ([], [each.values for each in series])
    ticks = axis(panel, [value for top in tops for value in top if math.isfinite(value)])
    words = [tick(each, panel.unit) for each in ticks]
    margin = max(sheet.width_of(each, 9.5) for each in words) + 6
    box = box.within(left=margin, bottom=HOURS, top=4)
    axes = sheet.axes(box)
    axes.set_ylim(ticks[0], ticks[-1])
    axes.set_yticks(ticks, words)
    axes.tick_params(axis="y", labelsize=timeaxis.SIZE, labelcolor=QUIET)
    axes.grid(axis="y", color=GRID, linewidth=0.7)
    timeaxis.draw(axes, span, box.width)
    for place, (each, top) in enumerate(zip(series, tops, strict=True)):
        floor = floors[place] if panel.stacked else [max(0.0, ticks[0])] * len(top)
        _line(axes, each.times, floor, top, place, panel.stacked)
    for at, color in panel.steps:
        if ticks[0] <= at <= ticks[-1]:
            axes.axhline(at, color=NAMED[color], linewidth=1, dashes=(5, 4))


def _line(
    axes: Axes, times: Sequence[float], floor: Sequence[float], top: Sequence[float], place: int, stacked: bool
) -> None:
    color = of_place(place)
    axes.plot(times, top, color=color, linewidth=1.1)
    axes.fill_between(times, floor, top, color=color, alpha=0.30 if stacked else 0.08, linewidth=0)
    around = [math.nan, *top, math.nan]
    alone = [
        at
        for at in range(len(top))
        if math.isnan(around[at]) and not math.isnan(top[at]) and math.isnan(around[at + 2])
    ]
    axes.plot([times[at] for at in alone], [top[at] for at in alone], "o", color=color, markersize=2.5)


def stacked(series: Sequence[Series]) -> tuple[list[Sequence[float]], list[Sequence[float]]]:
    """Answer on what each series stands and how high it reaches; for those above it a gap counts as nothing."""
    floors: list[Sequence[float]] = []
    tops: list[Sequence[float]] = []
    below = [0.0] * len(series[0].times)
    for each in series:
        floors.append(below)
        tops.append([under + value for under, value in zip(below, each.values, strict=True)])
        below = [under if math.isnan(top) else top for under, top in zip(below, tops[-1], strict=True)]
    return floors, tops


def axis(panel: Panel, values: Sequence[float]) -> list[float]:
    """Answer the ticks of the axis of values, which goes from the first to the last: round numbers in its unit."""
    low = min(values) if panel.bottom is None else panel.bottom
    high = max(values) if panel.top is None else panel.top
    if panel.top is None and high <= low:
        high = low + max(abs(low) * 0.1, 1.0)
    by = base(panel.unit, max(abs(low), abs(high)))
    found = [float(each) * by for each in MaxNLocator(4, steps=[1, 2, 2.5, 5, 10]).tick_values(low / by, high / by)]
    step = found[1] - found[0]
    return [each for each in found if each > low - step and each < high + step * 0.999]
