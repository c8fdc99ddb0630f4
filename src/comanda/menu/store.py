"""The menu in PostgreSQL. A trigger tells every pod of each change; archived things stay for the old orders."""

from datetime import datetime
from typing import TypeVar
from uuid import UUID, uuid4

import asyncpg
import msgspec

from comanda.database.pool import Connection
from comanda.errors import Conflict, Invalid, NotFound
from comanda.menu.model import (
    Catalogue,
    Category,
    CategoryChange,
    CategoryRecord,
    Menu,
    NewCategory,
    NewProduct,
    Product,
    ProductChange,
    ProductRecord,
)

Value = TypeVar("Value")

RECOVERED_ID = UUID("5b0c1f3e-7f1d-4c55-9d0a-3f6d1f0c9a01")
"""Of the product, and of its category, that stands in orders of which only the sum is known."""
RECOVERED_NAME = "Pedido recuperado"

READ = """
SELECT c.id AS category_id, c.name AS category_name,
       p.id, p.name, p.description, p.price_cents, p.image_url, p.available
FROM categories AS c JOIN products AS p ON p.category_id = c.id
WHERE c.archived_at IS NULL AND p.archived_at IS NULL AND p.available
ORDER BY c.position, c.name, c.id, p.position, p.name, p.id
"""
CATEGORY = "id, name, position, archived_at"
PRODUCT = "id, category_id, name, description, price_cents, image_url, available, position, archived_at"


async def read_menu(connection: Connection) -> Menu:
    """Read the menu that guests see, in its order."""
    categories: dict[UUID, Category] = {}
    for row in await connection.fetch(READ):
        category = categories.setdefault(
            row["category_id"], Category(id=row["category_id"], name=row["category_name"], products=[])
        )
        category.products.append(Product(**{name: row[name] for name in Product.__struct_fields__}))
    return Menu(list(categories.values()))


async def read_catalogue(connection: Connection) -> Catalogue:
    """Read all that is not archived, in the menu's order."""
    categories = await connection.fetch(
        f"SELECT {CATEGORY} FROM categories WHERE archived_at IS NULL ORDER BY position, name, id"
    )
    products = await connection.fetch(
        f"SELECT {PRODUCT} FROM products WHERE archived_at IS NULL ORDER BY category_id, position, name, id"
    )
    return Catalogue([CategoryRecord(**row) for row in categories], [ProductRecord(**row) for row in products])


async def add_category(connection: Connection, new: NewCategory, now: datetime) -> CategoryRecord:
    """Add a category. Raises Conflict if one of that name is on the menu."""
    try:
        row = await connection.fetchrow(
            f"""
            INSERT INTO categories (id, name, position, created_at, updated_at)
            VALUES ($1, $2, COALESCE($3::int, (SELECT COALESCE(max(position), 0) + 1 FROM categories)), $4, $4)
            RETURNING {CATEGORY}
            """,
            uuid4(),
            new.name,
            new.position,
            now,
        )
    except asyncpg.UniqueViolationError:
        raise Conflict(f"there is a category named {new.name!r}", code="category_exists") from None
    assert row is not None
    return CategoryRecord(**row)


async def change_category(
    connection: Connection, category_id: UUID, change: CategoryChange, now: datetime
) -> CategoryRecord:
    """Change what `change` holds. Raises NotFound, or Conflict if another category has that name."""
    try:
        row = await connection.fetchrow(
            f"""
            UPDATE categories SET name = COALESCE($2, name), position = COALESCE($3, position), updated_at = $4
            WHERE id = $1 AND archived_at IS NULL RETURNING {CATEGORY}
            """,
            category_id,
            _or_none(change.name),
            _or_none(change.position),
            now,
        )
    except asyncpg.UniqueViolationError:
        raise Conflict(f"there is a category named {change.name!r}", code="category_exists") from None
    if row is None:
        raise NotFound("there is no such category", code="category_not_found")
    return CategoryRecord(**row)


async def archive_category(connection: Connection, category_id: UUID, now: datetime) -> None:
    """Take a category and its products off the menu, for good. Again is the same. Raises NotFound."""
    found = await connection.fetchval(
        """
        WITH gone AS (
            UPDATE categories SET archived_at = COALESCE(archived_at, $2), updated_at = $2 WHERE id = $1 RETURNING id
        ), products_gone AS (
            UPDATE products SET archived_at = $2, updated_at = $2
            WHERE archived_at IS NULL AND category_id IN (SELECT id FROM gone)
        )
        SELECT id FROM gone
        """,
        category_id,
        now,
    )
    if found is None:
        raise NotFound("there is no such category", code="category_not_found")


