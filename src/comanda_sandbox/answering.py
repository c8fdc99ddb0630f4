"""What the server's doors share: who may call, and how an error is written."""

import ipaddress

from aiohttp import web

from comanda_sandbox.credentials import Credentials
from comanda_sandbox.errors import RefusedError
from comanda_sandbox.rendering import encoded
from comanda_sandbox.sandbox import Sandbox

SANDBOX = web.AppKey("sandbox", Sandbox)


class NotTheOperatorError(Exception):
    """An operator's action that comes from elsewhere; the message says from where it is taken."""


def json_answer(value: object, status: int = 200, headers: dict[str, str] | None = None) -> web.Response:
    """An answer in JSON."""
    return web.Response(body=encoded(value), status=status, headers=headers, content_type="application/json")


def refusal(refused: RefusedError) -> web.Response:
    """Mercado Pago's way of saying no."""
    return json_answer(refused.body(), refused.status, refused.headers)


def problem(status: int, detail: str) -> web.Response:
    """The operator's doors answer errors as problem documents."""
    body = encoded({"type": "about:blank", "status": status, "detail": detail})
    return web.Response(body=body, status=status, content_type="application/problem+json")


def authorize(header: str, credentials: Credentials) -> None:
    """Check the ``Authorization`` header against the tokens that are valid.

    Raises:
        RefusedError: no bearer token, one of the other mode (7), or another one (401 each).
    """
    scheme, _, given = header.partition(" ")
    given = given.strip()
    if scheme.lower() != "bearer" or not given:
        raise RefusedError(401, "Must provide your access_token to proceed", code=5)
    # Headers may hold any bytes, which aiohttp hands on as surrogates.
    if credentials.takes(given.encode("utf-8", "surrogateescape")):
        return
    if given.startswith("TEST-") != credentials.token.startswith("TEST-"):
        raise RefusedError(401, "Unauthorized use of live credentials", code=7)
    raise RefusedError(401, "invalid access token")


def require_operator(request: web.Request, *, from_anywhere: bool) -> None:
    """Let operators in: callers on this machine, and no page of another site in their browser.

    Raises:
        NotTheOperatorError: anybody else.
    """
    origin = request.headers.get("Origin")
    if origin is not None and origin.partition("://")[2] != request.host:
        raise NotTheOperatorError("another site's page may not act here")
    if from_anywhere:
        return
    if not _loopback(request.remote or ""):
        raise NotTheOperatorError("operator actions are taken from this machine; --operator-from-anywhere opens them")
    # A name that somebody else's DNS leads to loopback is no address of this machine.
    name = request.url.host or ""
    if name != "localhost" and not _loopback(name):
        raise NotTheOperatorError("operator actions are taken at localhost or a loopback address")


def _loopback(text: str) -> bool:
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return False
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return (mapped or address).is_loopback
