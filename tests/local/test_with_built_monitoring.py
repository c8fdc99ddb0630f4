"""scripts/with-built-monitoring, which hands `make run` the Prometheus that the tests' cluster has built."""

import subprocess
from pathlib import Path

import pytest

from tests.cluster.cache import folder
from tests.cluster.parts import named
from tests.local.stand_in import program
from tests.tidy.sources import ROOT


@pytest.fixture
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """A cache of this test's own, and a PATH without what the machine has."""
    monkeypatch.setenv("COMANDA_CACHE", str(tmp_path / "cache"))
    (tmp_path / "path").mkdir()
    return {"PATH": str(tmp_path / "path"), "COMANDA_CACHE": str(tmp_path / "cache")}


def handed(environment: dict[str, str]) -> dict[str, str]:
    """What a command finds named in its environment."""
    command = ["/bin/sh", "scripts/with-built-monitoring", "/usr/bin/env"]
    said = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True).stdout
    named_there = dict(line.split("=", 1) for line in said.splitlines())
    return {name: named_there[name] for name in ("PROMETHEUS", "NODE_EXPORTER")}


def build(part: str, name: str) -> Path:
    """Put something where a built program would be."""
    place = folder(named(part)) / "bin"
    place.mkdir(parents=True)
    return program(place / name, "")


def test_where_nothing_is_built_nothing_is_named(environment: dict[str, str]) -> None:
    assert handed(environment) == {"PROMETHEUS": "", "NODE_EXPORTER": ""}


def test_what_is_built_is_named(environment: dict[str, str]) -> None:
    prometheus, node = build("prometheus", "prometheus"), build("node-exporter", "node_exporter")
    assert handed(environment) == {"PROMETHEUS": str(prometheus), "NODE_EXPORTER": str(node)}


@pytest.mark.parametrize("name", ["node_exporter", "prometheus-node-exporter"])
def test_one_s_own_come_first(environment: dict[str, str], name: str) -> None:
    build("prometheus", "prometheus")
    build("node-exporter", "node_exporter")
    assert handed(environment | {"PROMETHEUS": "/mine"})["PROMETHEUS"] == "/mine"
    program(Path(environment["PATH"]) / name, "")
    program(Path(environment["PATH"]) / "prometheus", "")
    assert handed(environment) == {"PROMETHEUS": "", "NODE_EXPORTER": ""}, "found on the PATH, and so not named"
