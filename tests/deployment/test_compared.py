"""Manifests and cluster compared where the cluster does not answer for all of them: what is still known, and done."""

import json
from pathlib import Path
from typing import Any

import pytest

from comanda_deploy import engine, objects, workloads
from comanda_deploy.errors import DeployError
from comanda_deploy.objects import LAST_APPLIED
from comanda_deploy.step import Change, Kind
from tests.deployment.account import USUAL, Silent, as_said
from tests.deployment.application import API, DATABASE, NAMESPACE, SETTINGS, manifest, put, step_of, workload
from tests.deployment.fake_kubectl import FakeKubectl, faked

INGRESS = manifest("Ingress", "way-in", "networking.k8s.io/v1", spec={})
WEBHOOK = (
    'Error from server (InternalError): Internal error occurred: failed calling webhook "vingress.elbv2.k8s.aws": '
    'failed to call webhook: Post "https://aws-load-balancer-webhook-service.kube-system.svc:443/validate": no '
    'endpoints available for service "aws-load-balancer-webhook-service"'
)
UNREACHABLE = "Unable to connect to the server: dial tcp 10.20.0.1:443: i/o timeout"
CHANGED_MEANWHILE = (
    'Error from server (Conflict): Operation cannot be fulfilled on deployments.apps "api": the object has been '
    "modified; please apply your changes to the latest version and try again"
)
NO_RIGHT = (
    'Error from server (Forbidden): deployments.apps "api" is forbidden: User "arn:aws:iam::1:user/guest" cannot patch '
    'resource "deployments" in API group "apps" in the namespace "comanda"'
)


@pytest.fixture
def kubectl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeKubectl:
    return faked(tmp_path / "bin", monkeypatch)


def ready(body: dict[str, Any], **spec: Any) -> dict[str, Any]:
    """Answer a Deployment as the cluster has it when it runs."""
    conditions = [
        {"type": "Available", "status": "True"},
        {"type": "Progressing", "status": "True", "reason": "NewReplicaSetAvailable"},
    ]
    status = {"observedGeneration": 0, "updatedReplicas": 2, "availableReplicas": 2, "conditions": conditions}
    return {**body, "spec": {**body["spec"], **spec}, "status": status}


def planned(kubectl: FakeKubectl, folder: Path) -> list[Change]:
    step = step_of(folder)
    return step.decide(USUAL, step.observe(kubectl.context()))


def test_a_webhook_that_is_down_holds_up_its_own_object_and_no_other(kubectl: FakeKubectl, tmp_path: Path) -> None:
    """An API image that does not start must be rolled back, whether the load balancer's controller runs or not."""
    folder = put(tmp_path / "api", a1=[NAMESPACE, SETTINGS], a3=[API], a5=[INGRESS])
    kubectl.live = [NAMESPACE, SETTINGS, ready(API), INGRESS]
    kubectl.differing, kubectl.refusals = ["api"], {"way-in": WEBHOOK}
    assert as_said(planned(kubectl, folder)) == [
        "change Deployment comanda/api: 3.yaml: of",
        f"later Ingress comanda/way-in: the cluster could not be asked about it: {WEBHOOK[:400]}",
    ]


def test_what_has_the_webhook_s_object_in_its_file_is_applied_all_the_same(
    kubectl: FakeKubectl, tmp_path: Path
) -> None:
    folder = put(tmp_path / "api", a1=[INGRESS, API])
    kubectl.live, kubectl.differing, kubectl.refusals = [INGRESS, ready(API)], ["api"], {"way-in": WEBHOOK}
    later, change = planned(kubectl, folder)
    assert (later.kind, change.kind) == (Kind.LATER, Kind.CHANGE)
    assert change.do is not None
    change.do(kubectl.context())
    assert kubectl.calls[-1] == "apply"


def test_a_rollout_is_waited_for_while_a_webhook_is_down(kubectl: FakeKubectl, tmp_path: Path) -> None:
    folder = put(tmp_path / "api", a1=[API, INGRESS])
    kubectl.live, kubectl.refusals = [API, INGRESS], {"way-in": WEBHOOK}
    assert [change.kind for change in planned(kubectl, folder)] == [Kind.LATER, Kind.WAIT]


def test_a_cluster_that_does_not_answer_is_asked_once_and_not_for_each_object(
    kubectl: FakeKubectl, tmp_path: Path
) -> None:
    wanted = objects.read(put(tmp_path / "api", a1=[NAMESPACE, API, SETTINGS]))
    kubectl.live, kubectl.refusals = [NAMESPACE, API, SETTINGS], {"api": UNREACHABLE}
    with pytest.raises(DeployError, match="kubectl diff failed: Unable to connect"):
        objects.look(kubectl.context(), wanted)
    assert kubectl.calls == ["get", "diff"]


