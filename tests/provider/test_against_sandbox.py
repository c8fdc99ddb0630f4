"""The provider contract: the real client against the look-alike that is as strict as Mercado Pago."""

import asyncio
import base64
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import uuid4

import msgspec
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from comanda.payments.mercado_pago import MAXIMUM_RETRY_AFTER, MercadoPago
from comanda.payments.provider import (
    PixCharge,
    ProviderDenied,
    ProviderError,
    ProviderPayment,
    ProviderRefused,
    ProviderUnavailable,
)
from comanda.payments.signature import Rejection, SignatureRejected, verify
from comanda_sandbox.running import RunningSandbox, running_sandbox
from tests.provider.samples import a_charge


@pytest.fixture
async def sandbox() -> AsyncIterator[RunningSandbox]:
    async with running_sandbox() as running:
        yield running


@pytest.fixture
async def client(sandbox: RunningSandbox) -> AsyncIterator[MercadoPago]:
    async with MercadoPago(base_url=sandbox.url, access_token=sandbox.token, timeout=5) as opened:
        yield opened


def hasty(sandbox: RunningSandbox, values: dict[str, Any]) -> MercadoPago:
    """A client that gives up before a fault that takes its time is over; of the others it waits for the answer."""
    timeout = 1.0 if values.get("seconds") else 30.0
    return MercadoPago(base_url=sandbox.url, access_token=sandbox.token, timeout=timeout)


async def unavailable(call: Awaitable[Any]) -> ProviderUnavailable:
    with pytest.raises(ProviderUnavailable) as caught:
        await call
    return caught.value


async def refused(call: Awaitable[Any]) -> ProviderRefused:
    with pytest.raises(ProviderRefused) as caught:
        await call
    return caught.value


async def a_paid_one(sandbox: RunningSandbox, client: MercadoPago, amount_cents: int = 2590) -> int:
    payment = await client.create_pix(a_charge(amount_cents=amount_cents))
    sandbox.act(payment.id, "pay")
    return payment.id


# A Pix from asking to its end


async def test_a_pix_is_created_as_asked(sandbox: RunningSandbox, client: MercadoPago) -> None:
    charge = a_charge(amount_cents=2590)
    before = datetime.now(UTC) - timedelta(milliseconds=1)
    payment = await client.create_pix(charge, request_id="r-1")
    assert (payment.status, payment.status_detail) == ("pending", "pending_waiting_transfer")
    assert payment.external_reference == charge.external_reference
    assert (payment.amount_cents, payment.refunded_cents, payment.currency) == (2590, 0, "BRL")
    assert payment.live_mode is False
    assert payment.approved_at is None
    assert payment.expires_at == charge.expires_at
    assert payment.created_at is not None
    assert before <= payment.created_at <= datetime.now(UTC)
    assert payment.created_at.tzinfo is UTC
    assert payment.copy_paste is not None
    assert "540525.90" in payment.copy_paste
    assert payment.qr_code_png_base64 is not None
    assert base64.b64decode(payment.qr_code_png_base64, validate=True).startswith(b"\x89PNG")
    (kept,) = sandbox.payments(charge.external_reference)
    assert (kept.id, kept.amount_cents, kept.expires_at) == (payment.id, 2590, charge.expires_at)
    assert await client.get_payment(payment.id) == payment


async def test_live_mode_is_the_tokens() -> None:
    async with (
        running_sandbox(token="APP_USR-1") as live,
        MercadoPago(base_url=live.url, access_token="APP_USR-1") as client,
    ):
        assert (await client.create_pix(a_charge())).live_mode is True


async def test_a_notification_url_and_any_text_are_taken(sandbox: RunningSandbox, client: MercadoPago) -> None:
    charge = msgspec.structs.replace(
        a_charge(),
        description='Pão de queijo "grande" \\ café\n☕',
        notification_url="https://lanchonete.com.br/v1/webhooks/mercado-pago?source_news=webhooks",
    )
    payment = await client.create_pix(charge)
    kept = sandbox.payment(payment.id)
    assert (kept.description, kept.notification_url) == (charge.description, charge.notification_url)


