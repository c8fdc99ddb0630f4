"""What the tables refuse whatever the code tries: illegal moves, changed history, the same money twice."""

from datetime import timedelta
from typing import Any, TypeAlias
from uuid import UUID, uuid4

import asyncpg
import pytest

from comanda.database.pool import Connection
from comanda.orders.model import BACK, FORWARD, IN_KITCHEN, OrderStatus
from tests.database.rows import NOW, add, add_order, add_payment, connected

LEGAL = (
    set(FORWARD.items())
    | set(BACK.items())
    | {(status, OrderStatus.CANCELLED) for status in {*IN_KITCHEN, OrderStatus.AWAITING_PAYMENT}}
    | {(OrderStatus.AWAITING_PAYMENT, OrderStatus.PAID), (OrderStatus.AWAITING_PAYMENT, OrderStatus.EXPIRED)}
)
UNCOOKED = {OrderStatus.AWAITING_PAYMENT, OrderStatus.EXPIRED}
HISTORIES = ("order_events", "payment_events")
Cases: TypeAlias = list[tuple[str, dict[str, Any]]]


async def assert_refused(constraint: str, connection: Connection, statement: str, *arguments: object) -> None:
    """Say that a statement breaks this constraint and leaves nothing behind."""
    with pytest.raises(asyncpg.IntegrityConstraintViolationError) as refused:
        async with connection.transaction():
            await connection.execute(statement, *arguments)
    assert refused.value.constraint_name == constraint


async def assert_row_refused(constraint: str, connection: Connection, adding: Any) -> None:
    """Say that a row breaks this constraint."""
    with pytest.raises(asyncpg.IntegrityConstraintViolationError) as refused:
        async with connection.transaction():
            await adding
    assert refused.value.constraint_name == constraint


async def an_item(connection: Connection, order_id: UUID, **columns: Any) -> None:
    """Add a line of two pieces to an order."""
    category, product = uuid4(), uuid4()
    stamps = {"created_at": NOW, "updated_at": NOW}
    await add(connection, "categories", id=category, name=str(category), **stamps)
    await add(connection, "products", id=product, category_id=category, name="Café", price_cents=500, **stamps)
    known = {"order_id": order_id, "id": 1, "product_id": product, "name": "Café", "quantity": 2}
    await add(connection, "order_items", **{**known, "unit_price_cents": 500, **columns})


async def a_refund(connection: Connection, payment_id: UUID, **columns: Any) -> UUID:
    """Add a refund of a payment."""
    known: dict[str, Any] = {
        "id": uuid4(),
        "payment_id": payment_id,
        "status": "requested",
        "amount_cents": 100,
        "items": "[]",
        "actor": "test",
        "idempotency_key": str(uuid4()),
        "whole": False,
        "created_at": NOW,
        **columns,
    }
    await add(connection, "refunds", **known)
    refund_id: UUID = known["id"]
    return refund_id


# Orders -------------------------------------------------------------------------------------------------------


async def test_an_order_moves_only_as_the_model_says(database_url: str) -> None:
    async with connected(database_url) as connection:
        moves = [(before, after) for before in OrderStatus for after in OrderStatus if before is not after]
        for own_number, (before, after) in enumerate(moves, start=1):
            paid = before not in UNCOOKED
            order = await add_order(connection, before, pickup_number=own_number if paid else None)
            move = "UPDATE orders SET status = $2, version = 2, pickup_number = $3, paid_at = $4 WHERE id = $1"
            numbered = (own_number, NOW) if paid or after not in UNCOOKED else (None, None)
            if (before, after) in LEGAL:
                await connection.execute(move, order, after, *numbered)
            else:
                await assert_refused("legal_order_moves", connection, move, order, after, *numbered)


async def test_a_status_changes_with_its_version(database_url: str) -> None:
    async with connected(database_url) as connection:
        order = await add_order(connection)
        for version in (1, 3):
            change = "UPDATE orders SET status = 'expired', version = $2 WHERE id = $1"
            await assert_refused("version_with_status", connection, change, order, version)


