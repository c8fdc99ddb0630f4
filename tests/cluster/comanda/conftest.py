"""What the tests of Comanda on the cluster may ask for."""

from pathlib import Path

import pytest

from tests.cluster.comanda.house import House
from tests.cluster.comanda.prometheus import Prometheus
from tests.cluster.comanda.wanted import PARTS
from tests.cluster.suite.kube import until

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what wants Comanda on the cluster, and not only the manifests."""
    for item in items:
        if HERE in item.path.parents and "house" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.cluster)
            item.add_marker(pytest.mark.comanda)
            item.add_marker(pytest.mark.needs(*PARTS))


@pytest.fixture(scope="session")
def house() -> House:
    """Comanda, as `make cluster-comanda` put it there, at rest."""
    found = House.standing()
    found.at_rest()
    return found


@pytest.fixture
def prometheus(house: House) -> Prometheus:
    """The Prometheus beside it, ready."""
    found = Prometheus(house)
    until("Prometheus serves", found.serves, 120)
    return found
