"""Prometheus' own tool, of the version that is shipped, reads the configuration and the rules."""

import re
import subprocess
from pathlib import Path

import pytest

from tests.cluster import cache
from tests.manifests.reading import of_kind

pytestmark = [pytest.mark.cluster, pytest.mark.apart]

ACCOUNT = "/var/run/secrets/kubernetes.io/serviceaccount/"


def test_promtool_finds_no_fault_in_it(tmp_path: Path) -> None:
    maps = {each.name: each.body["data"] for each in of_kind("ConfigMap") if each.namespace == "monitoring"}
    rules = tmp_path / "rules"
    rules.mkdir()
    for name, text in maps["prometheus-rules"].items():
        (rules / name).write_text(text, encoding="utf-8")
    text = maps["prometheus"]["prometheus.yml"].replace("/etc/prometheus/rules", str(rules))
    for name in set(re.findall(rf"{ACCOUNT}(\S+)", text)):
        (tmp_path / name).touch()
    file = tmp_path / "prometheus.yml"
    file.write_text(text.replace(ACCOUNT, f"{tmp_path}/"), encoding="utf-8")
    command = [str(cache.binary("promtool")), "check", "config", str(file)]
    checked = subprocess.run(command, capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout + checked.stderr
