"""Rows as small as a guard needs them, written past every rule of the code."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any
from uuid import UUID, uuid4

import asyncpg

from comanda.database.pool import Connection

NOW = datetime(2026, 11, 20, 15, 0, tzinfo=UTC)
_keys = count(1)


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[Connection]:
    """Connect for the length of a block."""
    connection = await asyncpg.connect(url)
    try:
        yield connection
    finally:
        await connection.close()


async def add(connection: Connection, table: str, **columns: Any) -> None:
    """Insert a row of these columns."""
    names, marks = ", ".join(columns), ", ".join(f"${number}" for number in range(1, len(columns) + 1))
    await connection.execute(f"INSERT INTO {table} ({names}) VALUES ({marks})", *columns.values())


async def add_order(connection: Connection, status: str = "awaiting_payment", **columns: Any) -> UUID:
    """Insert an order; one that is cooked or was needs `pickup_number`."""
    known: dict[str, Any] = {
        "id": uuid4(),
        "status": status,
        "total_cents": 1000,
        "created_at": NOW,
        "status_changed_at": NOW,
        "paid_at": NOW if columns.get("pickup_number") else None,
    }
    known |= columns
    await add(connection, "orders", **known)
    order_id: UUID = known["id"]
    return order_id


async def add_payment(connection: Connection, order_id: UUID, status: str = "pending", **columns: Any) -> UUID:
    """Insert the payment of an order."""
    known: dict[str, Any] = {
        "id": uuid4(),
        "order_id": order_id,
        "status": status,
        "amount_cents": 1000,
        "idempotency_key": f"key-{next(_keys)}",
        "description": "Pedido",
        "payer_email": "guest@comanda.example.com",
        "live_mode": False,
        "expires_at": NOW + timedelta(minutes=30),
        "provider_expires_at": NOW + timedelta(minutes=40),
        "created_at": NOW,
        "updated_at": NOW,
    }
    known |= columns
    await add(connection, "payments", **known)
    payment_id: UUID = known["id"]
    return payment_id


async def add_open_orders(connection: Connection, first: int, last: int) -> None:
    """Insert an order in the kitchen for every number from `first` to `last`."""
    await connection.execute(
        """
        INSERT INTO orders (id, status, total_cents, pickup_number, created_at, paid_at, status_changed_at)
        SELECT gen_random_uuid(), 'paid', 1000, number, $3, $3, $3 FROM generate_series($1::int, $2::int) AS number
        """,
        first,
        last,
        NOW,
    )
