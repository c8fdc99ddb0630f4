"""What the client makes of every answer that can come back, honest or not."""

import asyncio
import email.utils
import gzip
import traceback
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from prometheus_client import REGISTRY

from comanda.payments import mercado_pago_wire as wire
from comanda.payments.mercado_pago import MAXIMUM_ANSWER_BYTES, MAXIMUM_RETRY_AFTER, MercadoPago
from comanda.payments.provider import (
    ProviderDenied,
    ProviderError,
    ProviderRefused,
    ProviderUnavailable,
)
from tests.provider.conftest import Outcomes
from tests.provider.samples import ORDER, QR, TOKEN, a_charge, a_payment, as_json
from tests.provider.scripted import ScriptedServer

ID = 132646402927
REFUND = {"id": 77, "payment_id": ID, "amount": 10.5, "status": "approved"}
SAME = "1b9d6bcd-bbfd-4b2d-9b5d-ab8dfbbd4bed"

CALLS: dict[str, Callable[[MercadoPago], Awaitable[Any]]] = {
    "create_pix": lambda client: client.create_pix(a_charge(key=SAME), request_id="r-1"),
    "get_payment": lambda client: client.get_payment(ID, request_id="r-1"),
    "search_payments": lambda client: client.search_payments(str(ORDER), request_id="r-1"),
    "cancel_payment": lambda client: client.cancel_payment(ID, idempotency_key=SAME, request_id="r-1"),
    "create_refund": lambda client: client.create_refund(ID, amount_cents=1050, idempotency_key=SAME, request_id="r-1"),
    "list_refunds": lambda client: client.list_refunds(ID, request_id="r-1"),
    "get_refund": lambda client: client.get_refund(ID, 77, request_id="r-1"),
}
every_call = pytest.mark.parametrize("operation", CALLS)


def assert_no_secret(error: BaseException) -> None:
    """Neither the message nor what a log makes of the error may hold the token, a body or a QR."""
    text = "".join(traceback.format_exception(error)) + repr(error)
    assert TOKEN not in text
    assert QR not in text
    assert "caixa@lanchonete" not in text


async def refusal_of(call: Awaitable[Any]) -> ProviderError:
    with pytest.raises(ProviderError) as caught:
        await call
    assert_no_secret(caught.value)
    return caught.value


@pytest.mark.parametrize(
    ("operation", "line", "status", "answer"),
    [
        ("create_pix", "POST /v1/payments", 201, a_payment()),
        ("get_payment", f"GET /v1/payments/{ID}", 200, a_payment()),
        ("cancel_payment", f"PUT /v1/payments/{ID}", 200, a_payment(status="cancelled")),
        ("create_refund", f"POST /v1/payments/{ID}/refunds", 201, REFUND),
        ("list_refunds", f"GET /v1/payments/{ID}/refunds", 200, [REFUND]),
        ("get_refund", f"GET /v1/payments/{ID}/refunds/77", 200, REFUND),
        (
            "search_payments",
            f"GET /v1/payments/search?external_reference={ORDER}&sort=date_created&criteria=desc"
            "&range=date_created&begin_date=NOW-31DAYS&end_date=NOW",
            200,
            {"paging": {"total": 1, "limit": 30, "offset": 0}, "results": [a_payment()]},
        ),
    ],
)
async def test_each_call_is_one_request_with_its_headers(
    *,
    operation: str,
    line: str,
    status: int,
    answer: object,
    server: ScriptedServer,
    client: MercadoPago,
    outcomes: Outcomes,
) -> None:
    server.will_answer(status, as_json(answer))
    assert await CALLS[operation](client)
    (asked,) = server.asked
    assert f"{asked.method} {asked.target}" == line
    assert asked.headers["authorization"] == f"Bearer {TOKEN}"
    assert asked.headers["user-agent"] == "comanda/test"
    assert asked.headers["x-request-id"] == "r-1"
    assert asked.headers["accept-encoding"] == "identity"
    writes = operation in {"create_pix", "cancel_payment", "create_refund"}
    assert asked.headers.get("x-idempotency-key") == (SAME if writes else None)
    assert asked.headers.get("content-type") == ("application/json" if writes else None)
    refunds = operation == "create_refund"
    assert asked.headers.get("x-render-in-process-refunds") == ("true" if refunds else None)
    assert bool(asked.body) is writes
    assert outcomes(operation, "ok") == 1


