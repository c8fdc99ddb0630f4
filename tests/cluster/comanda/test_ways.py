"""Who may reach whom, pair by pair, by the shipped network policies; nothing else may."""

import itertools

import pytest

from tests.cluster.comanda.__main__ import SANDBOX, to_sandbox
from tests.cluster.policies import Outside, Pod, Way, allowed
from tests.manifests.reading import WORKLOADS, of_kind

pytestmark = [pytest.mark.cluster, pytest.mark.apart, pytest.mark.needs("cyclonus")]

PODS = {
    each.name: Pod(each.namespace, each.pod["metadata"]["labels"], _labels)
    for each in of_kind(*WORKLOADS)
    for _labels in [
        next(space.body["metadata"]["labels"] for space in of_kind("Namespace") if space.name == each.namespace)
    ]
}
OTHERS = {
    "a stranger's pod": Pod("default", {"app.kubernetes.io/name": "comanda-api"}, {}),
    "dns": Pod("kube-system", {"k8s-app": "kube-dns"}, {}),
    "the autoscaler": Pod("kube-system", {"app.kubernetes.io/instance": "cluster-autoscaler"}, {}),
    "External Secrets": Pod("external-secrets", {"app.kubernetes.io/name": "external-secrets"}, {}),
}
PLACES = {
    "the load balancer": Outside("10.20.17.5"),
    "a node": Outside("10.20.40.5"),
    "the API server": Outside("172.20.0.1"),
    "the metadata": Outside("169.254.169.254"),
    # And whoever is told of alerts.
    "Mercado Pago": Outside("203.0.113.20"),
}
PORTS = {
    "dns": (53, "UDP"),
    "https": (443, "TCP"),
    "database": (5432, "TCP"),
    "http": (8000, "TCP"),
    "ops": (9000, "TCP"),
    "database's metrics": (9187, "TCP"),
    "kubelet": (10250, "TCP"),
    "node exporter": (9100, "TCP"),
    "prometheus": (9090, "TCP"),
    "alertmanager": (9093, "TCP"),
    "metrics": (8080, "TCP"),
    "autoscaler's metrics": (8085, "TCP"),
    "grafana": (3000, "TCP"),
    "mail": (587, "TCP"),
}

OPEN = {
    ("the load balancer", "comanda-api", "http"),
    ("comanda-api", "database", "database"),
    ("comanda-worker", "database", "database"),
    ("comanda-api", "dns", "dns"),
    ("comanda-worker", "dns", "dns"),
    ("comanda-api", "Mercado Pago", "https"),
    ("comanda-worker", "Mercado Pago", "https"),
    # The API server's own addresses are in the VPC, and not known beforehand.
    ("comanda-follow-settings", "the API server", "https"),
    ("comanda-follow-settings", "the load balancer", "https"),
    ("comanda-follow-settings", "a node", "https"),
    *(
        (job, place, "https")
        for job in ("database-backup", "database-drill")
        for place in ("the API server", "the load balancer", "a node")
    ),
    # What a drill restores is reached by nobody; what compares it, in the same pod, asks the living one.
    ("database-restored", "database", "database"),
    ("database-restored", "dns", "dns"),
    # Who watches reaches whom it watches, each by the port that tells; of the nodes, whose addresses are the VPC's.
    ("prometheus", "dns", "dns"),
    *(("prometheus", place, "https") for place in ("the API server", "the load balancer", "a node")),
    *(
        ("prometheus", place, port)
        for place in ("the load balancer", "a node")
        for port in ("kubelet", "node exporter")
    ),
    ("prometheus", "comanda-api", "ops"),
    ("prometheus", "comanda-worker", "ops"),
    ("prometheus", "database", "database's metrics"),
    ("prometheus", "alertmanager", "alertmanager"),
    ("prometheus", "kube-state-metrics", "metrics"),
    ("prometheus", "External Secrets", "metrics"),
    ("prometheus", "the autoscaler", "autoscaler's metrics"),
    ("prometheus", "grafana", "grafana"),
    ("grafana", "dns", "dns"),
    ("grafana", "prometheus", "prometheus"),
    *(("kube-state-metrics", place, "https") for place in ("the API server", "the load balancer", "a node")),
    # Slack, a webhook or a mailbox outside.
    ("alertmanager", "dns", "dns"),
    ("alertmanager", "Mercado Pago", "https"),
    ("alertmanager", "Mercado Pago", "mail"),
}


def test_each_pair_on_each_port_is_as_it_should_be() -> None:
    everybody: dict[str, Pod | Outside] = {**PODS, **OTHERS, **PLACES}
    asked = [
        (source, target, port)
        for source, target in itertools.permutations(everybody, 2)
        for port in PORTS
        # Ways between others are not ours to judge.
        if source in PODS or target in PODS
    ]
    ways = [
        Way(everybody[source], everybody[target], PORTS[port][0], protocol=PORTS[port][1])
        for source, target, port in asked
    ]
    judged = allowed([each.body for each in of_kind("NetworkPolicy")], ways)
    found = {each for each, is_open in zip(asked, judged, strict=True) if is_open}
    assert found - OPEN == set(), "open, and should not be"
    assert OPEN - found == set(), "closed, and should be open"


def test_the_sandbox_is_reached_by_the_one_policy_of_the_tests_and_by_nobody_else() -> None:
    policies = [each.body for each in of_kind("NetworkPolicy")]
    sandbox = Outside("172.30.0.1")
    ways = [Way(pod, sandbox, SANDBOX, protocol="TCP") for pod in PODS.values()]
    assert not any(allowed(policies, ways)), "not by what ships"
    with_ours = allowed([*policies, to_sandbox(sandbox.address)], ways)
    reached = {name for name, is_open in zip(PODS, with_ours, strict=True) if is_open}
    assert reached == {"comanda-api", "comanda-worker"}
