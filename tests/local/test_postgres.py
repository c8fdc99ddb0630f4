"""The embedded PostgreSQL: starts, crashes, leftovers, and whose rights it uses."""

import asyncio
import os
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import asyncpg
import pytest

from comanda_local.postgres import EmbeddedPostgres, PostgresError


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    return tmp_path / "a folder" / "postgresql"


@pytest.fixture
def postgres(data_dir: Path) -> Iterator[EmbeddedPostgres]:
    with EmbeddedPostgres(data_dir, fsync=False) as running:
        yield running


def ask(postgres: EmbeddedPostgres, sql: str) -> object:
    return asyncio.run(fetch(postgres, sql))


async def fetch(postgres: EmbeddedPostgres, sql: str) -> object:
    connection = await asyncpg.connect(postgres.superuser_url)
    try:
        return await connection.fetchval(sql)
    finally:
        await connection.close()


def test_is_postgresql_18_with_utf8_checksums_and_its_own_collation(postgres: EmbeddedPostgres) -> None:
    assert str(ask(postgres, "SHOW server_version")).startswith("18.")
    assert ask(postgres, "SHOW server_encoding") == "UTF8"
    assert ask(postgres, "SHOW data_checksums") == "on"
    assert ask(postgres, "SHOW timezone") == "UTC"
    sql = "SELECT datlocprovider::text || datlocale FROM pg_database WHERE datname = 'template1'"
    assert ask(postgres, sql) == "bC.UTF-8"
    assert ask(postgres, "SELECT lower('ÇÃO')") == "ção"


def test_listens_on_loopback_alone_and_wants_the_password(postgres: EmbeddedPostgres) -> None:
    assert ask(postgres, "SHOW listen_addresses") == "127.0.0.1"
    assert ask(postgres, "SHOW unix_socket_directories") == ""
    with pytest.raises(asyncpg.InvalidPasswordError):
        asyncio.run(asyncpg.connect(postgres.url("postgres", "wrong", "postgres")))


def test_passes_settings_on(data_dir: Path) -> None:
    with EmbeddedPostgres(data_dir, fsync=False, settings={"max_connections": 17, "jit": "off"}) as running:
        assert ask(running, "SHOW max_connections") == "17"
        assert ask(running, "SHOW fsync") == "off"


def test_keeps_data_port_and_password_from_start_to_start(data_dir: Path) -> None:
    with EmbeddedPostgres(data_dir, fsync=False) as first:
        ask(first, "CREATE TABLE kept AS SELECT 7 AS value")
        url = first.superuser_url
    assert first.pid is None
    with EmbeddedPostgres(data_dir, fsync=False) as second:
        assert second.superuser_url == url
        assert ask(second, "SELECT value FROM kept") == 7


def test_keeps_its_secrets_to_itself(postgres: EmbeddedPostgres, data_dir: Path) -> None:
    assert stat.S_IMODE(data_dir.stat().st_mode) == 0o700
    assert stat.S_IMODE(data_dir.with_name("postgresql.json").stat().st_mode) == 0o600
    assert not data_dir.with_name("postgresql.password").exists()


def test_takes_another_port_when_its_own_is_taken(data_dir: Path) -> None:
    with EmbeddedPostgres(data_dir, fsync=False) as first:
        port = first.port
    with (
        closing(socket.create_server(("127.0.0.1", port))),
        EmbeddedPostgres(data_dir, fsync=False) as second,
    ):
        assert second.port != port
        assert ask(second, "SELECT 1") == 1


def test_a_port_that_was_asked_for_and_is_taken_is_said(data_dir: Path) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        port = taken.getsockname()[1]
        postgres = EmbeddedPostgres(data_dir, port=port, fsync=False)
        with pytest.raises(PostgresError, match=f"port {port} taken"):
            postgres.start()
    assert postgres.pid is None


def test_recovers_from_a_killed_postmaster_without_losing_what_was_committed(data_dir: Path) -> None:
    with EmbeddedPostgres(data_dir) as postgres:
        ask(postgres, "CREATE TABLE kept AS SELECT 7 AS value")
        assert postgres.process is not None
        port = postgres.port
        postgres.process.kill()
        postgres.process.wait()
        postgres.start()
        assert postgres.port == port, "those who know the port must find it again"
        assert ask(postgres, "SELECT value FROM kept") == 7


