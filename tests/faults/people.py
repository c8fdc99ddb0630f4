"""Who does something in a run: guests, cooks, whoever gives money back, the provider's courier, and our own workers."""

import json
import random
from collections.abc import Callable, Mapping
from datetime import timedelta
from functools import partial
from typing import Any

from comanda.database.pool import COLLISIONS, OUTAGES
from comanda.kitchen.hand_over_forgotten import hand_over_forgotten
from comanda.staff.keys import Role
from comanda_sandbox.deliveries import Delivery
from comanda_sandbox.errors import RefusedError
from comanda_sandbox.payments import ImpossibleMoveError
from tests.faults.conductor import Crash
from tests.faults.kinds import WEBHOOKS
from tests.faults.pods import InProcessPod
from tests.faults.world import PUBLIC_URL, ConnectionLost, World

COOKED = {"paid", "preparing", "ready"}
FORWARD = {"paid": "preparing", "preparing": "ready", "ready": "picked_up"}
BACK = {"preparing": "paid", "ready": "preparing", "picked_up": "ready"}
AGAIN = {408, 409, 429, 502, 503, 504}
ASKS_AT_MOST = 60

PLANS = (
    "pays",
    "pays",
    "pays",
    "pays late",
    "never pays",
    "cancels",
    "cancels while paying",
    "rejected",
    "looked into",
)
"""What a guest means to do."""


async def persistently(
    world: World,
    dice: random.Random,
    method: str,
    path: str,
    body: object = None,
    *,
    refusals: tuple[str, ...] = (),
    role: Role | None = None,
    key: str | None = None,
) -> Any:
    """Ask, and ask again where no answer came or a passing fault was told, as a page does.

    Args:
        refusals: what may be said instead, by the beginning of "STATUS CODE".

    Returns:
        The answer's document, None if it was refused.

    Raises:
        AssertionError: it was said no in another way, or no answer came for very long.
    """
    text = b"" if body is None else json.dumps(body).encode()
    headers = {"idempotency-key": key} if key else {}
    last = "nobody answered"
    for _ in range(ASKS_AT_MOST):
        try:
            answer = await world.call(method, path, text, dice=dice, role=role, headers=headers)
        except ConnectionLost:
            last = "the connection was lost"
        else:
            if answer.status in {200, 201, 202}:
                return answer.body
            code = answer.body.get("code") if isinstance(answer.body, dict) else ""
            if answer.status not in AGAIN or (answer.status == 409 and code != "request_in_progress"):
                assert f"{answer.status} {code}".startswith(refusals or "-"), f"{method} {path}: {answer.status} {code}"
                return None
            last = f"{answer.status} {code}"
        await world.conductor.sleep(dice.uniform(0.5, 4))
    raise AssertionError(f"{method} {path} was never answered: {last}")


async def guest(world: World, number: int) -> None:
    """Order, and do what this guest means to."""
    name = f"guest{number}"
    dice = world.dice(name)
    await world.conductor.sleep(dice.uniform(0, 90))
    wanted = dice.sample(world.products, k=dice.randint(1, 2))
    body = {"items": [{"product_id": each["id"], "quantity": dice.randint(1, 3)} for each in wanted]}
    key = f"{name} {dice.getrandbits(64):016x}"
    if dice.random() < 0.3 and world.faults.granted():
        world.faults.struck["double click"] += 1
        world.conductor.start(f"{name} again", _place(world, world.dice(f"{name} again"), body, key))
    if dice.random() < 0.2 and world.faults.granted():
        world.conductor.start(f"{name} other", _other_body(world, world.dice(f"{name} other"), body, key))
    order = await _place(world, dice, body, key)
    plan = PLANS[dice.randrange(len(PLANS))]
    if order is not None:
        await _go_on(world, dice, name, plan, order)


async def _place(world: World, dice: random.Random, body: object, key: str) -> dict[str, Any] | None:
    # Somebody else's body may have come first under this key.
    refusals = ("409 idempotency_key_reused", "422 idempotency_key_reused")
    order: dict[str, Any] | None = await persistently(
        world, dice, "POST", "/v1/orders", body, key=key, refusals=refusals
    )
    if order is not None:
        made = world.made.setdefault(key, order["id"])
        assert made == order["id"], f"one key made {made} and {order['id']}"
    return order


async def _other_body(world: World, dice: random.Random, body: dict[str, Any], key: str) -> None:
    other = {"items": [{**body["items"][0], "quantity": 7}]}
    await world.conductor.sleep(dice.uniform(0, 30))
    if await _place(world, dice, other, key) is None:
        world.faults.struck["same key, other body"] += 1


