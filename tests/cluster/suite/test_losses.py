"""What is lost and comes back: a node that is drained, one with all that runs on it, the API server.

These run alone: what they take away, others would miss.
"""

import os
import signal
import sys
from collections.abc import Iterator

import pytest

from tests.cluster.bringing_up import is_ready
from tests.cluster.layout import NODES, layout
from tests.cluster.machine import Failed, run
from tests.cluster.objects import Json
from tests.cluster.suite.kube import Space, deployment, service, until
from tests.cluster.suite.test_volumes import claim, disks, user  # noqa: F401 - a fixture
from tests.cluster.supervisor import ask

pytestmark = [pytest.mark.cluster, pytest.mark.alone]
LOST = NODES[1]


@pytest.fixture
def lost(space: Space) -> Iterator[str]:
    """The database's node, which is back at the end whatever became of it."""
    yield LOST.name
    ask(layout(), "power-on", node=LOST.name)
    until(f"{LOST.name} is back", lambda: any(is_ready(each) for each in _named(space, LOST.name)), 90)


@pytest.mark.needs("external-snapshotter", "external-provisioner", "external-resizer")
def test_a_lost_node_s_pods_go_to_the_zone_s_other_node_with_their_data(
    disks: Space,  # noqa: F811 - the fixture
    lost: str,
) -> None:
    one = {"nodeSelector": {"topology.kubernetes.io/zone": LOST.zone}}
    preferring = {
        "nodeAffinity": {
            "preferredDuringSchedulingIgnoredDuringExecution": [
                {
                    "weight": 100,
                    "preference": {
                        "matchExpressions": [{"key": "comanda/node-group", "operator": "In", "values": ["database"]}]
                    },
                }
            ]
        }
    }
    template = user(disks, "db", "data", affinity=preferring, **one)
    spec = {
        "serviceName": "db",
        "replicas": 1,
        "selector": {"matchLabels": {"app": "db"}},
        "template": {"metadata": {"labels": {"app": "db"}}, "spec": template["spec"]},
    }
    disks.apply(
        claim("data"),
        service("db", headless=True),
        {"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": "db"}, "spec": spec},
        deployment(disks, "web", 3, topologySpreadConstraints=[_over_nodes("web")]),
        service("web"),
    )
    disks.rolled_out("statefulset/db")
    disks.rolled_out("deployment/web")
    assert disks.node_of("db-0") == lost
    with disks.at("pod/db-0") as call:
        assert call("/file?path=/data/order", body="kept") == "written"

    ask(layout(), "power-off", node=lost)
    until(f"{lost} is not ready", lambda: not is_ready(disks.kube.get("node", lost)), 120)
    alive = next(each for each in disks.pods("web") if each["spec"]["nodeName"] != lost)["metadata"]["name"]
    with disks.at(f"pod/{alive}") as call:
        until("traffic goes to the others alone", lambda: _all_answer(call), 60)
    disks.kube("delete", "node", lost)  # as EKS does with an instance that is gone
    disks.wait("pod/db-0", "condition=Ready", 120)
    now = disks.node_of("db-0")
    assert now != lost
    assert {node.name: node.zone for node in NODES}[now] == LOST.zone
    with disks.at("pod/db-0") as call:
        assert call("/file?path=/data/order") == "kept"


def test_a_drained_node_is_left_one_pod_at_a_time(space: Space) -> None:
    space.apply(
        deployment(space, "kept", 2, topologySpreadConstraints=[_over_nodes("kept", "DoNotSchedule")]),
        {
            "apiVersion": "policy/v1",
            "kind": "PodDisruptionBudget",
            "metadata": {"name": "kept"},
            "spec": {"minAvailable": 2, "selector": {"matchLabels": {"app": "kept"}}},
        },
    )
    space.rolled_out("deployment/kept")
    node = space.pods("kept")[0]["spec"]["nodeName"]
    drain = ("drain", node, "--pod-selector=app=kept", "--delete-emptydir-data", "--ignore-daemonsets")
    try:
        until("the budget is counted", lambda: space.get("pdb", "kept")["status"].get("currentHealthy") == 2)
        with pytest.raises(Failed, match=r"global timeout reached|Cannot evict pod"):
            space.kube(*drain, "--timeout=4s")
        assert len(space.pods("kept")) == 2, "nothing was evicted that the budget keeps"
        space("patch", "pdb", "kept", "--type=merge", '--patch={"spec": {"minAvailable": 1}}')
        space.kube(*drain, "--timeout=60s")
        space.rolled_out("deployment/kept")
        assert node not in {each["spec"]["nodeName"] for each in space.pods("kept")}
    finally:
        space.kube("uncordon", node)


def test_the_api_server_dies_and_is_back_and_pods_serve_on(space: Space) -> None:
    space.apply(deployment(space, "web", 2), service("web"))
    space.rolled_out("deployment/web")
    pods = space.pods("web")
    before = {each["metadata"]["uid"] for each in pods}
    killed = ask(layout(), "status")["kube-apiserver"]
    os.kill(killed, signal.SIGKILL)
    until("it is started again", lambda: ask(layout(), "status")["kube-apiserver"] not in {None, killed})
    until("the API server answers", lambda: space.kube("get", "--raw=/readyz", check=False) == "ok")
    ask(layout(), "stop", names=["kube-apiserver"])
    assert ask(layout(), "status")["kube-apiserver"] is None
    for each in pods:
        assert "node" in _said_by(each["status"]["podIP"]), "while nobody answers kubectl"
    ask(layout(), "start", names=["kube-apiserver"])
    until("the API server answers", lambda: space.kube("get", "--raw=/readyz", check=False) == "ok")
    assert {each["metadata"]["uid"] for each in space.pods("web")} == before
    space("scale", "deployment/web", "--replicas=3")
    space.rolled_out("deployment/web")


def _over_nodes(app: str, otherwise: str = "ScheduleAnyway") -> dict[str, object]:
    return {
        "maxSkew": 1,
        "topologyKey": "kubernetes.io/hostname",
        "whenUnsatisfiable": otherwise,
        "labelSelector": {"matchLabels": {"app": app}},
    }


def _said_by(pod: str) -> str:
    """Ask a pod by its address, from its network and past the API server."""
    asks = f"import urllib.request as u; print(u.urlopen('http://{pod}:8080/', timeout=10).read().decode())"
    return run("nsenter", f"--net=/run/netns/{layout().namespace(NODES[0])}", sys.executable, "-c", asks)


def _all_answer(call: object) -> bool:
    assert callable(call)
    return all("node" in call("/get?url=http://web/") for _ in range(10))


def _named(space: Space, node: str) -> list[Json]:
    """Answer the node, or nothing while it has not said yet that it is there again."""
    found: list[Json] = space.kube.get("nodes", f"--field-selector=metadata.name={node}")
    return found
