"""Orders as guests place, watch and cancel them, and as staff list them."""

from typing import Annotated, Any
from uuid import UUID

from litestar import Request, Response, get, post
from litestar.params import FromPath, FromQuery, HeaderParameter, JSONBody, QueryParameter
from litestar.response import Stream

from comanda.api.authentication import SECURITY, limited_client, principal_of, request_id_of, require
from comanda.api.replies import documented, documented_stream, event_stream, json_reply
from comanda.api.services import Shared
from comanda.checkout.cancel_order import cancel_order
from comanda.checkout.order_document import (
    OrderDocument,
    OrderPage,
    RefundDocument,
    RefundList,
    read_order,
    read_page,
    read_refunds,
)
from comanda.checkout.place_order import OrderRequest, place_order
from comanda.checkout.request_refund import RefundRequest, request_refund
from comanda.http.idempotency import read_key
from comanda.http.problems import WITH_BODY, problems
from comanda.orders.model import OrderStatus
from comanda.staff.keys import Role

IdempotencyHeader = Annotated[
    str | None,
    HeaderParameter(
        name="Idempotency-Key",
        description="16 to 64 printable ASCII characters, random. The same key and body make one thing once, for 24 h.",
        # Told here, checked by `http.idempotency`, which has a code of its own for it.
        schema_extra={"min_length": 16, "max_length": 64, "pattern": "^[ -~]*$"},
    ),
]
LastEventId = Annotated[
    str | None,
    HeaderParameter(name="Last-Event-ID", description="The last event that was seen, to go on from there."),
]
STAFF: dict[str, Any] = {"guards": [require(Role.STAFF)], "security": SECURITY, "tags": ["staff"]}
GUESTS: dict[str, Any] = {"tags": ["guests"]}


@post(
    "/v1/orders",
    summary="Place an order",
    responses={
        **documented(201, OrderDocument, "The order, with its Pix or `payment.status: requested`."),
        **problems(409, *WITH_BODY, 429),
    },
    **GUESTS,
)
async def place(
    request: Request[Any, Any, Any],
    services: Shared,
    data: JSONBody[OrderRequest],
    idempotency_key: IdempotencyHeader = None,
) -> Response[bytes]:
    """Store the order, ask for its Pix and answer with the QR code.

    If the provider does not answer in time the order is kept and `payment.status` is `requested`; the QR code
    follows. A key that was used before answers with its order as it now is.
    """
    checkout = services.checkout
    key = read_key(idempotency_key, scope="order", request=data)
    client = limited_client(request, services)
    await services.limits.hit(services.limits.orders, "orders", client)
    menu = await services.menu.current()
    placed = await place_order(
        checkout,
        data,
        menu.products,
        key=key,
        client=client,
        request_id=request_id_of(request),
    )
    return json_reply(
        placed.document.body,
        status=201,
        headers={"location": f"/v1/orders/{placed.order_id}", "cache-control": "no-store"},
    )


@get(
    "/v1/orders/{order_id:uuid}",
    summary="One order",
    responses={**documented(200, OrderDocument, "The order as it now is."), **problems(404)},
    **GUESTS,
)
async def read(services: Shared, order_id: FromPath[UUID]) -> Response[bytes]:
    """Answer an order as it now is. Its id is all that is needed, and cannot be guessed."""
    async with services.checkout.pool.acquire(timeout=5) as connection:
        order = await read_order(connection, order_id)
    if order.status is OrderStatus.AWAITING_PAYMENT:
        services.streams.looked_at(order_id)
    return json_reply(order.body)


@get(
    "/v1/orders/{order_id:uuid}/events",
    summary="One order, live",
    responses={
        **documented_stream("`order` events, each with the whole order; the id is its version."),
        **problems(404),
    },
    **GUESTS,
)
async def events(
    request: Request[Any, Any, Any], services: Shared, order_id: FromPath[UUID], last_event_id: LastEventId = None
) -> Stream:
    """Answer with the order, and again at every change."""
    client = limited_client(request, services)
    return event_stream(await services.streams.order(order_id, last_event_id, client=client))


@post(
    "/v1/orders/{order_id:uuid}/cancel",
    summary="Cancel an unpaid order",
    status_code=200,
    responses={**documented(200, OrderDocument, "The cancelled order."), **problems(404, 409)},
    **GUESTS,
)
async def cancel(request: Request[Any, Any, Any], services: Shared, order_id: FromPath[UUID]) -> Response[bytes]:
    """Cancel an order before it is paid. Again is the same answer."""
    await cancel_order(services.checkout, order_id, request_id=request_id_of(request))
    async with services.checkout.pool.acquire(timeout=5) as connection:
        order = await read_order(connection, order_id)
    return json_reply(order.body)


@get(
    "/v1/orders",
    summary="Orders, newest first",
    responses={**documented(200, OrderPage, "A page of orders."), **problems(401, 403, 422)},
    **STAFF,
)
async def page(
    services: Shared,
    status: FromQuery[OrderStatus | None] = None,
    cursor: Annotated[str | None, QueryParameter(max_length=200)] = None,
    limit: Annotated[int, QueryParameter(ge=1, le=200)] = 50,
) -> Response[bytes]:
    """Answer a page of orders; `next_cursor` leads to the next."""
    async with services.checkout.pool.acquire(timeout=5) as connection:
        return json_reply(await read_page(connection, status=status, cursor=cursor, limit=limit))


@post(
    "/v1/orders/{order_id:uuid}/refunds",
    summary="Give money back",
    responses=problems(401, 403, 404, 409, *WITH_BODY),
    **STAFF,
)
async def refund(
    request: Request[Any, Any, Any],
    services: Shared,
    order_id: FromPath[UUID],
    data: JSONBody[RefundRequest],
    idempotency_key: IdempotencyHeader = None,
) -> RefundDocument:
    """Promise a refund, of lines or of all that is left; the provider is asked until it decides.

    A refund of all before pick-up also cancels the order and takes it off the kitchen.
    """
    refund_id = await request_refund(
        services.checkout,
        order_id,
        data,
        actor=principal_of(request).name,
        key=read_key(idempotency_key, scope=f"refund:{order_id}", request=data),
        request_id=request_id_of(request),
    )
    async with services.checkout.pool.acquire(timeout=5) as connection:
        made = await read_refunds(connection, order_id)
    return next(document for document in made.refunds if document.id == refund_id)


@get(
    "/v1/orders/{order_id:uuid}/refunds",
    summary="An order's refunds",
    responses=problems(401, 403, 404),
    **STAFF,
)
async def refunds(services: Shared, order_id: FromPath[UUID]) -> RefundList:
    """Answer an order's refunds, oldest first, and where each stands."""
    async with services.checkout.pool.acquire(timeout=5) as connection:
        await read_order(connection, order_id)
        return await read_refunds(connection, order_id)


HANDLERS = [place, read, events, cancel, page, refund, refunds]
