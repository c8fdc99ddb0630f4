"""The query of ``GET /v1/payments/search``."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar

from comanda_sandbox import moments
from comanda_sandbox.errors import RefusedError

_T = TypeVar("_T")
_TIMES = {"date_created": "created_at", "date_last_updated": "updated_at", "date_approved": "approved_at"}
_SORTS = {**_TIMES, "id": "id", "external_reference": "external_reference"}
_FILTERS = ("external_reference", "status", "status_detail")
MOST_ROWS = 1000
MOST_OFFSET = 10_000


@dataclass(frozen=True, slots=True)
class Search:
    """A search, checked, in the ledger's words; ``between`` has both ends included."""

    equal: dict[str, str]
    between: tuple[str, datetime | None, datetime | None] | None
    order_by: str
    descending: bool
    limit: int
    offset: int


def search_of(query: Mapping[str, str], now: datetime) -> Search:
    """Check a search; parameters that are not known are passed over, as Mercado Pago does.

    Raises:
        RefusedError: an unknown sort, criteria or range (1), a wrong date (1001), too many rows (1000).
    """
    equal = {name: query[name] for name in _FILTERS if name in query}
    if query.get("id", "").isascii() and query.get("id", "").isdigit():
        equal["id"] = query["id"]
    descending = _chosen(query, "criteria", {"asc": False, "desc": True}, "desc")
    order_by = _chosen(query, "sort", _SORTS, "date_created")
    column = _chosen(query, "range", _TIMES, "date_created")
    first, last = _bound(query, "begin_date", now), _bound(query, "end_date", now)
    return Search(
        equal=equal,
        between=(column, first, last) if first or last else None,
        order_by=order_by,
        descending=descending,
        limit=_count(query, "limit", 30, MOST_ROWS),
        offset=_count(query, "offset", 0, MOST_OFFSET),
    )


def _chosen(query: Mapping[str, str], name: str, choices: Mapping[str, _T], default: str) -> _T:
    value = query.get(name, default)
    if value.lower() not in choices:
        raise RefusedError(400, f"{name} is one of {', '.join(choices)}", code=1)
    return choices[value.lower()]


def _bound(query: Mapping[str, str], name: str, now: datetime) -> datetime | None:
    if name not in query:
        return None
    moment = moments.searched(query[name], now)
    if moment is None:
        raise RefusedError(400, f"{name}: Date format must be yyyy-MM-dd'T'HH:mm:ss.SSSZ", code=1001)
    return moment


def _count(query: Mapping[str, str], name: str, default: int, most: int) -> int:
    text = query.get(name, str(default))
    if not (text.isascii() and text.isdigit() and len(text) <= 9):
        raise RefusedError(400, f"{name} must be a whole number", code=1)
    if int(text) > most:
        raise RefusedError(400, "Number of rows exceeded the limits", code=1000)
    return int(text)
