"""The page that is drawn on, measured in pixels from its upper left corner as Grafana's page is."""

from dataclasses import dataclass
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.patches import FancyBboxPatch, Rectangle

from tests.monitoring.drawing.colours import PAGE, TEXT

DPI = 100
FONT = "DejaVu Sans"
"""matplotlib brings it, so that a picture does not depend on whose machine it is drawn on."""
SMALLEST = 8.0
"""Pixels; what still does not fit is cut short."""


@dataclass(frozen=True)
class Box:
    """A part of the page, in pixels.

    Args:
        left, top: of its upper left corner, on the page.
    """

    left: float
    top: float
    width: float
    height: float

    @property
    def right(self) -> float:
        """Its right edge."""
        return self.left + self.width

    @property
    def bottom(self) -> float:
        """Its lower edge."""
        return self.top + self.height

    def within(self, left: float = 0, top: float = 0, right: float = 0, bottom: float = 0) -> "Box":
        """Answer what is left of it without so much at each edge."""
        return Box(self.left + left, self.top + top, self.width - left - right, self.height - top - bottom)


class Sheet:
    """A page of a figure of matplotlib's.

    Args:
        width, height: pixels.
    """

    def __init__(self, width: float, height: float) -> None:
        """Take an empty page."""
        self.width, self.height = width, height
        self.figure = Figure(figsize=(width / DPI, height / DPI), dpi=DPI, facecolor=PAGE)
        self._renderer = FigureCanvasAgg(self.figure).get_renderer()  # type: ignore[no-untyped-call]

    def axes(self, box: Box) -> Axes:
        """Answer axes in a box, with neither frame nor ticks."""
        place = (box.left / self.width, 1 - box.bottom / self.height, box.width / self.width, box.height / self.height)
        axes = self.figure.add_axes(place, facecolor="none")
        axes.tick_params(length=0, pad=3)
        axes.set_xticks([])
        axes.set_yticks([])
        for spine in axes.spines.values():
            spine.set_visible(False)
        return axes

    def text(self, x: float, y: float, words: str, size: float = 11, color: str = TEXT, **more: Any) -> None:
        """Write at a point, from there to the right and in its middle unless told otherwise (`ha`, `va`).

        Args:
            size: pixels. more: of matplotlib's Text.
        """
        given = {"ha": "left", "va": "center_baseline", "family": FONT, "parse_math": False, **more}
        points = size * 72 / DPI
        self.figure.text(x / self.width, 1 - y / self.height, words, fontsize=points, color=color, **given)

    def width_of(self, words: str, size: float = 11, weight: str = "normal") -> float:
        """Answer how wide words are, in pixels."""
        font = FontProperties(family=FONT, size=size * 72 / DPI, weight=weight)
        return float(self._renderer.get_text_width_height_descent(words, font, ismath=False)[0])

    def size_for(self, words: str, room: float, largest: float, weight: str = "normal") -> float:
        """Answer the size, none larger than `largest`, in which words fit into so many pixels."""
        wide = self.width_of(words, largest, weight)
        return largest if wide <= room else max(SMALLEST, largest * room / wide)

    def cut(self, words: str, room: float, size: float = 11) -> str:
        """Answer words, with what there is no room for left out of their middle: names of pods differ at their ends."""
        if self.width_of(words, size) <= room:
            return words
        for kept in range(len(words) - 1, 1, -1):
            short = f"{words[: kept // 2]}…{words[len(words) - (kept - kept // 2) :]}"
            if self.width_of(short, size) <= room:
                return short
        return "…"

    def card(self, box: Box, face: str, edge: str) -> None:
        """Draw what stands behind a panel."""
        place = (box.left / self.width, 1 - box.bottom / self.height)
        size = (box.width / self.width, box.height / self.height)
        self._add(FancyBboxPatch(place, *size, boxstyle="square,pad=0", fc=face, ec=edge, lw=0.8, zorder=-2))

    def block(self, box: Box, color: str, **more: Any) -> None:
        """Fill a box with a colour."""
        place = (box.left / self.width, 1 - box.bottom / self.height)
        self._add(Rectangle(place, box.width / self.width, box.height / self.height, fc=color, lw=0, zorder=-1, **more))

    def _add(self, patch: Any) -> None:
        patch.set_transform(self.figure.transFigure)
        self.figure.add_artist(patch)
