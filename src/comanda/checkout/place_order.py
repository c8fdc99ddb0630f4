"""Place an order: the intent first, then the charge, then the QR code."""

import hashlib
import hmac
import logging
from datetime import datetime, timedelta
from typing import Annotated, TypeAlias
from uuid import UUID, uuid4

import msgspec

import comanda.payments.store
from comanda.checkout import measures
from comanda.checkout.context import Checkout
from comanda.checkout.intend_order import Intent, intend_order
from comanda.checkout.order_document import Rendered, read_order
from comanda.checkout.request_pix_charge import request_pix_charge
from comanda.errors import Invalid, TooMany
from comanda.http import idempotency
from comanda.http.idempotency import BUSY_AT_MOST, IdempotencyKey
from comanda.menu.model import Product
from comanda.orders.model import NewItem, NewOrder, clean_text
from comanda.payments.model import NewPayment
from comanda.settings import Settings

# Everything but NUL, which PostgreSQL cannot store; what else is invisible is taken out by `clean_text`.
ItemNotes: TypeAlias = Annotated[str, msgspec.Meta(max_length=200, pattern=r"^[^\x00]*$")]
OrderNotes: TypeAlias = Annotated[str, msgspec.Meta(max_length=500, pattern=r"^[^\x00]*$")]
GuestName: TypeAlias = Annotated[
    str,
    msgspec.Meta(
        max_length=40,
        pattern=r"^[^\x00]*$",
        description="To be called by. Optional; nothing else is known of a guest.",
    ),
]


logger = logging.getLogger(__name__)


class ItemRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """So many of a product, with a wish for the kitchen."""

    product_id: UUID
    quantity: Annotated[int, msgspec.Meta(ge=1, le=999)]
    notes: ItemNotes | None = None


class OrderRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a guest asks for."""

    items: Annotated[list[ItemRequest], msgspec.Meta(min_length=1, max_length=200)]
    notes: OrderNotes | None = None
    name: GuestName | None = None


class Placed(msgspec.Struct, frozen=True):
    """An order and its document."""

    order_id: UUID
    document: Rendered


async def place_order(
    checkout: Checkout,
    request: OrderRequest,
    products: dict[UUID, Product],
    *,
    key: IdempotencyKey | None,
    client: str,
    request_id: str,
) -> Placed:
    """Store an order with its intent to charge, ask for the charge, and keep the QR code.

    A charge that is not answered in time leaves the order as it is; the worker goes on with it.

    Args:
        request: as the guest sent it, decoded.
        products: the menu as it is now.
        key: the caller's idempotency key, if there was one.
        client: the caller's address; stored as a keyed hash, and only while the order is unpaid. Empty: one that
            meets no limit.
        request_id: for logs and the provider's call.

    Returns:
        The order: a new one, or the one that this key made before, as it now is.

    Raises:
        Conflict: the key came with another body, or its first request is still at work.
        Invalid: a product is not on the menu, or the order is too large.
        TooMany: too many unpaid orders, of this client or in all.
    """
    settings = checkout.settings
    now = checkout.clock()
    try:
        items = price(request, products, settings)
    except Invalid:
        # The menu may have changed since the key's first request, whose answer still holds.
        made = await _recall(checkout, key, now)
        if made is None:
            raise
        return await _as_it_is(checkout, made)

    order = NewOrder(
        id=uuid4(),
        items=items,
        name=clean_text(request.name),
        notes=clean_text(request.notes),
        client_hash=_client_hash(settings, client),
        request_id=request_id,
        created_at=now,
    )
    payment_id = uuid4()
    payment = NewPayment(
        id=payment_id,
        order_id=order.id,
        amount_cents=order.total_cents,
        idempotency_key=str(payment_id),
        description="Pedido",
        payer_email=settings.payer_email,
        notification_url=settings.notification_url,
        live_mode=settings.live_mode,
        expires_at=now + timedelta(seconds=settings.payment_timeout),
        provider_expires_at=now + timedelta(seconds=settings.payment_timeout + settings.payment_expiry_margin),
        # The worker leaves it alone while this request is at work on it.
        next_check_at=now + settings.lease,
        request_id=request_id,
        created_at=now,
    )

    async with checkout.pool.acquire(timeout=5) as connection:
        intent = await intend_order(
            connection,
            order,
            payment,
            key,
            # This request has ended by then, or its process is lost: nobody waits longer for the key.
            busy_until=now + min(BUSY_AT_MOST, timedelta(milliseconds=settings.request_timeout_ms)),
            max_unpaid=settings.max_unpaid_orders if client else None,
            max_unpaid_of_client=settings.max_unpaid_orders_per_client,
            retention=timedelta(seconds=settings.idempotency_retention),
        )
    if intent is not Intent.STORED:
        made = await _recall(checkout, key, now)
        if made is not None:
            return await _as_it_is(checkout, made)
        raise TooMany(
            "too many orders wait for their payment; pay or cancel one",
            code="too_many_unpaid_orders",
            retry_after=30,
        )
    measures.ORDERS_PLACED.inc()
    logger.info("order placed", extra={"order_id": str(order.id)})
    charged = await request_pix_charge(checkout, payment, tries=0)
    if charged is not None:
        return Placed(order.id, charged)
    if key is not None:
        # The charge is not made, and this request ends here: who asks again is told of the order.
        async with checkout.pool.acquire(timeout=5) as connection:
            await idempotency.release(connection, key)
    return await _as_it_is(checkout, order.id)


async def _as_it_is(checkout: Checkout, order_id: UUID) -> Placed:
    async with checkout.pool.acquire(timeout=5) as connection:
        return Placed(order_id, await read_order(connection, order_id))


def price(request: OrderRequest, products: dict[UUID, Product], settings: Settings) -> list[NewItem]:
    """Copy names and prices from the menu into lines.

    Raises:
        Invalid: unknown or sold-out products, too many lines or pieces, or too large a sum.
    """
    if len(request.items) > settings.max_items:
        raise Invalid(f"an order has at most {settings.max_items} lines", code="too_many_items")
    missing = sorted({str(item.product_id) for item in request.items if item.product_id not in products})
    if missing:
        raise Invalid(f"not on the menu now: {', '.join(missing)}", code="product_unavailable")
    items = []
    for item in request.items:
        if item.quantity > settings.max_quantity:
            raise Invalid(f"at most {settings.max_quantity} of one product in a line", code="quantity_too_large")
        product = products[item.product_id]
        items.append(NewItem(product.id, product.name, item.quantity, product.price_cents, clean_text(item.notes)))
    if sum(item.quantity * item.unit_price_cents for item in items) > settings.max_order_cents:
        raise Invalid("the order is too large for this diner", code="order_too_large")
    return items


async def _recall(checkout: Checkout, key: IdempotencyKey | None, now: datetime) -> UUID | None:
    if key is None:
        return None
    retention = timedelta(seconds=checkout.settings.idempotency_retention)
    async with checkout.pool.acquire(timeout=5) as connection:
        made = await idempotency.recall(connection, key, now=now, retention=retention)
        if made is None:
            return None
        # Its first request ended when the charge was answered, or when it said so itself.
        if made.busy and await comanda.payments.store.is_requested(connection, made.resource_id):
            raise idempotency.still_at_work()
        return made.resource_id


def _client_hash(settings: Settings, client: str) -> bytes | None:
    if not client:
        return None
    secret = b"comanda unpaid orders of a client:" + settings.mercado_pago_webhook_secret.encode()
    return hmac.digest(secret, client.encode(), hashlib.sha256)[:16]
