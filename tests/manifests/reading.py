"""Reads the manifests as `kubectl apply -f` would, file by file in the runbook's order."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

Json = dict[str, Any]
CLONE = Path(__file__).parents[2]
DEPLOYMENT = CLONE / "infra" / "deployment"
FOLDERS = ("db", "api")
"""In the order in which they are applied."""

WORKLOADS = {"Deployment", "StatefulSet", "DaemonSet", "CronJob", "Job"}


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

    def __str__(self) -> str:
        """Say which it is, for people and for pytest."""
        return f"{self.file.parent.name}/{self.file.name}: {self.kind} {self.name}"

    @property
    def pod(self) -> Json:
        """The pod template of a workload."""
        spec = self.body["spec"]
        template: Json = (spec["jobTemplate"]["spec"] if self.kind == "CronJob" else spec)["template"]
        return template


def files() -> list[Path]:
    """Answer all files, in the order in which they are applied."""
    return [file for folder in FOLDERS for file in sorted((DEPLOYMENT / folder).glob("*.yaml"))]


def documents() -> list[Document]:
    """Answer all objects, in that order."""
    return [Document(file, body) for file in files() for body in yaml.safe_load_all(file.read_text(encoding="utf-8"))]


def of_kind(*kinds: str) -> list[Document]:
    """Answer those of some kinds."""
    return [each for each in documents() if each.kind in kinds]


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
