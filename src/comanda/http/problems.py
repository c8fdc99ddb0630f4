"""The one renderer of errors: RFC 9457 problem documents with a stable `code`."""

import logging
from typing import Any

import msgspec
from litestar import Request, Response
from litestar.exceptions import HTTPException, MethodNotAllowedException, ValidationException
from litestar.openapi.datastructures import ResponseSpec

from comanda.database.pool import COLLISIONS, OUTAGES
from comanda.errors import ComandaError

logger = logging.getLogger(__name__)

PROBLEM_JSON = "application/problem+json"
RETRY_AFTER_OUTAGE = 2

TITLES = {
    400: "Bad request",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not found",
    405: "Method not allowed",
    408: "Request timeout",
    409: "Conflict",
    413: "Content too large",
    415: "Unsupported media type",
    422: "Unprocessable content",
    429: "Too many requests",
    500: "Internal server error",
    503: "Service unavailable",
}
CODES = {
    400: "bad_request",
    404: "not_found",
    405: "method_not_allowed",
    413: "body_too_large",
    415: "unsupported_media_type",
}


class Problem(msgspec.Struct, kw_only=True):
    """RFC 9457. `code` is stable and for programs; `detail` is for people and may change."""

    type: str = "about:blank"
    title: str
    status: int
    code: str
    detail: str


def problem_bytes(status: int, code: str, detail: str) -> bytes:
    """Encode a problem document."""
    return msgspec.json.encode(Problem(title=TITLES.get(status, "Error"), status=status, code=code, detail=detail))


def problem(status: int, code: str, detail: str, *, headers: dict[str, str] | None = None) -> Response[bytes]:
    """Build the response of a problem document."""
    return Response(
        problem_bytes(status, code, detail),
        status_code=status,
        media_type=PROBLEM_JSON,
        headers=headers or {},
    )


def render_comanda_error(_request: Request[Any, Any, Any], error: ComandaError) -> Response[bytes]:
    """Render a refusal of our own."""
    headers = {}
    if error.retry_after is not None:
        headers["retry-after"] = str(error.retry_after)
    if error.status == 401:
        headers["www-authenticate"] = 'Bearer realm="comanda"'
    return problem(error.status, error.code, error.detail, headers=headers)


def render_http_exception(_request: Request[Any, Any, Any], error: HTTPException) -> Response[bytes]:
    """Render what the framework refuses: unreadable or invalid bodies, unknown paths and methods."""
    if isinstance(error, ValidationException):
        return problem(422, "invalid", _in_words(error))
    headers = {}
    if isinstance(error, MethodNotAllowedException) and error.headers:
        [allow] = [value for name, value in error.headers.items() if name.lower() == "allow"]
        allowed = set(allow.split(", "))
        # `comanda.http.gate` answers HEAD with what GET answers.
        headers["allow"] = ", ".join(sorted(allowed | {"HEAD"} if "GET" in allowed else allowed))
    status = error.status_code
    return problem(status, CODES.get(status, "error"), error.detail or TITLES.get(status, "Error"), headers=headers)


def render_outage(_request: Request[Any, Any, Any], error: Exception) -> Response[bytes]:
    """Render a database that is away: nothing is wrong with the request, and it can be sent again."""
    logger.warning("the database did not answer", extra={"error": type(error).__name__})
    return problem(
        503,
        "database_unavailable",
        "the diner's database does not answer just now; nothing was lost, try again in a moment",
        headers={"retry-after": str(RETRY_AFTER_OUTAGE)},
    )


def render_unexpected(_request: Request[Any, Any, Any], error: Exception) -> Response[bytes]:
    """Render a fault of ours: logged whole, told in one line."""
    logger.error("unexpected error", exc_info=error)
    return problem(500, "internal_error", "something went wrong here; it is logged under this request's id")


EXCEPTION_HANDLERS: dict[int | type[Exception], Any] = {
    ComandaError: render_comanda_error,
    HTTPException: render_http_exception,
    Exception: render_unexpected,
    **dict.fromkeys((*OUTAGES, *COLLISIONS), render_outage),
}


WITH_BODY = (408, 413, 415, 422)
"""What a route with a body may answer beside."""


def problems(*statuses: int) -> dict[int, ResponseSpec]:
    """Document the problem answers of a route, for OpenAPI; every route may also answer 400 and 503."""
    return {
        status: ResponseSpec(
            data_container=Problem,
            description=TITLES[status],
            media_type=PROBLEM_JSON,
            generate_examples=False,
        )
        for status in sorted({*statuses, 400, 503})
    }


def _in_words(error: ValidationException) -> str:
    """Say what is wrong where, from what the framework knows; never what was sent."""
    if not isinstance(error.extra, list) or not error.extra:
        return "the request is not valid"
    parts = []
    for item in error.extra:
        if isinstance(item, dict):
            key = item.get("key")
            if key == "data":
                # The body itself is `api.bodies`' matter; here it can only be missing.
                return "send a JSON body"
            parts.append(f"{key}: {item.get('message', 'not valid')}" if key else str(item.get("message", "")))
    return "; ".join(parts) or "the request is not valid"
