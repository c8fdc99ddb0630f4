"""Time is an argument: whoever decides by time is handed a `Clock` or a `now`, so that tests can let hours pass."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Annotated, TypeAlias

import msgspec

Clock: TypeAlias = Callable[[], datetime]
"""Answers the present moment as an aware UTC datetime."""


def utc_now() -> datetime:
    """Answer the machine's present moment, aware, in UTC."""
    return datetime.now(UTC)


Moment: TypeAlias = Annotated[datetime, msgspec.Meta(tz=True)]
"""An aware datetime in a document: RFC 3339, `date-time` in OpenAPI."""