@given(amount=st.integers(1, 99_999_999))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_every_amount_arrives_and_comes_back_to_the_centavo(amount: int) -> None:
    async def story() -> None:
        async with (
            running_sandbox() as sandbox,
            MercadoPago(base_url=sandbox.url, access_token=sandbox.token) as client,
        ):
            if amount % 2:
                sandbox.arm("string_amounts", times=None)
            payment = await client.create_pix(a_charge(amount_cents=amount))
            assert payment.amount_cents == amount
            assert sandbox.payment(payment.id).amount_cents == amount
            assert payment.copy_paste is not None
            assert f"{Decimal(amount) / 100:.2f}" in payment.copy_paste
            sandbox.act(payment.id, "pay")
            part = (amount + 1) // 2
            refund = await client.create_refund(payment.id, amount_cents=part, idempotency_key="a")
            assert refund is not None
            assert refund.amount_cents == part == sandbox.refunds(payment.id)[0].amount_cents
            told = await client.get_payment(payment.id)
            assert told is not None
            assert told.refunded_cents == part

    asyncio.run(story())


@pytest.mark.parametrize(
    ("actions", "status", "detail"),
    [
        (["pay"], "approved", "accredited"),
        (["reject"], "rejected", "rejected_by_bank"),
        (["expire"], "cancelled", "expired"),
        (["cancel"], "cancelled", "by_collector"),
        (["process"], "in_process", "pending_contingency"),
        (["pay", "mediate"], "in_mediation", "pending"),
        (["pay", "charge-back"], "charged_back", "in_process"),
        (["pay", "refund"], "refunded", "refunded"),
    ],
)
async def test_every_state_is_told_as_it_is(
    actions: list[str], status: str, detail: str, sandbox: RunningSandbox, client: MercadoPago
) -> None:
    created = await client.create_pix(a_charge())
    for action in actions:
        sandbox.act(created.id, action)
    payment = await client.get_payment(created.id)
    assert payment is not None
    assert (payment.status, payment.status_detail) == (status, detail)
    assert (payment.approved_at is not None) is (actions[0] == "pay")
    assert payment.refunded_cents == (2590 if "refund" in actions else 0)
    assert payment.created_at is not None
    assert payment.updated_at is not None
    assert payment.updated_at >= payment.created_at


async def test_time_ends_it(sandbox: RunningSandbox, client: MercadoPago) -> None:
    created = await client.create_pix(a_charge())
    await sandbox.advance(minutes=46)
    payment = await client.get_payment(created.id)
    assert payment is not None
    assert (payment.status, payment.status_detail) == ("cancelled", "expired")


async def test_what_nobody_made_is_none(client: MercadoPago) -> None:
    assert await client.get_payment(999_999_999_999) is None
    assert await client.get_refund(999_999_999_999, 1) is None
    assert await client.search_payments(str(uuid4())) == []
    for call in (
        client.list_refunds(999_999_999_999),
        client.cancel_payment(999_999_999_999, idempotency_key="k"),
        client.create_refund(999_999_999_999, amount_cents=None, idempotency_key="k"),
    ):
        error = await refused(call)
        assert (error.status, error.code) == (404, "2000")


# The same key again


async def test_the_same_key_is_the_same_payment(sandbox: RunningSandbox, client: MercadoPago) -> None:
    charge = a_charge()
    first = await client.create_pix(charge)
    assert await client.create_pix(charge) == first
    sandbox.act(first.id, "pay")
    assert (await client.create_pix(charge)).status == "pending"
    sandbox.behave(payment_replay="current_state")
    assert (await client.create_pix(charge)).status == "approved"
    assert len(sandbox.payments()) == 1


async def test_a_retry_from_another_process_is_taken_for_the_same_request(sandbox: RunningSandbox) -> None:
    sandbox.behave(payment_key_reuse="refuse")  # the body must be the same to the byte's meaning
    charge = a_charge()
    ids = set()
    for _ in range(2):
        async with MercadoPago(base_url=sandbox.url, access_token=sandbox.token) as fresh:
            ids.add((await fresh.create_pix(charge)).id)
    assert len(ids) == 1
    async with MercadoPago(base_url=sandbox.url, access_token=sandbox.token) as fresh:
        error = await refused(fresh.create_pix(msgspec.structs.replace(charge, amount_cents=1)))
    assert error.status == 409


async def test_ten_at_once_with_one_key_are_one_payment(sandbox: RunningSandbox, client: MercadoPago) -> None:
    charge = a_charge()
    payments = await asyncio.gather(*(client.create_pix(charge) for _ in range(10)))
    assert len({payment.id for payment in payments}) == 1
    assert len(sandbox.payments()) == 1


