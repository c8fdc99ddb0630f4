"""The names of series below a panel, each beside its colour."""

from collections.abc import Sequence

from tests.monitoring.drawing.colours import QUIET
from tests.monitoring.drawing.sheet import Box, Sheet

LINE, SIZE, MARK, GAP = 15, 10, 14, 12
MOST = 3
"""Lines of it; of what comes after that the number is said."""

Entry = tuple[str, str]
"""Name and colour."""


def lines(sheet: Sheet, width: float, entries: Sequence[Entry]) -> list[list[tuple[float, Entry]]]:
    """Answer line by line which entries stand there, each with where it begins; "+2" at the end for two that do not."""
    found: list[list[tuple[float, Entry]]] = [[]]
    x = 0.0
    for place, (name, color) in enumerate(entries):
        words = sheet.cut(name, width - MARK, SIZE)
        wide = MARK + sheet.width_of(words, SIZE)
        left = len(entries) - place
        last = len(found) == MOST
        # On the last line there must still be room for the number of those that are left out.
        spare = GAP + sheet.width_of(f"+{left}", SIZE) if last and left > 1 else 0
        if found[-1] and x + wide + spare > width:
            if last:
                found[-1].append((x, (f"+{left}", "")))
                return found
            found.append([])
            x = 0.0
        found[-1].append((x, (words, color)))
        x += wide + GAP
    return found


def draw(sheet: Sheet, box: Box, entries: Sequence[Entry]) -> float:
    """Draw them at the bottom of a box, and answer how high they are."""
    laid = lines(sheet, box.width, entries)
    height = LINE * len(laid)
    for number, line in enumerate(laid):
        y = box.bottom - height + LINE * (number + 0.5)
        for x, (name, color) in line:
            if color:
                sheet.block(Box(box.left + x, y - 1.5, MARK - 4, 3), color)
            sheet.text(box.left + x + (MARK if color else 0), y, name, SIZE, QUIET)
    return height
