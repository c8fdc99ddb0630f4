"""`plan` and `status` over AWS and Kubernetes together: what differs, what was changed by hand, which image runs."""

import contextlib
import json
from collections.abc import Iterator
from typing import Any

import pytest

from comanda_deploy.names import REPOSITORY
from tests.cluster.comanda import account
from tests.cluster.comanda.house import House
from tests.cluster.suite.kube import until

SOMETHING_TO_DO = 2
"""The exit code of a plan that is not empty: this account has no cluster of EKS, the nodes here are not AWS'."""

UNWELL = (1,)
"""The exit code of a status that is not well, for the same reason."""

OURS = ("secrets", "database", "api")
"""The steps that have done their work here; the others speak of what only AWS has."""

MANIFEST = '{"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json", "layers": []}'

IMPATIENT = '{"spec":{"template":{"spec":{"terminationGracePeriodSeconds":64}}}}'


@pytest.fixture
def changed_by_hand(house: House) -> Iterator[None]:
    """Somebody has turned three knobs on the cluster, one of them in the pods. Put right in any case."""
    kube = house.kube
    kube("--namespace=comanda", "patch", "hpa", "comanda-api", "--type=merge", '--patch={"spec":{"maxReplicas":3}}')
    kube("--namespace=comanda-db", "delete", "networkpolicy", "to-database")
    kube("--namespace=comanda", "patch", "deployment", "comanda-worker", "--type=merge", f"--patch={IMPATIENT}")
    yield
    for step in ("database", "api"):
        house.deploy("step", step, "--yes")


def test_plan_finds_nothing_to_do_in_what_was_applied(house: House) -> None:
    assert _to_do(house) == {}


def test_what_was_changed_by_hand_is_shown_and_mended(house: House, changed_by_hand: None) -> None:
    to_do = {what: change for what, change in _to_do(house).items() if change["kind"] != "wait"}
    scaler, policy, worker = (
        "HorizontalPodAutoscaler comanda/comanda-api",
        "NetworkPolicy comanda-db/to-database",
        "Deployment comanda/comanda-worker",
    )
    assert set(to_do) == {scaler, policy, worker}
    assert to_do[scaler]["kind"] == to_do[worker]["kind"] == "change"
    assert to_do[policy]["kind"] == "create"
    assert "maxReplicas" in to_do[scaler]["detail"]
    said = house.deploy("status", codes=UNWELL)
    assert f"Changed by hand: {worker}" in said, said

    for step in ("database", "api"):
        house.deploy("step", step, "--yes")
    assert _to_do(house) == {}
    house.rolled_out("deployment/comanda-worker")
    assert house.kube.get("--namespace=comanda", "hpa", "comanda-api")["spec"]["maxReplicas"] == 10
    [worker_pod, *_] = house.pods("comanda-worker")
    assert worker_pod["spec"]["terminationGracePeriodSeconds"] == 65


def test_status_says_which_image_is_named_which_is_newest_and_which_runs(house: House) -> None:
    until("no rollout", lambda: len(house.pods("comanda-worker")) == 2)
    ecr, tag = account.client(house.facts, "ecr"), "20990101-000000-abcdef1"
    with contextlib.suppress(ecr.exceptions.RepositoryAlreadyExistsException):  # of a run that was killed
        ecr.create_repository(repositoryName=REPOSITORY)
    try:
        pushed = ecr.put_image(repositoryName=REPOSITORY, imageManifest=MANIFEST, imageTag=tag)["image"]["imageId"]
        images = json.loads(house.deploy("status", "--json", codes=UNWELL))["images"]
        assert images["named"] == ["comanda-api:0.1.0"]
        assert images["newest"].startswith(f"{REPOSITORY}:{tag}@{pushed['imageDigest']}, pushed ")
        running = {pod["status"]["containerStatuses"][0]["imageID"].rpartition("@")[2] for pod in _all(house)}
        assert len(running) == 1
        assert images["running"] == [f"comanda-api:0.1.0@{running.pop()} in {len(_all(house))} pods"]
    finally:
        ecr.delete_repository(repositoryName=REPOSITORY, force=True)


def _to_do(house: House) -> dict[str, dict[str, Any]]:
    """Answer what a plan would do of what stands on this cluster, by what it would do it to."""
    plan = json.loads(house.deploy("plan", "--json", codes=(SOMETHING_TO_DO,)))
    return {each["what"]: each for each in plan["changes"] if each["step"] in OURS and each["kind"] != "note"}


def _all(house: House) -> list[dict[str, Any]]:
    return [pod for app in ("comanda-api", "comanda-worker") for pod in house.pods(app)]
