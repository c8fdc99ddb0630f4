"""Ten API pods and all that stands beside them must fit, or preflight says what is too small."""

from typing import Any

import msgspec
import pytest

from comanda_deploy.capacity import ANYWHERE, InstanceSize, Load, shortages
from comanda_deploy.helm_release import Release, values_of
from comanda_deploy.settings import Settings, read_settings
from comanda_deploy.steps import cluster_autoscaler, load_balancer_controller
from comanda_deploy.steps.external_secrets import RELEASE as OPERATOR

LARGE = InstanceSize("t3.large", vcpus=2, memory=8192, interfaces=3, addresses=12)
LARGE_AMD = InstanceSize("t3a.large", vcpus=2, memory=8192, interfaces=3, addresses=12)
MICRO = InstanceSize("t3.micro", vcpus=2, memory=1024, interfaces=2, addresses=2)


def settings(**nodes: object) -> Settings:
    published = read_settings()
    return msgspec.structs.replace(published, nodes=msgspec.structs.replace(published.nodes, **nodes))


def test_what_a_node_has_is_what_eks_says() -> None:
    assert LARGE.pods == 35, "EKS' own table for t3.large"
    assert LARGE.free_millicores == 1930, "kubelet reserves 70 millicores of two cores"
    assert InstanceSize("m7i.xlarge", 4, 16384, 4, 15).pods == 58
    assert InstanceSize("m7i.xlarge", 4, 16384, 4, 15).free_millicores == 3920


def test_as_published_there_is_room() -> None:
    assert shortages(settings(), [LARGE, LARGE_AMD]) == []


def test_too_few_nodes_are_said_with_what_is_missing() -> None:
    (cpu, *_) = shortages(settings(max_per_zone=1), [LARGE, LARGE_AMD])
    assert cpu.startswith("2 general nodes of type t3.large have room for ")
    assert "millicores of CPU" in cpu


def test_the_smallest_type_counts_since_the_group_may_get_it() -> None:
    said = shortages(settings(instance_types=("t3.large", "t3.micro")), [LARGE, LARGE_AMD, MICRO])
    assert any("t3.micro" in each and "pods" in each for each in said)


def test_the_database_needs_its_own_room() -> None:
    said = shortages(settings(database_instance_types=("t3.micro",)), [LARGE, LARGE_AMD, MICRO])
    assert any(each.startswith("the database's node of type t3.micro") for each in said)


@pytest.mark.parametrize(
    ("name", "release", "part"),
    [
        ("external-secrets", OPERATOR, ""),
        ("external-secrets-webhook", OPERATOR, "webhook"),
        ("external-secrets-cert-controller", OPERATOR, "certController"),
        ("aws-load-balancer-controller", load_balancer_controller.RELEASE, ""),
        ("cluster-autoscaler", cluster_autoscaler.RELEASE, ""),
    ],
)
def test_what_is_counted_is_what_the_values_ask_for(name: str, release: Release, part: str) -> None:
    """That the charts make it so of these values stands in tests/charts, of those that can be had."""
    values: dict[str, Any] = values_of(release, {})
    values = values[part] if part else values
    requests = values["resources"]["requests"]
    millicores, memory = int(requests["cpu"].removesuffix("m")), int(requests["memory"].removesuffix("Mi"))
    (counted,) = (load for load in ANYWHERE if load.name == name)
    assert counted == Load(name, values["replicaCount"], millicores, memory)
