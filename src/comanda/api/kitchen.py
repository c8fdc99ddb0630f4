"""The kitchen's list and moves, and the board."""

from typing import Any
from uuid import UUID

import msgspec
from litestar import Request, Response, get, patch
from litestar.params import FromPath, JSONBody
from litestar.response import Stream

from comanda.api.authentication import limited_client, principal_of, request_id_of
from comanda.api.orders import GUESTS, STAFF, LastEventId
from comanda.api.replies import documented, documented_stream, event_stream, json_reply
from comanda.api.services import Shared
from comanda.checkout.order_document import OrderDocument, OrderList, read_kitchen, read_order
from comanda.http.problems import WITH_BODY, problems
from comanda.kitchen.advance_order import advance_order
from comanda.kitchen.board import Board, read_board
from comanda.orders.model import OrderStatus


class StatusChange(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where the order should be."""

    status: OrderStatus


@patch(
    "/v1/orders/{order_id:uuid}",
    summary="Move an order along",
    responses={
        **documented(200, OrderDocument, "The order as it now is."),
        **problems(401, 403, 404, 409, *WITH_BODY),
    },
    **STAFF,
)
async def advance(
    request: Request[Any, Any, Any], services: Shared, order_id: FromPath[UUID], data: JSONBody[StatusChange]
) -> Response[bytes]:
    """Move an order: paid, preparing, ready, picked_up; one step back within 30 s. The status it has is fine."""
    checkout = services.checkout
    await advance_order(
        checkout.pool,
        checkout.clock,
        order_id,
        data.status,
        actor=principal_of(request).name,
        request_id=request_id_of(request),
    )
    async with checkout.pool.acquire(timeout=5) as connection:
        order = await read_order(connection, order_id)
    return json_reply(order.body)


@get(
    "/v1/kitchen",
    summary="What the kitchen works on",
    responses={
        **documented(200, OrderList, "Ready first, then preparing, then paid; oldest first in each."),
        **problems(401, 403),
    },
    **STAFF,
)
async def kitchen(services: Shared) -> Response[bytes]:
    """Answer every order that is paid and not yet picked up."""
    async with services.checkout.pool.acquire(timeout=5) as connection:
        return json_reply(await read_kitchen(connection))


@get(
    "/v1/kitchen/events",
    summary="The kitchen, live",
    responses={
        **documented_stream("`snapshot` events hold the whole list, `order` events one order that changed."),
        **problems(401, 403),
    },
    **STAFF,
)
async def kitchen_events(
    request: Request[Any, Any, Any],
    services: Shared,
    last_event_id: LastEventId = None,  # noqa: ARG001
) -> Stream:
    """Answer with the list first, whatever was seen before, and with each order that changes."""
    return event_stream(await services.streams.kitchen(principal_of(request).id))


@get(
    "/v1/board",
    summary="The board",
    responses={**documented(200, Board, "Numbers being prepared, and ready ones."), **problems()},
    **GUESTS,
)
async def board(services: Shared) -> Response[bytes]:
    """Answer the pickup numbers that the board shows."""
    async with services.checkout.pool.acquire(timeout=5) as connection:
        return json_reply(msgspec.json.encode(await read_board(connection)))


@get(
    "/v1/board/events",
    summary="The board, live",
    responses={**documented_stream("`board` events, each with the whole board."), **problems()},
    **GUESTS,
)
async def board_events(
    request: Request[Any, Any, Any],
    services: Shared,
    last_event_id: LastEventId = None,  # noqa: ARG001
) -> Stream:
    """Answer with the board, and again at every change."""
    return event_stream(await services.streams.board(client=limited_client(request, services)))


HANDLERS = [advance, kitchen, kitchen_events, board, board_events]
