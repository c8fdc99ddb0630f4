"""Bodies that guests, scripts and attackers send: what is refused, with which code, and what is tidied."""

import json
import string
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest

from comanda.staff.keys import Role
from tests.http import documented
from tests.running_diner import Answer, Diner

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def send(
    house: Diner,
    body: bytes | AsyncIterator[bytes],
    *,
    path: str = "/v1/orders",
    method: str = "POST",
    kind: str | None = "application/json",
    role: Role | None = None,
    **headers: str,
) -> Answer:
    """Send bytes as they are."""
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    if kind is not None:
        sent["Content-Type"] = kind
    if role is not None:
        sent["Authorization"] = f"Bearer {house.keys[role]}"
    skip = ("Content-Type",) if kind is None else ()
    async with house.session.request(
        method, house.url + path, data=body, headers=sent, skip_auto_headers=skip
    ) as response:
        text = await response.text()
        decoded = json.loads(text) if "json" in response.headers.get("content-type", "") else text
        answer = Answer(response.status, {k.lower(): v for k, v in response.headers.items()}, decoded)
        documented.check(method, path, answer)
        return answer


def order(house: Diner, **changes: Any) -> dict[str, Any]:
    return house.basket(1) | changes


def raw_order(house: Diner, *, quantity: str = "1", rest: str = "") -> bytes:
    product = house.products[0]["id"]
    return f'{{"items":[{{"product_id":"{product}","quantity":{quantity}}}]{rest}}}'.encode()


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"not json",
        b"{'items': []}",
        b"\xff\xfe\x00",
        b'{"name":"\xff\xfe"}',
        b'{"name":"\xed\xa0\x80"}',
        b'{"name":"\\ud800"}',
        b'{"name":"\\udc00\\ud800"}',
        b'{"name":"\\q"}',
        b'{"name":NaN}',
        b"\x00",
    ],
    ids=lambda body: repr(body[:20]),
)
async def test_what_is_no_json_is_a_bad_request(house: Diner, body: bytes) -> None:
    answer = await send(house, body)
    assert (answer.status, answer.code) == (400, "invalid_json")


@pytest.mark.parametrize(
    "body",
    [
        b"[" * 50_000,
        b'{"a":' * 10_000 + b"1" + b"}" * 10_000,
        b'{"items":' + b"[" * 20_000 + b"]" * 20_000 + b"}",
        b'{"items":[],"x":' + b"[" * 20_000 + b"]" * 20_000 + b"}",
        b'{"items":1e9999}',
    ],
    ids=lambda body: repr(body[:20]),
)
async def test_json_made_to_hurt(house: Diner, body: bytes) -> None:
    assert (await send(house, body)).code in {"invalid_json", "invalid"}


@pytest.mark.parametrize(
    "body", [b"", b"null", b"[]", b'"text"', b"1", b"true", b"{}", b'{"items":[]}', b'{"items":{}}', b'{"items":null}']
)
async def test_json_that_is_no_order_is_invalid(house: Diner, body: bytes) -> None:
    answer = await send(house, body)
    assert (answer.status, answer.code) == (422, "invalid")


@pytest.mark.parametrize(
    "quantity",
    ["0", "-1", "1.5", "1.0", "1e0", "true", '"1"', "null", "[]", "1000", "2147483648", "9" * 30, "9" * 5000, "-0.0"],
    ids=lambda text: text[:12],
)
async def test_quantities_are_whole_numbers_in_bounds(house: Diner, quantity: str) -> None:
    answer = await send(house, raw_order(house, quantity=quantity))
    assert answer.status in {400, 422}
    assert answer.code in {"invalid", "invalid_json"}
    if answer.status == 422:
        assert answer.body["detail"].startswith("items[0].quantity")


async def test_a_quantity_over_the_limit_says_so(house: Diner) -> None:
    limit = house.checkout.settings.max_quantity
    answer = await send(house, raw_order(house, quantity=str(limit + 1)))
    assert (answer.status, answer.code) == (422, "quantity_too_large")


async def test_an_order_over_the_limit_of_money(house: Diner) -> None:
    items = house.basket(50)["items"] * 10
    assert (await house.call("POST", "/v1/orders", {"items": items})).code == "order_too_large"


