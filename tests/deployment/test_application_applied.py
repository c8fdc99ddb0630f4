"""A cluster's life under the manifests: applied, changed by hand, refused, taken down.

The cluster is the test bed's: it knows kubectl's words and three-way merge, and starts no pods.
"""

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
import yaml

from comanda_deploy import engine, registry, workloads
from comanda_deploy.registry import Verdict
from comanda_deploy.runbook import named
from comanda_deploy.steps.application import Application
from tests.deployment.account import Account, Silent, pushed
from tests.deployment.application import (
    API,
    DATABASE,
    EXTERNAL,
    IMAGE,
    MEND,
    NAMESPACE,
    SETTINGS,
    put,
    step_of,
    workload,
)

ECR = "123456789012.dkr.ecr.sa-east-1.amazonaws.com/comanda-api"
BUILT = [named(name) for name in ("network", "ecr", "cluster", "nodes", "kubeconfig", "external-secrets")]


@pytest.fixture
def cluster(account: Account) -> Account:
    """An account with a cluster in it."""
    account.apply(BUILT)
    return account


def test_applied_it_runs_and_applied_again_nothing_changes(cluster: Account, tmp_path: Path) -> None:
    step = step_of(put(tmp_path / "api", a1=[NAMESPACE, EXTERNAL], a2=[SETTINGS, API]))
    assert cluster.plan([step]) == [
        "create Namespace comanda: 1.yaml",
        "create ExternalSecret comanda/api: 1.yaml",
        "create ConfigMap comanda/settings: 2.yaml",
        "create Deployment comanda/api: 2.yaml",
    ]
    progress = Silent()
    engine.apply(cluster.context(), [step], progress)
    # Each file once, and then until its pods run.
    assert [said for said in progress.said if said[0] != "noted"] == [
        ("step", "api"),
        ("began", "Namespace comanda"),
        ("began", "ExternalSecret comanda/api"),
        ("began", "ConfigMap comanda/settings"),
        ("began", "Deployment comanda/api"),
        ("waiting", "Deployment comanda/api"),
    ]
    assert cluster.plan([step]) == []
    assert cluster.apply([step]) == []


def test_what_differs_is_named_by_field_and_put_right(cluster: Account, tmp_path: Path) -> None:
    step = step_of(put(tmp_path / "api", a1=[NAMESPACE], a2=[SETTINGS, API]))
    cluster.apply([step])
    live = cluster.bed.kubernetes.applied.objects["apps", "Deployment", "comanda", "api"]
    live["spec"]["replicas"] = 7
    live["metadata"]["annotations"]["of-somebody"] = "theirs"
    put(tmp_path / "api", a2=[{**SETTINGS, "data": {"LEVEL": "debug"}}, API])
    shown = [
        "change ConfigMap comanda/settings: 2.yaml: data.LEVEL, data.SINCE",
        "change Deployment comanda/api: changed by hand: spec.replicas",
    ]
    assert cluster.plan([step]) == shown
    assert cluster.apply([step]) == shown
    assert cluster.plan([step]) == []
    live = cluster.bed.kubernetes.applied.objects["apps", "Deployment", "comanda", "api"]
    assert (live["spec"]["replicas"], live["metadata"]["annotations"]["of-somebody"]) == (2, "theirs")


def test_what_an_autoscaler_would_leave_at_nothing_is_woken_up(cluster: Account, tmp_path: Path) -> None:
    """As somebody leaves it who has scaled the API to 0: no field of its manifest differs."""
    scaled = workload("Deployment", "api")
    del scaled["spec"]["replicas"]
    step = step_of(put(tmp_path / "api", a1=[NAMESPACE], a2=[scaled]))
    cluster.apply([step])
    live = cluster.bed.kubernetes.applied.objects["apps", "Deployment", "comanda", "api"]
    live["spec"]["replicas"] = 0
    shown = ["change Deployment comanda/api: changed by hand: spec.replicas is 0, from where no autoscaler wakes it up"]
    assert cluster.plan([step]) == shown
    assert cluster.apply([step]) == shown
    assert cluster.plan([step]) == []
    live = cluster.bed.kubernetes.applied.objects["apps", "Deployment", "comanda", "api"]
    assert live["spec"]["replicas"] == 1


