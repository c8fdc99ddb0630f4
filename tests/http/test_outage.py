"""The database is away: calm refusals, a menu all the same, and back without help."""

import asyncio
import random
import time
from collections.abc import AsyncIterator

import pytest

from comanda.staff.keys import Role
from tests.http.cable import Cable, cable_to
from tests.http.listening import listening, until
from tests.running_diner import Diner, running_diner


@pytest.fixture
async def cable(database_url: str) -> AsyncIterator[Cable]:
    async with cable_to(database_url) as laid:
        yield laid


@pytest.fixture
async def wired(cable: Cable, chance: random.Random) -> AsyncIterator[Diner]:
    """A diner whose database can be taken away."""
    async with running_diner(
        cable.url, chance, DATABASE_STATEMENT_TIMEOUT_MS=500, DATABASE_CONNECT_TIMEOUT_MS=500
    ) as diner:
        yield diner


async def back(diner: Diner) -> None:
    """Wait until the database answers again."""

    async def answers() -> bool:
        return (await diner.call("GET", "/v1/board")).status == 200

    await until(answers, within=10)


async def test_refusals_are_calm_and_end_by_themselves(wired: Diner, cable: Cable) -> None:
    order = await wired.place(1)
    await cable.cut()
    for method, path, body, role in (
        ("GET", "/v1/board", None, None),
        ("GET", f"/v1/orders/{order['id']}", None, None),
        ("POST", "/v1/orders", wired.basket(1), None),
        ("POST", f"/v1/orders/{order['id']}/cancel", None, None),
        ("GET", f"/v1/orders/{order['id']}/events", None, None),
        ("GET", "/v1/board/events", None, None),
        ("GET", "/v1/kitchen", None, Role.STAFF),
        ("PATCH", f"/v1/orders/{order['id']}", {"status": "ready"}, Role.STAFF),
        ("POST", "/v1/categories", {"name": "Novo"}, Role.MANAGER),
    ):
        answer = await wired.call(method, path, body, role=role)
        assert (answer.status, answer.code) == (503, "database_unavailable"), (method, path)
        assert 1 <= int(answer.headers["retry-after"]) <= 30
    assert (await wired.call("GET", "/readyz")).status == 200
    assert (await wired.call("GET", "/v1/menu")).body["categories"]
    assert (await wired.call("GET", "/v1/kitchen")).status == 401
    await cable.mend()
    await back(wired)
    assert (await wired.order(order["id"]))["status"] == "awaiting_payment"
    await wired.place(1)


async def test_a_webhook_that_cannot_be_stored_comes_again(wired: Diner, cable: Cable) -> None:
    order = await wired.place(1)
    await cable.cut()
    await wired.pay(order)
    [delivery, *_] = wired.sandbox.deliveries(wired.charge(order))
    assert delivery.attempts >= 1
    await cable.mend()
    await back(wired)
    await wired.later(hours=1)
    await wired.work("webhooks")
    assert (await wired.order(order["id"]))["status"] == "paid"


async def test_a_database_that_says_nothing_more_holds_up_no_menu(wired: Diner, cable: Cable) -> None:
    cable.freeze()
    wired.menu.forget()
    began = time.monotonic()
    answers = await asyncio.gather(*(wired.call("GET", "/v1/menu") for _ in range(50)))
    assert {answer.status for answer in answers} == {200}
    assert time.monotonic() - began < 3
    await cable.mend()
    await back(wired)


async def test_streams_go_on_where_they_were(wired: Diner, cable: Cable) -> None:
    order = await wired.place_paid(1)
    async with (
        listening(wired, f"/v1/orders/{order['id']}/events") as guest,
        listening(wired, "/v1/kitchen/events", role=Role.STAFF) as kitchen,
    ):
        await guest.next()
        await kitchen.next()
        await cable.cut()
        assert (await wired.call("GET", "/v1/board")).status == 503
        await cable.mend()
        await back(wired)
        await wired.advance(order, "preparing")
        assert (await guest.until("preparing")).data["id"] == order["id"]
        while True:
            event = await kitchen.next()
            shown = event.data["orders"][0] if event.name == "snapshot" else event.data
            if shown["status"] == "preparing":
                break
