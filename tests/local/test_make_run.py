"""`make run` from outside: starts, ends of every kind, and the one line for what cannot be."""

import json
import os
import shutil
import signal
import socket
import stat
import tempfile
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from comanda_local.ports import free_port
from comanda_local.postgres import EmbeddedPostgres
from tests.local.launch import Launch, call, eventually, only_line, ordinary_user

PROGRAMS = ["comanda serve", "comanda worker", "comanda_sandbox", "postgres"]


def place_order(local: dict[str, Any]) -> str:
    """Order the first product of the menu; answer the order's id."""
    status, menu = call("GET", f"{local['api']}/v1/menu")
    assert status == 200
    product = menu["categories"][0]["products"][0]["id"]
    status, order = call("POST", f"{local['api']}/v1/orders", {"items": [{"product_id": product, "quantity": 1}]})
    assert status == 201
    return str(order["id"])


def assert_kept(local: dict[str, Any], order_id: str) -> None:
    status, order = call("GET", f"{local['api']}/v1/orders/{order_id}")
    assert (status, order["id"]) == (200, order_id)


def test_two_starts_and_clean_stops(tmp_path: Path) -> None:
    with Launch(tmp_path) as first:
        local = first.ready()
        file = tmp_path / ".comanda" / "local.json"
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
        assert list(local) == [
            "api",
            "ops",
            "sandbox",
            "prometheus",
            "database_url",
            "staff_key",
            "manager_key",
            "webhook_secret",
            "sandbox_token",
        ]
        for name in ("api", "ops", "sandbox"):
            assert local[name].startswith("http://127.0.0.1:")
            assert not local[name].endswith("/")
            assert any(local[name] in line for line in first.lines), "the addresses are shown"
        for name in ("staff_key", "manager_key"):
            assert any(local[name] in line for line in first.lines), "the keys are shown"

        assert call("GET", f"{local['api']}/readyz")[0] == 200
        assert call("GET", f"{local['ops']}/readyz")[0] == 200
        assert call("GET", f"{local['api']}/v1/kitchen", key=local["staff_key"])[0] == 200
        assert call("GET", f"{local['api']}/v1/kitchen")[0] == 401
        status, menu = call("GET", f"{local['api']}/v1/menu")
        assert status == 200
        assert len(menu["categories"]) >= 4
        assert sum(len(category["products"]) for category in menu["categories"]) >= 20
        order = place_order(local)

        with Launch(tmp_path) as second:
            said = only_line_of_a_second(second)
        assert f"pid {first.process.pid}" in said
        assert local["api"] in said
        assert first.process.poll() is None
        assert file.exists()

        assert first.stop(signal.SIGINT) == 0
        assert first.lines[-2:] == ["comanda: stopping", "comanda: stopped"]
        assert not file.exists()
        assert first.left_running() == []

    with Launch(tmp_path) as again:
        anew = again.ready()
        for name in ("staff_key", "manager_key", "webhook_secret", "sandbox_token"):
            assert anew[name] == local[name], f"{name} stays the same"
        assert_kept(anew, order)
        assert call("GET", f"{anew['api']}/v1/menu")[1] == menu
        assert again.stop(signal.SIGTERM) == 0
        assert again.left_running() == []


def only_line_of_a_second(second: Launch) -> str:
    assert second.ends() == 1
    assert len(second.lines) == 1
    return second.lines[0]


def test_whoever_is_killed_is_started_again_and_no_order_is_lost(tmp_path: Path) -> None:
    with Launch(tmp_path) as launch:
        local = launch.ready()
        order = place_order(local)
        for program, name in zip(PROGRAMS, ("API", "worker", "sandbox", "PostgreSQL"), strict=True):
            pid = launch.pid_of(program)
            os.kill(pid, signal.SIGKILL)
            launch.hears(f"{name} was ended by SIGKILL; starting it again")
            eventually(partial(_another, launch, program, pid), f"{program} runs again")
            eventually(lambda: call("GET", f"{local['api']}/v1/orders/{order}")[0] == 200, "the order is there")
            eventually(lambda: call("GET", f"{local['ops']}/readyz")[0] == 200, "the API is ready")
            assert_kept(local, order)
        place_order(local)
        assert launch.stop() == 0
        assert launch.left_running() == []


