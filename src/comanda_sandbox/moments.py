"""Mercado Pago's way of writing times."""

import re
from datetime import UTC, datetime, timedelta, timezone

_ZONE = timezone(timedelta(hours=-4))
_STRICT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}[+-]\d\d:\d\d", re.ASCII)
_RELATIVE = re.compile(r"NOW(?:([+-])(\d{1,6})(SECOND|MINUTE|HOUR|DAY|MONTH|YEAR)S?)?", re.ASCII)
_UNITS = {
    "SECOND": timedelta(seconds=1),
    "MINUTE": timedelta(minutes=1),
    "HOUR": timedelta(hours=1),
    "DAY": timedelta(days=1),
    "MONTH": timedelta(days=30),
    "YEAR": timedelta(days=365),
}


def written(moment: datetime) -> str:
    """A time with milliseconds and Mercado Pago's usual offset of -04:00."""
    return moment.astimezone(_ZONE).isoformat(timespec="milliseconds")


def strict(text: object) -> datetime | None:
    """Read ``2026-11-22T10:00:00.000-03:00``: milliseconds and a numeric offset always; None for all else."""
    if not isinstance(text, str) or not _STRICT.fullmatch(text):
        return None
    try:
        return datetime.fromisoformat(text).astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def searched(text: str, now: datetime) -> datetime | None:
    """Read a search's bound: ``NOW``, ``NOW-1DAYS``, or a time with milliseconds and an offset or ``Z``.

    Returns:
        None for all else.
    """
    relative = _RELATIVE.fullmatch(text)
    if not relative:
        return strict(text.removesuffix("Z") + "+00:00" if text.endswith("Z") else text)
    sign, count, unit = relative.groups()
    try:
        distance = _UNITS[unit] * int(count) if unit else timedelta(0)
        return now - distance if sign == "-" else now + distance
    except OverflowError:
        return None
