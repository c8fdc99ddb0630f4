"""Orders, payments and the provider's words about them, as small as a rule needs them."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from comanda.orders.model import Order, OrderStatus
from comanda.payments.model import MONEY_CAME, Payment, PaymentStatus
from comanda.payments.provider import ProviderPayment
from comanda.settings import Settings, read_settings

PLACED = datetime(2026, 11, 20, 15, 0, tzinfo=UTC)
EXPIRES = PLACED + timedelta(minutes=30)
PROVIDER_EXPIRES = EXPIRES + timedelta(minutes=10)
TOTAL = 1000
ORDER = UUID("11111111-1111-4111-8111-111111111111")
PROVIDER_ID = 123456789012


def a_settings(**variables: object) -> Settings:
    """Build settings with nothing set but what must be, and `variables`."""
    needed = {
        "DATABASE_URL": "postgresql://localhost/comanda",
        "MERCADO_PAGO_ACCESS_TOKEN": "TEST-1",
        "MERCADO_PAGO_WEBHOOK_SECRET": "secret",
        "PAYER_EMAIL": "guest@comanda.example.com",
    }
    return read_settings({**needed, **{name: str(value) for name, value in variables.items()}})


def an_order(status: OrderStatus = OrderStatus.AWAITING_PAYMENT, **fields: Any) -> Order:
    """Build an order of TOTAL centavos; one that was ever paid has its number."""
    paid = status in {OrderStatus.PAID, OrderStatus.PREPARING, OrderStatus.READY, OrderStatus.PICKED_UP}
    known: dict[str, Any] = {
        "id": ORDER,
        "status": status,
        "version": 1,
        "total_cents": TOTAL,
        "pickup_number": 7 if paid else None,
        "paid_at": PLACED + timedelta(minutes=1) if paid else None,
        "status_changed_at": PLACED,
        "undo_until": None,
        "request_id": "request",
    }
    return Order(**{**known, **fields})


def a_payment(status: PaymentStatus = PaymentStatus.PENDING, **fields: Any) -> Payment:
    """Build the payment of that order; one whose money came has its `paid_cents`."""
    known: dict[str, Any] = {
        "id": UUID("22222222-2222-4222-8222-222222222222"),
        "order_id": ORDER,
        "status": status,
        "version": 1,
        "amount_cents": TOTAL,
        "idempotency_key": "22222222-2222-4222-8222-222222222222",
        "description": "Pedido",
        "payer_email": "guest@comanda.example.com",
        "notification_url": None,
        "live_mode": False,
        "expires_at": EXPIRES,
        "provider_expires_at": PROVIDER_EXPIRES,
        "provider_payment_id": None if status is PaymentStatus.REQUESTED else PROVIDER_ID,
        "provider_status": None,
        "provider_updated_at": None,
        "copy_paste": None if status is PaymentStatus.REQUESTED else "000201",
        "approved_at": None,
        "paid_cents": TOTAL if status in MONEY_CAME else None,
        "refunded_cents": TOTAL if status is PaymentStatus.REFUNDED else 0,
        "refund_reserved_cents": 0,
        "review": None,
        "request_id": "request",
        "checks": 0,
        "failures": 0,
        "watched_until": None,
        "created_at": PLACED,
    }
    return Payment(**{**known, **fields})


def a_view(status: str = "pending", **fields: Any) -> ProviderPayment:
    """Build what the provider says of that payment; `status` may carry its detail after a slash."""
    word, _, detail = status.partition("/")
    known: dict[str, Any] = {
        "id": PROVIDER_ID,
        "status": word,
        "status_detail": detail or None,
        "external_reference": str(ORDER),
        "amount_cents": TOTAL,
        "refunded_cents": 0,
        "currency": "BRL",
        "live_mode": False,
        "copy_paste": "000201",
    }
    return ProviderPayment(**{**known, **fields})