async def add_product(connection: Connection, new: NewProduct, now: datetime) -> ProductRecord:
    """Add a product. Raises Invalid if its category is not on the menu."""
    row = await connection.fetchrow(
        f"""
        INSERT INTO products
            (id, category_id, name, description, price_cents, image_url, available, position, created_at, updated_at)
        SELECT $1, c.id, $3, $4, $5, $6, $7,
               COALESCE($8::int, (SELECT COALESCE(max(position), 0) + 1 FROM products WHERE category_id = c.id)), $9, $9
        FROM categories AS c WHERE c.id = $2 AND c.archived_at IS NULL FOR SHARE OF c
        RETURNING {PRODUCT}
        """,
        uuid4(),
        new.category_id,
        new.name,
        new.description,
        new.price_cents,
        new.image_url,
        new.available,
        new.position,
        now,
    )
    if row is None:
        raise Invalid("category_id names no category on the menu", code="category_not_found")
    return ProductRecord(**row)


async def change_product(
    connection: Connection, product_id: UUID, change: ProductChange, now: datetime
) -> ProductRecord:
    """Change what `change` holds. Raises NotFound, or Invalid if the new category is not on the menu."""
    if change.category_id is not msgspec.UNSET and not await connection.fetchval(
        "SELECT 1 FROM categories WHERE id = $1 AND archived_at IS NULL", change.category_id
    ):
        raise Invalid("category_id names no category on the menu", code="category_not_found")
    row = await connection.fetchrow(
        f"""
        UPDATE products SET
            category_id = COALESCE($2, category_id), name = COALESCE($3, name), price_cents = COALESCE($4, price_cents),
            description = COALESCE($5, description), image_url = CASE WHEN $6 THEN $7 ELSE image_url END,
            available = COALESCE($8, available), position = COALESCE($9, position), updated_at = $10
        WHERE id = $1 AND archived_at IS NULL
        RETURNING {PRODUCT}
        """,
        product_id,
        _or_none(change.category_id),
        _or_none(change.name),
        _or_none(change.price_cents),
        _or_none(change.description),
        change.image_url is not msgspec.UNSET,
        _or_none(change.image_url),
        _or_none(change.available),
        _or_none(change.position),
        now,
    )
    if row is None:
        raise NotFound("there is no such product", code="product_not_found")
    return ProductRecord(**row)


async def archive_product(connection: Connection, product_id: UUID, now: datetime) -> None:
    """Take a product off the menu, for good. Again is the same. Raises NotFound."""
    found = await connection.fetchval(
        """
        UPDATE products SET archived_at = COALESCE(archived_at, $2), available = false, updated_at = $2
        WHERE id = $1 RETURNING id
        """,
        product_id,
        now,
    )
    if found is None:
        raise NotFound("there is no such product", code="product_not_found")


def _or_none(value: Value | msgspec.UnsetType) -> Value | None:
    return None if isinstance(value, msgspec.UnsetType) else value


async def recovered_product(connection: Connection, now: datetime) -> tuple[UUID, str]:
    """Answer id and name of the product for orders of which only the sum is known; make it where it is missing.

    It is archived from its first moment, so that no menu and no manager's list ever shows it, and its price is none.
    """
    if not await connection.fetchval("SELECT EXISTS (SELECT FROM products WHERE id = $1)", RECOVERED_ID):
        await connection.execute(
            """
            WITH kept AS (
                INSERT INTO categories (id, name, archived_at, created_at, updated_at) VALUES ($1, $2, $3, $3, $3)
                ON CONFLICT (id) DO NOTHING
            )
            INSERT INTO products (id, category_id, name, price_cents, available, archived_at, created_at, updated_at)
            VALUES ($1, $1, $2, 1, false, $3, $3, $3)
            ON CONFLICT (id) DO NOTHING
            """,
            RECOVERED_ID,
            RECOVERED_NAME,
            now,
        )
    return RECOVERED_ID, RECOVERED_NAME
