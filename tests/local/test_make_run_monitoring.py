"""`make run MONITORING=1` from outside: what it starts and says, by stand-ins; and what a real Prometheus finds."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from comanda_local.orphans import children_of
from comanda_local.postgres import EmbeddedPostgres
from tests.cluster.building import binary, ensure
from tests.cluster.parts import named
from tests.local.launch import Launch, call, eventually, only_line
from tests.local.stand_in import answers, says_version
from tests.monitoring.reading import alerts, records, rule_files

ON = {"MONITORING": "1", "PROMETHEUS_PORT": "0"}
NO_NODE_EXPORTER = "comanda: no node_exporter found: panels of the machine stay empty"
NO_POSTGRES_EXPORTER = "comanda: no postgres_exporter found: panels of PostgreSQL stay empty"


@pytest.fixture
def programs(tmp_path: Path) -> Path:
    """A folder to be the whole PATH, so that none of the machine's own exporters is found."""
    folder = tmp_path / "programs"
    folder.mkdir()
    if setpriv := shutil.which("setpriv"):
        (folder / "setpriv").symlink_to(setpriv)
    return folder


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    folder = tmp_path / "clone"
    folder.mkdir()
    return folder


def started(program: Path) -> set[str]:
    """What a stand-in was started with."""
    return set(program.with_suffix(".started").read_text().splitlines())


def test_without_it_nothing_of_it_is_imported_or_made(clone: Path) -> None:
    names = "import comanda_local.run, sys; print(*sys.modules)"
    imported = subprocess.run([sys.executable, "-c", names], capture_output=True, text=True, check=True).stdout.split()
    assert not {"yaml", "comanda_local.monitoring", "comanda_local.programs", "comanda_local.prometheus"} & {*imported}
    # Nor is it judged whether there is what it would want.
    with Launch(clone, {"PROMETHEUS": "/nowhere/prometheus"}) as launch:
        assert launch.ready()["prometheus"] is None
        assert not any("Prometheus" in line or "exporter" in line for line in launch.lines)
        assert len(children_of(launch.data)) >= 3
        assert not (launch.data / "prometheus").exists()
        assert {path.name for path in (launch.data / "logs").iterdir()} == {
            "api.log",
            "worker.log",
            "sandbox.log",
            "postgresql.log",
        }
        assert launch.stop() == 0


def test_no_prometheus_is_one_line_before_anything_is_started(clone: Path, programs: Path) -> None:
    with Launch(clone, ON | {"PATH": str(programs)}) as launch:
        assert "MONITORING=1 wants Prometheus 3, and there is none on the PATH" in only_line(launch)
    says_version(programs / "prometheus", "2.42.0+ds")
    with Launch(clone, ON | {"PATH": str(programs)}) as launch:
        assert "is Prometheus 2.42.0, and 3 is the oldest that will do: unpack one of" in only_line(launch)
    assert list(clone.iterdir()) == []


async def test_all_of_it_with_stand_ins(clone: Path, programs: Path) -> None:
    prometheus = answers(programs / "prometheus")
    node = answers(programs / "node_exporter")
    postgres = answers(programs / "postgres_exporter", flags="--[no-]collector.database_wraparound")
    given = {"PATH": str(programs), "DATA_SOURCE_NAME": "postgresql://elsewhere", "PAYER_EMAIL": "payer@example.com"}
    with Launch(clone, ON | given) as launch:
        local = launch.ready()
        assert any(f"{local['prometheus']}  (alerts at /alerts)" in line for line in launch.lines)
        assert not any("found" in line for line in launch.lines)
        folder = launch.data / "prometheus"
        assert {path.name: path.read_text() for path in (folder / "rules").iterdir()} == rule_files()
        jobs = {job["job_name"]: job for job in json.loads((folder / "prometheus.yml").read_text())["scrape_configs"]}
        assert set(jobs) == {"comanda-api", "comanda-worker", "prometheus", "node-exporter", "postgresql"}
        at = {name: job["static_configs"][0]["targets"][0] for name, job in jobs.items()}
        assert f"http://{at['comanda-api']}" == local["ops"]
        assert call("GET", f"http://{at['comanda-worker']}/readyz")[0] == 200

        assert started(prometheus) >= {
            f"--web.listen-address={at['prometheus']}",
            f"--config.file={folder / 'prometheus.yml'}",
            f"--storage.tsdb.path={folder / 'data'}",
        }
        assert f"--web.listen-address={at['node-exporter']}" in started(node)
        started_with = started(postgres)
        assert started_with >= {f"--web.listen-address={at['postgresql']}", "--collector.database_wraparound"}
        assert "--collector.long_running_transactions" not in started_with, "this version does not know it"
        assert not any("DATA_SOURCE_NAME" in each for each in started_with)
        for program in (prometheus, node, postgres):
            assert not any("payer@example.com" in each for each in started(program)), "nothing of the caller's"

        password = (folder / "metrics-password").read_text()
        assert not any(password in each for each in started_with), "in a file alone"
        await assert_sees_statistics_alone(local["database_url"], password)

        for name, program in (("Prometheus", prometheus), ("postgres_exporter", postgres)):
            pid = pid_of(launch, program)
            os.kill(pid, signal.SIGKILL)
            launch.hears(f"{name} was ended by SIGKILL; starting it again")
            eventually(partial(_another, launch, program, pid), f"{name} runs again")
        eventually(lambda: call("GET", f"{local['prometheus']}/-/ready")[0] == 200, "Prometheus is ready again")
        assert launch.stop() == 0
        assert launch.left_running() == []


