"""What `kubectl apply` has put into the emulated cluster: kept, compared and deleted as kubectl's three-way merge does.

No controller runs. A Deployment (rollouts.py), StatefulSet or DaemonSet is ready at the second look after it was made
or changed.
"""

import copy
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from comanda_testbed.rollouts import Rollouts, pod, uid_of
from comanda_testbed.shapes import Refusal

Json = dict[str, Any]
Key = tuple[str, str, str, str]

LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
KINDS = {
    "": "ConfigMap Namespace PersistentVolumeClaim Pod PodTemplate Secret Service ServiceAccount",
    "apps": "DaemonSet Deployment StatefulSet",
    "autoscaling": "HorizontalPodAutoscaler",
    "batch": "CronJob Job",
    "networking.k8s.io": "Ingress IngressClass NetworkPolicy",
    "policy": "PodDisruptionBudget",
    "rbac.authorization.k8s.io": "ClusterRole ClusterRoleBinding Role RoleBinding",
    "scheduling.k8s.io": "PriorityClass",
    "storage.k8s.io": "StorageClass",
}
BROUGHT = {
    "external-secrets": {"external-secrets.io": "ClusterSecretStore ExternalSecret SecretStore"},
    "aws-load-balancer-controller": {"elbv2.k8s.aws": "IngressClassParams TargetGroupBinding"},
    "snapshot-controller": {"snapshot.storage.k8s.io": "VolumeSnapshot VolumeSnapshotClass"},
}
"""The kinds that a release of helm or an add-on brings."""
WITHOUT_NAMESPACE = {
    *("ClusterRole", "ClusterRoleBinding", "ClusterSecretStore", "IngressClass", "IngressClassParams"),
    *("Namespace", "PriorityClass", "StorageClass", "VolumeSnapshotClass"),
}
WORKLOADS = {"DaemonSet", "Deployment", "StatefulSet"}


