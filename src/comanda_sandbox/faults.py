"""Faults that an operator or a test arms, and which of them meets which request, answer or webhook.

Nothing here is left to chance: a fault hits the first ``times`` things that match it, after ``skip`` of them.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

_OPERATIONS = (
    "create_payment",
    "get_payment",
    "search_payments",
    "cancel_payment",
    "create_refund",
    "list_refunds",
    "get_refund",
)
_ACTIONS = ("payment.created", "payment.updated")


@dataclass(frozen=True, slots=True)
class Field:
    """A field of a fault: its type, and what it is when not given. Numbers lie between 0 and ``most``."""

    kind: type
    default: Any
    most: int = 10**12
    choices: tuple[str, ...] = ()

    def check(self, name: str, value: Any) -> Any:
        """The value, if the field takes it.

        Raises:
            ValueError: it does not.
        """
        if value is None and self.default is None:
            return None
        if self.kind is float and type(value) is int:
            value = float(value)
        in_range = not isinstance(value, int | float) or 0 <= value <= self.most
        if type(value) is not self.kind or not in_range:
            raise ValueError(f"{name} takes a value of type {self.kind.__name__}, numbers from 0 to {self.most}")
        if self.choices and value not in self.choices:
            raise ValueError(f"{name} is one of {', '.join(self.choices)}")
        return value


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of fault.

    Args:
        point: where it strikes: ``request`` (before or around the work), ``lookup``, ``refund`` (how a refund
            goes), ``answer`` (a payment as it is shown) or ``webhook``.
        says: what it does, for whoever asks which there are.
        fields: what can be said about it beside ``times``, ``skip`` and ``match``.
        operations: those that it can strike; all of them unless ``match`` names one.
    """

    point: str
    says: str
    fields: Mapping[str, Field] = field(default_factory=dict)
    operations: tuple[str, ...] = _OPERATIONS


_SECONDS = Field(float, 60.0, 3600)
_EFFECT = Field(bool, False)