async def test_a_whole_refund_has_no_body(server: ScriptedServer, client: MercadoPago) -> None:
    server.will_answer(201, as_json(REFUND))
    refund = await client.create_refund(ID, amount_cents=None, idempotency_key=SAME)
    assert refund is not None
    assert refund.amount_cents == 1050
    (asked,) = server.asked
    assert asked.body == b""
    assert asked.headers["content-length"] == "0"
    assert asked.headers["content-type"] == "application/json"
    assert "x-request-id" not in asked.headers


async def test_the_same_charge_is_the_same_bytes_on_the_wire(server: ScriptedServer, client: MercadoPago) -> None:
    server.will_answer(500)
    server.will_answer(201, as_json(a_payment()))
    charge = a_charge()
    assert isinstance(await refusal_of(client.create_pix(charge)), ProviderUnavailable)
    await client.create_pix(charge)
    first, second = server.asked
    assert first.body == second.body == wire.write_charge(charge)
    assert first.headers["x-idempotency-key"] == second.headers["x-idempotency-key"]


async def test_a_refund_that_the_provider_says_no_more_of_is_none(server: ScriptedServer, client: MercadoPago) -> None:
    server.will_answer(200)
    assert await client.create_refund(ID, amount_cents=None, idempotency_key=SAME) is None
    server.will_answer(201)  # a new refund, though, must be told
    assert isinstance(await refusal_of(CALLS["create_refund"](client)), ProviderUnavailable)


async def test_404_is_none_for_what_is_read_and_a_no_for_the_rest(
    server: ScriptedServer, client: MercadoPago, outcomes: Outcomes
) -> None:
    missing = {"message": "Payment not found", "error": "not_found", "status": 404, "cause": [{"code": 2000}]}
    server.will_answer(404, as_json(missing))
    assert await CALLS["get_payment"](client) is None
    assert await CALLS["get_refund"](client) is None
    for operation in ("create_pix", "cancel_payment", "create_refund", "list_refunds", "search_payments"):
        error = await refusal_of(CALLS[operation](client))
        assert isinstance(error, ProviderRefused)
        assert (error.status, error.code) == (404, "2000")
    assert all(outcomes(operation, "missing") == 1 for operation in CALLS)


@every_call
@pytest.mark.parametrize(
    ("status", "code", "kind", "outcome"),
    [
        (400, 13253, ProviderRefused, "refused"),
        (400, "4292", ProviderRefused, "refused"),
        (409, None, ProviderRefused, "refused"),
        (422, 1, ProviderRefused, "refused"),
        (401, 7, ProviderDenied, "denied"),
        (403, 7, ProviderDenied, "denied"),
        (400, 2001, ProviderUnavailable, "unavailable"),
        (408, None, ProviderUnavailable, "unavailable"),
        (423, None, ProviderUnavailable, "unavailable"),
        (425, None, ProviderUnavailable, "unavailable"),
        (429, None, ProviderUnavailable, "unavailable"),
        (500, None, ProviderUnavailable, "unavailable"),
        (502, None, ProviderUnavailable, "unavailable"),
        (503, 2, ProviderUnavailable, "unavailable"),
        (599, None, ProviderUnavailable, "unavailable"),
    ],
)
async def test_each_status_has_one_meaning(
    *,
    operation: str,
    status: int,
    code: object,
    kind: type[ProviderError],
    outcome: str,
    server: ScriptedServer,
    client: MercadoPago,
    outcomes: Outcomes,
) -> None:
    cause = [] if code is None else [{"code": code, "description": "why not"}]
    server.will_answer(status, as_json({"message": "m", "error": "e", "status": status, "cause": cause}))
    error = await refusal_of(CALLS[operation](client))
    assert type(error) is kind
    if isinstance(error, ProviderRefused):
        assert error.status == status
        assert error.code == (None if code is None else str(code))
    assert len(server.asked) == 1
    assert outcomes(operation, outcome) == 1


async def test_the_policy_agents_no_is_read(server: ScriptedServer, client: MercadoPago) -> None:
    told = {"code": "PA_UNAUTHORIZED_RESULT_FROM_POLICIES", "blocked_by": "PolicyAgent", "message": "policy"}
    server.will_answer(403, as_json(told))
    error = await refusal_of(CALLS["create_pix"](client))
    assert isinstance(error, ProviderDenied)
    assert error.code == "PA_UNAUTHORIZED_RESULT_FROM_POLICIES"
    assert str(error) == "403 PA_UNAUTHORIZED_RESULT_FROM_POLICIES: policy"