@dataclass
class Applied:
    """The objects.

    Args:
        brought: the names of what is installed and brings kinds.
        troubles: by a workload's name or an image, the reason and message for which its pods do not start.
        logs: by image, what its containers wrote: at their start before, and at the last.
        events: what Kubernetes warned of.
    """

    brought: Callable[[], set[str]]
    objects: dict[Key, Json] = field(default_factory=dict)
    troubles: dict[str, tuple[str, str]] = field(default_factory=dict)
    logs: dict[str, tuple[str, str]] = field(default_factory=dict)
    events: list[Json] = field(default_factory=list)
    rollouts: Rollouts = field(init=False)
    _late: dict[Key, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Begin with no rollout."""
        self.rollouts = Rollouts(self.troubles)

    def kinds(self) -> list[tuple[str, str]]:
        """Answer every kind there is: its group and its name."""
        known = [KINDS, *(BROUGHT[name] for name in sorted(self.brought() & set(BROUGHT)))]
        return [(group, kind) for those in known for group, kinds in those.items() for kind in kinds.split()]

    def find(self, documents: Sequence[Json]) -> list[Json]:
        """Answer those of the documents' objects that are there.

        Raises:
            Refusal: a kind is unknown.
        """
        found = [key for key in map(self._key, documents) if key in self.objects]
        return [self._looked_at(key) for key in found]

    def named(self, kind: str, namespace: str, name: str) -> Json | None:
        """Answer one object, None if there is none.

        Args:
            kind: as kubectl takes it, of a group that it guesses: "statefulset".
        """
        found = [body for key, body in self.objects.items() if (key[1].lower(), *key[2:]) == (kind, namespace, name)]
        return found[0] if found else None

    def compare(self, documents: Sequence[Json]) -> list[tuple[Json, Json]]:
        """Answer, for each, what is there, {} if nothing is, and what would be after it was applied.

        Raises:
            Refusal: one cannot be applied.
        """
        return [self._sides(each) for each in documents]

    def put(self, documents: Sequence[Json]) -> list[str]:
        """Apply them one after another, and answer what became of each.

        Raises:
            Refusal: one cannot be applied; those before it are.
        """
        said = []
        for each in documents:
            live, merged = self._sides(each)
            key, metadata = self._key(each), merged["metadata"]
            metadata["annotations"][LAST_APPLIED] = json.dumps(_annotated(each))
            if live.get("spec") != merged.get("spec"):
                metadata["generation"] = metadata.get("generation", 0) + 1
                self._late[key] = 1
                if key[1] == "Deployment":
                    self.rollouts.changed(key, merged)
            self.objects[key] = merged
            said.append("created" if not live else "unchanged" if live == merged else "configured")
        return said

    def delete(self, kind: str, namespace: str, name: str) -> bool:
        """Delete one, with all that is in it if it is a namespace; answer whether it was there.

        Args:
            kind: as kubectl takes it: "deployment.apps".
        """
        wanted, _, group = kind.partition(".")
        found = [
            key
            for key in self.objects
            if (key[0], key[1].lower(), key[2], key[3]) == (group, wanted.lower(), namespace, name)
        ]
        for key in found:
            inside = [each for each in self.objects if key[1] == "Namespace" and each[2] == name]
            for each in (key, *inside):
                del self.objects[each]
                self.rollouts.gone(each)
        return bool(found)

    def pods(self, namespace: str) -> list[Json]:
        """Answer the pods of a namespace's workloads."""
        return [
            each
            for key, body in self.objects.items()
            if key[1] in WORKLOADS and key[2] == namespace
            for each in (self.rollouts.pods(key, body) if key[1] == "Deployment" else self._of_set(key, body))
        ]

    def rolling(self, namespace: str) -> list[Json]:
        """Answer a namespace's Deployments, with their ReplicaSets and all pods."""
        found = [(key, body) for key, body in self.objects.items() if key[1] == "Deployment" and key[2] == namespace]
        bodies = [self._looked_at(key) for key, _ in found]
        sets = [each for key, body in found for each in self.rollouts.replica_sets(key, body)]
        return [*bodies, *sets, *self.pods(namespace)]

    def annotate(self, kind: str, namespace: str, name: str, annotations: dict[str, str]) -> None:
        """Write annotations at an object, as `kubectl annotate --overwrite` does.

        Raises:
            Refusal: it is not there.
        """
        self._named(kind, namespace, name)["metadata"].setdefault("annotations", {}).update(annotations)

    def scale(self, kind: str, namespace: str, name: str, replicas: int) -> None:
        """Say how many pods a workload is to have, as `kubectl scale` does.

        Raises:
            Refusal: it is not there.
        """
        self._named(kind, namespace, name)["spec"]["replicas"] = replicas

    def _named(self, kind: str, namespace: str, name: str) -> Json:
        group = kind.partition(".")[2]
        for key, body in self.objects.items():
            if (key[0], key[2], key[3]) == (group, namespace, name):
                return body
        raise Refusal("NotFound", f'Error from server (NotFound): {kind} "{name}" not found', 404)

    def log(self, namespace: str, name: str, container: str, *, before: bool) -> str:
        """Answer what a pod's container wrote.

        Raises:
            Refusal: there is no such pod, or its container never ran.
        """
        for each in self.pods(namespace):
            for one in each["spec"]["containers"]:
                if (each["metadata"]["name"], one["name"]) == (name, container) and one["image"] in self.logs:
                    return self.logs[one["image"]][0 if before else 1]
        raise Refusal("BadRequest", f'Error from server (BadRequest): container "{container}" is waiting to start', 400)

    def _key(self, body: Json) -> Key:
        group, _, version = body["apiVersion"].rpartition("/")
        kind, metadata = body["kind"], body["metadata"]
        if (group, kind) not in self.kinds():
            raise Refusal(
                "NoMatch",
                f'resource mapping not found for name: "{metadata["name"]}" namespace: '
                f'"{metadata.get("namespace", "")}" from "STDIN": no matches for kind "{kind}" in version '
                f'"{body["apiVersion"]}"\nensure CRDs are installed first',
                404,
            )
        assert version, body
        namespace = "" if kind in WITHOUT_NAMESPACE else metadata.get("namespace", "default")
        return group, kind, namespace, metadata["name"]

    def _sides(self, body: Json) -> tuple[Json, Json]:
        key = self._key(body)
        namespace = key[2]
        # A chart makes its own, which is called as it is.
        there = {"", "default", "kube-system"} | self.brought()
        if namespace not in there and ("", "Namespace", "", namespace) not in self.objects:
            message = f'Error from server (NotFound): error when creating "STDIN": namespaces "{namespace}" not found'
            raise Refusal("NotFound", message, 404)
        live = self.objects.get(key, {})
        last = json.loads(live["metadata"]["annotations"][LAST_APPLIED]) if live else {}
        merged = _merged(live, last, _annotated(body))
        if live and key[1] == "StatefulSet" and _claims(live) != _claims(merged):
            message = (
                f'The StatefulSet "{key[3]}" is invalid: spec: Forbidden: updates to statefulset spec for fields other '
                "than 'replicas', 'template' are forbidden"
            )
            raise Refusal("Invalid", message, 422)
        return live, merged

    def _looked_at(self, key: Key) -> Json:
        body = copy.deepcopy(self.objects[key])
        if key[1] not in WORKLOADS:
            return body
        body["metadata"]["uid"] = uid_of(key)
        if key[1] == "Deployment":
            body["status"] = self.rollouts.look(key, body)
            return body
        replicas = body["spec"].get("replicas", 1)
        up = 0
        if key[3] in self.troubles or self._late.get(key, 0):
            self._late[key] = self._late.get(key, 0) - 1
        else:
            self._late.pop(key, None)
            up = replicas
        generation = body["metadata"]["generation"]
        body["status"] = {"observedGeneration": generation, "updatedReplicas": replicas, "availableReplicas": up}
        if key[1] == "DaemonSet":
            counts = {"desiredNumberScheduled": replicas, "updatedNumberScheduled": replicas, "numberAvailable": up}
            body["status"] = {"observedGeneration": generation, **counts}
        return body

    def _of_set(self, key: Key, body: Json) -> list[Json]:
        template, trouble = body["spec"]["template"], self.troubles.get(key[3])
        count = body["spec"].get("replicas", 1)
        names = [f"{key[3]}-{number}" for number in range(count)]
        return [pod(key, template, name, trouble, is_ready=not trouble) for name in names]


def _merged(live: Json, last: Json, new: Json) -> Json:
    """Answer what is there with what is new in it, and without what was applied before and is no more."""
    merged = {key: copy.deepcopy(value) for key, value in live.items() if key in new or key not in last}
    for key, value in new.items():
        both = isinstance(value, dict) and isinstance(merged.get(key), dict)
        before = last.get(key, {})
        merged[key] = (
            _merged(merged[key], before if isinstance(before, dict) else {}, value) if both else copy.deepcopy(value)
        )
    return merged


def _annotated(body: Json) -> Json:
    """Answer an object as kubectl notes it: with annotations, were it none."""
    return {**body, "metadata": {"annotations": {}, **body["metadata"]}}


def _claims(body: Json) -> Any:
    return body["spec"].get("volumeClaimTemplates")