@pytest.mark.parametrize(
    ("fault", "values"),
    [
        ("create_answer_lost", {}),
        ("answer_lost", {}),
        ("slow_answer", {"seconds": 30.0}),
        ("server_error", {"effect": True}),
        ("non_json", {"effect": True}),
        ("non_json", {"effect": True, "status": 200}),
    ],
)
async def test_a_lost_answer_is_found_again_by_its_key(
    fault: str, values: dict[str, Any], sandbox: RunningSandbox, client: MercadoPago
) -> None:
    sandbox.arm(fault, **values)
    charge = a_charge()
    async with hasty(sandbox, values) as impatient:
        await unavailable(impatient.create_pix(charge))
    (made,) = sandbox.payments(charge.external_reference)
    assert (await client.create_pix(charge)).id == made.id
    assert [payment.id for payment in await client.search_payments(charge.external_reference)] == [made.id]
    assert len(sandbox.payments()) == 1


@pytest.mark.parametrize(
    ("fault", "values"),
    [
        ("time_out", {"seconds": 0.0}),
        ("time_out", {"seconds": 30.0}),
        ("server_error", {}),
        ("server_error", {"status": 503}),
        ("non_json", {}),
        ("rate_limited", {}),
        ("locked", {}),
    ],
)
async def test_what_had_no_effect_can_be_asked_for_again(
    fault: str, values: dict[str, Any], sandbox: RunningSandbox, client: MercadoPago
) -> None:
    sandbox.arm(fault, **values)
    charge = a_charge()
    async with hasty(sandbox, values) as impatient:
        await unavailable(impatient.create_pix(charge))
    assert sandbox.payments() == []
    payment = await client.create_pix(charge)
    assert [kept.id for kept in sandbox.payments()] == [payment.id]


# What each fault means to us, whatever we asked


CALLS: dict[str, Callable[[MercadoPago, int], Awaitable[Any]]] = {
    "create_payment": lambda client, _: client.create_pix(a_charge()),
    "get_payment": lambda client, payment_id: client.get_payment(payment_id),
    "search_payments": lambda client, _: client.search_changed(datetime(2026, 11, 26, tzinfo=UTC), offset=0),
    "cancel_payment": lambda client, payment_id: client.cancel_payment(payment_id, idempotency_key="c"),
    "create_refund": lambda client, payment_id: client.create_refund(payment_id, amount_cents=100, idempotency_key="r"),
    "list_refunds": lambda client, payment_id: client.list_refunds(payment_id),
    "get_refund": lambda client, payment_id: client.get_refund(payment_id, 1),
}


@pytest.mark.parametrize("operation", CALLS)
@pytest.mark.parametrize(
    ("fault", "values", "kind"),
    [
        ("answer_lost", {}, ProviderUnavailable),
        ("time_out", {"seconds": 30.0}, ProviderUnavailable),
        ("slow", {"seconds": 30.0}, ProviderUnavailable),
        ("slow_answer", {"seconds": 30.0}, ProviderUnavailable),
        ("server_error", {"status": 504}, ProviderUnavailable),
        ("rate_limited", {"retry_after": 3}, ProviderUnavailable),
        ("locked", {}, ProviderUnavailable),
        ("non_json", {}, ProviderUnavailable),
        ("non_json", {"status": 200}, ProviderUnavailable),
        ("non_json", {"status": 201}, ProviderUnavailable),
        ("refused", {"code": 2001}, ProviderUnavailable),
        ("non_json", {"status": 400}, ProviderRefused),
        ("refused", {"code": 13253}, ProviderRefused),
        ("non_json", {"status": 403}, ProviderDenied),
        ("forbidden_by_policy", {}, ProviderDenied),
    ],
)
async def test_every_fault_has_one_meaning(
    *,
    operation: str,
    fault: str,
    values: dict[str, Any],
    kind: type[ProviderError],
    sandbox: RunningSandbox,
    client: MercadoPago,
) -> None:
    payment_id = await a_paid_one(sandbox, client)
    # Always, for below us a GET or PUT whose connection broke is sent once more.
    sandbox.arm(fault, times=None, match={"operation": operation}, **values)
    async with hasty(sandbox, values) as impatient:
        with pytest.raises(ProviderError) as caught:
            await CALLS[operation](impatient, payment_id)
    assert type(caught.value) is kind
    assert sandbox.token not in str(caught.value)


