"""The menu's administration, and the copy that every pod keeps of it."""

import asyncio
import random
import time
from typing import Any
from uuid import uuid4

import msgspec
import pytest

from comanda.menu.model import Catalogue, CategoryRecord, ProductRecord
from comanda.staff.keys import Role
from tests.http.cable import cable_to
from tests.http.listening import until
from tests.running_diner import Answer, Diner, running_diner


async def manage(diner: Diner, method: str, path: str, body: object = None) -> Answer:
    return await diner.call(method, path, body, role=Role.MANAGER)


async def add_category(diner: Diner, name: str = "Sucos", **more: Any) -> dict[str, Any]:
    answer = await manage(diner, "POST", "/v1/categories", {"name": name, **more})
    assert answer.status == 201, answer
    return dict(answer.body)


async def add_product(diner: Diner, category: dict[str, Any], name: str = "Caju", **more: Any) -> dict[str, Any]:
    body = {"category_id": category["id"], "name": name, "price_cents": 900, **more}
    answer = await manage(diner, "POST", "/v1/products", body)
    assert answer.status == 201, answer
    return dict(answer.body)


async def menu(diner: Diner) -> dict[str, list[str]]:
    """Answer names of products by name of category, as guests see them."""
    answer = await diner.call("GET", "/v1/menu")
    return {each["name"]: [product["name"] for product in each["products"]] for each in answer.body["categories"]}


async def within_a_second(diner: Diner, shown: dict[str, list[str]]) -> None:
    """Fail unless guests see this menu within a second from now."""
    end = time.monotonic() + 1
    while (seen := await menu(diner)) != shown:
        assert time.monotonic() < end, seen
        await asyncio.sleep(0.01)


@pytest.fixture
async def empty(database_url: str, chance: random.Random) -> Any:
    async with running_diner(database_url, chance, menu=False) as diner:
        yield diner


async def test_a_menu_is_made_changed_and_archived(empty: Diner) -> None:
    assert await menu(empty) == {}
    drinks = await add_category(empty)
    assert set(drinks) == {"id", "name", "position", "archived_at"}
    msgspec.convert(drinks, CategoryRecord)
    await within_a_second(empty, {})
    cashew = await add_product(empty, drinks, description="com gelo", image_url="/img/caju.png")
    assert set(cashew) == {
        "id",
        "category_id",
        "name",
        "description",
        "price_cents",
        "image_url",
        "available",
        "position",
        "archived_at",
    }
    msgspec.convert(cashew, ProductRecord)
    orange = await add_product(empty, drinks, "Laranja")
    await within_a_second(empty, {"Sucos": ["Caju", "Laranja"]})

    changed = await manage(empty, "PATCH", f"/v1/products/{orange['id']}", {"position": 0, "price_cents": 1})
    assert (changed.status, changed.body["price_cents"], changed.body["name"]) == (200, 1, "Laranja")
    await within_a_second(empty, {"Sucos": ["Laranja", "Caju"]})
    await manage(empty, "PATCH", f"/v1/products/{orange['id']}", {"available": False})
    await within_a_second(empty, {"Sucos": ["Caju"]})
    catalogue = await manage(empty, "GET", "/v1/products")
    msgspec.convert(catalogue.body, Catalogue)
    assert [each["name"] for each in catalogue.body["products"]] == ["Laranja", "Caju"]

    plain = await manage(empty, "PATCH", f"/v1/products/{cashew['id']}", {"image_url": None})
    assert (plain.body["image_url"], plain.body["description"]) == (None, "com gelo")
    foods = await add_category(empty, "Lanches", position=0)
    await manage(empty, "PATCH", f"/v1/products/{cashew['id']}", {"category_id": foods["id"]})
    await within_a_second(empty, {"Lanches": ["Caju"]})
    await manage(empty, "PATCH", f"/v1/categories/{foods['id']}", {"name": "De beber"})
    await within_a_second(empty, {"De beber": ["Caju"]})

    for _ in range(2):
        gone = await manage(empty, "DELETE", f"/v1/categories/{foods['id']}")
        assert (gone.status, gone.body) == (204, "")
    await within_a_second(empty, {})
    assert (await manage(empty, "PATCH", f"/v1/products/{cashew['id']}", {"available": True})).status == 404
    assert (await manage(empty, "PATCH", f"/v1/categories/{foods['id']}", {"position": 1})).status == 404


async def test_an_archived_product_stays_in_old_orders(diner: Diner) -> None:
    product = diner.products[0]
    order = await diner.place_paid(2)
    await manage(diner, "PATCH", f"/v1/products/{product['id']}", {"name": "Outro", "price_cents": 1})
    for _ in range(2):
        assert (await manage(diner, "DELETE", f"/v1/products/{product['id']}")).status == 204
    assert (await diner.order(order["id"]))["items"] == order["items"]
    assert (await diner.call("GET", "/v1/orders", role=Role.STAFF)).body["orders"][0]["items"] == order["items"]
    answer = await diner.call("POST", "/v1/orders", diner.basket(1))
    assert (answer.status, answer.code) == (422, "product_unavailable")


