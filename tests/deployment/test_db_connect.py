"""`db-connect`: a look into the living database that cannot break anything, and a door to change it that asks."""

import asyncio
import json
import os
import subprocess
import sys
from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import pytest

from comanda_deploy import lock
from comanda_deploy.commands import context_of
from comanda_local.postgres import EmbeddedPostgres, bin_dir
from comanda_testbed.bed import TestBed, running_testbed
from tests.deployment.in_use import InUse, pod
from tests.deployment.terminal import typed

VERB = [sys.executable, "-m", "comanda_deploy", "verb", "eks-cluster-mng.sh", "db-connect"]
ONE = "INSERT INTO categories (id, name, created_at, updated_at) VALUES (gen_random_uuid(), 'Pães', now(), now())"
Said = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def bed() -> Iterator[TestBed]:
    with running_testbed() as running:
        yield running


@pytest.fixture
def diner(
    bed: TestBed, server: EmbeddedPostgres, owner_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> InUse:
    """A database's pod, whose psql is a real one on a migrated database."""

    async def make_owner() -> None:
        connection = await asyncpg.connect(owner_url)
        if not await connection.fetchval("SELECT EXISTS (SELECT FROM pg_roles WHERE rolname = 'comanda_owner')"):
            await connection.execute("CREATE ROLE comanda_owner LOGIN")
        await connection.execute("GRANT ALL ON SCHEMA public TO comanda_owner")
        await connection.execute("GRANT ALL ON ALL TABLES IN SCHEMA public TO comanda_owner")
        await connection.close()

    asyncio.run(make_owner())
    there = {"PGHOST": "127.0.0.1", "PGPORT": str(server.port), "PGPASSWORD": server.password}
    made = InUse(tmp_path / "cluster", [pod("database-0", "database")], environment=there)
    made.psql, made.database = f"{bin_dir()}/psql", owner_url.rpartition("/")[2]
    made.begin(bed, monkeypatch.setenv)
    return made


def piped(diner: InUse, statements: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
    diner.save()
    return subprocess.run([*VERB, *arguments], input=statements, capture_output=True, text=True, check=False)


def test_one_statement_is_answered_and_is_on_no_command_line(diner: InUse, capfd: Said) -> None:
    assert diner.does("db-connect", "-c", "SELECT 'secret' AS said, current_user AS whom", "--csv") == 0
    said = capfd.readouterr()
    assert said.out == "said,whom\nsecret,comanda_app\n"
    assert said.err == "Next: infra/scripts/eks-cluster-mng.sh db-connect opens psql\n"
    assert "secret" not in json.dumps(diner.calls)


def test_a_script_gets_a_line_of_json_for_each_row(diner: InUse, capfd: Said) -> None:
    assert diner.does("db-connect", "--json", "-c", "SELECT n, NULL AS none FROM generate_series(1, 2) AS n; ") == 0
    assert [json.loads(line) for line in capfd.readouterr().out.splitlines()] == [
        {"n": 1, "none": None},
        {"n": 2, "none": None},
    ]


def test_nothing_is_changed_by_who_only_looks(diner: InUse, capfd: Said) -> None:
    assert diner.does("db-connect", "-c", ONE) == 1
    [line] = capfd.readouterr().err.splitlines()
    assert "the database refused it: " in line
    assert "read-only transaction" in line
    assert (
        diner.does("db-connect", "-c", "SET default_transaction_read_only = off; ALTER TABLE orders RENAME TO x") == 1
    )
    assert "must be owner" in capfd.readouterr().err, "nor has it the rights"
    assert diner.does("db-connect", "--csv", "-c", "SHOW statement_timeout") == 0
    assert "5min" in capfd.readouterr().out


def test_to_write_is_asked_for_and_done_under_the_lock(diner: InUse, capfd: Said) -> None:
    assert diner.does("db-connect", "--write", "-c", ONE) == 1
    assert "nobody is there to be asked: say --yes" in capfd.readouterr().err
    assert (
        diner.does("db-connect", "--write", "--yes", "--json", "-c", f"{ONE} RETURNING name, current_user AS whom") == 0
    )
    said = capfd.readouterr()
    assert json.loads(said.out) == {"name": "Pães", "whom": "comanda_owner"}
    assert "changed for guests, at once" in said.err
    context = context_of(Namespace(settings=None))
    assert lock.holder_of(context) is None
    holder = lock.take(context, "a restore", stays=True)
    try:
        assert diner.does("db-connect", "--write", "--yes", "-c", "SELECT 1") == 1
        assert "locked by" in capfd.readouterr().err
        assert diner.does("db-connect", "-c", "SELECT 1") == 0, "to look harms nobody"
    finally:
        lock.release(context, holder)


def test_statements_come_by_standard_input(diner: InUse) -> None:
    answer = piped(diner, "SELECT 1 AS one;\nSELECT 2 AS two;\n", "--csv")
    assert (answer.returncode, answer.stdout) == (0, "one\n1\ntwo\n2\n"), answer.stderr
    answer = piped(diner, f"SELECT 1;\n{ONE};\nSELECT 3;\n")
    assert answer.returncode == 1
    assert "2: ERROR" in answer.stderr
    assert "3" not in answer.stdout, "it ends at the first that fails"


def test_of_a_script_that_writes_all_is_done_or_nothing(diner: InUse) -> None:
    answer = piped(diner, f"{ONE};\nSELECT 1/0;\n", "--write", "--yes")
    assert answer.returncode == 1
    assert "division by zero" in answer.stderr
    assert piped(diner, "SELECT count(*) FROM categories;", "--csv").stdout == "count\n0\n"
    assert piped(diner, f"{ONE};\n", "--write", "--yes").returncode == 0
    assert piped(diner, "SELECT count(*) FROM categories;", "--csv").stdout == "count\n1\n"


def test_at_a_terminal_it_is_psql_and_says_how_to_leave(diner: InUse) -> None:
    diner.save()
    dialogue = [
        ("read-only=> ", "SELECT 6 * 7 AS answer;"),
        ("42", "SELECT 1/0;"),
        ("division by zero", "SELECT current_user AS whom;"),
        ("comanda_app", "\\q"),
    ]
    answer = typed(VERB, dialogue, os.environ)
    assert answer.returncode == 0, answer.stdout + answer.stderr
    assert "Leave with \\q." in answer.stdout
    assert answer.stdout.splitlines()[-1] == "Next: comanda-deploy status"
    assert "--tty" in diner.calls[-1]


def test_at_a_terminal_no_is_taken_for_no(diner: InUse) -> None:
    diner.save()
    answer = typed([*VERB, "--write"], [("Go on? [y/N] ", "n")], os.environ)
    assert answer.returncode == 1
    assert "nothing was touched" in answer.stdout
    assert not [call for call in diner.calls if call[0] == "exec"]


def test_whoever_has_seen_enough_may_go(diner: InUse) -> None:
    diner.save()
    many = "SELECT repeat('x', 1000) FROM generate_series(1, 5000)"
    with subprocess.Popen([*VERB, "-c", many], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline()
        process.stdout.close()
        assert process.wait(60) == 0


@pytest.mark.parametrize("wrong", [["--json"], ["--json", "--csv", "-c", "SELECT 1"]])
def test_what_does_not_go_together_is_refused(diner: InUse, capfd: Said, wrong: list[str]) -> None:
    assert diner.does("db-connect", *wrong) == 2
    assert "see db-connect --help" in capfd.readouterr().err


def test_without_a_database_it_says_which_verb_makes_one(diner: InUse, capfd: Said) -> None:
    diner.pods = []
    assert diner.does("db-connect", "-c", "SELECT 1") == 1
    assert "the database is not deployed yet: run infra/scripts/eks-cluster-mng.sh deploy-database" in (
        capfd.readouterr().err
    )
    diner.objects["statefulset.apps/database"] = {"kind": "StatefulSet"}
    assert diner.does("db-connect", "-c", "SELECT 1") == 1
    assert "no pod of database is ready: kubectl get pods --namespace comanda-db" in capfd.readouterr().err
