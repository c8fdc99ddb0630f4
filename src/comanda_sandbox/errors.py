"""Mercado Pago's errors, in both of their shapes."""

from collections.abc import Mapping
from typing import Any

_NAMES = {
    400: "bad_request",
    401: "unauthorized",
    403: "forbidden",
    404: "not_found",
    405: "method_not_allowed",
    409: "conflict",
    413: "request_entity_too_large",
    423: "locked",
    429: "too_many_requests",
    500: "internal_error",
}


class RefusedError(Exception):
    """A request that Mercado Pago would refuse.

    Args:
        status: the HTTP status.
        message: the outer message.
        code: the code of the only cause; None leaves ``cause`` empty.
        headers: further headers of the answer.
        blocked_by: set for the gateway's own shape, which has no ``cause`` and a textual ``code``.
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        code: int | str | None = None,
        headers: Mapping[str, str] | None = None,
        blocked_by: str | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.code = code
        self.headers = dict(headers or {})
        self.blocked_by = blocked_by

    def body(self) -> dict[str, Any]:
        """The answer's JSON."""
        if self.blocked_by is not None:
            return {
                "code": self.code,
                "blocked_by": self.blocked_by,
                "message": self.message,
                "status": self.status,
            }
        cause = [] if self.code is None else [{"code": self.code, "description": self.message, "data": None}]
        return {
            "message": self.message,
            "error": _NAMES.get(self.status, "error"),
            "status": self.status,
            "cause": cause,
        }


def policy_refusal() -> RefusedError:
    """403 as the gateway in front of the API words it."""
    return RefusedError(
        403,
        "At least one policy returned UNAUTHORIZED.",
        code="PA_UNAUTHORIZED_RESULT_FROM_POLICIES",
        blocked_by="PolicyAgent",
    )


def not_found() -> RefusedError:
    """404 for a payment that is not there."""
    return RefusedError(404, "Payment not found", code=2000)
