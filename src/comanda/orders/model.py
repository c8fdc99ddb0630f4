"""What an order is, and which way it may go. No I/O, and nothing of payments."""

import unicodedata
from datetime import datetime, timedelta
from enum import StrEnum
from uuid import UUID

import msgspec

from comanda.errors import Conflict
from comanda.money import Cents

UNDO_WINDOW = timedelta(seconds=30)
"""How long a step forward may be taken back."""


class OrderStatus(StrEnum):
    """Where an order stands."""

    AWAITING_PAYMENT = "awaiting_payment"
    PAID = "paid"
    PREPARING = "preparing"
    READY = "ready"
    PICKED_UP = "picked_up"
    CANCELLED = "cancelled"
    EXPIRED = "expired"


FORWARD = {
    OrderStatus.PAID: OrderStatus.PREPARING,
    OrderStatus.PREPARING: OrderStatus.READY,
    OrderStatus.READY: OrderStatus.PICKED_UP,
}
BACK = {after: before for before, after in FORWARD.items()}

IN_KITCHEN = frozenset({OrderStatus.PAID, OrderStatus.PREPARING, OrderStatus.READY})
"""Paid for and not yet handed over: what the kitchen sees, and what a full refund takes away from it."""

UNSERVED_END = frozenset({OrderStatus.CANCELLED, OrderStatus.EXPIRED})
"""Ended without being handed over: money that comes in for it, or is left in it, goes back."""


class NewItem(msgspec.Struct, frozen=True):
    """One line of an order to be stored. Name and price are copied, so that a changed menu changes no old order."""

    product_id: UUID
    name: str
    quantity: int
    unit_price_cents: Cents
    notes: str | None


class NewOrder(msgspec.Struct, frozen=True, kw_only=True):
    """An order to be stored: unpaid, with at least one line."""

    id: UUID
    items: list[NewItem]
    name: str | None
    notes: str | None
    client_hash: bytes | None
    request_id: str | None
    created_at: datetime

    @property
    def total_cents(self) -> Cents:
        """The sum of the lines."""
        return sum(item.quantity * item.unit_price_cents for item in self.items)


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """What decisions need of a stored order."""

    id: UUID
    status: OrderStatus
    version: int
    total_cents: Cents
    pickup_number: int | None
    paid_at: datetime | None
    status_changed_at: datetime
    undo_until: datetime | None
    request_id: str | None


class Move(msgspec.Struct, frozen=True):
    """A step of the kitchen's: to which status, and until when it may be taken back (None: not at all)."""

    to: OrderStatus
    undo_until: datetime | None


def step(order: Order, wanted: OrderStatus, now: datetime) -> Move | None:
    """Decide a step that staff ask for: one forward, or one back within `UNDO_WINDOW` of the step that it undoes.

    Returns:
        The move, or None if the order already is there.

    Raises:
        Conflict: any other move; the text says what is possible.
    """
    if wanted == order.status:
        return None
    if FORWARD.get(order.status) == wanted:
        return Move(wanted, now + UNDO_WINDOW)
    if BACK.get(order.status) == wanted:
        if order.undo_until is not None and now <= order.undo_until:
            return Move(wanted, None)
        raise Conflict("a step can be taken back once, within 30 seconds", code="too_late_to_step_back")
    allowed = FORWARD.get(order.status)
    hint = f"the next step is {allowed}" if allowed else "there is no next step"
    raise Conflict(f"the order is {order.status}; {hint}", code="illegal_move")


def clean_text(text: str | None) -> str | None:
    """Tidy what a guest typed: blanks collapsed, without control and format characters, composed (NFC).

    Format characters are invisible and can turn the text of the line around them on the kitchen's screen. Nothing
    left is None. What is left is never longer than what was typed, and so fits where that did.
    """
    if text is None:
        return None
    visible = "".join(char for char in text if char.isspace() or unicodedata.category(char) not in {"Cc", "Cf"})
    kept = " ".join(visible.split())
    composed = unicodedata.normalize("NFC", kept)
    # A few letters are two or three characters when composed (U+0958); then all stays as it was typed.
    return (composed if len(composed) <= len(kept) else kept) or None
