"""Webhooks: what they look like, their signature and their retries."""

import asyncio
import hashlib
import hmac
import time
from datetime import timedelta
from pathlib import Path

import aiohttp
import pytest

from comanda_sandbox.deliveries import RETRY_SCHEDULE
from comanda_sandbox.running import RunningSandbox, running_sandbox
from comanda_sandbox.signature import sign
from tests.sandbox.caller import Caller
from tests.sandbox.receiver import Received, Receiver, receiving


def well_signed(request: Received, secret: str) -> bool:
    """Check a signature as the facts describe it, with nothing of the sandbox's own."""
    parts = dict(part.strip().split("=", 1) for part in request.headers["x-signature"].split(","))
    manifest = f"id:{request.query['data.id']};request-id:{request.headers['x-request-id']};ts:{parts['ts']};"
    return hmac.compare_digest(hmac.new(secret.encode(), manifest.encode(), hashlib.sha256).hexdigest(), parts["v1"])


def ts_of(request: Received) -> str:
    """The signed time."""
    return request.headers["x-signature"].split(",")[0].removeprefix("ts=")


def test_the_signature_vector() -> None:
    v1 = sign(
        secret="sim-secret",
        data_id="123456",
        request_id="2066ca19-c6f1-498a-be75-1923005edd06",
        ts="1742505638683",
    )
    assert v1 == "8fb410cd516f30593bc589e9d637d522afd859f03132191434e4abd3483a4923"


async def test_creation_and_each_change_are_told(sandbox: RunningSandbox, caller: Caller, receiver: Receiver) -> None:
    payment_id = await caller.created()
    sandbox.act(payment_id, "pay")
    await caller.refund(payment_id, 1)
    requests = await receiver.wait_for(3)
    assert [request.json["action"] for request in requests] == [
        "payment.created",
        "payment.updated",
        "payment.updated",
    ]
    for request in requests:
        assert request.query == {"data.id": str(payment_id), "type": "payment"}
        body = request.json
        assert (body["data"], body["type"]) == ({"id": str(payment_id)}, "payment")
        assert (body["api_version"], body["live_mode"]) == ("v1", False)
        assert body["id"] != payment_id
        assert isinstance(body["user_id"], int)
        assert body["date_created"].endswith("-04:00")
        assert request.headers["content-type"] == "application/json"
        assert len(ts_of(request)) == 13
        assert abs(int(ts_of(request)) / 1000 - time.time()) < 60
        assert well_signed(request, sandbox.webhook_secret)
    assert len({request.json["id"] for request in requests}) == 3
    assert len({request.headers["x-request-id"] for request in requests}) == 3


async def test_without_an_address_nothing_is_sent(session: aiohttp.ClientSession) -> None:
    async with running_sandbox() as quiet:
        await Caller(session, quiet.url, quiet.token).created()
        assert quiet.deliveries() == []


@pytest.mark.parametrize(
    ("address", "kinds"),
    [
        ("https://127.0.0.1:1/hook?shop=1&source_news=webhooks", ["webhook"]),
        ("https://127.0.0.1:1/hook?shop=1", ["webhook", "ipn"]),
    ],
)
async def test_a_payments_own_address_comes_first(
    sandbox: RunningSandbox, caller: Caller, receiver: Receiver, address: str, kinds: list[str]
) -> None:
    await caller.created(notification_url=address)
    await sandbox.settled()
    deliveries = sandbox.deliveries()
    assert [delivery.kind for delivery in deliveries] == kinds
    assert {delivery.url for delivery in deliveries} == {address}
    assert {delivery.state for delivery in deliveries} == {"pending"}
    assert receiver.requests == []


async def test_retries_keep_the_real_schedule(sandbox: RunningSandbox, caller: Caller, receiver: Receiver) -> None:
    sandbox.behave(expiry_webhook=False)
    receiver.answers += [500, 302, 404, 204, 400, 503, 401, 500]
    await caller.created()
    await sandbox.settled()
    assert [delay.total_seconds() / 60 for delay in RETRY_SCHEDULE[:5]] == [15, 30, 360, 2880, 5760]
    for count, delay in enumerate(RETRY_SCHEDULE, start=1):
        await sandbox.advance(seconds=delay.total_seconds() - 5)
        assert len(receiver.requests) == count
        await sandbox.advance(seconds=10)
        assert len(receiver.requests) == count + 1
    (delivery,) = sandbox.deliveries()
    assert (delivery.state, delivery.attempts, delivery.last_result) == ("given_up", 8, "500")
    await sandbox.advance(days=30)
    assert len(receiver.requests) == 8
    assert all(well_signed(request, sandbox.webhook_secret) for request in receiver.requests)
    assert len({request.json["id"] for request in receiver.requests}) == 1
    assert len({request.headers["x-signature"] for request in receiver.requests}) == 8


