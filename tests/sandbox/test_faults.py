"""Every fault, by what a caller or a receiver of webhooks meets."""

import asyncio
from collections.abc import Mapping
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from comanda_sandbox.faults import KINDS, UnknownFaultError
from comanda_sandbox.running import RunningSandbox, running_sandbox
from tests.sandbox.caller import Caller
from tests.sandbox.receiver import Receiver
from tests.sandbox.test_webhooks import ts_of, well_signed


@pytest.mark.parametrize("fault", ["create_answer_lost", "answer_lost"])
async def test_the_answer_is_lost_and_the_payment_there(
    sandbox: RunningSandbox, caller: Caller, receiver: Receiver, fault: str
) -> None:
    sandbox.arm(fault)
    with pytest.raises(aiohttp.ServerDisconnectedError):
        await caller.create(key="k")
    (payment,) = sandbox.payments("order-1")
    assert (await caller.create(key="k")).json["id"] == payment.id
    assert len(sandbox.payments()) == 1
    await sandbox.settled()
    assert len(receiver.requests) == 1


async def test_a_refunds_answer_is_lost(sandbox: RunningSandbox, caller: Caller) -> None:
    payment_id = await caller.created()
    sandbox.act(payment_id, "pay")
    sandbox.arm("refund_answer_lost")
    with pytest.raises(aiohttp.ServerDisconnectedError):
        await caller.refund(payment_id, key="k")
    assert (await caller.refund(payment_id, key="k")).status == 200
    assert sandbox.payment(payment_id).status == "refunded"
    assert len(sandbox.refunds()) == 1


async def test_a_time_out_does_nothing(sandbox: RunningSandbox, caller: Caller) -> None:
    sandbox.arm("time_out")
    with pytest.raises(TimeoutError):
        await caller.create(timeout=0.5)
    assert sandbox.payments() == []
    sandbox.arm("time_out", seconds=0)
    with pytest.raises(aiohttp.ServerDisconnectedError):
        await caller.create()
    assert sandbox.payments() == []


async def test_slow_work_is_done_although_the_caller_has_gone(
    sandbox: RunningSandbox, caller: Caller, receiver: Receiver
) -> None:
    sandbox.arm("slow", seconds=2)
    with pytest.raises(TimeoutError):
        await caller.create(timeout=0.5)
    assert sandbox.payments() == []
    await receiver.wait_for(1)
    assert len(sandbox.payments()) == 1


async def test_slow_answers_come_after_the_work(sandbox: RunningSandbox, caller: Caller) -> None:
    sandbox.arm("slow_answer", seconds=60)
    with pytest.raises(TimeoutError):
        await caller.create(timeout=0.5)
    assert len(sandbox.payments()) == 1
    sandbox.arm("slow_answer", seconds=0.01)
    assert (await caller.create()).status == 201


async def test_paid_while_it_is_being_cancelled(sandbox: RunningSandbox, caller: Caller) -> None:
    payment_id = await caller.created()
    fault = sandbox.arm("slow", seconds=0.1, match={"operation": "cancel_payment"})
    cancelling = asyncio.create_task(caller.cancel(payment_id))
    await sandbox.struck(fault)
    sandbox.act(payment_id, "pay")
    assert (await cancelling).code == 2063


async def test_a_stop_does_not_wait_for_what_a_fault_holds(session: aiohttp.ClientSession) -> None:
    async with asyncio.timeout(5):
        async with running_sandbox() as held:
            fault = held.arm("slow", seconds=3600)
            caller = Caller(session, held.url, held.token)
            call = asyncio.create_task(caller.create())
            await held.struck(fault)
        with pytest.raises((aiohttp.ClientError, AssertionError)):
            assert (await call).status == 201