async def _go_on(world: World, dice: random.Random, name: str, plan: str, order: dict[str, Any]) -> None:
    path = f"/v1/orders/{order['id']}"
    if plan == "cancels":
        await world.conductor.sleep(dice.uniform(0, 60))
        await _cancel(world, dice, path)
        return
    charge = await _charged(world, dice, path, order["id"])
    if charge is None or plan == "never pays":
        return
    if plan == "pays late":
        await world.conductor.sleep(dice.uniform(28 * 60, 45 * 60))
        world.faults.struck["paid while expiring"] += 1
        await _act(world, dice, charge, "pay", late=True)
        return
    await world.conductor.sleep(dice.uniform(1, 120))
    if plan == "rejected":
        await _act(world, dice, charge, "reject")
        return
    if plan == "looked into":
        await _act(world, dice, charge, "process")
        await world.conductor.sleep(dice.uniform(1, 60))
    if plan == "cancels while paying" and world.faults.granted():
        world.faults.struck["cancelled while paying"] += 1
        world.conductor.start(f"{name} cancels", _cancel(world, world.dice(f"{name} cancels"), path))
        await world.conductor.sleep(dice.uniform(0, 0.03))
    await _act(world, dice, charge, "pay")
    if dice.random() < 0.2:
        world.faults.struck["paid twice"] += 1
        await _act(world, dice, charge, "pay")


async def _cancel(world: World, dice: random.Random, path: str) -> None:
    # It may be paid by then, or have ended.
    await persistently(world, dice, "POST", f"{path}/cancel", refusals=("409",))


async def _charged(world: World, dice: random.Random, path: str, order: str) -> int | None:
    """Look at the order until it has a Pix that can be paid."""
    for _ in range(200):
        document = await persistently(world, dice, "GET", path)
        if document["status"] != "awaiting_payment":
            return None
        if document["payment"]["pix"]:
            payments = world.sandbox.payments(order)
            assert len(payments) == 1, f"{order} was charged for {len(payments)} times"
            return payments[0].id
        await world.conductor.sleep(dice.uniform(2, 20))
    return None


async def _act(world: World, dice: random.Random, charge: int, action: str, **options: Any) -> None:
    """Do something at the provider, whose notification may meet a fault."""
    await world.conductor.at(f"the provider's {action}")
    if world.faults.active and dice.random() < 0.5 and world.faults.granted():
        fault = dice.choice(list(WEBHOOKS))
        armed = world.sandbox.arm(fault, match={"payment_id": charge}, **WEBHOOKS[fault])
        world.faults.armed.append((fault, armed))
    try:
        world.sandbox.act(charge, action, **options)
    except (RefusedError, ImpossibleMoveError):
        # It has ended meanwhile, or is paid.
        return


async def cook(world: World, number: int) -> None:
    """Look at the kitchen's orders and move them, now and then back, until the diner closes."""
    dice = world.dice(f"cook{number}")
    while not world.over:
        await world.conductor.sleep(dice.uniform(5, 60))
        orders = (await persistently(world, dice, "GET", "/v1/kitchen", role=Role.STAFF))["orders"]
        for order in orders:
            paid = [each for each in world.sandbox.payments(order["id"]) if each.approved_at is not None]
            assert paid, f"the kitchen is shown {order['id']} and nobody paid for it"
        if not orders:
            # An empty kitchen is looked at more rarely: most of a run would be cooks who look in vain.
            await world.conductor.sleep(dice.uniform(60, 240))
            continue
        # Both look at the oldest first.
        order = orders[0] if dice.random() < 0.7 else orders[dice.randrange(len(orders))]
        status = order["status"]
        to = FORWARD[status]
        if status in BACK and dice.random() < 0.15:
            to = BACK[status]
        path = f"/v1/orders/{order['id']}"
        # The other one may have been first, or its money went back.
        world.faults.struck["two cooks at one order"] += order["id"] in world.moving
        world.moving.append(order["id"])
        moved = await persistently(world, dice, "PATCH", path, {"status": to}, role=Role.STAFF, refusals=("409",))
        world.moving.remove(order["id"])
        world.faults.struck["stepped back"] += moved is not None and to == BACK.get(status)


