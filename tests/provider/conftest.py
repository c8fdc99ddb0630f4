"""The real client, with time-outs short enough that a test of them is no wait."""

from collections.abc import AsyncIterator, Callable
from typing import TypeAlias

import pytest
from prometheus_client import REGISTRY

from comanda.payments.mercado_pago import MercadoPago
from tests.provider.samples import TOKEN
from tests.provider.scripted import ScriptedServer

Outcomes: TypeAlias = Callable[[str, str], float]


@pytest.fixture
async def server() -> AsyncIterator[ScriptedServer]:
    async with ScriptedServer() as scripted:
        yield scripted


@pytest.fixture
async def client(server: ScriptedServer) -> AsyncIterator[MercadoPago]:
    """The client of the scripted server, patient for two seconds."""
    async with MercadoPago(
        base_url=server.url, access_token=TOKEN, timeout=2, connect_timeout=1, user_agent="comanda/test"
    ) as opened:
        yield opened


@pytest.fixture
def outcomes() -> Outcomes:
    """How many calls of an operation had an outcome since the test began."""

    def told(operation: str, outcome: str) -> float:
        labels = {"operation": operation, "outcome": outcome}
        return REGISTRY.get_sample_value("comanda_provider_requests_total", labels) or 0.0

    before: dict[tuple[str, str], float] = {}
    for metric in REGISTRY.collect():
        for sample in metric.samples:
            if sample.name == "comanda_provider_requests_total":
                before[sample.labels["operation"], sample.labels["outcome"]] = sample.value
    return lambda operation, outcome: told(operation, outcome) - before.get((operation, outcome), 0.0)
