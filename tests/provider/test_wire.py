"""The bytes that we send and the values that we read, without a network."""

import json
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from uuid import UUID

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from comanda.payments import mercado_pago_wire as wire
from comanda.payments.provider import PixCharge, ProviderUnavailable
from tests.provider.samples import ORDER, QR, a_charge, a_payment, as_json, without

cents = st.integers(1, 99_999_999_999)


def read_amount(told: str) -> int:
    """The centavos of a payment whose amount is this piece of JSON."""
    body = as_json(a_payment(transaction_amount="HERE")).replace(b'"HERE"', told.encode())
    return wire.read_payment(body).amount_cents


def test_a_charge_is_these_very_bytes() -> None:
    charge = PixCharge(
        payment_id=UUID("00000000-0000-4000-8000-000000000001"),
        external_reference=str(ORDER),
        amount_cents=2590,
        description="Pedido",
        payer_email="caixa@lanchonete.com.br",
        expires_at=datetime(2026, 11, 22, 13, 0, 0, 999, tzinfo=UTC),
        idempotency_key="key",
    )
    plain = (
        b'{"transaction_amount":25.90,"payment_method_id":"pix","payer":{"email":"caixa@lanchonete.com.br"},'
        b'"description":"Pedido","external_reference":"5f0d2c6e-1b9a-4f0e-9d3c-7a8b6c5d4e3f",'
        b'"date_of_expiration":"2026-11-22T10:00:00.000-03:00"'
    )
    assert wire.write_charge(charge) == plain + b"}"
    notified = msgspec.structs.replace(charge, notification_url="https://lanchonete.com.br/hook")
    assert wire.write_charge(notified) == plain + b',"notification_url":"https://lanchonete.com.br/hook"}'


@given(amount=cents)
@settings(deadline=None)
def test_every_amount_is_written_with_two_decimals(amount: int) -> None:
    expected = f"{amount:03d}"
    expected = f"{expected[:-2]}.{expected[-2:]}"
    body = wire.write_charge(a_charge(amount_cents=amount))
    assert body.startswith(f'{{"transaction_amount":{expected},'.encode())
    assert json.loads(body, parse_float=Decimal)["transaction_amount"] * 100 == amount
    assert wire.write_refund(amount) == f'{{"amount":{expected}}}'.encode()


@given(
    moment=st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1)),  # noqa: DTZ001 (the zone is drawn below)
    offset=st.integers(-14 * 60, 14 * 60),
)
@settings(deadline=None)
def test_the_same_instant_is_the_same_bytes_in_any_zone(moment: datetime, offset: int) -> None:
    in_utc = a_charge(expires_at=moment.replace(tzinfo=UTC))
    elsewhere = in_utc.expires_at.astimezone(timezone(timedelta(minutes=offset)))
    body = wire.write_charge(in_utc)
    assert wire.write_charge(msgspec.structs.replace(in_utc, expires_at=elsewhere)) == body
    told = json.loads(body)["date_of_expiration"]
    assert told.endswith("-03:00")
    assert told[19] == "."
    assert len(told) == len("2026-11-22T10:00:00.000-03:00")
    assert timedelta(0) <= in_utc.expires_at - datetime.fromisoformat(told) < timedelta(milliseconds=1)


def test_what_cannot_be_a_charge_is_an_error_of_ours() -> None:
    naive = a_charge().expires_at.replace(tzinfo=None)
    with pytest.raises(ValueError, match="time zone"):
        wire.write_charge(a_charge(expires_at=naive))
    for amount in (0, -1):
        with pytest.raises(ValueError, match="centavos"):
            wire.write_charge(a_charge(amount_cents=amount))
        with pytest.raises(ValueError, match="centavos"):
            wire.write_refund(amount)


def test_a_payment_is_read_whole() -> None:
    payment = wire.read_payment(
        as_json(a_payment(date_approved="2026-11-22T13:20:00Z", status="approved", status_detail="accredited"))
    )
    assert payment.id == 132646402927
    assert (payment.status, payment.status_detail) == ("approved", "accredited")
    assert payment.external_reference == str(ORDER)
    assert (payment.amount_cents, payment.refunded_cents, payment.currency) == (2590, 0, "BRL")
    assert payment.live_mode is False
    assert payment.created_at == datetime(2026, 11, 22, 13, 15, 0, 123_000, tzinfo=UTC)
    assert payment.updated_at == payment.created_at
    assert payment.approved_at == datetime(2026, 11, 22, 13, 20, tzinfo=UTC)
    assert payment.expires_at == datetime(2026, 11, 22, 13, 0, tzinfo=UTC)
    assert payment.created_at.tzinfo is UTC
    assert (payment.copy_paste, payment.qr_code_png_base64) == (QR, "aVZCT1J3MEtHZ28=")


