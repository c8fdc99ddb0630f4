"""Mercado Pago's webhooks: believed if signed, stored before they are answered, answered without asking anybody."""

import hashlib
import hmac
import json
import logging
import random
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from prometheus_client import REGISTRY

from comanda.http import problems
from comanda_local.postgres import EmbeddedPostgres
from tests.conftest import fresh_database, seed, url_of
from tests.http import documented
from tests.running_diner import Answer, Diner, running_diner

pytestmark = pytest.mark.asyncio(loop_scope="module")

PATH = "/v1/webhooks/mercado-pago"


def sign(house: Diner, data_id: str | None, *, request_id: str | None = "req-0001", ts: str, key: str = "") -> str:
    """Sign as Mercado Pago does."""
    parts = (("id", data_id), ("request-id", request_id), ("ts", ts))
    manifest = "".join(f"{name}:{value};" for name, value in parts if value)
    secret = key or house.sandbox.webhook_secret
    return f"ts={ts},v1={hmac.new(secret.encode(), manifest.encode(), hashlib.sha256).hexdigest()}"


def now_ms(house: Diner, *, seconds_ago: float = 0) -> str:
    return str(int((house.checkout.clock().timestamp() - seconds_ago) * 1000))


async def deliver(
    house: Diner,
    data_id: str | None,
    body: object = None,
    *,
    signature: str | None = None,
    query: str | None = None,
    raw: bytes | None = None,
    kind: str = "application/json",
) -> Answer:
    """Send a webhook; signed rightly if nothing else is said."""
    if body is None:
        body = {"type": "payment", "action": "payment.updated", "data": {"id": data_id}, "live_mode": False}
    headers = {"X-Request-Id": "req-0001", "Content-Type": kind}
    if signature is None:
        signature = sign(house, data_id, ts=now_ms(house))
    if signature:
        headers["X-Signature"] = signature
    path = PATH + (f"?data.id={data_id}&type=payment" if query is None else query)
    content = json.dumps(body).encode() if raw is None else raw
    async with house.session.post(house.url + path, data=content, headers=headers) as response:
        found = {name.lower(): value for name, value in response.headers.items()}
        answer = Answer(response.status, found, await response.json(content_type=None))
    documented.check("POST", path, answer)
    return answer


async def stored(house: Diner, data_id: int) -> list[dict[str, Any]]:
    rows = await house.pool.fetch("SELECT * FROM webhook_events WHERE provider_payment_id = $1 ORDER BY id", data_id)
    return [dict(row) for row in rows]


@pytest.mark.parametrize("digits", [13, 10])
async def test_a_signed_one_is_stored_before_the_answer(house: Diner, digits: int) -> None:
    data_id = 7_000_000_000 + digits
    ts = now_ms(house)[:digits]
    answer = await deliver(house, str(data_id), signature=sign(house, str(data_id), ts=ts))
    assert (answer.status, answer.body) == (200, {"outcome": "stored"})
    [event] = await stored(house, data_id)
    assert (event["status"], event["deliveries"], event["request_id"]) == ("waiting", 1, "req-0001")


async def test_repeated_ones_are_one_while_it_waits(house: Diner) -> None:
    outcomes = [(await deliver(house, "7000000100")).body["outcome"] for _ in range(3)]
    assert outcomes == ["stored", "repeated", "repeated"]
    [event] = await stored(house, 7_000_000_100)
    assert event["deliveries"] == 3


async def test_the_answer_does_not_wait_for_the_provider(house: Diner) -> None:
    order = await house.place(1)
    charge = house.charge(order)
    asked = house.sandbox.arm("server_error", times=None)
    answer = await deliver(house, str(charge))
    house.sandbox.clear_faults()
    assert answer.status == 200
    assert asked.struck == 0


@pytest.mark.parametrize("signature", ["ts=1,v1=0", "garbage", "ts=,v1=", "v1=" + "0" * 64, "ts=99999999999999999999"])
async def test_what_is_no_signature(house: Diner, signature: str) -> None:
    answer = await deliver(house, "7000000200", signature=signature)
    assert (answer.status, answer.code) == (401, "invalid_signature")
    assert await stored(house, 7_000_000_200) == []


async def test_none_at_all(house: Diner) -> None:
    async with house.session.post(house.url + PATH + "?data.id=1&type=payment", json={}) as response:
        assert response.status == 401
        assert response.content_type == problems.PROBLEM_JSON


async def test_a_forged_one(house: Diner) -> None:
    forged = sign(house, "7000000300", ts=now_ms(house), key="another secret")
    assert (await deliver(house, "7000000300", signature=forged)).status == 401
    other = sign(house, "7000000301", ts=now_ms(house))
    assert (await deliver(house, "7000000300", signature=other)).status == 401
    assert await stored(house, 7_000_000_300) == []


async def test_a_stale_one(house: Diner) -> None:
    tolerance = house.checkout.settings.webhook_tolerance
    for ago in (tolerance + 60, -tolerance - 60):
        stale = sign(house, "7000000400", ts=now_ms(house, seconds_ago=ago))
        assert (await deliver(house, "7000000400", signature=stale)).status == 401
    fresh = sign(house, "7000000400", ts=now_ms(house, seconds_ago=tolerance - 60))
    assert (await deliver(house, "7000000400", signature=fresh)).status == 200


async def test_query_and_body_must_name_the_same_payment(house: Diner) -> None:
    for other in ("7000000501", None, 7000000501):
        body = {"type": "payment", "data": {"id": other}}
        answer = await deliver(house, "7000000500", body)
        assert (answer.status, answer.code) == (401, "invalid_signature")
    assert await stored(house, 7_000_000_500) == []
    as_number = {"type": "payment", "data": {"id": 7000000500}}
    assert (await deliver(house, "7000000500", as_number)).body == {"outcome": "stored"}


