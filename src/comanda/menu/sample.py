"""Loading a menu from a document: the sample that comes with Comanda, or a diner's own."""

from datetime import datetime
from importlib.resources import files

import msgspec

from comanda.database.pool import Connection
from comanda.menu import store
from comanda.menu.model import (
    CategoryName,
    Description,
    ImageUrl,
    NewCategory,
    NewProduct,
    Price,
    ProductName,
)

LARGEST = 1_048_576
"""Bytes of a menu document: some thousand products. More is taken for another file, and not read."""


class ProductEntry(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A product in a menu document."""

    name: ProductName
    price_cents: Price
    description: Description = ""
    image_url: ImageUrl | None = None
    available: bool = True


class CategoryEntry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A category in a menu document."""

    name: CategoryName
    products: list[ProductEntry]


class MenuDocument(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`{"categories": [{"name", "products": [{"name", "description", "price_cents"}]}]}`, in the menu's order."""

    categories: list[CategoryEntry]


def sample_menu() -> bytes:
    """Answer the menu document that comes with Comanda."""
    return files("comanda.menu").joinpath("sample_menu.json").read_bytes()


async def load_menu(connection: Connection, document: bytes, now: datetime) -> int | None:
    """Fill an empty menu from a document, in one transaction.

    Returns:
        How many products were added; None, with nothing changed, if the menu already has a category.

    Raises:
        msgspec.ValidationError: the document is not a menu; says where.
    """
    menu = msgspec.json.decode(document, type=MenuDocument)
    async with connection.transaction():
        # Two loaders at once must not both find it empty.
        await connection.execute("LOCK TABLE categories IN SHARE ROW EXCLUSIVE MODE")
        if await connection.fetchval("SELECT EXISTS (SELECT FROM categories WHERE archived_at IS NULL)"):
            return None
        for category in menu.categories:
            record = await store.add_category(connection, NewCategory(name=category.name), now)
            for product in category.products:
                fields = msgspec.structs.asdict(product)
                await store.add_product(connection, NewProduct(category_id=record.id, **fields), now)
    return sum(len(category.products) for category in menu.categories)
