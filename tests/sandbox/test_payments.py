"""Payments through the API: what is taken, what is refused and what comes back."""

import re
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import pytest

from comanda_sandbox.running import RunningSandbox, running_sandbox
from tests.sandbox.caller import EMAIL, Caller
from tests.sandbox.receiver import Receiver

WRITTEN = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}-04:00")


def expiry(sandbox: RunningSandbox, **ahead: float) -> str:
    """A time ahead of the sandbox's clock, as a client in São Paulo writes it."""
    moment = (sandbox.clock.now() + timedelta(**ahead)).astimezone(timezone(timedelta(hours=-3)))
    return moment.isoformat(timespec="milliseconds")


async def test_a_new_payment(sandbox: RunningSandbox, caller: Caller) -> None:
    expires = expiry(sandbox, minutes=45)
    answer = await caller.create(
        date_of_expiration=expires,
        description="Pedido",
        metadata={"table": 4, "share": 0.5},
        notification_url="https://comanda.com.br/hook?source_news=webhooks",
        payer={"email": EMAIL, "identification": {"type": "CPF", "number": "19119119100"}},
    )
    payment = answer.json
    assert answer.status == 201
    assert answer.headers["Content-Type"].startswith("application/json")
    assert len(str(payment["id"])) == 12
    expected: dict[str, Any] = {
        "status": "pending",
        "status_detail": "pending_waiting_transfer",
        "payment_method_id": "pix",
        "payment_type_id": "bank_transfer",
        "currency_id": "BRL",
        "date_approved": None,
        "external_reference": "order-1",
        "description": "Pedido",
        "metadata": {"table": 4, "share": Decimal("0.5")},
        "live_mode": False,
        "transaction_amount": Decimal("25.90"),
        "transaction_amount_refunded": Decimal("0.00"),
        "refunds": [],
    }
    assert {name: payment[name] for name in expected} == expected
    assert b'"transaction_amount":25.90,' in answer.body
    assert payment["payer"]["email"] == EMAIL
    assert isinstance(payment["collector_id"], int)
    for name in ("date_created", "date_last_updated", "date_of_expiration"):
        assert WRITTEN.fullmatch(payment[name])
    assert datetime.fromisoformat(payment["date_of_expiration"]) == datetime.fromisoformat(expires)
    assert (await caller.get(payment["id"])).json == payment


async def test_a_payment_lives_a_day_unless_told_otherwise(caller: Caller) -> None:
    payment = (await caller.create()).json
    life = datetime.fromisoformat(payment["date_of_expiration"]) - datetime.fromisoformat(payment["date_created"])
    assert life == timedelta(days=1)


@pytest.mark.parametrize(
    ("amount", "cents"), [(b"25.9", 2590), (b"25.90", 2590), (b"25.900", 2590), (b"7", 700), (b"1e2", 10000)]
)
async def test_amounts_become_exact_centavos(
    sandbox: RunningSandbox, caller: Caller, amount: bytes, cents: int
) -> None:
    body = (
        b'{"payment_method_id":"pix","payer":{"email":"a@b.com"},"external_reference":"x",'
        b'"transaction_amount":' + amount + b"}"
    )
    headers = {"X-Idempotency-Key": "k", "Content-Type": "application/json; charset=utf-8"}
    answer = await caller.call("POST", "/v1/payments", data=body, headers=headers)
    assert answer.status == 201
    assert [payment.amount_cents for payment in sandbox.payments("x")] == [cents]


BAD_FIELDS: list[tuple[dict[str, Any], int]] = [
    ({"transaction_amount": None}, 4002),
    ({"transaction_amount": "25.90"}, 4003),
    ({"transaction_amount": True}, 4003),
    ({"transaction_amount": [25.9]}, 4003),
    ({"transaction_amount": 0}, 4037),
    ({"transaction_amount": -1}, 4037),
    ({"transaction_amount": 25.905}, 4037),
    ({"transaction_amount": 0.001}, 4037),
    ({"transaction_amount": 10**12}, 4037),
    ({"payment_method_id": None}, 4001),
    ({"payment_method_id": "bolbradesco"}, 2131),
    ({"payer": None}, 4006),
    ({"payer": "me"}, 4006),
    ({"payer": {}}, 4050),
    ({"payer": {"email": None}}, 4050),
    ({"payer": {"email": "nobody"}}, 4050),
    ({"payer": {"email": "a@b"}}, 4050),
    ({"payer": {"email": "a@caixa.test"}}, 4050),
    ({"payer": {"email": "a@caixa.local"}}, 4050),
    ({"payer": {"email": "a@-b.com"}}, 4050),
    ({"payer": {"email": "a..b@b.com"}}, 4050),
    ({"payer": {"email": "a" * 250 + "@b.com"}}, 4051),
    ({"payer": {"email": "vendedor@comanda.com.br"}}, 4390),
    ({"payer": {"email": EMAIL, "identification": {"type": "CPF", "number": "1"}}}, 2067),
    ({"payer": {"email": EMAIL, "e_mail": EMAIL}}, 8),
    ({"external_reference": "x" * 65}, 1),
    ({"external_reference": "pedido 1"}, 1),
    ({"external_reference": ""}, 1),
    ({"external_reference": 7}, 1),
    ({"notification_url": "http://comanda.com.br/hook"}, 4020),
    ({"notification_url": "https://"}, 4020),
    ({"notification_url": 7}, 4020),
    ({"notification_url": "https://[x"}, 4020),
    ({"notification_url": "https://comanda.com.br:99999/"}, 4020),
    ({"date_of_expiration": "0001-01-01T00:00:00.000+03:00"}, 23),
    ({"description": "x" * 256}, 1),
    ({"notification_url": "https://comanda.com.br/" + "x" * 240}, 4021),
    ({"metadata": "x"}, 4022),
    ({"description": 7}, 1),
    ({"amount": 25.9}, 8),
    ({"date_of_expiration": "2026-11-22T10:00:00-03:00"}, 23),
    ({"date_of_expiration": "2026-11-22T10:00:00.000Z"}, 23),
    ({"date_of_expiration": "2026-11-22T10:00:00.000"}, 23),
    ({"date_of_expiration": "2026-11-22 10:00:00.000-03:00"}, 23),
    ({"date_of_expiration": "2026-02-30T10:00:00.000-03:00"}, 23),
    ({"date_of_expiration": 30}, 23),
    ({"date_of_expiration": "2001-01-01T10:00:00.000-03:00"}, 7523),
]


