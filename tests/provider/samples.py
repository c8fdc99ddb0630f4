"""A charge, and payments as Mercado Pago tells them, to be varied by the tests."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

from comanda.payments.provider import PixCharge

TOKEN = "TEST-4934588586838432-112210-8c5f2a7d9b1e4c3fa0d6e7b8c9f01234-241983636"
QR = "00020126580014br.gov.bcb.pix0136b76aa9c2-2ec4-4110-954e-ebfe34f05b61520400005303986540525.905802BR"
ORDER = UUID("5f0d2c6e-1b9a-4f0e-9d3c-7a8b6c5d4e3f")


def a_charge(
    *,
    amount_cents: int = 2590,
    order: UUID | None = None,
    key: str | None = None,
    expires_at: datetime | None = None,
    payer_email: str = "caixa@lanchonete.com.br",
) -> PixCharge:
    """A charge that Mercado Pago takes; a new order with a new key unless they are given."""
    soon = (datetime.now(UTC) + timedelta(minutes=45)).replace(microsecond=0)
    return PixCharge(
        payment_id=uuid4(),
        external_reference=str(order or uuid4()),
        amount_cents=amount_cents,
        description="Pedido no balcão",
        payer_email=payer_email,
        expires_at=expires_at or soon,
        idempotency_key=key or str(uuid4()),
    )


def a_payment(**changes: Any) -> dict[str, Any]:
    """A payment as Mercado Pago answers it, with fields that we do not read among those that we do."""
    return {
        "id": 132646402927,
        "status": "pending",
        "status_detail": "pending_waiting_transfer",
        "payment_method_id": "pix",
        "payment_type_id": "bank_transfer",
        "currency_id": "BRL",
        "date_created": "2026-11-22T09:15:00.123-04:00",
        "date_approved": None,
        "date_last_updated": "2026-11-22T09:15:00.123-04:00",
        "date_of_expiration": "2026-11-22T10:00:00.000-03:00",
        "external_reference": str(ORDER),
        "transaction_amount": 25.9,
        "transaction_amount_refunded": 0,
        "live_mode": False,
        "collector_id": 241983636,
        "payer": {"id": "1", "email": None, "phone": {"area_code": None}},
        "point_of_interaction": {
            "type": "OPENPLATFORM",
            "transaction_data": {
                "qr_code": QR,
                "qr_code_base64": "aVZCT1J3MEtHZ28=",
                "ticket_url": "https://x",
            },
        },
        "a_field_of_tomorrow": [{"deep": [1, 2.5, "x"]}],
        **changes,
    }


def as_json(value: object) -> bytes:
    """The value as a body."""
    return json.dumps(value).encode()


def without(name: str) -> bytes:
    """A payment's body that lacks a field."""
    payment = a_payment()
    del payment[name]
    return as_json(payment)
