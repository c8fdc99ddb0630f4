"""Values in their units, as Grafana writes them: with a dot for every reader, also of "Pedidos e Pix"."""

import math
import re
from collections.abc import Callable, Sequence

COUNTS = ("", "K", "M", "B", "T")
SHORT = ("", " K", " Mil", " Bil", " Tri")
BINARY = (" B", " KiB", " MiB", " GiB", " TiB", " PiB")
DECIMAL = (" B/s", " kB/s", " MB/s", " GB/s", " TB/s")
SECONDS = ((60, 1, "s"), (3600, 60, "min"), (86400, 3600, "hour"), (604800, 86400, "day"), (31536000, 604800, "week"))
"""Below which value a time is divided by what, and what it is then called."""
PARTS = (("year", 31536000), ("month", 2592000), ("week", 604800), ("day", 86400), ("hour", 3600), ("minute", 60))
CLOSE = 6
"""Decimals by which two ticks of an axis are told apart."""


def shown(value: float, unit: str, decimals: int | None = None) -> str:
    """Answer a value in a unit of Grafana's.

    Args:
        decimals: none: as many as it takes.

    Raises:
        KeyError: the unit is none that is in use.
    """
    write = UNITS[unit]
    return str(value) if math.isinf(value) else write(value, decimals)


def tick(value: float, unit: str) -> str:
    """Answer a value beside an axis: exactly, and with no more decimals than that takes."""
    return re.sub(r"\.(\d*?)0+(?=\D|$)", lambda found: found[1] and f".{found[1]}", shown(value, unit, CLOSE))


def base(unit: str, greatest: float) -> float:
    """Answer what an axis that goes so far is counted in, so that its ticks are round numbers there."""
    greatest = abs(greatest)
    if unit in {"s", "dtdurations"}:
        return next((float(by) for below, by, _ in SECONDS if greatest < below), 604800.0)
    if unit == "bytes" and greatest >= 1024:
        return float(1024 ** min(int(math.log(greatest, 1024)), len(BINARY) - 1))
    return 1.0


def _fixed(value: float, decimals: int | None) -> str:
    """Write a number with so many decimals; without being told, with two or three digits that mean something."""
    if decimals is None:
        decimals = 0
        if value % 1:
            power = math.floor(math.log10(abs(value)))
            decimals = max(0, 1 - power + (abs(value) / 10 ** (power - 1) > 2.25))
    text = f"{value:.{decimals}f}"
    return text.removeprefix("-") if not float(text) else text


def _scaled(factor: int, names: Sequence[str], value: float, decimals: int | None) -> str:
    power = math.floor(math.log(abs(value), factor) + 1e-12) if value else 0
    power = min(max(power, 0), len(names) - 1)
    return _fixed(value / factor**power, decimals) + names[power]


def _in_steps(
    factor: int, names: Sequence[str], before: str = "", after: str = ""
) -> Callable[[float, int | None], str]:
    def write(value: float, decimals: int | None) -> str:
        sign = "-" if before and value < 0 else ""
        return sign + before + _scaled(factor, names, abs(value) if before else value, decimals) + after

    return write


def _seconds(value: float, decimals: int | None) -> str:
    size = abs(value)
    if size == 0:
        return "0 s"
    for below, by, name in ((1e-6, 1e-9, "ns"), (1e-3, 1e-6, "µs"), (1.0, 1e-3, "ms")):
        if size < below:
            return f"{_fixed(value / by, decimals)} {name}"
    for below, each, name in SECONDS:
        if size < below:
            return f"{_fixed(value / each, decimals)} {_plural(name, size / each)}"
    return f"{_fixed(value / 31556900, decimals)} {_plural('year', size / 31556900)}"


def _plural(name: str, size: float) -> str:
    return f"{name}s" if size > 1 and name != "s" else name


def _duration(value: float, decimals: int | None) -> str:
    """Write a time in words: its largest part, and so many more."""
    parts: list[str] = []
    left = abs(value)
    for name, each in (*PARTS, ("second", 1)):
        if parts or left >= each:
            count, left = divmod(left, each)
            parts.append(f"{count:.0f} {name}{'' if count == 1 else 's'}")
    return ", ".join(parts[: 1 + (decimals or 0)] or ["0 seconds"])


UNITS: dict[str, Callable[[float, int | None], str]] = {
    "none": _fixed,
    "short": _in_steps(1000, SHORT),
    "percentunit": lambda value, decimals: _fixed(round(100 * value, 9), decimals) + "%",
    "s": _seconds,
    "dtdurations": _duration,
    "bytes": _in_steps(1024, BINARY),
    "Bps": _in_steps(1000, DECIMAL),
    "reqps": _in_steps(1000, COUNTS, after=" req/s"),
    "cps": _in_steps(1000, COUNTS, after=" c/s"),
    "ops": _in_steps(1000, COUNTS, after=" ops/s"),
    "currencyBRL": _in_steps(1000, COUNTS, before="R$"),
}
"""How the units of tests/monitoring/test_dashboards.py are written; Grafana's ids."""