@pytest.mark.parametrize(
    ("fault", "values", "status", "made"),
    [
        ("server_error", {}, 500, 0),
        ("server_error", {"effect": True, "status": 503}, 503, 1),
        ("rate_limited", {}, 429, 0),
        ("locked", {}, 423, 0),
        ("refused", {"code": 2001}, 400, 0),
    ],
)
async def test_errors(
    sandbox: RunningSandbox, caller: Caller, fault: str, values: dict[str, Any], status: int, made: int
) -> None:
    sandbox.arm(fault, **values)
    answer = await caller.create()
    assert (answer.status, answer.json["status"]) == (status, status)
    assert len(sandbox.payments()) == made
    assert "Retry-After" not in answer.headers
    assert (await caller.create()).status == 201


async def test_the_details_of_errors(sandbox: RunningSandbox, caller: Caller) -> None:
    sandbox.arm("rate_limited", retry_after=7)
    assert (await caller.create()).headers["Retry-After"] == "7"
    sandbox.arm("refused")
    assert (await caller.create()).code == 13253
    sandbox.arm("forbidden_by_policy")
    policy = await caller.create()
    assert policy.status == 403
    assert policy.json["code"] == "PA_UNAUTHORIZED_RESULT_FROM_POLICIES"
    assert policy.json["blocked_by"] == "PolicyAgent"
    assert "cause" not in policy.json
    for effect in (False, True):
        sandbox.arm("non_json", effect=effect, status=502)
        page = await caller.create()
        assert (page.status, page.body[:6]) == (502, b"<html>")
        assert len(sandbox.payments()) == effect


async def test_look_ups_lag(sandbox: RunningSandbox, caller: Caller) -> None:
    sandbox.arm("not_found_after_create", times=2)
    sandbox.arm("search_lag", times=2)
    payment_id = await caller.created()
    for _ in range(2):
        assert (await caller.get(payment_id)).code == 2000
        found = (await caller.search(external_reference="order-1")).json
        assert (found["results"], found["paging"]["total"]) == ([], 0)
    assert (await caller.get(payment_id)).status == 200
    assert len((await caller.search(external_reference="order-1")).json["results"]) == 1


async def test_search_lag_in_seconds(sandbox: RunningSandbox, caller: Caller) -> None:
    sandbox.arm("search_lag", times=None, seconds=60)
    old = await caller.created()
    await sandbox.advance(seconds=61)
    await caller.created()
    assert [one["id"] for one in (await caller.search()).json["results"]] == [old]
    await sandbox.advance(seconds=61)
    assert len((await caller.search()).json["results"]) == 2


@pytest.mark.parametrize(
    ("fault", "values", "expected"),
    [
        ("null_payer", {}, {"payer": None}),
        ("null_qr", {}, {"point_of_interaction": None}),
        ("string_amounts", {}, {"transaction_amount": "25.90", "transaction_amount_refunded": "0.00"}),
        ("unknown_status", {}, {"status": "quantum_superposition", "status_detail": "undecided"}),
        ("unknown_status", {"status": "approved"}, {"status": "approved"}),
        ("wrong_amount", {}, {"transaction_amount": Decimal("25.91")}),
        ("wrong_amount", {"amount_cents": 1}, {"transaction_amount": Decimal("0.01")}),
        ("wrong_currency", {}, {"currency_id": "ARS"}),
        ("wrong_reference", {"external_reference": "x"}, {"external_reference": "x"}),
        ("live_mode_flipped", {}, {"live_mode": True}),
    ],
)
async def test_distorted_answers(
    sandbox: RunningSandbox, caller: Caller, fault: str, values: dict[str, Any], expected: Mapping[str, Any]
) -> None:
    sandbox.arm(fault, times=3, **values)
    payment_id = await caller.created()
    found = (await caller.search(external_reference="order-1")).json["results"][0]
    for payment in (found, (await caller.get(payment_id)).json):
        assert {name: payment[name] for name in expected} == expected
    plain = (await caller.get(payment_id)).json
    assert {name: plain[name] for name in expected} != expected
    assert sandbox.payment(payment_id).amount_cents == 2590


