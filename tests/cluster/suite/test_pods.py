"""Pods: restricted ones run and others are refused; how a person looks into them; images under any name."""

import pytest

from tests.cluster.machine import Failed
from tests.cluster.suite.kube import RESTRICTED, Space, deployment, pod

pytestmark = pytest.mark.cluster


def lone(space: Space, name: str, **more: object) -> dict[str, object]:
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": pod(space, **more)}


def test_a_restricted_pod_runs_with_nothing_that_it_may_not_have(space: Space) -> None:
    space.apply(lone(space, "one"))
    space.wait("pod/one", "condition=Ready")
    status = dict(line.split(":\t", 1) for line in space.exec("one", "status").splitlines() if ":\t" in line)
    assert status["Uid"].split() == ["10001"] * 4
    assert status["CapEff"] == status["CapBnd"] == "0" * 16
    assert status["NoNewPrivs"] == "1"
    assert status["Seccomp"] == "2", "the runtime's own filter of system calls"
    with space.at("pod/one") as call:
        assert "read-only file system" in call("/file?path=/written", body="x")


@pytest.mark.parametrize(
    "wish",
    [
        {"runAsUser": 0, "runAsNonRoot": False},
        {"allowPrivilegeEscalation": True},
        {"capabilities": {"add": ["NET_ADMIN"], "drop": ["ALL"]}},
        {"seccompProfile": {"type": "Unconfined"}},
        {"privileged": True, "allowPrivilegeEscalation": True},
    ],
    ids=lambda wish: next(iter(wish)),
)
def test_a_pod_that_wants_more_is_refused(space: Space, wish: dict[str, object]) -> None:
    with pytest.raises(Failed, match="violates PodSecurity"):
        space.apply(lone(space, "greedy", container={"securityContext": RESTRICTED | wish}))


def test_a_person_can_look_into_a_pod(space: Space) -> None:
    space.apply(lone(space, "one"))
    space.wait("pod/one", "condition=Ready")
    assert space("logs", "one") == "probe: listening\n"
    assert space.exec("one", "env", "NODE").strip() == space.node_of("one")
    with space.at("pod/one") as call:
        assert call("/").startswith("one node")


def test_an_image_comes_by_its_digest_too_under_a_name_that_is_not_ours(space: Space, probe: tuple[str, str]) -> None:
    by_tag, by_digest = probe
    space.apply(deployment(space, "by-tag"), deployment(space, "by-digest", container={"image": by_digest}))
    space.rolled_out("deployment/by-tag")
    space.rolled_out("deployment/by-digest")
    (one,) = space.pods("by-digest")
    assert one["spec"]["containers"][0]["image"] == by_digest
    assert one["status"]["containerStatuses"][0]["imageID"].endswith(by_digest.split("@")[1])
    assert by_tag.split("/")[0] == by_digest.split("/")[0] != "docker.io"


def test_an_image_that_nobody_has_pushed_is_not_found_and_says_so(space: Space) -> None:
    image = "registry.example/nobody/pushed:1"
    space.apply(lone(space, "none", container={"image": image}))
    space.wait("pod/none", "jsonpath={.status.containerStatuses[0].state.waiting.reason}=ErrImagePull")
