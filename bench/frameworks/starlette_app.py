"""Starlette: nothing but routing; bodies decoded by msgspec. No OpenAPI from types."""

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from bench.frameworks import shared
from comanda.api.services import Services


async def build(services: Services) -> Starlette:
    """Build the application."""

    async def menu(request: Request) -> Response:
        status, body, headers = await shared.menu(services, request.headers.get("if-none-match"))
        return Response(body, status, headers, "application/json")

    async def order(request: Request) -> Response:
        body = await shared.order(services, request.path_params["order_id"])
        return Response(body, 200, {"cache-control": "no-store"}, "application/json")

    async def place(request: Request) -> Response:
        data = shared.decode(await request.body())
        key = request.headers.get("idempotency-key")
        order_id, body = await shared.place(services, data, key, request.scope)
        headers = {"location": f"/v1/orders/{order_id}", "cache-control": "no-store"}
        return Response(body, 201, headers, "application/json")

    return Starlette(
        routes=[
            Route("/v1/menu", menu),
            Route("/v1/orders/{order_id:uuid}", order),
            Route("/v1/orders", place, methods=["POST"]),
        ]
    )
