"""Who may do what, asked of every route that the OpenAPI document knows: a new one cannot be forgotten."""

import re
from uuid import uuid4

import pytest

from comanda.staff.keys import Role, create_key, revoke_key
from tests.http.documented import operations
from tests.running_diner import Diner

pytestmark = pytest.mark.asyncio(loop_scope="module")

FOR_ANYONE = {
    ("GET", "/v1/menu"),
    ("POST", "/v1/orders"),
    ("GET", "/v1/orders/{order_id}"),
    ("GET", "/v1/orders/{order_id}/events"),
    ("POST", "/v1/orders/{order_id}/cancel"),
    ("GET", "/v1/board"),
    ("GET", "/v1/board/events"),
    ("POST", "/v1/webhooks/mercado-pago"),
    ("GET", "/readyz"),
}
FOR_STAFF = {
    ("GET", "/v1/orders"),
    ("GET", "/v1/kitchen"),
    ("GET", "/v1/kitchen/events"),
    ("PATCH", "/v1/orders/{order_id}"),
    ("POST", "/v1/orders/{order_id}/refunds"),
    ("GET", "/v1/orders/{order_id}/refunds"),
}
GUARDED = sorted(set(operations()) - FOR_ANYONE)
FOR_MANAGERS = sorted(set(GUARDED) - FOR_STAFF)


def filled(path: str) -> str:
    return re.sub(r"\{\w+\}", str(uuid4()), path)


async def test_the_document_says_who_needs_a_key() -> None:
    assert set(operations()) >= FOR_ANYONE | FOR_STAFF
    for route, operation in operations().items():
        assert bool(operation.get("security")) is (route not in FOR_ANYONE), route


@pytest.mark.parametrize(("method", "path"), GUARDED)
@pytest.mark.parametrize(
    "header", [None, "", "Bearer", "Bearer ", "Basic c3RhZmY6", "Bearer comanda_staff_x", "Bearer é"]
)
async def test_without_a_key_nothing_is_told(house: Diner, method: str, path: str, header: str | None) -> None:
    headers = {"Content-Type": "application/json"} | ({} if header is None else {"Authorization": header})
    answer = await house.call(method, filled(path) + "?limit=none", {"unknown": "field"}, headers=headers)
    assert (answer.status, answer.code) == (401, "unauthenticated")
    assert answer.headers["www-authenticate"].startswith("Bearer")


@pytest.mark.parametrize(("method", "path"), FOR_MANAGERS)
async def test_staff_may_not_do_what_managers_do(house: Diner, method: str, path: str) -> None:
    answer = await house.call(method, filled(path), {"unknown": "field"}, role=Role.STAFF)
    assert (answer.status, answer.code) == (403, "forbidden")


@pytest.mark.parametrize(("method", "path"), [route for route in GUARDED if not route[1].endswith("/events")])
async def test_a_manager_may_do_all(house: Diner, method: str, path: str) -> None:
    answer = await house.call(method, filled(path), role=Role.MANAGER)
    assert answer.status in {200, 404, 422}


async def test_the_scheme_is_read_in_any_case(house: Diner) -> None:
    for scheme in ("bearer", "BEARER", "Bearer "):
        headers = {"Authorization": f"{scheme} {house.keys[Role.STAFF]}"}
        assert (await house.call("GET", "/v1/kitchen", headers=headers)).status == 200


async def test_a_revoked_key_ends_at_once(house: Diner) -> None:
    async with house.pool.acquire() as connection:
        key = await create_key(connection, name="leaves soon", role=Role.STAFF, now=house.checkout.clock())
    headers = {"Authorization": f"Bearer {key}"}
    assert (await house.call("GET", "/v1/kitchen", headers=headers)).status == 200
    async with house.pool.acquire() as connection:
        await revoke_key(connection, "leaves soon", house.checkout.clock())
    assert (await house.call("GET", "/v1/kitchen", headers=headers)).status == 401


async def test_keys_are_stored_hashed(house: Diner) -> None:
    rows = await house.pool.fetch("SELECT api_keys::text AS row FROM api_keys")
    assert rows
    for key in house.keys.values():
        assert not any(key in row["row"] for row in rows)
