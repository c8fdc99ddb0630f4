"""A band for each series, in which every state has its colour and its word."""

import math
from collections.abc import Iterator, Sequence

from comanda_dashboards.parts import Panel
from tests.monitoring.drawing import legend, timeaxis
from tests.monitoring.drawing.asking import Series, Span
from tests.monitoring.drawing.colours import PANEL, of_value
from tests.monitoring.drawing.numbers import words
from tests.monitoring.drawing.sheet import Box, Sheet

HOURS = 20
"""Pixels below the bands."""


def stretches(series: Series, apart: float) -> Iterator[tuple[float, float, float]]:
    """Answer from when to when it had which value; a point counts until the next one would come."""
    begin, end, value = 0.0, 0.0, math.nan
    for at, now in zip(series.times, series.values, strict=True):
        if now != value:
            if not math.isnan(value):
                yield begin, end, value
            begin, value = at, now
        end = at + apart
    if not math.isnan(value):
        yield begin, end, value


def draw(sheet: Sheet, box: Box, panel: Panel, series: Sequence[Series], span: Span) -> None:
    """Draw them, below each other."""
    box = box.within(left=10, right=10, bottom=6)
    found = [list(stretches(each, span.apart(panel))) for each in series]
    states = {words(panel, value): of_value(panel, value) for each in found for _, _, value in each}
    box = box.within(bottom=legend.draw(sheet, box, list(states.items())))
    name = min(max(sheet.width_of(each.name, 10) for each in series), box.width * 0.35)
    box = box.within(left=name + 8, bottom=HOURS, top=4)
    axes = sheet.axes(box)
    timeaxis.draw(axes, span, box.width)
    axes.set_ylim(len(series), 0)
    row, wide = box.height / len(series), box.width / span.seconds
    for place, (each, parts) in enumerate(zip(series, found, strict=True)):
        middle = box.top + (place + 0.5) * row
        sheet.text(box.left - 8, middle, sheet.cut(each.name, name, 10), 10, ha="right")
        for begin, end, value in parts:
            left, right = max(begin, span.begin.timestamp()), min(end, span.end.timestamp())
            axes.barh(place + 0.5, right - left, 0.8, left, color=of_value(panel, value), alpha=0.8)
            said = words(panel, value)
            if sheet.width_of(said, 10) + 6 < (right - left) * wide:
                x = box.left + ((left + right) / 2 - span.begin.timestamp()) * wide
                sheet.text(x, middle, said, 10, PANEL, ha="center", zorder=5)
