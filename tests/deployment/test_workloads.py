"""What runs in the cluster: when it is ready, and what is said of a pod that is not."""

import json
from pathlib import Path
from typing import Any

import pytest

from comanda_deploy import workloads
from comanda_deploy.objects import Found
from comanda_deploy.runbook import named
from tests.deployment.account import Account
from tests.deployment.application import API, DATABASE, manifest, workload

READY = {
    "observedGeneration": 3,
    "updatedReplicas": 2,
    "availableReplicas": 2,
    "desiredNumberScheduled": 3,
    "updatedNumberScheduled": 3,
    "numberAvailable": 3,
    "conditions": [
        {"type": "Available", "status": "True"},
        {"type": "Progressing", "status": "True", "reason": "NewReplicaSetAvailable"},
    ],
}
NOT_AVAILABLE = [{"type": "Available", "status": "False"}, READY["conditions"][1]]  # type: ignore[index]
ROLLING = [
    READY["conditions"][0],  # type: ignore[index]
    {"type": "Progressing", "status": "True", "reason": "ReplicaSetUpdated"},
]


@pytest.mark.parametrize(
    ("kind", "status", "ready"),
    [
        ("Deployment", {}, True),
        ("Deployment", {"observedGeneration": 2}, False),
        ("Deployment", {"conditions": NOT_AVAILABLE}, False),
        ("Deployment", {"conditions": ROLLING}, False),
        ("Deployment", {"conditions": []}, False),
        # The autoscaler wants more, and nobody waits for them.
        ("Deployment", {"availableReplicas": 1}, True),
        ("StatefulSet", {}, True),
        ("StatefulSet", {"observedGeneration": 2}, False),
        ("StatefulSet", {"availableReplicas": 1}, False),
        ("StatefulSet", {"updatedReplicas": 1}, False),
        ("DaemonSet", {}, True),
        ("DaemonSet", {"observedGeneration": 2}, False),
        ("DaemonSet", {"numberAvailable": 2}, False),
        ("DaemonSet", {"updatedNumberScheduled": 2}, False),
    ],
)
def test_ready_is_what_runs_as_it_was_last_told_to(kind: str, status: dict[str, Any], ready: bool) -> None:
    body = workload(kind, "api") | {"status": {**READY, **status}}
    body["metadata"]["generation"] = 3
    assert workloads.is_ready(body) is ready


def test_a_set_that_is_updated_by_hand_is_not_waited_for() -> None:
    body = workload("StatefulSet", "database", updateStrategy={"type": "OnDelete"})
    assert workloads.is_ready(body | {"status": {**READY, "updatedReplicas": 0}})


def test_without_a_status_nothing_is_ready() -> None:
    assert not workloads.is_ready(API | {"metadata": {"name": "api", "generation": 1}})
    assert not workloads.is_ready(DATABASE)


def pod_of(status: dict[str, Any]) -> dict[str, Any]:
    """Answer a pod of `API` that is not ready."""
    ready = {"type": "Ready", "status": "False", "reason": "ContainersNotReady", "message": "unready: [main]"}
    status = {**status, "conditions": [*status.get("conditions", []), ready]}
    return manifest("Pod", "api-0", status=status) | {"metadata": {"name": "api-0", "labels": {"app": "api"}}}


CRASHED = {"lastState": {"terminated": {"exitCode": 1, "reason": "Error"}}}
SCHEDULED = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/3 nodes\nfit"}


@pytest.mark.parametrize(
    ("status", "events", "why"),
    [
        ({"conditions": [SCHEDULED]}, [], "Unschedulable: 0/3 nodes fit"),
        (
            {"containerStatuses": [{"name": "main", "state": {"waiting": {"reason": "CrashLoopBackOff"}}, **CRASHED}]},
            [],
            "main ended with 1 (Error); CrashLoopBackOff",
        ),
        (
            {"initContainerStatuses": [{"name": "migrate", "state": {"terminated": {"exitCode": 1}}}]},
            [],
            "migrate ended with 1 (Error)",
        ),
        (
            {"initContainerStatuses": [{"name": "migrate", "state": {"terminated": {"exitCode": 0}}}]},
            [],
            "ContainersNotReady: unready: [main]",
        ),
        ({"reason": "Evicted", "message": "low on memory"}, [], "Evicted: low on memory"),
        # What stands in the events alone.
        (
            {"containerStatuses": [{"name": "main", "state": {"waiting": {"reason": "ContainerCreating"}}}]},
            [("FailedScheduling", "1"), ("FailedMount", "2")],
            "FailedMount: of a test",
        ),
    ],
)
def test_of_a_pod_that_is_not_ready_the_last_reason_is_said(
    status: dict[str, Any],
    events: list[tuple[str, str]],
    why: str,
    account: Account,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    warnings = [{"reason": reason, "message": "of a test", "lastTimestamp": at} for reason, at in events]
    answers = {"pods": [pod_of(status)], "events": warnings}
    script = tmp_path / "kubectl"
    for kind, found in answers.items():
        (tmp_path / kind).write_text(json.dumps({"items": found}), encoding="utf-8")
    # kubectl --context comanda --request-timeout=15s get KIND
    script.write_text(f'#!/bin/sh\nexec cat "{tmp_path}/$5"\n', encoding="utf-8")
    script.chmod(0o755)
    monkeypatch.setitem(account.environment, "PATH", f"{tmp_path}:{account.environment['PATH']}")
    body = API | {"status": {"availableReplicas": 1, "updatedReplicas": 2}}
    key = ("apps", "Deployment", "comanda", "api")
    late = workloads.unready(account.context(), {key: Found(body)})
    assert late == {key: f"1 of 2 pods are available; pod api-0: {why}"}


def test_where_no_pod_can_be_made_its_maker_says_why(account: Account) -> None:
    failed = {"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": "exceeded quota"}
    body = API | {"status": {"conditions": [failed]}}
    account.apply([named(name) for name in ("network", "cluster", "kubeconfig")])
    key = ("apps", "Deployment", "comanda", "api")
    (said,) = workloads.unready(account.context(), {key: Found(body)}).values()
    assert said == "0 of 2 pods are available, 0 are of the last change; FailedCreate: exceeded quota"