@pytest.mark.parametrize(("fields", "code"), BAD_FIELDS)
async def test_what_mercado_pago_refuses_is_refused(
    sandbox: RunningSandbox, caller: Caller, fields: dict[str, Any], code: int
) -> None:
    answer = await caller.create(**fields)
    assert answer.status == 400
    assert answer.code == code
    assert answer.json["error"] == "bad_request"
    assert answer.json["status"] == 400
    assert answer.json["message"] == answer.json["cause"][0]["description"]
    assert sandbox.payments() == []


async def test_a_refused_body_leaves_its_key_free(caller: Caller) -> None:
    assert (await caller.create(key="k", transaction_amount="x")).status == 400
    assert (await caller.create(key="k")).status == 201


@pytest.mark.parametrize(("ahead", "status"), [(29.9, 400), (30.1, 201), (43199.9, 201), (43200.1, 400)])
async def test_the_window_is_by_the_sandboxes_clock(
    sandbox: RunningSandbox, caller: Caller, ahead: float, status: int
) -> None:
    await sandbox.advance(days=100)
    assert (await caller.create(date_of_expiration=expiry(sandbox, minutes=ahead))).status == status


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"7", b'{"a":NaN}', b"\xff", b"[" * 60_000])
async def test_a_body_that_is_no_object_is_refused(caller: Caller, data: bytes) -> None:
    headers = {"X-Idempotency-Key": "k", "Content-Type": "application/json"}
    answer = await caller.call("POST", "/v1/payments", data=data, headers=headers)
    assert (answer.status, answer.code) == (400, 1)


async def test_a_body_must_be_json_by_name_and_not_too_large(caller: Caller) -> None:
    headers = {"X-Idempotency-Key": "k", "Content-Type": "text/plain"}
    assert (await caller.call("POST", "/v1/payments", data=b"{}", headers=headers)).status == 415
    answer = await caller.create(description="x" * 100_000)
    assert answer.status == 413
    assert answer.json["cause"] == []


@pytest.mark.parametrize(
    "headers", [{}, {"X-Idempotency-Key": ""}, {"X-Idempotency-Key": "k" * 65}, {"X-Idempotency-Key": "k\u200b"}]
)
async def test_an_idempotency_key_is_required(sandbox: RunningSandbox, caller: Caller, headers: dict[str, str]) -> None:
    body = {"transaction_amount": 1, "payment_method_id": "pix", "payer": {"email": EMAIL}}
    answer = await caller.call("POST", "/v1/payments", body=body, headers=headers)
    assert (answer.status, answer.code) == (400, 4292)
    payment_id = await caller.created()
    answer = await caller.call("POST", f"/v1/payments/{payment_id}/refunds", headers=headers)
    assert (answer.status, answer.code) == (400, 4292)


async def test_a_key_used_again_gives_the_first_result(sandbox: RunningSandbox, caller: Caller) -> None:
    first = await caller.create(key="k" * 64)
    sandbox.act(first.json["id"], "pay")
    again = await caller.create(key="k" * 64)
    assert (again.status, again.json) == (201, first.json)
    # What lies outside the window by now is not looked at: the first result is the answer.
    other = await caller.create(key="k" * 64, transaction_amount=1, date_of_expiration="nonsense")
    assert (other.status, other.json) == (201, first.json)
    assert len(sandbox.payments()) == 1

    sandbox.behave(payment_replay="current_state")
    assert (await caller.create(key="k" * 64)).json["status"] == "approved"
    sandbox.behave(payment_key_reuse="refuse")
    assert (await caller.create(key="k" * 64)).status == 201
    refused = await caller.create(key="k" * 64, transaction_amount=1)
    assert (refused.status, refused.json["error"]) == (409, "conflict")


