"""Readiness gates: a pod is told whether the load balancer takes it for healthy."""

from collections.abc import Iterable, Mapping
from datetime import datetime

from tests.cluster.alb.kubernetes import Json, Key, key
from tests.cluster.alb.targets import State, TargetGroup

PREFIX = "target-health.elbv2.k8s.aws/"
LEGACY_PREFIX = "target-health.alb.ingress.k8s.aws"


def condition_type(group_name: str) -> str:
    """Answer the name of a group's gate, which is the name of the pod's condition too."""
    return PREFIX + group_name


def gates(pod: Json) -> list[str]:
    """Answer the gates of ours that a pod has."""
    all_of_them = (str(each["conditionType"]) for each in pod["spec"].get("readinessGates") or [])
    return [each for each in all_of_them if each.startswith(PREFIX)]


def updates(groups: Iterable[TargetGroup], pods: Mapping[Key, Json], now: datetime) -> Iterable[tuple[Json, Json]]:
    """Answer the pods whose conditions are to change, each with the patch of its status.

    A gate of a group that is no more stands open, as the controller leaves it when it deletes a binding.
    """
    by_type = {condition_type(group.spec.name): group for group in groups}
    for pod in pods.values():
        for gate in gates(pod):
            wanted = _wanted(by_type.get(gate), pod)
            if wanted is not None and (patch := _patch(pod, gate, *wanted, now)):
                yield pod, patch


def _wanted(group: TargetGroup | None, pod: Json) -> tuple[str, str, str] | None:
    """Answer status, reason and message; None for a pod that is not registered, of which nothing is said."""
    if group is None:
        return "True", "", "Target Group Binding is deleted"
    for target in group.targets.values():
        if (target.pod.namespace, target.pod.name) == key(pod) and not target.leaving:
            return str(target.state is State.HEALTHY), target.reason, target.description
    return None


def _patch(pod: Json, gate: str, status: str, reason: str, message: str, now: datetime) -> Json | None:
    since = now.strftime("%Y-%m-%dT%H:%M:%SZ")
    for each in (pod.get("status") or {}).get("conditions") or []:
        if each["type"] == gate:
            if (each["status"], each.get("reason", ""), each.get("message", "")) == (status, reason, message):
                return None
            if each["status"] == status:
                since = each.get("lastTransitionTime") or since
    condition = {"type": gate, "status": status, "reason": reason, "message": message, "lastTransitionTime": since}
    # The uid is a precondition: a pod made anew under the name of the old one is another pod.
    return {"metadata": {"uid": pod["metadata"].get("uid")}, "status": {"conditions": [condition]}}
