"""What the tests of Comanda on the cluster may ask for."""

from pathlib import Path

import pytest

from comanda.follow_settings import ANNOTATION
from tests.cluster.comanda.house import House
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
    """Comanda, as `make cluster-comanda` put it there, at rest: a new installation is rolled out once more by itself.

    (docs/decisions/0008: the job that follows the settings writes down which the pods have.)
    """
    found = House.standing()
    for name in ("comanda-api", "comanda-worker"):
        until("the settings are followed", lambda name=name: _is_marked(found, name), 180)
        found.rolled_out(f"deployment/{name}")
        until("the old pods are gone", lambda name=name: _has_no_old_pods(found, name), 120)
    return found


def _is_marked(house: House, name: str) -> bool:
    template = house.kube.get("--namespace=comanda", "deployment", name)["spec"]["template"]
    return ANNOTATION in template["metadata"].get("annotations", {})


def _has_no_old_pods(house: House, name: str) -> bool:
    pods = house.kube.get("--namespace=comanda", "pods", f"--selector=app.kubernetes.io/name={name}")
    return not any("deletionTimestamp" in pod["metadata"] for pod in pods)
