"""How far the rollout of a Deployment is, and whether it will come to nothing: from what the cluster says, as data.

Which pods are new is told by the pods' template, as the Deployment's controller tells it: so a second rollout that
begins meanwhile (`comanda-follow-settings` writes an annotation into it) is followed, and none is taken for the other.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from pathlib import Path

from comanda_deploy import objects, workloads
from comanda_deploy.manifests import is_ours
from comanda_deploy.objects import Json, Key, Object

WITHOUT_IMAGE = timedelta(seconds=20)
"""How long a pod's image may not be had: a registry may refuse once, or be slow to know what was just pushed."""
FOR_A_NODE = timedelta(minutes=10)
"""How long pods may wait for a node: the Cluster Autoscaler may be bringing one."""
ENDS = 2
"""How often a container may end with an error: after that many it is no accident."""

HASH = "pod-template-hash"
REVISION = "deployment.kubernetes.io/revision"
NO_IMAGE = {"ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull", "ImageInspectError"}
ON_ITS_WAY = {"PodInitializing", "ContainerCreating"}


class State(StrEnum):
    """What becomes of a rollout."""

    DONE = "done"
    ROLLING = "rolling"
    FAILED = "failed"


class Cause(StrEnum):
    """Why a pod is not ready."""

    ENDS = "it ends with an error, again and again"
    IMAGE = "its image cannot be had"
    NODE = "it waits for a node"
    OTHER = "it is on its way, or waits for something"


@dataclass(frozen=True)
class Unready:
    """A new pod that is not ready.

    Args:
        pod: its name. container: which of it is why, "" if none is.
        reason: in words. ended: whether that container has ended before, so that there are two logs of it.
        started: whether there is a log at all.
    """

    pod: str
    cause: Cause
    reason: str
    container: str = ""
    ended: bool = False
    started: bool = False


@dataclass(frozen=True)
class Seen:
    """A Deployment, its ReplicaSets and its pods at one moment.

    Args:
        deployment: {} if there is none.
    """

    key: Key
    deployment: Json = field(default_factory=dict)
    sets: tuple[Json, ...] = ()
    pods: tuple[Json, ...] = ()

    @property
    def new(self) -> Json:
        """The ReplicaSet of the template that the Deployment has now, {} as long as there is none."""
        template = _template(self.deployment)
        return next((each for each in self.sets if _template(each) == template), {}) if template else {}

    @property
    def serving(self) -> Json:
        """The ReplicaSet whose pods serve, {} if none ever did.

        Of a rollout that is not done it is the one from before: that the new one has pods already says little.
        """
        if not self.deployment:
            return {}
        new = self.new
        if new and workloads.is_ready(self.deployment):
            return new
        others = [each for each in self.older if _count(each, "availableReplicas")]
        if others:
            return others[0]
        progress = workloads.condition(self.deployment, "Progressing")
        was_done = progress.get("reason") == "NewReplicaSetAvailable"
        return new if new and (was_done or _count(new, "availableReplicas")) else {}

    @property
    def older(self) -> list[Json]:
        """The ReplicaSets but the new one, the last first."""
        new = self.new
        return sorted((each for each in self.sets if each is not new), key=_revision, reverse=True)

    @property
    def new_pods(self) -> list[Json]:
        """The pods of the new ReplicaSet that are to be: not those that were evicted or are on their way out."""
        uid = (self.new.get("metadata") or {}).get("uid")
        return [
            each
            for each in self.pods
            if uid in _owners(each)
            and "deletionTimestamp" not in each["metadata"]
            and (each.get("status") or {}).get("phase") not in {"Failed", "Succeeded"}
        ]

    @property
    def left(self) -> int:
        """How many pods of other ReplicaSets there are."""
        return sum(_count(each, "replicas") for each in self.older)


@dataclass(frozen=True)
class Memory:
    """What is kept of a rollout from look to look.

    Args:
        of: the uid of the new ReplicaSet. furthest: how far it has come at its best, in each respect.
        moved: when that last was more than before. without_image: since when a pod's image cannot be had.
    """

    moved: datetime
    of: str = ""
    furthest: tuple[int, ...] = ()
    without_image: Mapping[str, datetime] = field(default_factory=dict)


