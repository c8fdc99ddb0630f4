"""Refunds, charge-backs and mediations."""

from decimal import Decimal

import pytest

from comanda_sandbox.running import RunningSandbox
from tests.sandbox.caller import Caller
from tests.sandbox.receiver import Receiver


@pytest.fixture
async def paid(sandbox: RunningSandbox, caller: Caller) -> int:
    """A paid payment of R$ 25.90."""
    payment_id = await caller.created()
    sandbox.act(payment_id, "pay")
    return payment_id


async def test_in_part_then_the_rest(caller: Caller, paid: int) -> None:
    first = await caller.refund(paid, 10.5)
    assert first.status == 201
    assert (first.json["payment_id"], first.json["amount"]) == (paid, Decimal("10.50"))
    assert first.json["status"] == "approved"
    payment = (await caller.get(paid)).json
    assert (payment["status"], payment["status_detail"]) == ("approved", "partially_refunded")
    assert payment["transaction_amount_refunded"] == Decimal("10.50")

    rest = await caller.refund(paid)
    assert rest.json["amount"] == Decimal("15.40")
    payment = (await caller.get(paid)).json
    assert (payment["status"], payment["status_detail"]) == ("refunded", "refunded")
    assert payment["transaction_amount_refunded"] == payment["transaction_amount"]
    assert [refund["id"] for refund in payment["refunds"]] == [first.json["id"], rest.json["id"]]

    listed = await caller.call("GET", f"/v1/payments/{paid}/refunds")
    assert listed.json == [first.json, rest.json]
    one = await caller.call("GET", f"/v1/payments/{paid}/refunds/{rest.json['id']}")
    assert one.json == rest.json


async def test_a_refund_belongs_to_its_payment(sandbox: RunningSandbox, caller: Caller, paid: int) -> None:
    other = await caller.created()
    refund_id = (await caller.refund(paid)).json["id"]
    assert (await caller.call("GET", f"/v1/payments/{other}/refunds/{refund_id}")).status == 404
    assert (await caller.call("GET", f"/v1/payments/{paid}/refunds/{refund_id + 1}")).status == 404


async def test_an_empty_object_is_the_whole(caller: Caller, paid: int) -> None:
    assert (await caller.refund(paid, body={})).json["amount"] == Decimal("25.90")


async def test_a_key_used_again_answers_200_and_an_empty_body(
    sandbox: RunningSandbox, caller: Caller, paid: int
) -> None:
    first = await caller.refund(paid, 1, key="k")
    again = await caller.refund(paid, 1, key="k")
    assert (again.status, again.body) == (200, b"")
    sandbox.behave(refund_replay="first_result")
    again = await caller.refund(paid, 1, key="k")
    assert (again.status, again.json) == (200, first.json)
    assert sandbox.payment(paid).refunded_cents == 100


@pytest.mark.parametrize("amount", [25.91, 1000])
async def test_more_than_is_left_is_refused(caller: Caller, paid: int, amount: float) -> None:
    refused = await caller.refund(paid, amount)
    assert (refused.status, refused.code) == (400, 2017)
    await caller.refund(paid, 20)
    refused = await caller.refund(paid, 5.91)
    assert (refused.status, refused.code) == (400, 2017)


@pytest.mark.parametrize("body", [{"amount": 0}, {"amount": -1}, {"amount": "1.00"}, {"amount": 1.001}, {"value": 1}])
async def test_a_wrong_amount_is_refused(
    sandbox: RunningSandbox, caller: Caller, paid: int, body: dict[str, object]
) -> None:
    assert (await caller.refund(paid, body=body)).status == 400
    assert sandbox.refunds() == []


async def test_only_what_was_paid_is_refunded(sandbox: RunningSandbox, caller: Caller, paid: int) -> None:
    for payment_id in (await caller.created(), paid):
        if payment_id == paid:
            await caller.refund(paid)
        refused = await caller.refund(payment_id)
        assert (refused.status, refused.code) == (400, 2063)
    charged_back = await caller.created()
    sandbox.act(charged_back, "pay")
    sandbox.act(charged_back, "charge-back")
    assert (await caller.refund(charged_back)).code == 2063


async def test_after_180_days_it_is_too_late(sandbox: RunningSandbox, caller: Caller, paid: int) -> None:
    await sandbox.advance(days=180, seconds=-60)
    assert (await caller.refund(paid, 1)).status == 201
    await sandbox.advance(seconds=120)
    refused = await caller.refund(paid, 1)
    assert (refused.status, refused.json["cause"]) == (400, [])


