"""What Mercado Pago checks in a request before it does anything.

Codes are Mercado Pago's where it publishes one for the case; where it does not, 1 ('Params Error').
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any
from urllib.parse import urlsplit

import msgspec

from comanda_sandbox import moments, money
from comanda_sandbox.errors import RefusedError

SHORTEST_LIFE = timedelta(minutes=30)
LONGEST_LIFE = timedelta(days=30)
DEFAULT_LIFE = timedelta(hours=24)

_DECODER = msgspec.json.Decoder(float_hook=Decimal)
_ENCODER = msgspec.json.Encoder(decimal_format="number")
_REFERENCE = re.compile(r"[A-Za-z0-9_-]{1,64}")
_EMAIL = re.compile(
    r"[A-Za-z0-9_+-]+(?:\.[A-Za-z0-9_+-]+)*@(?:[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?\.)+([A-Za-z]{2,63})"
)
_UNREAL_TLDS = {"test", "local", "localhost", "localdomain", "invalid", "example", "internal", "lan"}
_PAYMENT_FIELDS = frozenset(
    {
        "additional_info",
        "application_fee",
        "binary_mode",
        "callback_url",
        "campaign_id",
        "capture",
        "coupon_amount",
        "coupon_code",
        "date_of_expiration",
        "description",
        "differential_pricing_id",
        "external_reference",
        "installments",
        "issuer_id",
        "metadata",
        "notification_url",
        "payer",
        "payment_method_id",
        "point_of_interaction",
        "processing_mode",
        "sponsor_id",
        "statement_descriptor",
        "three_d_secure_mode",
        "token",
        "transaction_amount",
    }
)
_PAYER_FIELDS = frozenset(
    ["address", "email", "entity_type", "first_name", "id", "identification", "last_name", "phone", "type"]
)


@dataclass(frozen=True, slots=True)
class PaymentRequest:
    """A payment asked for, checked. The amount is in centavos, the expiry aware and in UTC."""

    amount_cents: int
    payer: dict[str, Any]
    external_reference: str | None
    description: str | None
    metadata: dict[str, Any]
    notification_url: str | None
    expires_at: datetime


def json_object(body: bytes) -> dict[str, Any]:
    """The JSON object of a body, its numbers as int or Decimal.

    Raises:
        RefusedError: it is no JSON object.
    """
    try:
        value = _DECODER.decode(body)
    except (ValueError, RecursionError):
        raise RefusedError(400, "The body is not valid JSON", code=1) from None
    if not isinstance(value, dict):
        raise RefusedError(400, "The body must be a JSON object", code=1)
    return value


def idempotency_key(headers: Mapping[str, str]) -> str:
    """The required ``X-Idempotency-Key``: 1 to 64 characters.

    Raises:
        RefusedError: it is missing, empty or too long (4292).
    """
    key = headers.get("X-Idempotency-Key", "").strip()
    if not 1 <= len(key) <= 64 or not key.isprintable():
        raise RefusedError(400, "Header X-Idempotency-Key can't be null and takes 1 to 64 characters", code=4292)
    return key


def payment_request(body: dict[str, Any], *, now: datetime, seller_email: str) -> PaymentRequest:
    """Check the body of ``POST /v1/payments``.

    Args:
        now: the sandbox's time.
        seller_email: the e-mail of the account that is paid, which cannot pay itself.

    Raises:
        RefusedError: the first thing wrong with it.
    """
    _known(body, _PAYMENT_FIELDS, "")
    method = body.get("payment_method_id")
    if method is None:
        raise RefusedError(400, "payment_method_id attribute can't be null", code=4001)
    if method != "pix":
        raise RefusedError(400, "payment_method_id: only pix is played here", code=2131)
    return PaymentRequest(
        amount_cents=_amount(body.get("transaction_amount")),
        payer=_payer(body.get("payer"), seller_email),
        external_reference=_reference(body.get("external_reference")),
        description=_text(body.get("description"), "description", 255),
        metadata=_metadata(body.get("metadata")),
        notification_url=_notification_url(body.get("notification_url")),
        expires_at=_expiry(body.get("date_of_expiration"), now),
    )


def refund_amount(body: bytes) -> int | None:
    """The centavos that a refund's body asks for; None, the whole rest, for an empty body.

    Raises:
        RefusedError: an amount that is no number of reais with two decimals above zero.
    """
    if not body.strip():
        return None
    value = json_object(body)
    _known(value, frozenset({"amount"}), "")
    if value.get("amount") is None:
        return None
    cents = money.to_cents(value["amount"])
    if cents is None:
        raise RefusedError(400, "amount must be a number above zero with two decimals at most", code=4037)
    return cents


def cancellation(body: dict[str, Any]) -> None:
    """Check the body of ``PUT /v1/payments/{id}``: cancelling is all that Pix allows.

    Raises:
        RefusedError: it asks for anything else.
    """
    _known(body, frozenset({"status"}), "")
    if body.get("status") != "cancelled":
        raise RefusedError(400, "status: a Pix can only be set to cancelled", code=1)


def _known(body: dict[str, Any], names: frozenset[str], prefix: str) -> None:
    wrong = ", ".join(f"{prefix}{name}" for name in sorted(body.keys() - names))
    if wrong:
        raise RefusedError(400, f"The name of the following parameters is wrong : [{wrong}]", code=8)


def _amount(value: object) -> int:
    if value is None:
        raise RefusedError(400, "transaction_amount attribute can't be null", code=4002)
    if isinstance(value, bool) or not isinstance(value, int | Decimal):
        raise RefusedError(400, "transaction_amount attribute must be numeric", code=4003)
    cents = money.to_cents(value)
    if cents is None:
        raise RefusedError(400, "Invalid transaction_amount", code=4037)
    return cents


def _payer(value: object, seller_email: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise RefusedError(400, "payer attribute is malformed", code=4006)
    _known(value, _PAYER_FIELDS, "payer.")
    email = value.get("email")
    if isinstance(email, str) and len(email) > 254:
        raise RefusedError(400, "payer.email must be shorter than 254 characters", code=4051)
    match = _EMAIL.fullmatch(email) if isinstance(email, str) else None
    if not match or match[1].lower() in _UNREAL_TLDS:
        raise RefusedError(400, "payer.email must be a valid email", code=4050)
    if match[0].lower() == seller_email.lower():
        raise RefusedError(400, "Payer email forbidden", code=4390)
    for name in ("first_name", "last_name"):
        _text(value.get(name), f"payer.{name}", 255)
    identification = value.get("identification")
    if identification is not None:
        _identification(identification)
    return {name: value.get(name) for name in ("email", "first_name", "last_name", "identification")}


def _identification(value: object) -> None:
    lengths = {"CPF": 11, "CNPJ": 14}
    kind = value.get("type") if isinstance(value, dict) else None
    number = value.get("number") if isinstance(value, dict) else None
    if kind not in lengths or not isinstance(number, str) or len(number) != lengths[kind]:
        raise RefusedError(400, "Invalid user identification number", code=2067)


def _reference(value: object) -> str | None:
    if value is None:
        return None
    if not isinstance(value, str) or not _REFERENCE.fullmatch(value):
        raise RefusedError(
            400, "external_reference takes 1 to 64 characters: letters, digits, hyphen and underscore", code=1
        )
    return value


def _text(value: object, name: str, longest: int) -> str | None:
    if value is not None and (not isinstance(value, str) or len(value) > longest):
        raise RefusedError(400, f"{name} takes a text of {longest} characters at most", code=1)
    return value


def _metadata(value: object) -> dict[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise RefusedError(400, "metadata attribute must be valid JSON", code=4022)
    # Free data, no money: its numbers may be plain ones, which the ledger keeps as JSON.
    plain: dict[str, Any] = msgspec.json.decode(_ENCODER.encode(value))
    return plain


def _notification_url(value: object) -> str | None:
    if value is None:
        return None
    if isinstance(value, str) and len(value) > 248:
        raise RefusedError(400, "notification_url must be shorter than 248 characters", code=4021)
    try:
        parts = urlsplit(value) if isinstance(value, str) and value.isascii() and value.isprintable() else None
        good = parts is not None and parts.scheme == "https" and bool(parts.hostname) and parts.port != 0
    except ValueError:
        good = False
    if not good:
        raise RefusedError(400, "notification_url attribute must be url valid", code=4020)
    return str(value)


def _expiry(value: object, now: datetime) -> datetime:
    if value is None:
        return now + DEFAULT_LIFE
    moment = moments.strict(value)
    if moment is None:
        raise RefusedError(
            400,
            "The following parameters must be valid date and format (yyyy-MM-dd'T'HH:mm:ssz): date_of_expiration",
            code=23,
        )
    if not SHORTEST_LIFE <= moment - now <= LONGEST_LIFE:
        raise RefusedError(
            400, "Invalid expiration date: date_of_expiration lies 30 minutes to 30 days ahead", code=7523
        )
    return moment