async def test_the_time_of_an_approval_may_be_left_out(sandbox: RunningSandbox, caller: Caller) -> None:
    payment_id = await caller.created()
    sandbox.act(payment_id, "pay")
    sandbox.arm("null_approved")
    answers = [(await caller.get(payment_id)).json for _ in range(2)]
    assert [(each["status"], each["date_approved"] is None) for each in answers] == [
        ("approved", True),
        ("approved", False),
    ]


async def test_an_id_may_be_a_string(sandbox: RunningSandbox, caller: Caller) -> None:
    sandbox.arm("string_id")
    assert isinstance((await caller.create()).json["id"], str)


async def test_what_a_fault_is_about(sandbox: RunningSandbox, caller: Caller) -> None:
    sandbox.arm("locked", match={"operation": "get_payment", "external_reference": "b"}, skip=1)
    a, b = await caller.created(external_reference="a"), await caller.created(external_reference="b")
    statuses = [(await caller.get(one)).status for one in (b, a, b, b)]
    assert statuses == [200, 200, 423, 200]
    sandbox.arm("null_payer", match={"payment_id": b, "status": "approved"})
    sandbox.act(a, "pay")
    for one in (a, b):
        assert (await caller.get(one)).json["payer"] is not None
    sandbox.act(b, "pay")
    assert (await caller.get(b)).json["payer"] is None


async def test_a_fault_waits_for_a_caller_with_a_token(sandbox: RunningSandbox, caller: Caller) -> None:
    sandbox.arm("locked")
    assert (await caller.call("GET", "/v1/payments/1", token="TEST-no")).status == 401
    assert (await caller.create()).status == 423


@pytest.mark.parametrize(
    ("body", "named"),
    [
        ({}, "create_answer_lost"),
        ({"fault": "gremlins"}, "webhook_forged"),
        ({"fault": "slow", "minutes": 1}, "seconds"),
        ({"fault": "slow", "seconds": "1"}, "float"),
        ({"fault": "slow", "seconds": -1}, "seconds"),
        ({"fault": "slow", "times": 0}, "null"),
        ({"fault": "slow", "times": True}, "times"),
        ({"fault": "slow", "skip": -1}, "skip"),
        ({"fault": "slow", "match": "create"}, "object"),
        ({"fault": "slow", "match": {"status": "pending"}}, "operation"),
        ({"fault": "slow", "match": {"operation": "create"}}, "create_payment"),
        ({"fault": "create_answer_lost", "match": {"operation": "get_payment"}}, "create_payment"),
        ({"fault": "webhook_forged", "signature": "odd"}, "wrong_secret"),
        ({"fault": "webhook_forged", "match": {"action": "paid"}}, "payment.updated"),
    ],
)
async def test_unknown_faults_are_refused_with_what_is_known(
    sandbox: RunningSandbox, caller: Caller, body: dict[str, Any], named: str
) -> None:
    answer = await caller.call("POST", "/_sandbox/faults", body=body)
    assert answer.status == 400
    assert named in answer.json["detail"]
    assert sandbox.sandbox.faults.armed() == []
    with pytest.raises(UnknownFaultError):
        sandbox.arm("gremlins")


async def test_arming_listing_and_clearing(sandbox: RunningSandbox, caller: Caller) -> None:
    body = {"fault": "slow", "times": None, "seconds": 1.5, "match": {"operation": "get_payment"}}
    armed = await caller.call("POST", "/_sandbox/faults", body=body)
    assert armed.status == 201
    assert (armed.json["seconds"], armed.json["times"]) == (Decimal("1.5"), None)
    await caller.call("POST", "/_sandbox/faults", body={"fault": "locked", "times": 2})
    await caller.create()
    listed = (await caller.call("GET", "/_sandbox/faults")).json
    assert [(one["fault"], one["times"], one["struck"]) for one in listed["armed"]] == [
        ("slow", None, 0),
        ("locked", 1, 1),
    ]
    assert set(listed["known"]) == set(KINDS)
    cleared = await caller.call("DELETE", f"/_sandbox/faults/{armed.json['id']}")
    assert cleared.json == {"cleared": 1}
    assert (await caller.call("DELETE", "/_sandbox/faults")).json == {"cleared": 1}
    assert (await caller.create()).status == 201


