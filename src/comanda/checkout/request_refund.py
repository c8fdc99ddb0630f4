"""Staff give money back: promised here, in one transaction; the worker asks the provider until it decides."""

from datetime import datetime, timedelta
from typing import Annotated
from uuid import UUID

import msgspec

import comanda.orders.store
import comanda.payments.refunds
import comanda.payments.store
from comanda.checkout import measures
from comanda.checkout.context import Checkout
from comanda.checkout.locks import lock_order
from comanda.checkout.promise_refund import promise_refund
from comanda.database.pool import Connection, in_transaction
from comanda.errors import Conflict, Invalid
from comanda.http import idempotency
from comanda.http.idempotency import IdempotencyKey
from comanda.orders.model import IN_KITCHEN, Order, OrderStatus, clean_text
from comanda.orders.store import OrderItem
from comanda.payments.model import REFUNDABLE, Payment, Refund


class RefundLine(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """So many of one line of the order."""

    item_id: Annotated[int, msgspec.Meta(ge=1, le=32767)]
    quantity: Annotated[int, msgspec.Meta(ge=1, le=999)]


class RefundRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Either `items`, or `all: true` for everything that was not given back yet."""

    items: Annotated[list[RefundLine], msgspec.Meta(min_length=1, max_length=200)] | None = None
    all: bool = False
    reason: Annotated[str, msgspec.Meta(max_length=200, pattern=r"^[^\x00]*$")] | None = None


async def request_refund(
    checkout: Checkout,
    order_id: UUID,
    request: RefundRequest,
    *,
    actor: str,
    key: IdempotencyKey | None,
    request_id: str,
) -> UUID:
    """Promise a refund, whole or by line, never more than was paid.

    A refund of all that is left, before pick-up, also cancels the order and takes it off the kitchen at once.

    Args:
        actor: who asks, for the history: the name of a key.
        key: the caller's idempotency key, if there was one.

    Returns:
        The refund's id: a new one, or the one that this key made before.

    Raises:
        NotFound: there is no such order.
        Invalid: neither or both of `items` and `all`, an unknown line, a line twice.
        Conflict: nothing was paid, nothing is left, more of a line than is left, or the key's own conflicts.
    """
    if (request.items is not None) == request.all:
        raise Invalid('give either "items" or "all": true', code="items_or_all")
    retention = timedelta(seconds=checkout.settings.idempotency_retention)

    async def work(connection: Connection) -> tuple[UUID, bool]:
        now = checkout.clock()
        order, payment = await lock_order(connection, order_id)
        if key is not None:
            # Under the lock: of two requests with one key in one moment, the second finds what the first made.
            made = await idempotency.recall(connection, key, now=now, retention=retention)
            if made is not None:
                return made.resource_id, False
        if payment.status not in REFUNDABLE:
            raise Conflict(f"the payment is {payment.status}; there is nothing to give back", code="not_refundable")
        if payment.refundable_cents <= 0:
            raise Conflict("all of it was given back, or is about to be", code="already_refunded")
        refund = await _promise(connection, order, payment, request, actor=actor, now=now, request_id=request_id)
        if key is not None:
            await idempotency.remember(connection, key, refund.id, now=now, retention=retention)
        return refund.id, True

    refund_id, is_new = await in_transaction(checkout.pool, work)
    if is_new:
        measures.REFUNDS_OWED.labels("staff").inc()
    return refund_id


async def _promise(
    connection: Connection,
    order: Order,
    payment: Payment,
    request: RefundRequest,
    *,
    actor: str,
    now: datetime,
    request_id: str,
) -> Refund:
    lines = await comanda.orders.store.items_of(connection, order.id)
    if request.items is None:
        amount = payment.refundable_cents
        quantities = {line.id: line.quantity - line.refunded_quantity for line in lines}
    else:
        amount = _amount(request.items, lines)
        if amount > payment.refundable_cents:
            raise Conflict("that is more than is left of the payment", code="more_than_paid")
        quantities = {line.item_id: line.quantity for line in request.items}
    refund = await promise_refund(
        connection,
        payment,
        amount,
        quantities,
        whole=amount == payment.paid_cents,
        actor=actor,
        reason=clean_text(request.reason),
        request_id=request_id,
        now=now,
    )
    if refund.amount_cents == payment.refundable_cents and order.status in IN_KITCHEN:
        await comanda.orders.store.change_status(
            connection,
            order,
            OrderStatus.CANCELLED,
            now=now,
            actor=actor,
            reason="refunded",
            request_id=request_id,
        )
    return refund


def _amount(wanted: list[RefundLine], lines: list[OrderItem]) -> int:
    """Answer the centavos of the wanted lines. Raises Invalid or Conflict as `request_refund` says."""
    by_id = {line.id: line for line in lines}
    if len({line.item_id for line in wanted}) < len(wanted):
        raise Invalid("name each line once", code="item_twice")
    amount = 0
    for line in wanted:
        item = by_id.get(line.item_id)
        if item is None:
            raise Invalid(f"the order has no line {line.item_id}", code="item_not_found")
        left = item.quantity - item.refunded_quantity
        if line.quantity > left:
            raise Conflict(f"only {left} of line {line.item_id} can still be given back", code="already_refunded")
        amount += line.quantity * item.unit_price_cents
    return amount
