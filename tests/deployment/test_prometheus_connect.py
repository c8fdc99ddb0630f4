"""`prometheus-connect`: an address on this machine, nobody else's, as long as it is wanted."""

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from comanda_testbed.bed import TestBed, running_testbed
from tests.deployment.in_use import InUse, pod

VERB = [sys.executable, "-m", "comanda_deploy", "verb", "eks-cluster-mng.sh", "prometheus-connect"]
Said = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def bed() -> Iterator[TestBed]:
    with running_testbed() as running:
        yield running


@pytest.fixture
def monitored(bed: TestBed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> InUse:
    """A cluster with a Prometheus."""
    made = InUse(tmp_path / "cluster", [pod("prometheus-0", "prometheus")])
    made.objects["service/prometheus"] = {"kind": "Service"}
    made.forwards["service/prometheus"] = 0
    made.begin(bed, monkeypatch.setenv)
    return made


def test_it_leads_to_prometheus_on_loopback_until_ctrl_c(monitored: InUse) -> None:
    monitored.save()
    with subprocess.Popen(VERB, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "http://127.0.0.1:9090\n"
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=60)
    assert process.returncode == 0
    assert said.startswith("Prometheus, for this machine alone, until Ctrl-C.\n")
    [call] = [each for each in monitored.calls if each[0] == "port-forward"]
    assert call == [
        "port-forward",
        "service/prometheus",
        "9090:9090",
        "--namespace",
        "monitoring",
        "--address=127.0.0.1",
    ]


def test_without_prometheus_it_says_which_verb_brings_it(monitored: InUse, capfd: Said) -> None:
    monitored.pods, monitored.objects = [], {}
    assert monitored.does("prometheus-connect") == 1
    said = capfd.readouterr().err
    assert "Prometheus is not deployed yet: run infra/scripts/eks-cluster-mng.sh deploy-monitoring" in said
