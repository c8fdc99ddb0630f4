"""The diner as it is seen from outside: each answer is held against those before it and the provider's ledger."""

import json
import re
from collections import Counter
from collections.abc import Mapping, Set
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from comanda.kitchen.hand_over_forgotten import hand_over_forgotten
from comanda.staff.keys import Role
from comanda.worker import HANDLED
from comanda_sandbox.deliveries import Delivery
from comanda_sandbox.errors import RefusedError
from comanda_sandbox.payments import ImpossibleMoveError
from comanda_sandbox.webhooks import request_of
from tests.faults.people import BACK, COOKED, FORWARD
from tests.faults.pods import InProcessPod
from tests.faults.world import PUBLIC_URL, World
from tests.running_diner import Answer

Ways = Set[tuple[str, str]]
"""From which status to which: the first picture of docs/payments.md, by who may go there."""

GUESTS: Ways = {("awaiting_payment", "cancelled")}
COOKS: Ways = set(FORWARD.items()) | set(BACK.items())
GIVEN_BACK: Ways = {(status, "cancelled") for status in COOKED}
SETTLED: Ways = GIVEN_BACK | {("awaiting_payment", status) for status in ("paid", "cancelled", "expired")}
FORGOTTEN: Ways = {("ready", "picked_up")}
NOBODY: Ways = frozenset()

MONEY_CAME = {"approved", "partially_refunded", "refunded", "in_mediation", "charged_back"}
STAYS = ("id", "total_cents", "items", "notes", "name", "created_at")
STAYS_ONCE_KNOWN = ("pickup_number", "paid_at")
UNDO_WINDOW = timedelta(seconds=30)
KEY_IS_KNOWN = timedelta(hours=24)
TOLERANCE = timedelta(hours=1)
"""How old a webhook may be, by its signature."""


@dataclass(eq=False)
class Order:
    """An order as it was last seen.

    Args:
        undo_until: when the kitchen's last step can no longer be taken back, None if it cannot at all.
    """

    key: str
    body: dict[str, Any]
    document: dict[str, Any]
    undo_until: datetime | None = None

    def __repr__(self) -> str:
        return f"<order under {self.key!r}>"

    @property
    def id(self) -> str:
        """Its id."""
        return str(self.document["id"])

    @property
    def path(self) -> str:
        """Where it is."""
        return f"/v1/orders/{self.id}"

    @property
    def status(self) -> str:
        """Where it stood."""
        return str(self.document["status"])


@dataclass(frozen=True)
class Used:
    """What an idempotency key was used for, and when."""

    body: dict[str, Any]
    made: str
    at: datetime


def said(answer: Answer) -> str:
    """Answer a reply in a word: its status, and its code if it is a refusal."""
    return f"{answer.status} {answer.code}" if answer.status >= 400 else str(answer.status)


