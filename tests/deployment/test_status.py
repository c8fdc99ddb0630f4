"""Status: of which state it says that all is well, and of which not; one account stands for all of these tests."""

import copy
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from comanda_deploy import engine, lock
from comanda_deploy.helm_release import Release
from comanda_deploy.status import Part, Status, Version, as_text, status_of
from comanda_deploy.step import Change, Kind
from comanda_deploy.steps import external_secrets, load_balancer_controller
from comanda_deploy.steps.application import API, BY_HAND
from comanda_testbed.bed import running_testbed
from tests.deployment.account import USUAL, Account, bootstrapped, changed, pushed

IN_THE_CLUSTER = (
    "helm release external-secrets/external-secrets",
    "helm release kube-system/aws-load-balancer-controller",
    "helm release kube-system/cluster-autoscaler",
    "manifests of deployment/db",
    "manifests of deployment/api",
    "manifests of monitoring/prometheus and monitoring/grafana",
)


@pytest.fixture(scope="module")
def standing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Account]:
    """An account in which all is as it should be, at a minor that is not the newest."""
    with pytest.MonkeyPatch.context() as patch, running_testbed() as bed:
        account = bootstrapped(bed, tmp_path_factory.mktemp("home"), patch.setenv)
        account.settings = changed(USUAL, cluster={"kubernetes_version": "1.35"})
        account.apply()
        yield account


@contextmanager
def otherwise(account: Account, meddle: Callable[[dict[str, Any]], None]) -> Iterator[None]:
    """Let EKS say something else of the cluster, its groups or add-ons, and put it back."""
    cluster = account.bed.eks.clusters["comanda"]
    things = {
        "cluster": cluster.body,
        **{name: each.body for name, each in {**cluster.groups, **cluster.addons}.items()},
    }
    before = copy.deepcopy(things)
    meddle(things)
    try:
        yield
    finally:
        for name, body in things.items():
            body.clear()
            body.update(before[name])


def drift(status: Status) -> dict[str, int]:
    """Answer what there is to do; that there is no host for guests is worth knowing, and no drift."""
    return {kind: count for kind, count in status.drift.items() if count and kind != "note"}


def test_as_it_should_be_it_is_healthy_and_says_so(standing: Account) -> None:
    status = status_of(standing.context())
    assert status.healthy
    assert (drift(status), status.unseen, status.locked_by) == ({}, [], None)
    assert [part.name for part in status.parts][:4] == [
        "cluster comanda",
        "node group comanda-database",
        "node group comanda-general-a",
        "node group comanda-general-b",
    ]
    assert len(status.parts) == 4 + 7, "and every add-on"
    assert status.parts[0] == Part("cluster comanda", "ACTIVE", "1.35")
    lines = as_text(status).splitlines()
    assert lines[:2] == ["Well", "Account 123456789012, region sa-east-1"]
    assert "  ACTIVE     cluster comanda 1.35" in lines
    assert "Drift: none" in lines
    assert "Kubernetes 1.35: maintained until 2027-03-27, 124 days (EKS)" in lines
    assert "Not locked" in lines


@pytest.mark.parametrize(
    ("thing", "body", "line"),
    [
        ("cluster", {"status": "UPDATING"}, "  UPDATING   cluster comanda 1.35"),
        ("cluster", {"status": "FAILED"}, "  FAILED     cluster comanda 1.35"),
        ("comanda-database", {"status": "DEGRADED"}, "  DEGRADED   node group comanda-database 1.35"),
        ("coredns", {"status": "DEGRADED"}, "  DEGRADED   add-on coredns v1.13.2-eksbuild.3"),
        (
            "comanda-general-a",
            {
                "health": {
                    "issues": [{"code": "AsgInstanceLaunchFailures", "message": "no capacity", "resourceIds": []}]
                }
            },
            "             AsgInstanceLaunchFailures: no capacity",
        ),
        (
            "cluster",
            {"health": {"issues": [{"code": "Ec2SubnetNotFound", "message": "it is gone", "resourceIds": []}]}},
            "             Ec2SubnetNotFound: it is gone",
        ),
    ],
)
def test_a_part_that_is_not_well_is_said_whatever_apply_would_do(
    standing: Account, thing: str, body: dict[str, Any], line: str
) -> None:
    with otherwise(standing, lambda things: things[thing].update(body)):
        status = status_of(standing.context())
    assert not status.healthy
    assert line in as_text(status).splitlines()


def test_without_a_cluster_it_is_not_well_and_the_next_command_is_named(standing: Account) -> None:
    cluster = standing.bed.eks.clusters.pop("comanda")
    try:
        status = status_of(standing.context())
    finally:
        standing.bed.eks.clusters["comanda"] = cluster
    assert not status.healthy
    assert status.parts == []
    assert "There is no cluster. Next: comanda-deploy plan" in as_text(status)


def test_drift_is_not_well(standing: Account) -> None:
    ecr = standing.bed.client("ecr")
    ecr.put_image_tag_mutability(repositoryName="comanda-api", imageTagMutability="MUTABLE")
    try:
        status = status_of(standing.context())
    finally:
        ecr.put_image_tag_mutability(repositoryName="comanda-api", imageTagMutability="IMMUTABLE")
    assert not status.healthy
    assert drift(status) == {"change": 1}
    assert "Drift: 1 to change. Next: comanda-deploy plan" in as_text(status)


