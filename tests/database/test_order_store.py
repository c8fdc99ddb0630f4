"""What the order store does when two want the same thing, and what old rows are forgotten."""

from datetime import timedelta
from uuid import UUID

import asyncpg
import pytest

import comanda.orders.store
from comanda.database.pool import Collision, Connection
from comanda.orders.model import Order, OrderStatus
from comanda.payments import webhooks
from tests.database.rows import NOW, add, add_order, connected


async def locked(connection: Connection, order_id: UUID) -> Order:
    """Lock an order that exists."""
    order = await comanda.orders.store.lock(connection, order_id)
    assert order is not None
    return order


async def pay(connection: Connection, order: Order, number: int) -> None:
    """Move an order to `paid` with a number."""
    await comanda.orders.store.change_status(
        connection, order, OrderStatus.PAID, now=NOW, actor="test", pickup_number=number
    )


async def test_a_number_that_was_taken_in_the_same_moment_is_tried_again(database_url: str) -> None:
    async with connected(database_url) as connection:
        await add_order(connection, "paid", pickup_number=5)
        order = await locked(connection, await add_order(connection))
        with pytest.raises(Collision):
            await pay(connection, order, 5)
        await pay(connection, order, 6)
        paid = await locked(connection, order.id)
        assert (paid.status, paid.pickup_number, paid.paid_at, paid.version) == (OrderStatus.PAID, 6, NOW, 2)


async def test_an_order_that_moved_under_its_lock_is_tried_again(database_url: str) -> None:
    async with connected(database_url) as connection:
        order = await locked(connection, await add_order(connection))
        await pay(connection, order, 5)
        with pytest.raises(Collision):
            await pay(connection, order, 6)


async def test_any_other_thing_that_is_there_already_is_an_error(database_url: str) -> None:
    async with connected(database_url) as connection:
        order = await locked(connection, await add_order(connection))
        await add(connection, "order_events", order_id=order.id, version=2, status_to="x", actor="x", at=NOW)
        with pytest.raises(asyncpg.UniqueViolationError):
            await pay(connection, order, 5)


async def test_an_unknown_order_is_none(database_url: str) -> None:
    async with connected(database_url) as connection:
        assert await comanda.orders.store.lock(connection, UUID(int=1)) is None


async def test_webhooks_handled_long_ago_are_forgotten_and_no_others(database_url: str) -> None:
    async with connected(database_url) as connection:
        for number, (status, at) in enumerate(
            [("handled", NOW), ("handled", NOW + timedelta(days=2)), ("waiting", None), ("claimed", None)]
        ):
            done = {"handled_at": at, "outcome": "approved"} if at else {}
            event = {"provider_payment_id": number, "status": status, "body": "{}", "received_at": NOW}
            await add(connection, "webhook_events", **event, **done)
        before = NOW + timedelta(days=1)
        assert await webhooks.forget_handled(connection, before=before) == 1
        assert await webhooks.forget_handled(connection, before=before) == 0
        assert await connection.fetchval("SELECT count(*) FROM webhook_events") == 3
