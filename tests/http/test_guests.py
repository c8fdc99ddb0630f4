"""What a guest's browser sees: the menu, an order from placing to cancelling, the board."""

import base64
import io
import re
from typing import Any
from uuid import UUID

import msgspec
import pytest
import zxingcpp
from PIL import Image

from comanda.checkout.order_document import OrderDocument
from comanda.kitchen.board import Board
from comanda.menu.model import Menu
from tests.http.documented import operations
from tests.running_diner import Diner

pytestmark = pytest.mark.asyncio(loop_scope="module")


def strictly(kind: type[Any], body: object) -> Any:
    """Decode an answer into its type, which must know each of its fields."""
    return msgspec.json.decode(msgspec.json.encode(body), type=kind)


async def test_the_menu_has_the_fields_of_the_contract(house: Diner) -> None:
    answer = await house.call("GET", "/v1/menu")
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["etag"].startswith('"')
    assert set(answer.body) == {"categories"}
    for category in answer.body["categories"]:
        assert set(category) == {"id", "name", "products"}
        assert category["products"]
        for product in category["products"]:
            assert set(product) == {"id", "name", "description", "price_cents", "image_url", "available"}
            assert product["available"] is True
            assert type(product["price_cents"]) is int
    strictly(Menu, answer.body)


@pytest.mark.parametrize("spelling", ["{}", "W/{}", '"other", {}', '"a",{} ,"b"', "*"])
async def test_an_unchanged_menu_is_not_sent_again(house: Diner, spelling: str) -> None:
    etag = (await house.call("GET", "/v1/menu")).headers["etag"]
    answer = await house.call("GET", "/v1/menu", headers={"If-None-Match": spelling.format(etag)})
    assert (answer.status, answer.body, answer.headers["etag"]) == (304, "", etag)


async def test_another_etag_gets_the_menu(house: Diner) -> None:
    answer = await house.call("GET", "/v1/menu", headers={"If-None-Match": '"other"'})
    assert answer.status == 200
    assert answer.body["categories"]


async def test_an_order_has_the_fields_of_the_contract(house: Diner) -> None:
    first, second = house.products[:2]
    body = {
        "items": [
            {"product_id": first["id"], "quantity": 2, "notes": "sem cebola"},
            {"product_id": second["id"], "quantity": 1},
        ],
        "notes": "para viagem",
        "name": "Zé",
    }
    answer = await house.call("POST", "/v1/orders", body)
    assert answer.status == 201
    order = answer.body
    assert answer.headers["location"] == f"/v1/orders/{order['id']}"
    assert answer.headers["cache-control"] == "no-store"
    assert list(order) == [
        "id",
        "pickup_number",
        "status",
        "total_cents",
        "refunded_cents",
        "items",
        "notes",
        "name",
        "created_at",
        "paid_at",
        "payment",
    ]
    document: OrderDocument = strictly(OrderDocument, order)
    assert document.id.version == 4
    assert (document.pickup_number, document.paid_at, document.status) == (None, None, "awaiting_payment")
    assert document.total_cents == 2 * first["price_cents"] + second["price_cents"]
    assert (document.notes, document.name, document.refunded_cents) == ("para viagem", "Zé", 0)
    assert order["items"] == [
        {
            "id": 1,
            "product_id": first["id"],
            "name": first["name"],
            "quantity": 2,
            "unit_price_cents": first["price_cents"],
            "notes": "sem cebola",
        },
        {
            "id": 2,
            "product_id": second["id"],
            "name": second["name"],
            "quantity": 1,
            "unit_price_cents": second["price_cents"],
            "notes": None,
        },
    ]
    assert set(order["payment"]) == {"status", "expires_at", "provider_payment_id", "pix"}
    assert order["payment"]["status"] == "pending"
    assert order["payment"]["provider_payment_id"] == house.charge(order)
    for moment in (order["created_at"], order["payment"]["expires_at"]):
        assert moment.endswith(("+00:00", "Z"))
    assert (await house.call("GET", f"/v1/orders/{order['id']}")).body == order


async def test_the_qr_code_says_what_the_text_says(house: Diner) -> None:
    pix = (await house.place(1))["payment"]["pix"]
    assert set(pix) == {"copy_paste", "qr_code_png_base64"}
    png = base64.b64decode(pix["qr_code_png_base64"], validate=True)
    [code] = zxingcpp.read_barcodes(Image.open(io.BytesIO(png)))
    assert code.text == pix["copy_paste"]


async def test_a_paid_order_has_a_number_and_no_pix(house: Diner) -> None:
    order = await house.place_paid(1)
    document: OrderDocument = strictly(OrderDocument, order)
    assert document.pickup_number
    assert document.paid_at
    assert document.payment.pix is None
    assert document.payment.status == "approved"


