"""The operator's paths, ``/_sandbox/…``: without a token, from this machine only."""

from collections.abc import Awaitable, Callable
from dataclasses import asdict
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from aiohttp import web

from comanda_sandbox import faults, validation
from comanda_sandbox.answering import SANDBOX, NotTheOperatorError, json_answer, problem, require_operator
from comanda_sandbox.credentials import WrongCredentialError
from comanda_sandbox.errors import RefusedError
from comanda_sandbox.moments import written
from comanda_sandbox.operator_actions import ACTIONS, WrongOptionError, act
from comanda_sandbox.payments import ImpossibleMoveError, Payment
from comanda_sandbox.rendering import payment_json, refund_json
from comanda_sandbox.sandbox import Sandbox

_FARTHEST_SECONDS = 366 * 86400 * 10

Door = Callable[[web.Request, Sandbox], Awaitable[web.StreamResponse]]


def routes() -> list[web.RouteDef]:
    """The operator's routes."""
    return [
        web.get("/_sandbox/payments", operator_door(_list_payments)),
        web.get("/_sandbox/payments/{payment_id}", operator_door(_get_payment)),
        web.post("/_sandbox/payments/{payment_id}/{action}", operator_door(_act)),
        web.post("/_sandbox/refunds/{refund_id}/{decision}", operator_door(_decide_refund)),
        web.get("/_sandbox/ledger", operator_door(_ledger)),
        web.get("/_sandbox/clock", operator_door(_clock)),
        web.post("/_sandbox/clock", operator_door(_move_clock)),
        web.get("/_sandbox/behaviour", operator_door(_behaviour)),
        web.patch("/_sandbox/behaviour", operator_door(_change_behaviour)),
        web.post("/_sandbox/tokens", operator_door(_renew_token)),
        web.delete("/_sandbox/tokens", operator_door(_end_old_tokens)),
        web.post("/_sandbox/webhook-secrets", operator_door(_renew_webhook_secret)),
        web.get("/_sandbox/faults", operator_door(_list_faults)),
        web.post("/_sandbox/faults", operator_door(_arm_fault)),
        web.delete("/_sandbox/faults", operator_door(_clear_faults)),
        web.delete("/_sandbox/faults/{fault_id}", operator_door(_clear_faults)),
    ]


def operator_door(door: Door) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    """A handler that lets operators in only, and answers what goes wrong with a problem document."""

    async def checked(request: web.Request) -> web.StreamResponse:
        sandbox = request.app[SANDBOX]
        try:
            require_operator(request, from_anywhere=sandbox.settings.operator_from_anywhere)
            return await door(request, sandbox)
        except NotTheOperatorError as error:
            return problem(403, str(error))
        except (WrongOptionError, faults.UnknownFaultError) as error:
            return problem(400, str(error))
        except (ImpossibleMoveError, WrongCredentialError) as error:
            return problem(409, str(error))
        except RefusedError as refused:
            return problem(refused.status, refused.message)

    return checked


async def options_of(request: web.Request) -> dict[str, Any]:
    """An action's options, from the query, a JSON object or a form.

    Raises:
        WrongOptionError: the body is neither.
    """
    options: dict[str, Any] = dict(request.query)
    body = await request.read()
    # By its first character: curl calls everything a form that is not said to be something else.
    if body.lstrip().startswith(b"{") or request.content_type == "application/json":
        options |= await json_of(request) if body.strip() else {}
    elif body.strip():
        if request.content_type != "application/x-www-form-urlencoded":
            raise WrongOptionError("the body is a JSON object")
        options |= dict(await request.post())
    return options


async def json_of(request: web.Request) -> dict[str, Any]:
    """The JSON object of a body.

    Raises:
        WrongOptionError: it is none.
    """
    try:
        return validation.json_object(await request.read())
    except RefusedError as refused:
        raise WrongOptionError(refused.message) from None


def number_of(request: web.Request, name: str) -> int:
    """A number in the path.

    Raises:
        RefusedError: it is none, and so names nothing (404).
    """
    text = request.match_info[name]
    if not (text.isascii() and text.isdigit() and len(text) <= 18):
        raise RefusedError(404, f"there is no {name.removesuffix('_id')} {text!r}")
    return int(text)


def _shown(request: web.Request, sandbox: Sandbox, payment: Payment) -> dict[str, Any]:
    refunds = sandbox.ledger.refunds(payment.id)
    return payment_json(payment, refunds, live_mode=sandbox.live_mode, page_url=str(request.url.origin()))


async def _list_payments(request: web.Request, sandbox: Sandbox) -> web.Response:
    sandbox.sweep()
    found = sandbox.ledger.payments(request.query.get("external_reference"))
    return json_answer({"payments": [_shown(request, sandbox, payment) for payment in found]})


async def _get_payment(request: web.Request, sandbox: Sandbox) -> web.Response:
    sandbox.sweep()
    return json_answer(_shown(request, sandbox, sandbox.payment(number_of(request, "payment_id"))))


async def _act(request: web.Request, sandbox: Sandbox) -> web.Response:
    action = request.match_info["action"]
    if action not in ACTIONS:
        raise RefusedError(404, f"unknown action {action!r}; known: {', '.join(ACTIONS)}")
    payment = act(sandbox, number_of(request, "payment_id"), action, await options_of(request))
    return json_answer(_shown(request, sandbox, payment))


