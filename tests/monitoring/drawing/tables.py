"""A table: a row for what has the same labels, a column for each query."""

from collections.abc import Sequence

from comanda_dashboards.parts import Panel
from tests.monitoring.drawing.asking import Series, Span
from tests.monitoring.drawing.colours import BORDER, QUIET
from tests.monitoring.drawing.numbers import words
from tests.monitoring.drawing.sheet import Box, Sheet

ROW = 26
"""Pixels."""


def rows(panel: Panel, series: Sequence[Series]) -> tuple[list[str], list[dict[str, str]]]:
    """Answer the titles of the columns, and by title what stands in each row; sorted as the panel says."""
    labels = list(dict.fromkeys(name for each in series for name in each.labels))
    titles = {name: panel.renamed.get(name, name) for name in labels}
    found: dict[tuple[tuple[str, str], ...], dict[str, str]] = {}
    value: dict[tuple[tuple[str, str], ...], float] = {}
    for each in series:
        key = tuple(sorted(each.labels.items()))
        row = found.setdefault(key, {titles[name]: text for name, text in each.labels.items()})
        column = panel.queries[each.query].legend
        row[column] = words(panel, each.last)
        if column == panel.sorted_by:
            value[key] = each.last
    order = sorted(found, key=lambda key: (-value.get(key, float("-inf")), key))
    return [*titles.values(), *(query.legend for query in panel.queries)], [found[key] for key in order]


def draw(sheet: Sheet, box: Box, panel: Panel, series: Sequence[Series], _span: Span) -> None:
    """Draw it; of rows for which there is no room the number is said."""
    box = box.within(left=10, right=10, bottom=6)
    columns, body = rows(panel, series)
    fitting = int(box.height // ROW) - 1
    shown = body if len(body) <= fitting else body[: fitting - 1]
    width = box.width / len(columns)
    for place, column in enumerate(columns):
        x = box.left + place * width
        sheet.text(x, box.top + ROW / 2, column, 11, QUIET, weight="bold")
        for number, row in enumerate(shown, 1):
            sheet.text(x, box.top + ROW * (number + 0.5), sheet.cut(row.get(column, ""), width - 8))
    for number in range(1, len(shown) + 1):
        sheet.block(Box(box.left, box.top + ROW * number, box.width, 1), BORDER)
    if len(shown) < len(body):
        sheet.text(box.left, box.top + ROW * (len(shown) + 1.5), f"+{len(body) - len(shown)}", 11, QUIET)