def test_what_would_be_refused_is_not_well(standing: Account) -> None:
    status = status_of(standing.context(cluster={"endpoint_cidrs": ()}))
    assert not status.healthy
    assert drift(status) == {"refused": 1}
    assert "Drift: 1 refused. Next: comanda-deploy plan" in as_text(status)


def test_what_is_held_up_by_something_else_is_not_well_and_was_looked_at(standing: Account) -> None:
    """A group that somebody made by hand is behind: apply will come to no end."""
    groups = standing.bed.eks.clusters["comanda"].groups
    groups["mine"] = copy.deepcopy(groups["comanda-general-a"])
    groups["mine"].body.update(nodegroupName="mine", version="1.34")
    try:
        status = status_of(standing.context(cluster={"kubernetes_version": "1.36"}))
    finally:
        del groups["mine"]
    assert not status.healthy
    assert drift(status) == {"later": 1}
    assert status.unseen == []
    assert "Drift: 1 later. Next: comanda-deploy plan" in as_text(status)


def test_what_cannot_be_seen_from_this_machine_is_said_and_makes_nobody_ill(standing: Account) -> None:
    path = standing.environment["PATH"]
    standing.environment["PATH"] = str(standing.home)
    try:
        status = status_of(standing.context())
    finally:
        standing.environment["PATH"] = path
    assert status.healthy
    assert drift(status) == {}
    assert [each.split(":")[0] for each in status.unseen] == list(IN_THE_CLUSTER)
    lines = [line for line in as_text(status).splitlines() if line.startswith("Not looked at: ")]
    assert len(lines) == len(IN_THE_CLUSTER)
    here = "the cluster could not be asked from this machine"
    assert all(f"{here}: helm is not installed" in line for line in lines[:3])
    assert all(f"{here}: kubectl is not installed" in line for line in lines[3:])
    assert status.images is not None
    assert status.images.running == []
    assert status.images.unseen.startswith(f"{here}: kubectl is not installed")
    assert f"Image running: {status.images.unseen}" in as_text(status)
    assert as_text(status).splitlines()[0] == "Well, as far as can be seen from this machine"


@pytest.mark.parametrize(
    "said",
    [
        "Unable to connect to the server: dial tcp 203.0.113.9:443: i/o timeout",
        "error: You must be logged in to the server (Unauthorized)",
    ],
)
def test_a_cluster_that_does_not_answer_is_not_well(standing: Account, tmp_path: Path, said: str) -> None:
    """By night nobody reads what was not looked at: the exit code says it."""
    for tool in ("helm", "kubectl"):
        script = tmp_path / tool
        script.write_text(f"#!/bin/sh\necho '{said}' >&2\nexit 1\n", encoding="utf-8")
        script.chmod(0o755)
    path = standing.environment["PATH"]
    standing.environment["PATH"] = f"{tmp_path}:{path}"
    try:
        status = status_of(standing.context())
    finally:
        standing.environment["PATH"] = path
    assert not status.healthy
    assert drift(status) == {}
    assert [each.split(":")[0] for each in status.unseen] == list(IN_THE_CLUSTER)
    assert all(said in each for each in status.unseen)
    assert as_text(status).splitlines()[0] == "Not well: the cluster does not answer, or not all"


def test_whether_this_machine_s_kubectl_knows_the_cluster_says_nothing_of_the_cluster(standing: Account) -> None:
    file = standing.home / "kubeconfig"
    text = file.read_text(encoding="utf-8")
    file.unlink()
    try:
        assert status_of(standing.context()).healthy
    finally:
        file.write_text(text, encoding="utf-8")


def test_what_is_worth_knowing_is_no_drift(standing: Account) -> None:
    addon = {"addonVersion": "v1.12.4-eksbuild.1"}
    with otherwise(standing, lambda things: things["coredns"].update(addon)):
        status = status_of(standing.context())
    assert status.healthy
    assert "Drift: none" in as_text(status)


def test_which_image_is_named_which_is_newest_and_which_runs(standing: Account) -> None:
    found = status_of(standing.context()).images
    assert found is not None
    assert found.named == ["comanda-api:0.1.0"]
    assert (found.newest, found.unseen) == ("", "")
    assert len(found.running) == 1
    assert found.running[0].startswith("comanda-api:0.1.0@sha256:")
    assert found.running[0].endswith(" pods")
    digest = pushed(standing, "20261125-143005-1a2b3c4")
    lines = as_text(status_of(standing.context())).splitlines()
    assert "Image named: comanda-api:0.1.0" in lines
    assert f"Image running: {found.running[0]}" in lines
    (newest,) = (line for line in lines if line.startswith("Image newest: "))
    assert newest.startswith(f"Image newest: comanda-api:20261125-143005-1a2b3c4@{digest}, pushed 20")
    assert newest.endswith(" UTC")


