"""Who is calling: `Authorization: Bearer <key>` (RFC 6750), checked before anything else of a request is read."""

from typing import Any, cast

from litestar import Request
from litestar.connection import ASGIConnection
from litestar.handlers import BaseRouteHandler
from litestar.types import Guard

from comanda.api.services import Services
from comanda.errors import Forbidden, Unauthenticated
from comanda.http.addresses import client_address
from comanda.staff.keys import Principal, Role, find_principal

SECURITY: list[dict[str, list[str]]] = [{"key": []}]
"""What a guarded route says of itself in OpenAPI."""


def require(role: Role) -> Guard:
    """Build the guard of a route that needs `role`: 401 without a valid key, 403 with too little right.

    Wrong keys are not counted: nobody guesses 256 random bits, and a guest who shares the diner's address could lock
    the kitchen's tablet out.
    """

    async def guard(connection: ASGIConnection[Any, Any, Any, Any], _handler: BaseRouteHandler) -> None:
        services: Services = connection.app.state.services
        scheme, _, key = connection.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not key.strip():
            raise Unauthenticated("give a key: Authorization: Bearer <key>")
        async with services.checkout.pool.acquire(timeout=5) as database:
            principal = await find_principal(database, key.strip(), services.checkout.clock())
        if principal is None:
            raise Unauthenticated("this key is not valid, or was revoked")
        if not principal.may(role):
            raise Forbidden(f"this needs a {role} key")
        connection.scope["user"] = principal

    return guard


def principal_of(request: Request[Any, Any, Any]) -> Principal:
    """Answer who passed the guard."""
    return cast(Principal, request.scope["user"])


def limited_client(connection: ASGIConnection[Any, Any, Any, Any], services: Services) -> str:
    """Answer the client's address as limits count it; empty for one that meets none."""
    address = _address_of(connection, services)
    return "" if services.limits.is_exempt(address) else address


def _address_of(connection: ASGIConnection[Any, Any, Any, Any], services: Services) -> str:
    """Answer the client's address, through trusted proxies."""
    client = connection.scope["client"]
    peer = client[0] if client else ""
    # A proxy may add a line of its own instead of appending to the client's: all of them are one list, in order.
    forwarded_for = ",".join(connection.headers.getall("x-forwarded-for", []))
    return client_address(peer, forwarded_for, services.checkout.settings.proxies)


def request_id_of(request: Request[Any, Any, Any]) -> str:
    """Answer the id that the gate gave this request."""
    return cast(str, request.scope["state"]["request_id"])
