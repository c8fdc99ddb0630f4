"""Every order of events, not a sample: two pods, a webhook, a guest who pays and cancels, time, and a crash.

The transitions are the code's own (`settlement.decide`, `undecided`); between a pod's look at the provider and its
transaction anything may happen, the pod's death too. What is kept of a state is what decides: a few thousand remain.
"""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import msgspec
import pytest

from comanda.checkout.settlement import Verdict, decide, undecided
from comanda.orders.model import UNSERVED_END, Order, OrderStatus
from comanda.payments.model import MONEY_CAME, Payment
from comanda.payments.provider import ProviderPayment
from tests.unit.samples import EXPIRES, PLACED, PROVIDER_EXPIRES, TOTAL, a_payment, a_view, an_order

MOMENTS = (PLACED + timedelta(minutes=1), EXPIRES + timedelta(minutes=1), PROVIDER_EXPIRES + timedelta(minutes=1))
"""Before our own end of a charge, before the provider's, after both."""


@dataclass(frozen=True)
class Charge:
    """The charge as the provider has it. `changes` counts: the later word is the one with more of them."""

    status: str = "pending"
    refunded: int = 0
    changes: int = 0

    def view(self) -> ProviderPayment:
        """Answer it as it is told."""
        at = PLACED + timedelta(seconds=self.changes)
        return a_view(self.status, refunded_cents=self.refunded, updated_at=at)

    def moved(self, status: str, refunded: int = 0) -> "Charge":
        """Answer it after a change."""
        return Charge(status, refunded, self.changes + 1)


@dataclass(frozen=True)
class Pod:
    """What a pod is at: nothing, a word of the provider's in its hand, a charge to cancel, a refund to send or note."""

    at: str = ""
    told: Charge | None = None
    webhook: bool = False


@dataclass(frozen=True)
class State:
    """Everything that decides what can happen next."""

    order: Order
    payment: Payment
    charge: Charge = Charge()
    refund: str = ""
    moment: int = 0
    webhooks: int = 0
    pods: tuple[Pod, Pod] = (Pod(), Pod())
    crashes: int = 1
    pays: int = 1
    cancels: int = 1

    @property
    def now(self) -> datetime:
        """The time."""
        return MOMENTS[self.moment]


def begin() -> State:
    """Answer the state in which a guest sees the QR code."""
    return State(an_order(), a_payment(provider_updated_at=Charge().view().updated_at))


def moves(state: State) -> Iterator[tuple[str, State]]:
    """Answer whatever can happen next."""
    yield from _outside(state)
    for number, pod in enumerate(state.pods):
        for name, after, then in _steps(state, pod):
            pods = (then, state.pods[1]) if number == 0 else (state.pods[0], then)
            yield f"pod {number + 1} {name}", replace(after, pods=pods)
        if pod.at and state.crashes:
            pods = (Pod(), state.pods[1]) if number == 0 else (state.pods[0], Pod())
            yield f"pod {number + 1} dies", replace(state, pods=pods, crashes=state.crashes - 1)


def _outside(state: State) -> Iterator[tuple[str, State]]:
    if state.pays and state.charge.status == "pending":
        paid = replace(state, charge=state.charge.moved("approved"), pays=0)
        yield "the guest pays", replace(paid, webhooks=state.webhooks + 1)
        yield "the guest pays, the webhook is lost", paid
    if state.cancels and state.order.status is OrderStatus.AWAITING_PAYMENT:
        yield "the guest cancels", replace(state, order=_moved(state.order, OrderStatus.CANCELLED), cancels=0)
    if state.moment < 2:
        later = replace(state, moment=state.moment + 1)
        if later.moment == 2 and state.charge.status == "pending":
            later = replace(later, charge=state.charge.moved("cancelled/expired"))
        yield "time passes", later


def _steps(state: State, pod: Pod) -> Iterator[tuple[str, State, Pod]]:
    match pod.at:
        case "":
            yield "looks", state, Pod("told", state.charge)
            if state.webhooks:
                yield "looks for a webhook", state, Pod("told", state.charge, webhook=True)
            if state.refund == "requested":
                yield "takes the refund", state, Pod("sends")
            # The provider away for long, or a 404.
            if state.moment == 2:
                yield (
                    "hears nothing",
                    _applied(state, undecided(state.order, state.payment, state.now, review=None), None),
                    Pod(),
                )
        case "told":
            assert pod.told is not None
            view = pod.told.view()
            verdict = decide(state.order, state.payment, view, state.now)
            after = _applied(state, verdict, view if verdict.believed else None)
            if pod.webhook:
                after = replace(after, webhooks=max(0, after.webhooks - 1))
            yield "settles", after, Pod("cancels") if verdict.cancel_at_provider else Pod()
        case "cancels":
            if state.charge.status == "pending":
                charge = state.charge.moved("cancelled/by_collector")
                yield "cancels", replace(state, charge=charge), Pod("told", charge)
            else:
                yield "cancels too late", state, Pod("told", state.charge)
        case "sends":
            # By its key the second try is the first one's refund.
            charge = state.charge
            if charge.refunded == 0:
                charge = charge.moved("refunded", TOTAL)
            yield "sends the refund", replace(state, charge=charge), Pod("notes")
        case "notes":
            yield "notes the refund", _refund_noted(state), Pod()


