"""How many unpaid orders there may be, of one client and in all."""

import random
from typing import Any

from tests.running_diner import running_diner


async def test_too_many_unpaid_orders_are_refused_until_one_is_paid_or_cancelled(
    database_url: str, chance: random.Random
) -> None:
    limits: dict[str, Any] = {
        "RATE_LIMIT_EXEMPT": "10.0.0.0/8",
        "MAX_UNPAID_ORDERS_PER_CLIENT": 2,
        "MAX_UNPAID_ORDERS": 3,
    }
    async with running_diner(database_url, chance, **limits) as diner:
        orders = [await diner.place(), await diner.place()]
        refused = await diner.call("POST", "/v1/orders", diner.basket(1), headers={"Idempotency-Key": "k" * 20})
        assert (refused.status, refused.code) == (429, "too_many_unpaid_orders")
        assert int(refused.headers["retry-after"]) > 0
        await diner.call("POST", f"/v1/orders/{orders[0]['id']}/cancel")
        # The key was not used up by the refusal.
        assert (await diner.place(key="k" * 20))["status"] == "awaiting_payment"
        assert await diner.value("SELECT count(*) FROM orders WHERE client_hash IS NULL") == 1
        # Two others fill the whole diner; the bound for all counts them too.
        await diner.pool.execute("UPDATE orders SET client_hash = NULL")
        await diner.place()
        refused = await diner.call("POST", "/v1/orders", diner.basket(1))
        assert (refused.status, refused.code) == (429, "too_many_unpaid_orders")
