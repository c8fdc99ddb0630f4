"""What `kubectl apply` has put into the emulated cluster: kept, compared and deleted as kubectl's three-way merge does.

No controller runs. A Deployment or StatefulSet is ready at the second look after it was made or changed.
"""

import copy
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from comanda_testbed.shapes import Refusal

Json = dict[str, Any]
Key = tuple[str, str, str, str]

LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
KINDS = {
    "": "ConfigMap Namespace PersistentVolumeClaim Pod Secret Service ServiceAccount",
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
WORKLOADS = {"Deployment", "StatefulSet"}
ID = "sha256:" + "0" * 64


@dataclass
class Applied:
    """The objects.

    Args:
        brought: the names of what is installed and brings kinds.
        troubles: by a workload's name, the reason and message for which its pods do not start.
        events: what Kubernetes warned of.
    """

    brought: Callable[[], set[str]]
    objects: dict[Key, Json] = field(default_factory=dict)
    troubles: dict[str, tuple[str, str]] = field(default_factory=dict)
    events: list[Json] = field(default_factory=list)
    _late: dict[Key, int] = field(default_factory=dict)

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
        return bool(found)

    def pods(self, namespace: str) -> list[Json]:
        """Answer the pods of a namespace's workloads."""
        return [
            self._pod(key, body, number)
            for key, body in self.objects.items()
            if key[1] in WORKLOADS and key[2] == namespace
            for number in range(body["spec"].get("replicas", 1))
        ]

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
        if namespace not in {"", "default", "kube-system"} and ("", "Namespace", "", namespace) not in self.objects:
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
        replicas = body["spec"].get("replicas", 1)
        if key[3] in self.troubles or self._late.get(key, 0):
            self._late[key] = self._late.get(key, 0) - 1
            done, up = "ReplicaSetUpdated", 0
        else:
            self._late.pop(key, None)
            done, up = "NewReplicaSetAvailable", replicas
        body["status"] = {
            "observedGeneration": body["metadata"]["generation"],
            "updatedReplicas": replicas,
            "availableReplicas": up,
            "conditions": [
                {"type": "Available", "status": str(up == replicas)},
                {"type": "Progressing", "status": "True", "reason": done},
            ],
        }
        return body

    def _pod(self, key: Key, body: Json, number: int) -> Json:
        template = body["spec"]["template"]
        trouble = self.troubles.get(key[3])
        waits = {"waiting": {"reason": trouble[0], "message": trouble[1]}} if trouble else {}
        statuses = [
            {"name": each["name"], "image": f"docker.io/library/{each['image']}", "imageID": _id(each["image"])}
            | {"state": waits or {"running": {}}}
            for each in template["spec"]["containers"]
        ]
        return {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {
                "name": f"{key[3]}-{number}",
                "namespace": key[2],
                "labels": template.get("metadata", {}).get("labels", {}),
            },
            "spec": template["spec"],
            "status": {
                "conditions": [{"type": "Ready", "status": str(not trouble)}],
                "containerStatuses": statuses,
            },
        }


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


def _id(image: str) -> str:
    name, _, digest = image.partition("@")
    return f"{name.rpartition(':')[0] or name}@{digest or ID}"
