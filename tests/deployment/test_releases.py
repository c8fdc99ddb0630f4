"""Helm's releases: what is decided of each state that helm leaves behind, and that one killed in it is mended."""

from dataclasses import replace

import pytest

from comanda_deploy import helm_release
from comanda_deploy.helm_release import ReleaseFacts, values_of
from comanda_deploy.pod_identity import Association, IdentityFacts
from comanda_deploy.runbook import named
from comanda_deploy.steps.external_secrets import RELEASE
from tests.deployment.account import Account, as_said

IDENTITIES = IdentityFacts(
    True, ((RELEASE.identity, Association("a-1", RELEASE.identity.role)),), ((RELEASE.identity.role, "arn:1"),)
)
BUILT = ReleaseFacts(
    True,
    chart="external-secrets-2.9.0",
    status="deployed",
    values=helm_release.canonical(values_of(RELEASE, {})),
    identities=IDENTITIES,
)
WHAT = "helm release external-secrets/external-secrets"


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        (BUILT, []),
        (replace(BUILT, chart="", status="", values=""), [f"create {WHAT}: external-secrets-2.9.0"]),
        (
            replace(BUILT, chart="external-secrets-0.9.0"),
            [f"change {WHAT}: external-secrets-0.9.0 to external-secrets-2.9.0"],
        ),
        (replace(BUILT, values="{}"), [f"change {WHAT}: its values"]),
        (replace(BUILT, status="failed"), [f"change {WHAT}: it is failed: once more"]),
        (replace(BUILT, status="pending-install"), [f"delete {WHAT}: it is pending-install: to be made anew"]),
        (replace(BUILT, status="uninstalling"), [f"delete {WHAT}: it is uninstalling: to be made anew"]),
        (replace(BUILT, status="pending-upgrade"), [f"change {WHAT}: it is pending-upgrade: back to what it was"]),
        (
            ReleaseFacts(trouble="no such host", identities=IDENTITIES),
            [f"later {WHAT}: external-secrets-2.9.0: the cluster could not be asked: no such host"],
        ),
        (
            ReleaseFacts(trouble="no helm", here=True, identities=IDENTITIES),
            [f"later {WHAT}: external-secrets-2.9.0: the cluster could not be asked from this machine: no helm"],
        ),
        (ReleaseFacts(identities=IDENTITIES), [f"create {WHAT}: external-secrets-2.9.0"]),
    ],
)
def test_what_is_decided(facts: ReleaseFacts, expected: list[str]) -> None:
    assert as_said(helm_release.decide(RELEASE, facts)) == expected


def test_its_identity_goes_before_it_and_needs_its_role() -> None:
    nothing = ReleaseFacts(identities=replace(IDENTITIES, associations=()))
    identity = "identity external-secrets/external-secrets as ComandaExternalSecrets"
    assert as_said(helm_release.decide(RELEASE, nothing))[0] == f"create {identity}"
    no_role = ReleaseFacts(identities=IdentityFacts(True))
    assert as_said(helm_release.decide(RELEASE, no_role))[0].startswith(f"refused {identity}: there is no role")


@pytest.mark.parametrize("status", ["pending-install", "pending-upgrade", "failed", "uninstalling"])
def test_a_helm_that_was_killed_half_way_is_mended(account: Account, status: str) -> None:
    steps = [named(name) for name in ("network", "cluster", "nodes", "kubeconfig", "external-secrets")]
    account.apply(steps)
    release = account.bed.kubernetes.releases["external-secrets", "external-secrets"]
    release["status"] = status
    assert account.plan(steps)
    account.apply(steps)
    assert account.plan(steps) == []
    assert account.bed.kubernetes.releases["external-secrets", "external-secrets"]["status"] == "deployed"