def _another(launch: Launch, program: str, old: int) -> bool:
    try:
        return launch.pid_of(program) != old
    except (AssertionError, OSError, IndexError, ValueError):
        return False


def test_a_start_after_the_launcher_was_killed(tmp_path: Path) -> None:
    with Launch(tmp_path) as killed:
        local = killed.ready()
        order = place_order(local)
        ports = {name: local[key].rpartition(":")[2] for name, key in _PORTS.items()}
        # The launcher alone, and nobody has time to end in order before the next start.
        killed.process.kill()
        with Launch(tmp_path, ports) as anew:
            again = anew.ready()
            assert again == local, "the same ports and keys"
            assert_kept(again, order)
            assert anew.stop() == 0
            assert anew.left_running() == []


_PORTS = {"PORT": "api", "OPS_PORT": "ops", "SANDBOX_PORT": "sandbox"}


@pytest.mark.parametrize("moment", ["making the database", "ready after"])
def test_ctrl_c_while_starting_leaves_nothing_and_the_next_start_works(tmp_path: Path, moment: str) -> None:
    with Launch(tmp_path) as interrupted:
        interrupted.hears(moment)
        assert interrupted.stop() == 0
        assert interrupted.left_running() == []
        assert not (tmp_path / ".comanda" / "local.json").exists()
    with Launch(tmp_path) as launch:
        place_order(launch.ready())
        assert launch.stop() == 0


@pytest.mark.parametrize("name", ["PORT", "OPS_PORT", "SANDBOX_PORT"])
def test_a_taken_port_is_one_line(tmp_path: Path, name: str) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        port = taken.getsockname()[1]
        with Launch(tmp_path, {name: str(port)}) as launch:
            line = only_line(launch)
    assert f"port {port} is taken" in line
    assert f"{name}=" in line
    assert not (tmp_path / ".comanda" / "postgresql").exists(), "said before anything is started"


def test_a_wrong_port_is_one_line(tmp_path: Path) -> None:
    with Launch(tmp_path, {"OPS_PORT": "many"}) as launch:
        assert "OPS_PORT is not a port" in only_line(launch)


def test_data_of_another_postgresql_is_one_line(tmp_path: Path) -> None:
    data = tmp_path / ".comanda" / "postgresql"
    data.mkdir(parents=True)
    (data / "PG_VERSION").write_text("16\n")
    with Launch(tmp_path) as launch:
        assert launch.ends() == 1
        assert "made by PostgreSQL 16" in launch.lines[-1]
        assert launch.left_running() == []


@pytest.fixture
def home() -> Iterator[Path]:
    """A folder of an ordinary user's own, outside of root's closed temporary folder."""
    folder = Path(tempfile.mkdtemp(prefix="comanda-home-"))
    if os.geteuid() == 0:
        os.chown(folder, 65534, 65534)
    yield folder
    folder.chmod(0o700)
    shutil.rmtree(folder)


def test_a_folder_that_cannot_be_written_to_is_one_line(home: Path) -> None:
    home.chmod(0o500)
    with Launch(home, as_user=ordinary_user()) as launch:
        line = only_line(launch)
    assert f"{home}/.comanda cannot be written to (Permission denied)" in line


def test_a_data_folder_that_became_read_only_is_one_line(home: Path) -> None:
    for folder in (home / ".comanda" / "logs", home / ".comanda"):
        folder.mkdir(parents=True, exist_ok=True)
        os.chown(folder, home.stat().st_uid, home.stat().st_gid)
    (home / ".comanda" / "logs").chmod(0o500)
    with Launch(home, as_user=ordinary_user()) as launch:
        assert "cannot be written to (Permission denied)" in only_line(launch)
    (home / ".comanda" / "logs").chmod(0o700)


