"""Time is an argument: whoever decides by time is handed a `Clock` or a `now`, so that tests can let hours pass."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import TypeAlias

Clock: TypeAlias = Callable[[], datetime]
"""Answers the present moment as an aware UTC datetime."""


def utc_now() -> datetime:
    """Answer the machine's present moment, aware, in UTC."""
    return datetime.now(UTC)
