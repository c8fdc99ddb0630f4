"""A story that hypothesis tells: what guests, cooks, managers, Mercado Pago, workers and time do, one after the other.

Each step is a whole request, a round of a worker, or something outside the diner; the next begins when it is over. What
happens between two statements is `make faults`' matter.
"""

import asyncio
from collections import Counter
from collections.abc import Coroutine
from contextlib import AsyncExitStack
from datetime import timedelta
from typing import Any, TypeAlias

from hypothesis import strategies as st
from hypothesis.stateful import Bundle, MultipleResults, RuleBasedStateMachine, initialize, multiple, precondition, rule

from comanda_sandbox.deliveries import Delivery
from comanda_sandbox.payments import Refund
from tests.faults import invariants
from tests.faults.kinds import AT_PROVIDER, CALLS, WEBHOOKS
from tests.faults.outside import Order, Outside
from tests.faults.people import BACK, COOKED, FORWARD
from tests.faults.run import settle
from tests.faults.world import PODS, Stage, seeded_entropy

Lines: TypeAlias = list[tuple[int, int]]

MOST_ORDERS = 4
PRODUCTS = 3
MOMENT = timedelta(milliseconds=20)
"""How long a step takes at the least."""

LINES = st.lists(st.tuples(st.integers(0, PRODUCTS - 1), st.integers(1, 3)), min_size=1, max_size=2, unique_by=min)
"""Which product, and how many of it."""

THEN = st.sampled_from(["leaves it", "waits a little", "pays", *["pays and is heard of"] * 2])
"""What a guest does who has ordered. Hypothesis leaves each rule out of half of all stories, and so would paying be."""

STATUSES = ("paid", "preparing", "ready", "picked_up", "cancelled")

PASSES = (1, 5, 29, 60, 300, 20 * 60, 31 * 60, 41 * 60, 6 * 3600, 25 * 3600)
"""Seconds: within and past a step back, our own end of a charge and the provider's, a signature's and a key's life."""

MORE_AT_PROVIDER: dict[str, tuple[tuple[str, ...], dict[str, Any]]] = {
    "time_out": (CALLS, {"seconds": 0.0}),
    "refused": (("create_payment",), {}),
    "forbidden_by_policy": (("create_payment", "get_payment", "create_refund"), {}),
}
"""Beside what befalls a run in process: nothing done and nothing answered, a charge refused, our token refused."""

GOES_WRONG = [
    (operation, fault)
    for fault, (operations, _) in (AT_PROVIDER | MORE_AT_PROVIDER).items()
    for operation in operations
]
AT_ONCE: tuple[tuple[str, ...], ...] = (
    *[()] * 4,
    ("server_error",),
    ("refused",),
    ("answer_lost",),
    ("answer_lost", "webhook_never"),
    ("server_error with effect", "webhook_never"),
)
"""What befalls a charge when it is made, beside all that may by rules of their own."""

MOVES = ("reject", "process", "cancel", "refund", "mediate", "resolve", "charge-back")
"""What the provider, the payer's bank or somebody at its panel may do to a charge, beside its being paid."""


