"""The users of the database may the same, however it is made: one instance, three by CloudNativePG, or Amazon RDS.

On real servers: what the manifests and `users.sql` say is carried out, and PostgreSQL is asked who may what.
"""

import asyncio
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from comanda.database.migrate import migrate
from comanda_deploy.steps.secrets import GENERATED
from comanda_local.postgres import EmbeddedPostgres, bin_dir
from tests.manifests.reading import CLONE, of_kind

USERS = ("comanda_app", "comanda_owner", "comanda_api_a", "comanda_api_b", "comanda_metrics")
DATABASE = "TEMPLATE template0 ENCODING 'UTF8' LOCALE_PROVIDER builtin BUILTIN_LOCALE 'C.UTF-8'"
"""How initdb was told to make databases, in both clusters of our own."""

ROLES = """
    SELECT rolname, rolsuper, rolinherit, rolcreaterole, rolcreatedb, rolcanlogin, rolreplication, rolbypassrls,
           rolconnlimit FROM pg_roles WHERE rolname = ANY (ARRAY[{users}]) ORDER BY 1;
    SELECT held.rolname, holder.rolname FROM pg_auth_members
        JOIN pg_roles held ON held.oid = roleid JOIN pg_roles holder ON holder.oid = member
        WHERE holder.rolname = ANY (ARRAY[{users}]) ORDER BY 1, 2;
    SELECT pg_get_userbyid(datdba), datlocprovider, datlocale FROM pg_database WHERE datname = 'comanda';
    SELECT pg_get_userbyid(nspowner), nspacl FROM pg_namespace WHERE nspname = 'public';
    SELECT extname FROM pg_extension WHERE extname <> 'pg_stat_statements';
""".format(users=", ".join(f"'{user}'" for user in USERS))
RIGHTS = """
    SELECT who || ' ' || what || ' ' || place FROM unnest(ARRAY[{users}]) who,
        unnest(ARRAY['comanda', 'postgres', 'template1']) place, unnest(ARRAY['CONNECT', 'TEMPORARY', 'CREATE']) what
        WHERE has_database_privilege(who, place, what);
""".format(users=", ".join(f"'{user}'" for user in USERS))
OBJECTS = """
    SELECT relname, relkind, pg_get_userbyid(relowner), relacl FROM pg_class
        WHERE relnamespace = 'public'::regnamespace AND relname NOT LIKE 'pg_stat%' ORDER BY 1;
    SELECT * FROM schema_migrations;
    SELECT nspacl FROM pg_namespace WHERE nspname = 'public';
"""


class Server:
    """A PostgreSQL whose users were made in one of the three ways."""

    def __init__(self, postgres: EmbeddedPostgres, passwords: Path) -> None:
        self.postgres = postgres
        self.passwords = passwords

    def run(self, program: str, *words: str, given: bytes = b"", user: str = "postgres", password: str = "") -> bytes:
        """Run one of PostgreSQL's programs against it; answer what it prints."""
        where = ("--host=127.0.0.1", f"--port={self.postgres.port}", f"--username={user}")
        environment = {**os.environ, "PGPASSWORD": password or self.postgres.password}
        ran = subprocess.run(
            [bin_dir() / program, *where, *words], input=given, env=environment, capture_output=True, check=False
        )
        assert ran.returncode == 0, ran.stderr.decode()
        return ran.stdout

    def ask(self, sql: str, database: str = "comanda", user: str = "postgres", password: str = "") -> str:
        """Run some SQL as psql does; answer what it prints."""
        words = ("--no-psqlrc", "--quiet", "--tuples-only", "--no-align", "--set=ON_ERROR_STOP=1", "--file=-")
        sql = sql.replace("/run/secrets/database", str(self.passwords))
        given = sql.encode()
        return self.run("psql", *words, f"--dbname={database}", given=given, user=user, password=password).decode()

    def of_one_instance(self) -> None:
        """As the image of one instance does at its first start."""
        [settings] = [each for each in of_kind("ConfigMap") if each.name == "database"]
        self.ask(f"CREATE DATABASE comanda {DATABASE}", "postgres")
        self.ask(settings.body["data"]["users.sql"])

    def of_three_instances(self) -> None:
        """As CloudNativePG does: its own users and the owner, then our SQL, then the roles that it manages."""
        file = CLONE / "infra" / "overlays" / "ha-database" / "5-db-ha-cluster.yaml"
        spec: Any = yaml.safe_load(file.read_text(encoding="utf-8"))["spec"]
        initdb = spec["bootstrap"]["initdb"]
        self.ask(f"CREATE ROLE {initdb['owner']} LOGIN PASSWORD 'OWNER_PASSWORD'", "postgres")
        self.ask(f"CREATE DATABASE {initdb['database']} OWNER {initdb['owner']} {DATABASE}", "postgres")
        for sql in initdb["postInitApplicationSQL"]:
            self.ask(sql)
        self.ask("CREATE ROLE streaming_replica LOGIN REPLICATION")
        self.ask("CREATE ROLE cnpg_metrics_exporter LOGIN IN ROLE pg_monitor")
        for role in spec["managed"]["roles"]:
            limit = role.get("connectionLimit", -1)
            login = "LOGIN" if role["login"] else "NOLOGIN"
            groups = ", ".join(role["inRoles"])
            self.ask(f"CREATE ROLE {role['name']} {login} CONNECTION LIMIT {limit} IN ROLE {groups}")
        self.ask("CREATE EXTENSION pg_stat_statements")

    def of_rds(self) -> None:
        """As somebody who is no superuser does there, on a server that is AWS's own."""
        self.ask("CREATE ROLE comanda_admin LOGIN CREATEDB CREATEROLE PASSWORD 'master'", "postgres")
        self.ask("GRANT pg_monitor TO comanda_admin WITH ADMIN OPTION", "postgres")
        self.ask("ALTER DATABASE postgres OWNER TO comanda_admin", "postgres")
        sql = (CLONE / "infra" / "overlays" / "rds" / "users.sql").read_text(encoding="utf-8")
        # What AWS lets its master user make beyond what PostgreSQL does.
        extension = "CREATE EXTENSION pg_stat_statements;\n"
        assert extension in sql
        self.ask(sql.replace(extension, ""), "postgres", "comanda_admin", "master")
        self.ask("CREATE EXTENSION pg_stat_statements")

    def rights(self) -> set[str]:
        """Answer who may what with which database."""
        return set(self.ask(RIGHTS).split("\n")) - {""}


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Server]]:
    """One of each."""
    folder = tmp_path_factory.mktemp("rights")
    passwords = folder / "passwords"
    passwords.mkdir()
    for name in GENERATED:
        (passwords / name).write_text(name)
    one, three, rds = (EmbeddedPostgres(folder / name, fsync=False) for name in ("one", "three", "rds"))
    with one, three, rds:
        made = {"one": Server(one, passwords), "three": Server(three, passwords), "rds": Server(rds, passwords)}
        made["one"].of_one_instance()
        made["three"].of_three_instances()
        made["rds"].of_rds()
        assert asyncio.run(migrate(one.url("comanda_owner", "OWNER_PASSWORD", "comanda"))) > 0
        yield made