async def manager(world: World, number: int) -> None:
    """Give money back for some orders, clumsily."""
    dice = world.dice(f"manager{number}")
    while not world.over:
        await world.conductor.sleep(dice.uniform(60, 240))
        ids = sorted(world.made.values())
        if not ids or dice.random() < 0.5:
            continue
        order = await persistently(world, dice, "GET", f"/v1/orders/{ids[dice.randrange(len(ids))]}")
        if order["status"] not in COOKED | {"picked_up"}:
            continue
        world.faults.struck["refund while cooking"] += order["status"] in COOKED
        one = {"items": [{"item_id": order["items"][0]["id"], "quantity": 1}]}
        whole = {"all": True}
        path = f"/v1/orders/{order['id']}/refunds"
        match dice.choice(("line", "whole", "twice", "both", "panel")):
            case "line":
                await _refund(world, dice, path, one)
            case "whole":
                await _refund(world, dice, path, whole)
            case "twice":
                world.faults.struck["refund twice"] += 1
                key = f"again {dice.getrandbits(64):016x}"
                world.conductor.start(f"refund{dice.getrandbits(16)}", _refund(world, world.dice(key), path, one, key))
                await _refund(world, dice, path, one, key)
            case "both":
                world.faults.struck["refund by line and whole at once"] += 1
                other = world.dice(f"both {dice.getrandbits(32)}")
                world.conductor.start(f"refund{dice.getrandbits(16)}", _refund(world, other, path, whole))
                await _refund(world, dice, path, one)
            case _:
                [payment] = world.sandbox.payments(order["id"])
                world.faults.struck["refund in the provider's panel"] += 1
                await _act(world, dice, payment.id, "refund")


async def _refund(world: World, dice: random.Random, path: str, body: object, key: str | None = None) -> None:
    key = key or f"refund {dice.getrandbits(64):016x}"
    await persistently(world, dice, "POST", path, body, role=Role.STAFF, key=key, refusals=("409", "422"))


async def courier(world: World) -> None:
    """Carry the provider's notifications, several at once, until the diner closes."""
    dice = world.dice("courier")
    carrying: dict[int, Delivery] = {}
    number = 0
    while not world.over:
        world.sandbox.sandbox.sweep()
        for delivery in world.sandbox.sandbox.courier.startable(world.clock.now()):
            busy = {each.payment_id for each in carrying.values() if each.true}
            if delivery.id in carrying or (delivery.true and delivery.payment_id in busy):
                continue
            carrying[delivery.id] = delivery
            done = partial(carrying.pop, delivery.id)
            # By a number of our own: the provider's begin at the machine's time.
            number += 1
            world.conductor.start(f"webhook{number}", _carry(world, delivery, world.dice(f"webhook{number}"), done))
        waiting = world.sandbox.sandbox.courier.startable(world.clock.now() + timedelta(seconds=30))
        await world.conductor.sleep(dice.uniform(1, 6) if waiting else dice.uniform(5, 30))


async def _carry(world: World, delivery: Delivery, dice: random.Random, done: Callable[[], object]) -> None:
    try:
        await world.conductor.at("a webhook arrives")
        await _deliver(world, delivery, dice)
    finally:
        done()


async def _deliver(world: World, delivery: Delivery, dice: random.Random) -> None:
    async def send(address: str, body: bytes, headers: Mapping[str, str]) -> str:
        path = address.removeprefix(PUBLIC_URL)
        try:
            return str((await world.call("POST", path, body, dice=dice, headers=dict(headers))).status)
        except ConnectionLost:
            return "ServerDisconnectedError"

    await world.sandbox.sandbox.courier.attempt(delivery, send)


async def deliver_all(world: World, dice: random.Random) -> int:
    """Deliver what is due, one after the other; answer how many that was."""
    world.sandbox.sandbox.sweep()
    due = world.sandbox.sandbox.courier.startable(world.clock.now())
    for delivery in due:
        await _deliver(world, delivery, dice)
    return len(due)


async def worker(world: World, pod: InProcessPod) -> None:
    """Turn a pod's loops, as the worker does, until it dies or the diner closes."""
    dice = world.dice(f"{pod.name} worker {world.clock.now()}")
    while not (world.over or pod.dead):
        # It looks once a second; what it would look for in vain is left out, most of the time.
        await world.conductor.sleep(dice.uniform(0.7, 1.0))
        while not (world.over or await world.something_is_due() or dice.random() < 0.05):
            await world.conductor.sleep(dice.uniform(5, 20))
        name = dice.choice(list(pod.loops))
        try:
            await pod.loops[name].once()
            if dice.random() < 0.02:
                after = timedelta(seconds=world.settings.forgotten_after)
                await hand_over_forgotten(pod.pool, world.clock.now, after)
        except Crash:
            return
        except (*OUTAGES, *COLLISIONS):
            # As the loop itself has it: the next round comes.
            continue


async def keeper(world: World) -> None:
    """Start again what has died, as kubelet does, until the diner closes."""
    dice = world.dice("keeper")
    while not world.over:
        await world.conductor.sleep(dice.uniform(3, 30))
        for pod in world.pods:
            if pod.dead:
                await pod.close()
                await pod.open(world.sandbox.url)
                world.conductor.start(f"{pod.name} worker", worker(world, pod), pod)