@pytest.mark.parametrize("status", [200, 201])
async def test_200_and_201_end_it(sandbox: RunningSandbox, caller: Caller, receiver: Receiver, status: int) -> None:
    receiver.answers += [503, status]
    await caller.created()
    await sandbox.advance(minutes=16)
    (delivery,) = sandbox.deliveries()
    assert (delivery.state, delivery.attempts, delivery.due_at) == ("delivered", 2, None)


async def test_the_scale_brings_a_lost_one_back_soon(receiver: Receiver, session: aiohttp.ClientSession) -> None:
    receiver.answers.append(500)
    async with running_sandbox(webhook_url=receiver.url, webhook_time_scale=100_000) as fast:
        await Caller(session, fast.url, fast.token).created()
        await receiver.wait_for(2)


async def test_no_answer_in_time_counts_as_none(receiver: Receiver, session: aiohttp.ClientSession) -> None:
    receiver.answers.append(None)
    async with running_sandbox(webhook_url=receiver.url, webhook_time_scale=1, answer_timeout=0.5) as hasty:
        await Caller(session, hasty.url, hasty.token).created()
        await hasty.settled()
        (delivery,) = hasty.deliveries()
        assert (delivery.attempts, delivery.last_result) == (1, "no answer in time")
        await hasty.advance(minutes=15)
        assert hasty.deliveries()[0].state == "delivered"


async def test_whether_expiry_is_told_is_a_switch(sandbox: RunningSandbox, caller: Caller, receiver: Receiver) -> None:
    await caller.created()
    sandbox.behave(expiry_webhook=False)
    await sandbox.advance(days=2)
    assert len(receiver.requests) == 1
    await caller.created()
    sandbox.behave(expiry_webhook=True)
    await sandbox.advance(days=2)
    assert len(receiver.requests) == 3
    assert {payment.status_detail for payment in sandbox.payments()} == {"expired"}


async def test_one_payments_webhooks_come_in_order_though_answers_are_slow(
    sandbox: RunningSandbox, caller: Caller, receiver: Receiver
) -> None:
    receiver.answers.append(None)
    payment_id = await caller.created()
    await receiver.wait_for(1)
    sandbox.act(payment_id, "pay")
    other = await caller.created()
    await receiver.wait_for(2)
    assert receiver.requests[1].query["data.id"] == str(other)
    receiver.released.set()
    await sandbox.settled()
    assert [request.query["data.id"] for request in receiver.requests] == [
        str(payment_id),
        str(other),
        str(payment_id),
    ]


async def test_pending_webhooks_outlive_the_sandbox(tmp_path: Path, session: aiohttp.ClientSession) -> None:
    ledger = tmp_path / "ledger.sqlite"
    async with receiving() as gone:
        url = gone.url
    async with running_sandbox(webhook_url=url, ledger=ledger, webhook_time_scale=1) as first:
        payment_id = await Caller(session, first.url, first.token).created()
        await first.settled()
        await first.advance(minutes=1)
    async with receiving(port=int(url.split(":")[2].split("/")[0])) as back:
        async with running_sandbox(webhook_url=url, ledger=ledger, webhook_time_scale=1) as second:
            await second.settled()
            assert back.requests == []
            assert second.clock.offset == timedelta(minutes=1)
            await second.advance(minutes=14)
        assert [request.query["data.id"] for request in back.requests] == [str(payment_id)]


async def test_a_stop_leaves_what_is_in_flight_pending(
    tmp_path: Path, receiver: Receiver, session: aiohttp.ClientSession
) -> None:
    ledger = tmp_path / "ledger.sqlite"
    receiver.answers.append(None)
    async with running_sandbox(webhook_url=receiver.url, ledger=ledger) as first:
        await Caller(session, first.url, first.token).created()
        await receiver.wait_for(1)
    async with running_sandbox(webhook_url=receiver.url, ledger=ledger), asyncio.timeout(5):
        await receiver.wait_for(2)
    assert receiver.requests[0].json == receiver.requests[1].json
