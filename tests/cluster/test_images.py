"""The stand-in for PostgreSQL's image, run as the strict pod of the shipped manifest: what comes up, what is refused.

Pods' disks, once prepared, are used again by the tests after it, which leave them whole: preparing takes seconds.
"""

import dataclasses
import gzip
import lzma
import signal
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from tests.cluster import images
from tests.cluster.images import manifest, postgres
from tests.cluster.images.__main__ import main
from tests.cluster.images.running import SCRIPTS, Container, Json, Mount, Pod, unpacked, with_scripts, zst
from tests.image.running import Image
from tests.manifests.reading import WORKLOADS, containers, of_kind

pytestmark = pytest.mark.root

[STATEFUL_SET] = of_kind("StatefulSet")
SPEC: Json = STATEFUL_SET.pod["spec"]
CONTAINER: Json = SPEC["containers"][0]
# What a password may be: nothing here may read a part of one as its own language.
SECRETS = {
    f"{who}_PASSWORD": f"{who} ' \" $(exit 9) \\ %s" for who in ("SUPERUSER", "OWNER", "API_A", "API_B", "METRICS")
}

DISK = "/var/lib/postgresql"

Make = Callable[..., Pod]


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Image:
    [ours] = [each for each in images.IMAGES if each.name == postgres.NAME]
    return unpacked(images.archive(ours), tmp_path_factory.mktemp("image"))


@pytest.fixture(scope="module")
def make(image: Image, tmp_path_factory: pytest.TempPathFactory) -> Make:
    """Makes the manifest's pod on an empty disk, with what a test wants otherwise; None takes a setting away."""

    def made(**environment: str | None) -> Pod:
        return manifest.pod(STATEFUL_SET, image, {"database": SECRETS}, tmp_path_factory.mktemp("pod"), environment)

    return made


@pytest.fixture(scope="module")
def prepared(make: Make) -> Pod:
    """The manifest's pod as it is, whose disk has been prepared."""
    pod = make()
    with pod.start() as container:
        ready(container)
        assert container.stop(signal.Signals[pod.image.config["StopSignal"]]) == 0
    return pod


@pytest.fixture
def running(prepared: Pod) -> Iterator[Container]:
    with prepared.start() as container:
        ready(container)
        yield container
        container.stop(signal.SIGINT)


def ready(container: Container) -> None:
    command = CONTAINER["startupProbe"]["exec"]["command"]
    container.until(lambda: container.exec(command).returncode == 0)


def sql(container: Container, statement: str, *, user: str = "postgres", database: str = "comanda") -> str:
    answer = container.exec(
        ["psql", "--no-psqlrc", "--tuples-only", "--no-align", f"--username={user}", f"--dbname={database}"],
        stdin=statement,
        PGOPTIONS="--client-min-messages=error",
    )
    assert answer.returncode == 0, answer.stderr
    return answer.stdout.strip()


def by_network(container: Container, user: str, secret: str, database: str, statement: str) -> CompletedProcess[str]:
    psql = ["psql", "--host=127.0.0.1", f"--username={user}", f"--dbname={database}", "--no-password", "-c", statement]
    return container.exec(psql, PGPASSWORD=SECRETS[f"{secret}_PASSWORD"])


def test_every_image_of_the_manifests_is_one_of_them() -> None:
    wanted = {container["image"] for each in of_kind(*WORKLOADS) for container in containers(each)}
    assert {_at_its_registry(each) for each in wanted} == {each.name for each in images.IMAGES}


def _at_its_registry(image: str) -> str:
    """Answer an image's name as its registry has it: without the host, and Docker Hub's official ones in `library/`."""
    first, slash, rest = image.partition("/")
    if not slash:
        return f"library/{image}"
    return rest if "." in first else image


