"""What can be wrong with a request, each with the HTTP status and the stable code that callers may rely on.

Stories and nouns raise these; `comanda.http.problems` is the one place that renders them (RFC 9457).
"""

from typing import ClassVar


class ComandaError(Exception):
    """A refusal that the caller is told about. `detail` is for people, `code` for programs.

    `retry_after` is in whole seconds and becomes the `Retry-After` header.
    """

    status: ClassVar[int] = 400
    code: str = "bad_request"

    def __init__(self, detail: str, *, code: str | None = None, retry_after: int | None = None) -> None:
        super().__init__(detail)
        self.detail = detail
        self.retry_after = retry_after
        if code is not None:
            self.code = code


class BadRequest(ComandaError):
    """The request cannot be read."""


class Unauthenticated(ComandaError):
    """No key, or one that is not ours or was revoked."""

    status = 401
    code = "unauthenticated"


class Forbidden(ComandaError):
    """A valid key with too little right."""

    status = 403
    code = "forbidden"


class NotFound(ComandaError):
    """There is no such thing, or not for this caller."""

    status = 404
    code = "not_found"


class TooSlow(ComandaError):
    """The request did not come whole in time."""

    status = 408
    code = "request_timeout"


class Conflict(ComandaError):
    """The thing is not in a state that allows it."""

    status = 409
    code = "conflict"


class Invalid(ComandaError):
    """Readable, but not something that can be ordered, refunded or stored."""

    status = 422
    code = "invalid"


class TooMany(ComandaError):
    """The caller, or the diner as a whole, is over a limit."""

    status = 429
    code = "too_many_requests"


class Unavailable(ComandaError):
    """Something that we need is away for now; the same request can be sent again."""

    status = 503
    code = "unavailable"
