"""Prometheus' own judge of rules: that they can be read, and that each alert fires when it must and only then."""

import os
import subprocess
import time
from pathlib import Path

import pytest

from tests.cluster.building import binary, ensure
from tests.cluster.parts import named
from tests.monitoring.reading import CASES, rule_files

pytestmark = pytest.mark.go


@pytest.fixture(scope="session")
def promtool() -> Path:
    """Prometheus' promtool, of the version that the cluster's tests run; built if it is not there yet."""
    until = os.environ.get("COMANDA_BUILD_UNTIL")
    ensure([named("prometheus")], deadline_seconds=max(0, int(until) - time.time()) if until else None)
    return binary("promtool")


@pytest.fixture(scope="session")
def rules(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the manifest's rule files, as Prometheus' pod has them, and the cases beside them."""
    folder = tmp_path_factory.mktemp("rules")
    for name, text in rule_files().items():
        (folder / name).write_text(text, encoding="utf-8")
    for path in CASES.glob("*.yaml"):
        (folder / path.name).write_text(path.read_text(encoding="utf-8"), encoding="utf-8")
    return folder


def test_prometheus_can_read_the_rules(promtool: Path, rules: Path) -> None:
    command = [str(promtool), "check", "rules", "--lint=all", "--lint-fatal", *sorted(rule_files())]
    done = subprocess.run(command, cwd=rules, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("cases", sorted(path.name for path in CASES.glob("*.yaml")))
def test_alerts_fire_when_they_must_and_only_then(promtool: Path, rules: Path, cases: str) -> None:
    done = subprocess.run(
        [str(promtool), "test", "rules", cases], cwd=rules, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
