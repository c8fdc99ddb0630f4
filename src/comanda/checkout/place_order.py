"""Place an order: the intent first, then the charge, then the QR code."""

import hashlib
import hmac
from datetime import datetime, timedelta
from typing import Annotated, TypeAlias
from uuid import UUID, uuid4

import msgspec

import comanda.orders.store
import comanda.payments.store
from comanda.checkout import measures
from comanda.checkout.context import Checkout
from comanda.checkout.request_pix_charge import request_pix_charge
from comanda.database.pool import Connection, in_transaction
from comanda.errors import Invalid, TooMany
from comanda.http import idempotency
from comanda.http.idempotency import IdempotencyKey
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


async def place_order(
    checkout: Checkout,
    request: OrderRequest,
    products: dict[UUID, Product],
    *,
    key: IdempotencyKey | None,
    client: str,
    request_id: str,
) -> UUID:
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
        The order's id: a new one, or the one that this key made before.

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
        return made

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

    async def intend(connection: Connection) -> bool:
        if key is not None and not await idempotency.remember(
            connection,
            key,
            order.id,
            busy_until=now + idempotency.BUSY_AT_MOST,
            now=now,
            retention=timedelta(seconds=settings.idempotency_retention),
        ):
            return False
        if not await comanda.orders.store.insert(
            connection,
            order,
            max_unpaid=settings.max_unpaid_orders if client else None,
            max_unpaid_of_client=settings.max_unpaid_orders_per_client,
        ):
            raise TooMany(
                "too many orders wait for their payment; pay or cancel one",
                code="too_many_unpaid_orders",
                retry_after=30,
            )
        await comanda.payments.store.insert(connection, payment)
        return True

    if not await in_transaction(checkout.pool, intend):
        made = await _recall(checkout, key, now)
        assert made is not None, "a key that is known made something"
        return made
    measures.ORDERS_PLACED.inc()
    await request_pix_charge(checkout, payment, tries=0)
    if key is not None:
        async with checkout.pool.acquire(timeout=5) as connection:
            await idempotency.release(connection, key)
    return order.id


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
        return await idempotency.recall(connection, key, now=now, retention=retention)


def _client_hash(settings: Settings, client: str) -> bytes | None:
    if not client:
        return None
    secret = b"comanda unpaid orders of a client:" + settings.mercado_pago_webhook_secret.encode()
    return hmac.digest(secret, client.encode(), hashlib.sha256)[:16]
