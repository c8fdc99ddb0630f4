"""FastAPI, as it is meant: pydantic models for the body, parameters from the signature, OpenAPI from both."""

from typing import Annotated
from uuid import UUID

import msgspec
from fastapi import FastAPI, Header, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from bench.frameworks import shared
from comanda.api.services import Services
from comanda.checkout.place_order import OrderRequest


class Item(BaseModel):
    """As comanda's ItemRequest."""

    model_config = ConfigDict(extra="forbid")

    product_id: UUID
    quantity: Annotated[int, Field(ge=1, le=999)]
    notes: Annotated[str, Field(max_length=200, pattern=r"^[^\x00]*$")] | None = None


class Order(BaseModel):
    """As comanda's OrderRequest."""

    model_config = ConfigDict(extra="forbid")

    items: Annotated[list[Item], Field(min_length=1, max_length=200)]
    notes: Annotated[str, Field(max_length=500, pattern=r"^[^\x00]*$")] | None = None
    name: Annotated[str, Field(max_length=40, pattern=r"^[^\x00]*$")] | None = None


async def build(services: Services) -> FastAPI:
    """Build the application."""
    app = FastAPI()

    @app.get("/v1/menu")
    async def menu(if_none_match: Annotated[str | None, Header()] = None) -> Response:
        status, body, headers = await shared.menu(services, if_none_match)
        return Response(body, status, headers, "application/json")

    @app.get("/v1/orders/{order_id}")
    async def order(order_id: UUID) -> Response:
        return Response(await shared.order(services, order_id), 200, {"cache-control": "no-store"}, "application/json")

    @app.post("/v1/orders", status_code=201)
    async def place(request: Request, data: Order, idempotency_key: Annotated[str | None, Header()] = None) -> Response:
        asked = msgspec.convert(data.model_dump(), OrderRequest)
        order_id, body = await shared.place(services, asked, idempotency_key, request.scope)
        headers = {"location": f"/v1/orders/{order_id}", "cache-control": "no-store"}
        return Response(body, 201, headers, "application/json")

    return app