@pytest.mark.parametrize("said", [WEBHOOK, UNREACHABLE])
def test_what_cannot_be_compared_is_taken_down_all_the_same(kubectl: FakeKubectl, tmp_path: Path, said: str) -> None:
    """Left to go with the cluster the database would not be shut down."""
    step = step_of(put(tmp_path / "db", a1=[NAMESPACE, DATABASE, INGRESS]))
    kubectl.live, kubectl.refusals = [NAMESPACE, DATABASE, INGRESS], {"way-in": said}
    (planned,) = engine.plan(kubectl.context(), [step], removal=True)
    assert as_said(planned.changes) == [
        "delete Ingress comanda/way-in",
        "delete StatefulSet comanda/database",
        "delete Namespace comanda",
    ]
    assert kubectl.calls == ["get"]


def test_of_a_cluster_that_is_silent_they_go_with_it(kubectl: FakeKubectl, tmp_path: Path) -> None:
    kubectl.silent = UNREACHABLE
    step = step_of(put(tmp_path / "db", a1=[DATABASE]))
    (planned,) = engine.plan(kubectl.context(), [step], removal=True)
    assert as_said(planned.changes) == [
        f"note manifests of {tmp_path.name}/db: go with the cluster: kubectl get failed: {UNREACHABLE}"
    ]


# What is refused, and why.

IMMUTABLE = 'The Deployment "api" is invalid: spec.selector: Invalid value: {}: field is immutable'
CLASS = 'The StorageClass "gp3" is invalid: parameters: Forbidden: updates to parameters are forbidden.'
CLAIM = (
    'The PersistentVolumeClaim "backups" is invalid: spec: Forbidden: spec is immutable after creation except '
    "resources.requests and volumeAttributesClassName for bound claims"
)
SET = (
    'The StatefulSet "database" is invalid: spec: Forbidden: updates to statefulset spec for fields other than '
    "'replicas', 'ordinals', 'template', 'updateStrategy' are forbidden"
)
WRONG = 'The Deployment "api" is invalid: spec.replicas: Invalid value: -1: must be greater than or equal to 0'
POLICY = 'Error from server (Forbidden): admission webhook "policy" denied the request: no'
STORAGE = manifest("StorageClass", "gp3", "storage.k8s.io/v1", namespace="")
BACKUPS = manifest("PersistentVolumeClaim", "backups", spec={})


@pytest.mark.parametrize(
    ("body", "said", "deletion"),
    [
        (API, IMMUTABLE, "delete deployment.apps api --namespace comanda"),
        (DATABASE, SET, "delete statefulset.apps database --namespace comanda --cascade=orphan"),
        (STORAGE, CLASS, "delete storageclass.storage.k8s.io gp3"),
        # Too much would go with them.
        (BACKUPS, CLAIM, ""),
        (NAMESPACE, 'The Namespace "comanda" is invalid: metadata.labels: field is immutable', ""),
        # A deletion would mend nothing.
        (API, WRONG, ""),
        (API, POLICY, ""),
    ],
)
def test_a_deletion_is_named_only_where_it_helps_and_takes_nothing_with_it(
    body: dict[str, Any], said: str, deletion: str, kubectl: FakeKubectl, tmp_path: Path
) -> None:
    folder = put(tmp_path / "db", a1=[body])
    kubectl.live, kubectl.refusals = [ready(body) if body is API else body], {body["metadata"]["name"]: said}
    change = planned(kubectl, folder)[0]
    assert (change.kind, change.detail) == (Kind.REFUSED, said)
    assert change.mend[0] == f"mend {folder}/1.yaml"
    assert [each.partition("--context comanda ")[2] for each in change.mend[1:]] == ([deletion] if deletion else [])


def test_a_right_that_is_lacking_is_said_with_whose_it_is(kubectl: FakeKubectl, tmp_path: Path) -> None:
    folder = put(tmp_path / "api", a1=[API])
    kubectl.live, kubectl.refusals = [ready(API)], {"api": NO_RIGHT}
    (change,) = planned(kubectl, folder)
    assert change.kind is Kind.REFUSED
    assert change.mend == (
        "arn:aws:iam::1:user/guest may not patch deployments: be one of cluster.admins of the settings",
    )


def test_what_was_changed_meanwhile_is_looked_at_again(kubectl: FakeKubectl, tmp_path: Path) -> None:
    folder = put(tmp_path / "api", a1=[API, SETTINGS])
    kubectl.live, kubectl.refusals, kubectl.passing = [ready(API), SETTINGS], {"api": CHANGED_MEANWHILE}, ["api"]
    assert planned(kubectl, folder) == []
    (kubectl.folder / "api.seen").unlink()
    kubectl.passing = []
    (change,) = planned(kubectl, folder)
    assert (change.kind, change.mend) == (Kind.LATER, ())


