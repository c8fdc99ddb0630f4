"""Mercado Pago's JSON: our charges written as its bodies, its answers read as ours. No I/O, no settings.

What it promises and we rely on is typed and checked here; every other field is ignored, so that a new one
breaks nothing. What is not as promised is `ProviderUnavailable`: not a no, and nothing to act upon. Messages
name the field that was wrong and never show its value.
"""

import json
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Annotated, Any, NamedTuple, TypeAlias, TypeVar

import msgspec

from comanda.payments.provider import PixCharge, ProviderPage, ProviderPayment, ProviderRefund, ProviderUnavailable

T = TypeVar("T")

Aware: TypeAlias = Annotated[datetime, msgspec.Meta(tz=True)]
Id: TypeAlias = (
    Annotated[int, msgspec.Meta(ge=1, le=2**63 - 1)] | Annotated[str, msgspec.Meta(pattern=r"\A[1-9][0-9]{0,17}\Z")]
)
"""A number as documented, or as text, which its webhooks make of it; either way it fits a bigint."""

Text: TypeAlias = Annotated[str, msgspec.Meta(min_length=1)]

MAXIMUM_REAIS = Decimal(10**9)
"""Reais. No Pix comes near it; it keeps `1e999999999` from becoming an integer of a billion digits."""

DOUBLE_NOISE = Decimal("0.0001")
"""Centavos. A double tells 0.1 + 0.2 as 0.30000000000000004: that far an amount may be off and no further."""

BRASILIA = timezone(timedelta(hours=-3))
"""An offset as in Mercado Pago's own examples. Any one would name the same instant; always the same one makes
the same bytes."""

CANCELLATION = b'{"status":"cancelled"}'
"""The body that cancels a payment which is still pending or in process."""


class _Payer(msgspec.Struct, frozen=True):
    email: str


