"""What runs in the cluster: whether it is as it was last told to be, why not, and of which image it is."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from comanda_deploy import kubectl
from comanda_deploy.context import Context
from comanda_deploy.manifests import is_ours
from comanda_deploy.names import NAMESPACE
from comanda_deploy.objects import Found, Json, Key, items

WAITED_FOR = {("apps", "DaemonSet"), ("apps", "Deployment"), ("apps", "StatefulSet")}


@dataclass(frozen=True)
class Running:
    """An image of ours that runs.

    Args:
        image: as it was asked for. digest: of what runs, "" where the node does not say. pods: how many.
    """

    image: str
    digest: str
    pods: int


def unready(context: Context, found: Mapping[Key, Found]) -> dict[Key, str]:
    """Answer the workloads that are not yet as they were told to be, with how far they are, and why.

    Raises:
        DeployError: the cluster cannot be asked.
    """
    late = {
        key: each.body
        for key, each in found.items()
        if key[:2] in WAITED_FOR and not each.deleting and not is_ready(each.body)
    }
    pods = {namespace: _pods(context, namespace) for namespace in sorted({key[2] for key in late})}
    return {key: _told(context, body, pods[key[2]]) for key, body in late.items()}


def is_ready(body: Json) -> bool:
    """Answer whether a workload is available, and its last change has reached all of its pods.

    While the autoscaler adds pods it still is: nobody waits for those.
    """
    status, spec = body.get("status") or {}, body.get("spec") or {}
    if int(status.get("observedGeneration", 0)) < int(body["metadata"].get("generation", 0)):
        return False
    if body["kind"] == "Deployment":
        conditions = {each["type"]: each for each in status.get("conditions") or ()}
        # So the controller marks a rollout that is done, until the next one begins. Of one that goes back to a set from
        # before it goes on saying so for a moment, while the pods are still the other's.
        done = conditions.get("Progressing", {}).get("reason") == "NewReplicaSetAvailable"
        done = done and int(status.get("updatedReplicas", 0)) >= int(status.get("replicas", 0))
        return bool(done and conditions.get("Available", {}).get("status") == "True")
    wanted, available, updated = _counts(body)
    by_hand = (spec.get("updateStrategy") or {}).get("type") == "OnDelete"
    return min(available, wanted if by_hand else updated) >= wanted


def _counts(body: Json) -> tuple[int, int, int]:
    """Answer how many pods a workload is to have, how many are available, and how many are of its last change."""
    status = body.get("status") or {}
    if body["kind"] == "DaemonSet":
        names = ("desiredNumberScheduled", "numberAvailable", "updatedNumberScheduled")
        wanted, available, updated = (int(status.get(each, 0)) for each in names)
        return wanted, available, updated
    wanted = int((body.get("spec") or {}).get("replicas", 1))
    return wanted, int(status.get("availableReplicas", 0)), int(status.get("updatedReplicas", 0))


def is_paused(body: Json) -> bool:
    """Answer whether somebody has halted a Deployment's rollout: it comes to no end until that is taken back."""
    return bool(body["kind"] == "Deployment" and (body.get("spec") or {}).get("paused"))


def running(context: Context) -> list[Running]:
    """Answer which images of ours run, those of most pods first.

    Raises:
        DeployError: the cluster cannot be asked.
    """
    count: dict[tuple[str, str], int] = {}
    for pod in _pods(context, NAMESPACE):
        for each in dict.fromkeys(_images(pod)):
            count[each] = count.get(each, 0) + 1
    found = [Running(image, digest, pods) for (image, digest), pods in count.items()]
    return sorted(found, key=lambda each: (-each.pods, each.image))


def _images(pod: Json) -> Iterator[tuple[str, str]]:
    # What the status says of a name is the node's word for it, with a registry put before it; the spec's is ours.
    asked = {each["name"]: each["image"] for each in pod["spec"]["containers"]}
    for each in (pod.get("status") or {}).get("containerStatuses") or ():
        image = asked.get(each["name"], each["image"])
        if is_ours(image) and "running" in (each.get("state") or {}):
            yield image, str(each.get("imageID", "")).partition("@")[2]