@dataclass(frozen=True)
class Verdict:
    """What is known of a rollout after a look.

    Args:
        said: how far it is, or why it failed. unready: the new pods that are not ready, the worst first.
    """

    state: State
    said: str
    memory: Memory
    unready: tuple[Unready, ...] = ()


def seen_of(found: Sequence[Json], keys: Sequence[Key]) -> dict[Key, Seen]:
    """Answer the Deployments of some keys with what is theirs.

    Args:
        found: Deployments, ReplicaSets and pods of their namespaces.
    """
    seen = {}
    for key in keys:
        deployment = next((each for each in found if objects.key_of(each) == key), {})
        uid = (deployment.get("metadata") or {}).get("uid")
        sets = tuple(each for each in found if each["kind"] == "ReplicaSet" and uid and uid in _owners(each))
        uids = {each["metadata"].get("uid") for each in sets}
        pods = tuple(each for each in found if each["kind"] == "Pod" and uids & set(_owners(each)))
        seen[key] = Seen(key, deployment, sets, pods)
    return seen


def image_of(body: Json) -> str:
    """Answer which image of ours the pods of a Deployment or ReplicaSet are of, "" if of none."""
    if not body:
        return ""
    images = Object(objects.key_of(body), Path(), body).images
    return next((image for image in reversed(images) if is_ours(image)), "")


def deadline_of(deployment: Json) -> str:
    """Answer when a Deployment's controller last said that it is too late, "" if it does not say so."""
    progress = workloads.condition(deployment, "Progressing")
    late = progress.get("reason") == "ProgressDeadlineExceeded" and progress.get("status") == "False"
    return str(progress.get("lastUpdateTime") or progress.get("lastTransitionTime") or "always") if late else ""


def judge(seen: Seen, memory: Memory, now: datetime, *, patience: timedelta, stale: str = "") -> Verdict:
    """Answer what becomes of a rollout.

    Args:
        memory: of the look before; of the first one, only the time. now: aware, in UTC.
        patience: how long nothing may move. stale: `deadline_of` it before this rollout began.
    """
    if seen.deployment and workloads.is_ready(seen.deployment):
        return Verdict(State.DONE, f"{_count(seen.deployment, 'availableReplicas')} pods are ready", memory)
    unready = tuple(sorted(_unready(seen), key=lambda each: list(Cause).index(each.cause)))
    memory = _remembered(seen, memory, now, unready)
    said = _far(seen, unready)
    if why := _failed(seen, memory, now, patience, stale, unready):
        return Verdict(State.FAILED, why, memory, unready)
    return Verdict(State.ROLLING, said, memory, unready)


def _failed(
    seen: Seen, memory: Memory, now: datetime, patience: timedelta, stale: str, unready: Sequence[Unready]
) -> str:
    first = unready[0] if unready else None
    if first and first.cause is Cause.ENDS:
        return f"pod {first.pod}: {first.reason}"
    for each in unready:
        if each.cause is Cause.IMAGE and now - memory.without_image[each.pod] > WITHOUT_IMAGE:
            return f"pod {each.pod}: {each.reason}"
    late = deadline_of(seen.deployment) if seen.deployment and _is_current(seen.deployment) else ""
    if late and late != stale:
        return f"its progressDeadlineSeconds are over: {_far(seen, unready)}"
    if unready and all(each.cause is Cause.NODE for each in unready):
        patience = max(patience, FOR_A_NODE)
    still = now - memory.moved
    seconds = int(still.total_seconds())
    return f"nothing has moved for {seconds} s: {_far(seen, unready)}" if still > patience else ""


def _remembered(seen: Seen, memory: Memory, now: datetime, unready: Sequence[Unready]) -> Memory:
    pods = seen.new_pods
    reached = [
        sum(workloads.condition(pod, step).get("status") == "True" for pod in pods)
        for step in ("PodScheduled", "Initialized", "Ready")
    ]
    far = (int(bool(seen.new)), len(pods), *reached, _count(seen.new, "availableReplicas"), -seen.left)
    of = str((seen.new.get("metadata") or {}).get("uid", ""))
    # A pod may become unready and ready again for ever: only what is more than at its best is a move.
    same = memory.of == of and bool(memory.furthest)
    furthest = tuple(map(max, far, memory.furthest)) if same else far
    moved = memory.moved if same and furthest == memory.furthest else now
    lacking = {each.pod for each in unready if each.cause is Cause.IMAGE}
    return Memory(moved, of, furthest, {pod: memory.without_image.get(pod, now) for pod in lacking})


