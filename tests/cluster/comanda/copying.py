"""A second Comanda beside the first, from a copy of the shipped files: for what a test must not do to the one."""

import copy
import shutil
from collections.abc import Iterator
from pathlib import Path

import yaml

from comanda_deploy import manifests
from tests.cluster.objects import Json
from tests.manifests.reading import DEPLOYMENT, FOLDERS

LEFT_OUT = {
    *("PriorityClass", "StorageClass", "VolumeSnapshotClass", "ClusterRole", "ClusterRoleBinding"),
    *("SecretStore", "ExternalSecret", "CronJob", "PodTemplate", "HorizontalPodAutoscaler", "Ingress"),
}
"""The cluster's own, or of AWS, or what would change the number of pods behind the test's back."""


def copied(folder: Path, suffix: str, image: str) -> list[Json]:
    """Answer the objects of database and API in namespaces of their own, with an image as an operator's tool writes it.

    Args:
        folder: an empty one, for the copy of the files.
        suffix: of the namespaces' names.
        image: what to run, by its digest for example.
    """
    shutil.copytree(DEPLOYMENT, folder, dirs_exist_ok=True)
    for manifest in manifests.naming(folder):
        manifests.write(manifest, image)
    return list(_renamed(folder, suffix))


def _renamed(folder: Path, suffix: str) -> Iterator[Json]:
    files = [file for part in FOLDERS for file in sorted((folder / part).glob("*.yaml"))]
    for file in files:
        for body in yaml.safe_load_all(file.read_text(encoding="utf-8")):
            if body["kind"] in LEFT_OUT:
                continue
            made = copy.deepcopy(body)
            if body["kind"] == "Namespace":
                made["metadata"]["name"] += suffix
                # Only what stands behind the load balancer waits for it.
                made["metadata"]["labels"] = {
                    name: value for name, value in made["metadata"]["labels"].items() if "readiness-gate" not in name
                }
            else:
                made["metadata"]["namespace"] += suffix
            for subject in made.get("subjects", []):
                subject["namespace"] += suffix
            yield made