async def test_a_category_name_is_there_once(empty: Diner) -> None:
    first = await add_category(empty, "Sucos")
    other = await add_category(empty, "Doces")
    for name in ("Sucos", "sucos", "SUCOS"):
        again = await manage(empty, "POST", "/v1/categories", {"name": name})
        assert (again.status, again.code) == (409, "category_exists")
    renamed = await manage(empty, "PATCH", f"/v1/categories/{other['id']}", {"name": "sucos"})
    assert (renamed.status, renamed.code) == (409, "category_exists")
    await manage(empty, "DELETE", f"/v1/categories/{first['id']}")
    await add_category(empty, "Sucos")


async def test_what_cannot_be_on_a_menu(empty: Diner) -> None:
    category = await add_category(empty)
    product = await add_product(empty, category)
    wrong: dict[str, list[object]] = {
        "name": ["", " ", "\t", "a\nb", "a\n", "\x00", "\x1b[0m", "\u202eabc", "\u200b", "x" * 81, 1, None, "\x85"],
        "price_cents": [0, -1, 1_000_001, 1.5, "900", True, None, 10**30],
        "description": ["x" * 501, "\x00", 1, None, "a\nb"],
        "image_url": [
            "",
            "javascript:alert(1)",
            "http://x/y.png",
            "//x/y.png",
            "/x y",
            "/" + "x" * 500,
            "/a\n",
            1,
            "data:,",
        ],
        "available": [1, "true", None],
        "position": [-1, 100_001, "1", 1.5, True],
        "category_id": ["", "x", 1, None],
        "archived_at": [None],
        "id": [str(uuid4())],
    }
    for field, values in wrong.items():
        for value in values:
            new = {"category_id": category["id"], "name": "Novo", "price_cents": 1} | {field: value}
            added = await manage(empty, "POST", "/v1/products", new)
            assert (added.status, added.code) == (422, "invalid"), new
            if value is None and field == "position":
                continue
            change = await manage(empty, "PATCH", f"/v1/products/{product['id']}", {field: value})
            assert (change.status, change.code) == (422, "invalid"), (field, value)
    for body in ({}, {"name": ""}, {"name": "x" * 61}, {"name": "\n"}, {"name": "A", "position": -1}, {"title": "A"}):
        assert (await manage(empty, "POST", "/v1/categories", body)).code == "invalid"
    catalogue = await manage(empty, "GET", "/v1/products")
    assert [each["name"] for each in catalogue.body["products"]] == ["Caju"]


async def test_names_may_have_emoji_and_accents(empty: Diner) -> None:
    category = await add_category(empty, "🍔 Lanches & 名前")
    await add_product(empty, category, "Pão de queijo 👨‍🍳")
    await within_a_second(empty, {"🍔 Lanches & 名前": ["Pão de queijo 👨‍🍳"]})


async def test_no_such_thing(empty: Diner) -> None:
    for kind in ("products", "categories"):
        for unknown in (str(uuid4()), "x"):
            assert (await manage(empty, "DELETE", f"/v1/{kind}/{unknown}")).status == 404
            assert (await manage(empty, "PATCH", f"/v1/{kind}/{unknown}", {"position": 1})).status == 404
    body = {"category_id": str(uuid4()), "name": "Novo", "price_cents": 1}
    added = await manage(empty, "POST", "/v1/products", body)
    assert (added.status, added.code) == (422, "category_not_found")
    product = await add_product(empty, await add_category(empty))
    moved = await manage(empty, "PATCH", f"/v1/products/{product['id']}", {"category_id": str(uuid4())})
    assert (moved.status, moved.code) == (422, "category_not_found")


async def test_another_pod_sees_a_change_within_a_second(empty: Diner, chance: random.Random) -> None:
    await empty.pool.execute("UPDATE api_keys SET name = name || ' of the first'")
    async with running_diner(empty.checkout.settings.database_url, chance, menu=False) as other:
        assert await menu(other) == {}
        await add_product(empty, await add_category(empty))
        await within_a_second(other, {"Sucos": ["Caju"]})


async def test_a_change_is_seen_while_nobody_listens(empty: Diner) -> None:
    await empty.listener.stop()
    assert await menu(empty) == {}
    await add_product(empty, await add_category(empty))
    await within_a_second(empty, {"Sucos": ["Caju"]})


async def test_the_last_menu_is_served_while_the_database_is_away(database_url: str, chance: random.Random) -> None:
    async with cable_to(database_url) as cable, running_diner(cable.url, chance, menu=False) as diner:
        category = await add_category(diner)
        product = await add_product(diner, category)
        await within_a_second(diner, {"Sucos": ["Caju"]})
        etag = (await diner.call("GET", "/v1/menu")).headers["etag"]
        await cable.cut()
        diner.menu.forget()
        assert await menu(diner) == {"Sucos": ["Caju"]}
        assert (await diner.call("GET", "/v1/menu", headers={"If-None-Match": etag})).status == 304
        await cable.mend()

        async def changed() -> bool:
            return (await manage(diner, "PATCH", f"/v1/products/{product['id']}", {"name": "Uva"})).status == 200

        await until(changed, within=10)
        await within_a_second(diner, {"Sucos": ["Uva"]})


async def test_reads_of_an_unchanged_menu_are_few(diner: Diner, monkeypatch: pytest.MonkeyPatch) -> None:
    reads = 0
    read = diner.menu._read

    async def counted() -> None:
        nonlocal reads
        reads += 1
        await read()

    monkeypatch.setattr(diner.menu, "_read", counted)
    began = time.monotonic()
    await asyncio.gather(*(diner.call("GET", "/v1/menu") for _ in range(100)))
    assert reads <= 1 + (time.monotonic() - began) / 0.5