@pytest.mark.parametrize("status", [400, 401, 403, 404, 413])
async def test_a_no_without_json_is_still_a_no(status: int, server: ScriptedServer, client: MercadoPago) -> None:
    server.will_answer(status, f"<html>{TOKEN}</html>", {"Content-Type": "text/html"})
    error = await refusal_of(CALLS["create_pix"](client))
    assert isinstance(error, ProviderRefused)
    assert error.code is None


def in_http(moment: datetime) -> str:
    return email.utils.format_datetime(moment, usegmt=True)


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize(
    ("told", "least", "most"),
    [
        ("7", 7, 7),
        (" 0 ", 0, 0),
        ("86400", MAXIMUM_RETRY_AFTER, MAXIMUM_RETRY_AFTER),
        ("9" * 400, MAXIMUM_RETRY_AFTER, MAXIMUM_RETRY_AFTER),
        (timedelta(seconds=300), 290, 300),
        (timedelta(days=-1), 0, 0),
        (timedelta(days=1), MAXIMUM_RETRY_AFTER, MAXIMUM_RETRY_AFTER),
        ("Sun, 06 Nov 1994 08:49:37 -0000", 0, 0),
        ("soon", None, None),
        ("-5", None, None),
        ("1.5", None, None),
        ("Sun, 99 Foo 1994 99:99:99 GMT", None, None),
        ("", None, None),
        (None, None, None),
    ],
)
async def test_retry_after_is_read_and_capped(
    *,
    status: int,
    told: str | timedelta | None,
    least: float | None,
    most: float | None,
    server: ScriptedServer,
    client: MercadoPago,
) -> None:
    if isinstance(told, timedelta):
        # A date, counted from when the test runs rather than from when it was collected.
        told = in_http(datetime.now(UTC) + told)
    server.will_answer(status, "slow down", {} if told is None else {"Retry-After": told})
    error = await refusal_of(CALLS["create_pix"](client))
    assert isinstance(error, ProviderUnavailable)
    if least is None or most is None:
        assert error.retry_after is None
    else:
        assert error.retry_after is not None
        assert least <= error.retry_after <= most


async def test_the_same_request_a_moment_ago_is_no_refusal(server: ScriptedServer, client: MercadoPago) -> None:
    told = as_json({"message": "m", "cause": [{"code": 2001, "description": "same request"}]})
    server.will_answer(400, told)
    server.will_answer(400, told, {"Retry-After": "0"})
    for expected in (60, 0):
        error = await refusal_of(CALLS["create_pix"](client))
        assert isinstance(error, ProviderUnavailable)
        assert error.retry_after == expected


@every_call
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308, 304])
async def test_no_redirect_is_followed(
    operation: str, status: int, server: ScriptedServer, client: MercadoPago
) -> None:
    server.will_answer(status, "", {"Location": f"{server.url}/elsewhere"})
    server.will_answer(200, as_json(a_payment()))
    assert isinstance(await refusal_of(CALLS[operation](client)), ProviderUnavailable)
    assert len(server.asked) == 1


@every_call
@pytest.mark.parametrize(
    "body",
    [b"", b"<html>busy</html>", b"[]x", b"null", b'"text"', b"{}", b'{"id":1}', b"\xff\xfe\x00", b"[1]"],
)
async def test_a_yes_that_is_not_as_documented_is_no_yes(
    operation: str, body: bytes, server: ScriptedServer, client: MercadoPago, outcomes: Outcomes
) -> None:
    status = 201 if operation in {"create_pix", "create_refund"} else 200
    server.will_answer(status, body)
    assert isinstance(await refusal_of(CALLS[operation](client)), ProviderUnavailable)
    assert outcomes(operation, "unavailable") == 1


@pytest.mark.parametrize("status", [202, 204, 206])
async def test_another_success_is_no_answer(status: int, server: ScriptedServer, client: MercadoPago) -> None:
    server.will_answer(status, b"" if status == 204 else as_json(a_payment()))
    assert isinstance(await refusal_of(CALLS["create_pix"](client)), ProviderUnavailable)


async def test_the_type_of_the_content_is_not_asked(server: ScriptedServer, client: MercadoPago) -> None:
    server.will_answer(201, as_json(a_payment()), {"Content-Type": "text/plain; charset=klingon"})
    assert (await client.create_pix(a_charge())).id == ID