@pytest.mark.parametrize("other", ["three", "rds"])
def test_users_groups_and_the_database_are_the_same(servers: dict[str, Server], other: str) -> None:
    ours, theirs = (servers[each].ask(ROLES).replace(",comanda_app=U/comanda_owner", "") for each in ("one", other))
    assert theirs == ours


def test_in_three_instances_only_connecting_to_postgres_is_more_and_pg_hba_refuses_it(
    servers: dict[str, Server],
) -> None:
    more = servers["three"].rights() - servers["one"].rights()
    assert more == {f"{user} CONNECT postgres" for user in USERS if user != "comanda_metrics"}
    assert servers["one"].rights() <= servers["three"].rights()


def test_cnpg_s_own_users_may_connect_where_they_must(servers: dict[str, Server]) -> None:
    may = "SELECT has_database_privilege('{}', '{}', 'CONNECT')"
    for user, database in (
        ("streaming_replica", "postgres"),
        ("cnpg_metrics_exporter", "postgres"),
        ("cnpg_metrics_exporter", "comanda"),
    ):
        assert servers["three"].ask(may.format(user, database)) == "t\n", user


def test_on_rds_only_connecting_to_template1_is_more(servers: dict[str, Server]) -> None:
    more = servers["rds"].rights() - servers["one"].rights()
    assert more == {f"{user} CONNECT template1" for user in USERS}
    assert servers["one"].rights() <= servers["rds"].rights()


@pytest.mark.parametrize(
    ("other", "user", "password", "words"),
    [("three", "postgres", "", ["--role=comanda_owner"]), ("rds", "comanda_owner", "OWNER_PASSWORD", [])],
)
def test_the_data_moves_there_and_back_with_its_owner_and_its_grants(
    servers: dict[str, Server], other: str, user: str, password: str, words: list[str]
) -> None:
    """As docs/ha-database.md and docs/rds.md say; twice, since the first time is a rehearsal."""
    one, there = servers["one"], servers[other]
    before = one.ask(OBJECTS)
    dump = ("--format=custom", "--exclude-extension=pg_stat_statements", "--dbname=comanda")
    restore = ["--no-owner", "--clean", "--if-exists", "--exit-on-error", "--single-transaction", "--dbname=comanda"]
    for _ in range(2):
        moved = one.run("pg_dump", *dump)
        there.run("pg_restore", *restore, *words, given=moved, user=user, password=password)
        assert there.ask(OBJECTS) == before
    back = there.run("pg_dump", *dump)
    one.run("pg_restore", *restore, "--role=comanda_owner", given=back)
    assert one.ask(OBJECTS) == before
    assert asyncio.run(migrate(there.postgres.url("comanda_owner", "OWNER_PASSWORD", "comanda"))) == 0
