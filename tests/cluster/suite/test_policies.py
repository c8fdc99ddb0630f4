"""The judge of network policies, on some whose meaning is known; the product's own are judged where they are tested."""

import pytest

from tests.cluster.machine import Failed
from tests.cluster.objects import Json
from tests.cluster.policies import Outside, Pod, Way, allowed

pytestmark = [pytest.mark.cluster, pytest.mark.apart, pytest.mark.needs("cyclonus")]

API = Pod("diner", {"app": "api"}, {})
DATABASE = Pod("store", {"app": "database"}, {"team": "store"})
STRANGER = Pod("elsewhere", {"app": "api"}, {})
GUEST = Outside("203.0.113.7")


def policy(namespace: str, name: str, spec: Json) -> Json:
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": name, "namespace": namespace},
        "spec": spec,
    }


def closed(namespace: str) -> Json:
    return policy(namespace, "none", {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]})


def opened(to: str) -> list[Json]:
    """Answer what opens the way from the API to the database's port, at one end or both."""
    ports = [{"protocol": "TCP", "port": 5432}]
    of_diner = {
        "podSelector": {"matchLabels": {"app": "api"}},
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "diner"}},
    }
    of_store = {
        "podSelector": {"matchLabels": {"app": "database"}},
        "namespaceSelector": {"matchLabels": {"team": "store"}},
    }
    out = {
        "podSelector": {"matchLabels": {"app": "api"}},
        "policyTypes": ["Egress"],
        "egress": [{"to": [of_store], "ports": ports}],
    }
    in_ = {
        "podSelector": {"matchLabels": {"app": "database"}},
        "policyTypes": ["Ingress"],
        "ingress": [{"from": [of_diner], "ports": ports}],
    }
    ends = {"out": [policy("diner", "out", out)], "in": [policy("store", "in", in_)]}
    return [*ends["out"], *ends["in"]] if to == "both" else ends[to]


def test_without_policies_every_way_is_open() -> None:
    assert allowed([closed("nobody")], [Way(API, DATABASE, 5432), Way(GUEST, API, 8000)]) == [True, True]


@pytest.mark.parametrize(("ends", "open_"), [("in", False), ("out", False), ("both", True)])
def test_a_way_is_open_if_both_its_ends_are(ends: str, open_: bool) -> None:
    policies = [closed("diner"), closed("store"), *opened(ends)]
    assert allowed(policies, [Way(API, DATABASE, 5432)]) == [open_]


def test_another_port_protocol_namespace_or_direction_stays_closed() -> None:
    policies = [closed("diner"), closed("store"), *opened("both")]
    ways = [
        Way(API, DATABASE, 5433),
        Way(API, DATABASE, 5432, protocol="UDP"),
        Way(STRANGER, DATABASE, 5432),
        Way(DATABASE, API, 5432),
        Way(GUEST, DATABASE, 5432),
    ]
    assert allowed(policies, ways) == [False] * len(ways)


def test_addresses_are_judged_with_their_exceptions() -> None:
    block = {"ipBlock": {"cidr": "203.0.113.0/24", "except": ["203.0.113.128/25"]}}
    spec = {"podSelector": {}, "policyTypes": ["Ingress"], "ingress": [{"from": [block]}]}
    ways = [Way(GUEST, API, 8000), Way(Outside("203.0.113.200"), API, 8000)]
    assert allowed([policy("diner", "block", spec)], ways) == [True, False]


def test_a_policy_without_a_namespace_is_refused() -> None:
    nowhere = closed("diner")
    del nowhere["metadata"]["namespace"]
    with pytest.raises(Failed, match="namespace"):
        allowed([nowhere], [Way(API, DATABASE, 5432)])
