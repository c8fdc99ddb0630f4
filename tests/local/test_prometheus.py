"""Prometheus' configuration for `make run MONITORING=1`: the manifest's rules and jobs, with what runs here."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from comanda_local.errors import LocalError
from comanda_local.monitoring import POSTGRES_EXPORTER_FLAGS
from comanda_local.prometheus import Target, configuration, shipped
from tests.manifests.reading import DEPLOYMENT
from tests.monitoring.reading import MANIFEST, rule_files

TARGETS = [
    Target("comanda-api", 1001),
    Target("comanda-worker", 1002),
    Target("prometheus", 1003),
    Target("node-exporter", 1004),
    Target("postgresql", 1005),
]
NAMESPACES = {
    "comanda-api": "comanda",
    "comanda-worker": "comanda",
    "prometheus": "monitoring",
    "node-exporter": "monitoring-nodes",
    "postgresql": "comanda-db",
}


def in_the_cluster() -> dict[str, Any]:
    """prometheus.yml of the manifest."""
    documents = yaml.safe_load_all(MANIFEST.read_text(encoding="utf-8"))
    document = next(each for each in documents if each["metadata"]["name"] == "prometheus")
    read: dict[str, Any] = yaml.safe_load(document["data"]["prometheus.yml"])
    return read


def here(targets: list[Target]) -> dict[str, Any]:
    """The configuration for some targets."""
    return configuration(shipped().configuration, targets, Path("/clone/rules"), "machine")


def test_the_rules_are_those_of_the_manifest() -> None:
    assert dict(shipped().rules) == dict(rule_files())


def test_jobs_are_those_of_the_manifest_but_for_whom_they_look_at() -> None:
    there = {job["job_name"]: job for job in in_the_cluster()["scrape_configs"]}
    jobs = here(TARGETS)["scrape_configs"]
    assert [job["job_name"] for job in jobs] == [target.job for target in TARGETS]
    for job, target in zip(jobs, TARGETS, strict=True):
        [found] = job.pop("static_configs")
        assert found["targets"] == [f"127.0.0.1:{target.port}"]
        cluster = there[target.job]
        assert job == {
            name: value for name, value in cluster.items() if name not in {"kubernetes_sd_configs", "relabel_configs"}
        }
        # The same labels as relabelling gives there.
        given = {rule["target_label"] for rule in cluster["relabel_configs"] if "target_label" in rule}
        assert set(found["labels"]) == given
        assert found["labels"] == {"namespace": NAMESPACES[target.job], "pod": target.job, "node": "machine"}


def test_it_is_as_patient_as_in_the_cluster_and_tells_nobody() -> None:
    made = here(TARGETS[:2])
    assert made["global"] == in_the_cluster()["global"]
    assert set(made) == {"global", "rule_files", "scrape_configs"}
    assert [job["job_name"] for job in made["scrape_configs"]] == ["comanda-api", "comanda-worker"]


def test_a_folder_s_name_is_no_pattern() -> None:
    made = configuration(shipped().configuration, [], Path("/my [clone]/rules"), "machine")
    assert made["rule_files"] == ["/my [[]clone]/rules/*.yml"]


@pytest.mark.parametrize("text", ["kind: [", "kind: ConfigMap\nmetadata: {name: prometheus}\n", "kind: {}\n"])
def test_a_broken_manifest_is_named(tmp_path: Path, text: str) -> None:
    broken = tmp_path / "broken.yaml"
    broken.write_text(text, encoding="utf-8")
    with pytest.raises(LocalError, match=r"^broken\.yaml cannot be read"):
        shipped(broken)


def test_postgresql_s_exporter_collects_what_it_does_in_the_cluster() -> None:
    documents = yaml.safe_load_all((DEPLOYMENT / "db" / "4-db-stateful-set.yaml").read_text(encoding="utf-8"))
    [database] = [each for each in documents if each["kind"] == "StatefulSet"]
    containers = database["spec"]["template"]["spec"]["containers"]
    [arguments] = [each["args"] for each in containers if each["name"] == "metrics"]
    assert arguments == ["--web.listen-address=:9187", *POSTGRES_EXPORTER_FLAGS]