async def test_cancelling_twice_is_the_same_answer(house: Diner) -> None:
    order = await house.place(1)
    first = await house.call("POST", f"/v1/orders/{order['id']}/cancel")
    again = await house.call("POST", f"/v1/orders/{order['id']}/cancel")
    assert (first.status, first.body["status"]) == (200, "cancelled")
    assert (again.status, again.body["status"]) == (200, "cancelled")


async def test_a_paid_order_cannot_be_cancelled(house: Diner) -> None:
    order = await house.place_paid(1)
    answer = await house.call("POST", f"/v1/orders/{order['id']}/cancel")
    assert answer.status == 409
    assert answer.code


async def test_an_order_whose_provider_is_silent_is_kept(house: Diner) -> None:
    house.sandbox.arm("create_answer_lost")
    order = await house.place(1)
    assert (order["status"], order["payment"]["status"], order["payment"]["pix"]) == (
        "awaiting_payment",
        "requested",
        None,
    )
    await house.later(seconds=30)
    await house.work()
    followed = await house.order(order["id"])
    assert (followed["payment"]["status"], bool(followed["payment"]["pix"])) == ("pending", True)
    assert len(house.sandbox.payments(order["id"])) == 1


async def test_the_board_shows_numbers_and_nothing_else(house: Diner) -> None:
    order = await house.place_paid(1)
    await house.advance(order, "preparing")
    board: Board = strictly(Board, (await house.call("GET", "/v1/board")).body)
    assert order["pickup_number"] in board.preparing
    await house.advance(order, "ready")
    answer = await house.call("GET", "/v1/board")
    assert set(answer.body) == {"preparing", "ready"}
    assert order["pickup_number"] in answer.body["ready"]
    assert order["pickup_number"] not in answer.body["preparing"]


@pytest.mark.parametrize(
    "order_id",
    [str(UUID(int=0)), "unknown", "1", "%00", "%ff", "..%2f..", "a" * 300, f"{UUID(int=7)}0", "0x10", "null"],
)
@pytest.mark.parametrize(("method", "rest"), [("GET", ""), ("GET", "/events"), ("POST", "/cancel")])
async def test_no_such_order(house: Diner, order_id: str, method: str, rest: str) -> None:
    answer = await house.call(method, f"/v1/orders/{order_id}{rest}")
    assert answer.status == 404
    assert answer.code in {"not_found", "order_not_found"}


@pytest.mark.parametrize("path", ["/", "/nothing", "/v1", "/v2/menu", "/metrics", "/livez", "/docs/unknown", "/%2e%2e"])
async def test_no_such_path(house: Diner, path: str) -> None:
    assert (await house.call("GET", path)).code == "not_found"


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "POST", "TRACE", "FOO"])
async def test_methods_that_a_path_does_not_have(house: Diner, method: str) -> None:
    answer = await house.call(method, "/v1/menu")
    assert (answer.status, answer.code) == (405, "method_not_allowed")
    assert {"GET", "HEAD"} <= {part.strip() for part in answer.headers["allow"].split(",")}


@pytest.mark.parametrize("path", sorted({path for _, path in operations()}))
async def test_options_and_405_name_every_method(house: Diner, path: str) -> None:
    known = {method for method, each in operations() if each == path} | {"OPTIONS"}
    known |= {"HEAD"} if "GET" in known else set()
    filled = re.sub(r"\{\w+\}", str(UUID(int=7)), path)
    options = await house.call("OPTIONS", filled)
    assert (options.status, options.body) == (204, "")
    assert set(options.headers["allow"].split(", ")) == known
    refused = await house.call("PUT", filled)
    assert refused.code == "method_not_allowed"
    assert set(refused.headers["allow"].split(", ")) == known


@pytest.mark.parametrize("path", ["/v1/menu", "/v1/board", "/docs", "/openapi.json", "/readyz"])
async def test_head_is_get_without_a_body(house: Diner, path: str) -> None:
    got = await house.call("GET", path)
    head = await house.call("HEAD", path)
    assert (head.status, head.body) == (200, "")
    assert head.headers["content-length"] == got.headers["content-length"]
    assert head.headers["content-type"] == got.headers["content-type"]


async def test_answers_cannot_be_framed_or_sniffed(house: Diner) -> None:
    for path in ("/v1/menu", "/nothing", "/docs"):
        headers = (await house.call("GET", path)).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["x-frame-options"] == "DENY"
        assert headers["referrer-policy"] == "no-referrer"


async def test_the_docs_are_a_page_without_script(house: Diner) -> None:
    answer = await house.call("GET", "/docs")
    assert answer.headers["content-type"].startswith("text/html")
    assert "/v1/orders/{order_id}" in answer.body
    assert "<script" not in answer.body