def _far(seen: Seen, unready: Sequence[Unready]) -> str:
    if not seen.deployment:
        return "it is not there"
    failure = workloads.condition(seen.deployment, "ReplicaFailure")
    wanted = int((seen.deployment.get("spec") or {}).get("replicas", 1))
    ready = sum(workloads.condition(pod, "Ready").get("status") == "True" for pod in seen.new_pods)
    text = f"{ready} of {wanted} new pods are ready"
    text += f", {seen.left} of before are there" if seen.left else ""
    if failure.get("status") == "True":
        return f"{text}; {workloads.in_words(failure)}"
    return f"{text}; pod {unready[0].pod}: {unready[0].reason}" if unready else text


def _unready(seen: Seen) -> Iterator[Unready]:
    for pod in seen.new_pods:
        if workloads.condition(pod, "Ready").get("status") != "True":
            yield unready_of(pod)


def unready_of(pod: Json) -> Unready:
    """Answer why a pod that is not ready is not."""
    name, status = pod["metadata"]["name"], pod.get("status") or {}
    scheduled = workloads.condition(pod, "PodScheduled")
    if scheduled.get("status") == "False":
        return Unready(name, Cause.NODE, workloads.in_words(scheduled) or "it waits for a node")
    later: Unready | None = None
    for those in ("initContainerStatuses", "containerStatuses"):
        for each in status.get(those) or ():
            if (found := _of_container(name, each, is_first=those.startswith("init"))) is None:
                continue
            if found.cause is not Cause.OTHER:
                return found
            later = later or found
    ready = workloads.in_words(workloads.condition(pod, "Ready"))
    return later or Unready(name, Cause.OTHER, ready or "it is not ready")


def _of_container(pod: str, status: Json, *, is_first: bool) -> Unready | None:
    """Answer why a container keeps its pod from being ready, None if it does not.

    Args:
        is_first: whether it runs before the others, and is done once it has ended well.
    """
    name, state = status["name"], status.get("state") or {}
    waiting, ended = state.get("waiting") or {}, state.get("terminated") or {}
    last = ended or (status.get("lastState") or {}).get("terminated") or {}
    restarts = int(status.get("restartCount", 0))
    code = f"{name} ended with {last.get('exitCode')} ({last.get('reason', 'Error')})" if last else ""
    wrong = bool(ended) and ended.get("exitCode") != 0
    if is_first and ended and not wrong:
        return None
    if waiting.get("reason") in NO_IMAGE:
        return Unready(pod, Cause.IMAGE, workloads.in_words(waiting), name)
    if waiting.get("reason") == "CrashLoopBackOff" or (wrong and restarts + 1 >= ENDS):
        text = f"{code}, again" if code else f"{name}: {workloads.in_words(waiting)}"
        return Unready(pod, Cause.ENDS, text, name, ended=restarts > 0, started=True)
    if last and not (is_first and last.get("exitCode") == 0):
        return Unready(pod, Cause.OTHER, code, name, ended=restarts > 0, started=True)
    if waiting and waiting.get("reason") not in ON_ITS_WAY:
        return Unready(pod, Cause.OTHER, workloads.in_words(waiting), name)
    if "running" in state and not status.get("ready"):
        text = f"{name} is running and not ready"
        return Unready(pod, Cause.OTHER, text, name, ended=restarts > 0, started=True)
    return None


def _template(body: Json) -> Json:
    """Answer the template of the pods, without what a ReplicaSet's has of its own."""
    template = (body.get("spec") or {}).get("template") or {}
    metadata = dict(template.get("metadata") or {})
    metadata["labels"] = {name: value for name, value in (metadata.get("labels") or {}).items() if name != HASH}
    return {**template, "metadata": metadata} if template else {}


def _owners(body: Json) -> list[str]:
    return [str(each.get("uid")) for each in body["metadata"].get("ownerReferences") or ()]


def _revision(replica_set: Json) -> int:
    text = (replica_set["metadata"].get("annotations") or {}).get(REVISION, "0")
    return int(text) if text.isdecimal() else 0


def _count(body: Json, what: str) -> int:
    return int((body.get("status") or {}).get(what) or 0)


def _is_current(deployment: Json) -> bool:
    return _count(deployment, "observedGeneration") >= int(deployment["metadata"].get("generation", 0))
