"""A bar for each series, as full as its value, with the name before it and the value behind it."""

import math
from collections.abc import Sequence

from comanda_dashboards.parts import Panel
from tests.monitoring.drawing.asking import Series, Span
from tests.monitoring.drawing.colours import EMPTY, of_value
from tests.monitoring.drawing.numbers import words
from tests.monitoring.drawing.sheet import Box, Sheet

THICKEST = 40
"""Pixels."""


def draw(sheet: Sheet, box: Box, panel: Panel, series: Sequence[Series], _span: Span) -> None:
    """Draw them, below each other."""
    box = box.within(left=10, right=10, top=4, bottom=8)
    row = min(box.height / len(series), THICKEST)
    size = min(11, row * 0.6)
    low = 0.0 if panel.bottom is None else panel.bottom
    high = max(each.last for each in series if math.isfinite(each.last)) if panel.top is None else panel.top
    name = min(max(sheet.width_of(each.name, size) for each in series), box.width * 0.6) + 8
    value = max(sheet.width_of(words(panel, each.last), size) for each in series) + 8
    for place, each in enumerate(series):
        bar = Box(box.left + name, box.top + place * row + row * 0.12, box.width - name - value, row * 0.76)
        middle, color = bar.top + bar.height / 2, of_value(panel, each.last)
        share = min(max((each.last - low) / (high - low or 1.0), 0.0), 1.0)
        sheet.text(box.left, middle, sheet.cut(each.name, name - 8, size), size)
        sheet.block(bar, EMPTY)
        sheet.block(Box(bar.left, bar.top, bar.width * share, bar.height), color, alpha=0.75)
        sheet.text(box.right, middle, words(panel, each.last), size, color, ha="right")