IMPOSSIBLE_ORDERS: Cases = [
    ("orders_status_check", {"status": "eaten"}),
    ("orders_total_cents_check", {"total_cents": 0}),
    ("orders_name_check", {"name": "n" * 41}),
    ("orders_name_check", {"name": ""}),
    ("orders_notes_check", {"notes": "n" * 501}),
    ("orders_pickup_number_check", {"status": "paid", "pickup_number": 10_000}),
    ("cooked_only_if_paid", {"status": "paid"}),
    ("cooked_only_if_paid", {"status": "picked_up"}),
    ("number_comes_with_payment", {"pickup_number": 5, "paid_at": None}),
    ("number_comes_with_payment", {"paid_at": NOW}),
    ("client_forgotten_once_decided", {"status": "expired", "client_hash": b"x"}),
]


async def test_an_order_that_cannot_be_is_not_stored(database_url: str) -> None:
    async with connected(database_url) as connection:
        for constraint, columns in IMPOSSIBLE_ORDERS:
            await assert_row_refused(constraint, connection, add_order(connection, **columns))


async def test_two_open_orders_never_have_one_number(database_url: str) -> None:
    async with connected(database_url) as connection:
        await add_order(connection, "picked_up", pickup_number=5)
        await add_order(connection, "cancelled", pickup_number=5)
        await add_order(connection, "paid", pickup_number=5)
        for status in IN_KITCHEN:
            await assert_row_refused("pickup_number_once", connection, add_order(connection, status, pickup_number=5))
        # Nor by a step back.
        back = "UPDATE orders SET status = 'ready', version = 2 WHERE status = 'picked_up'"
        await assert_refused("pickup_number_once", connection, back)


async def test_a_line_is_given_back_at_most_once(database_url: str) -> None:
    async with connected(database_url) as connection:
        order = await add_order(connection)
        await an_item(connection, order)
        for refunded in (3, -1):
            change = "UPDATE order_items SET refunded_quantity = $1"
            await assert_refused("refunded_at_most_once", connection, change, refunded)
        cases: Cases = [
            ("order_items_quantity_check", {"quantity": 0}),
            ("order_items_unit_price_cents_check", {"unit_price_cents": 0}),
            ("order_items_id_check", {"id": 0}),
            ("order_items_pkey", {}),
            ("order_items_notes_check", {"id": 2, "notes": "n" * 201}),
        ]
        for constraint, columns in cases:
            await assert_row_refused(constraint, connection, an_item(connection, order, **columns))


# Payments -----------------------------------------------------------------------------------------------------


IMPOSSIBLE_PAYMENTS: Cases = [
    ("payments_status_check", {"status": "lost"}),
    ("payments_amount_cents_check", {"amount_cents": 0}),
    ("payments_paid_cents_check", {"paid_cents": 0}),
    ("payments_refunded_cents_check", {"refunded_cents": -1}),
    ("payments_refund_reserved_cents_check", {"refund_reserved_cents": -1, "paid_cents": 10}),
    ("refunded_at_most_paid", {"refunded_cents": 1}),
    ("refunded_at_most_paid", {"paid_cents": 10, "refunded_cents": 6, "refund_reserved_cents": 5}),
    ("approved_has_amount", {"status": "approved", "provider_payment_id": 1}),
    ("approved_has_amount", {"status": "approved", "paid_cents": 1000}),
    ("refunded_means_all", {"status": "refunded", "paid_cents": 10, "refunded_cents": 9, "provider_payment_id": 1}),
    ("expiry_after_creation", {"expires_at": NOW}),
    ("expiry_after_creation", {"provider_expires_at": NOW + timedelta(minutes=29)}),
    ("payments_idempotency_key_check", {"idempotency_key": "k" * 65}),
]


async def test_a_payment_that_cannot_be_is_not_stored(database_url: str) -> None:
    async with connected(database_url) as connection:
        order = await add_order(connection)
        for constraint, columns in IMPOSSIBLE_PAYMENTS:
            await assert_row_refused(constraint, connection, add_payment(connection, order, **columns))