def test_a_pod_that_does_not_start_is_named_with_its_reason(
    cluster: Account, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    step = step_of(put(tmp_path / "api", a1=[NAMESPACE, API]))

    def hurry(seconds: float) -> None:
        cluster.time.now += timedelta(seconds=100 * seconds)

    monkeypatch.setattr(cluster.time, "sleep", hurry)
    cluster.bed.kubernetes.applied.troubles["api"] = ("ImagePullBackOff", 'Back-off pulling image\n"comanda-api"')
    with pytest.raises(engine.Failure) as raised:
        cluster.apply([step])
    assert str(raised.value).partition(" s: ")[2] == (
        '0 of 2 pods are available; pod api-0: ImagePullBackOff: Back-off pulling image "comanda-api": '
        "kubectl --context comanda describe pods --namespace comanda"
    )
    assert "step api, wait Deployment comanda/api: is not done after " in str(raised.value)


def test_without_external_secrets_it_is_said_which_step_brings_them(cluster: Account, tmp_path: Path) -> None:
    del cluster.bed.kubernetes.releases["external-secrets", "external-secrets"]
    step = step_of(put(tmp_path / "api", a1=[NAMESPACE], a2=[EXTERNAL], a3=[API]))
    with pytest.raises(engine.Failure, match=r"nothing goes on: .* comes with step external-secrets"):
        cluster.apply([step])
    assert cluster.plan([step])[0].startswith("later ExternalSecret comanda/api: 2.yaml goes first")
    done = cluster.apply([*BUILT, step])
    assert "create Deployment comanda/api: 3.yaml" in done


def test_what_is_immutable_is_refused_and_the_rest_is_still_compared(cluster: Account, tmp_path: Path) -> None:
    step = step_of(put(tmp_path / "db", a1=[NAMESPACE, SETTINGS, DATABASE]))
    cluster.apply([step])
    other = workload("StatefulSet", "database", "postgres:18", volumeClaimTemplates=[])
    put(tmp_path / "db", a1=[NAMESPACE, {**SETTINGS, "data": {}}, other])
    shown = cluster.plan([step])
    assert shown[0].startswith("change ConfigMap comanda/settings: 1.yaml: data.LEVEL")
    assert shown[1].startswith("refused StatefulSet comanda/database: ")
    assert "updates to statefulset spec for fields other than" in shown[1]


def test_several_folders_are_one_step_in_their_order_and_one_that_is_yet_to_come_is_no_fault(
    cluster: Account, tmp_path: Path
) -> None:
    first, second = tmp_path / "monitoring" / "prometheus", tmp_path / "monitoring" / "grafana"
    put(first, a1=[NAMESPACE, SETTINGS])
    step = Application("monitoring", "what a test applies", first, second)
    assert cluster.apply([step]) == ["create Namespace comanda: 1.yaml", "create ConfigMap comanda/settings: 1.yaml"]
    put(second, a1=[API])
    assert cluster.apply([step]) == ["create Deployment comanda/api: 1.yaml"]
    assert cluster.plan([step]) == []
    assert cluster.destroy([step]) == [
        "delete Deployment comanda/api",
        "delete ConfigMap comanda/settings",
        "delete Namespace comanda",
    ]


def test_taken_down_nothing_is_left_and_with_its_volumes_kept_the_namespace_is(
    cluster: Account, tmp_path: Path
) -> None:
    database = step_of(put(tmp_path / "db", a1=[NAMESPACE, SETTINGS, DATABASE]))
    cluster.apply([database])
    kept = cluster.destroy([database], destroy={"keep": ("volumes",)})
    assert kept == ["delete StatefulSet comanda/database", "delete ConfigMap comanda/settings"]
    assert list(cluster.bed.kubernetes.applied.objects) == [("", "Namespace", "", "comanda")]
    cluster.apply([database])
    assert cluster.destroy([database])[-1] == "delete Namespace comanda"
    assert cluster.bed.kubernetes.applied.objects == {}
    assert cluster.destroy([database]) == []


def _without_kubectl(account: Account) -> None:
    account.environment["PATH"] = str(account.home)


def _without_context(account: Account) -> None:
    (account.home / "kubeconfig").unlink()


def _with_another_s_context(account: Account) -> None:
    file = account.home / "kubeconfig"
    config = yaml.safe_load(file.read_text(encoding="utf-8"))
    config["clusters"][0]["cluster"]["server"] = "https://another.example"
    file.write_text(yaml.safe_dump(config), encoding="utf-8")


def _with_a_broken_file(account: Account) -> None:
    (account.home / "kubeconfig").write_text("a: [", encoding="utf-8")


@pytest.mark.parametrize(
    ("meddle", "why"),
    [
        (_without_kubectl, "kubectl is not installed"),
        (_without_context, "run update-kubeconfig"),
        (_with_another_s_context, "is none, or another cluster's: run update-kubeconfig"),
        (_with_a_broken_file, "is not valid YAML"),
    ],
)
def test_a_cluster_that_cannot_be_asked_is_no_crash_and_nothing_is_touched(
    cluster: Account, tmp_path: Path, meddle: Callable[[Account], None], why: str
) -> None:
    step = step_of(put(tmp_path / "api", a1=[NAMESPACE, API]))
    cluster.apply([step])
    meddle(cluster)
    (shown,) = cluster.plan([step])
    here = "the cluster could not be asked from this machine"
    assert shown.startswith(f"later manifests of {tmp_path.name}/api: {here}: ")
    assert why in shown
    assert cluster.destroy([step]) == []
    assert len(cluster.bed.kubernetes.applied.objects) == 2


# The image.


def test_which_images_are_there(account: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    context = account.context()
    assert not context.in_aws
    other = ECR.replace("/comanda-api", "/other/comanda-api")
    asked = (
        IMAGE,
        f"{ECR}:1",
        "registry.example:5000/comanda-api:1",
        f"{ECR.replace('123', '999')}:1",
        f"{other}:1",
    )
    here = Verdict.AS_NODES_KNOW
    assert list(registry.verdicts(context, asked).values()) == [
        here,
        Verdict.NO_REPOSITORY,
        Verdict.ELSEWHERE,
        Verdict.ELSEWHERE,
        Verdict.ELSEWHERE,
    ]
    assert registry.newest(context) is None

    monkeypatch.setattr("comanda_deploy.context.AWS_HOSTS", ("127.0.0.1",))  # as if this were AWS
    assert registry.verdicts(context, [IMAGE]) == {IMAGE: Verdict.NO_REPOSITORY}
    account.apply([named("ecr")])
    assert registry.newest(context) is None
    assert registry.verdicts(context, [IMAGE]) == {IMAGE: Verdict.NAMELESS}
    first, second = pushed(account, "20261125-100000-aaaaaaa"), pushed(account, "20261125-110000-bbbbbbb")
    known = {
        f"{ECR}:20261125-100000-aaaaaaa": Verdict.THERE,
        f"{ECR}:20261125-100000-aaaaaaa@{first}": Verdict.THERE,
        f"{ECR}@{second}": Verdict.THERE,
        f"{ECR}:20261125-120000-ccccccc": Verdict.MISSING,
        f"{ECR}@sha256:{'0' * 64}": Verdict.MISSING,
        ECR: Verdict.MISSING,
        f"{other}:20261125-100000-aaaaaaa": Verdict.ELSEWHERE,
        f"{other}@{second}": Verdict.ELSEWHERE,
    }
    assert registry.verdicts(context, known) == known
    newest = registry.newest(context)
    assert newest is not None
    assert newest.digest in {first, second}, "moto's clock counts in seconds"


def test_an_image_that_is_missing_stops_apply_before_anything_is_touched(cluster: Account, tmp_path: Path) -> None:
    image = f"{ECR}:20261125-120000-ccccccc"
    step = step_of(put(tmp_path / "api", a1=[NAMESPACE], a2=[workload("Deployment", "api", image)]))
    with pytest.raises(engine.Failure, match=f"refused image {image}: .* no such image; {MEND} makes one"):
        cluster.apply([step])
    assert cluster.bed.kubernetes.applied.objects == {}
    pushed(cluster, "20261125-120000-ccccccc")
    assert cluster.apply([step]) == ["create Namespace comanda: 1.yaml", "create Deployment comanda/api: 2.yaml"]
    assert cluster.plan([step]) == []
    running = workloads.running(cluster.context())
    assert [(each.image, each.pods) for each in running] == [(image, 2)]
