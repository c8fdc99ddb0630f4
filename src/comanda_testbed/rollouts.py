"""The Deployments of the emulated cluster: their ReplicaSets, and the pods of each, as a rollout moves them.

A new set has one pod beside those of the set before until it is ready, which is at some later look, or never.
"""

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

Json = dict[str, Any]
Key = tuple[str, str, str, str]
Trouble = tuple[str, str]

REVISION = "deployment.kubernetes.io/revision"
HASH = "pod-template-hash"
ID = "sha256:" + "0" * 64
CREATED = "2026-11-25T00:00:00Z"


@dataclass
class Set:
    """A ReplicaSet.

    Args:
        template: of its pods. up: how many of them are ready.
    """

    template: Json
    revision: int
    up: int = 0


@dataclass
class Rollouts:
    """The ReplicaSets.

    Args:
        troubles: by a workload's name or an image, the reason and message for which pods do not become ready:
            `CrashLoopBackOff`, `Unschedulable`, `Running` (and never ready), `ProgressDeadlineExceeded` (the same, and
            the controller says so), or what a container waits for.
        looks: how often a new set is looked at before its pods are ready.
    """

    troubles: Mapping[str, Trouble]
    looks: int = 1
    sets: dict[Key, list[Set]] = field(default_factory=dict)
    _late: dict[Key, int] = field(default_factory=dict)
    _exceeded: set[Key] = field(default_factory=set)

    def changed(self, key: Key, body: Json) -> None:
        """A Deployment was made or its spec changed: one of its sets is the new one now, or there is another."""
        sets = self.sets.setdefault(key, [])
        template = body["spec"]["template"]
        number = max((each.revision for each in sets), default=0) + 1
        same = next((each for each in sets if each.template == template), None)
        if same is None:
            sets.append(Set(copy.deepcopy(template), number))
            self._late[key] = self.looks
        elif same is not sets[-1]:
            sets.remove(same)
            sets.append(same)
            same.revision = number

    def gone(self, key: Key) -> None:
        """A Deployment was deleted, and its pods with it."""
        self.sets.pop(key, None)

    def look(self, key: Key, body: Json) -> Json:
        """Move a rollout on, and answer the Deployment's status."""
        replicas, sets = body["spec"].get("replicas", 1), self.sets[key]
        new, older = sets[-1], sets[:-1]
        trouble = self._trouble(key, new)
        # It is said of the next rollout too, until that has moved.
        exceeded = key in self._exceeded
        self._exceeded.discard(key)
        if trouble and trouble[0] == "ProgressDeadlineExceeded":
            self._exceeded.add(key)
            exceeded = True
        if not trouble:
            if self._late.get(key, 0):
                self._late[key] -= 1
            else:
                new.up = replicas
                for each in older:
                    each.up = 0
        up = sum(each.up for each in sets)
        done = new.up >= replicas and up == new.up
        return {
            "observedGeneration": body["metadata"]["generation"],
            "replicas": sum(each.up for each in older) + self._pods_of(new, replicas),
            "updatedReplicas": self._pods_of(new, replicas),
            "availableReplicas": up,
            "conditions": [
                {"type": "Available", "status": str(up >= replicas)},
                _progress(is_done=done, exceeded=exceeded),
            ],
        }

    def replica_sets(self, key: Key, body: Json) -> list[Json]:
        """Answer a Deployment's ReplicaSets as the API server has them."""
        replicas, sets = body["spec"].get("replicas", 1), self.sets[key]
        found = []
        for each in sets:
            template = copy.deepcopy(each.template)
            template.setdefault("metadata", {}).setdefault("labels", {})[HASH] = str(each.revision)
            count = self._pods_of(each, replicas) if each is sets[-1] else each.up
            found.append(
                {
                    "apiVersion": "apps/v1",
                    "kind": "ReplicaSet",
                    "metadata": {
                        "name": f"{key[3]}-{each.revision}",
                        "namespace": key[2],
                        "uid": uid_of(key, each),
                        "annotations": {REVISION: str(each.revision)},
                        "ownerReferences": [{"uid": uid_of(key)}],
                    },
                    "spec": {"replicas": count, "template": template},
                    "status": {"replicas": count, "availableReplicas": each.up},
                }
            )
        return found

    def pods(self, key: Key, body: Json) -> list[Json]:
        """Answer a Deployment's pods."""
        replicas, sets = body["spec"].get("replicas", 1), self.sets[key]
        found = []
        for each in sets:
            is_new = each is sets[-1]
            trouble = self._trouble(key, each) if is_new else None
            # Of the first set as of a set's own: the others are told apart by their revision.
            prefix = key[3] if each.revision == 1 else f"{key[3]}-{each.revision}"
            for number in range(self._pods_of(each, replicas) if is_new else each.up):
                made = pod(key, each.template, f"{prefix}-{number}", trouble, is_ready=bool(each.up))
                made["metadata"]["ownerReferences"] = [{"uid": uid_of(key, each)}]
                found.append(made)
        return found

    def _pods_of(self, new: Set, replicas: int) -> int:
        return replicas if new.up or new.revision == 1 else min(1, replicas)

    def _trouble(self, key: Key, each: Set) -> Trouble | None:
        images = [one["image"] for one in each.template["spec"]["containers"]]
        return next((self.troubles[name] for name in (key[3], *images) if name in self.troubles), None)


def uid_of(key: Key, each: Set | None = None) -> str:
    """Answer the uid of a Deployment, or of one of its sets."""
    name = "/".join(key)
    return f"{name}/{id(each)}" if each else name


def pod(key: Key, template: Json, name: str, trouble: Trouble | None, *, is_ready: bool) -> Json:
    """Answer a pod as the API server has it.

    Args:
        trouble: why it does not become ready, None if it is or will be.
    """
    reason, message = trouble or ("", "")
    waits = bool(trouble) and reason not in {"Unschedulable", "Running", "ProgressDeadlineExceeded"}
    state = {"waiting": {"reason": reason, "message": message}} if waits else {"running": {}}
    crashed = reason == "CrashLoopBackOff"
    last = {"lastState": {"terminated": {"exitCode": 1, "reason": "Error"}}, "restartCount": 2} if crashed else {}
    statuses = [
        {"name": each["name"], "image": f"docker.io/library/{each['image']}", "imageID": _id(each["image"])}
        | {"state": state, "ready": is_ready}
        | last
        for each in template["spec"]["containers"]
    ]
    conditions = [{"type": "Ready", "status": str(is_ready)}]
    if reason == "Unschedulable":
        statuses = []
        conditions.append({"type": "PodScheduled", "status": "False", "reason": reason, "message": message})
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": name,
            "namespace": key[2],
            "creationTimestamp": CREATED,
            "labels": template.get("metadata", {}).get("labels", {}),
        },
        "spec": template["spec"],
        "status": {"conditions": conditions, "containerStatuses": statuses},
    }


def _progress(*, is_done: bool, exceeded: bool) -> Json:
    if exceeded:
        at = {"lastUpdateTime": CREATED}
        return {"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded", **at}
    reason = "NewReplicaSetAvailable" if is_done else "ReplicaSetUpdated"
    return {"type": "Progressing", "status": "True", "reason": reason}


def _id(image: str) -> str:
    name, _, digest = image.partition("@")
    return f"{name.rpartition(':')[0] or name}@{digest or ID}"