class Outside:
    """Everybody who speaks to the diner, and what they were told so far.

    Args:
        seen: counts what happened, over many worlds.
    """

    def __init__(self, world: World, seen: Counter[str]) -> None:
        self.world = world
        self.seen = seen
        self.orders: dict[str, Order] = {}
        self.sold_out: set[str] = set()
        self._keys: dict[str, Used] = {}
        self._dice = world.dice("outside")

    @property
    def now(self) -> datetime:
        """Everybody's time."""
        return self.world.clock.now()

    async def say(
        self, method: str, path: str, body: object = None, *, role: Role | None = None, key: str | None = None
    ) -> Answer:
        """Send a request with a JSON body and answer what came."""
        content = b"" if body is None else json.dumps(body).encode()
        return await self._send(method, path, content, {"idempotency-key": key} if key else {}, role)

    async def _send(
        self, method: str, path: str, content: bytes, headers: Mapping[str, str], role: Role | None = None
    ) -> Answer:
        answer = await self.world.call(method, path, content, dice=self._dice, role=role, headers=dict(headers))
        assert answer.status < 500, f"a fault of ours: {method} {path}: {answer.status} {answer.body}"
        if answer.status >= 400:
            assert re.fullmatch("[a-z][a-z_]+", answer.code), answer
            assert answer.body["status"] == answer.status, answer
            assert {"type", "title", "detail"} <= answer.body.keys(), answer
        self.seen[f"{method} {said(answer)}"] += 1
        return answer

    async def look(self, ways: Ways = NOBODY, order: Order | None = None) -> None:
        """See all orders, and hold them against how they were.

        Args:
            ways: one step on which of them there may be. order: the only one that may have gone it; None: any.
        """
        page = (await self.say("GET", "/v1/orders?limit=200", role=Role.STAFF)).body["orders"]
        documents = {document["id"]: document for document in page}
        assert documents.keys() == self.orders.keys(), f"{len(documents)} orders, {len(self.orders)} were placed"
        for each in self.orders.values():
            self._goes_on(each, documents[each.id], ways if order in {None, each} else NOBODY)
        kitchen = (await self.say("GET", "/v1/kitchen", role=Role.STAFF)).body["orders"]
        cooked = {each.id: each.document for each in self.orders.values() if each.status in COOKED}
        assert {document["id"]: document for document in kitchen} == cooked, "the kitchen is shown something else"
        numbers = [document["pickup_number"] for document in kitchen]
        assert len(set(numbers)) == len(numbers), f"a pickup number twice: {numbers}"

    def _goes_on(self, order: Order, document: dict[str, Any], ways: Ways) -> None:
        before, after = order.status, str(document["status"])
        assert before == after or (before, after) in ways, f"{order} went from {before} to {after}"
        self._hold_against_the_ledger(order, document)
        for name in STAYS:
            assert document[name] == order.document[name], f"{name} of {order} has changed"
        for name in STAYS_ONCE_KNOWN:
            assert order.document[name] in {None, document[name]}, f"{name} of {order} has changed"
        was, is_now = order.document["payment"]["status"], document["payment"]["status"]
        assert was not in MONEY_CAME or is_now in MONEY_CAME, f"the payment of {order} went from {was} to {is_now}"
        assert document["refunded_cents"] >= order.document["refunded_cents"], f"{order} has less given back"
        if before != after:
            self.seen[after] += 1
            if after == "expired":
                assert self.now >= datetime.fromisoformat(document["payment"]["expires_at"]), f"{order} had time left"
            order.undo_until = self.now + UNDO_WINDOW if FORWARD.get(before) == after else None
        order.document = document

    def _hold_against_the_ledger(self, order: Order, document: dict[str, Any]) -> None:
        charges = self.world.sandbox.payments(order.id)
        assert len(charges) <= 1, f"{order} was charged for {len(charges)} times"
        paid = [charge for charge in charges if charge.approved_at is not None]
        status, total = document["status"], document["total_cents"]
        assert all(charge.amount_cents == total for charge in charges)
        if status in COOKED | {"picked_up"}:
            assert paid, f"{order} is seen as {status} and nobody paid for it"
            assert document["paid_at"], document
            assert document["pickup_number"], document
        if status in COOKED:
            assert document["refunded_cents"] < total, f"{order} is cooked and all was given back"
        assert document["refunded_cents"] <= sum(charge.refunded_cents for charge in paid), f"{order}: not given back"
        if document["payment"]["pix"]:
            assert status == "awaiting_payment", f"{order} is {status} and can be paid"

    # Guests

    async def place(self, key: str, body: dict[str, Any]) -> Order | None:
        """Place an order, or the same again; answer it if it is new."""
        used = self._used(key)
        answer = await self.say("POST", "/v1/orders", body, key=key)
        if used is not None:
            await self.look()
            if used.body == body:
                assert said(answer) == "201", f"the same again: {said(answer)}"
                known = self.orders[used.made]
                assert answer.body == known.document, f"{known} was placed again, and another answer came"
            else:
                assert said(answer) == "409 idempotency_key_reused", said(answer)
            return None
        if self.sold_out & {item["product_id"] for item in body["items"]}:
            assert said(answer) == "422 product_unavailable", said(answer)
            await self.look()
            return None
        assert said(answer) == "201", said(answer)
        order = Order(key, body, answer.body)
        assert order.id not in self.orders, f"another key was answered with {order}"
        refused = order.document["payment"]["status"] == "rejected"
        assert order.status == ("cancelled" if refused else "awaiting_payment"), order.document
        self.orders[order.id] = order
        self._keys[key] = Used(body, order.id, self.now)
        # The whole check counts keys, of which a forgotten one may have made two orders.
        self.world.made[f"{key} {order.id}"] = order.id
        self.seen[order.status] += 1
        await self.look()
        return order

    def _used(self, key: str) -> Used | None:
        used = self._keys.get(key)
        return used if used is not None and self.now - used.at <= KEY_IS_KNOWN else None

    async def watch(self, order: Order) -> None:
        """Look at one order, as its guest does."""
        answer = await self.say("GET", order.path)
        assert said(answer) == "200", said(answer)
        assert answer.body == order.document, f"{order} is another for its guest than for staff"

    async def cancel(self, order: Order) -> None:
        """Cancel, or try to."""
        possible = order.status in {"awaiting_payment", "cancelled"}
        answer = await self.say("POST", f"{order.path}/cancel")
        assert said(answer) == ("200" if possible else "409 not_cancellable"), said(answer)
        await self.look(GUESTS, order)
        if possible:
            assert order.status == "cancelled", order.document
            assert answer.body == order.document

    # Staff

    async def step(self, order: Order, wanted: str) -> None:
        """Move an order to a status, as a cook does who may have seen another than it has."""
        before, fresh = order.status, order.undo_until is not None and self.now <= order.undo_until
        answer = await self.say("PATCH", order.path, {"status": wanted}, role=Role.STAFF)
        await self.look(COOKS, order)
        if wanted == before or FORWARD.get(before) == wanted:
            assert said(answer) == "200", f"from {before} to {wanted}: {said(answer)}"
        elif BACK.get(before) != wanted:
            assert said(answer) == "409 illegal_move", f"from {before} to {wanted}: {said(answer)}"
        elif fresh and before != "picked_up":
            assert said(answer) == "200", f"from {before} back to {wanted}: {said(answer)}"
        elif fresh:
            assert said(answer) in {"200", "409 refunded", "409 too_late_to_step_back"}, said(answer)
        else:
            refusals = {"409 too_late_to_step_back", "409 refunded"} if before == "picked_up" else set()
            assert said(answer) in {"409 too_late_to_step_back"} | refusals, said(answer)
        assert order.status == (wanted if answer.status == 200 else before), order.document

    async def give_back(self, order: Order, body: dict[str, Any], key: str) -> None:
        """Give money back, or the same again."""
        path = f"{order.path}/refunds"
        before = (await self.say("GET", path, role=Role.STAFF)).body["refunds"]
        used = self._used(f"{order.id} {key}")
        answer = await self.say("POST", path, body, role=Role.STAFF, key=key)
        after = (await self.say("GET", path, role=Role.STAFF)).body["refunds"]
        await self.look(GIVEN_BACK, order)
        if used is not None:
            assert after == before, f"a refund of {order} was made twice"
            assert said(answer) == ("201" if used.body == body else "409 idempotency_key_reused"), said(answer)
            assert answer.status != 201 or answer.body["id"] == used.made, answer
            return
        promised = [refund for refund in before if refund["status"] != "rejected"]
        if answer.status != 201:
            assert after == before, f"{said(answer)}, and yet a refund of {order} was made"
            assert said(answer) in {"409 not_refundable", "409 already_refunded", "409 more_than_paid"}, said(answer)
            possible = order.document["payment"]["status"] == "approved" and not promised and _is_within(body, order)
            assert not possible, f"nothing of {order} was given back, and it cannot be: {said(answer)}"
            return
        self._keys[f"{order.id} {key}"] = Used(body, answer.body["id"], self.now)
        assert [refund for refund in after if refund not in before] == [answer.body], f"{order} has other refunds"
        for line in order.document["items"]:
            given = [
                item["quantity"]
                for refund in (*promised, answer.body)
                for item in refund["items"]
                if item["item_id"] == line["id"]
            ]
            assert sum(given) <= line["quantity"], f"more of a line of {order} is given back than was ordered"
        sums = [refund["amount_cents"] for refund in (*promised, answer.body)]
        assert sum(sums) <= order.document["total_cents"], f"{order}: {sums} are given back"
        assert order.status not in COOKED or sum(sums) < order.document["total_cents"], f"{order} is still cooked"

    async def sell_out(self, product: str, *, is_back: bool) -> None:
        """Take a product off the menu for now, or put it back; every pod hears of it."""
        answer = await self.say("PATCH", f"/v1/products/{product}", {"available": is_back}, role=Role.MANAGER)
        assert said(answer) == "200", said(answer)
        (self.sold_out.discard if is_back else self.sold_out.add)(product)
        for pod in self.world.pods:
            # As PostgreSQL's notification does, which nobody listens for here.
            pod.menu.forget()
        menu = (await self.say("GET", "/v1/menu")).body["categories"]
        shown = {each["id"] for category in menu for each in category["products"]}
        assert not self.sold_out & shown, "the menu shows what is sold out"

    # Mercado Pago, which brings webhooks and moves money

    async def act(self, order: Order, action: str, **options: Any) -> None:
        """Do something with an order's charge at the provider, as far as its state allows."""
        for charge in self.world.sandbox.payments(order.id):
            try:
                self.world.sandbox.act(charge.id, action, **options)
            except (RefusedError, ImpossibleMoveError):
                continue
            self.seen[f"provider: {action}"] += 1
        await self.look()

    async def deliver(self, delivery: Delivery, *, lost: bool = False) -> None:
        """Bring a webhook, or lose it on its way."""

        async def send(address: str, body: bytes, headers: Mapping[str, str]) -> str:
            return "lost" if lost else str((await self._bring(address, body, headers)).status)

        await self.world.sandbox.sandbox.courier.attempt(delivery, send)
        [after] = [each for each in self.world.sandbox.deliveries(delivery.payment_id) if each.id == delivery.id]
        if delivery.signature != "true":
            assert after.last_result in {"401", "lost"}, f"{delivery.flavour}: {after.last_result}"
        elif delivery.true:
            assert after.last_result in {"200", "lost"}, after.last_result
        self.seen[f"webhook: {delivery.flavour}"] += 1
        await self.look()

    async def bring_again(self, delivery: Delivery, *, signature: str) -> None:
        """Bring the very same webhook again, or one like it that somebody else has signed."""
        secret = self.world.sandbox.webhook_secret
        again = request_of(replace(delivery, signature=signature), secret=secret, live_mode=False)
        answer = await self._bring(*again)
        sent = datetime.fromtimestamp(int(delivery.sent_ts or 0) / 1000, UTC)
        wanted = "200" if signature == "true" and self.now - sent <= TOLERANCE else "401 invalid_signature"
        assert said(answer) == wanted, f"{signature}, sent at {sent}: {said(answer)}"
        await self.look()

    async def _bring(self, address: str, body: bytes, headers: Mapping[str, str]) -> Answer:
        return await self._send("POST", address.removeprefix(PUBLIC_URL), body, headers)

    # Our own workers

    async def work(self, pod: InProcessPod, loop: str) -> int:
        """Turn one of a worker's loops once; answer how many items that was."""
        before = _failed(loop)
        handled = await pod.loops[loop].once()
        assert _failed(loop) == before, f"{loop}: an item failed"
        if handled:
            await self.look(SETTLED)
            self.seen[f"worker: {loop}"] += handled
        return handled

    async def keep_house(self, pod: InProcessPod) -> None:
        """Hand over what was forgotten."""
        await hand_over_forgotten(
            pod.pool, self.world.clock.now, timedelta(seconds=self.world.settings.forgotten_after)
        )
        await self.look(FORGOTTEN)


def _is_within(body: dict[str, Any], order: Order) -> bool:
    """Whether a refund is of no more than was ordered."""
    ordered = {line["id"]: line["quantity"] for line in order.document["items"]}
    return all(item["quantity"] <= ordered[item["item_id"]] for item in body.get("items", []))


def _failed(loop: str) -> float:
    """Answer how many items of a loop ended in what nobody has thought of, in this process."""
    labels = {"loop": loop, "outcome": "failed"}
    [metric] = HANDLED.collect()
    return sum(each.value for each in metric.samples if each.labels == labels and each.name.endswith("_total"))