@given(amount=st.integers(0, 99_999_999_999))
@settings(deadline=None)
def test_every_amount_is_read_exactly_as_number_and_as_text(amount: int) -> None:
    told = f"{amount // 100}.{amount % 100:02d}"
    assert read_amount(told) == amount
    assert read_amount(f'"{told}"') == amount
    assert read_amount(told + "000") == amount
    assert read_amount(json.dumps(amount / 100)) == amount


@given(terms=st.lists(st.integers(1, 100_000), min_size=1, max_size=20))
@settings(deadline=None)
def test_a_sum_of_doubles_is_read_as_the_sum_it_means(terms: list[int]) -> None:
    total = 0.0
    for term in terms:
        total += term / 100
    assert read_amount(json.dumps(total)) == sum(terms)


@pytest.mark.parametrize("told", ["25.905", "25.901", '"25.905"', "0.001", "25.9000011"])
def test_a_third_decimal_is_not_rounded_away(told: str) -> None:
    with pytest.raises(ProviderUnavailable, match="transaction_amount is not in whole centavos"):
        read_amount(told)


@pytest.mark.parametrize(
    "told",
    [
        "-0.01",
        "1e999999999",
        '"1e999999999"',
        '"NaN"',
        '"-Infinity"',
        '"sNaN"',
        "1000000000",
        '"1e-999999999"',
    ],
)
def test_what_is_no_amount_of_money_is_an_error(told: str) -> None:
    if told == '"1e-999999999"':
        assert read_amount(told) == 0  # as near to nothing as it gets
        return
    with pytest.raises(ProviderUnavailable, match="transaction_amount is not an amount"):
        read_amount(told)


def test_empty_and_absent_is_none_where_it_may_be() -> None:
    for name, field, value in (
        ("status_detail", "status_detail", None),
        ("external_reference", "external_reference", None),
        ("transaction_amount_refunded", "refunded_cents", 0),
        ("date_created", "created_at", None),
        ("date_of_expiration", "expires_at", None),
        ("point_of_interaction", "copy_paste", None),
        ("payer", "status", "pending"),
    ):
        assert getattr(wire.read_payment(as_json(a_payment(**{name: None}))), field) == value
        assert getattr(wire.read_payment(without(name)), field) == value
    points: list[dict[str, object]] = [
        {},
        {"transaction_data": None},
        {"transaction_data": {}},
        {"transaction_data": {"qr_code": ""}},
    ]
    for point in points:
        payment = wire.read_payment(as_json(a_payment(point_of_interaction=point)))
        assert payment.copy_paste is None
        assert payment.qr_code_png_base64 is None


def test_an_id_may_be_told_as_text() -> None:
    assert wire.read_payment(as_json(a_payment(id="132646402927"))) == wire.read_payment(as_json(a_payment()))


def test_an_unknown_status_is_kept_as_it_is() -> None:
    payment = wire.read_payment(as_json(a_payment(status="Sob análise", status_detail="x y")))
    assert (payment.status, payment.status_detail) == ("Sob análise", "x y")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("id", None),
        ("id", "12a"),
        ("id", "012"),
        ("id", "12\n"),
        ("id", "٣"),
        ("id", ""),
        ("id", "9999999999999999999"),
        ("id", 1.5),
        ("id", 0),
        ("id", 2**63),
        ("id", True),
        ("status", None),
        ("status", ""),
        ("status", 3),
        ("transaction_amount", None),
        ("transaction_amount", "25,90"),
        ("transaction_amount", ""),
        ("transaction_amount", True),
        ("currency_id", None),
        ("live_mode", None),
        ("live_mode", "false"),
        ("date_created", "2026-11-22T09:15:00.123"),
        ("date_approved", "2026-11-22"),
        ("date_approved", 1742505638683),
        ("date_of_expiration", ""),
        ("external_reference", 7),
        ("point_of_interaction", []),
    ],
)
def test_what_is_not_as_documented_is_named_and_not_shown(name: str, value: object) -> None:
    with pytest.raises(ProviderUnavailable, match=name) as caught:
        wire.read_payment(as_json(a_payment(**{name: value})))
    assert QR not in str(caught.value)
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize("name", ["id", "status", "transaction_amount", "currency_id", "live_mode"])
def test_what_we_act_upon_must_be_there(name: str) -> None:
    with pytest.raises(ProviderUnavailable, match=name):
        wire.read_payment(without(name))


def test_a_date_without_an_instant_is_an_error() -> None:
    with pytest.raises(ProviderUnavailable, match="out of range"):
        wire.read_payment(as_json(a_payment(date_created="0001-01-01T00:00:00+14:00")))


@pytest.mark.parametrize(
    "told", ["2026-11-22T09:15:00-0400", "2026-11-22T13:15:00Z", "2026-11-22T13:15:00.000000+00:00"]
)
def test_any_offset_is_the_same_instant(told: str) -> None:
    payment = wire.read_payment(as_json(a_payment(date_created=told)))
    assert payment.created_at == datetime(2026, 11, 22, 13, 15, tzinfo=UTC)