@pytest.mark.parametrize(("told", "expected"), [(None, None), (0, 0), (7, 7), (10**9, MAXIMUM_RETRY_AFTER)])
async def test_a_rate_limit_says_how_long(
    told: int | None, expected: float | None, sandbox: RunningSandbox, client: MercadoPago
) -> None:
    sandbox.arm("rate_limited", retry_after=told)
    assert (await unavailable(client.create_pix(a_charge()))).retry_after == expected


async def test_a_refusal_says_why(sandbox: RunningSandbox, client: MercadoPago) -> None:
    sandbox.arm("refused", code=13253, message="Collector user without key enabled for QR render")
    error = await refused(client.create_pix(a_charge()))
    assert (error.status, error.code) == (400, "13253")
    assert "without key enabled" in str(error)
    sandbox.arm("forbidden_by_policy")
    denied = await refused(client.create_pix(a_charge()))
    assert isinstance(denied, ProviderDenied)
    assert (denied.status, denied.code) == (403, "PA_UNAUTHORIZED_RESULT_FROM_POLICIES")


def a_wrong_charge(**changes: Any) -> PixCharge:
    return msgspec.structs.replace(a_charge(), **changes)


@pytest.mark.parametrize(
    ("charge", "code"),
    [
        (a_wrong_charge(payer_email="caixa@balcao.local"), "4050"),
        (a_wrong_charge(payer_email="vendedor@comanda.com.br"), "4390"),
        (a_wrong_charge(payer_email=f"{'a' * 250}@x.com"), "4051"),
        (a_wrong_charge(idempotency_key=""), "4292"),
        (a_wrong_charge(idempotency_key="k" * 65), "4292"),
        (a_wrong_charge(external_reference="with blanks"), "1"),
        (a_wrong_charge(notification_url="http://lanchonete.com.br/hook"), "4020"),
        (a_wrong_charge(expires_at=datetime.now(UTC) + timedelta(minutes=29)), "7523"),
        (a_wrong_charge(expires_at=datetime.now(UTC) + timedelta(days=31)), "7523"),
    ],
)
async def test_the_provider_is_strict_and_so_is_its_look_alike(
    charge: PixCharge, code: str, sandbox: RunningSandbox, client: MercadoPago
) -> None:
    error = await refused(client.create_pix(charge))
    assert (error.status, error.code) == (400, code)
    assert charge.payer_email not in str(error)
    assert sandbox.payments() == []


@pytest.mark.parametrize(("token", "code"), [("APP_USR-live", "7"), ("TEST-another", None)])
async def test_a_wrong_token_is_ours_to_mend(sandbox: RunningSandbox, token: str, code: str | None) -> None:
    async with MercadoPago(base_url=sandbox.url, access_token=token) as stranger:
        for operation, call in CALLS.items():
            error = await refused(call(stranger, 1))
            assert isinstance(error, ProviderDenied), operation
            assert (error.status, error.code) == (401, code)
            assert token not in str(error)


# Answers that differ from the usual


@pytest.mark.parametrize(
    ("fault", "values", "expected"),
    [
        ("null_payer", {}, {}),
        ("null_qr", {}, {"copy_paste": None, "qr_code_png_base64": None}),
        ("string_amounts", {}, {}),
        ("string_id", {}, {}),
        ("unknown_status", {}, {"status": "quantum_superposition", "status_detail": "undecided"}),
        ("wrong_amount", {}, {"amount_cents": 2591}),
        ("wrong_currency", {}, {"currency": "ARS"}),
        ("wrong_reference", {"external_reference": "other"}, {"external_reference": "other"}),
        ("live_mode_flipped", {}, {"live_mode": True}),
    ],
)
async def test_a_distorted_answer_is_told_as_it_is(
    *,
    fault: str,
    values: dict[str, Any],
    expected: dict[str, Any],
    sandbox: RunningSandbox,
    client: MercadoPago,
) -> None:
    created = await client.create_pix(a_charge())
    sandbox.arm(fault, times=2, **values)
    assert await client.get_payment(created.id) == msgspec.structs.replace(created, **expected)
    again: ProviderPayment = await client.create_pix(a_charge())
    for name, value in expected.items():
        assert getattr(again, name) == value


