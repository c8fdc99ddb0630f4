"""The OpenAPI document is true: what it says is checked against the running server by schemathesis."""

import asyncio
import contextlib
import random
import time
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any, TypeAlias

import hypothesis
import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from comanda.app import describe
from comanda.staff.keys import Role
from tests.conftest import seed
from tests.http.documented import operations
from tests.running_diner import Diner, running_diner

ENDLESS = {"/v1/kitchen/events", "/v1/board/events"}
"""Streams that never end by themselves; `test_streams` reads them."""

SECONDS = 20
"""After so long there are only two examples for each operation, key and kind of data."""

EXAMPLES = 10

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]


Case: TypeAlias = schemathesis.Case[Any]


class Caller:
    """Calls the server with one key, and holds its answers against the document."""

    def __init__(self, diner: Diner, role: Role, known: dict[str, str]) -> None:
        self._url = diner.url
        self._headers = {"Authorization": f"Bearer {diner.keys[role]}"}
        self._known = known
        self._session = requests.Session()
        self.statuses: list[int] = []

    def knowing(self, case: Case) -> None:
        """Call, every second time with ids that there are."""
        if len(self.statuses) % 2:
            case.path_parameters = {name: self._known[name] for name in case.path_parameters or {}}
            self._with_known_ids(case.body)
        self.call(case)

    def call(self, case: Case) -> None:
        """Call as schemathesis says."""
        response = case.call(base_url=self._url, session=self._session, headers=self._headers, timeout=10)
        self.statuses.append(response.status_code)
        case.validate_response(response, checks=CHECKS)

    def _with_known_ids(self, body: Any) -> None:
        if isinstance(body, dict):
            for name, value in body.items():
                if name in self._known:
                    body[name] = self._known[name]
                self._with_known_ids(value)
        elif isinstance(body, list):
            for each in body:
                self._with_known_ids(each)


def explore(caller: Caller, end: float) -> set[tuple[str, str]]:
    """Call every operation with right and with wrong data; answer which."""
    reached = set()
    schema = schemathesis.openapi.from_dict(describe())
    for result in schema.get_all_operations():
        operation = result.ok()  # type: ignore[union-attr]
        if operation.path in ENDLESS:
            continue
        for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):
            # Where nothing can be got wrong there is no wrong data.
            nothing_wrong = contextlib.suppress(Unsatisfiable) if mode is GenerationMode.NEGATIVE else nullcontext()
            knowing = mode is GenerationMode.POSITIVE and not operation.path.endswith("/events")
            with nothing_wrong:
                run(
                    operation.as_strategy(generation_mode=mode),
                    caller.knowing if knowing else caller.call,
                    EXAMPLES if time.monotonic() < end else 2,
                )
            reached.add((operation.method.upper(), operation.path))
    return reached


def run(strategy: Any, call: Callable[[Case], None], examples: int) -> None:
    """Call with some examples, the same for the same seed."""

    @hypothesis.seed(seed())
    @hypothesis.settings(
        max_examples=examples,
        deadline=None,
        database=None,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @hypothesis.given(case=strategy)
    def each(case: Case) -> None:
        call(case)

    each()


@pytest.mark.parametrize("role", list(Role))
async def test_the_server_does_what_its_document_says(role: Role, database_url: str, chance: random.Random) -> None:
    async with running_diner(database_url, chance, BODY_TIMEOUT_MS=1000) as diner:
        order = await diner.place_paid(5)
        catalogue = (await diner.call("GET", "/v1/products", role=Role.MANAGER)).body
        known = {
            "order_id": order["id"],
            "product_id": catalogue["products"][-1]["id"],
            "category_id": catalogue["categories"][-1]["id"],
        }
        caller = Caller(diner, role, known)
        reached = await asyncio.to_thread(explore, caller, time.monotonic() + SECONDS / len(Role))
    assert reached == {route for route in operations() if route[1] not in ENDLESS}
    assert {200, 404, 422} <= set(caller.statuses)


def test_the_document_is_openapi_3_1() -> None:
    document = describe()
    assert document["openapi"].startswith("3.1.")
    assert document["info"]["title"] == "Comanda"
    ids = [operation["operationId"] for operation in operations().values()]
    assert len(set(ids)) == len(ids)


def test_every_operation_says_what_it_does_and_how_it_fails() -> None:
    for route, operation in operations().items():
        assert operation["summary"], route
        assert operation["tags"], route
        for status, answer in operation["responses"].items():
            if status != "304" and int(status) >= 400 and route[1] != "/readyz":
                assert list(answer["content"]) == ["application/problem+json"], (route, status)


def test_no_type_takes_fields_that_it_does_not_know() -> None:
    types = describe()["components"]["schemas"]
    for name in ("OrderRequest", "ItemRequest", "RefundRequest", "NewProduct", "ProductChange", "StatusChange"):
        assert types[name]["additionalProperties"] is False, name


async def test_the_document_is_served_as_it_is_printed(diner: Diner) -> None:
    assert (await diner.call("GET", "/openapi.json")).body == describe()
