"""A raised version of Kubernetes: one minor at a time, the control plane, then the add-ons, then the nodes."""

from typing import Any

import pytest

from comanda_deploy import engine
from comanda_deploy.errors import DeployError
from comanda_deploy.runbook import named
from comanda_deploy.step import Kind
from comanda_testbed import versions
from tests.deployment.account import Account, as_said

OLD: dict[str, Any] = {"kubernetes_version": "1.34"}
NEW: dict[str, Any] = {"kubernetes_version": "1.36"}


def test_two_minors_are_brought_up_one_after_the_other(account: Account) -> None:
    account.apply(cluster=OLD)
    shown = account.plan(cluster=NEW)
    assert "change EKS cluster comanda, Kubernetes: 1.34 to 1.35" in shown
    assert "later EKS cluster comanda, Kubernetes: 1.35 to 1.36, after add-ons and nodes are at 1.35" in shown

    done = account.apply(cluster=NEW)
    order = [each for each in done if "1.35" in each or "1.36" in each or "autoscaler" in each]
    assert [each.split(":")[0] for each in order] == [
        "change EKS cluster comanda, Kubernetes",
        "change add-on kube-proxy",
        "change helm release kube-system/cluster-autoscaler",
        "change node group comanda-database",
        "change node group comanda-general-a",
        "change node group comanda-general-b",
        "change EKS cluster comanda, Kubernetes",
        "change add-on kube-proxy",
        "change helm release kube-system/cluster-autoscaler",
        "change node group comanda-database",
        "change node group comanda-general-a",
        "change node group comanda-general-b",
    ]
    assert account.plan(cluster=NEW) == []
    found = account.bed.client("eks").describe_nodegroup(clusterName="comanda", nodegroupName="comanda-database")
    assert found["nodegroup"]["version"] == "1.36"


def test_a_removed_api_in_use_stops_it_before_anything_is_touched(account: Account) -> None:
    account.apply(cluster=OLD)
    account.bed.eks.insights.append(
        {
            "id": "1",
            "name": "Deprecated APIs removed in Kubernetes v1.35",
            "category": "UPGRADE_READINESS",
            "kubernetesVersion": "1.35",
            "insightStatus": {"status": "ERROR", "reason": "flowcontrol.apiserver.k8s.io/v1beta3 is in use"},
        }
    )
    with pytest.raises(DeployError, match=r"flowcontrol\.apiserver\.k8s\.io/v1beta3 is in use.*upgrade insights"):
        account.apply(cluster=NEW)
    assert account.bed.eks.clusters["comanda"].body["version"] == "1.34"


def test_an_add_on_without_a_version_for_it_stops_it(account: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    account.apply(cluster=OLD)
    real = versions.addon_versions

    def none_yet(name: str, minor: str) -> list[str]:
        return [] if (name, minor) == ("coredns", "1.35") else real(name, minor)

    monkeypatch.setattr("comanda_testbed.eks.addons.addon_versions", none_yet)
    with pytest.raises(DeployError, match=r"coredns has no version for 1\.35; wait until AWS has one"):
        account.apply(cluster=NEW)
    assert account.bed.eks.clusters["comanda"].body["version"] == "1.34"


def test_it_does_not_go_back(account: Account) -> None:
    steps = [named("network"), named("cluster")]
    account.apply(steps, cluster=NEW)
    with pytest.raises(DeployError, match=r"is at 1\.36: Kubernetes cannot go back to 1\.34"):
        account.apply(steps, cluster=OLD)


def test_a_version_past_its_end_is_not_begun_with(account: Account) -> None:
    with pytest.raises(DeployError, match=r"Kubernetes 1\.33 ended on 2026-07-29; set cluster\.kubernetes_version"):
        account.apply(cluster={"kubernetes_version": "1.33"})


def test_an_end_that_is_near_is_said_with_the_days_left(account: Account) -> None:
    plans = engine.plan(account.context(cluster=OLD), [named("preflight")])
    notes = as_said(change for each in plans for change in each.changes if change.kind is Kind.NOTE)
    assert "note Kubernetes 1.34: maintained until 2026-12-02, 9 days (EKS)" in notes