# Webhooks


async def test_duplicates_have_their_own_ids(sandbox: RunningSandbox, caller: Caller, receiver: Receiver) -> None:
    sandbox.arm("webhook_duplicated", copies=2)
    await caller.created()
    requests = await receiver.wait_for(3)
    for values in (
        {request.json["id"] for request in requests},
        {request.headers["x-request-id"] for request in requests},
    ):
        assert len(values) == 3
    assert {request.query["data.id"] for request in requests} == {requests[0].query["data.id"]}
    assert all(well_signed(request, sandbox.webhook_secret) for request in requests)


async def test_delayed(sandbox: RunningSandbox, caller: Caller, receiver: Receiver) -> None:
    sandbox.arm("webhook_delayed", seconds=60, match={"action": "payment.updated"})
    payment_id = await caller.created()
    sandbox.act(payment_id, "pay")
    await sandbox.settled()
    assert len(receiver.requests) == 1
    await sandbox.advance(seconds=61)
    assert len(receiver.requests) == 2


async def test_reordered(sandbox: RunningSandbox, caller: Caller, receiver: Receiver) -> None:
    sandbox.arm("webhook_reordered", seconds=3600)
    payment_id = await caller.created()
    await sandbox.settled()
    assert receiver.requests == []
    sandbox.act(payment_id, "pay")
    await receiver.wait_for(2)
    assert [request.json["action"] for request in receiver.requests] == ["payment.updated", "payment.created"]
    sandbox.arm("webhook_reordered", seconds=3600)
    sandbox.act(payment_id, "refund")
    await sandbox.settled()
    assert len(receiver.requests) == 2
    await sandbox.advance(seconds=3601)
    assert len(receiver.requests) == 3


async def test_dropped_comes_back_and_never_does_not(
    sandbox: RunningSandbox, caller: Caller, receiver: Receiver
) -> None:
    sandbox.arm("webhook_dropped", attempts=2)
    sandbox.arm("webhook_never", skip=1)
    payment_id = await caller.created()
    await sandbox.advance(minutes=16)
    assert receiver.requests == []
    await sandbox.advance(minutes=31)
    assert len(receiver.requests) == 1
    sandbox.act(payment_id, "pay")
    await sandbox.advance(days=30)
    assert [request.json["action"] for request in receiver.requests] == ["payment.created"]
    assert [delivery.state for delivery in sandbox.deliveries()] == ["delivered", "never"]


@pytest.mark.parametrize("how", ["wrong_secret", "garbled", "missing"])
async def test_forged_ones_are_not_well_signed_nor_tried_again(
    sandbox: RunningSandbox, caller: Caller, receiver: Receiver, how: str
) -> None:
    sandbox.arm("webhook_forged", signature=how)
    payment_id = await caller.created()
    await receiver.wait_for(2)
    await sandbox.settled()
    forged = next(delivery for delivery in sandbox.deliveries() if delivery.flavour == "forged")
    request = next(one for one in receiver.requests if one.json["id"] == forged.id)
    assert request.query["data.id"] == str(payment_id)
    match how:
        case "missing":
            assert "x-signature" not in request.headers
        case "garbled":
            assert ",v1=" not in request.headers["x-signature"]
        case _:
            assert not well_signed(request, sandbox.webhook_secret)
    assert sum(request.json["id"] == forged.id for request in receiver.requests) == 1
    receiver.answers += [200, 401]
    sandbox.arm("webhook_forged", signature=how)
    sandbox.act(payment_id, "pay")
    await sandbox.advance(days=1)
    assert len(receiver.requests) == 4


