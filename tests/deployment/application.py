"""Manifests for the tests of what applies them."""

from pathlib import Path
from typing import Any

import yaml

from comanda_deploy.steps.application import Application

IMAGE = "comanda-api:0.1.0"
MEND = "infra/scripts/eks-cluster-mng.sh update-api-image"


def manifest(kind: str, name: str, version: str = "v1", namespace: str = "comanda", **more: Any) -> dict[str, Any]:
    """Answer an object; of one without a namespace `namespace` is ""."""
    within = {"namespace": namespace} if namespace else {}
    return {"apiVersion": version, "kind": kind, "metadata": {"name": name, **within}, **more}


def workload(kind: str, name: str, image: str = IMAGE, **more: Any) -> dict[str, Any]:
    """Answer a Deployment or StatefulSet of two pods."""
    labels = {"app": name}
    pods = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "main", "image": image}]}}
    spec = {"replicas": 2, "selector": {"matchLabels": labels}, "template": pods, **more}
    return manifest(kind, name, "apps/v1", spec=spec)


NAMESPACE = manifest("Namespace", "comanda", namespace="")
SETTINGS = manifest("ConfigMap", "settings", data={"LEVEL": "info", "SINCE": "2026-11-25"})
CLAIMS = [{"metadata": {"name": "data"}, "spec": {"storageClassName": "gp3"}}]
DATABASE = workload("StatefulSet", "database", "postgres:18", volumeClaimTemplates=CLAIMS)
API = workload("Deployment", "api")
EXTERNAL = manifest("ExternalSecret", "api", "external-secrets.io/v1", spec={"refreshInterval": "1m"})


def put(folder: Path, **files: list[dict[str, Any]]) -> Path:
    """Write manifests: `put(folder, a1=[NAMESPACE])` is a file "1.yaml"; and answer the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, documents in files.items():
        text = yaml.safe_dump_all(documents, sort_keys=False)
        (folder / f"{name.removeprefix('a')}.yaml").write_text(f"# A comment.\n---\n{text}", encoding="utf-8")
    return folder


def step_of(folder: Path) -> Application:
    return Application("api", "what a test applies", folder)