def test_each_is_listed_with_what_it_lacks(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list"]) == 0
    said = capsys.readouterr().out
    for each in images.IMAGES:
        assert f"{each.name}: " in said
        assert each.lacks
        assert all(f"  lacks {lack}\n" in said for lack in each.lacks)


def test_it_says_of_itself_what_the_original_does(image: Image) -> None:
    config = image.config
    assert not config.get("User"), "the original begins as root and steps down"
    assert not config.get("WorkingDir", "").strip("/")
    assert config["Entrypoint"] == ["docker-entrypoint.sh"]
    assert config["Cmd"] == ["postgres"]
    assert config["StopSignal"] in {"SIGINT", "2"}
    assert set(config["Volumes"]) == {"/var/lib/postgresql"}
    assert set(config["ExposedPorts"]) == {"5432/tcp"}
    assert image.environment == postgres.ENVIRONMENT, "and nothing else helps, PGHOST for one"


def test_its_user_and_folders_are_the_originals(image: Image) -> None:
    users = (image.root / "etc" / "passwd").read_text(encoding="utf-8").splitlines()
    assert "postgres:x:999:999::/var/lib/postgresql:/bin/bash" in users
    for place, mode, owner in (
        ("var/lib/postgresql", 0o1777, 999),
        ("run/postgresql", 0o3777, 999),
        ("docker-entrypoint-initdb.d", 0o755, 0),
    ):
        found = (image.root / place).stat()
        assert (stat.S_IMODE(found.st_mode), found.st_uid, found.st_gid) == (mode, owner, owner), place
        assert not [*(image.root / place).iterdir()]
    assert not (image.root / "usr/lib/postgresql/18/share/extension/vector.control").exists()


def test_the_pod_is_as_strict_as_the_manifest(running: Container) -> None:
    """Or the others would show nothing."""
    status = dict(line.split(":\t", 1) for line in running.exec(["cat", "/proc/1/status"]).stdout.splitlines())
    assert {int(status[f"Cap{name}"], 16) for name in ("Inh", "Prm", "Eff", "Bnd", "Amb")} == {0}
    assert status["NoNewPrivs"] == "1"
    assert (status["Uid"].split(), status["Gid"].split()) == (["999"] * 4, ["999"] * 4)
    assert status["Groups"].split() == ["999"]
    for place in ("/", "/etc", "/var/lib", "/usr/local/bin", "/etc/comanda", "/docker-entrypoint-initdb.d"):
        answer = running.exec(["touch", f"{place}/of-a-test"])
        assert "Read-only file system" in answer.stderr or "Permission denied" in answer.stderr, place
    assert running.exec(["sh", "-c", ": >/usr/of-a-test"]).returncode


def test_its_probes_say_that_it_is_well(running: Container) -> None:
    for name in ("startupProbe", "readinessProbe", "livenessProbe"):
        answer = running.exec(CONTAINER[name]["exec"]["command"])
        assert answer.returncode == 0, (name, answer)


def test_a_disk_is_prepared_once_and_its_users_have_their_rights(prepared: Pod, running: Container) -> None:
    assert prepared.said().count("the disk is prepared; the server starts") == 1
    assert prepared.said().count("not prepared again") >= 1
    roles = sql(
        running,
        "SELECT rolname, rolcanlogin, rolsuper, rolconnlimit, left(rolpassword, 14), pg_has_role(oid, 'comanda_app',"
        " 'member'), pg_has_role(oid, 'pg_monitor', 'member') FROM pg_authid WHERE rolname !~ '^pg_' ORDER BY 1;",
    )
    assert roles.splitlines() == [
        "comanda_api_a|t|f|-1|SCRAM-SHA-256$|t|f",
        "comanda_api_b|t|f|-1|SCRAM-SHA-256$|t|f",
        "comanda_app|f|f|-1||t|f",
        "comanda_metrics|t|f|5|SCRAM-SHA-256$|f|t",
        "comanda_owner|t|f|20|SCRAM-SHA-256$|f|f",
        "postgres|t|t|-1|SCRAM-SHA-256$|t|t",
    ]
    database = "SELECT pg_get_userbyid(datdba), datlocprovider, datlocale, pg_encoding_to_char(encoding)"
    assert sql(running, f"{database} FROM pg_database WHERE datname = 'comanda';") == "comanda_owner|b|C.UTF-8|UTF8"
    assert sql(running, "SHOW data_checksums; SHOW listen_addresses;") == "on\n*"
    assert sql(running, "SELECT count(*) > 0 FROM pg_stat_statements;") == "t"


@pytest.mark.parametrize(
    ("user", "secret", "database", "refusal"),
    [
        ("comanda_owner", "OWNER", "comanda", None),
        ("comanda_api_a", "API_A", "comanda", None),
        ("comanda_api_b", "API_B", "comanda", None),
        ("comanda_metrics", "METRICS", "postgres", None),
        ("comanda_owner", "API_A", "comanda", "password authentication failed"),
        ("comanda_api_a", "API_A", "postgres", "no pg_hba.conf entry"),
        ("postgres", "SUPERUSER", "comanda", "no pg_hba.conf entry"),
    ],
)
def test_who_comes_by_the_network(
    running: Container, user: str, secret: str, database: str, refusal: str | None
) -> None:
    answer = by_network(running, user, secret, database, "SELECT 1")
    if refusal is None:
        assert answer.returncode == 0, answer.stderr
    else:
        assert answer.returncode
        assert refusal in answer.stderr


def test_who_reads_the_statistics_reads_no_password(running: Container) -> None:
    """They are of the first start too, in which the users were made (pg_stat_statements.track_utility)."""
    sql(running, "CREATE ROLE passing PASSWORD 'not to be seen'; DROP ROLE passing; SELECT 'to be seen' AS seen;")
    read = by_network(running, "comanda_metrics", "METRICS", "comanda", "SELECT query FROM pg_stat_statements")
    assert "SELECT $1 AS seen" in read.stdout, read
    assert "PASSWORD" not in read.stdout


def test_a_first_start_that_was_interrupted_is_told_of_and_no_other(make: Make, tmp_path: Path) -> None:
    pod = with_scripts(make(), tmp_path, {}, arguments=CONTAINER["args"])
    with pod.start() as container:
        container.until(lambda: container.exec(CONTAINER["livenessProbe"]["exec"]["command"]).returncode == 0)
        probe = CONTAINER["startupProbe"]["exec"]["command"]
        container.until(lambda: container.exec(["pg_isready", "--quiet", "--host=127.0.0.1"]).returncode == 0)
        told = container.exec(probe)
        assert told.returncode == 1
        assert "kubectl delete pod,pvc --namespace comanda-db" in told.stdout
        sql(container, "CREATE ROLE comanda_owner;", database="postgres")
        assert container.exec(probe).returncode == 0
        container.stop(signal.SIGINT)


def test_no_password_stays_behind(prepared: Pod, running: Container) -> None:
    assert "POSTGRES_PASSWORD" not in running.environment()
    assert not {"PGPASSWORD", "POSTGRES_PASSWORD_FILE"} & set(running.environment())
    secrets = [each.encode() for each in SECRETS.values()]
    places = [mount.source for mount in prepared.mounts if mount.source and mount.place != "/run/secrets/database"]
    for file in (prepared.log, *(file for place in places for file in place.rglob("*") if file.is_file())):
        content = file.read_bytes()
        assert not [secret for secret in secrets if secret in content], file


def test_a_restart_and_a_kill_keep_the_data(prepared: Pod) -> None:
    with prepared.start() as container:
        ready(container)
        sql(container, "CREATE TABLE kept (n int); INSERT INTO kept SELECT generate_series(1, 1000);")
        assert container.stop(signal.SIGTERM) == 0
    assert prepared.said().rstrip().endswith("database system is shut down")
    with prepared.start() as container:
        ready(container)
        assert sql(container, "SELECT count(*) FROM kept;") == "1000"
        sql(container, "INSERT INTO kept VALUES (1001);")
        assert container.stop(signal.SIGKILL)
    before = len(prepared.said())
    with prepared.start() as container:
        ready(container)
        assert "automatic recovery in progress" in prepared.said()[before:]
        assert sql(container, "SELECT count(*) FROM kept; DROP TABLE kept;").splitlines()[0] == "1001"
        assert container.stop(signal.SIGINT) == 0


def test_the_signal_that_ends_a_pod_does_not_wait_for_its_clients(prepared: Pod) -> None:
    """SIGTERM would, to the end of the grace period: so the image names another."""
    with prepared.start() as container:
        ready(container)
        client = container.background(["psql", "--username=postgres", "--dbname=comanda", "-c", "SELECT pg_sleep(600)"])
        active = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep%' AND state = 'active';"
        container.until(lambda: sql(container, active) == "1")
        container.send(signal.SIGTERM)
        container.until(lambda: "received smart shutdown request" in prepared.said())
        assert container.process.poll() is None
        assert container.stop(signal.Signals[prepared.image.config["StopSignal"]]) == 0
        client.communicate(timeout=10)
        assert client.returncode


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({"POSTGRES_PASSWORD_FILE": None}, "the first user has no password"),
        ({"POSTGRES_PASSWORD_FILE": None, "POSTGRES_HOST_AUTH_METHOD": "md5"}, "the first user has no password"),
        ({"POSTGRES_PASSWORD": "a"}, "both POSTGRES_PASSWORD and POSTGRES_PASSWORD_FILE are set"),
        ({"POSTGRES_DB_FILE": "/etc/passwd"}, "both POSTGRES_DB and POSTGRES_DB_FILE are set"),
        ({"POSTGRES_PASSWORD_FILE": "/run/secrets/none"}, "/run/secrets/none: No such file or directory"),
        ({"POSTGRES_INITDB_ARGS": "--no-such-thing"}, "unrecognized option '--no-such-thing'"),
    ],
)
def test_what_is_refused_leaves_the_disk_empty(make: Make, environment: dict[str, str | None], message: str) -> None:
    pod = make(**environment)
    assert pod.run_to_its_end() == 1
    assert message in pod.said()
    assert not [*pod.source_of(DISK).rglob("PG_VERSION")]


