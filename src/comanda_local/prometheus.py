"""Prometheus' configuration here: the manifest's own, with what runs here in place of what the cluster finds."""

import glob
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from comanda_local.errors import LocalError

MANIFEST = (
    Path(__file__).parents[2] / "infra" / "deployment" / "monitoring" / "prometheus" / "5-prometheus-config-map.yaml"
)
IN_THE_CLUSTER = {"kubernetes_sd_configs", "relabel_configs"}
"""How the cluster finds a job's targets and names them. All else that a job says holds here too."""


@dataclass(frozen=True)
class Shipped:
    """What the manifest has.

    Args:
        configuration: prometheus.yml. rules: the rule files by name, each as its text.
    """

    configuration: Mapping[str, Any]
    rules: Mapping[str, str]


@dataclass(frozen=True)
class Target:
    """What is scraped of a job here.

    Args:
        job: its name in the manifest. port: on 127.0.0.1.
    """

    job: str
    port: int


def shipped(manifest: Path = MANIFEST) -> Shipped:
    """Read the manifest.

    Raises:
        LocalError: it is no YAML, or has lost what is looked for.
    """
    try:
        documents = [each for each in yaml.safe_load_all(manifest.read_text(encoding="utf-8")) if each]
        data = {each["metadata"]["name"]: each["data"] for each in documents if each["kind"] == "ConfigMap"}
        return Shipped(yaml.safe_load(data["prometheus"]["prometheus.yml"]), data["prometheus-rules"])
    except (yaml.YAMLError, KeyError, TypeError) as error:
        raise LocalError(f"{manifest.name} cannot be read ({error}): mend it, or `git checkout` it") from None


def configuration(
    configured: Mapping[str, Any], targets: Iterable[Target], rules: Path, machine: str
) -> dict[str, Any]:
    """Answer prometheus.yml of this machine. Its Alertmanager is left out: there is none here.

    Args:
        configured: prometheus.yml of the manifest.
        targets: what runs here. A job without one is left out.
        rules: the folder of the rule files.
        machine: what is called a node in the cluster.
    """
    jobs = {job["job_name"]: job for job in configured["scrape_configs"]}
    return {
        "global": configured["global"],
        # Whatever the clone's folder is called, it is no pattern.
        "rule_files": [f"{glob.escape(str(rules))}/*.yml"],
        "scrape_configs": [_scraped_here(jobs[target.job], target, machine) for target in targets],
    }


def _scraped_here(job: Mapping[str, Any], target: Target, machine: str) -> dict[str, Any]:
    # The labels that relabel_configs give in the cluster: rules and dashboards ask for them.
    namespace = job["kubernetes_sd_configs"][0]["namespaces"]["names"][0]
    labels = {"namespace": namespace, "pod": target.job, "node": machine}
    return {name: value for name, value in job.items() if name not in IN_THE_CLUSTER} | {
        "static_configs": [{"targets": [f"127.0.0.1:{target.port}"], "labels": labels}]
    }