def _refund_noted(state: State) -> State:
    if state.refund != "requested":
        return state
    refunded = state.payment.refunded_cents + TOTAL
    payment = msgspec.structs.replace(
        state.payment, refunded_cents=refunded, refund_reserved_cents=0, status="refunded", review=None
    )
    return replace(state, payment=payment, refund="approved")


def _applied(state: State, verdict: Verdict, view: ProviderPayment | None) -> State:
    payment = msgspec.structs.replace(
        state.payment,
        status=verdict.payment_status,
        paid_cents=verdict.paid_cents,
        refunded_cents=verdict.refunded_cents,
        review=verdict.review,
    )
    if view is not None and verdict.changes(state.payment, view):
        payment = msgspec.structs.replace(payment, provider_updated_at=view.updated_at)
    after = replace(state, payment=payment)
    if verdict.order_status is not None:
        after = replace(after, order=_moved(state.order, verdict.order_status))
    if verdict.refund_owed is not None:
        left = (verdict.paid_cents or 0) - verdict.refunded_cents - payment.refund_reserved_cents
        assert left > 0
        assert state.refund == "", "money is promised back twice"
        payment = msgspec.structs.replace(payment, refund_reserved_cents=left)
        after = replace(after, payment=payment, refund="requested")
    return after


def _moved(order: Order, status: OrderStatus) -> Order:
    return msgspec.structs.replace(order, status=status)


def always(state: State) -> None:
    """Assert what holds in every state."""
    payment = state.payment
    assert (payment.paid_cents or 0) <= TOTAL
    assert payment.refunded_cents + payment.refund_reserved_cents <= (payment.paid_cents or 0)
    assert state.charge.refunded in {0, TOTAL}
    if state.order.status is OrderStatus.PAID:
        assert state.pays == 0, "it is cooked and nobody paid"
        assert payment.paid_cents == TOTAL
    if payment.status in MONEY_CAME:
        assert state.pays == 0, "money that never came"


def finished(state: State) -> State:
    """Answer the state after the pods have ended what they are at, and looked twice more after the provider's end."""
    if state.moment < 2 and state.charge.status == "pending":
        state = replace(state, charge=state.charge.moved("cancelled/expired"))
    state = replace(state, moment=2, pays=state.pays)
    for _ in range(12):
        busy = next((number for number, pod in enumerate(state.pods) if pod.at), None)
        if busy is None:
            break
        _, after, then = next(iter(_steps(state, state.pods[busy])))
        state = replace(after, pods=(then, state.pods[1]) if busy == 0 else (state.pods[0], then))
    for _ in range(3):
        pod = Pod("told", state.charge)
        while pod.at:
            _, state, pod = next(iter(_steps(state, pod)))
        if state.refund == "requested":
            pod = Pod("sends")
            while pod.at:
                _, state, pod = next(iter(_steps(state, pod)))
    return state


def in_the_end(state: State) -> None:
    """Assert what holds once nothing is left to be done."""
    end = finished(state)
    assert end.order.status is not OrderStatus.AWAITING_PAYMENT
    assert end.charge.status != "pending", "it can still be paid"
    kept = (TOTAL if end.pays == 0 else 0) - end.charge.refunded
    assert kept == (TOTAL if end.order.status is OrderStatus.PAID else 0), f"{end.order.status} and {kept} are kept"
    if end.order.status in UNSERVED_END:
        assert (end.payment.paid_cents or 0) == end.payment.refunded_cents
        assert end.payment.refund_reserved_cents == 0


@pytest.mark.parametrize("crashes", [0, 1, 2])
def test_in_every_order_of_events_every_real_is_served_or_given_back(crashes: int) -> None:
    first = replace(begin(), crashes=crashes)
    came_from: dict[State, tuple[State, str] | None] = {first: None}
    waiting = deque([first])
    while waiting:
        state = waiting.popleft()
        try:
            always(state)
            in_the_end(state)
            following = list(moves(state))
        except AssertionError as error:
            raise AssertionError(f"{error}, after: {', '.join(_way(came_from, state))}") from error
        for name, after in following:
            if after not in came_from:
                came_from[after] = (state, name)
                waiting.append(after)
    assert len(came_from) > 500
    print(len(came_from), "states")


def _way(came_from: dict[State, tuple[State, str] | None], state: State) -> list[str]:
    way = []
    while (before := came_from[state]) is not None:
        state, name = before
        way.append(name)
    return way[::-1]