def test_a_pid_file_that_names_a_stranger_is_no_obstacle(data_dir: Path) -> None:
    with EmbeddedPostgres(data_dir, fsync=False) as first:
        pid_file = data_dir / "postmaster.pid"
        lines = pid_file.read_text().split("\n")
        assert first.process is not None
        first.process.kill()
        first.process.wait()
    # A process of the same user, so that PostgreSQL's own check would take it for a living postmaster.
    owner = data_dir.stat()
    with subprocess.Popen(["sleep", "60"], user=owner.st_uid, group=owner.st_gid) as stranger:
        pid_file.write_text("\n".join([str(stranger.pid), *lines[1:]]))
        with EmbeddedPostgres(data_dir, fsync=False) as second:
            assert ask(second, "SELECT 1") == 1
        assert stranger.poll() is None, "the stranger is left alone"
        stranger.kill()


STARTS_AND_WAITS = """
import sys
from pathlib import Path
from comanda_local.postgres import EmbeddedPostgres
postgres = EmbeddedPostgres(Path(sys.argv[1]), fsync=False)
postgres.start()
print(postgres.pid, flush=True)
sys.stdin.read()
"""


@pytest.mark.parametrize("stopped", [False, True], ids=["told by the kernel", "deaf to it"])
def test_takes_over_from_a_killed_starter(data_dir: Path, stopped: bool) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", STARTS_AND_WAITS, str(data_dir)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as starter:
        assert starter.stdout is not None
        postmaster = int(starter.stdout.readline())
        if stopped:
            os.kill(postmaster, signal.SIGSTOP)  # it cannot even look at the kernel's word
        starter.kill()
    if stopped:
        with pytest.raises(PostgresError, match="does not end"):
            EmbeddedPostgres(data_dir, fsync=False).start(leftover_timeout_seconds=0)
        os.kill(postmaster, signal.SIGCONT)
    with EmbeddedPostgres(data_dir, fsync=False) as second:
        assert second.pid != postmaster
        assert not Path(f"/proc/{postmaster}/exe").exists()
        assert ask(second, "SELECT 1") == 1


def test_an_interrupted_initdb_is_begun_anew(data_dir: Path) -> None:
    making = data_dir.with_name("postgresql.new")
    (making / "base").mkdir(parents=True)
    (making / "PG_VERSION").write_text("18\n")
    with EmbeddedPostgres(data_dir, fsync=False) as postgres:
        assert ask(postgres, "SELECT 1") == 1
    assert not making.exists()


def test_data_of_another_version_is_said(data_dir: Path) -> None:
    data_dir.mkdir(parents=True)
    (data_dir / "PG_VERSION").write_text("16\n")
    with pytest.raises(PostgresError, match="made by PostgreSQL 16, this is 18"):
        EmbeddedPostgres(data_dir).start()


def test_a_folder_of_other_things_is_left_alone(data_dir: Path) -> None:
    data_dir.mkdir(parents=True)
    (data_dir / "thesis.txt").write_text("do not delete")
    with pytest.raises(PostgresError, match="move it away"):
        EmbeddedPostgres(data_dir).start()
    assert (data_dir / "thesis.txt").read_text() == "do not delete"


def test_a_lost_password_is_said(data_dir: Path) -> None:
    with EmbeddedPostgres(data_dir, fsync=False):
        pass
    data_dir.with_name("postgresql.json").unlink()
    with pytest.raises(PostgresError, match=r"postgresql\.json is missing"):
        EmbeddedPostgres(data_dir, fsync=False).start()


def test_what_postgresql_says_when_it_cannot_start_is_passed_on(data_dir: Path) -> None:
    with pytest.raises(PostgresError, match="shared_buffers"):
        EmbeddedPostgres(data_dir, fsync=False, settings={"shared_buffers": "many"}).start()


def test_nobodys_rights_change(tmp_path: Path) -> None:
    """As root it runs as somebody else, below a folder that is closed to them."""
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    ways = [closed, tmp_path, *tmp_path.parents]
    before = [(way, way.stat().st_mode, way.stat().st_uid) for way in ways]
    with EmbeddedPostgres(closed / "postgresql", fsync=False) as postgres:
        uid = Path(f"/proc/{postgres.pid}").stat().st_uid
        assert uid != 0
        assert uid == os.geteuid() or os.geteuid() == 0
    assert [(way, way.stat().st_mode, way.stat().st_uid) for way in ways] == before
