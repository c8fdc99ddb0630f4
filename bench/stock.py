"""What lies in the database: the menu of 40 products, and orders in bulk, written past the triggers."""

import json
from datetime import UTC, datetime
from uuid import UUID

import asyncpg

from bench.provider_stub import CODE, PICTURE
from comanda.menu.sample import load_menu, sample_menu

PRODUCTS = 40

ORDERS = """
INSERT INTO orders (id, status, total_cents, name, pickup_number, request_id, created_at, paid_at, status_changed_at)
SELECT gen_random_uuid(), $2, 4200, 'Guest ' || n, CASE WHEN $3 THEN 1 + n % 9999 END, 'bench-bulk-' || n,
       now() - interval '1 second' * ($1 - n), CASE WHEN $3 THEN now() - interval '1 second' * ($1 - n) END, now()
FROM generate_series(1, $1::int) AS n
"""
LINES = """
INSERT INTO order_items (order_id, id, product_id, name, quantity, unit_price_cents, notes)
SELECT o.id, p.number, p.id, p.name, 1, 1400, CASE WHEN p.number = 1 THEN 'sem cebola' END
FROM orders AS o
CROSS JOIN (SELECT id, name, row_number() OVER (ORDER BY id) AS number FROM products LIMIT 3) AS p
WHERE NOT EXISTS (SELECT FROM order_items AS i WHERE i.order_id = o.id)
"""
PAYMENTS = """
INSERT INTO payments (id, order_id, status, version, amount_cents, idempotency_key, description, payer_email, live_mode,
    expires_at, provider_expires_at, provider_payment_id, provider_status, copy_paste, qr_code_png_base64, approved_at,
    paid_cents, next_check_at, request_id, created_at, updated_at)
SELECT gen_random_uuid(), o.id, CASE WHEN o.paid_at IS NULL THEN 'pending' ELSE 'approved' END, 2, o.total_cents,
    o.id::text, 'Pedido', 'guest@comanda.example.com', false,
    now() + interval '30 minutes', now() + interval '40 minutes',
    7000000000 + row_number() OVER () + (SELECT count(*) FROM payments), 'pending', $1, $2, o.paid_at,
    CASE WHEN o.paid_at IS NOT NULL THEN o.total_cents END, now() + interval '1 day', o.request_id, o.created_at, now()
FROM orders AS o WHERE NOT EXISTS (SELECT FROM payments AS p WHERE p.order_id = o.id)
"""


def menu_document() -> bytes:
    """Answer the sample menu with as many products as the budgets speak of."""
    menu = json.loads(sample_menu())
    categories = menu["categories"]
    missing = PRODUCTS - sum(len(category["products"]) for category in categories)
    for number in range(missing):
        products = categories[number % len(categories)]["products"]
        products.append({**products[number // len(categories)], "name": f"{products[0]['name']} {number + 2}"})
    assert sum(len(category["products"]) for category in categories) == PRODUCTS
    return json.dumps(menu).encode()


async def stock_menu(connection: "asyncpg.Connection[asyncpg.Record]") -> list[UUID]:
    """Load the menu; answer the ids of its products."""
    await load_menu(connection, menu_document(), datetime.now(UTC))
    return [row["id"] for row in await connection.fetch("SELECT id FROM products ORDER BY id")]


async def stock_orders(
    connection: "asyncpg.Connection[asyncpg.Record]", count: int, status: str, *, pictures: bool = True
) -> None:
    """Add orders of three lines with their payments.

    Args:
        connection: a superuser's: triggers and foreign keys are passed by, CHECKs and unique keys are not.
        count: how many.
        status: of the orders; an unpaid one has a pending Pix.
        pictures: whether QR codes are kept with the payments.
    """
    async with connection.transaction():
        await connection.execute("SET LOCAL session_replication_role = replica")
        await connection.execute(ORDERS, count, status, status != "awaiting_payment", timeout=600)
        await connection.execute(LINES, timeout=600)
        await connection.execute(PAYMENTS, CODE, PICTURE if pictures else None, timeout=600)
    await connection.execute("VACUUM (ANALYZE) orders, order_items, payments", timeout=600)


async def clear_orders(connection: "asyncpg.Connection[asyncpg.Record]", status: str) -> None:
    """Move all orders of a status out of the way: as expired if unpaid, else as picked up."""
    async with connection.transaction():
        await connection.execute("SET LOCAL session_replication_role = replica")
        to = "expired" if status == "awaiting_payment" else "picked_up"
        await connection.execute(
            "UPDATE orders SET status = $2, version = version + 1, client_hash = NULL WHERE status = $1", status, to
        )
    # Dead entries of the partial indexes would be paid for by whatever is measured next.
    await connection.execute("VACUUM (ANALYZE) orders, payments", timeout=600)