@pytest.mark.parametrize("approved", [True, False])
async def test_a_refund_in_process_waits_for_a_decision(
    sandbox: RunningSandbox, caller: Caller, receiver: Receiver, paid: int, approved: bool
) -> None:
    await sandbox.settled()
    told = len(receiver.requests)
    sandbox.arm("refund_in_process")
    answer = await caller.refund(paid, 20)
    assert (answer.status, answer.json["status"]) == (201, "in_process")
    payment = (await caller.get(paid)).json
    assert (payment["status_detail"], payment["transaction_amount_refunded"]) == ("accredited", 0)
    # It holds its money meanwhile.
    assert (await caller.refund(paid, 6)).code == 2017
    decision = "approve" if approved else "refuse"
    path = f"/_sandbox/refunds/{answer.json['id']}/{decision}"
    decided = await caller.call("POST", path)
    assert decided.json["status"] == ("approved" if approved else "rejected")
    assert (await caller.call("POST", path)).status == 409
    payment = (await caller.get(paid)).json
    assert payment["transaction_amount_refunded"] == (20 if approved else 0)
    assert payment["status_detail"] == ("partially_refunded" if approved else "accredited")
    assert (await caller.refund(paid, 6)).status == (400 if approved else 201)
    await sandbox.settled()
    assert len(receiver.requests) == told + (1 if approved else 2)


async def test_whether_a_refusal_is_told_is_a_switch(
    sandbox: RunningSandbox, caller: Caller, receiver: Receiver, paid: int
) -> None:
    sandbox.behave(refund_refusal_webhook=False)
    sandbox.arm("refund_in_process")
    refund = await caller.refund(paid)
    await sandbox.settled()
    told = len(receiver.requests)
    sandbox.decide_refund(refund.json["id"], approved=False)
    await sandbox.settled()
    assert len(receiver.requests) == told


async def test_without_the_header_a_refund_in_process_looks_like_an_error(
    sandbox: RunningSandbox, caller: Caller, paid: int
) -> None:
    sandbox.arm("refund_in_process")
    for _ in range(2):
        answer = await caller.refund(paid, key="k", in_process=False)
        assert (answer.status, answer.json["cause"]) == (400, [])
    assert [refund.status for refund in sandbox.refunds(paid)] == ["in_process"]
    again = await caller.refund(paid, key="k")
    assert (again.status, again.body) == (200, b"")


async def test_the_balance_may_not_do(sandbox: RunningSandbox, caller: Caller, paid: int) -> None:
    sandbox.arm("refund_refused")
    assert (await caller.refund(paid, key="k")).status == 400
    sandbox.arm("refund_refused", code=4040)
    assert (await caller.refund(paid, key="k")).code == 4040
    assert (await caller.refund(paid, key="k")).status == 201


async def test_charge_backs(sandbox: RunningSandbox, caller: Caller, paid: int) -> None:
    path = f"/_sandbox/payments/{paid}/charge-back"
    first = await caller.call("POST", path)
    assert (first.json["status"], first.json["status_detail"]) == ("charged_back", "in_process")
    assert (await caller.call("POST", path)).status == 409
    settled = await caller.call("POST", path + "?outcome=settled")
    assert settled.json["status_detail"] == "settled"
    assert (await caller.call("POST", path + "?outcome=reimbursed")).status == 409


async def test_a_refund_in_process_is_decided_after_a_charge_back(
    sandbox: RunningSandbox, caller: Caller, paid: int
) -> None:
    sandbox.arm("refund_in_process")
    refund = (await caller.refund(paid, 10)).json
    sandbox.act(paid, "charge-back")
    sandbox.decide_refund(refund["id"], approved=True)
    payment = sandbox.payment(paid)
    assert (payment.status, payment.refunded_cents) == ("charged_back", 1000)


async def test_mediation(sandbox: RunningSandbox, caller: Caller, paid: int) -> None:
    await caller.refund(paid, 1)
    assert sandbox.act(paid, "mediate").status == "in_mediation"
    assert (await caller.refund(paid, 1)).code == 2063
    assert sandbox.act(paid, "resolve").status_detail == "partially_refunded"
    sandbox.act(paid, "mediate")
    assert sandbox.act(paid, "charge-back", outcome="reimbursed").status_detail == "reimbursed"