KINDS: Mapping[str, Kind] = {
    # Requests.
    "create_answer_lost": Kind(
        "request", "the payment is created, the connection closed unanswered", operations=("create_payment",)
    ),
    "refund_answer_lost": Kind(
        "request", "the refund is made, the connection closed unanswered", operations=("create_refund",)
    ),
    "answer_lost": Kind("request", "the work is done, the connection closed unanswered"),
    "time_out": Kind(
        "request",
        "nothing is done; after `seconds` the connection is closed unanswered",
        {"seconds": _SECONDS},
    ),
    "slow": Kind(
        "request",
        "the work is done after `seconds`, whether or not the caller still waits",
        {"seconds": Field(float, 5.0, 3600)},
    ),
    "slow_answer": Kind(
        "request", "the work is done at once, answered after `seconds`", {"seconds": Field(float, 5.0, 3600)}
    ),
    "server_error": Kind(
        "request",
        "500, or another 5xx as `status`; with `effect` the work is done",
        {"status": Field(int, 500, 599), "effect": _EFFECT},
    ),
    "rate_limited": Kind(
        "request",
        "429, with Retry-After if `retry_after` (seconds) is given",
        {"retry_after": Field(int, None)},
    ),
    "locked": Kind("request", "423"),
    "non_json": Kind(
        "request",
        "a page of HTML with `status`; with `effect` the work is done",
        {"status": Field(int, 502, 599), "effect": _EFFECT},
    ),
    "refused": Kind(
        "request",
        "an error of Mercado Pago's with `status`, `code` (its cause; 13253 is 'no Pix key') and `message`",
        {
            "status": Field(int, 400, 499),
            "code": Field(int, 13253),
            "message": Field(str, "RefusedError by a fault"),
        },
    ),
    "forbidden_by_policy": Kind("request", "403 in the other shape of errors"),
    # Look-ups.
    "not_found_after_create": Kind("lookup", "GET answers 404", operations=("get_payment",)),
    "search_lag": Kind(
        "lookup",
        "a search finds nothing; with `seconds` it only misses what was created less than that ago, and a search of"
        " changes what was changed less than that ago",
        {"seconds": Field(float, None, 10**7)},
        operations=("search_payments",),
    ),
    # Refunds.
    "refund_in_process": Kind("refund", "the refund waits for the operator's decision", operations=("create_refund",)),
    "refund_refused": Kind(
        "refund",
        "400: not enough balance; `code`, if given, as its cause",
        {"code": Field(int, None)},
        operations=("create_refund",),
    ),
    # Payments as they are shown.
    "null_payer": Kind("answer", "payer is null"),
    "null_qr": Kind("answer", "point_of_interaction is null"),
    "null_approved": Kind("answer", "date_approved is null"),
    "string_amounts": Kind("answer", "amounts are strings"),
    "string_id": Kind("answer", "the id is a string"),
    "unknown_status": Kind(
        "answer",
        "status and status_detail are unheard of",
        {"status": Field(str, "quantum_superposition"), "status_detail": Field(str, "undecided")},
    ),
    "wrong_amount": Kind(
        "answer",
        "another transaction_amount, `amount_cents` or a centavo more",
        {"amount_cents": Field(int, None)},
    ),
    "wrong_currency": Kind("answer", "another currency_id", {"currency_id": Field(str, "ARS")}),
    "wrong_reference": Kind(
        "answer",
        "another external_reference",
        {"external_reference": Field(str, "00000000-0000-4000-8000-000000000000")},
    ),
    "live_mode_flipped": Kind("answer", "live_mode says the opposite"),
    # Webhooks.
    "webhook_duplicated": Kind(
        "webhook", "`copies` more come, each with its own id and ts", {"copies": Field(int, 1, 100)}
    ),
    "webhook_delayed": Kind("webhook", "it comes `seconds` later", {"seconds": Field(float, 2.0, 10**7)}),
    "webhook_reordered": Kind(
        "webhook",
        "it comes after the payment's next one, or after `seconds` if there is none",
        {"seconds": Field(float, 5.0, 10**7)},
    ),
    "webhook_dropped": Kind(
        "webhook",
        "its first `attempts` get lost; it comes back by the retry schedule",
        {"attempts": Field(int, 1, 100)},
    ),
    "webhook_never": Kind("webhook", "it never comes"),
    "webhook_forged": Kind(
        "webhook",
        "a forged one comes beside it: `signature` wrong_secret, garbled or missing",
        {"signature": Field(str, "wrong_secret", choices=("wrong_secret", "garbled", "missing"))},
    ),
    "webhook_replayed": Kind("webhook", "once it has arrived, the very same request comes again"),
    "webhook_ipn_twin": Kind("webhook", "its legacy IPN twin comes beside it"),
    "webhook_merchant_order": Kind("webhook", "a merchant_order message comes beside it"),
    "webhook_other_payment": Kind(
        "webhook",
        "a well-signed one for a payment that is not there, or `payment_id`, comes beside it",
        {"payment_id": Field(int, None)},
    ),
    "webhook_body_mismatch": Kind(
        "webhook", "one comes beside it whose body names another payment than its signed query"
    ),
    "webhook_string_id": Kind("webhook", "its root id is a string"),
    "webhook_seconds_ts": Kind("webhook", "its ts is in seconds"),
}


class UnknownFaultError(ValueError):
    """What was to be armed does not exist; the message names what does."""


@dataclass(slots=True)
class Fault:
    """An armed fault. ``times`` is how often it still strikes, None for always."""

    id: int
    name: str
    kind: Kind
    times: int | None
    skip: int
    match: Mapping[str, Any]
    values: Mapping[str, Any]
    struck: int = 0

    def json(self) -> dict[str, Any]:
        """What the operator sees of it."""
        return {
            "id": self.id,
            "fault": self.name,
            "times": self.times,
            "skip": self.skip,
            "match": dict(self.match),
            "struck": self.struck,
            **self.values,
        }


@dataclass(frozen=True, slots=True)
class Target:
    """What a fault may strike: a request, an answer or a webhook, and the payment that it is about."""

    operation: str | None = None
    payment_id: int | None = None
    external_reference: str | None = None
    action: str | None = None
    status: str | None = None


