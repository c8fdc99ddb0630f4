"""What becomes of a rollout, as data: from what the API server says of a Deployment, its ReplicaSets and its pods."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from comanda_deploy import going_back, rollback, rollout
from comanda_deploy.errors import DeployError
from comanda_deploy.manifests import Manifest
from comanda_deploy.objects import LAST_APPLIED
from comanda_deploy.rollback import Running
from comanda_deploy.rollout import Cause, Memory, Seen, State
from tests.deployment.application import manifest, workload

KEY = ("apps", "Deployment", "comanda", "comanda-api")
OLD, NEW = "comanda-api:1", "comanda-api:2"
AT = datetime(2026, 11, 25, tzinfo=UTC)
PATIENCE = timedelta(seconds=180)
ROLLING = [
    {"type": "Available", "status": "True"},
    {"type": "Progressing", "status": "True", "reason": "ReplicaSetUpdated"},
]
DONE = [ROLLING[0], {"type": "Progressing", "status": "True", "reason": "NewReplicaSetAvailable"}]
LATE = {"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded", "lastUpdateTime": "T1"}


def deployment(image: str = NEW, generation: int = 2, **status: Any) -> dict[str, Any]:
    body = workload("Deployment", "comanda-api", image)
    body["metadata"] |= {"uid": "d", "generation": generation}
    usual = {
        "observedGeneration": 2,
        "replicas": 3,
        "updatedReplicas": 1,
        "availableReplicas": 2,
        "conditions": ROLLING,
    }
    return body | {"status": {**usual, **status}}


def replica_set(image: str, revision: int, available: int = 0, replicas: int = 1, **annotations: str) -> dict[str, Any]:
    body = workload("Deployment", f"comanda-api-{revision}", image)
    template = body["spec"]["template"]
    template["metadata"] = {"labels": {**template["metadata"]["labels"], "pod-template-hash": str(revision)}}
    # Of a Deployment of that name, its labels too.
    template["metadata"]["labels"]["app"] = "comanda-api"
    if annotations:
        template["metadata"]["annotations"] = annotations
    body["metadata"] |= {
        "uid": f"s{revision}",
        "annotations": {rollout.REVISION: str(revision)},
        "ownerReferences": [{"uid": "d"}],
    }
    body["status"] = {"replicas": replicas, "availableReplicas": available}
    return body | {"kind": "ReplicaSet"}


def pod(name: str = "p", of: str = "s2", ready: bool = False, scheduled: bool = True, **status: Any) -> dict[str, Any]:
    conditions = [
        {"type": "Ready", "status": str(ready), "reason": "" if ready else "ContainersNotReady"},
        {"type": "PodScheduled", "status": str(scheduled), "reason": "" if scheduled else "Unschedulable"},
    ]
    body = manifest("Pod", name, status={"phase": "Pending", "conditions": conditions, **status})
    body["metadata"]["ownerReferences"] = [{"uid": of}]
    return body


def seen(*found: dict[str, Any]) -> Seen:
    return rollout.seen_of(found, [KEY])[KEY]


SETS = (replica_set(OLD, 1, available=2, replicas=2), replica_set(NEW, 2))


def container(name: str = "api", restarts: int = 0, *, ready: bool = False, **state: Any) -> dict[str, Any]:
    last = {"lastState": {"terminated": state.pop("last")}} if "last" in state else {}
    return {"name": name, "restartCount": restarts, "ready": ready, "state": state, **last}


FAILED = {"exitCode": 1, "reason": "Error"}
PULLS = {"reason": "ErrImagePull", "message": "no such tag"}


@pytest.mark.parametrize(
    ("status", "cause", "reason"),
    [
        ({"containerStatuses": [container(waiting=PULLS)]}, Cause.IMAGE, "ErrImagePull: no such tag"),
        ({"containerStatuses": [container(waiting={"reason": "InvalidImageName"})]}, Cause.IMAGE, "InvalidImageName"),
        (
            {"initContainerStatuses": [container("migrate", waiting=PULLS)]},
            Cause.IMAGE,
            "ErrImagePull: no such tag",
        ),
        # Once may be an accident, as with a database that is just coming back.
        (
            {"initContainerStatuses": [container("migrate", terminated=FAILED)]},
            Cause.OTHER,
            "migrate ended with 1 (Error)",
        ),
        (
            {"initContainerStatuses": [container("migrate", 1, terminated=FAILED, last=FAILED)]},
            Cause.ENDS,
            "migrate ended with 1 (Error), again",
        ),
        (
            {"containerStatuses": [container(restarts=1, waiting={"reason": "CrashLoopBackOff"}, last=FAILED)]},
            Cause.ENDS,
            "api ended with 1 (Error), again",
        ),
        (
            {"containerStatuses": [container(waiting={"reason": "CrashLoopBackOff", "message": "back-off"})]},
            Cause.ENDS,
            "api: CrashLoopBackOff: back-off",
        ),
        # It runs again: whether it ends again is yet to be seen.
        (
            {"containerStatuses": [container(restarts=3, running={}, last=FAILED)]},
            Cause.OTHER,
            "api ended with 1 (Error)",
        ),
        ({"containerStatuses": [container(running={})]}, Cause.OTHER, "api is running and not ready"),
        # The load balancer does not know it yet.
        ({"containerStatuses": [container(ready=True, running={})]}, Cause.OTHER, "ContainersNotReady"),
        (
            {
                "containerStatuses": [
                    container(waiting={"reason": "CreateContainerConfigError", "message": "no secret"})
                ]
            },
            Cause.OTHER,
            "CreateContainerConfigError: no secret",
        ),
        (
            {
                "initContainerStatuses": [container("migrate", terminated={"exitCode": 0})],
                "containerStatuses": [container(waiting={"reason": "PodInitializing"})],
            },
            Cause.OTHER,
            "ContainersNotReady",
        ),
        ({}, Cause.OTHER, "ContainersNotReady"),
        ({"conditions": []}, Cause.OTHER, "it is not ready"),
    ],
)
def test_why_a_pod_is_not_ready(status: dict[str, Any], cause: Cause, reason: str) -> None:
    found = rollout.unready_of(pod(**status))
    assert (found.cause, found.reason) == (cause, reason)


def test_a_pod_without_a_node_waits_for_one() -> None:
    assert rollout.unready_of(pod(scheduled=False)).cause is Cause.NODE


def test_there_is_a_log_of_what_has_started_and_one_before_of_what_was_started_again() -> None:
    for status, expected in (
        (container(waiting=PULLS), (False, False)),
        (container(running={}), (True, False)),
        (container(terminated=FAILED), (True, False)),
        (container(restarts=2, waiting={"reason": "CrashLoopBackOff"}, last=FAILED), (True, True)),
    ):
        found = rollout.unready_of(pod(containerStatuses=[status]))
        assert (found.started, found.ended) == expected


def judged(*found: dict[str, Any], memory: Memory | None = None, after: float = 0, stale: str = "") -> rollout.Verdict:
    now = AT + timedelta(seconds=after)
    return rollout.judge(seen(*found), memory or Memory(AT), now, patience=PATIENCE, stale=stale)


def test_it_is_done_when_every_pod_is_of_the_new_set() -> None:
    status: dict[str, Any] = {"replicas": 2, "updatedReplicas": 2, "conditions": DONE}
    assert judged(deployment(**status), *SETS).state is State.DONE
    assert judged(deployment(**status, generation=3), *SETS).state is State.ROLLING, "not yet heard of"
    # The controller says so of the rollout before, for a moment, when it goes back to a set that there was.
    assert judged(deployment(**{**status, "updatedReplicas": 0}), *SETS).state is State.ROLLING


def test_how_far_it_is() -> None:
    pods = (pod("a", ready=True), pod("b", containerStatuses=[container(running={})]), pod("c", of="s1", ready=True))
    said = judged(deployment(), *SETS, *pods).said
    assert said == "1 of 2 new pods are ready, 2 of before are there; pod b: api is running and not ready"
    quota = {"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": "exceeded quota"}
    said = judged(deployment(conditions=[*ROLLING, quota]), *SETS).said
    assert said == "0 of 2 new pods are ready, 2 of before are there; FailedCreate: exceeded quota"
    assert judged(*SETS).said == "it is not there"


def test_what_ends_again_fails_at_once_and_what_has_no_image_after_a_while() -> None:
    ends = pod(containerStatuses=[container(restarts=1, terminated=FAILED)])
    verdict = judged(deployment(), *SETS, ends)
    assert (verdict.state, verdict.said) == (State.FAILED, "pod p: api ended with 1 (Error), again")

    pulls = pod(containerStatuses=[container(waiting=PULLS)])
    first = judged(deployment(), *SETS, pulls, after=5)
    assert first.state is State.ROLLING
    assert judged(deployment(), *SETS, pulls, memory=first.memory, after=25).state is State.ROLLING
    last = judged(deployment(), *SETS, pulls, memory=first.memory, after=26)
    assert (last.state, last.said) == (State.FAILED, "pod p: ErrImagePull: no such tag")
    # Meanwhile it was had: the time is counted anew.
    had = judged(deployment(), *SETS, pod(), memory=first.memory, after=20)
    again = judged(deployment(), *SETS, pulls, memory=had.memory, after=26)
    assert again.state is State.ROLLING


def test_pods_of_another_set_that_are_ready_or_on_their_way_out_are_no_failure() -> None:
    crashed: dict[str, Any] = {
        "containerStatuses": [container(restarts=5, waiting={"reason": "CrashLoopBackOff"}, last=FAILED)]
    }
    pods = [pod("old", of="s1", **crashed), pod("leaving", **crashed), pod("evicted", **{**crashed, "phase": "Failed"})]
    pods[1]["metadata"]["deletionTimestamp"] = "2026-11-25T00:00:00Z"
    back = pod("back", ready=True, containerStatuses=[container(restarts=5, ready=True, running={}, last=FAILED)])
    verdict = judged(deployment(), *SETS, *pods, back)
    assert (verdict.state, verdict.unready) == (State.ROLLING, ())


def test_what_does_not_move_fails_when_patience_is_over() -> None:
    found = (deployment(), *SETS, pod(containerStatuses=[container(running={})]))
    first = judged(*found)
    assert judged(*found, memory=first.memory, after=180).state is State.ROLLING
    last = judged(*found, memory=first.memory, after=181)
    assert last.state is State.FAILED
    assert last.said.startswith("nothing has moved for 181 s: 0 of 2 new pods are ready")
    # One more is ready: from then on it is counted.
    moved = judged(*found, pod("q", ready=True), memory=first.memory, after=170)
    assert judged(*found, pod("q", ready=True), memory=moved.memory, after=345).state is State.ROLLING
    # Ready, not ready and ready again is no move.
    flaps = judged(*found, pod("q"), memory=moved.memory, after=340)
    assert judged(*found, pod("q", ready=True), memory=flaps.memory, after=351).state is State.FAILED
    assert judged(*SETS, memory=judged(*SETS).memory, after=181).said == "nothing has moved for 181 s: it is not there"


def test_pods_that_only_wait_for_a_node_have_ten_minutes() -> None:
    found = (deployment(), *SETS, pod("a", ready=True), pod("b", scheduled=False))
    first = judged(*found)
    assert judged(*found, memory=first.memory, after=600).state is State.ROLLING
    assert judged(*found, memory=first.memory, after=601).state is State.FAILED
    # One that has its node is another matter.
    other = (*found, pod("c"))
    first = judged(*other)
    assert judged(*other, memory=first.memory, after=181).state is State.FAILED


def test_the_deployment_s_own_deadline_counts_but_not_that_of_a_rollout_before() -> None:
    late = deployment(conditions=[ROLLING[0], LATE])
    assert judged(late, *SETS).said.startswith("its progressDeadlineSeconds are over: 0 of 2 new pods are ready")
    assert judged(late, *SETS, stale=rollout.deadline_of(late)).state is State.ROLLING
    assert judged(deployment(generation=3, conditions=[LATE]), *SETS).state is State.ROLLING
    assert rollout.deadline_of(deployment()) == ""


def test_a_second_rollout_meanwhile_is_followed() -> None:
    """`comanda-follow-settings` writes an annotation into the template: another set, which is the new one then."""
    stuck = pod(containerStatuses=[container(running={})])
    first = judged(deployment(), *SETS, stuck)
    again = deployment()
    again["spec"]["template"] = {
        **again["spec"]["template"],
        "metadata": {**again["spec"]["template"]["metadata"], "annotations": {"comanda/settings": "x"}},
    }
    annotated: dict[str, Any] = {"comanda/settings": "x"}
    third = replica_set(NEW, 3, **annotated)
    found = (again, *SETS, third, stuck, pod("q", of="s3"))
    assert seen(*found).new["metadata"]["uid"] == "s3"
    second = judged(*found, memory=first.memory, after=179)
    assert [each.pod for each in second.unready] == ["q"]
    assert judged(*found, memory=second.memory, after=300).state is State.ROLLING
    assert seen(*found).left == 3, "both others'"


# What serves.


@pytest.mark.parametrize(
    ("sets", "status", "serves"),
    [
        (SETS, {}, OLD),
        ((replica_set(OLD, 1, replicas=0), replica_set(NEW, 2, 2)), {"replicas": 1, "conditions": DONE}, NEW),
        # It did once, and its pods are just away, with the node that they were on.
        ((replica_set(NEW, 2),), {"replicas": 1, "conditions": [DONE[1]]}, NEW),
        # Some of the new are there, none of the old.
        ((replica_set(OLD, 1), replica_set(NEW, 2, 1)), {}, NEW),
        ((replica_set(OLD, 1), replica_set(NEW, 2)), {}, ""),
        # Of two from before that which was last.
        ((replica_set("comanda-api:0", 1, 1), replica_set(OLD, 3, 1), replica_set(NEW, 4)), {}, OLD),
        ((), {}, ""),
    ],
)
def test_what_serves(sets: tuple[dict[str, Any], ...], status: dict[str, Any], serves: str) -> None:
    assert rollout.image_of(seen(deployment(**status), *sets).serving) == serves


def test_where_there_is_no_deployment_nothing_serves() -> None:
    assert seen(*SETS).serving == {}
    assert seen(*SETS).new == {}


def test_an_image_of_others_is_none_of_ours() -> None:
    assert rollout.image_of(workload("Deployment", "x", "postgres:18")) == ""
    assert rollout.image_of({}) == ""


# What brings it back.


def test_what_was_applied_last_is_what_brings_it_back() -> None:
    applied = workload("Deployment", "comanda-api", OLD)
    live = deployment(OLD)
    live["metadata"]["annotations"] = {LAST_APPLIED: json.dumps(applied), "comanda/previous-image": "x"}
    assert going_back.as_it_was(live) == applied
    assert going_back.as_it_was(live, seen(live, *SETS)) == applied
    # Something else serves: its pods, with the labels and annotations that were applied.
    other = replace(seen(live, *SETS), sets=(replica_set("comanda-api:0", 1, 2), replica_set(OLD, 2)))
    body = going_back.as_it_was(live, other)
    assert body["spec"]["template"]["spec"]["containers"][0]["image"] == "comanda-api:0"
    assert body["spec"]["template"]["metadata"] == applied["spec"]["template"]["metadata"]


def test_what_nobody_applied_is_brought_back_without_what_the_cluster_writes() -> None:
    body = going_back.as_it_was(deployment(OLD))
    assert body["metadata"] == {"name": "comanda-api", "namespace": "comanda"}
    assert "status" not in body
    assert "replicas" not in body["spec"], "their number is the autoscaler's"
    assert going_back.as_it_was(manifest("ConfigMap", "a", data={"b": "c"})) == manifest(
        "ConfigMap", "a", data={"b": "c"}
    )


# Which way back.


def naming(*images: str) -> list[Manifest]:
    return [Manifest(Path("a.yaml"), images)]


@pytest.mark.parametrize(
    ("running", "named", "to", "expected"),
    [
        (Running(NEW, frozenset({NEW}), OLD), NEW, "", (OLD, True)),
        (Running(OLD, frozenset({OLD}), "comanda-api:0"), NEW, "", (OLD, False)),
        (Running(OLD, frozenset({NEW}), "comanda-api:0"), NEW, "", (OLD, True)),
        (Running(OLD, frozenset({OLD, NEW}), ""), OLD, "", (OLD, True)),
        (Running(NEW, frozenset({NEW}), OLD), NEW, "comanda-api:0", ("comanda-api:0", True)),
        (Running(NEW, frozenset({NEW}), OLD), OLD, NEW, (NEW, False)),
    ],
)
def test_which_way_back(running: Running, named: str, to: str, expected: tuple[str, bool]) -> None:
    way = rollback.decide(running, naming(named), to)
    assert (way.to, way.rolls) == expected


def test_no_way_back_says_how_to_name_one() -> None:
    with pytest.raises(DeployError, match=rf"no image before {NEW} is known: name one, .* rollback-api --to IMAGE"):
        rollback.decide(Running(NEW, frozenset({NEW}), ""), naming(NEW))


def test_gone_back_twice_is_not_forward_again() -> None:
    back = Running(OLD, frozenset({OLD}), NEW, left=NEW)
    with pytest.raises(DeployError, match=rf"{NEW} is what was gone back from to {OLD}: .* --to {NEW}"):
        rollback.decide(back, naming(OLD))
    assert rollback.decide(back, naming(OLD), NEW).rolls


def test_the_image_before_is_what_was_noted_and_otherwise_what_the_sets_know() -> None:
    whole = deployment(replicas=1, conditions=DONE)
    sets = (replica_set("comanda-api:0", 1), replica_set(NEW, 2, 1))

    def noted(previous: str, of: str) -> dict[str, Any]:
        notes = {"comanda/previous-image": previous, "comanda/previous-image-of": of}
        return {**whole, "metadata": {**whole["metadata"], "annotations": notes}}

    assert rollback.earlier(seen(noted(OLD, NEW), *sets)) == OLD
    assert rollback.earlier(seen(whole, *sets)) == "comanda-api:0"
    assert rollback.earlier(seen(whole, sets[1])) == ""
    assert rollback.earlier(seen(noted(NEW, NEW), *sets)) == "comanda-api:0"
    assert rollback.earlier(seen(noted(OLD, "comanda-api:9"), *sets)) == "comanda-api:0", "of another, it says nothing"
