"""The order as everybody outside sees it: one shape for guests, kitchen, staff and events.

It is built as JSON by PostgreSQL, where order, lines and payment are joined anyway (one order by id: a third of the
CPU of building it here). The structs below are its type, for OpenAPI; a test decodes the one into the other.
"""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from datetime import UTC, datetime
from uuid import UUID

import asyncpg
import msgspec

from comanda.clock import Moment
from comanda.database.pool import Connection
from comanda.errors import BadRequest, NotFound
from comanda.money import Cents
from comanda.orders.model import OrderStatus
from comanda.payments.model import PaymentStatus, RefundItem, RefundStatus
from comanda.payments.refunds import of_order


class OrderItemDocument(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A line, with name and price as they were when it was ordered."""

    id: int
    product_id: UUID
    name: str
    quantity: int
    unit_price_cents: Cents
    notes: str | None


class PixDocument(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a guest pays with: the text to copy, and the same as a QR code (PNG in plain base64)."""

    copy_paste: str
    qr_code_png_base64: str | None


class PaymentDocument(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The payment; `pix` while it can be paid and the provider has answered, else null."""

    status: PaymentStatus
    expires_at: Moment
    provider_payment_id: int | None
    pix: PixDocument | None


class OrderDocument(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An order. `pickup_number` and `paid_at` are null until it is paid."""

    id: UUID
    pickup_number: int | None
    status: OrderStatus
    total_cents: Cents
    refunded_cents: Cents
    items: list[OrderItemDocument]
    notes: str | None
    name: str | None
    created_at: Moment
    paid_at: Moment | None
    payment: PaymentDocument


class OrderPage(msgspec.Struct, frozen=True):
    """Orders, newest first; `next_cursor` leads to the older ones, null at the end."""

    orders: list[OrderDocument]
    next_cursor: str | None


class OrderList(msgspec.Struct, frozen=True):
    """The orders that the kitchen works on."""

    orders: list[OrderDocument]


class RefundDocument(msgspec.Struct, frozen=True, kw_only=True):
    """A refund. It is `requested` or `in_process` until the provider has decided."""

    id: UUID
    order_id: UUID
    status: RefundStatus
    amount_cents: Cents
    items: list[RefundItem]
    reason: str | None
    created_at: Moment
    decided_at: Moment | None


class RefundList(msgspec.Struct, frozen=True):
    """An order's refunds, oldest first."""

    refunds: list[RefundDocument]


DOCUMENT = """json_build_object(
    'id', o.id, 'pickup_number', o.pickup_number, 'status', o.status,
    'total_cents', o.total_cents, 'refunded_cents', p.refunded_cents,
    'items', (
        SELECT json_agg(json_build_object(
            'id', i.id, 'product_id', i.product_id, 'name', i.name, 'quantity', i.quantity,
            'unit_price_cents', i.unit_price_cents, 'notes', i.notes) ORDER BY i.id)
        FROM order_items AS i WHERE i.order_id = o.id),
    'notes', o.notes, 'name', o.name, 'created_at', o.created_at, 'paid_at', o.paid_at,
    'payment', json_build_object(
        'status', p.status, 'expires_at', p.expires_at, 'provider_payment_id', p.provider_payment_id,
        'pix', CASE WHEN p.copy_paste IS NOT NULL AND p.status IN ('pending', 'in_process')
                     AND o.status = 'awaiting_payment'
               THEN json_build_object('copy_paste', p.copy_paste, 'qr_code_png_base64', p.qr_code_png_base64) END)
)::text"""

JOINED = "orders AS o JOIN payments AS p ON p.order_id = o.id"
KITCHEN_STATUSES = "('paid', 'preparing', 'ready')"

COLUMNS = f"SELECT o.id, o.version + p.version AS version, o.status, o.paid_at, {DOCUMENT} AS body"
RENDERED = f"{COLUMNS} FROM {JOINED}"
ANSWERED = f"{COLUMNS} FROM orders AS o JOIN answered AS p ON p.order_id = o.id"
"""For the statement that has just written the payment's row, as `answered`."""
BY_ID = f"{RENDERED} WHERE o.id = $1"
BY_IDS = f"{RENDERED} WHERE o.id = ANY($1::uuid[])"
KITCHEN = f"""
SELECT {DOCUMENT} AS body FROM {JOINED} WHERE o.status IN {KITCHEN_STATUSES}
ORDER BY CASE o.status WHEN 'ready' THEN 0 WHEN 'preparing' THEN 1 ELSE 2 END, o.paid_at, o.id
"""
PAGE = f"""
SELECT o.id, o.created_at, {DOCUMENT} AS body FROM {JOINED}
WHERE ($1::text IS NULL OR o.status = $1) AND ($2::timestamptz IS NULL OR (o.created_at, o.id) < ($2, $3::uuid))
ORDER BY o.created_at DESC, o.id DESC LIMIT $4
"""


class Rendered(msgspec.Struct, frozen=True):
    """An order document's JSON, and its version, which grows with every commit that changes it."""

    version: int
    body: bytes
    status: OrderStatus
    was_paid: bool


async def read_order(connection: Connection, order_id: UUID) -> Rendered:
    """Read one order document. Raises NotFound."""
    row = await connection.fetchrow(BY_ID, order_id)
    if row is None:
        raise NotFound("there is no such order", code="order_not_found")
    return rendered(row)


async def read_orders(connection: Connection, order_ids: list[UUID]) -> dict[UUID, Rendered]:
    """Read many order documents by id, as they now are; unknown ids are left out."""
    rows = await connection.fetch(BY_IDS, order_ids)
    return {row["id"]: rendered(row) for row in rows}


def rendered(row: asyncpg.Record) -> Rendered:
    """Take a document out of a row of `COLUMNS`."""
    return Rendered(row["version"], row["body"].encode(), OrderStatus(row["status"]), row["paid_at"] is not None)


async def read_kitchen(connection: Connection) -> bytes:
    """Read what the kitchen works on as one JSON document: ready, preparing, paid; oldest first in each."""
    rows = await connection.fetch(KITCHEN)
    return f'{{"orders":[{",".join([row["body"] for row in rows])}]}}'.encode()


async def read_page(connection: Connection, *, status: OrderStatus | None, cursor: str | None, limit: int) -> bytes:
    """Read a page of order documents, newest first, as one JSON document.

    Raises:
        BadRequest: the cursor is not one that a page gave.
    """
    before_at, before_id = _read_cursor(cursor) if cursor else (None, None)
    rows = await connection.fetch(PAGE, status, before_at, before_id, limit + 1)
    shown = rows[:limit]
    following = "null"
    if len(rows) > limit:
        text = f"{shown[-1]['created_at'].isoformat()} {shown[-1]['id']}"
        following = f'"{urlsafe_b64encode(text.encode()).decode()}"'
    return f'{{"orders":[{",".join([row["body"] for row in shown])}],"next_cursor":{following}}}'.encode()


async def read_refunds(connection: Connection, order_id: UUID) -> RefundList:
    """Read an order's refunds, oldest first."""
    made = await of_order(connection, order_id)
    return RefundList(
        [
            RefundDocument(
                id=refund.id,
                order_id=order_id,
                status=refund.status,
                amount_cents=refund.amount_cents,
                items=refund.items,
                reason=refund.reason,
                created_at=refund.created_at,
                decided_at=refund.decided_at,
            )
            for refund in made
        ]
    )


def _read_cursor(cursor: str) -> tuple[datetime, UUID]:
    try:
        at, _, order_id = urlsafe_b64decode(cursor.encode()).decode().partition(" ")
        moment = datetime.fromisoformat(at)
        if moment.tzinfo is None:
            raise ValueError
        return moment.astimezone(UTC), UUID(order_id)
    except (ValueError, OverflowError):
        raise BadRequest("cursor is not one that this list gave", code="invalid_cursor") from None