class Story(RuleBasedStateMachine):
    """One story, in a world of its own.

    Args:
        runner: has the one loop that all stories take place in. stage: where. seed: of ids, and of which pod is asked.
        seen: counts what happened.
    """

    orders = Bundle("orders")

    def __init__(self, runner: asyncio.Runner, stage: Stage, seed: str, seen: Counter[str]) -> None:
        super().__init__()
        self._runner = runner
        self._holds = True
        self._opened = AsyncExitStack()
        self._opened.enter_context(seeded_entropy(seed))
        try:
            self._world = runner.run(self._opened.enter_async_context(stage.world(seed, rate=0)))
        except BaseException:
            runner.run(self._opened.aclose())
            raise
        self._outside = Outside(self._world, seen)
        self._products = [product["id"] for product in self._world.products[:PRODUCTS]]
        self._asked: list[tuple[Order, dict[str, Any], str]] = []

    def _run(self, work: Coroutine[Any, Any, Any]) -> Any:
        """Do one step of the story."""
        self._world.clock.go_on(MOMENT)
        self._holds = False
        answer = self._runner.run(work)
        self._holds = True
        return answer

    def _body(self, lines: Lines) -> dict[str, Any]:
        return {"items": [{"product_id": self._products[which], "quantity": quantity} for which, quantity in lines]}

    # Guests

    @initialize(target=orders, lines=LINES, faults=st.sampled_from(AT_ONCE), then=THEN)
    def somebody_is_there(self, lines: Lines, faults: tuple[str, ...], then: str) -> Order | MultipleResults[Order]:
        """Begin with an order: hypothesis leaves some rules out of each story, and without this one it were empty."""
        return self.a_guest_orders(lines, faults, then)

    @precondition(lambda self: len(self._outside.orders) < MOST_ORDERS)
    @rule(target=orders, lines=LINES, faults=st.sampled_from(AT_ONCE), then=THEN)
    def a_guest_orders(self, lines: Lines, faults: tuple[str, ...], then: str) -> Order | MultipleResults[Order]:
        """Place an order under a new key, maybe have the provider fail at it, and maybe pay at once."""
        for fault in faults:
            self._arm("create_payment", fault)
        key = f"story key number {len(self._outside.orders)} at {self._world.clock.now():%d %H:%M:%S.%f}"
        order = self._run(self._outside.place(key, self._body(lines)))
        if order is not None and then == "waits a little":
            self.time_passes(10, busy=True)
        elif order is not None and then != "leaves it":
            self.a_guest_pays(order, late=False, heard=then == "pays and is heard of")
        return self._placed(order)

    @rule(target=orders, order=orders, more=st.booleans())
    def a_guest_orders_again(self, order: Order, more: bool) -> Order | MultipleResults[Order]:
        """Repeat an order under its key, with the same body or with another."""
        body = order.body
        if more:
            items = body["items"]
            body = {"items": [{**items[0], "quantity": items[0]["quantity"] + 1}, *items[1:]]}
        return self._placed(self._run(self._outside.place(order.key, body)))

    def _placed(self, order: Order | None) -> Order | MultipleResults[Order]:
        return order if order is not None else multiple()

    @rule(order=orders)
    def a_guest_looks(self, order: Order) -> None:
        """Read an order."""
        self._run(self._outside.watch(order))

    @rule(order=orders)
    def a_guest_cancels(self, order: Order) -> None:
        """Cancel an order, whatever has become of it."""
        self._run(self._outside.cancel(order))

    @rule(order=orders, late=st.booleans(), heard=st.booleans())
    def a_guest_pays(self, order: Order, late: bool, heard: bool) -> None:
        """Pay, again and too late too, and maybe have all be heard of it at once."""
        self._run(self._outside.act(order, "pay", late=late))
        if heard:
            self._all_goes_on()

    # Staff

    @rule(order=orders, wanted=st.lists(st.sampled_from(["on", "on", "back", *STATUSES]), min_size=1, max_size=2))
    def cooks_move(self, order: Order, wanted: list[str]) -> None:
        """Have cooks who saw the same move an order on, back or anywhere: the second one's step is stale."""
        seen = order.status
        ways = {"on": FORWARD.get(seen, "ready"), "back": BACK.get(seen, "paid")}
        for each in wanted:
            self._run(self._outside.step(order, ways.get(each, each)))

    @rule(order=orders, steps=st.integers(1, 3))
    def an_order_is_cooked(self, order: Order, steps: int) -> None:
        """Move an order on, up to its being picked up, if it is paid."""
        for _ in range(steps if order.status in COOKED else 0):
            self._run(self._outside.step(order, FORWARD.get(order.status, order.status)))

    @rule(order=orders, seconds=st.sampled_from([1, 29, 31]))
    def a_step_is_taken_back(self, order: Order, seconds: int) -> None:
        """Move an order on, if it is cooked, and back after so long: half a minute is given for it."""
        seen = order.status
        if seen in COOKED:
            self._run(self._outside.step(order, FORWARD[seen]))
            self.time_passes(seconds, busy=False)
            self._run(self._outside.step(order, seen))

    @rule(order=orders, line=st.none() | st.tuples(st.integers(0, 1), st.integers(1, 3)))
    def money_is_given_back(self, order: Order, line: tuple[int, int] | None) -> None:
        """Give back so many of a line, more than there were too, or all that is left."""
        body: dict[str, Any] = {"all": True}
        if line is not None:
            items = order.document["items"]
            body = {"items": [{"item_id": items[line[0] % len(items)]["id"], "quantity": line[1]}]}
        key = f"story refund number {len(self._asked)}"
        self._asked.append((order, body, key))
        self._run(self._outside.give_back(order, body, key))

    @precondition(lambda self: self._asked)
    @rule(other=st.booleans())
    def the_last_refund_is_asked_for_again(self, other: bool) -> None:
        """Repeat a refund under its key, with the same body or with another."""
        order, body, key = self._asked[-1]
        reason = {"reason": "outra"} if other else {}
        self._run(self._outside.give_back(order, body | reason, key))

    @rule(which=st.integers(0, PRODUCTS - 1))
    def a_product_sells_out_or_is_back(self, which: int) -> None:
        """Take a product off the menu, or put it there again."""
        product = self._products[which]
        self._run(self._outside.sell_out(product, is_back=product in self._outside.sold_out))

    # Mercado Pago

    @rule(order=orders, action=st.sampled_from(MOVES))
    def a_charge_is_moved(self, order: Order, action: str) -> None:
        """Move a charge as nobody here has asked for."""
        self._run(self._outside.act(order, action))

    @precondition(lambda self: self._undecided())
    @rule(approved=st.booleans())
    def a_refund_is_decided(self, approved: bool) -> None:
        """Decide the oldest refund that waits for it."""
        self._world.sandbox.decide_refund(self._undecided()[0].id, approved=approved)
        self._run(self._outside.look())

    @rule(at=st.sampled_from(GOES_WRONG))
    def the_next_call_goes_wrong(self, at: tuple[str, str]) -> None:
        """Have the provider answer the next call of a kind wrongly, or not at all."""
        self._arm(*at)

    @rule(fault=st.sampled_from(list(WEBHOOKS)))
    def the_next_webhook_goes_wrong(self, fault: str) -> None:
        """Have something befall the notification of the next change."""
        self._world.sandbox.arm(fault, **WEBHOOKS[fault])

    @precondition(lambda self: self._under_way())
    @rule(which=st.integers(0, 7), lost=st.booleans())
    def a_webhook_comes(self, which: int, lost: bool) -> None:
        """Bring one of those under way, in any order, or lose it: it is tried again by the provider's schedule."""
        waiting = self._under_way()
        self._run(self._outside.deliver(waiting[which % len(waiting)], lost=lost))

    @precondition(lambda self: self._arrived())
    @rule(which=st.integers(0, 7), signature=st.sampled_from(["true", "wrong_secret", "garbled", "missing"]))
    def a_webhook_comes_again(self, which: int, signature: str) -> None:
        """Bring one that has arrived a second time, or forge one like it."""
        arrived = self._arrived()
        self._run(self._outside.bring_again(arrived[which % len(arrived)], signature=signature))

    def _arm(self, operation: str, fault: str) -> None:
        if fault in WEBHOOKS:
            self._world.sandbox.arm(fault, **WEBHOOKS[fault])
        elif fault in MORE_AT_PROVIDER:
            self._world.sandbox.arm(fault, match={"operation": operation}, **MORE_AT_PROVIDER[fault][1])
        else:
            self._world.pods[0].strike(operation, fault)

    def _undecided(self) -> list[Refund]:
        return [refund for refund in self._world.sandbox.refunds() if refund.status == "in_process"]

    def _under_way(self) -> list[Delivery]:
        return [each for each in self._world.sandbox.deliveries() if each.state == "pending" and each.due_at]

    def _arrived(self) -> list[Delivery]:
        deliveries = self._world.sandbox.deliveries()
        return [each for each in deliveries if each.true and each.state == "delivered" and not each.seconds_ts]

    # Our own workers, and time

    @rule(pod=st.integers(0, PODS - 1), turn=st.sampled_from(["webhooks", "payments", "refunds", "house"]))
    def a_worker_goes_round(self, pod: int, turn: str) -> None:
        """Turn one loop of one pod once, or have it hand over what was forgotten."""
        at = self._world.pods[pod]
        self._run(self._outside.keep_house(at) if turn == "house" else self._outside.work(at, turn))

    @rule(seconds=st.sampled_from(PASSES), busy=st.booleans())
    def time_passes(self, seconds: int, busy: bool) -> None:
        """Let everybody's time pass, and maybe have webhooks and workers catch up with it."""
        self._world.clock.advance(timedelta(seconds=seconds))
        self._run(self._outside.look())
        if busy:
            self._all_goes_on()

    def _all_goes_on(self) -> None:
        """Bring the webhooks that are due, and turn the loops, until nothing is due now."""
        pod, busy = self._world.pods[0], True
        while busy:
            self._world.sandbox.sandbox.sweep()
            due = self._world.sandbox.sandbox.courier.startable(self._world.clock.now())
            for delivery in due:
                self._run(self._outside.deliver(delivery))
            handled = sum([self._run(self._outside.work(pod, loop)) for loop in pod.loops])
            busy = bool(due) or handled > 0

    # The end

    def teardown(self) -> None:
        """Let the story come to its end, if it held so far, and hold all of it against the ledger."""
        try:
            if self._holds:
                self._run(self._end())
        finally:
            self._runner.run(self._clear_up())

    async def _end(self) -> None:
        await settle(self._world)
        broken = await invariants.broken(self._world)
        assert not broken, broken

    async def _clear_up(self) -> None:
        await self._world.admin.execute("UPDATE products SET available = true WHERE id = ANY($1)", self._products)
        for pod in self._world.pods:
            pod.menu.forget()
        await self._opened.aclose()
