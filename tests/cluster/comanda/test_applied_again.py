"""The runbook's order applied once more, by hand and by the tool: nothing changes, and no pod is made anew."""

from typing import Any

import pytest

from tests.cluster.comanda.house import House
from tests.manifests.reading import documents, files

STEPS = ("database", "api", "monitoring")

NOT_ITS_OWN = {"managedFields", "resourceVersion"}
"""What the API server writes into an object by itself."""


def test_by_kubectl_file_by_file(house: House) -> None:
    before, pods = _objects(house), _pods(house)
    for file in files():
        house.kube("apply", f"--filename={file}")
    assert _objects(house) == before
    assert _pods(house) == pods


def test_by_the_tool(house: House) -> None:
    before, pods = _objects(house), _pods(house)
    for step in STEPS:
        house.deploy("step", step, "--yes")
    assert _objects(house) == before
    assert _pods(house) == pods


@pytest.mark.parametrize("step", STEPS)
def test_the_tool_says_that_there_is_nothing_to_do(house: House, step: str) -> None:
    said = house.deploy("step", step, "--yes")
    assert "Nothing to do" in said, said


def _objects(house: House) -> dict[str, Any]:
    """Answer every object of the manifests as the cluster has it, but for its status and what no person wrote."""
    found = {}
    for each in documents():
        namespace = [f"--namespace={each.namespace}"] if each.namespace else []
        group = each.body["apiVersion"].rpartition("/")[0]
        kind = f"{each.kind}.{group}" if group else each.kind
        body = house.kube.get(*namespace, kind.lower(), each.name)
        body.pop("status", None)
        body["metadata"] = {key: value for key, value in body["metadata"].items() if key not in NOT_ITS_OWN}
        found[str(each)] = body
    return found


def _pods(house: House) -> set[str]:
    """Answer the pods of everything that runs on and on; a job's come and go."""
    running = ("StatefulSet", "Deployment", "DaemonSet")
    apps = {(each.name, each.namespace) for each in documents() if each.kind in running}
    return {pod["metadata"]["uid"] for app, namespace in apps for pod in house.pods(app, namespace)}