async def test_an_order_has_one_payment_and_a_payment_one_charge(database_url: str) -> None:
    async with connected(database_url) as connection:
        one, two = await add_order(connection), await add_order(connection)
        await add_payment(connection, one, provider_payment_id=7, idempotency_key="k")
        cases: Cases = [
            ("payments_order_id_key", {"order_id": one}),
            ("payments_provider_payment_id_key", {"provider_payment_id": 7}),
            ("payments_idempotency_key_key", {"idempotency_key": "k"}),
            ("payments_order_id_fkey", {"order_id": uuid4()}),
        ]
        for constraint, columns in cases:
            row = add_payment(connection, **{"order_id": two, **columns})
            await assert_row_refused(constraint, connection, row)


async def test_what_was_asked_for_never_changes_and_its_charge_is_named_once(database_url: str) -> None:
    async with connected(database_url) as connection:
        await add_payment(connection, await add_order(connection), "requested")
        other = await add_order(connection)
        await connection.execute("UPDATE payments SET provider_payment_id = 7")
        for constraint, change in [
            ("provider_id_set_once", "provider_payment_id = 8"),
            ("provider_id_set_once", "provider_payment_id = NULL"),
            ("intent_never_changes", "amount_cents = 1"),
            ("intent_never_changes", "idempotency_key = 'other'"),
            ("intent_never_changes", f"order_id = '{other}'"),
            ("version_with_status", "status = 'pending'"),
            ("version_with_status", "status = 'pending', version = 3"),
        ]:
            await assert_refused(constraint, connection, f"UPDATE payments SET {change}")
        await connection.execute("UPDATE payments SET status = 'pending', version = 2")


async def test_no_more_is_promised_back_than_was_paid(database_url: str) -> None:
    async with connected(database_url) as connection:
        order = await add_order(connection, "picked_up", pickup_number=1)
        paid = {"paid_cents": 1000, "provider_payment_id": 7}
        await add_payment(connection, order, "approved", refunded_cents=600, **paid)
        promise = "UPDATE payments SET refund_reserved_cents = refund_reserved_cents + $1"
        await connection.execute(promise, 400)
        await assert_refused("refunded_at_most_paid", connection, promise, 1)


async def test_a_refund_is_the_providers_once_and_decided_when_it_is_final(database_url: str) -> None:
    async with connected(database_url) as connection:
        payment = await add_payment(connection, await add_order(connection))
        await a_refund(connection, payment, provider_refund_id=9, idempotency_key="k")
        cases: Cases = [
            ("refunds_provider_refund_id_key", {"provider_refund_id": 9}),
            ("refunds_idempotency_key_key", {"idempotency_key": "k"}),
            ("refunds_amount_cents_check", {"amount_cents": 0}),
            ("refunds_status_check", {"status": "maybe"}),
            ("refunds_reason_check", {"reason": "r" * 201}),
            ("decided_when_final", {"status": "approved"}),
            ("decided_when_final", {"decided_at": NOW}),
        ]
        for constraint, columns in cases:
            await assert_row_refused(constraint, connection, a_refund(connection, payment, **columns))


async def test_what_was_paid_stays_what_was_paid(database_url: str) -> None:
    async with connected(database_url) as connection:
        await add_payment(connection, await add_order(connection), provider_payment_id=7)
        await connection.execute("UPDATE payments SET paid_cents = 1000")
        for paid in ("999", "NULL"):
            await assert_refused("paid_once", connection, f"UPDATE payments SET paid_cents = {paid}")


@pytest.mark.parametrize("status", ["approved", "rejected"])
async def test_a_decided_refund_never_changes_and_what_was_asked_for_neither(database_url: str, status: str) -> None:
    async with connected(database_url) as connection:
        payment = await add_payment(connection, await add_order(connection))
        await a_refund(connection, payment)
        for change in ("amount_cents = 99", "idempotency_key = 'other'", "whole = true"):
            await assert_refused("intent_never_changes", connection, f"UPDATE refunds SET {change}")
        await connection.execute("UPDATE refunds SET status = $1, decided_at = $2", status, NOW)
        for change in (
            "status = 'requested', decided_at = NULL",
            "status = 'rejected'",
            "status = 'approved'",
            "amount_cents = 99",
            "provider_refund_id = 9",
        ):
            await assert_refused("refund_decided_once", connection, f"UPDATE refunds SET {change}")