def test_what_is_set_wrong_is_refused_on_a_prepared_disk_too(prepared: Pod) -> None:
    wrong = dataclasses.replace(prepared, environment={**prepared.environment, "POSTGRES_PASSWORD": "a"})
    assert wrong.run_to_its_end() == 1
    assert (
        prepared.said()
        .rstrip()
        .endswith("both POSTGRES_PASSWORD and POSTGRES_PASSWORD_FILE are set: only one of them may be")
    )


def test_a_volume_or_data_at_an_older_versions_place_is_refused(make: Make, tmp_path: Path) -> None:
    pod = make()
    old = pod.without(DISK, Mount(pod.source_of(DISK), f"{DISK}/data"))
    assert old.run_to_its_end() == 1
    assert old.said().rstrip().endswith("elsewhere: the volume at /var/lib/postgresql/data")
    assert not [*pod.source_of(DISK).iterdir()]

    pod = make()
    before = pod.source_of(DISK) / "17" / "docker"
    before.mkdir(parents=True)
    (before / "PG_VERSION").write_text("17\n", encoding="utf-8")
    assert pod.run_to_its_end() == 1
    assert pod.said().rstrip().endswith("elsewhere: /var/lib/postgresql/17/docker")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--version"], f"postgres (PostgreSQL) {postgres.RELEASE}"),
        (["postgres", "--help"], "postgres is the PostgreSQL server."),
        (
            ["sh", "-c", "echo $(id -un) $HOME $LANG; locale"],
            "postgres /var/lib/postgresql en_US.utf8\nLANG=en_US.utf8\n",
        ),
    ],
)
def test_other_commands_and_questions_prepare_nothing(make: Make, arguments: list[str], said: str) -> None:
    pod = dataclasses.replace(make(POSTGRES_PASSWORD_FILE=None), arguments=arguments)
    assert pod.run_to_its_end() == 0, pod.said()
    assert pod.said().startswith(said)
    assert "Cannot set" not in pod.said(), "its locale is there"
    assert not [*pod.source_of(DISK).iterdir()]


