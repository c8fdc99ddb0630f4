"""Mercado Pago's own paths."""

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from aiohttp import web

from comanda_sandbox import validation
from comanda_sandbox.answering import SANDBOX, authorize, refusal
from comanda_sandbox.errors import RefusedError, not_found, policy_refusal
from comanda_sandbox.faults import Fault, Target
from comanda_sandbox.money import to_reais
from comanda_sandbox.payments import Payment
from comanda_sandbox.rendering import COLLECTOR_ID, encoded, payment_json, refund_json
from comanda_sandbox.sandbox import Sandbox
from comanda_sandbox.searching import search_of

_HTML = "<html><head><title>502 Bad Gateway</title></head><body><h1>Bad Gateway</h1></body></html>"
_AMOUNTS = ("transaction_amount", "transaction_amount_refunded")


@dataclass(frozen=True, slots=True)
class Call:
    """A request, read; ``payment_id`` and ``refund_id`` are None where the path has none."""

    sandbox: Sandbox
    operation: str
    payment_id: int | None
    refund_id: int | None
    headers: Mapping[str, str]
    query: Mapping[str, str]
    body: bytes
    page_url: str

    def shown(self, payment: Payment, *, as_new: bool = False) -> dict[str, Any]:
        """The payment's JSON, as the armed faults have it."""
        sandbox = self.sandbox
        refunds = [] if as_new else sandbox.ledger.refunds(payment.id)
        body = payment_json(payment, refunds, live_mode=sandbox.live_mode, page_url=self.page_url)
        target = Target(
            operation=self.operation,
            payment_id=payment.id,
            external_reference=payment.external_reference,
            status=payment.status,
        )
        for fault in sandbox.faults.strike_all("answer", target):
            _distort(body, payment, fault)
        return body

    def payment(self) -> Payment:
        """The payment that the path names."""
        if self.payment_id is None:
            raise not_found()
        return self.sandbox.payment(self.payment_id)


Handler = Callable[[Call], web.Response]


def create_payment(call: Call) -> web.Response:
    """POST /v1/payments"""
    key = validation.idempotency_key(call.headers)
    _require_json(call)
    payment = call.sandbox.create_payment(validation.json_object(call.body), key)
    return _json(call.shown(payment, as_new=payment.status == "pending"), 201)


def get_payment(call: Call) -> web.Response:
    """GET /v1/payments/{id}"""
    payment = call.payment()
    target = Target(call.operation, payment.id, payment.external_reference)
    if call.sandbox.faults.strike_one("lookup", target):
        raise not_found()
    return _json(call.shown(payment))


def cancel_payment(call: Call) -> web.Response:
    """PUT /v1/payments/{id}"""
    payment = call.payment()
    _require_json(call)
    validation.cancellation(validation.json_object(call.body))
    return _json(call.shown(call.sandbox.cancel_payment(payment.id)))


def search_payments(call: Call) -> web.Response:
    """GET /v1/payments/search"""
    now = call.sandbox.clock.now()
    search = search_of(call.query, now)
    target = Target(call.operation, external_reference=search.equal.get("external_reference"))
    lag = call.sandbox.faults.strike_one("lookup", target)
    indexed_by = None
    if lag:
        seconds = lag.values["seconds"]
        indexed_by = now - timedelta(days=365_000 if seconds is None else 0, seconds=seconds or 0)
    found, total = call.sandbox.ledger.search_payments(
        search.equal,
        between=search.between,
        order_by=search.order_by,
        descending=search.descending,
        limit=search.limit,
        offset=search.offset,
        indexed_by=indexed_by,
    )
    paging = {"total": total, "limit": search.limit, "offset": search.offset}
    return _json({"paging": paging, "results": [call.shown(payment) for payment in found]})


def create_refund(call: Call) -> web.Response:
    """POST /v1/payments/{id}/refunds"""
    key = validation.idempotency_key(call.headers)
    payment = call.payment()
    refund, earlier = call.sandbox.create_refund(payment.id, validation.refund_amount(call.body), key)
    in_process_wanted = call.headers.get("X-Render-In-Process-Refunds", "").lower() == "true"
    if refund.status == "in_process" and not in_process_wanted:
        # The trap in Mercado Pago's contract: an error, although the refund is on its way.
        raise RefusedError(400, "The refund could not be completed")
    if earlier and call.sandbox.behaviour.refund_replay == "empty":
        return web.Response(status=200)
    return _json(refund_json(refund), 200 if earlier else 201)


def list_refunds(call: Call) -> web.Response:
    """GET /v1/payments/{id}/refunds"""
    return _json([refund_json(refund) for refund in call.sandbox.ledger.refunds(call.payment().id)])


def get_refund(call: Call) -> web.Response:
    """GET /v1/payments/{id}/refunds/{refund_id}"""
    payment = call.payment()
    refund = call.sandbox.refund(call.refund_id or 0)
    if refund.payment_id != payment.id:
        raise RefusedError(404, "Refund not found", code=2000)
    return _json(refund_json(refund))


async def get_user(request: web.Request) -> web.Response:
    """GET /users/me: whose token it is. No fault strikes it: it moves no money."""
    sandbox = request.app[SANDBOX]
    try:
        authorize(request.headers.get("Authorization", ""), sandbox.credentials)
    except RefusedError as refused:
        return refusal(refused)
    return _json({"id": COLLECTOR_ID, "nickname": "COMANDA", "email": sandbox.settings.seller_email, "site_id": "MLB"})


