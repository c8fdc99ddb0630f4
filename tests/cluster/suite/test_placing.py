"""Where pods go: over zones and nodes; more under load, and fewer after it."""

import contextlib
import threading

import pytest

from tests.cluster.layout import NODES
from tests.cluster.suite.kube import Space, deployment, service, until

pytestmark = pytest.mark.cluster
ZONES = {node.name: node.zone for node in NODES}


def spread(key: str, app: str) -> dict[str, object]:
    return {
        "maxSkew": 1,
        "topologyKey": key,
        "whenUnsatisfiable": "DoNotSchedule",
        "labelSelector": {"matchLabels": {"app": app}},
    }


def test_nodes_have_the_labels_that_eks_gives(space: Space) -> None:
    nodes = {each["metadata"]["name"]: each["metadata"]["labels"] for each in space.kube.get("nodes")}
    assert set(nodes) == {node.name for node in NODES}
    for node in NODES:
        assert nodes[node.name].items() >= node.labels.items()
    assert [labels["comanda/node-group"] for _, labels in sorted(nodes.items())] == ["general", "database", "general"]
    assert len({labels["topology.kubernetes.io/zone"] for labels in nodes.values()}) == 2


def test_pods_are_spread_over_zones_and_nodes(space: Space) -> None:
    keys = ("topology.kubernetes.io/zone", "kubernetes.io/hostname")
    space.apply(deployment(space, "wide", 2, topologySpreadConstraints=[spread(key, "wide") for key in keys]))
    space.rolled_out("deployment/wide")
    assert len({ZONES[each["spec"]["nodeName"]] for each in space.pods("wide")}) == 2


@pytest.mark.needs("metrics-server")
def test_real_cpu_brings_more_pods_and_its_end_fewer(space: Space) -> None:
    space.apply(
        deployment(space, "busy", None, container={"resources": {"requests": {"cpu": "50m", "memory": "16Mi"}}}),
        service("busy"),
        {
            "apiVersion": "autoscaling/v2",
            "kind": "HorizontalPodAutoscaler",
            "metadata": {"name": "busy"},
            "spec": {
                "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "busy"},
                "minReplicas": 1,
                "maxReplicas": 3,
                "metrics": [
                    {
                        "type": "Resource",
                        "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 60}},
                    }
                ],
                "behavior": {"scaleDown": {"stabilizationWindowSeconds": 0}},
            },
        },
    )
    space.rolled_out("deployment/busy")
    enough = threading.Event()

    def burn() -> None:
        while not enough.is_set():
            # The way to it breaks when its pod goes: then by another.
            with contextlib.suppress(OSError, AssertionError), space.at("deployment/busy") as call:
                while not enough.is_set():
                    call("/burn?ms=300")

    burner = threading.Thread(target=burn)
    burner.start()
    try:
        until("three pods under load", lambda: len(space.pods("busy")) == 3, 120)
    finally:
        enough.set()
        burner.join()
    until("one pod once it is over", lambda: len(space.pods("busy")) == 1, 120)


@pytest.mark.needs("metrics-server")
def test_what_pods_use_can_be_looked_at(space: Space) -> None:
    rows = space.kube("top", "nodes", "--no-headers").splitlines()
    assert sorted(row.split()[0] for row in rows) == [node.name for node in NODES]
    space.apply(deployment(space, "seen"))
    space.rolled_out("deployment/seen")
    until("the pod's metrics", lambda: "seen-" in space("top", "pods", "--no-headers", check=False))
