"""Reads the manifests as `kubectl apply -f` would, file by file in the runbook's order."""

from collections.abc import Hashable, Iterator
from copy import deepcopy
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

Json = dict[str, Any]
CLONE = Path(__file__).parents[2]
DEPLOYMENT = CLONE / "infra" / "deployment"
FOLDERS = ("db", "api", "monitoring/prometheus", "monitoring/grafana")
"""In the order in which they are applied."""

OVERLAYS = CLONE / "infra" / "overlays"
VOLUME, WITH_VOLUME = "prometheus-volume", "monitoring-with-volume"
"""A component, and what uses it: kustomize alone can build that."""

KUSTOMIZATION = "kustomization.yaml"
"""What `kubectl apply -k` asks for: no manifest, and refused by `kubectl apply -f`."""

WORKLOADS = {"Deployment", "StatefulSet", "DaemonSet", "CronJob", "Job", "PodTemplate"}
"""What pods are made of; of a PodTemplate, by the drill of the backups."""


@dataclass(frozen=True)
class Document:
    """One object, and the file in which it stands."""

    file: Path
    body: Json

    @property
    def kind(self) -> str:
        """Its kind."""
        return str(self.body["kind"])

    @property
    def name(self) -> str:
        """Its name."""
        return str(self.body["metadata"]["name"])

    @property
    def namespace(self) -> str:
        """Its namespace; "" if it names none."""
        return str(self.body["metadata"].get("namespace", ""))

    @property
    def overlay(self) -> str:
        """The overlay that it is of; "" for none."""
        return self.file.relative_to(OVERLAYS).parts[0] if self.file.is_relative_to(OVERLAYS) else ""

    def replaces(self, other: "Document") -> bool:
        """Answer whether it is the same object for a cluster."""
        return (self.kind, self.namespace, self.name) == (other.kind, other.namespace, other.name)

    def __str__(self) -> str:
        """Say which it is, for people and for pytest."""
        return f"{self.file.parent.name}/{self.file.name}: {self.kind} {self.name}"

    @property
    def pod(self) -> Json:
        """The pod template of a workload."""
        if self.kind == "PodTemplate":
            return dict(self.body["template"])
        spec = self.body["spec"]
        template: Json = (spec["jobTemplate"]["spec"] if self.kind == "CronJob" else spec)["template"]
        return template


def files() -> list[Path]:
    """Answer all files, in the order in which they are applied."""
    return [file for folder in FOLDERS for file in sorted((DEPLOYMENT / folder).glob("*.yaml"))]


def documents() -> list[Document]:
    """Answer all objects, in that order."""
    return [Document(file, body) for file in files() for body in read(file)]


def of_kind(*kinds: str) -> list[Document]:
    """Answer those of some kinds."""
    return [each for each in documents() if each.kind in kinds]


def overlays() -> list[str]:
    """Answer the names of the overlays."""
    return sorted(folder.name for folder in OVERLAYS.iterdir() if folder.is_dir())


def plain_overlays() -> list[str]:
    """Answer those that are their own files and nothing else: `kubectl apply -f` does as well."""
    return [each for each in overlays() if each not in {VOLUME, WITH_VOLUME}]


def kustomization(folder: Path) -> Json:
    """Answer what a folder says to kustomize."""
    said: Json = yaml.safe_load((folder / KUSTOMIZATION).read_text(encoding="utf-8"))
    return said


def monitoring_with_volume() -> list[Json]:
    """Answer what monitoring is with Prometheus' data on a disk: all as without, but for that."""
    folder = OVERLAYS / WITH_VOLUME
    made = [deepcopy(body) for name in kustomization(folder)["resources"] for body in read(folder / name)]
    for body in made:
        if (body["kind"], body["metadata"]["name"]) == ("Deployment", "prometheus"):
            template = body["spec"]["template"]
            template["metadata"]["annotations"]["cluster-autoscaler.kubernetes.io/safe-to-evict"] = "true"
            others = [each for each in template["spec"]["volumes"] if each["name"] != "data"]
            data = {"name": "data", "persistentVolumeClaim": {"claimName": "prometheus"}}
            # kustomize puts first what it has merged.
            template["spec"]["volumes"] = [data, *others]
    return [*made, *(each.body for each in documents_of(VOLUME))]


def files_of(overlay: str) -> list[Path]:
    """Answer the manifests of an overlay."""
    return [file for file in sorted((OVERLAYS / overlay).rglob("*.yaml")) if file.name != KUSTOMIZATION]


def documents_of(overlay: str) -> list[Document]:
    """Answer what an overlay itself says."""
    return [Document(file, body) for file in files_of(overlay) for body in read(file)]


def everything() -> list[Document]:
    """Answer all objects, those of the overlays too."""
    return [*documents(), *(each for overlay in overlays() for each in documents_of(overlay))]


def beside(document: Document) -> list[Document]:
    """Answer all that a cluster then has: the deployment, with its overlay laid over it where it is of one."""
    over = documents_of(document.overlay) if document.overlay else []
    return [*(each for each in documents() if not any(other.replaces(each) for other in over)), *over]


class _Loader(yaml.SafeLoader):
    """Refuses a key that stands twice, as kubectl does."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        """Answer a mapping.

        Raises:
            yaml.YAMLError: a key of it stands twice.
        """
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        if len(set(keys)) < len(keys):
            raise yaml.constructor.ConstructorError(None, None, f"a key stands twice: {keys}", node.start_mark)
        return super().construct_mapping(node, deep)


@cache
def read(file: Path) -> tuple[Json, ...]:
    """Answer the objects of a file.

    Raises:
        yaml.YAMLError: it is no YAML, or a key stands twice in it.
    """
    return tuple(yaml.load_all(file.read_text(encoding="utf-8"), _Loader))


def containers(document: Document) -> Iterator[Json]:
    """Answer the containers of a workload, those that begin it too."""
    spec = document.pod["spec"]
    yield from spec.get("initContainers", [])
    yield from spec["containers"]


def matches(selector: Json, labels: Json) -> bool:
    """Answer whether a label selector, in either of its forms, chooses what has these labels."""
    wanted = selector.get("matchLabels", selector if "matchExpressions" not in selector else {})
    if any(labels.get(key) != value for key, value in wanted.items()):
        return False
    return all(_holds(each, labels) for each in selector.get("matchExpressions", []))


def _holds(expression: Json, labels: Json) -> bool:
    has = labels.get(expression["key"])
    operator = expression["operator"]
    if operator == "In":
        return bool(has in expression["values"])
    if operator == "NotIn":
        return bool(has not in expression["values"])
    return bool((has is not None) == (operator == "Exists"))