def test_what_a_hand_changed_in_the_cluster_is_drift_and_is_said(standing: Account) -> None:
    live = standing.bed.kubernetes.applied.objects["", "ConfigMap", "comanda", "comanda-settings"]
    live["data"]["TIME_ZONE"] = "UTC"
    try:
        status = status_of(standing.context())
    finally:
        live["data"]["TIME_ZONE"] = "America/Sao_Paulo"
    assert not status.healthy
    assert drift(status) == {"change": 1}
    assert status.by_hand == ["ConfigMap comanda/comanda-settings: data.TIME_ZONE"]
    assert "Changed by hand: ConfigMap comanda/comanda-settings: data.TIME_ZONE" in as_text(status).splitlines()


def test_what_a_hand_added_in_the_cluster_is_not_well_though_apply_leaves_it(
    standing: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    note = Change(Kind.NOTE, "Deployment comanda/comanda-api", f"{BY_HAND}: container spy: in no manifest")
    as_ever = engine.plan
    monkeypatch.setattr(engine, "plan", lambda *those: [*as_ever(*those), engine.StepPlan(API, [note])])
    status = status_of(standing.context())
    assert not status.healthy
    assert drift(status) == {}
    assert status.by_hand == ["Deployment comanda/comanda-api: container spy: in no manifest"]
    assert as_text(status).splitlines()[0] == "Not well: it was changed by hand"


def test_a_restore_whose_money_is_not_settled_is_not_well_and_the_next_command_is_named(standing: Account) -> None:
    live = standing.bed.kubernetes.applied.objects["apps", "StatefulSet", "comanda-db", "database"]
    notes = live["metadata"].setdefault("annotations", {})
    notes["comanda/unsettled-since"] = "2026-11-26T14:00:00+00:00"
    try:
        status = status_of(standing.context())
    finally:
        del notes["comanda/unsettled-since"]
    assert not status.healthy
    lines = as_text(status).splitlines()
    assert lines[0] == "Not well: a restore of the database has not come to its end"
    assert (
        "Restore: money that came since 2026-11-26 14:00:00 UTC is not settled. "
        "Next: infra/scripts/eks-cluster-mng.sh db-restore"
    ) in lines


def test_who_is_at_work_is_said(standing: Account) -> None:
    holder = lock.take(standing.context(), "the fridge is open", stays=True)
    try:
        status = status_of(standing.context())
    finally:
        lock.release(standing.context(), holder)
    assert status.healthy
    assert "the fridge is open" in str(status.locked_by)
    assert as_text(status).splitlines()[-1] == f"Locked by {status.locked_by}"


def test_a_script_reads_the_same_and_goes_by_the_exit_code(standing: Account) -> None:
    settings = standing.home / "staging.toml"
    for cidrs, code in (('["203.0.113.7/32"]', 0), ("[]", 1)):
        settings.write_text(f'[cluster]\nendpoint_cidrs = {cidrs}\nkubernetes_version = "1.35"\n', encoding="utf-8")
        answer = standing.command("status", "--json", COMANDA_SETTINGS=str(settings))
        assert answer.returncode == code, answer.stderr
        assert json.loads(answer.stdout)["healthy"] is (code == 0)


def test_what_a_person_reads_names_each_number_once() -> None:
    status = Status(
        account="1",
        region="r",
        parts=[],
        drift={"create": 2, "change": 0, "delete": 1, "wait": 1, "refused": 3, "later": 1, "note": 5},
        unseen=[],
        versions=[
            Version("PostgreSQL 18", "2030-11-14", 1452, "maintained until 2030-11-14, 1452 days (a table)"),
            Version("External Secrets 2.9", None, None, "maintained until no day that is known: the newest minor is"),
        ],
        locked_by=None,
        healthy=False,
    )
    assert as_text(status).splitlines()[:3:2] == [
        "Not well: there is no cluster, apply has something to do",
        "There is no cluster. Next: comanda-deploy plan",
    ]
    assert as_text(status).splitlines()[3:] == [
        "Drift: 2 to create, 1 to delete, 1 wait, 3 refused, 1 later. Next: comanda-deploy plan",
        "PostgreSQL 18: maintained until 2030-11-14, 1452 days (a table)",
        "External Secrets 2.9: maintained until no day that is known: the newest minor is",
        "Not locked",
    ]


def test_each_component_that_is_deployed_has_its_days_or_is_said_to_have_none(standing: Account) -> None:
    said = {each.what: each for each in status_of(standing.context()).versions}
    assert said["Kubernetes 1.35"].days_left == said["Cluster Autoscaler 1.35"].days_left
    for what in ("Kubernetes 1.35", "PostgreSQL 18", "Amazon Linux 2023"):
        assert f"{said[what].days_left} days" in said[what].said
    # A pinned minor that is raised is raised here too.
    assert f"External Secrets {minor_of(external_secrets.RELEASE)}" in said
    assert f"AWS Load Balancer Controller {minor_of(load_balancer_controller.RELEASE)}" in said


def minor_of(release: Release) -> str:
    """Answer "2.9" of a release at 2.9.0."""
    return release.version.rpartition(".")[0]