def test_a_user_without_a_name_is_served_too(make: Make) -> None:
    pod = make(POSTGRES_INITDB_ARGS="--no-sync", POSTGRES_DB="nameless")
    spec = {**SPEC, "securityContext": {**SPEC["securityContext"], "runAsUser": 12345}}
    pod = dataclasses.replace(pod.without(SCRIPTS), spec=spec, arguments=["postgres"])
    with pod.start() as container:
        up = ["pg_isready", "--quiet", "--host=127.0.0.1", "--username=postgres"]
        container.until(lambda: container.exec(up).returncode == 0)
        assert sql(container, "SELECT current_database();", database="nameless") == "nameless"
        assert container.exec(["id", "-u"]).stdout == "12345\n"
        assert not [*(pod.folder / "volumes" / "tmp").iterdir()], "the list of users that initdb was shown is gone"
        assert container.stop(signal.SIGINT) == 0


EXECUTED = """#!/bin/bash -e
search() { grep --fixed-strings --file=<(printf '%s\\n' "$POSTGRES_PASSWORD") --files-with-matches "$@" || true; }
[ "$(search /proc/self/environ)" = /proc/self/environ ]
[ -z "$(search /proc/[0-9]*/cmdline)" ]
[ -z "$(search --recursive /tmp "$PGDATA")" ]
# 0A: who listens.
[ -z "$(grep ' 0A ' /proc/net/tcp /proc/net/tcp6)" ]
psql --username "$POSTGRES_USER" --dbname "$POSTGRES_DB" -c 'CREATE TABLE by_executed ()'
"""