async def test_tokens(sandbox: RunningSandbox, caller: Caller) -> None:
    payment_id = await caller.created()
    paths = [
        ("POST", "/v1/payments"),
        ("GET", f"/v1/payments/{payment_id}"),
        ("PUT", f"/v1/payments/{payment_id}"),
        ("GET", "/v1/payments/search"),
        ("POST", f"/v1/payments/{payment_id}/refunds"),
        ("GET", f"/v1/payments/{payment_id}/refunds"),
    ]
    for method, path in paths:
        wrong = await caller.call(method, path, token="TEST-another")
        assert wrong.status == 401
        assert wrong.json == {
            "message": "invalid access token",
            "error": "unauthorized",
            "status": 401,
            "cause": [],
        }
        mode = await caller.call(method, path, token="APP_USR-1")
        assert (mode.status, mode.code) == (401, 7)
        odd = await caller.call(method, path, token="TEST-ç")
        assert odd.status == 401
        for header in ("", "Basic x", "Bearer", sandbox.token):
            none = await caller.call(method, path, headers={"Authorization": header})
            assert (none.status, none.code) == (401, 5)


async def test_a_live_token_makes_live_payments(caller: Caller) -> None:
    async with running_sandbox(token="APP_USR-7") as live:
        there = Caller(caller.session, live.url, live.token)
        assert (await there.create()).json["live_mode"] is True
        mode = await there.call("GET", "/v1/payments/1", token="TEST-1")
        assert (mode.status, mode.code) == (401, 7)


async def test_what_is_not_there(caller: Caller) -> None:
    for method, path in [
        ("GET", "/v1/payments/999999999999"),
        ("GET", "/v1/payments/999999999999/refunds"),
        ("GET", "/v1/payments/999999999999/refunds/1"),
    ]:
        answer = await caller.call(method, path)
        assert (answer.status, answer.code, answer.json["error"]) == (404, 2000, "not_found")
    assert (await caller.cancel(999999999999)).code == 2000
    assert (await caller.refund(999999999999)).code == 2000
    assert (await caller.call("GET", "/v1/payments/abc")).status == 400
    assert (await caller.call("GET", "/v1/orders")).json["status"] == 404
    wrong_way = await caller.call("DELETE", "/v1/payments/1")
    assert wrong_way.json["status"] == 405
    assert "GET" in wrong_way.headers["Allow"]


async def test_cancelling(sandbox: RunningSandbox, caller: Caller) -> None:
    payment_id = await caller.created()
    cancelled = await caller.cancel(payment_id)
    assert cancelled.status == 200
    assert (cancelled.json["status"], cancelled.json["status_detail"]) == ("cancelled", "by_collector")
    again = await caller.cancel(payment_id)
    assert (again.status, again.code) == (400, 3005)

    held = await caller.created()
    sandbox.act(held, "process")
    assert (await caller.cancel(held)).json["status"] == "cancelled"


async def test_a_payment_that_was_paid_cannot_be_cancelled(sandbox: RunningSandbox, caller: Caller) -> None:
    payment_id = await caller.created()
    sandbox.act(payment_id, "pay")
    refused = await caller.cancel(payment_id)
    assert (refused.status, refused.code) == (400, 2063)
    assert sandbox.payment(payment_id).status == "approved"


@pytest.mark.parametrize("body", [{}, {"status": "approved"}, {"status": "cancelled", "amount": 1}])
async def test_nothing_else_can_be_put(caller: Caller, body: dict[str, Any]) -> None:
    payment_id = await caller.created()
    assert (await caller.call("PUT", f"/v1/payments/{payment_id}", body=body)).status == 400


async def test_expiry_by_the_clock(sandbox: RunningSandbox, caller: Caller) -> None:
    payment_id = await caller.created(date_of_expiration=expiry(sandbox, minutes=31))
    await sandbox.advance(minutes=30)
    assert (await caller.get(payment_id)).json["status"] == "pending"
    sandbox.behave(expiry_lag_seconds=120)
    await sandbox.advance(minutes=2)
    assert (await caller.get(payment_id)).json["status"] == "pending"
    await sandbox.advance(minutes=2)
    payment = (await caller.get(payment_id)).json
    assert (payment["status"], payment["status_detail"]) == ("cancelled", "expired")
    sandbox.clock.reset()
    assert (await caller.get(payment_id)).json["status"] == "cancelled"


async def test_a_payment_expires_though_nobody_asks(
    sandbox: RunningSandbox, caller: Caller, receiver: Receiver
) -> None:
    payment_id = await caller.created(date_of_expiration=expiry(sandbox, minutes=31))
    await receiver.wait_for(1)
    sandbox.clock.advance(timedelta(minutes=31))
    await receiver.wait_for(2)
    kept = sandbox.sandbox.ledger.payment(payment_id)
    assert kept is not None
    assert kept.status_detail == "expired"


async def test_times_are_kept_in_utc(sandbox: RunningSandbox, caller: Caller) -> None:
    payment = sandbox.payment(await caller.created())
    assert payment.created_at.tzinfo is UTC
    assert payment.expires_at.tzinfo is UTC
