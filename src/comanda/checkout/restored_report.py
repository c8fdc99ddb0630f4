"""What is said of the payments that were settled after a restore, for people and scripts."""

from enum import StrEnum
from uuid import UUID

import msgspec

from comanda.clock import Moment
from comanda.money import Cents


class Lost(StrEnum):
    """What becomes of a paid order that the database has lost."""

    REFUND = "refund"
    KEEP = "keep"


class Outcome(StrEnum):
    """What was done about a payment; each has one."""

    SETTLED = "settled"
    RECREATED = "recreated"
    CANCELLED = "cancelled"
    KEPT = "kept"
    SECOND_CHARGE = "second_charge"
    NOTHING_OWED = "nothing_owed"
    NOT_OURS = "not_ours"
    OPEN = "open"


class NotOurs(msgspec.Struct, frozen=True):
    """A payment of the account that is none of this diner's orders, by the provider's id, and how one can tell."""

    payment: int
    reason: str


class StillOpen(msgspec.Struct, frozen=True):
    """What could not be settled: a payment by the provider's id, or the search itself (None), and why."""

    payment: int | None
    error: str


class Step(msgspec.Struct, frozen=True):
    """What would be done about a payment, by the provider's id and the order's."""

    payment: int
    order: UUID
    outcome: Outcome


class Report(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What was done. `payments` is the sum of the counts and lists after it, but for the centavos.

    `settled` are payments of orders that the database has, `recreated` those put back to be given back, `cancelled`
    those put back and ended unpaid, `kept` those put back as served. `refunds_owed_cents` is what was promised back
    of all of these since `until`, by an earlier run that came to no end too; the worker sends it. `would` is there in
    a dry run alone.
    """

    since: Moment
    until: Moment
    payments: int
    settled: int
    recreated: int
    refunds_owed_cents: Cents
    cancelled: int
    kept: int
    second_charges: int
    nothing_owed: int
    not_ours: list[NotOurs]
    open: list[StillOpen]
    would: list[Step] | None = None
