"""Grafana's colours on its light page, of a value by its threshold and of a series by its place."""

from comanda_dashboards.parts import Panel

PAGE, PANEL, BORDER, GRID = "#f4f5f5", "#ffffff", "#dcdee0", "#e9ebed"
TEXT, QUIET, EMPTY = "#24292e", "#6e7580", "#eceef0"
NAMED = {
    "green": "#56A64B",
    "yellow": "#F2CC0C",
    "red": "#E02F44",
}
"""Those that thresholds and mappings say by name."""
PALETTE = (
    *("#56A64B", "#F2CC0C", "#3274D9", "#FF780A", "#E02F44", "#A352CC"),
    *("#19730E", "#CC9D00", "#1250B0", "#E55400", "#AD0317", "#7C2EA3"),
    *("#96D98D", "#FFEE52", "#8AB8FF", "#FFB357", "#FF7383", "#CA95E5"),
    *("#447EBC", "#C15C17", "#890F02", "#0A437C", "#6D1F62", "#584477"),
)
"""palette-classic: the first series has the first."""


def of_place(place: int) -> str:
    """Answer the colour of a series by its place in the panel."""
    return PALETTE[place % len(PALETTE)]


def of_value(panel: Panel, value: float) -> str:
    """Answer the colour of a value: that of its mapping, else of the highest threshold that it reaches."""
    if mapped := panel.mappings.get(f"{value:g}"):
        return NAMED[mapped[1]]
    reached = [color for at, color in panel.steps if value >= at]
    return NAMED[reached[-1] if reached else panel.first]


def inks() -> list[tuple[int, int, int]]:
    """Answer what a picture is made of, 256 at most: each colour, and how it looks thinned on a panel, as edges are."""
    plain = [_rgb(each) for each in (PANEL, PAGE, BORDER, GRID, EMPTY)]
    shades: list[tuple[tuple[int, int, int], tuple[float, ...]]] = [
        (_rgb(each), (1.0, 0.8, 0.6, 0.4, 0.2)) for each in (TEXT, QUIET)
    ]
    shades += [(_rgb(each), (1.0, 0.75, 0.5, 0.3, 0.15, 0.08)) for each in PALETTE]
    thinned = [_thinned(rgb, share) for rgb, shares in shades for share in shares]
    return list(dict.fromkeys([*plain, *thinned]))


def _rgb(color: str) -> tuple[int, int, int]:
    return int(color[1:3], 16), int(color[3:5], 16), int(color[5:7], 16)


def _thinned(rgb: tuple[int, int, int], share: float) -> tuple[int, int, int]:
    red, green, blue = (round(part * share + 255 * (1 - share)) for part in rgb)
    return red, green, blue
