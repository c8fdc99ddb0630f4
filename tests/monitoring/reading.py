"""The rules as the manifest has them, and the cases by which promtool judges them, as plain data."""

from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from tests.tidy.sources import ROOT

MANIFEST = ROOT / "infra" / "deployment" / "monitoring" / "prometheus" / "5-prometheus-config-map.yaml"
PAGES = ROOT / "docs" / "alerts"
CASES = Path(__file__).parent / "rules"


@cache
def rule_files() -> Mapping[str, str]:
    """Answer Prometheus' rule files by their names, each as its text.

    Raises:
        LookupError: no config map of the manifest has them.
    """
    for document in yaml.safe_load_all(MANIFEST.read_text(encoding="utf-8")):
        if document and document["kind"] == "ConfigMap" and document["metadata"]["name"] == "prometheus-rules":
            files: dict[str, str] = document["data"]
            return files
    raise LookupError(f"{MANIFEST.name} has no config map prometheus-rules")


@cache
def alerts() -> tuple[Mapping[str, Any], ...]:
    """Answer every alert."""
    return tuple(rule for rule in _rules() if "alert" in rule)


@cache
def records() -> tuple[Mapping[str, Any], ...]:
    """Answer every recording rule."""
    return tuple(rule for rule in _rules() if "record" in rule)


def _rules() -> Iterator[Mapping[str, Any]]:
    for text in rule_files().values():
        for group in yaml.safe_load(text)["groups"]:
            yield from group["rules"]


@cache
def alert_cases() -> tuple[tuple[str, bool], ...]:
    """Answer of each look at an alert in the cases its name, and whether it is expected to fire."""
    found = []
    for path in sorted(CASES.glob("*.yaml")):
        for case in yaml.safe_load(path.read_text(encoding="utf-8"))["tests"]:
            found += [(look["alertname"], bool(look["exp_alerts"])) for look in case.get("alert_rule_test", [])]
    return tuple(found)