NOT_JSON = [
    b"",
    b"   ",
    b"<html>",
    b"{",
    b'{"id":1',
    b"\xff\xfe",
    b'{"x":' + b"[" * 200_000,
    b'{"id":1}trailing',
]


@pytest.mark.parametrize("body", NOT_JSON)
def test_what_is_not_json_is_said_to_be_none(body: bytes) -> None:
    for read in (wire.read_payment, wire.read_search, wire.read_refund, wire.read_refunds):
        with pytest.raises(ProviderUnavailable, match=r"not JSON|not as documented"):
            read(body)
    assert wire.read_refusal(body) == (None, "the answer is not JSON")


@given(body=st.binary(max_size=200))
@settings(deadline=None)
def test_any_bytes_at_all_are_refused_calmly(body: bytes) -> None:
    for read in (wire.read_payment, wire.read_search, wire.read_refund):
        with pytest.raises(ProviderUnavailable):
            read(body)
    assert wire.read_refusal(body).reason


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=40),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@given(
    error=st.dictionaries(
        st.sampled_from(["message", "error", "status", "cause", "code", "blocked_by"]),
        json_values,
        max_size=6,
    )
)
@settings(deadline=None)
def test_any_error_body_gives_a_short_printable_reason(error: dict[str, object]) -> None:
    code, reason = wire.read_refusal(as_json(error))
    assert code is None or (0 < len(code) <= 64 and code.isascii())
    assert 0 < len(reason) <= 200
    assert reason.isprintable()


@pytest.mark.parametrize(
    ("error", "code", "reason"),
    [
        (
            {
                "message": "m",
                "error": "bad_request",
                "status": 400,
                "cause": [{"code": 13253, "description": "no key"}],
            },
            "13253",
            "no key",
        ),
        ({"message": "m", "cause": [{"code": "4292", "description": ""}, {"code": 1}]}, "4292", "m"),
        ({"message": "m", "error": "bad_request", "status": 400, "cause": []}, None, "m"),
        ({"message": "m", "cause": None}, None, "m"),
        ({"message": "m", "cause": {"code": 7, "description": "one cause"}}, "7", "one cause"),
        ({"message": "m", "cause": ["4292"]}, None, "m"),
        ({"message": "m", "cause": "4292"}, None, "m"),
        ({"message": None, "error": "not_found", "cause": [{"code": None}]}, None, "not_found"),
        (
            {
                "code": "PA_UNAUTHORIZED_RESULT_FROM_POLICIES",
                "blocked_by": "PolicyAgent",
                "message": "At least one",
            },
            "PA_UNAUTHORIZED_RESULT_FROM_POLICIES",
            "At least one",
        ),
        ({"code": True, "message": "m"}, None, "m"),
        ({"code": "two words", "message": "m"}, None, "m"),
        ({}, None, "the answer gives no reason"),
        ([1], None, "the answer gives no reason"),
        ("text", None, "the answer gives no reason"),
    ],
)
def test_both_shapes_of_errors_are_read(error: object, code: str | None, reason: str) -> None:
    assert wire.read_refusal(as_json(error)) == (code, reason)


def test_what_an_error_echoes_stays_out_of_the_reason() -> None:
    echoed = f"bad\n\x1b[31m token TEST-{'1' * 60}\u202e for jo@example.com in {QR}"
    reason = wire.read_refusal(as_json({"message": echoed})).reason
    assert reason == "bad ?[31m token … for … in …"


def test_refunds_are_read() -> None:
    told = {"id": 1009042015, "payment_id": 5, "amount": "10.5", "status": "in_process", "reason": None}
    refund = wire.read_refund(as_json(told))
    assert (refund.id, refund.payment_id, refund.amount_cents, refund.status) == (
        1009042015,
        5,
        1050,
        "in_process",
    )
    assert wire.read_refunds(as_json([told, told])) == [refund, refund]
    dated = wire.read_refund(as_json({**told, "date_created": "2026-11-22T10:00:00.000-04:00"}))
    assert (refund.created_at, dated.created_at) == (None, datetime(2026, 11, 22, 14, tzinfo=UTC))
    with pytest.raises(ProviderUnavailable, match="out of range"):
        wire.read_refund(as_json({**told, "date_created": "0001-01-01T00:00:00.000+04:00"}))
    assert wire.read_refunds(b"[]") == []
    with pytest.raises(ProviderUnavailable, match="amount is not in whole centavos"):
        wire.read_refund(as_json({**told, "amount": 10.505}))
    with pytest.raises(ProviderUnavailable, match="status"):
        wire.read_refund(as_json({**told, "status": None}))