async def test_an_answer_about_another_is_no_answer(server: ScriptedServer, client: MercadoPago) -> None:
    server.will_answer(200, as_json(a_payment(id=ID + 1)))
    for operation in ("get_payment", "cancel_payment"):
        assert "another payment" in str(await refusal_of(CALLS[operation](client)))
    server.answers.clear()
    server.will_answer(200, as_json({**REFUND, "payment_id": ID + 1}))
    for operation in ("create_refund", "get_refund"):
        assert "another payment" in str(await refusal_of(CALLS[operation](client)))
    server.answers.clear()
    server.will_answer(200, as_json({**REFUND, "id": 78}))
    assert "another refund" in str(await refusal_of(CALLS["get_refund"](client)))


async def test_search_gives_our_own_newest_first(server: ScriptedServer, client: MercadoPago) -> None:
    told = [
        a_payment(id=1, date_created="2026-11-22T09:00:00.000-04:00"),
        a_payment(id=2, date_created="2026-11-22T10:30:00.000-03:00"),
        a_payment(id=3, external_reference="another"),
        a_payment(id=4, date_created=None),
        a_payment(id=5, date_created="2026-11-22T13:30:00Z"),
    ]
    server.will_answer(200, as_json({"paging": {}, "results": told}))
    assert [payment.id for payment in await client.search_payments(str(ORDER))] == [5, 2, 1, 4]


async def test_a_large_answer_is_read_to_the_bound_and_its_connection_dropped(
    server: ScriptedServer, client: MercadoPago
) -> None:
    fitting = as_json(a_payment())
    fitting += b" " * (MAXIMUM_ANSWER_BYTES - len(fitting))
    server.will_answer(201, fitting)
    server.will_answer(201, fitting * 8)
    server.will_answer(201, as_json(a_payment()))
    assert (await client.create_pix(a_charge())).id == ID
    assert "too large" in str(await refusal_of(CALLS["create_pix"](client)))
    assert (await client.create_pix(a_charge())).id == ID
    assert server.connections == 2


async def test_a_small_answer_does_not_unpack_into_a_large_one(server: ScriptedServer, client: MercadoPago) -> None:
    server.will_answer(201, gzip.compress(b" " * 50 * MAXIMUM_ANSWER_BYTES), {"Content-Encoding": "gzip"})
    assert "too large" in str(await refusal_of(CALLS["create_pix"](client)))


async def test_an_endless_answer_ends_at_the_bound(server: ScriptedServer, client: MercadoPago) -> None:
    chunk = b"10000\r\n" + b" " * 0x10000 + b"\r\n"
    server.will_send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunk * 17, then="hang")
    assert "too large" in str(await refusal_of(CALLS["get_payment"](client)))


PAYMENT = as_json(a_payment())