async def test_a_payment_just_created_may_not_be_found_yet(sandbox: RunningSandbox, client: MercadoPago) -> None:
    charge = a_charge()
    created = await client.create_pix(charge)
    sandbox.arm("not_found_after_create")
    sandbox.arm("search_lag")
    assert await client.get_payment(created.id) is None
    assert await client.search_payments(charge.external_reference) == []
    assert await client.get_payment(created.id) == created
    assert await client.search_payments(charge.external_reference) == [created]


async def test_search_finds_an_orders_payments_newest_first(sandbox: RunningSandbox, client: MercadoPago) -> None:
    order = uuid4()
    made = []
    for _ in range(3):
        made.append((await client.create_pix(a_charge(order=order, expires_at=soon(sandbox)))).id)
        await sandbox.advance(days=1)
    await client.create_pix(a_charge(expires_at=soon(sandbox)))
    assert [payment.id for payment in await client.search_payments(str(order))] == made[::-1]
    sandbox.arm("wrong_reference", times=1)
    assert len(await client.search_payments(str(order))) == 2
    await sandbox.advance(days=28, hours=12)
    assert [payment.id for payment in await client.search_payments(str(order))] == made[:0:-1]


async def test_all_that_was_made_or_changed_since_is_found_a_page_at_a_time(
    sandbox: RunningSandbox, client: MercadoPago
) -> None:
    made = []
    for _ in range(4):
        made.append((await client.create_pix(a_charge(expires_at=soon(sandbox)))).id)
        await sandbox.advance(minutes=1)
    since = sandbox.clock.now() - timedelta(seconds=90)
    assert [payment.id for payment in (await client.search_changed(since, offset=0)).payments] == made[3:]
    sandbox.act(made[0], "pay")
    page = await client.search_changed(since, offset=0)
    assert ([payment.id for payment in page.payments], page.total) == ([made[0], made[3]], 2)
    page = await client.search_changed(since, offset=1)
    assert ([payment.id for payment in page.payments], page.total) == ([made[3]], 2)
    assert (await client.search_changed(since, offset=2)).payments == []
    assert page.payments[0].notification_url is None
    await refused(client.search_changed(since, offset=10_001))


def soon(sandbox: RunningSandbox) -> datetime:
    return (sandbox.clock.now() + timedelta(hours=1)).replace(microsecond=0)


# Cancelling


async def test_what_is_open_can_be_cancelled_once(sandbox: RunningSandbox, client: MercadoPago) -> None:
    created = await client.create_pix(a_charge())
    cancelled = await client.cancel_payment(created.id, idempotency_key="c")
    assert (cancelled.id, cancelled.status, cancelled.status_detail) == (
        created.id,
        "cancelled",
        "by_collector",
    )
    error = await refused(client.cancel_payment(created.id, idempotency_key="c"))
    assert (error.status, error.code) == (400, "3005")


async def test_what_is_paid_cannot_be_cancelled(sandbox: RunningSandbox, client: MercadoPago) -> None:
    payment_id = await a_paid_one(sandbox, client)
    error = await refused(client.cancel_payment(payment_id, idempotency_key="c"))
    assert (error.status, error.code) == (400, "2063")


# Giving back


async def test_all_is_given_back_once(sandbox: RunningSandbox, client: MercadoPago) -> None:
    payment_id = await a_paid_one(sandbox, client)
    refund = await client.create_refund(payment_id, amount_cents=None, idempotency_key="r")
    assert refund is not None
    assert (refund.payment_id, refund.amount_cents, refund.status) == (payment_id, 2590, "approved")
    assert await client.create_refund(payment_id, amount_cents=None, idempotency_key="r") is None
    sandbox.behave(refund_replay="first_result")
    assert await client.create_refund(payment_id, amount_cents=None, idempotency_key="r") == refund
    assert await client.list_refunds(payment_id) == [refund]
    assert await client.get_refund(payment_id, refund.id) == refund
    assert await client.get_refund(payment_id, refund.id + 1) is None
    error = await refused(client.create_refund(payment_id, amount_cents=None, idempotency_key="s"))
    assert (error.status, error.code) == (400, "2063")