def routes() -> list[web.RouteDef]:
    """The API's routes."""
    one = "/v1/payments/{payment_id}"
    return [
        web.post("/v1/payments", _door("create_payment", create_payment)),
        web.get("/v1/payments/search", _door("search_payments", search_payments)),
        web.get(one, _door("get_payment", get_payment)),
        web.put(one, _door("cancel_payment", cancel_payment)),
        web.post(one + "/refunds", _door("create_refund", create_refund)),
        web.get(one + "/refunds", _door("list_refunds", list_refunds)),
        web.get(one + "/refunds/{refund_id}", _door("get_refund", get_refund)),
        web.get("/users/me", get_user),
    ]


def _door(operation: str, handler: Handler) -> Callable[[web.Request], Any]:
    async def door(request: web.Request) -> web.StreamResponse:
        sandbox = request.app[SANDBOX]
        try:
            authorize(request.headers.get("Authorization", ""), sandbox.credentials)
            call = Call(
                sandbox=sandbox,
                operation=operation,
                payment_id=_id(request.match_info, "payment_id"),
                refund_id=_id(request.match_info, "refund_id"),
                headers=request.headers,
                query=request.query,
                body=await request.read(),
                page_url=str(request.url.origin()),
            )
            sandbox.sweep()
            fault = sandbox.faults.strike_one("request", _target(call)) if sandbox.faults.armed() else None
            if fault is None:
                return _answer(handler, call)
            return await _answer_with_fault(fault, handler, call, request)
        except RefusedError as refused:
            return refusal(refused)

    return door


def _answer(handler: Handler, call: Call) -> web.Response:
    call.sandbox.sweep()
    try:
        return handler(call)
    except RefusedError as refused:
        return refusal(refused)


async def _answer_with_fault(fault: Fault, handler: Handler, call: Call, request: web.Request) -> web.Response:
    values = fault.values
    answer = web.Response()
    match fault.name:
        case "create_answer_lost" | "refund_answer_lost" | "answer_lost":
            _answer(handler, call)
            _hang_up(request)
        case "time_out":
            await _pause(call.sandbox, values["seconds"])
            _hang_up(request)
        case "slow":
            # The caller may be gone by then: the work is done all the same, as it is at a real provider.
            await _pause(call.sandbox, values["seconds"])
            if not call.sandbox.stopping.is_set():
                answer = _answer(handler, call)
        case "slow_answer":
            answer = _answer(handler, call)
            await _pause(call.sandbox, values["seconds"])
        case _:
            if values.get("effect"):
                _answer(handler, call)
            answer = _error_of(fault)
    return answer


def _error_of(fault: Fault) -> web.Response:
    values = fault.values
    match fault.name:
        case "non_json":
            return web.Response(text=_HTML, status=values["status"], content_type="text/html")
        case "rate_limited":
            wait = values["retry_after"]
            headers = {} if wait is None else {"Retry-After": str(wait)}
            error = RefusedError(429, "Too many requests", headers=headers)
        case "locked":
            error = RefusedError(423, "The resource is locked")
        case "refused":
            error = RefusedError(values["status"], values["message"], code=values["code"])
        case "forbidden_by_policy":
            error = policy_refusal()
        case _:
            error = RefusedError(values["status"], "An unexpected error occurred")
    return refusal(error)


async def _pause(sandbox: Sandbox, seconds: float) -> None:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await sandbox.stopping.wait()


def _hang_up(request: web.Request) -> None:
    # The answer that the handler must still return is then dropped by the server.
    if request.transport is not None:
        request.transport.close()


def _target(call: Call) -> Target:
    if call.payment_id is not None:
        payment = call.sandbox.ledger.payment(call.payment_id)
        return Target(call.operation, call.payment_id, payment.external_reference if payment else None)
    if call.operation == "search_payments":
        return Target(call.operation, external_reference=call.query.get("external_reference"))
    try:
        reference = validation.json_object(call.body).get("external_reference")
    except RefusedError:
        reference = None
    return Target(call.operation, external_reference=reference if isinstance(reference, str) else None)


def _distort(body: dict[str, Any], payment: Payment, fault: Fault) -> None:
    values = fault.values
    match fault.name:
        case "null_payer":
            body["payer"] = None
        case "null_qr":
            body["point_of_interaction"] = None
        case "null_approved":
            body["date_approved"] = None
        case "string_amounts":
            body |= {name: str(body[name]) for name in _AMOUNTS}
        case "string_id":
            body["id"] = str(payment.id)
        case "unknown_status":
            body |= {"status": values["status"], "status_detail": values["status_detail"]}
        case "wrong_amount":
            cents = values["amount_cents"]
            wrong = payment.amount_cents + 1 if cents is None else cents
            body["transaction_amount"] = to_reais(wrong)
        case "wrong_currency":
            body["currency_id"] = values["currency_id"]
        case "wrong_reference":
            body["external_reference"] = values["external_reference"]
        case "live_mode_flipped":
            body["live_mode"] = not body["live_mode"]


def _require_json(call: Call) -> None:
    kind = call.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise RefusedError(415, "Content-Type must be application/json")


def _id(path: Mapping[str, str], name: str) -> int | None:
    text = path.get(name)
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= 18):
        raise RefusedError(400, f"{name} must be a number", code=1)
    return int(text)


def _json(value: object, status: int = 200) -> web.Response:
    return web.Response(body=encoded(value), status=status, content_type="application/json")