class _ChargeBody(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    # Written in this order, always: a retry with the same key must be the same bytes.
    transaction_amount: msgspec.Raw
    payment_method_id: str
    payer: _Payer
    description: str
    external_reference: str
    date_of_expiration: str
    notification_url: str | None = None


class _TransactionData(msgspec.Struct, frozen=True):
    qr_code: str | None = None
    qr_code_base64: str | None = None


class _PointOfInteraction(msgspec.Struct, frozen=True):
    transaction_data: _TransactionData | None = None


class _Payment(msgspec.Struct, frozen=True, kw_only=True):
    id: Id
    status: Text
    status_detail: str | None = None
    external_reference: str | None = None
    transaction_amount: Decimal
    transaction_amount_refunded: Decimal | None = None
    currency_id: Text
    live_mode: bool
    date_created: Aware | None = None
    date_approved: Aware | None = None
    date_last_updated: Aware | None = None
    date_of_expiration: Aware | None = None
    notification_url: str | None = None
    point_of_interaction: _PointOfInteraction | None = None


class _Paging(msgspec.Struct, frozen=True):
    total: Annotated[int, msgspec.Meta(ge=0)] | None = None


class _Search(msgspec.Struct, frozen=True):
    results: list[_Payment]
    paging: _Paging | None = None


class _Refund(msgspec.Struct, frozen=True):
    id: Id
    payment_id: Id
    amount: Decimal
    status: Text
    date_created: Aware | None = None


_encode = msgspec.json.Encoder().encode
_decode_payment = msgspec.json.Decoder(_Payment).decode
_decode_search = msgspec.json.Decoder(_Search).decode
_decode_refund = msgspec.json.Decoder(_Refund).decode
_decode_refunds = msgspec.json.Decoder(list[_Refund]).decode


def write_charge(charge: PixCharge) -> bytes:
    """Write the body that asks for a Pix: the same charge is the same bytes, at every try, in every process.

    Raises:
        ValueError: no positive amount, or an expiry without a time zone; ours to mend, not the provider's.
    """
    if charge.expires_at.tzinfo is None:
        raise ValueError("expires_at has no time zone")
    return _encode(
        _ChargeBody(
            transaction_amount=_reais(charge.amount_cents),
            payment_method_id="pix",
            payer=_Payer(charge.payer_email),
            description=charge.description,
            external_reference=charge.external_reference,
            date_of_expiration=write_moment(charge.expires_at),
            notification_url=charge.notification_url,
        )
    )


def write_refund(amount_cents: int) -> bytes:
    """Write the body that gives back a part, in centavos; the whole is asked for without any body."""
    return _encode({"amount": _reais(amount_cents)})


def read_payment(body: bytes) -> ProviderPayment:
    """Read one payment.

    Raises:
        ProviderUnavailable: not a payment as documented; the message names the field.
    """
    return _payment(_read(_decode_payment, body))


def read_search(body: bytes) -> ProviderPage:
    """Read a page of search results, in the order that it has. Raises as `read_payment`."""
    found = _read(_decode_search, body)
    return ProviderPage([_payment(each) for each in found.results], found.paging.total if found.paging else None)


def write_moment(moment: datetime) -> str:
    """Write a time as Mercado Pago's examples have it: to the millisecond, with a numeric offset."""
    # Without milliseconds and offset a charge is answered 400, code 23, and a search 400, code 1001.
    return moment.astimezone(BRASILIA).isoformat(timespec="milliseconds")


def read_refund(body: bytes) -> ProviderRefund:
    """Read one refund. Raises as `read_payment`."""
    return _refund(_read(_decode_refund, body))


def read_refunds(body: bytes) -> list[ProviderRefund]:
    """Read the list of a payment's refunds. Raises as `read_payment`."""
    return [_refund(found) for found in _read(_decode_refunds, body)]


class Refusal(NamedTuple):
    """What an error's body says: the first cause's code as text, and a reason fit for a log."""

    code: str | None
    reason: str


def read_refusal(body: bytes) -> Refusal:
    """Read an error in either of the documented shapes; a body of neither gives no reason, and no fault.

    `{"message", "error", "status", "cause": [{"code", "description"}]}`, where the cause may be empty, null
    or no list and a code a number or a text; and the policy agent's `{"code", "blocked_by", "message"}`.
    """
    try:
        error = json.loads(body)
    except (ValueError, RecursionError):
        return Refusal(None, "the answer is not JSON")
    if not isinstance(error, dict):
        return Refusal(None, "the answer gives no reason")
    cause: Any = error.get("cause")
    if isinstance(cause, list):
        cause = cause[0] if cause else None
    if not isinstance(cause, dict):
        cause = {}
    code = _code(cause.get("code"))
    if code is None:
        code = _code(error.get("code"))
    for told in (cause.get("description"), error.get("message"), error.get("error")):
        if isinstance(told, str) and told.strip():
            return Refusal(code, _fit_for_a_log(told))
    return Refusal(code, "the answer gives no reason")


def _reais(cents: int) -> msgspec.Raw:
    if cents <= 0:
        raise ValueError(f"{cents} centavos cannot be charged or given back")
    return msgspec.Raw(f"{cents // 100}.{cents % 100:02d}".encode())


def _centavos(reais: Decimal, field: str) -> int:
    """Turn reais into centavos, exactly. A third decimal that means something is an error, never rounded."""
    if not reais.is_finite() or not 0 <= reais < MAXIMUM_REAIS:
        raise ProviderUnavailable(f"the answer's {field} is not an amount")
    told = reais.scaleb(2)
    cents = told.to_integral_value(ROUND_HALF_EVEN)
    if abs(told - cents) > DOUBLE_NOISE:
        raise ProviderUnavailable(f"the answer's {field} is not in whole centavos")
    return int(cents)


def _read(decode: Callable[[bytes], T], body: bytes) -> T:
    try:
        return decode(body)
    except msgspec.ValidationError as error:
        raise ProviderUnavailable(f"the answer is not as documented: {error}") from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise ProviderUnavailable("the answer is not JSON") from None


def _utc(moment: datetime | None) -> datetime | None:
    return None if moment is None else moment.astimezone(UTC)


def _payment(told: _Payment) -> ProviderPayment:
    point = told.point_of_interaction
    pix = point.transaction_data if point is not None else None
    refunded = told.transaction_amount_refunded
    try:
        return ProviderPayment(
            id=int(told.id),
            status=told.status,
            status_detail=told.status_detail,
            external_reference=told.external_reference,
            amount_cents=_centavos(told.transaction_amount, "transaction_amount"),
            refunded_cents=0 if refunded is None else _centavos(refunded, "transaction_amount_refunded"),
            currency=told.currency_id,
            live_mode=told.live_mode,
            created_at=_utc(told.date_created),
            approved_at=_utc(told.date_approved),
            updated_at=_utc(told.date_last_updated),
            expires_at=_utc(told.date_of_expiration),
            copy_paste=(pix.qr_code or None) if pix is not None else None,
            qr_code_png_base64=(pix.qr_code_base64 or None) if pix is not None else None,
            notification_url=told.notification_url or None,
        )
    except OverflowError:  # the year 1 with an offset has no UTC
        raise ProviderUnavailable("the answer has a date that is out of range") from None


def _refund(told: _Refund) -> ProviderRefund:
    try:
        return ProviderRefund(
            id=int(told.id),
            payment_id=int(told.payment_id),
            amount_cents=_centavos(told.amount, "amount"),
            status=told.status,
            created_at=_utc(told.date_created),
        )
    except OverflowError:  # as in _payment
        raise ProviderUnavailable("the answer has a date that is out of range") from None


def _code(told: object) -> str | None:
    if isinstance(told, bool) or not isinstance(told, int | str):
        return None
    # A code reaches logs and the database; what is no plain word or number is no code.
    return str(told) if re.fullmatch(r"[A-Za-z0-9_.-]{1,64}", str(told)) else None


def _fit_for_a_log(told: str) -> str:
    """Make one short printable line. A long run without a blank is a token, a key or a QR: left out."""
    words = ("…" if len(word) > 24 or "@" in word else word for word in told[:2000].split())
    line = " ".join(words)
    return "".join(c if c.isprintable() else "?" for c in line)[:200]