@every_call
@pytest.mark.parametrize(
    ("raw", "then"),
    [
        (b"", "close"),
        (b"", "reset"),
        (b"HTTP/1.1 201 Crea", "close"),
        (b"not http at all\r\n\r\n", "close"),
        (b"HTTP/1.1 201 Created\r\nContent-Length: 5000\r\n\r\n" + PAYMENT, "close"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", "close"),
        (b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n\r\n1234", "close"),
        (b"HTTP/1.1 200 OK\r\nX-Long: " + b"x" * 100_000 + b"\r\n\r\n", "close"),
        (b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 1000 + b"\r\n", "close"),
    ],
)
async def test_a_broken_answer_is_unavailable(
    *, operation: str, raw: bytes, then: str, server: ScriptedServer, client: MercadoPago, outcomes: Outcomes
) -> None:
    server.will_send(raw, then)
    assert isinstance(await refusal_of(CALLS[operation](client)), ProviderUnavailable)
    assert outcomes(operation, "unavailable") == 1
    if operation in {"create_pix", "create_refund"}:
        assert len(server.asked) == 1  # a POST is never sent again below us


@every_call
@pytest.mark.parametrize("raw", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n{"])
async def test_a_slow_answer_is_given_up(
    operation: str, raw: bytes, server: ScriptedServer, outcomes: Outcomes
) -> None:
    server.will_send(raw, then="hang")
    async with MercadoPago(base_url=server.url, access_token=TOKEN, timeout=0.5) as hasty:
        error = await refusal_of(CALLS[operation](hasty))
    assert isinstance(error, ProviderUnavailable)
    assert str(error) == "no answer in time"
    assert outcomes(operation, "unavailable") == 1


async def test_nobody_there_is_unavailable(client: MercadoPago) -> None:
    async with ScriptedServer() as gone:
        url = gone.url
    async with MercadoPago(base_url=url, access_token=TOKEN) as lost:
        error = await refusal_of(CALLS["create_pix"](lost))
    assert isinstance(error, ProviderUnavailable)
    assert "no connection" in str(error)


async def test_somebody_who_does_not_speak_tls_is_unavailable() -> None:
    async def in_the_clear(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(in_the_clear, "127.0.0.1", 0) as plain:
        port = plain.sockets[0].getsockname()[1]
        async with MercadoPago(base_url=f"https://127.0.0.1:{port}", access_token=TOKEN) as client:
            error = await refusal_of(CALLS["create_pix"](client))
    assert isinstance(error, ProviderUnavailable)
    assert "no connection" in str(error)


async def test_a_full_pool_is_waited_for_no_longer_than_for_a_connection(server: ScriptedServer) -> None:
    server.will_send(b"", then="hang")
    async with MercadoPago(
        base_url=server.url, access_token=TOKEN, timeout=30, connect_timeout=0.5, connections=1
    ) as narrow:
        first = asyncio.create_task(narrow.get_payment(ID))
        await server.arrived.wait()
        assert str(await refusal_of(CALLS["create_pix"](narrow))) == "no connection in time"
        assert len(server.asked) == 1
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first


@every_call
async def test_a_cancelled_call_is_cancelled_and_nothing_else(
    operation: str, server: ScriptedServer, client: MercadoPago, outcomes: Outcomes
) -> None:
    server.will_send(b"", then="hang")
    call = asyncio.ensure_future(CALLS[operation](client))
    await server.arrived.wait()
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert outcomes(operation, "abandoned") == 1
    server.answers.clear()
    server.will_answer(201, as_json(a_payment()))
    assert (await client.create_pix(a_charge())).id == ID


async def test_connections_are_kept_and_cookies_are_not(server: ScriptedServer, client: MercadoPago) -> None:
    server.will_answer(201, as_json(a_payment()), {"Set-Cookie": "tied=together; Path=/"})
    for _ in range(3):
        await client.create_pix(a_charge())
    assert server.connections == 1
    assert all("cookie" not in asked.headers for asked in server.asked)


async def test_a_call_of_ours_that_is_wrong_is_our_fault_and_not_sent(
    server: ScriptedServer, client: MercadoPago, outcomes: Outcomes
) -> None:
    server.will_answer(201, as_json(a_payment()))
    with pytest.raises(ValueError, match="centavos"):
        await client.create_pix(a_charge(amount_cents=0))
    with pytest.raises(ValueError, match=r"(?i)header"):
        await client.create_pix(a_charge(), request_id="one\r\nX-Evil: two")
    assert server.asked == []
    assert outcomes("create_pix", "failed") == 2


async def test_a_client_is_opened_once_and_closed_as_often_as_you_like(server: ScriptedServer) -> None:
    server.will_answer(201, as_json(a_payment()))
    client = MercadoPago(base_url=server.url + "/", access_token=TOKEN)
    assert TOKEN not in repr(client)
    await client.close()
    with pytest.raises(RuntimeError, match="not open"):
        await client.get_payment(ID)
    await client.open()
    with pytest.raises(RuntimeError, match="open already"):
        await client.open()
    await client.create_pix(a_charge())
    assert server.asked[0].target == "/v1/payments"
    await client.close()
    await client.close()


async def test_closing_ends_what_is_on_its_way(server: ScriptedServer, client: MercadoPago) -> None:
    server.will_send(b"", then="hang")
    call = asyncio.ensure_future(CALLS["create_pix"](client))
    await server.arrived.wait()
    await client.close()
    assert isinstance(await refusal_of(call), ProviderUnavailable)


async def test_time_is_observed_by_operation(server: ScriptedServer, client: MercadoPago) -> None:
    def seen() -> float:
        labels = {"operation": "get_payment"}
        return REGISTRY.get_sample_value("comanda_provider_request_duration_seconds_count", labels) or 0.0

    before = seen()
    server.will_answer(200, as_json(a_payment()))
    server.will_answer(404)
    assert await client.get_payment(ID) is not None
    assert await client.get_payment(ID) is None
    assert seen() == before + 2