async def assert_sees_statistics_alone(database_url: str, password: str) -> None:
    """The exporter's user may read what others do, and no order."""
    place = database_url.rpartition("@")[2]
    connection = await asyncpg.connect(f"postgresql://comanda_metrics:{password}@{place}")
    try:
        asked = await connection.fetch("SELECT query FROM pg_stat_activity WHERE usename = 'comanda_api'")
        assert asked
        assert all(row["query"] != "<insufficient privilege>" for row in asked)
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.fetch("SELECT * FROM orders")
    finally:
        await connection.close()


def pid_of(launch: Launch, program: Path) -> int:
    """The pid of a stand-in."""
    for pid in children_of(launch.data):
        if os.fsencode(program) in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0"):
            return pid
    raise LookupError(program)


def _another(launch: Launch, program: Path, old: int) -> bool:
    try:
        return pid_of(launch, program) != old
    except (LookupError, OSError):
        return False


def test_without_exporters_it_starts_and_says_so(clone: Path, programs: Path) -> None:
    prometheus = answers(programs / "other")
    with Launch(clone, ON | {"PATH": str(programs), "PROMETHEUS": str(prometheus)}) as launch:
        launch.ready()
        assert [line for line in launch.lines if "found" in line] == [NO_NODE_EXPORTER, NO_POSTGRES_EXPORTER]
        made = json.loads((launch.data / "prometheus" / "prometheus.yml").read_text())
        assert [job["job_name"] for job in made["scrape_configs"]] == ["comanda-api", "comanda-worker", "prometheus"]
        assert launch.stop() == 0
        assert launch.left_running() == []


def test_a_given_database_is_not_looked_at(clone: Path, programs: Path) -> None:
    answers(programs / "prometheus")
    exporter = answers(programs / "postgres_exporter")
    with (
        EmbeddedPostgres(clone.with_name("given") / "postgresql", fsync=False) as given,
        Launch(clone, ON | {"PATH": str(programs), "DATABASE_URL": given.superuser_url}) as launch,
    ):
        launch.ready()
        assert any(line.startswith("comanda: the database is a given one, so no postgres_exp") for line in launch.lines)
        assert not exporter.with_suffix(".started").exists()
        assert launch.stop() == 0


def test_what_a_prometheus_says_that_ends_is_passed_on(clone: Path, programs: Path) -> None:
    prometheus = says_version(programs / "prometheus", "3.0.0")
    with prometheus.open("a") as script:
        script.write('[ "$1" = --version ] || { echo "no space left" >&2; exit 3; }\n')
    with Launch(clone, ON | {"PATH": str(programs)}) as launch:
        assert launch.ends() == 1
        assert launch.lines[-1] == "comanda: the Prometheus ended with code 3: no space left"
        assert launch.left_running() == []


@pytest.fixture(scope="session")
def built() -> dict[str, str]:
    """A real Prometheus and node exporter, as the tests' cluster has them; built if they are not there yet."""
    until = os.environ.get("COMANDA_BUILD_UNTIL")
    parts = [named("prometheus"), named("node-exporter")]
    ensure(parts, deadline_seconds=max(0, int(until) - time.time()) if until else None)
    return {"PROMETHEUS": str(binary("prometheus")), "NODE_EXPORTER": str(binary("node_exporter"))}


@pytest.mark.go
def test_a_real_prometheus_reads_all_of_it_and_judges_by_our_rules(clone: Path, built: dict[str, str]) -> None:
    with Launch(clone, ON | built) as launch:
        local = launch.ready()
        api = f"{local['prometheus']}/api/v1"

        def is_up(*jobs: str) -> bool:
            active = asked(api, "targets")["activeTargets"]
            health = {each["labels"]["job"]: each["health"] for each in active}
            return {health.get(job) for job in jobs} == {"up"}

        eventually(partial(is_up, "comanda-api", "comanda-worker", "prometheus", "node-exporter"), "all are up", 60)
        # Some are looked at once a minute.
        eventually(lambda: {rule["health"] for rule in rules(api)} == {"ok"}, "every rule was looked at", 150)
        assert len(rules(api)) == len(alerts()) + len(records())
        [watchdog] = [rule for rule in rules(api) if rule["name"] == "Watchdog"]
        assert watchdog["state"] == "firing"
        [ratio] = asked(api, "query?query=node:node_memory_used:ratio")["result"]
        assert 0 < float(ratio["value"][1]) < 1
        assert launch.stop() == 0
        assert launch.left_running() == []
        assert call("GET", f"{local['prometheus']}/-/ready")[0] == 0
    # What it saw stays.
    with Launch(clone, ON | built) as again:
        api = f"{again.ready()['prometheus']}/api/v1"
        assert asked(api, 'query?query=last_over_time(up{job="comanda-api"}[5m])')["result"]
        assert again.stop() == 0


def asked(api: str, path: str) -> Any:
    """What Prometheus' API answers."""
    status, answer = call("GET", f"{api}/{path}")
    assert status == 200, path
    return answer["data"]


def rules(api: str) -> list[dict[str, Any]]:
    """The rules that Prometheus has loaded."""
    return [rule for group in asked(api, "rules")["groups"] for rule in group["rules"]]