async def test_too_many_lines(house: Diner) -> None:
    [item] = house.basket(1)["items"]
    limit = house.checkout.settings.max_items
    assert (await house.call("POST", "/v1/orders", {"items": [item] * (limit + 1)})).code == "too_many_items"
    assert (await house.call("POST", "/v1/orders", {"items": [item] * 201})).code == "invalid"


async def test_a_product_that_is_not_on_the_menu(house: Diner) -> None:
    items = [{"product_id": str(uuid4()), "quantity": 1}]
    answer = await house.call("POST", "/v1/orders", {"items": items})
    assert (answer.status, answer.code) == (422, "product_unavailable")
    assert items[0]["product_id"] in answer.body["detail"]


@pytest.mark.parametrize("product_id", ["", "1", None, 1, "\x00", "g" * 32])
async def test_a_product_id_that_is_none(house: Diner, product_id: object) -> None:
    answer = await house.call("POST", "/v1/orders", {"items": [{"product_id": product_id, "quantity": 1}]})
    assert (answer.status, answer.code) == (422, "invalid")


@pytest.mark.parametrize("place", ["order", "item"])
async def test_unknown_fields_are_refused(house: Diner, place: str) -> None:
    body = order(house)
    (body if place == "order" else body["items"][0])["price_cents"] = 1
    answer = await house.call("POST", "/v1/orders", body)
    assert (answer.status, answer.code) == (422, "invalid")
    assert "price_cents" in answer.body["detail"]


async def test_of_a_key_given_twice_the_last_counts(house: Diner) -> None:
    answer = await send(house, raw_order(house, rest=',"name":"Ana","name":"Bia"'))
    assert (answer.status, answer.body["name"]) == (201, "Bia")


@pytest.mark.parametrize("field", ["name", "notes"])
@pytest.mark.parametrize("value", [1, True, [], {}, "a\x00b", "x" * 501])
async def test_texts_that_are_refused(house: Diner, field: str, value: object) -> None:
    answer = await house.call("POST", "/v1/orders", order(house, **{field: value}))
    assert (answer.status, answer.code) == (422, "invalid")
    assert field in answer.body["detail"]


@pytest.mark.parametrize(
    ("typed", "kept"),
    [
        ("Zé", "Zé"),
        ("Ze\u0301", "Zé"),
        ("🍔 Ana 🧀", "🍔 Ana 🧀"),
        ("  Ana   Lu\t", "Ana Lu"),
        ("a\nb", "a b"),
        ("\u202eanA\u202c", "anA"),
        ("a\u0007b\u001bc", "abc"),
        ("", None),
        ("\u200b\u2060", None),
        ("<b>'; DROP TABLE orders;--", "<b>'; DROP TABLE orders;--"),
        ("名前", "名前"),
        (None, None),
    ],
)
async def test_names_and_notes_are_tidied(house: Diner, typed: str | None, kept: str | None) -> None:
    body = order(house, name=typed, notes=typed)
    body["items"][0]["notes"] = typed
    answer = await house.call("POST", "/v1/orders", body)
    assert answer.status == 201, answer
    assert (answer.body["name"], answer.body["notes"], answer.body["items"][0]["notes"]) == (kept, kept, kept)


@pytest.mark.parametrize(("field", "limit"), [("name", 40), ("notes", 500)])
async def test_texts_have_a_longest(house: Diner, field: str, limit: int) -> None:
    fits = await house.call("POST", "/v1/orders", order(house, **{field: "é" * limit}))
    assert (fits.status, fits.body[field]) == (201, "é" * limit)
    over = await house.call("POST", "/v1/orders", order(house, **{field: "x" * (limit + 1)}))
    assert (over.status, over.code) == (422, "invalid")


@pytest.mark.parametrize(
    "kind", ["text/plain", "application/xml", "application/x-www-form-urlencoded", "multipart/form-data", "json", ";"]
)
async def test_other_media_types(house: Diner, kind: str) -> None:
    answer = await send(house, raw_order(house), kind=kind)
    if kind == ";":
        assert answer.status == 201
    else:
        assert (answer.status, answer.code) == (415, "unsupported_media_type")


@pytest.mark.parametrize("kind", [None, "application/json; charset=utf-8", "APPLICATION/JSON"])
async def test_media_types_that_are_json(house: Diner, kind: str | None) -> None:
    assert (await send(house, raw_order(house), kind=kind)).status == 201