async def test_a_replay_is_the_very_same_request(sandbox: RunningSandbox, caller: Caller, receiver: Receiver) -> None:
    sandbox.arm("webhook_replayed")
    receiver.answers.append(503)
    await caller.created()
    await sandbox.settled()
    assert len(receiver.requests) == 1
    await sandbox.advance(minutes=16)
    await receiver.wait_for(3)
    assert receiver.requests[2] == receiver.requests[1]
    assert [delivery.state for delivery in sandbox.deliveries()] == ["delivered", "delivered"]


@pytest.mark.parametrize(
    ("fault", "topic"), [("webhook_ipn_twin", "payment"), ("webhook_merchant_order", "merchant_order")]
)
async def test_legacy_messages(
    sandbox: RunningSandbox, caller: Caller, receiver: Receiver, fault: str, topic: str
) -> None:
    sandbox.arm(fault)
    payment_id = await caller.created()
    requests = await receiver.wait_for(2)
    (legacy,) = [request for request in requests if "topic" in request.query]
    assert legacy.query == {"id": str(payment_id), "topic": topic}
    assert legacy.json["topic"] == topic
    assert str(payment_id) in legacy.json["resource"]


async def test_the_twin_may_always_come(sandbox: RunningSandbox, caller: Caller, receiver: Receiver) -> None:
    sandbox.behave(ipn_twin=True)
    await caller.created()
    await sandbox.settled()
    assert sum("topic" in request.query for request in receiver.requests) == 1


async def test_for_another_payment(sandbox: RunningSandbox, caller: Caller, receiver: Receiver) -> None:
    sandbox.arm("webhook_other_payment")
    sandbox.arm("webhook_other_payment", payment_id=7)
    payment_id = await caller.created()
    requests = await receiver.wait_for(3)
    others = [request for request in requests if request.query["data.id"] != str(payment_id)]
    assert len(others) == 2
    for request in others:
        assert well_signed(request, sandbox.webhook_secret)
        assert request.json["data"]["id"] == request.query["data.id"]
        assert (await caller.get(int(request.query["data.id"]))).status == 404


async def test_query_and_body_may_disagree(sandbox: RunningSandbox, caller: Caller, receiver: Receiver) -> None:
    sandbox.arm("webhook_body_mismatch")
    payment_id = await caller.created()
    requests = await receiver.wait_for(2)
    (odd,) = [request for request in requests if request.json["data"]["id"] != str(payment_id)]
    assert odd.query["data.id"] == str(payment_id)
    assert well_signed(odd, sandbox.webhook_secret)


async def test_other_ways_of_writing(sandbox: RunningSandbox, caller: Caller, receiver: Receiver) -> None:
    sandbox.arm("webhook_string_id")
    sandbox.arm("webhook_seconds_ts")
    await caller.created()
    (request,) = await receiver.wait_for(1)
    assert isinstance(request.json["id"], str)
    assert len(ts_of(request)) == 10
    assert well_signed(request, sandbox.webhook_secret)


def test_every_fault_is_tried_here() -> None:
    """A fault that nobody has seen strike is a promise without proof."""
    tried = "".join((Path(__file__).parent / name).read_text() for name in ("test_faults.py", "test_refunds.py"))
    assert [name for name in KINDS if f'"{name}"' not in tried] == []


async def test_search_lag_in_seconds_hides_what_was_changed_since_from_a_search_of_changes(
    sandbox: RunningSandbox, caller: Caller
) -> None:
    payment = await caller.created()
    sandbox.clock.advance(timedelta(hours=1))
    sandbox.act(payment, "pay")
    sandbox.arm("search_lag", times=None, seconds=60)
    window = {"range": "date_last_updated", "begin_date": "NOW-2HOURS", "end_date": "NOW"}
    assert (await caller.search(**window)).json["results"] == []
    assert len((await caller.search()).json["results"]) == 1
    sandbox.clock.advance(timedelta(seconds=61))
    assert len((await caller.search(**window)).json["results"]) == 1