def test_an_ordinary_user_needs_nothing_more(home: Path) -> None:
    with Launch(home, as_user=ordinary_user()) as launch:
        local = launch.ready()
        place_order(local)
        for program in PROGRAMS:
            pid = launch.pid_of(program)
            assert Path(f"/proc/{pid}").stat().st_uid == home.stat().st_uid
        assert launch.stop() == 0
        assert launch.left_running() == []


def test_an_unreachable_database_is_one_line_without_the_password(tmp_path: Path) -> None:
    port = free_port()
    with Launch(tmp_path, {"DATABASE_URL": f"postgresql://app:sesame@127.0.0.1:{port}/comanda"}) as launch:
        assert launch.ends() == 1
    said = "\n".join(launch.lines)
    assert f"the database at 127.0.0.1:{port} of DATABASE_URL cannot be reached (connection refused)" in said
    assert "start it or correct DATABASE_URL" in said
    assert "sesame" not in said
    assert "Traceback" not in said
    assert launch.left_running() == []


def test_a_given_database_and_a_given_provider(tmp_path: Path) -> None:
    given = tmp_path / "given"
    with EmbeddedPostgres(given / "postgresql", fsync=False) as postgres:
        url = postgres.superuser_url
        environment = {"DATABASE_URL": url, "MERCADO_PAGO_ACCESS_TOKEN": "TEST-given"}
        # Nobody listens there: this test must not leave the machine.
        environment["MERCADO_PAGO_BASE_URL"] = f"http://127.0.0.1:{free_port()}"
        folder = tmp_path / "clone"
        folder.mkdir()
        with Launch(folder, environment) as launch:
            local = launch.ready()
            assert local["database_url"] == url
            assert local["sandbox"] is None
            assert local["sandbox_token"] is None
            assert local["webhook_secret"]
            assert any("no MERCADO_PAGO_WEBHOOK_SECRET was given" in line for line in launch.lines)
            assert any("no PAYER_EMAIL was given" in line for line in launch.lines)
            assert call("GET", f"{local['api']}/v1/menu")[0] == 200
            assert not (folder / ".comanda" / "postgresql").exists()
            assert launch.stop() == 0
            assert launch.left_running() == []
        wrong = url.replace(postgres.password, "sesame")
        with Launch(folder, environment | {"DATABASE_URL": wrong}) as launch:
            line = only_line(launch)
            assert "refuses this user or password: correct DATABASE_URL" in line
            assert "sesame" not in line
        with Launch(folder, environment | {"DATABASE_URL": f"{url}_missing"}) as launch:
            assert "does not exist on that server" in only_line(launch)


def test_what_a_child_says_when_it_cannot_start_is_passed_on(tmp_path: Path) -> None:
    with Launch(tmp_path) as launch:
        launch.ready()
        assert launch.stop() == 0
    # One line, and none of what the run before has written into the same log.
    with Launch(tmp_path, {"TIME_ZONE": "Nowhere/Land"}) as launch:
        assert only_line(launch) == "comanda: TIME_ZONE is not valid: give a name like America/Sao_Paulo"
    assert launch.left_running() == []


def test_what_it_makes_is_nobody_elses(tmp_path: Path) -> None:
    with Launch(tmp_path) as launch:
        launch.ready()
        data = tmp_path / ".comanda"
        made = [path for path in data.rglob("*") if path.is_file() and "postgresql" not in path.name]
        made = [path for path in made if data / "postgresql" not in path.parents]
        assert {path.name for path in made} >= {"local.json", "secrets.json", "sandbox.sqlite3", "api.log"}
        assert {path.name: oct(path.stat().st_mode & 0o077) for path in made} == dict.fromkeys(
            (path.name for path in made), "0o0"
        )
        assert launch.stop() == 0


def test_broken_secrets_are_one_line(tmp_path: Path) -> None:
    (tmp_path / ".comanda").mkdir()
    (tmp_path / ".comanda" / "secrets.json").write_text(json.dumps(["?"]))
    with Launch(tmp_path) as launch:
        assert "mend it, or remove it" in only_line(launch)
