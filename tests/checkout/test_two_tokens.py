"""While a new access token is rolled out, pods with the old and the new one work on the same orders."""

import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from comanda.staff.keys import Role
from tests.running_diner import Diner, running_diner


@asynccontextmanager
async def two_pods(database_url: str, chance: random.Random) -> AsyncIterator[tuple[Diner, Diner]]:
    """A pod with the old token and one with the new, of one account, at one provider and one database."""
    async with running_diner(database_url, chance) as old:
        # The keys of a diner have names of their own, once per database.
        await old.pool.execute("UPDATE api_keys SET name = name || ' of the first'")
        at_the_same = {"MERCADO_PAGO_BASE_URL": old.sandbox.url}
        token = old.sandbox.renew_token()
        async with running_diner(
            database_url,
            chance,
            menu=False,
            MERCADO_PAGO_ACCESS_TOKEN=token,
            **at_the_same,  # type: ignore[arg-type]
        ) as new:
            yield old, new


async def test_what_one_charges_the_other_settles_and_gives_back(database_url: str, chance: random.Random) -> None:
    async with two_pods(database_url, chance) as (old, new):
        for charges, settles in ((old, new), (new, old)):
            if charges is new:
                new.products = old.products
            answer = await charges.call("POST", "/v1/orders", old.basket(1))
            order = answer.body
            [payment] = old.sandbox.payments(order["id"])
            old.sandbox.act(payment.id, "pay")
            await settles.later(seconds=30)
            await old.sandbox.settled()
            await settles.work()
            assert (await settles.order(order["id"]))["status"] == "paid"
            answer = await settles.call("POST", f"/v1/orders/{order['id']}/refunds", {"all": True}, role=Role.STAFF)
            assert answer.status == 201, answer
            await settles.work()
            assert (await charges.order(order["id"]))["payment"]["status"] == "refunded"
            assert [each.status for each in old.sandbox.refunds(payment.id)] == ["approved"]
            assert len(old.sandbox.payments(order["id"])) == 1


async def test_what_a_pod_with_an_ended_token_cannot_do_another_does(database_url: str, chance: random.Random) -> None:
    async with two_pods(database_url, chance) as (old, new):
        old.sandbox.end_old_tokens()
        answer = await old.call("POST", "/v1/orders", old.basket(1))
        assert answer.status == 201
        assert answer.body["payment"]["status"] == "requested", "the order is kept"
        assert old.sandbox.payments(answer.body["id"]) == []
        await new.later(minutes=1)
        await new.work()
        order = await old.order(answer.body["id"])
        assert order["payment"]["status"] == "pending"
        assert len(old.sandbox.payments(order["id"])) == 1
