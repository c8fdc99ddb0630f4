"""Grafana's verbs: the password, the way to it that outlives its pod, and dashboards of grafana.com."""

import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from comanda_deploy import load_dashboards
from comanda_testbed.bed import TestBed, running_testbed
from tests.deployment import fake_grafana
from tests.deployment.fake_grafana import Grafana
from tests.deployment.in_use import InUse, pod

Said = pytest.CaptureFixture[str]
Json = dict[str, Any]
PASSWORD = "of-grafana-s-admin"
VERB = [sys.executable, "-m", "comanda_deploy", "verb", "eks-cluster-mng.sh"]
NODES: Json = {
    "__inputs": [{"name": "DS_PROMETHEUS", "type": "datasource", "pluginId": "prometheus"}],
    "__requires": [{"type": "grafana", "version": "11.6.1"}],
    "id": 12,
    "uid": "rYdddlPWk",
    "gnetId": 1860,
    "title": "Node Exporter Full",
    "tags": ["linux"],
    "schemaVersion": 41,
    "templating": {"list": [{"type": "datasource", "name": "ds_prometheus", "query": "prometheus", "current": {}}]},
    "panels": [
        {"type": "row", "panels": [{"type": "graph", "datasource": {"uid": "${DS_PROMETHEUS}"}}]},
        {
            "type": "timeseries",
            "datasource": {"uid": "${ds_prometheus}"},
            "targets": [{"expr": "node_cpu_seconds_total"}],
        },
    ],
}
SERVICE: Json = {
    "title": "Node.js",
    "schemaVersion": 27,
    "panels": [{"type": "graph", "targets": [{"expr": "http_requests_total"}]}],
}


@pytest.fixture(scope="module")
def bed() -> Iterator[TestBed]:
    with running_testbed() as running:
        running.client("secretsmanager").create_secret(
            Name="comanda/grafana", SecretString=json.dumps({"ADMIN_PASSWORD": PASSWORD})
        )
        yield running


@pytest.fixture
def grafana() -> Iterator[Grafana]:
    with fake_grafana.running(PASSWORD) as running:
        yield running