async def test_a_body_over_the_limit(house: Diner) -> None:
    limit = house.checkout.settings.max_body_bytes
    answer = await send(house, raw_order(house) + b" " * limit)
    assert (answer.status, answer.code) == (413, "body_too_large")
    fits = raw_order(house)
    assert (await send(house, fits + b" " * (limit - len(fits)))).status == 201


async def test_a_body_over_the_limit_without_a_length(house: Diner) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(100):
            yield b" " * 1000

    answer = await send(house, chunks())
    assert (answer.status, answer.code) == (413, "body_too_large")


async def test_a_chunked_body(house: Diner) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        for byte in raw_order(house):
            yield bytes([byte])

    assert (await send(house, chunks())).status == 201


@pytest.mark.parametrize("key", ["x" * 15, "x" * 65, "", "é" * 20, "chave de pedido\t0001", "chave\u00a0de pedido 1"])
async def test_idempotency_keys_that_are_none(house: Diner, key: str) -> None:
    answer = await send(house, raw_order(house), Idempotency_Key=key)
    assert (answer.status, answer.code) == (400, "invalid_idempotency_key")


@pytest.mark.parametrize("length", [16, 64])
async def test_a_key_and_its_body_make_one_order(house: Diner, length: int) -> None:
    key = "".join(string.printable[n % 94] for n in range(length))
    first = await house.place(1, key=key)
    await house.pay(first)
    await house.work()
    again = await house.place(1, key=key)
    assert (again["id"], again["status"]) == (first["id"], "paid")
    other = await house.call("POST", "/v1/orders", house.basket(2), headers={"Idempotency-Key": key})
    assert (other.status, other.code) == (409, "idempotency_key_reused")


async def test_a_key_means_what_the_body_says_however_it_is_written(house: Diner) -> None:
    key = str(uuid4())
    product = house.products[0]["id"]
    first = await send(house, raw_order(house), Idempotency_Key=key)
    spaced = f'{{ "items" : [ {{ "quantity" : 1, "product_id" : "{product.upper()}" }} ], "name": null }}'
    again = await send(house, spaced.encode(), Idempotency_Key=key)
    assert again.status == 201
    assert again.body["id"] == first.body["id"]


async def test_while_the_first_is_at_work_the_second_is_told_to_wait(house: Diner) -> None:
    key = str(uuid4())
    # As it stands while the charge of the first is asked for.
    house.sandbox.arm("server_error")
    await house.place(1, key=key)
    await house.pool.execute(
        "UPDATE idempotency_keys SET busy_until = $1", house.checkout.clock() + timedelta(seconds=20)
    )
    busy = await house.call("POST", "/v1/orders", house.basket(1), headers={"Idempotency-Key": key})
    assert (busy.status, busy.code) == (409, "request_in_progress")
    assert int(busy.headers["retry-after"]) >= 1


@pytest.mark.parametrize(
    "query",
    [
        "limit=0",
        "limit=201",
        "limit=x",
        "limit=",
        "limit=%00",
        "limit=" + "9" * 300,
        "status=eaten",
        "status=",
        "cursor=" + "a" * 201,
    ],
)
async def test_queries_that_are_refused(house: Diner, query: str) -> None:
    answer = await house.call("GET", f"/v1/orders?{query}", role=Role.STAFF)
    assert (answer.status, answer.code) == (422, "invalid")


@pytest.mark.parametrize(
    "cursor",
    [
        "zzz",
        "%00",
        "%ff",
        "%E2%82%AC",
        "MDAwMS0wMS0wMVQwMDowMDowMCsxNDowMCAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMA==",
        "OTk5OS0xMi0zMVQyMzo1OTo1OS0xNDowMCAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMA==",
        # A moment of no time zone.
        "MjAyNi0xMS0yMlQxMDowMDowMCAyZjFjNmYwZS04ZDNhLTRjNTUtOWE1My02YTNmMGExZDdjMTE=",
    ],
)
async def test_cursors_that_no_list_gave(house: Diner, cursor: str) -> None:
    answer = await house.call("GET", f"/v1/orders?cursor={cursor}", role=Role.STAFF)
    assert (answer.status, answer.code) == (400, "invalid_cursor")


async def test_details_do_not_repeat_what_was_sent(house: Diner) -> None:
    answer = await house.call("POST", "/v1/orders", order(house, name=["my secret"]))
    assert "my secret" not in json.dumps(answer.body)


async def test_no_body_says_that_one_is_needed(house: Diner) -> None:
    assert (await send(house, b"")).body["detail"] == "send a JSON body"