async def test_parts_are_given_back_and_never_more_than_was_paid(sandbox: RunningSandbox, client: MercadoPago) -> None:
    payment_id = await a_paid_one(sandbox, client)
    assert await client.list_refunds(payment_id) == []
    first = await client.create_refund(payment_id, amount_cents=1, idempotency_key="a")
    second = await client.create_refund(payment_id, amount_cents=1289, idempotency_key="b")
    error = await refused(client.create_refund(payment_id, amount_cents=1301, idempotency_key="c"))
    assert (error.status, error.code) == (400, "2017")
    payment = await client.get_payment(payment_id)
    assert payment is not None
    assert (payment.status, payment.status_detail) == ("approved", "partially_refunded")
    assert payment.refunded_cents == 1290
    rest = await client.create_refund(payment_id, amount_cents=None, idempotency_key="d")
    assert rest is not None
    assert rest.amount_cents == 1300
    assert await client.list_refunds(payment_id) == [first, second, rest]


@pytest.mark.parametrize("approved", [True, False])
async def test_a_refund_in_process_has_a_state_of_its_own(
    approved: bool, sandbox: RunningSandbox, client: MercadoPago
) -> None:
    payment_id = await a_paid_one(sandbox, client)
    sandbox.arm("refund_in_process")
    refund = await client.create_refund(payment_id, amount_cents=None, idempotency_key="r")
    assert refund is not None
    assert refund.status == "in_process"
    sandbox.decide_refund(refund.id, approved=approved)
    decided = await client.get_refund(payment_id, refund.id)
    assert decided is not None
    assert decided.status == ("approved" if approved else "rejected")
    payment = await client.get_payment(payment_id)
    assert payment is not None
    assert payment.refunded_cents == (2590 if approved else 0)


async def test_a_refund_may_be_refused_and_asked_for_again(sandbox: RunningSandbox, client: MercadoPago) -> None:
    payment_id = await a_paid_one(sandbox, client)
    sandbox.arm("refund_refused")
    error = await refused(client.create_refund(payment_id, amount_cents=None, idempotency_key="r"))
    assert (error.status, error.code) == (400, None)
    assert await client.create_refund(payment_id, amount_cents=None, idempotency_key="r") is not None


@pytest.mark.parametrize("fault", ["refund_answer_lost", "answer_lost"])
async def test_a_lost_refund_is_found_again_by_its_key(
    fault: str, sandbox: RunningSandbox, client: MercadoPago
) -> None:
    payment_id = await a_paid_one(sandbox, client)
    sandbox.arm(fault)
    await unavailable(client.create_refund(payment_id, amount_cents=590, idempotency_key="r"))
    (made,) = sandbox.refunds(payment_id)
    assert await client.create_refund(payment_id, amount_cents=590, idempotency_key="r") is None
    (found,) = await client.list_refunds(payment_id)
    assert (found.id, found.amount_cents, found.status) == (made.id, 590, "approved")


# Webhooks: what the look-alike signs, we believe, and nothing else


async def test_webhooks_are_signed_as_we_check_it() -> None:
    verdicts: list[str] = []
    secret = "a-secret-of-the-panel"

    async def receive(request: web.Request) -> web.Response:
        try:
            verify(
                secret,
                header=request.headers.get("x-signature"),
                request_id=request.headers.get("x-request-id"),
                data_id=request.query.get("data.id"),
                now=datetime.now(UTC),
                tolerance=timedelta(minutes=5),
            )
            verdicts.append("genuine")
        except SignatureRejected as rejected:
            verdicts.append(rejected.reason)
        return web.Response()

    app = web.Application()
    app.router.add_post("/hook", receive)
    async with (
        TestServer(app) as receiver,
        running_sandbox(webhook_secret=secret, webhook_url=str(receiver.make_url("/hook"))) as sandbox,
        MercadoPago(base_url=sandbox.url, access_token=sandbox.token) as client,
    ):

        async def one(*faults: tuple[str, dict[str, Any]]) -> list[str]:
            verdicts.clear()
            for fault, values in faults:
                sandbox.arm(fault, **values)
            await client.create_pix(a_charge())
            await sandbox.settled()
            return sorted(verdicts)

        assert await one() == ["genuine"]
        assert await one(("webhook_seconds_ts", {})) == ["genuine"]
        assert await one(("webhook_duplicated", {"copies": 2})) == ["genuine"] * 3
        for how, reason in (
            ("wrong_secret", Rejection.FORGED),
            ("garbled", None),
            ("missing", Rejection.MISSING),
        ):
            told = await one(("webhook_forged", {"signature": how}))
            assert len(told) == 2
            assert told.count("genuine") == 1
            assert reason is None or reason in told
