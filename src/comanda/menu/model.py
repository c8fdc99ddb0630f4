"""The menu: what a guest may order, and what a manager may write into it."""

from typing import Annotated, TypeAlias
from uuid import UUID

import msgspec

from comanda.clock import Moment
from comanda.money import Cents

# No control characters: PostgreSQL cannot store NUL, and no name on a screen wants the others, among them those that
# turn the direction of the text around them. (?!\n) because $ alone also stands before a last line break.
_ALLOWED = r"[^\x00-\x1f\x7f-\x9f\u200b\u2028-\u202e\u2060-\u2069\ufeff]"
PLAIN = rf"^{_ALLOWED}*$(?!\n)"
NAME = rf"^(?=.*\S){_ALLOWED}+$(?!\n)"
CategoryName: TypeAlias = Annotated[str, msgspec.Meta(min_length=1, max_length=60, pattern=NAME)]
ProductName: TypeAlias = Annotated[str, msgspec.Meta(min_length=1, max_length=80, pattern=NAME)]
Description: TypeAlias = Annotated[str, msgspec.Meta(max_length=500, pattern=PLAIN)]
Price: TypeAlias = Annotated[int, msgspec.Meta(ge=1, le=1_000_000, description="Centavos.")]
ImageUrl: TypeAlias = Annotated[str, msgspec.Meta(max_length=500, pattern=r"^(https://|/(?!/))[!-~]+$(?!\n)")]
Position: TypeAlias = Annotated[int, msgspec.Meta(ge=0, le=100_000)]


class Product(msgspec.Struct, frozen=True, kw_only=True):
    """A product on the menu."""

    id: UUID
    name: str
    description: str
    price_cents: Cents
    image_url: str | None
    available: bool


class Category(msgspec.Struct, frozen=True, kw_only=True):
    """A category with its products, in the order of the menu."""

    id: UUID
    name: str
    products: list[Product]


class Menu(msgspec.Struct, frozen=True):
    """The menu as guests see it: available products only, and no category without one."""

    categories: list[Category]


class NewCategory(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A category to be added. `position` sorts the menu, lowest first; without one it comes last."""

    name: CategoryName
    position: Position | None = None


class CategoryChange(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What to change in a category; what is left out stays."""

    name: CategoryName | msgspec.UnsetType = msgspec.UNSET
    position: Position | msgspec.UnsetType = msgspec.UNSET


class NewProduct(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A product to be added to a category."""

    category_id: UUID
    name: ProductName
    price_cents: Price
    description: Description = ""
    image_url: ImageUrl | None = None
    available: bool = True
    position: Position | None = None


class ProductChange(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What to change in a product; what is left out stays."""

    category_id: UUID | msgspec.UnsetType = msgspec.UNSET
    name: ProductName | msgspec.UnsetType = msgspec.UNSET
    price_cents: Price | msgspec.UnsetType = msgspec.UNSET
    description: Description | msgspec.UnsetType = msgspec.UNSET
    image_url: ImageUrl | msgspec.UnsetType | None = msgspec.UNSET
    available: bool | msgspec.UnsetType = msgspec.UNSET
    position: Position | msgspec.UnsetType = msgspec.UNSET


class CategoryRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A category as managers see it."""

    id: UUID
    name: str
    position: int
    archived_at: Moment | None


class ProductRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A product as managers see it."""

    id: UUID
    category_id: UUID
    name: str
    description: str
    price_cents: Cents
    image_url: str | None
    available: bool
    position: int
    archived_at: Moment | None


class Catalogue(msgspec.Struct, frozen=True):
    """All that is not archived, sold out or not: what a manager edits."""

    categories: list[CategoryRecord]
    products: list[ProductRecord]
