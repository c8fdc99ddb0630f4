"""The menu: one cached document for guests, and its administration for managers."""

from typing import Annotated, Any
from uuid import UUID

from litestar import Response, delete, get, patch, post
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import FromPath, HeaderParameter, JSONBody

from comanda.api.authentication import SECURITY, require
from comanda.api.replies import documented, json_reply, not_modified
from comanda.api.services import Shared
from comanda.http.problems import WITH_BODY, problems
from comanda.menu import store
from comanda.menu.model import (
    Catalogue,
    CategoryChange,
    CategoryRecord,
    Menu,
    NewCategory,
    NewProduct,
    ProductChange,
    ProductRecord,
)
from comanda.staff.keys import Role

MANAGER: dict[str, Any] = {
    "guards": [require(Role.MANAGER)],
    "security": SECURITY,
    "tags": ["menu administration"],
}
ASK_AGAIN = "no-cache"
"""A cache may keep the menu, but asks with the ETag every time: a change is seen at once."""


@get(
    "/v1/menu",
    tags=["guests"],
    summary="The menu",
    responses={
        **documented(200, Menu, "Categories and their available products, in order."),
        304: ResponseSpec(data_container=None, description="As the ETag says.", generate_examples=False),
        **problems(),
    },
)
async def read_menu(
    services: Shared,
    if_none_match: Annotated[str | None, HeaderParameter(name="If-None-Match")] = None,
) -> Response[bytes]:
    """Answer what can be ordered now. Send the ETag back as If-None-Match to be spared an unchanged menu."""
    menu = await services.menu.current()
    headers = {"etag": menu.etag, "cache-control": ASK_AGAIN}
    if if_none_match is not None:
        known = [tag.strip().removeprefix("W/") for tag in if_none_match.split(",")]
        if menu.etag in known or known == ["*"]:
            return not_modified(headers)
    return json_reply(menu.body, headers=headers)


@get("/v1/products", summary="All products and categories", responses=problems(401, 403), **MANAGER)
async def read_catalogue(services: Shared) -> Catalogue:
    """Answer all that is not archived, sold out or not."""
    async with services.checkout.pool.acquire(timeout=5) as connection:
        return await store.read_catalogue(connection)


@post(
    "/v1/categories",
    summary="Add a category",
    responses=problems(401, 403, 409, *WITH_BODY),
    **MANAGER,
)
async def add_category(services: Shared, data: JSONBody[NewCategory]) -> CategoryRecord:
    """Add a category to the menu."""
    async with services.checkout.pool.acquire(timeout=5) as connection:
        return await store.add_category(connection, data, services.checkout.clock())


@patch(
    "/v1/categories/{category_id:uuid}",
    summary="Change a category",
    responses=problems(401, 403, 404, 409, *WITH_BODY),
    **MANAGER,
)
async def change_category(
    services: Shared, category_id: FromPath[UUID], data: JSONBody[CategoryChange]
) -> CategoryRecord:
    """Change name or position of a category."""
    async with services.checkout.pool.acquire(timeout=5) as connection:
        return await store.change_category(connection, category_id, data, services.checkout.clock())


@delete(
    "/v1/categories/{category_id:uuid}",
    summary="Archive a category",
    responses=problems(401, 403, 404),
    **MANAGER,
)
async def archive_category(services: Shared, category_id: FromPath[UUID]) -> None:
    """Take a category and its products off the menu; old orders keep them."""
    async with services.checkout.pool.acquire(timeout=5) as connection:
        await store.archive_category(connection, category_id, services.checkout.clock())


@post("/v1/products", summary="Add a product", responses=problems(401, 403, *WITH_BODY), **MANAGER)
async def add_product(services: Shared, data: JSONBody[NewProduct]) -> ProductRecord:
    """Add a product to a category."""
    async with services.checkout.pool.acquire(timeout=5) as connection:
        return await store.add_product(connection, data, services.checkout.clock())


@patch(
    "/v1/products/{product_id:uuid}",
    summary="Change a product",
    responses=problems(401, 403, 404, *WITH_BODY),
    **MANAGER,
)
async def change_product(services: Shared, product_id: FromPath[UUID], data: JSONBody[ProductChange]) -> ProductRecord:
    """Change a product; `available: false` takes it off the menu for now."""
    async with services.checkout.pool.acquire(timeout=5) as connection:
        return await store.change_product(connection, product_id, data, services.checkout.clock())


@delete(
    "/v1/products/{product_id:uuid}",
    summary="Archive a product",
    responses=problems(401, 403, 404),
    **MANAGER,
)
async def archive_product(services: Shared, product_id: FromPath[UUID]) -> None:
    """Take a product off the menu for good; old orders keep it."""
    async with services.checkout.pool.acquire(timeout=5) as connection:
        await store.archive_product(connection, product_id, services.checkout.clock())


HANDLERS = [
    read_menu,
    read_catalogue,
    add_category,
    change_category,
    archive_category,
    add_product,
    change_product,
    archive_product,
]
