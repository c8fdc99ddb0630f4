"""What an operator can do to a payment, by name; the page and the operator's paths call it alike."""

import re
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from comanda_sandbox import money, payments
from comanda_sandbox.payments import Payment
from comanda_sandbox.sandbox import Sandbox

_DETAIL = re.compile(r"[a-z_]{1,64}")


class WrongOptionError(ValueError):
    """An action's option is unknown or has a value that it does not take."""


Action = Callable[[Sandbox, int, Mapping[str, Any]], Payment]


def act(sandbox: Sandbox, payment_id: int, action: str, options: Mapping[str, Any]) -> Payment:
    """Do an action of :data:`ACTIONS`.

    Raises:
        RefusedError: there is no such payment, or the refund is not possible.
        ImpossibleMoveError: the payment's state does not allow it.
        WrongOptionError: an option that the action does not take.
    """
    sandbox.sweep()
    return ACTIONS[action](sandbox, payment_id, options)


def _pay(sandbox: Sandbox, payment_id: int, options: Mapping[str, Any]) -> Payment:
    late = _only(options, "late").get("late", False)
    if late not in (True, False, "true", "false"):
        raise WrongOptionError("late is true or false")
    return sandbox.move(payment_id, partial(payments.approve, late=late in (True, "true")))


def _reject(sandbox: Sandbox, payment_id: int, options: Mapping[str, Any]) -> Payment:
    detail = _only(options, "status_detail").get("status_detail", "rejected_by_bank")
    if not isinstance(detail, str) or not _DETAIL.fullmatch(detail):
        raise WrongOptionError("status_detail takes lower-case letters and underscores")
    return sandbox.move(payment_id, partial(payments.reject, detail=detail))


def _cancel(sandbox: Sandbox, payment_id: int, options: Mapping[str, Any]) -> Payment:
    by = _choice(options, "by", ("collector", "payer", "admin"))
    return sandbox.move(payment_id, partial(payments.cancel, by=by))


def _charge_back(sandbox: Sandbox, payment_id: int, options: Mapping[str, Any]) -> Payment:
    outcome = _choice(options, "outcome", ("in_process", "settled", "reimbursed"))
    return sandbox.move(payment_id, partial(payments.charge_back, outcome=outcome))


def _refund(sandbox: Sandbox, payment_id: int, options: Mapping[str, Any]) -> Payment:
    _only(options, "amount", "amount_cents")
    cents = options.get("amount_cents")
    if options.get("amount") is not None:
        cents = money.to_cents(options["amount"])
        if cents is None:
            raise WrongOptionError("amount is a number of reais above zero with two decimals at most")
    elif isinstance(cents, str) and cents.isascii() and cents.isdigit():
        cents = int(cents)  # from a form or a query
    if cents is not None and (type(cents) is not int or not 0 < cents <= money.MOST_CENTS):
        raise WrongOptionError("amount_cents is a whole number of centavos above zero")
    return sandbox.refund_by_operator(payment_id, cents)


def _plain(how: Callable[..., Payment]) -> Action:
    def action(sandbox: Sandbox, payment_id: int, options: Mapping[str, Any]) -> Payment:
        _only(options)
        return sandbox.move(payment_id, how)

    return action


ACTIONS: Mapping[str, Action] = {
    "pay": _pay,
    "reject": _reject,
    "expire": _plain(payments.expire),
    "refund": _refund,
    "charge-back": _charge_back,
    "cancel": _cancel,
    "process": _plain(payments.process),
    "mediate": _plain(payments.mediate),
    "resolve": _plain(payments.resolve),
}


def _only(options: Mapping[str, Any], *known: str) -> Mapping[str, Any]:
    for name in options.keys() - set(known):
        raise WrongOptionError(f"unknown option {name!r}; known: {', '.join(known) or 'none'}")
    return options


def _choice(options: Mapping[str, Any], name: str, choices: tuple[str, ...]) -> str:
    value = _only(options, name).get(name, choices[0])
    if value not in choices:
        raise WrongOptionError(f"{name} is one of {', '.join(choices)}")
    return str(value)
