"""One number, in the colour of its threshold, before the line of how it came about."""

import math
from collections.abc import Sequence

from comanda_dashboards.parts import Panel
from tests.monitoring.drawing.asking import Series, Span
from tests.monitoring.drawing.colours import of_value
from tests.monitoring.drawing.sheet import Box, Sheet
from tests.monitoring.drawing.units import shown

LARGEST = 34
"""Pixels."""


def words(panel: Panel, value: float) -> str:
    """Answer what a value is shown as: the word that stands for it, else the value in its unit."""
    mapped = panel.mappings.get(f"{value:g}")
    return mapped[0] if mapped else shown(value, panel.unit, panel.decimals)


def draw(sheet: Sheet, box: Box, panel: Panel, series: Sequence[Series], span: Span) -> None:
    """Draw them, beside each other if there are more than one."""
    for place, each in enumerate(series):
        width = box.width / len(series)
        _number(sheet, Box(box.left + place * width, box.top, width, box.height), panel, each, span)


def _number(sheet: Sheet, box: Box, panel: Panel, series: Series, span: Span) -> None:
    text, color = words(panel, series.last), of_value(panel, series.last)
    values = [value for value in series.values if math.isfinite(value)]
    if len(values) > 1:
        axes = sheet.axes(box.within(top=box.height * 0.55, left=1, right=1, bottom=1))
        low, high = min(values), max(values)
        floor = low - (high - low or 1.0) * 0.15
        axes.set_xlim(span.begin.timestamp(), span.end.timestamp())
        axes.set_ylim(floor, high + (high - low or 1.0) * 0.15)
        axes.plot(series.times, series.values, color=color, linewidth=1)
        axes.fill_between(series.times, floor, series.values, color=color, alpha=0.15, linewidth=0)
    size = sheet.size_for(text, box.width - 24, LARGEST, "bold")
    sheet.text(box.left + box.width / 2, box.top + box.height * 0.38, text, size, color, ha="center", weight="bold")
