"""Addresses and regions in manifests, against those that the settings make."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from comanda_deploy import objects
from comanda_deploy.agreement import disagreements
from comanda_deploy.settings import Settings, read_settings
from comanda_deploy.step import Kind
from comanda_deploy.steps.application import DEPLOYMENT, ApplicationFacts
from tests.deployment.account import USUAL, as_said, changed
from tests.deployment.application import manifest, put, step_of

ELSEWHERE = changed(USUAL, aws={"region": "eu-west-1"}, network={"cidr": "10.30.0.0/16"})


def said(settings: Settings, folder: Path) -> list[str]:
    """Answer what does not agree in a folder, each with its file."""
    return [f"{each.file.name}: {text}" for each in objects.read(folder) for text in disagreements(settings, each)]


def of(settings: Settings, folder: Path, body: dict[str, Any]) -> list[str]:
    (each,) = objects.read(put(folder, a1=[body]))
    return [*disagreements(settings, each)]


@pytest.mark.parametrize("folder", ["api", "db", "monitoring/prometheus"])
def test_as_published_they_agree(folder: str) -> None:
    assert said(read_settings(), DEPLOYMENT / folder) == []


def test_with_other_settings_each_place_is_named() -> None:
    net = "network.cidr of the settings is 10.30.0.0/16, its public subnets are 10.30.0.0/20, 10.30.16.0/20"
    assert said(ELSEWHERE, DEPLOYMENT / "api") == [
        "1-api-secrets-store.yaml: region is sa-east-1, aws.region of the settings is eu-west-1",
        f"3-api-deployment.yaml: ingress from 10.20.0.0/20, 10.20.16.0/20, {net}",
        f"3-api-deployment.yaml: TRUSTED_PROXIES is 10.20.0.0/20,10.20.16.0/20, {net}",
        f"3-api-deployment.yaml: egress to 10.20.0.0/16, {net}",
    ]
    assert said(ELSEWHERE, DEPLOYMENT / "db") == [
        "1-db-secrets-store.yaml: region is sa-east-1, aws.region of the settings is eu-west-1",
        f"6-db-backup.yaml: egress to 10.20.0.0/16, {net}",
    ]


def test_a_network_of_another_size_is_cut_otherwise() -> None:
    found = said(changed(USUAL, network={"cidr": "10.20.0.0/17"}), DEPLOYMENT / "api")
    # The way out to the whole of the old network leads to all of the new one, which lies in it.
    assert [each.partition(",")[0] for each in found] == ["3-api-deployment.yaml: ingress from 10.20.0.0/20"]


def policy(way: str, *blocks: str) -> dict[str, Any]:
    peers = {"ingress": "from", "egress": "to"}[way]
    spec = {way: [{peers: [{"ipBlock": {"cidr": each}} for each in blocks]}]}
    return manifest("NetworkPolicy", "a", "networking.k8s.io/v1", spec=spec)


@pytest.mark.parametrize(
    ("way", "blocks", "agrees"),
    [
        ("ingress", ("10.20.0.0/20", "10.20.16.0/20"), True),
        # Of two zones one would not be let in.
        ("ingress", ("10.20.0.0/20",), False),
        ("ingress", ("10.20.0.0/20", "10.30.16.0/20"), False),
        ("ingress", ("10.20.32.0/20", "10.20.48.0/20"), True),
        ("ingress", ("10.20.0.0/16",), True),
        # One's own office or VPN, beside or alone on public addresses.
        ("ingress", ("203.0.113.0/24",), True),
        ("ingress", ("10.20.0.0/16", "192.168.7.0/24"), True),
        ("ingress", ("192.168.7.0/24",), True),
        ("ingress", ("10.0.0.0/8",), True),
        ("egress", ("172.20.0.0/16",), True),
        ("ingress", ("0.0.0.0/0", "2001:db8::/32"), True),
        ("egress", ("10.20.32.0/20",), True),
        ("egress", ("10.20.33.7/32",), True),
        ("egress", ("10.30.32.0/20",), False),
        ("egress", (), True),
    ],
)
def test_a_policy_means_the_network_that_there_is(
    way: str, blocks: tuple[str, ...], agrees: bool, tmp_path: Path
) -> None:
    assert bool(of(USUAL, tmp_path, policy(way, *blocks))) is not agrees


@pytest.mark.parametrize(
    ("value", "agrees"),
    [
        ("10.20.0.0/20,10.20.16.0/20", True),
        ("10.20.0.0/16, 203.0.113.0/24", True),
        # Nobody is believed: meant, where something else than the load balancer stands before it.
        ("", True),
        ("10.20.0.0/20", False),
        ("10.30.0.0/20,10.30.16.0/20", False),
    ],
)
def test_the_load_balancer_is_believed(value: str, agrees: bool, tmp_path: Path) -> None:
    body = manifest("ConfigMap", "settings", data={"TRUSTED_PROXIES": value})
    assert bool(of(USUAL, tmp_path, body)) is not agrees


def test_what_does_not_agree_is_refused_before_it_is_applied_and_only_said_of_what_stands(tmp_path: Path) -> None:
    store = manifest(
        "SecretStore", "aws", "external-secrets.io/v1", spec={"provider": {"aws": {"region": "us-east-1"}}}
    )
    step, wanted = step_of(put(tmp_path, a1=[store])), objects.read(tmp_path)
    detail = "SecretStore comanda/aws: 1.yaml: region is us-east-1, aws.region of the settings is sa-east-1"
    nothing = ApplicationFacts(wanted)
    changes = step.decide(USUAL, nothing)
    assert as_said(changes) == [f"refused {detail}", "create SecretStore comanda/aws: 1.yaml"]
    assert changes[0].mend == (
        f"run infra/scripts/eks-cluster-mng.sh configure, or mend {tmp_path}/1.yaml, or put the setting back",
    )
    stands = replace(nothing, cluster=True, found={wanted[0].key: objects.Found(store)})
    assert as_said(step.decide(USUAL, stands)) == [f"note {detail}"]
    (note, later) = step.decide(USUAL, replace(nothing, cluster=True, trouble="no such host"))
    assert (note.kind, later.kind) == (Kind.NOTE, Kind.LATER)
