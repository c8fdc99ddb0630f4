"""The operator's paths and who may call them."""

import logging
from typing import Any

import aiohttp
import pytest
from aiohttp.test_utils import make_mocked_request

from comanda_sandbox.answering import NotTheOperatorError, require_operator
from comanda_sandbox.running import RunningSandbox
from tests.sandbox.caller import Caller


async def act(caller: Caller, payment_id: int, action: str, **sent: Any) -> Any:
    """An action, without a token."""
    headers = {"Authorization": "", **sent.pop("headers", {})}
    return await caller.call("POST", f"/_sandbox/payments/{payment_id}/{action}", headers=headers, **sent)


@pytest.mark.parametrize(
    ("action", "status", "detail"),
    [
        ("pay", "approved", "accredited"),
        ("reject", "rejected", "rejected_by_bank"),
        ("expire", "cancelled", "expired"),
        ("cancel", "cancelled", "by_collector"),
        ("cancel?by=payer", "cancelled", "by_payer"),
        ("cancel?by=admin", "cancelled", "by_admin"),
        ("process", "in_process", "pending_contingency"),
    ],
)
async def test_actions_on_an_open_payment(caller: Caller, action: str, status: str, detail: str) -> None:
    payment_id = await caller.created()
    answer = await act(caller, payment_id, action)
    assert answer.status == 200
    assert (answer.json["id"], answer.json["status"], answer.json["status_detail"]) == (
        payment_id,
        status,
        detail,
    )
    assert answer.json == (await caller.get(payment_id)).json


@pytest.mark.parametrize(
    ("before", "action"),
    [
        (["pay"], "pay"),
        (["pay"], "reject"),
        (["pay"], "expire"),
        (["reject"], "pay"),
        (["reject"], "pay?late=true"),
        (["expire"], "pay"),
        (["cancel"], "expire"),
        ([], "charge-back"),
        ([], "mediate"),
        ([], "resolve"),
        (["process"], "expire"),
    ],
)
async def test_impossible_moves_change_nothing(
    sandbox: RunningSandbox, caller: Caller, before: list[str], action: str
) -> None:
    payment_id = await caller.created()
    for step in before:
        sandbox.act(payment_id, step)
    was = sandbox.payment(payment_id)
    answer = await act(caller, payment_id, action)
    assert answer.status == 409
    assert answer.headers["Content-Type"].startswith("application/problem+json")
    assert str(payment_id) in answer.json["detail"]
    assert sandbox.payment(payment_id) == was


@pytest.mark.parametrize("before", ["expire", "cancel"])
@pytest.mark.parametrize(
    "late",
    [
        {"body": {"late": True}},
        {"data": b'{"late":true}', "headers": {"Content-Type": "application/x-www-form-urlencoded"}},
        {"data": b"late=true", "headers": {"Content-Type": "application/x-www-form-urlencoded"}},
    ],
)
async def test_late_payments(sandbox: RunningSandbox, caller: Caller, before: str, late: dict[str, Any]) -> None:
    payment_id = await caller.created()
    sandbox.act(payment_id, before)
    assert "late" in (await act(caller, payment_id, "pay")).json["detail"]
    answer = await act(caller, payment_id, "pay", **late)
    assert (answer.status, answer.json["status"]) == (200, "approved")
    assert answer.json["date_approved"] is not None


async def test_a_payment_cannot_be_paid_in_time_after_its_time(sandbox: RunningSandbox, caller: Caller) -> None:
    payment_id = await caller.created()
    await sandbox.advance(days=2)
    assert (await act(caller, payment_id, "pay")).status == 409
    assert (await act(caller, payment_id, "pay?late=true")).status == 200


@pytest.mark.parametrize(
    ("body", "cents"), [(None, 2590), ({"amount": 1.5}, 150), ({"amount_cents": 1}, 1), ({}, 2590)]
)
async def test_refunds(sandbox: RunningSandbox, caller: Caller, body: Any, cents: int) -> None:
    payment_id = await caller.created()
    assert (await act(caller, payment_id, "refund")).status == 400
    sandbox.act(payment_id, "pay")
    answer = await act(caller, payment_id, "refund", body=body)
    assert answer.status == 200
    assert sandbox.payment(payment_id).refunded_cents == cents
    assert [refund.amount_cents for refund in sandbox.refunds()] == [cents]


@pytest.mark.parametrize(
    ("action", "body"),
    [
        ("pay", {"when": "now"}),
        ("pay", {"late": 7}),
        ("reject", {"status_detail": "No!"}),
        ("cancel", {"by": "magic"}),
        ("charge-back", {"outcome": "won"}),
        ("refund", {"amount": "1"}),
        ("refund", {"amount": 1.001}),
        ("refund", {"amount_cents": 1.5}),
        ("refund", {"amount_cents": 0}),
        ("expire", {"late": True}),
        ("pay", [1]),
    ],
)
async def test_wrong_options(caller: Caller, action: str, body: Any) -> None:
    payment_id = await caller.created()
    assert (await act(caller, payment_id, action, body=body)).status == 400


async def test_what_is_not_there(caller: Caller) -> None:
    payment_id = await caller.created()
    assert (await act(caller, 7, "pay")).status == 404
    unknown = await act(caller, payment_id, "steal")
    assert (unknown.status, "charge-back" in unknown.json["detail"]) == (404, True)
    assert (await caller.call("POST", "/_sandbox/payments/x/pay")).status == 404
    assert (await caller.call("POST", "/_sandbox/refunds/7/approve")).status == 404
    assert (await caller.call("POST", "/_sandbox/refunds/7/ignore")).status == 404
    assert (await caller.call("GET", "/_sandbox/payments/7")).status == 404
    missing = await caller.call("GET", "/_sandbox/nothing")
    assert (missing.status, missing.json["status"]) == (404, 404)