# What is waited for in vain.


def test_a_rollout_that_is_paused_is_refused_at_once_with_how_it_goes_on(kubectl: FakeKubectl, tmp_path: Path) -> None:
    folder = put(tmp_path / "api", a1=[API])
    paused = ready(API, paused=True)
    paused["status"]["conditions"][1] = {"type": "Progressing", "status": "Unknown", "reason": "DeploymentPaused"}
    kubectl.live = [paused]
    (change,) = planned(kubectl, folder)
    assert as_said([change]) == ["refused Deployment comanda/api: it is paused: 2 of 2 pods are available"]
    assert change.mend == ("kubectl --context comanda rollout resume deployment api --namespace comanda",)


def test_what_is_applied_and_comes_to_nothing_is_to_be_looked_at_in_the_cluster(
    kubectl: FakeKubectl, tmp_path: Path
) -> None:
    folder = put(tmp_path / "api", a1=[SETTINGS])
    kubectl.live, kubectl.differing = [SETTINGS], ["settings"]
    with pytest.raises(engine.Failure) as raised:
        engine.apply(kubectl.context(), [step_of(folder)], Silent())
    assert "AWS" not in str(raised.value)
    assert str(raised.value).endswith(f": kubectl --context comanda diff --filename {folder}/1.yaml")


def test_a_webhook_that_is_only_starting_is_waited_for_and_not_for_ever(kubectl: FakeKubectl, tmp_path: Path) -> None:
    folder = put(tmp_path / "api", a1=[SETTINGS])
    kubectl.refusals = {"apply": WEBHOOK}
    with pytest.raises(engine.Failure, match=r"kubectl apply failed: .*failed calling webhook"):
        engine.apply(kubectl.context(), [step_of(folder)], Silent())
    assert 3 < kubectl.calls.count("apply") < 20


@pytest.mark.parametrize(
    "later",
    [
        {"series": {"lastObservedTime": "2026-11-25T14:00:00.500000Z"}, "eventTime": "2026-11-25T10:00:00.000000Z"},
        {"eventTime": "2026-11-25T14:00:00.500000Z"},
        {"metadata": {"creationTimestamp": "2026-11-25T14:00:01Z"}},
        {"lastTimestamp": "2026-11-25T14:00:01Z"},
    ],
)
def test_the_last_warning_is_said_by_whatever_api_it_came(later: dict[str, Any], kubectl: FakeKubectl) -> None:
    of_old = {"metadata": {"creationTimestamp": "2026-11-25T09:00:00Z"}, "lastTimestamp": None}
    kubectl.events = [
        {**of_old, "reason": "Old", "eventTime": "2026-11-25T09:00:00.000000Z"},
        {**of_old, "lastTimestamp": None, "reason": "Last", **later},
        {**of_old, "reason": "Older", "lastTimestamp": "2026-11-25T14:00:00Z"},
    ]
    pod = manifest("Pod", "api-0", status={})
    pod["metadata"]["labels"] = {"app": "api"}
    kubectl.pods = [pod]
    late = workloads.unready(kubectl.context(), {("apps", "Deployment", "comanda", "api"): objects.Found(API)})
    assert [each.rpartition(": ")[2] for each in late.values()] == ["Last"]


# What a hand has added.


def test_what_was_added_by_hand_and_is_in_no_manifest_is_said_and_left(kubectl: FakeKubectl, tmp_path: Path) -> None:
    wanted = workload("Deployment", "api")
    folder = put(tmp_path / "api", a1=[wanted])
    live = ready(workload("Deployment", "api"))
    containers = live["spec"]["template"]["spec"]["containers"]
    containers[0]["env"] = [{"name": "DEBUG", "value": "1"}]
    containers.append({"name": "spy", "image": "busybox"})
    kubectl.live = [live]
    (change,) = planned(kubectl, folder)
    assert as_said([change]) == [
        "note Deployment comanda/api: changed by hand: DEBUG in main's env, container spy: in no manifest, so apply "
        "leaves it"
    ]
    assert change.mend == (
        f"take it out, or into {folder}/1.yaml: kubectl --context comanda edit deployment.apps api --namespace comanda",
    )
    # What was applied before and left out of the manifest since is apply's to take away, and diff's to say.
    live["metadata"] = {**live["metadata"], "annotations": {LAST_APPLIED: json.dumps(live)}}
    kubectl.live = [live]
    assert planned(kubectl, folder) == []
