"""Payments and refunds in Mercado Pago's JSON."""

from typing import Any

import msgspec

from comanda_sandbox.moments import written
from comanda_sandbox.money import to_reais
from comanda_sandbox.payments import Payment, Refund

COLLECTOR_ID = 1_234_567_890
_ENCODER = msgspec.json.Encoder(decimal_format="number")


def encoded(value: Any) -> bytes:
    """JSON, with Decimals as numbers that keep their two decimals."""
    return _ENCODER.encode(value)


def payment_json(payment: Payment, refunds: list[Refund], *, live_mode: bool, page_url: str) -> dict[str, Any]:
    """A payment as Mercado Pago answers it, amounts as Decimals in reais.

    Args:
        page_url: where the sandbox's page is, for ``ticket_url``; without a trailing slash.
    """
    paid = payment.approved_at is not None
    return {
        "id": payment.id,
        "date_created": written(payment.created_at),
        "date_approved": written(payment.approved_at) if payment.approved_at else None,
        "date_last_updated": written(payment.updated_at),
        "date_of_expiration": written(payment.expires_at),
        "money_release_date": written(payment.approved_at) if payment.approved_at else None,
        "operation_type": "regular_payment",
        "issuer_id": None,
        "payment_method_id": "pix",
        "payment_type_id": "bank_transfer",
        "status": payment.status,
        "status_detail": payment.status_detail,
        "currency_id": "BRL",
        "description": payment.description,
        "live_mode": live_mode,
        "collector_id": COLLECTOR_ID,
        "payer": {"id": None, "type": None, **payment.payer},
        "metadata": payment.metadata,
        "external_reference": payment.external_reference,
        "transaction_amount": to_reais(payment.amount_cents),
        "transaction_amount_refunded": to_reais(payment.refunded_cents),
        "coupon_amount": to_reais(0),
        "transaction_details": {
            "net_received_amount": to_reais(payment.amount_cents if paid else 0),
            "total_paid_amount": to_reais(payment.amount_cents),
            "overpaid_amount": to_reais(0),
            "external_resource_url": None,
            "installment_amount": to_reais(0),
            "financial_institution": None,
        },
        "fee_details": [],
        "captured": True,
        "binary_mode": False,
        "installments": 1,
        "notification_url": payment.notification_url,
        "processing_mode": "aggregator",
        "refunds": [refund_json(refund) for refund in refunds],
        "point_of_interaction": {
            "type": "OPENPLATFORM",
            "application_data": {"name": None, "version": None},
            "transaction_data": {
                "qr_code": payment.qr_code,
                "qr_code_base64": payment.qr_code_base64,
                "ticket_url": f"{page_url}/?payment={payment.id}",
            },
        },
    }


def refund_json(refund: Refund) -> dict[str, Any]:
    """A refund as Mercado Pago answers it, the amount as a Decimal in reais."""
    return {
        "id": refund.id,
        "payment_id": refund.payment_id,
        "amount": to_reais(refund.amount_cents),
        "metadata": {},
        "source": {"id": str(COLLECTOR_ID), "name": "Comanda", "type": "collector"},
        "date_created": written(refund.created_at),
        "unique_sequence_number": None,
        "refund_mode": "standard",
        "adjustment_amount": to_reais(0),
        "status": refund.status,
        "reason": None,
    }