@pytest.fixture
def diner(bed: TestBed, grafana: Grafana, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> InUse:
    """A cluster with Grafana in it."""
    made = InUse(tmp_path / "cluster", [pod("grafana-1", "grafana")])
    made.forwards = {"service/grafana": grafana.port}
    made.begin(bed, monkeypatch.setenv)
    return made


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with both dashboards, of which the first one's checksum is pinned."""
    folder = tmp_path / "files"
    folder.mkdir()
    put(folder, 1860, NODES)
    put(folder, 14565, SERVICE)
    pins = {
        "1860": {"revision": 45, "asks_for": "node_cpu_seconds_total", "sha256": checksum(folder / "1860.json")},
        "14565": {"revision": 1, "asks_for": "http_request", "sha256": None},
    }
    monkeypatch.setattr(load_dashboards, "PINS", tmp_path / "pins.json")
    load_dashboards.PINS.write_text(json.dumps(pins), encoding="utf-8")
    return folder


def put(folder: Path, number: int, body: Any) -> None:
    (folder / f"{number}.json").write_text(body if isinstance(body, str) else json.dumps(body), encoding="utf-8")


def checksum(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def repin(number: int, **changed: Any) -> None:
    read = json.loads(load_dashboards.PINS.read_text(encoding="utf-8"))
    read[str(number)].update(changed)
    load_dashboards.PINS.write_text(json.dumps(read), encoding="utf-8")


# The password.


def test_the_password_is_alone_on_the_standard_output(diner: InUse, capsys: Said) -> None:
    assert diner.does("grafana-psw") == 0
    said = capsys.readouterr()
    assert said.out == f"{PASSWORD}\n"
    assert "grafana-connect" in said.err
    assert PASSWORD not in said.err
    assert diner.does("grafana-psw", "--json") == 0
    assert json.loads(capsys.readouterr().out) == {"user": "admin", "password": PASSWORD}
    assert diner.calls == [], "it needs no cluster"


def test_without_one_it_says_which_verb_makes_it(bed: TestBed, diner: InUse, capsys: Said) -> None:
    entry = {"SecretId": "comanda/grafana"}
    bed.client("secretsmanager").put_secret_value(**entry, SecretString="{}")
    try:
        assert diner.does("grafana-psw") == 1
    finally:
        bed.client("secretsmanager").put_secret_value(**entry, SecretString=json.dumps({"ADMIN_PASSWORD": PASSWORD}))
    assert (
        "no ADMIN_PASSWORD in secret comanda/grafana yet: run infra/scripts/eks-cluster-deploy.sh create-secrets"
        in (capsys.readouterr().err)
    )


# The way.


def connecting(*arguments: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [*VERB, "grafana-connect", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ,
    )


def test_it_leads_there_until_ctrl_c_and_comes_back_when_the_pod_goes(diner: InUse, grafana: Grafana) -> None:
    diner.save()
    with connecting() as process:
        assert process.stdout is not None
        assert process.stderr is not None
        address = process.stdout.readline().strip()
        assert address == f"http://127.0.0.1:{grafana.port}"
        who = process.stderr.readline()
        assert "Sign in as admin" in who
        assert "grafana-psw" in who
        with pytest.raises(urllib.error.HTTPError, match="401"):
            urllib.request.build_opener(urllib.request.ProxyHandler({})).open(address, timeout=10)
        diner.lose()
        assert "ended (error: lost connection to pod)" in process.stderr.readline()
        assert process.stderr.readline() == "Grafana is reached again.\n"
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0
        assert process.stdout.read() == "", "the address is said once"
    ways = [call for call in diner.calls if call[0] == "port-forward"]
    assert [way[2] for way in ways] == ["3000:3000", f"{grafana.port}:3000"], "the second time on the port of the first"
    assert all("--address=127.0.0.1" in way for way in ways)


def test_while_no_pod_is_ready_it_waits_for_one(diner: InUse) -> None:
    diner.save()
    with connecting("--port", "0") as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline()
        process.stderr.readline()
        diner.pods = [pod("grafana-1", "grafana", ready=False)]
        diner.save()
        diner.lose()
        assert "looked for again" in process.stderr.readline()
        looks = len(diner.calls)
        while len(diner.calls) < looks + 1:
            assert process.poll() is None
        diner.pods = [pod("grafana-2", "grafana")]
        diner.save()
        assert process.stderr.readline() == "Grafana is reached again.\n"
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0


def test_a_port_that_is_taken_is_said(diner: InUse, capsys: Said) -> None:
    diner.taken = ["3000"]
    assert diner.does("grafana-connect") == 1
    assert "port 3000 of this machine is taken: --port with another" in capsys.readouterr().err


@pytest.mark.parametrize("verb", ["grafana-connect", "load-dashboards"])
def test_without_grafana_it_says_which_verb_makes_it(diner: InUse, capsys: Said, verb: str) -> None:
    diner.pods = []
    assert diner.does(verb) == 1
    assert "Grafana is not deployed yet: run infra/scripts/eks-cluster-mng.sh deploy-monitoring" in (
        capsys.readouterr().err
    )
    diner.objects["service/grafana"] = {"kind": "Service"}
    assert diner.does(verb) == 1
    assert "no pod of grafana is ready: kubectl get pods --namespace monitoring" in capsys.readouterr().err


# Dashboards of grafana.com.


def test_they_are_loaded_with_our_data_source_and_again_is_no_other(
    diner: InUse, grafana: Grafana, files: Path, capsys: Said
) -> None:
    for _ in range(2):
        assert diner.does("load-dashboards", "--from", str(files), "--json") == 0
        said = capsys.readouterr()
        assert json.loads(said.out)["loaded"] == [
            {"id": 1860, "revision": 45, "sha256": checksum(files / "1860.json")},
            {"id": 14565, "revision": 1, "sha256": checksum(files / "14565.json")},
        ]
        assert "Next: infra/scripts/eks-cluster-mng.sh grafana-connect" in said.err
        assert PASSWORD not in said.err + said.out
    assert set(grafana.dashboards) == {"grafana-com-1860", "grafana-com-14565"}
    assert grafana.folders == {"grafana-com": "grafana.com"}
    loaded = grafana.dashboards["grafana-com-1860"]
    assert "DS_PROMETHEUS" not in json.dumps(loaded)
    assert loaded["panels"][0]["panels"][0]["datasource"] == {"uid": "comanda-prometheus"}
    assert loaded["panels"][1]["datasource"] == {"uid": "${ds_prometheus}"}, "a variable of its own stays"
    assert loaded["templating"]["list"][0]["current"]["value"] == "comanda-prometheus"
    assert loaded["tags"] == ["linux", "grafana.com", "revision 45"]
    assert not [key for key in loaded if key.startswith("__")]


def test_a_checksum_that_was_not_known_is_written_down_and_counts_from_then_on(
    diner: InUse, grafana: Grafana, files: Path, capsys: Said
) -> None:
    assert diner.does("load-dashboards", "--from", str(files)) == 0
    assert "The checksum of 14565 was not known" in capsys.readouterr().err
    pinned = json.loads(load_dashboards.PINS.read_text(encoding="utf-8"))
    assert pinned["14565"]["sha256"] == checksum(files / "14565.json")
    put(files, 14565, {**SERVICE, "title": "Node.js, and something more"})
    asked = len(grafana.asked)
    assert diner.does("load-dashboards", "--from", str(files)) == 1
    assert "dashboard 14565 is not revision 1 as it was pinned" in capsys.readouterr().err
    assert len(grafana.asked) == asked, "nothing was loaded"


@pytest.mark.parametrize(
    ("body", "why"),
    [
        ("<html>429 Too Many Requests</html>", "is not JSON"),
        ({"message": "Not found"}, "is no dashboard: it has no title"),
        ({"title": "x", "schemaVersion": 1, "panels": []}, "is no dashboard: it has no panels"),
        ({"title": "x", "schemaVersion": 1, "panels": ["y"]}, "is no dashboard: it has no panels"),
        ({"title": "x", "panels": [{}]}, "is no dashboard: it has no schemaVersion"),
        ({**SERVICE, "gnetId": 1}, "is 1 (Node.js)"),
        ({**SERVICE, "panels": [{"type": "text"}]}, "(Node.js) asks for no http_request"),
        (
            {**SERVICE, "__inputs": [{"name": "DS_LOKI", "type": "datasource", "pluginId": "loki"}]},
            "wants DS_LOKI, which is no Prometheus",
        ),
    ],
)
def test_what_is_no_such_dashboard_is_refused(
    diner: InUse, grafana: Grafana, files: Path, capsys: Said, body: Any, why: str
) -> None:
    put(files, 14565, body)
    assert diner.does("load-dashboards", "--from", str(files)) == 1
    assert f"what came as dashboard 14565 {why}: nothing was loaded" in capsys.readouterr().err
    assert grafana.asked == []
    assert json.loads(load_dashboards.PINS.read_text(encoding="utf-8"))["14565"]["sha256"] is None


def test_one_that_is_too_large_or_not_there_is_refused(diner: InUse, files: Path, capsys: Said) -> None:
    put(files, 14565, " " * (load_dashboards.LARGEST + 1))
    assert diner.does("load-dashboards", "--from", str(files)) == 1
    assert "has more than 4194304 bytes" in capsys.readouterr().err
    (files / "14565.json").unlink()
    assert diner.does("load-dashboards", "--from", str(files)) == 1
    assert "14565.json cannot be read (No such file or directory): put revision 1 there" in capsys.readouterr().err


def test_they_come_from_grafana_com_in_the_pinned_revision(
    diner: InUse, grafana: Grafana, files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Said
) -> None:
    site = tmp_path / "site"
    for number, revision in ((1860, 45), (14565, 1)):
        place = site / str(number) / "revisions" / str(revision)
        place.mkdir(parents=True)
        (place / "download").write_bytes((files / f"{number}.json").read_bytes())
    assert load_dashboards.SITE == "https://grafana.com/api/dashboards"
    monkeypatch.setattr(load_dashboards, "SITE", site.as_uri())
    assert diner.does("load-dashboards") == 0
    assert set(grafana.dashboards) == {"grafana-com-1860", "grafana-com-14565"}
    capsys.readouterr()
    repin(1860, revision=46)
    assert diner.does("load-dashboards") == 1
    said = capsys.readouterr().err
    assert "dashboard 1860 cannot be had from" in said
    assert "name it 1860.json, and say --from FOLDER" in said


def test_a_password_that_grafana_has_not_yet_is_said_with_its_mend(
    diner: InUse, grafana: Grafana, files: Path, capsys: Said
) -> None:
    grafana.password = "of before"
    assert diner.does("load-dashboards", "--from", str(files)) == 1
    assert re.search(r"does not take the password .* rotate-secrets grafana", capsys.readouterr().err)


def test_what_grafana_refuses_is_said(diner: InUse, grafana: Grafana, files: Path, capsys: Said) -> None:
    grafana.full = True
    assert diner.does("load-dashboards", "--from", str(files)) == 1
    assert "Grafana refused POST /api/dashboards/db (500): " in capsys.readouterr().err
    grafana.sources = []
    assert diner.does("load-dashboards", "--from", str(files)) == 1
    assert "Grafana has no data source comanda-prometheus: run infra/scripts/eks-cluster-mng.sh deploy-monitoring" in (
        capsys.readouterr().err
    )


def test_panels_that_grafana_draws_otherwise_are_said(diner: InUse, files: Path, capsys: Said) -> None:
    assert diner.does("load-dashboards", "--from", str(files)) == 0
    said = capsys.readouterr().err
    assert (
        "1860 Node Exporter Full, revision 45\n    1 of its panels are of kinds that Grafana replaces by itself: graph"
        in (said)
    )


def test_what_is_pinned_is_what_the_repository_says(diner: InUse, files: Path, capsys: Said) -> None:
    load_dashboards.PINS.write_text("{", encoding="utf-8")
    assert diner.does("load-dashboards", "--from", str(files)) == 1
    assert "pins.json cannot be read" in capsys.readouterr().err


def test_the_shipped_pins_can_be_read() -> None:
    assert [(pin.number, pin.revision, len(pin.sha256)) for pin in load_dashboards.pins()] == [
        (1860, 45, 64),
        (14565, 1, 0),
    ]