async def test_the_ledger_in_centavos(sandbox: RunningSandbox, caller: Caller) -> None:
    payment_id = await caller.created(external_reference="a")
    await caller.created(external_reference="b")
    sandbox.act(payment_id, "pay")
    refund = (await caller.refund(payment_id, 5)).json
    await sandbox.settled()
    ledger = (await caller.call("GET", "/_sandbox/ledger")).json
    first, second = ledger["payments"]
    assert (first["id"], first["amount_cents"], first["refunded_cents"]) == (payment_id, 2590, 500)
    assert second["status"] == "pending"
    assert [(one["id"], one["amount_cents"]) for one in ledger["refunds"]] == [(refund["id"], 500)]
    assert [one["state"] for one in ledger["deliveries"]] == ["delivered"] * 4
    assert [one["result_id"] for one in ledger["keys"]] == [payment_id, second["id"], refund["id"]]
    listed = (await caller.call("GET", "/_sandbox/payments?external_reference=a")).json
    assert listed["payments"] == [(await caller.get(payment_id)).json]
    one = await caller.call("GET", f"/_sandbox/payments/{payment_id}")
    assert one.json == listed["payments"][0]


async def test_faults_do_not_touch_the_operators_view(sandbox: RunningSandbox, caller: Caller) -> None:
    payment_id = await caller.created()
    sandbox.arm("null_payer", times=None)
    assert (await act(caller, payment_id, "pay")).json["payer"] is not None


async def test_the_clock(sandbox: RunningSandbox, caller: Caller) -> None:
    payment_id = await caller.created()
    moved = await caller.call("POST", "/_sandbox/clock", body={"advance_seconds": 86401.5})
    assert float(moved.json["offset_seconds"]) == 86401.5
    assert sandbox.sandbox.ledger.payment(payment_id).status == "cancelled"  # type: ignore[union-attr]
    assert float((await caller.call("GET", "/_sandbox/clock")).json["offset_seconds"]) == 86401.5
    back = await caller.call("POST", "/_sandbox/clock", body={"reset": True})
    assert float(back.json["offset_seconds"]) == 0
    behind = await caller.call("POST", "/_sandbox/clock", body={"advance_seconds": -60})
    assert float(behind.json["offset_seconds"]) == -60


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"advance_seconds": "1"},
        {"advance_seconds": True},
        {"advance_seconds": 10**30},
        {"advance_seconds": 1, "reset": True},
        {"reset": False},
    ],
)
async def test_wrong_moves_of_the_clock(sandbox: RunningSandbox, caller: Caller, body: Any) -> None:
    assert (await caller.call("POST", "/_sandbox/clock", body=body)).status == 400
    assert not sandbox.clock.offset


async def test_switches(sandbox: RunningSandbox, caller: Caller) -> None:
    path = "/_sandbox/behaviour"
    assert (await caller.call("GET", path)).json["refund_replay"] == "empty"
    changed = await caller.call("PATCH", path, body={"refund_replay": "first_result", "expiry_lag_seconds": 5})
    assert changed.json["refund_replay"] == "first_result"
    assert sandbox.sandbox.behaviour.expiry_lag_seconds == 5
    for body in (
        {"mood": "bad"},
        {"refund_replay": "maybe"},
        {"expiry_lag_seconds": -1},
        {"ipn_twin": 1},
        {"expiry_lag_seconds": True},
    ):
        refused = await caller.call("PATCH", path, body=body)
        assert refused.status == 400
        assert refused.json["detail"]


PATHS = [("GET", "/"), ("GET", "/_sandbox/ledger"), ("POST", "/_sandbox/faults"), ("POST", "/payments/1/pay")]


@pytest.mark.parametrize(("method", "path"), PATHS)
@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Host": "rebound.evil.example"},
    ],
)
async def test_pages_of_other_sites_cannot_act(caller: Caller, method: str, path: str, headers: dict[str, str]) -> None:
    assert (await caller.call(method, path, headers=headers)).status == 403


class Peer:
    """A transport whose other end is elsewhere."""

    def __init__(self, address: str) -> None:
        self.address = address

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """The peer's address."""
        return (self.address, 1) if name == "peername" else default


@pytest.mark.parametrize(
    ("peer", "host", "welcome"),
    [
        ("127.0.0.1", "127.0.0.1:8001", True),
        ("127.0.0.1", "localhost:8001", True),
        ("::1", "[::1]:8001", True),
        ("::ffff:127.0.0.1", "127.0.0.1", True),
        ("10.0.0.7", "127.0.0.1:8001", False),
        ("127.0.0.1", "sandbox.example:8001", False),
        ("", "127.0.0.1", False),
    ],
)
def test_operators_are_on_this_machine(peer: str, host: str, welcome: bool) -> None:
    request = make_mocked_request("GET", "/", headers={"Host": host}, transport=Peer(peer))
    require_operator(request, from_anywhere=True)
    if welcome:
        require_operator(request, from_anywhere=False)
    else:
        with pytest.raises(NotTheOperatorError):
            require_operator(request, from_anywhere=False)


async def test_the_token_is_never_logged(
    sandbox: RunningSandbox, caller: Caller, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    sandbox.arm("server_error")
    await caller.create()
    await caller.call("GET", "/v1/payments/1", token="TEST-a-wrong-one")
    sandbox.arm("answer_lost")
    with pytest.raises(aiohttp.ClientError):
        await caller.create()
    await caller.created(notification_url="https://127.0.0.1:1/")
    await sandbox.settled()
    assert "webhook" in caplog.text
    for secret in (sandbox.token, sandbox.webhook_secret, "TEST-a-wrong-one"):
        assert secret not in caplog.text