@pytest.mark.parametrize("query", ["?topic=payment&id=123", "?id=123", "?topic=merchant_order&id=123"])
async def test_legacy_notifications_cannot_be_verified_and_are_dropped(house: Diner, query: str) -> None:
    for signature in ("", sign(house, "123", ts=now_ms(house))):
        answer = await deliver(house, None, {"resource": "123", "topic": "payment"}, query=query, signature=signature)
        assert (answer.status, answer.body) == (200, {"outcome": "dropped_ipn"})


@pytest.mark.parametrize("topic", ["topic_merchant_order_wh", "plan", "stop_delivery_op_wh", ""])
async def test_other_topics_are_dropped(house: Diner, topic: str) -> None:
    body = {"type": topic, "data": {"id": "7000000600"}}
    answer = await deliver(house, "7000000600", body, query=f"?data.id=7000000600&type={topic}")
    assert (answer.status, answer.body) == (200, {"outcome": "dropped_topic"})
    assert await stored(house, 7_000_000_600) == []


@pytest.mark.parametrize("data_id", ["abc", "12x", "9" * 19])
async def test_ids_that_no_payment_has_are_dropped(house: Diner, data_id: str) -> None:
    answer = await deliver(house, data_id)
    assert (answer.status, answer.body) == (200, {"outcome": "dropped_id"})


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"{",
        b"not json",
        b"[]",
        b"null",
        b'{"type":1}',
        b'{"id":"\xff"}',
        b'{"id":"\\u0000"}',
        b"[" * 50_000,
        b'{"x":' + b"[" * 30_000 + b"]" * 30_000 + b"}",
        b'{"data":"payment"}',
        b'{"action":"' + b"x" * 300 + b'"}',
    ],
    ids=lambda raw: repr(raw[:16]),
)
async def test_signed_bodies_that_are_none(house: Diner, raw: bytes) -> None:
    answer = await deliver(house, "7000000700", raw=raw)
    assert (answer.status, answer.code) == (400, "invalid_notification")
    assert await stored(house, 7_000_000_700) == []


async def test_fields_that_nobody_knows_are_passed_over(house: Diner) -> None:
    body = {
        "type": "payment",
        "data": {"id": "7000000800", "new": [1]},
        "id": 10**30,
        "user_id": "1",
        "action": "back\\u0000slash",
        "new": {"deep": None},
    }
    assert (await deliver(house, "7000000800", body, kind="text/plain")).body == {"outcome": "stored"}
    [event] = await stored(house, 7_000_000_800)
    kept = json.loads(event["body"])
    assert (kept["id"], kept["action"]) == (10**30, "back\\u0000slash")
    assert "new" not in kept


async def test_a_webhook_leads_to_paid(house: Diner) -> None:
    order = await house.place(1)
    await house.pay(order)
    await house.work("webhooks")
    assert (await house.order(order["id"]))["status"] == "paid"


async def test_a_body_over_the_limit(house: Diner) -> None:
    answer = await deliver(house, "7000000900", raw=b" " * 70_000)
    assert (answer.status, answer.code) == (413, "body_too_large")


# While one secret replaces another.

BEFORE, BEFORE_THAT = "the-secret-before-it", "the-one-before-that-one"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def rotating(server: EmbeddedPostgres, template: str, request: pytest.FixtureRequest) -> AsyncIterator[Diner]:
    """A diner that still takes the secrets before."""
    chance = random.Random(f"{seed()} {request.node.nodeid}")
    async with fresh_database(server, template) as url:
        app_url = url_of(server, url.rpartition("/")[2], user="app")
        previous = f"{BEFORE}  {BEFORE_THAT}"
        async with running_diner(app_url, chance, MERCADO_PAGO_WEBHOOK_SECRET_PREVIOUS=previous) as diner:
            yield diner


def by_previous() -> float:
    return REGISTRY.get_sample_value("comanda_webhooks_by_previous_secret_total") or 0


@pytest.mark.parametrize("key", [BEFORE, BEFORE_THAT])
async def test_one_signed_with_a_previous_secret_is_taken_counted_and_told_without_it(
    rotating: Diner, key: str, caplog: pytest.LogCaptureFixture
) -> None:
    data_id = str(7_000_001_000 + len(key))
    counted = by_previous()
    with caplog.at_level(logging.INFO):
        answer = await deliver(rotating, data_id, signature=sign(rotating, data_id, ts=now_ms(rotating), key=key))
    assert (answer.status, answer.body) == (200, {"outcome": "stored"})
    assert by_previous() == counted + 1
    assert "webhook signed with a previous secret" in caplog.messages
    assert key not in caplog.text


async def test_one_signed_with_the_current_secret_is_no_word_of_the_previous_ones(rotating: Diner) -> None:
    counted = by_previous()
    assert (await deliver(rotating, "7000001100")).body == {"outcome": "stored"}
    assert by_previous() == counted


async def test_one_signed_with_neither_is_refused(rotating: Diner) -> None:
    for key in ("another secret", f"{BEFORE}  {BEFORE_THAT}", f"{BEFORE} "):
        forged = sign(rotating, "7000001200", ts=now_ms(rotating), key=key)
        assert (await deliver(rotating, "7000001200", signature=forged)).status == 401
    assert await stored(rotating, 7_000_001_200) == []


async def test_once_none_is_named_none_but_the_current_is_taken(house: Diner) -> None:
    old = sign(house, "7000001300", ts=now_ms(house), key=BEFORE)
    assert (await deliver(house, "7000001300", signature=old)).status == 401