class Faults:
    """The armed faults, in the order in which they were armed."""

    def __init__(self) -> None:
        self._armed: list[Fault] = []
        self._strike = asyncio.Event()
        self._last_id = 0

    def arm(self, body: Mapping[str, Any]) -> Fault:
        """Arm a fault.

        Args:
            body: ``fault``, its name; ``times`` (1; null for always); ``skip`` (0); ``match`` with any of
                ``operation``, ``payment_id``, ``external_reference`` and, for answers and webhooks, the
                payment's ``status`` and, for webhooks, ``action``; and the fields of that fault.

        Raises:
            UnknownFaultError: a name, field or value that is not known.
        """
        name = body.get("fault")
        if not isinstance(name, str) or name not in KINDS:
            raise UnknownFaultError(f"unknown fault {name!r}; known: {', '.join(KINDS)}")
        kind = KINDS[name]
        known = ("fault", "times", "skip", "match", *kind.fields)
        for wrong in body.keys() - set(known):
            raise UnknownFaultError(f"{name} has no field {wrong!r}; known: {', '.join(known)}")
        try:
            values = {
                key: one.check(key, body[key]) if key in body else one.default for key, one in kind.fields.items()
            }
            times = Field(int, None).check("times", body.get("times", 1))
            skip = Field(int, 0).check("skip", body.get("skip", 0))
        except ValueError as error:
            raise UnknownFaultError(f"{name}: {error}") from None
        if times == 0:
            raise UnknownFaultError(f"{name}: times is 1 or more, or null for always")
        self._last_id += 1
        fault = Fault(self._last_id, name, kind, times, skip, _match(name, kind, body.get("match")), values)
        self._armed.append(fault)
        return fault

    def armed(self) -> list[Fault]:
        """Those that can still strike."""
        return list(self._armed)

    def clear(self, fault_id: int | None = None) -> int:
        """Disarm one, or all; how many that were."""
        kept = [one for one in self._armed if fault_id is not None and one.id != fault_id]
        cleared = len(self._armed) - len(kept)
        self._armed = kept
        return cleared

    async def struck(self, fault: Fault, times: int = 1) -> None:
        """Wait until a fault has struck so many times."""
        while fault.struck < times:
            self._strike.clear()
            await self._strike.wait()

    def strike_one(self, point: str, target: Target) -> Fault | None:
        """The first fault that strikes here, if any: for points where two would contradict each other."""
        return next((one for one in list(self._armed) if self._strikes(one, point, target)), None)

    def strike_all(self, point: str, target: Target) -> list[Fault]:
        """Every fault that strikes here."""
        return [one for one in list(self._armed) if self._strikes(one, point, target)]

    def _strikes(self, fault: Fault, point: str, target: Target) -> bool:
        if fault.kind.point != point:
            return False
        if target.operation is not None and target.operation not in fault.kind.operations:
            return False
        if any(getattr(target, key) != value for key, value in fault.match.items()):
            return False
        return self._use(fault)

    def _use(self, fault: Fault) -> bool:
        if fault.skip:
            fault.skip -= 1
            return False
        fault.struck += 1
        self._strike.set()
        if fault.times is not None:
            fault.times -= 1
            if not fault.times:
                self._armed.remove(fault)
        return True


def _match(name: str, kind: Kind, value: Any) -> dict[str, Any]:
    fields = {"payment_id": Field(int, 0), "external_reference": Field(str, "")}
    if kind.point == "webhook":
        fields["action"] = Field(str, "", choices=_ACTIONS)
    else:
        fields["operation"] = Field(str, "", choices=kind.operations)
    if kind.point in {"answer", "webhook"}:
        fields["status"] = Field(str, "")
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise UnknownFaultError(f"{name}: match is an object")
    for wrong in value.keys() - fields.keys():
        raise UnknownFaultError(f"{name} cannot match {wrong!r}; known: {', '.join(fields)}")
    try:
        return {key: fields[key].check(f"match.{key}", one) for key, one in value.items()}
    except ValueError as error:
        raise UnknownFaultError(f"{name}: {error}") from None
