"""What must hold after a run, by the provider's own ledger and the database's rows."""

from collections.abc import Awaitable, Callable, Mapping
from typing import cast

from comanda.orders.model import IN_KITCHEN, UNSERVED_END
from comanda.staff.keys import Role
from tests.accounting import EXPLAINED, assert_every_real_is_accounted_for
from tests.faults.world import World
from tests.running_diner import Diner

OPEN = {"pending", "in_process"}
"""What a charge is while a guest may still pay it (Mercado Pago, Payments API)."""

CHAINS = """
SELECT count(*) FROM (
    SELECT {thing}_id, status_from, lag(status_to) OVER (PARTITION BY {thing}_id ORDER BY version) AS before
    FROM {thing}_events
) AS chain WHERE status_from IS DISTINCT FROM before
"""
UNDECIDED = """
SELECT (SELECT count(*) FROM orders WHERE status = 'awaiting_payment'),
       (SELECT count(*) FROM refunds WHERE status IN ('requested', 'in_process')),
       (SELECT count(*) FROM webhook_events WHERE status <> 'handled')
"""
HELD_BY_ENDED = """
SELECT o.id, p.review FROM orders AS o JOIN payments AS p ON p.order_id = o.id WHERE o.status = ANY($1)
"""
HELD_LOCKS = """
SELECT count(*) FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid()
  AND (state LIKE 'idle in transaction%' OR wait_event_type = 'Lock')
"""


async def _every_real(world: World) -> None:
    await assert_every_real_is_accounted_for(cast(Diner, world))


async def _one_charge_each(world: World) -> None:
    for order in await world.admin.fetch("SELECT id, status FROM orders"):
        charges = world.sandbox.payments(str(order["id"]))
        assert len(charges) <= 1, f"{order['id']} was charged for {len(charges)} times"
        assert all(each.status not in OPEN for each in charges), f"{order['id']} can still be paid"


async def _kitchen_is_shown_what_is_paid(world: World) -> None:
    """Assert that the kitchen sees each order that is paid and not handed over, and none else."""
    dice = world.dice("the end")
    found = (await world.call("GET", "/v1/kitchen", dice=dice, role=Role.STAFF)).body["orders"]
    cooked = [status.value for status in IN_KITCHEN]
    wanted = await world.admin.fetch("SELECT id::text FROM orders WHERE status = ANY($1)", cooked)
    assert {order["id"] for order in found} == {row["id"] for row in wanted}, "the kitchen is shown something else"
    for order in found:
        charges = world.sandbox.payments(order["id"])
        assert any(each.approved_at is not None for each in charges), f"{order['id']} is cooked and nobody paid"


async def _nothing_is_held_without_a_word(world: World) -> None:
    """Assert of each order that ended unserved that its money went back, or that a person was told of just this."""
    ended = [status.value for status in UNSERVED_END]
    for row in await world.admin.fetch(HELD_BY_ENDED, ended):
        kept = sum(
            charge.amount_cents - charge.refunded_cents
            for charge in world.sandbox.payments(str(row["id"]))
            if charge.approved_at is not None
        )
        assert kept == 0 or row["review"] in EXPLAINED, f"{row['id']} ended, {kept} are held, review: {row['review']}"


async def _histories_replay(world: World) -> None:
    for thing in ("order", "payment"):
        assert await world.value(CHAINS.format(thing=thing)) == 0, f"the history of an {thing} has a gap"


async def _one_key_one_order(world: World) -> None:
    assert await world.value("SELECT count(*) FROM orders") == len(world.made), "an order that no key made"


async def _nothing_undecided(world: World) -> None:
    row = await world.admin.fetchrow(UNDECIDED)
    assert row is not None
    assert tuple(row) == (0, 0, 0), f"undecided (orders, refunds, webhooks): {tuple(row)}"


async def _no_stuck_lock(world: World) -> None:
    assert await world.value(HELD_LOCKS) == 0, "somebody holds a lock, or waits for one"


INVARIANTS: Mapping[str, Callable[[World], Awaitable[None]]] = {
    "every real is accounted for": _every_real,
    "one charge per order, and none once it ended": _one_charge_each,
    "the kitchen has what is paid, and nothing else": _kitchen_is_shown_what_is_paid,
    "what was approved is cooked or given back": _nothing_is_held_without_a_word,
    "history replays to the state": _histories_replay,
    "one key, one order": _one_key_one_order,
    "nothing stays undecided": _nothing_undecided,
    "no stuck lock": _no_stuck_lock,
}


async def broken(world: World) -> dict[str, str]:
    """Hold the books against the ledger; answer which of them does not hold, and what is wrong."""
    found = {}
    for name, holds in INVARIANTS.items():
        try:
            await holds(world)
        except AssertionError as error:
            found[name] = str(error)
    return found
