"""BlackSheep: compiled request and response types; bodies decoded by msgspec."""

from uuid import UUID

from blacksheep import Application, Content, Request, Response

from bench.frameworks import shared
from comanda.api.services import Services


async def build(services: Services) -> Application:
    """Build the application."""
    app = Application()

    def reply(status: int, body: bytes, headers: dict[str, str]) -> Response:
        pairs = [(name.encode(), value.encode()) for name, value in headers.items()]
        return Response(status, pairs, Content(b"application/json", body) if body else None)

    @app.router.get("/v1/menu")
    async def menu(request: Request) -> Response:
        asked = request.get_first_header(b"if-none-match")
        return reply(*await shared.menu(services, asked.decode() if asked else None))

    @app.router.get("/v1/orders/{uuid:order_id}")
    async def order(order_id: UUID) -> Response:
        return reply(200, await shared.order(services, order_id), {"cache-control": "no-store"})

    @app.router.post("/v1/orders")
    async def place(request: Request) -> Response:
        data = shared.decode(await request.read() or b"")
        key = request.get_first_header(b"idempotency-key")
        order_id, body = await shared.place(services, data, key.decode() if key else None, request.scope)
        return reply(201, body, {"location": f"/v1/orders/{order_id}", "cache-control": "no-store"})

    # What the lifespan protocol would do: the servers are embedded and speak none here.
    await app.start()
    return app