def _pods(context: Context, namespace: str) -> list[Json]:
    arguments = ("get", "pods", "--namespace", namespace or "default", "--output", "json")
    return items(kubectl.answer_of(context, *arguments))


def _told(context: Context, body: Json, pods: list[Json]) -> str:
    spec = body.get("spec") or {}
    wanted, available, updated = _counts(body)
    text = f"{available} of {wanted} pods are available"
    if updated < wanted:
        text += f", {updated} are of the last change"
    failure = condition(body, "ReplicaFailure")
    if failure.get("status") == "True":
        return f"{text}; {in_words(failure)}"  # there is not even a pod
    labels = (spec.get("selector") or {}).get("matchLabels") or {}
    unready = [each for each in pods if labels.items() <= (each["metadata"].get("labels") or {}).items()]
    unready = [each for each in unready if condition(each, "Ready").get("status") != "True"]
    for why in (_why, lambda pod: _warning(context, pod), lambda pod: in_words(condition(pod, "Ready"))):
        for pod in unready:
            if said := why(pod):
                return f"{text}; pod {pod['metadata']['name']}: {said}"
    return text


def condition(body: Json, kind: str) -> Json:
    """Answer an object's condition of a kind ("Ready"), {} if it has none."""
    conditions: list[Json] = (body.get("status") or {}).get("conditions") or []
    return next((each for each in conditions if each["type"] == kind), {})


def _warning(context: Context, pod: Json) -> str:
    """Answer what Kubernetes last warned of: that a secret to be mounted is missing, say, stands nowhere else."""
    metadata = pod["metadata"]
    of_pod = f"involvedObject.name={metadata['name']},type=Warning"
    arguments = ("--namespace", metadata.get("namespace", "default"), "--field-selector", of_pod, "--output", "json")
    found = items(kubectl.answer_of(context, "get", "events", *arguments))
    return in_words(max(found, key=_seen_at)) if found else ""


def _seen_at(event: Mapping[str, Any]) -> str:
    """Answer when an event was last seen: what came by events.k8s.io has no lastTimestamp."""
    times = (
        (event.get("series") or {}).get("lastObservedTime"),
        *(event.get(each) for each in ("lastTimestamp", "eventTime")),
        (event.get("metadata") or {}).get("creationTimestamp"),
    )
    # Some in seconds, some in microseconds: without its Z a text goes before one that is longer.
    return next((str(each).removesuffix("Z") for each in times if each), "")


def _why(pod: Json) -> str:
    """Answer what a pod says of itself for not being ready, "" if it seems to be only on its way."""
    status = pod.get("status") or {}
    scheduled = condition(pod, "PodScheduled")
    if scheduled.get("status") == "False":
        return in_words(scheduled)
    for those in ("initContainerStatuses", "containerStatuses"):
        for each in status.get(those) or ():
            waiting = (each.get("state") or {}).get("waiting") or {}
            ended = (each.get("lastState") or {}).get("terminated") or (each.get("state") or {}).get("terminated") or {}
            if ended and not (ended.get("exitCode") == 0 and those == "initContainerStatuses"):
                code = f"{each['name']} ended with {ended.get('exitCode')} ({ended.get('reason', 'Error')})"
                return f"{code}; {in_words(waiting)}" if waiting else code
            if waiting and waiting.get("reason") not in {"PodInitializing", "ContainerCreating"}:
                return in_words(waiting)
    return in_words(status) if status.get("reason") else ""


def in_words(state: Mapping[str, Any]) -> str:
    """Answer reason and message of a state, a condition or an event, in one line."""
    text = ": ".join(str(state[each]) for each in ("reason", "message") if state.get(each))
    return " ".join(text.split())[:250]
