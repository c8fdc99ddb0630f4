"""What every candidate's handlers do, apart from what its framework does for them."""

from typing import Any
from uuid import UUID

import msgspec

from comanda.api.services import Services
from comanda.checkout.order_document import read_order
from comanda.checkout.place_order import OrderRequest, place_order
from comanda.http.addresses import client_address
from comanda.http.idempotency import read_key
from comanda.orders.model import OrderStatus

decode = msgspec.json.Decoder(OrderRequest).decode


async def menu(services: Services, if_none_match: str | None) -> tuple[int, bytes, dict[str, str]]:
    """Answer status, body and headers of the menu."""
    menu = await services.menu.current()
    headers = {"etag": menu.etag, "cache-control": "no-cache"}
    return (304, b"", headers) if if_none_match == menu.etag else (200, menu.body, headers)


async def order(services: Services, order_id: UUID) -> bytes:
    """Answer the body of one order."""
    async with services.checkout.pool.acquire(timeout=5) as connection:
        found = await read_order(connection, order_id)
    if found.status is OrderStatus.AWAITING_PAYMENT:
        services.streams.looked_at(order_id)
    return found.body


async def place(services: Services, data: OrderRequest, idempotency_key: str | None, scope: Any) -> tuple[UUID, bytes]:
    """Place an order; answer its id and its body. As `comanda.api.orders.place`."""
    checkout = services.checkout
    key = read_key(idempotency_key, scope="order", request=data)
    address = client_address(scope["client"][0], None, checkout.settings.proxies)
    await services.limits.hit(services.limits.orders, "orders", address)
    menu = await services.menu.current()
    order_id = await place_order(
        checkout,
        data,
        menu.products,
        key=key,
        client="" if services.limits.is_exempt(address) else address,
        request_id=scope["state"]["request_id"],
    )
    async with checkout.pool.acquire(timeout=5) as connection:
        return order_id, (await read_order(connection, order_id)).body
