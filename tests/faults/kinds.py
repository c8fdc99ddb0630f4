"""Which faults there are, where each may strike, and what is counted of it."""

import random
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from comanda_sandbox.faults import Fault
from tests.faults.conductor import Actor

CALLS = ("create_payment", "search_payments", "get_payment", "cancel_payment", "create_refund", "list_refunds")

DATABASE = {
    "serialization failure": ("before db",),
    "deadlock": ("before db",),
    "connection lost": ("before db", "after db"),
}
"""What befalls a statement, by where."""

AROUND_CALLS = {
    "time-out without effect": "before provider",
    "time-out with effect": "after provider",
    "slow": "after provider",
}
"""What befalls the way to the provider."""

AT_PROVIDER: dict[str, tuple[tuple[str, ...], dict[str, Any]]] = {
    "server_error": (CALLS, {}),
    "server_error with effect": (("create_payment", "cancel_payment", "create_refund"), {"effect": True}),
    "rate_limited": (CALLS, {}),
    "rate_limited with Retry-After": (CALLS, {"retry_after": 20}),
    "locked": (CALLS, {}),
    "non_json": (CALLS, {}),
    "answer_lost": (("create_payment", "cancel_payment", "create_refund"), {}),
    "wrong_amount": (("get_payment",), {}),
    "wrong_currency": (("get_payment",), {}),
    "wrong_reference": (("get_payment",), {}),
    "unknown_status": (("get_payment", "create_payment"), {}),
    "not_found_after_create": (("get_payment",), {}),
    "search_lag": (("search_payments",), {}),
    "null_payer": (("create_payment", "get_payment"), {}),
    "null_qr": (("create_payment", "get_payment"), {}),
    "null_approved": (("get_payment",), {}),
    "string_amounts": (("create_payment", "get_payment"), {}),
    "string_id": (("create_payment", "get_payment"), {}),
    "live_mode_flipped": (("get_payment",), {}),
    "refund_in_process": (("create_refund",), {}),
    "refund_refused": (("create_refund",), {}),
}
"""What the provider does, by the name of the sandbox's fault: to which calls, and with what."""

WEBHOOKS: dict[str, dict[str, Any]] = {
    "webhook_dropped": {},
    "webhook_never": {},
    "webhook_duplicated": {"copies": 2},
    "webhook_delayed": {"seconds": 45 * 60.0},
    "webhook_reordered": {"seconds": 120.0},
    "webhook_forged": {},
    "webhook_replayed": {},
    "webhook_ipn_twin": {},
    "webhook_merchant_order": {},
    "webhook_other_payment": {},
    "webhook_body_mismatch": {},
    "webhook_string_id": {},
    "webhook_seconds_ts": {},
}
"""What becomes of the notifications of a change at the provider."""

PEOPLE = (
    "double click",
    "same key, other body",
    "cancelled while paying",
    "paid while expiring",
    "paid twice",
    "two cooks at one order",
    "stepped back",
    "refund while cooking",
    "refund twice",
    "refund by line and whole at once",
    "refund in the provider's panel",
)
"""What people do."""

CRASHES = (
    "crash before a statement",
    "crash after a statement",
    "crash before COMMIT",
    "crash after COMMIT",
    "crash before a call",
    "crash after a call",
)

ALL = (*CRASHES, *DATABASE, *AROUND_CALLS, *AT_PROVIDER, *WEBHOOKS, *PEOPLE)


@dataclass
class Faults:
    """Decides what befalls whom, by dice, and counts what really did.

    Args:
        dice: decide. rate: how likely something befalls a step.
        allowed: which of the faults that would be are, by their number; None: all. To find the shortest failing run.
    """

    dice: random.Random
    rate: float
    allowed: frozenset[int] | None = None
    active: bool = True
    drawn: int = 0
    struck: Counter[str] = field(default_factory=Counter)
    armed: list[tuple[str, Fault]] = field(default_factory=list)

    def befalls(self, actor: Actor, place: str) -> str:
        """Answer what befalls an actor at a place, "" for nothing."""
        if not self.active or actor.pod is None or self.dice.random() >= self.rate * _weight(place):
            return ""
        chosen = self._choose(place)
        if chosen and self.granted():
            if chosen not in AT_PROVIDER:
                self.struck[_counted(chosen, place)] += 1
            return chosen
        return ""

    def happened(self) -> Counter[str]:
        """Answer how often each fault really was: one that the provider was to make counts if it struck."""
        return self.struck + Counter(name for name, fault in self.armed if fault.struck)

    def granted(self) -> bool:
        """Count a fault that would be, and answer whether it may."""
        self.drawn += 1
        return self.allowed is None or self.drawn in self.allowed

    def _choose(self, place: str) -> str:
        when, what, *rest = place.split(" ")
        if what not in {"db", "provider"}:
            return ""
        choices = ["crash"]
        if what == "db":
            if rest[0] != "ROLLBACK":
                choices += [name for name, places in DATABASE.items() if f"{when} db" in places]
        else:
            choices += [name for name, at in AROUND_CALLS.items() if at == f"{when} provider"]
            if when == "before":
                choices += [name for name, (calls, _) in AT_PROVIDER.items() if rest[0] in calls]
        return choices[self.dice.randrange(len(choices))]


def _weight(place: str) -> float:
    """Answer how much likelier than usual something befalls a step: where money moves more, at mere looks less."""
    if " provider " in place:
        return 8
    if place.endswith("COMMIT"):
        return 4
    return 0.4 if " SELECT " in place else 1


def _counted(fault: str, place: str) -> str:
    if fault != "crash":
        return fault
    when, what, *rest = place.split(" ")
    if what == "provider":
        return f"crash {when} a call"
    return f"crash {when} {'COMMIT' if rest[0] == 'COMMIT' else 'a statement'}"