async def _decide_refund(request: web.Request, sandbox: Sandbox) -> web.Response:
    decisions = {"approve": True, "refuse": False}
    decision = request.match_info["decision"]
    if decision not in decisions:
        raise RefusedError(404, f"unknown decision {decision!r}; known: {', '.join(decisions)}")
    refund = sandbox.decide_refund(number_of(request, "refund_id"), approved=decisions[decision])
    return json_answer(refund_json(refund))


async def _ledger(_request: web.Request, sandbox: Sandbox) -> web.Response:
    sandbox.sweep()
    ledger = sandbox.ledger
    keys = [{"scope": scope, "key": key, "result_id": result} for scope, key, result in ledger.idempotency_keys()]
    return json_answer(
        {
            "now": written(sandbox.clock.now()),
            "payments": [_plain(payment) for payment in ledger.payments()],
            "refunds": [_plain(refund) for refund in ledger.refunds()],
            "keys": keys,
            "deliveries": [_plain(delivery) for delivery in ledger.deliveries()],
        }
    )


async def _clock(_request: web.Request, sandbox: Sandbox) -> web.Response:
    clock = sandbox.clock
    return json_answer({"now": written(clock.now()), "offset_seconds": clock.offset.total_seconds()})


async def _move_clock(request: web.Request, sandbox: Sandbox) -> web.Response:
    match await options_of(request):
        case {"advance_seconds": int() | Decimal() as seconds, **rest} if not rest and seconds is not True:
            farthest = timedelta(seconds=_FARTHEST_SECONDS)
            # Cut before it is a timedelta, which holds no more than so much.
            cut = max(-2 * _FARTHEST_SECONDS, min(seconds, 2 * _FARTHEST_SECONDS))
            by = timedelta(milliseconds=int(cut * 1000))
            if abs(sandbox.clock.offset + by) > farthest:
                raise WrongOptionError(f"the clock moves {_FARTHEST_SECONDS} seconds at most")
            sandbox.clock.advance(by)
        case {"reset": True, **rest} if not rest:
            sandbox.clock.reset()
        case _:
            raise WrongOptionError('the body is {"advance_seconds": number} or {"reset": true}')
    sandbox.sweep()
    return await _clock(request, sandbox)


async def _behaviour(_request: web.Request, sandbox: Sandbox) -> web.Response:
    return json_answer(asdict(sandbox.behaviour))


async def _change_behaviour(request: web.Request, sandbox: Sandbox) -> web.Response:
    try:
        sandbox.behaviour = sandbox.behaviour.changed(await json_of(request))
    except ValueError as error:
        raise WrongOptionError(str(error)) from None
    return json_answer(asdict(sandbox.behaviour))


async def _renew_token(request: web.Request, sandbox: Sandbox) -> web.Response:
    match await options_of(request):
        case {**rest} if not rest.keys() - {"token", "old_valid_seconds"}:
            token, seconds = rest.get("token"), rest.get("old_valid_seconds")
            good_seconds = seconds is None or (
                isinstance(seconds, int | Decimal) and seconds is not True and 0 <= seconds <= _FARTHEST_SECONDS
            )
            if good_seconds and (token is None or _is_credential(token)):
                after = None if seconds is None else float(seconds)
                new = sandbox.credentials.renew_token(token, old_valid_seconds=after)
                return json_answer({"token": new, "old_valid_seconds": after}, 201)
    raise WrongOptionError('the body is {"token": text, "old_valid_seconds": number}, either may be left out')


async def _end_old_tokens(_request: web.Request, sandbox: Sandbox) -> web.Response:
    return json_answer({"ended": sandbox.credentials.end_old_tokens()})


async def _renew_webhook_secret(request: web.Request, sandbox: Sandbox) -> web.Response:
    match await options_of(request):
        case {**rest} if not rest.keys() - {"webhook_secret"} and _is_credential(rest.get("webhook_secret", "x")):
            secret = sandbox.credentials.renew_webhook_secret(rest.get("webhook_secret"))
            return json_answer({"webhook_secret": secret}, 201)
    raise WrongOptionError('the body is {"webhook_secret": text}, which may be left out')


def _is_credential(value: object) -> bool:
    return isinstance(value, str) and 0 < len(value) <= 256 and value.isascii() and value.isprintable()


async def _list_faults(_request: web.Request, sandbox: Sandbox) -> web.Response:
    known = {
        name: {
            "says": kind.says,
            "point": kind.point,
            "operations": [] if kind.point == "webhook" else kind.operations,
            "fields": {key: one.default for key, one in kind.fields.items()},
        }
        for name, kind in faults.KINDS.items()
    }
    return json_answer({"armed": [fault.json() for fault in sandbox.faults.armed()], "known": known})


async def _arm_fault(request: web.Request, sandbox: Sandbox) -> web.Response:
    body = await json_of(request)
    # Decimals are for money; a fault's seconds are plain numbers.
    plain = {name: float(value) if isinstance(value, Decimal) else value for name, value in body.items()}
    return json_answer(sandbox.faults.arm(plain).json(), 201)


async def _clear_faults(request: web.Request, sandbox: Sandbox) -> web.Response:
    fault_id = number_of(request, "fault_id") if "fault_id" in request.match_info else None
    return json_answer({"cleared": sandbox.faults.clear(fault_id)})


def _plain(value: Any) -> dict[str, Any]:
    """A ledger's row, in centavos and UTC, without its picture."""
    row = {name: one for name, one in asdict(value).items() if name != "qr_code_base64"}
    return {name: one.isoformat() if isinstance(one, datetime) else one for name, one in row.items()}