# History ------------------------------------------------------------------------------------------------------


async def history(connection: Connection) -> None:
    """Add an order and a payment with a row of history each."""
    order = await add_order(connection)
    payment = await add_payment(connection, order)
    event = {"version": 1, "status_to": "x", "actor": "test", "at": NOW}
    await add(connection, "order_events", order_id=order, **event)
    await add(connection, "payment_events", payment_id=payment, **event)


@pytest.mark.parametrize("table", HISTORIES)
async def test_history_is_only_added_to_even_by_the_owner(owner_url: str, table: str) -> None:
    async with connected(owner_url) as connection:
        await history(connection)
        for change in (f"UPDATE {table} SET actor = 'me'", f"DELETE FROM {table}", f"TRUNCATE {table}"):
            await assert_refused("append_only", connection, change)
        thing = table.removesuffix("_events")
        columns = f"{thing}_id, version, status_to, actor, at"
        again = f"INSERT INTO {table} ({columns}) SELECT {columns} FROM {table}"
        await assert_refused(f"{table}_{thing}_id_version_key", connection, again)


async def test_the_pods_may_neither_change_history_nor_delete_what_money_hangs_on(database_url: str) -> None:
    async with connected(database_url) as connection:
        await history(connection)
        forbidden = [f"UPDATE {table} SET actor = 'me'" for table in HISTORIES]
        for table in (*HISTORIES, "orders", "order_items", "payments", "refunds", "products", "categories", "api_keys"):
            forbidden += [f"DELETE FROM {table}", f"TRUNCATE {table} CASCADE", f"DROP TABLE {table} CASCADE"]
            forbidden += [f"ALTER TABLE {table} DISABLE TRIGGER ALL"]
        forbidden += [
            "UPDATE pickup_days SET base = 0",
            "DELETE FROM pickup_days",
            "SELECT setval('pickup_numbers', 1)",
        ]
        forbidden += ["SET session_replication_role = 'replica'", "CREATE TABLE mine ()"]
        forbidden += ["ALTER TABLE orders DROP CONSTRAINT cooked_only_if_paid", "DROP FUNCTION guard_payment CASCADE"]
        for statement in forbidden:
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await connection.execute(statement)


# Webhooks and keys --------------------------------------------------------------------------------------------


async def test_a_payment_has_one_waiting_notification_and_a_handled_one_an_outcome(database_url: str) -> None:
    async with connected(database_url) as connection:
        event = {"provider_payment_id": 7, "body": "{}", "received_at": NOW}
        await add(connection, "webhook_events", status="claimed", **event)
        await add(connection, "webhook_events", status="waiting", **event)
        cases: Cases = [
            ("webhook_waiting_once", {"status": "waiting"}),
            ("handled_has_outcome", {"status": "handled"}),
            ("handled_has_outcome", {"status": "claimed", "handled_at": NOW, "outcome": "x"}),
            ("webhook_events_status_check", {"status": "lost"}),
        ]
        for constraint, columns in cases:
            await assert_row_refused(constraint, connection, add(connection, "webhook_events", **event, **columns))


async def test_a_living_key_has_its_name_alone(database_url: str) -> None:
    async with connected(database_url) as connection:
        key: dict[str, Any] = {"name": "caixa", "role": "staff", "created_at": NOW}
        await add(connection, "api_keys", id=uuid4(), key_hash=b"1" * 32, **key)
        await add(connection, "api_keys", id=uuid4(), key_hash=b"2" * 32, revoked_at=NOW, **key)
        cases: Cases = [
            ("api_keys_name_once", {"key_hash": b"3" * 32}),
            ("api_keys_key_hash_key", {"key_hash": b"1" * 32, "name": "cozinha"}),
            ("api_keys_key_hash_check", {"key_hash": b"short", "name": "cozinha"}),
            ("api_keys_role_check", {"key_hash": b"4" * 32, "name": "cozinha", "role": "root"}),
        ]
        for constraint, columns in cases:
            row = add(connection, "api_keys", **{"id": uuid4(), **key, **columns})
            await assert_row_refused(constraint, connection, row)
