"""One diner for all tests of a module that share one, and an eye on every answer."""

import random
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from comanda_local.postgres import EmbeddedPostgres
from tests.conftest import fresh_database, seed, url_of
from tests.http import documented
from tests.running_diner import Answer, Diner, running_diner


@pytest.fixture(autouse=True)
def every_answer_is_documented(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hold every answer that a test sees against the OpenAPI document."""
    call = Diner.call

    async def call_and_check(diner: Diner, method: str, path: str, *arguments: Any, **options: Any) -> Answer:
        answer = await call(diner, method, path, *arguments, **options)
        documented.check(method, path, answer)
        return answer

    monkeypatch.setattr(Diner, "call", call_and_check)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def house(server: EmbeddedPostgres, template: str, request: pytest.FixtureRequest) -> AsyncIterator[Diner]:
    """A diner that all tests of a module share: nothing may depend on what else is ordered there."""
    chance = random.Random(f"{seed()} {request.node.nodeid}")
    async with fresh_database(server, template) as url:
        app_url = url_of(server, url.rpartition("/")[2], user="app")
        async with running_diner(app_url, chance) as diner:
            yield diner