def test_scripts_and_settings_beyond_the_manifest(make: Make, tmp_path: Path) -> None:
    scripts = {
        "1.sh": EXECUTED.encode(),
        "2.sh": b"docker_process_sql -c 'CREATE TABLE by_sourced ()'; of_nobody=$of_nobody",
        "3.sql": b"CREATE TABLE by_sql ();",
        "4.sql.gz": gzip.compress(b"CREATE TABLE by_gz ();"),
        "5.sql.xz": lzma.compress(b"CREATE TABLE by_xz ();"),
        "6.sql.zst": zst(b"CREATE TABLE by_zst ();"),
        "7.txt": b"CREATE TABLE by_txt ();",
    }
    pod = make(
        POSTGRES_USER="chef",
        POSTGRES_DB="Bom Dia",
        POSTGRES_INITDB_ARGS="--no-sync --set 'log_line_prefix=a  \"b\"'",
        POSTGRES_INITDB_WALDIR="/var/lib/postgresql/wal of it",
        POSTGRES_HOST_AUTH_METHOD="password",
    )
    pod = with_scripts(pod, tmp_path, scripts, arguments=["-c", "cluster_name=of  'it'", "--max_connections=21"])
    (tmp_path / "1.sh").chmod(0o755)
    with pod.start() as container:
        container.until(
            lambda: container.exec(["pg_isready", "--quiet", "--host=127.0.0.1", "--username=chef"]).returncode == 0
        )

        def asked(statement: str) -> list[str]:
            return sql(container, statement, user="chef", database="Bom Dia").splitlines()

        assert asked("SELECT relname FROM pg_class WHERE relname LIKE 'by\\_%' ORDER BY 1;") == [
            *("by_executed", "by_gz", "by_sourced", "by_sql", "by_xz", "by_zst")
        ]
        assert asked("SHOW max_connections; SHOW cluster_name;") == ["21", "of  'it'"]
        assert asked("SHOW unix_socket_directories;") == ["/var/run/postgresql"]
        assert asked("SHOW log_line_prefix;") == ['a  "b"']
        assert asked("SELECT rolname FROM pg_roles WHERE rolsuper;") == ["chef"]
        database = "SELECT datcollate, datlocprovider, pg_encoding_to_char(encoding) FROM pg_database"
        assert set(asked(f"{database};")) == {"en_US.utf8|c|UTF8"}, "as LANG says"
        assert container.exec(["test", "-d", "/var/lib/postgresql/wal of it/archive_status"]).returncode == 0
        hba = container.exec(["tail", "--lines=1", f"{postgres.ENVIRONMENT['PGDATA']}/pg_hba.conf"])
        assert hba.stdout == "host all all all password\n"
        assert container.stop(signal.SIGINT) == 0
    assert "at /docker-entrypoint-initdb.d/7.txt\nstand-in for postgres: which is left alone" in pod.said()


def test_a_script_that_fails_ends_it(make: Make, tmp_path: Path) -> None:
    pod = make(POSTGRES_INITDB_ARGS="--no-sync", POSTGRES_PASSWORD_FILE=None, POSTGRES_HOST_AUTH_METHOD="trust")
    scripts = {"1.sql": b"SELECT 1/0;\nCREATE TABLE of_nobody ();", "2.sql": b"SELECT 'not reached';"}
    pod = with_scripts(pod, tmp_path, scripts, arguments=["postgres"])
    assert pod.run_to_its_end() == 3, "which is psql's"
    assert "whoever reaches the port needs no password" in pod.said()
    assert "division by zero" in pod.said()
    assert "2.sql" not in pod.said()
