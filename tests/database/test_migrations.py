"""The migrations: once, by one, within bounds; what they make, and what the least-rights role may do with it."""

import asyncio
import os
import re
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from importlib.resources import files
from typing import Any

import asyncpg
import pytest

from comanda.database import migrate as module
from comanda.database.migrate import MigrationError, checksum, current, migrate, migrations
from comanda_local.postgres import EmbeddedPostgres, bin_dir
from tests.conftest import url_of
from tests.processes.pods import eventually

Add = Callable[..., None]
FIRST = migrations()[0][0]


@asynccontextmanager
async def connected(url: str) -> AsyncIterator["asyncpg.Connection[asyncpg.Record]"]:
    """A connection that ends with the block."""
    connection = await asyncpg.connect(url)
    try:
        yield connection
    finally:
        await connection.close(timeout=5)


async def waits(connection: "asyncpg.Connection[asyncpg.Record]", condition: str) -> None:
    """Wait until somebody waits for a lock."""

    async def somebody() -> bool:
        waiting = "SELECT count(*) > 0 FROM pg_locks JOIN pg_database AS d ON d.oid = database"
        return bool(
            await connection.fetchval(f"{waiting} WHERE NOT granted AND d.datname = current_database() AND {condition}")
        )

    await eventually(somebody, "somebody waits for the lock")


@pytest.fixture
def ship(monkeypatch: pytest.MonkeyPatch) -> Add:
    """Ship further migrations, by name, beside those that there are."""
    shipped = migrations()

    def add(**further: str) -> None:
        monkeypatch.setattr(
            module, "migrations", lambda: [*shipped, *((f"{name}.sql", sql) for name, sql in sorted(further.items()))]
        )

    return add


async def test_an_empty_database_is_migrated_once(empty_database: str) -> None:
    async with connected(empty_database) as connection:
        assert not await current(connection)
        assert await migrate(empty_database) == len(migrations())
        assert await current(connection)
        applied = await connection.fetch("SELECT name, checksum FROM schema_migrations ORDER BY name")
        assert [tuple(row) for row in applied] == [(name, checksum(sql)) for name, sql in migrations()]
    assert await migrate(empty_database) == 0


async def test_ten_processes_at_once_migrate_once(empty_database: str) -> None:
    environment = {"PATH": os.environ["PATH"], "MIGRATION_DATABASE_URL": empty_database}
    processes = [
        await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "comanda", "migrate"),
            env=environment,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        for _ in range(10)
    ]
    async with asyncio.timeout(30):
        said = [(await process.communicate())[0].decode().strip() for process in processes]
    assert [process.returncode for process in processes] == [0] * 10
    assert sorted(said) == sorted([f"{len(migrations())} migrations applied", *["nothing to migrate"] * 9])


async def test_who_waits_too_long_for_another_says_so(empty_database: str) -> None:
    async with connected(empty_database) as other:
        await other.execute("SELECT pg_advisory_lock($1)", module.ADVISORY_LOCK)
        with pytest.raises(MigrationError, match="another process has been migrating for 1 s"):
            await migrate(empty_database, wait_seconds=1)
    assert await migrate(empty_database) == len(migrations())


async def test_a_process_that_dies_leaves_no_lock(empty_database: str) -> None:
    async with connected(empty_database) as doomed, connected(empty_database) as other:
        await doomed.execute("SELECT pg_advisory_lock($1)", module.ADVISORY_LOCK)
        waiting = asyncio.create_task(migrate(empty_database))
        await waits(other, "locktype = 'advisory'")
        await other.execute("SELECT pg_terminate_backend($1)", doomed.get_server_pid())
        async with asyncio.timeout(10):
            assert await waiting == len(migrations())


async def test_a_locked_table_is_given_up_clearly_and_taken_later(
    owner_url: str, ship: Add, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LOCK_TIMEOUT_MS", 30)
    monkeypatch.setattr(module, "REST_SECONDS", (0.01, 0.02))
    ship(_9001_locked="CREATE TABLE made_before (id int); ALTER TABLE orders ADD COLUMN later text")
    async with connected(owner_url) as guest:
        async with guest.transaction():
            await guest.execute("LOCK TABLE orders IN ACCESS SHARE MODE")
            with pytest.raises(MigrationError, match=r"^_9001_locked\.sql: a table stayed locked .* try again later$"):
                await migrate(owner_url)
            assert await guest.fetchval("SELECT to_regclass('made_before')") is None
        assert await migrate(owner_url) == 1
        # And one that is freed while we try is waited for.
        ship(_9001_locked="CREATE TABLE made_before (id int); ALTER TABLE orders ADD COLUMN later text",
             _9002_again="ALTER TABLE orders ADD COLUMN later_still text")  # fmt: skip
        monkeypatch.setattr(module, "TRIES", 1000)
        transaction = guest.transaction()
        await transaction.start()
        await guest.execute("LOCK TABLE orders IN ACCESS SHARE MODE")
        waiting = asyncio.create_task(migrate(owner_url))
        await waits(guest, "relation = 'orders'::regclass")
        await transaction.rollback()
        assert await waiting == 1


async def test_a_statement_that_takes_too_long_changes_nothing(
    owner_url: str, ship: Add, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "STATEMENT_TIMEOUT_MS", 50)
    ship(_9001_slow="CREATE TABLE made_before (id int); SELECT pg_sleep(60)")
    with pytest.raises(MigrationError, match=r"_9001_slow\.sql failed and changed nothing: canceling statement"):
        await migrate(owner_url)
    async with connected(owner_url) as connection:
        assert await connection.fetchval("SELECT to_regclass('made_before')") is None
        assert not await current(connection)


async def test_a_wrong_statement_keeps_what_came_before(owner_url: str, ship: Add) -> None:
    ship(_9001_good="CREATE TABLE good (id int)", _9002_bad="CREATE TABLE bad (id nonsense)")
    with pytest.raises(MigrationError, match=r"_9002_bad\.sql failed and changed nothing"):
        await migrate(owner_url)
    async with connected(owner_url) as connection:
        assert await connection.fetchval("SELECT max(name) FROM schema_migrations") == "_9001_good.sql"


async def test_an_edited_migration_is_refused(owner_url: str, ship: Add) -> None:
    ship(_9001_new="CREATE TABLE never_made (id int)")
    async with connected(owner_url) as connection:
        await connection.execute("UPDATE schema_migrations SET checksum = 'other' WHERE name = $1", FIRST)
        with pytest.raises(MigrationError, match=f"{re.escape(FIRST)} was edited after it was applied"):
            await migrate(owner_url)
        assert await connection.fetchval("SELECT to_regclass('never_made')") is None


async def test_an_older_version_leaves_a_newer_database_alone(
    server: EmbeddedPostgres, database: str, owner_url: str, ship: Add, monkeypatch: pytest.MonkeyPatch
) -> None:
    ship(_9001_new="CREATE TABLE newer (id int); GRANT SELECT ON newer TO comanda_app")
    grants = module.grants()
    monkeypatch.setattr(module, "grants", lambda: grants + "GRANT INSERT ON newer TO comanda_app;")
    assert await migrate(owner_url) == 1
    monkeypatch.undo()
    assert await migrate(owner_url) == 0
    async with connected(url_of(server, database, user="app")) as app:
        assert await current(app)
        # What the newer version may do, it still may.
        await app.execute("INSERT INTO newer VALUES (1)")


async def test_two_lines_of_versions_do_not_mix(owner_url: str, ship: Add) -> None:
    async with connected(owner_url) as connection:
        await connection.execute("INSERT INTO schema_migrations (name, checksum) VALUES ('_9000_theirs.sql', 'x')")
    ship(_9001_ours="CREATE TABLE ours (id int)")
    with pytest.raises(MigrationError, match=r"has _9000_theirs\.sql, .* lacks _9001_ours\.sql"):
        await migrate(owner_url)


async def test_a_table_is_never_seen_without_its_rights(
    server: EmbeddedPostgres, template: str, empty_database: str, ship: Add
) -> None:
    """The first pod may ask between any two commits: each must leave it waiting or able to work."""
    least_rights = url_of(server, empty_database.rpartition("/")[2], user="app")
    async with connected(least_rights) as app, connected(empty_database) as owner:
        assert not await current(app)
        await owner.execute(module.LEDGER)
        # The ledger is there, nobody has been granted anything: not an error, a wait.
        assert not await current(app)
        assert await migrate(empty_database) == len(migrations())
        assert await current(app)
        assert await app.fetchval("SELECT count(*) FROM orders") == 0


READ_ONLY = {"schema_migrations"}
APPEND_ONLY = {"order_events", "payment_events", "pickup_days"}
# Of these some columns only: what was ordered and its price stay.
COLUMNS_ONLY = {"orders", "order_items"}
DELETABLE = {"webhook_events", "idempotency_keys"}


async def test_the_least_rights_are_least(database_url: str, owner_url: str) -> None:
    async with connected(owner_url) as owner:
        tables = {row[0] for row in await owner.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")}
    async with connected(database_url) as app:

        async def rights(table: str) -> set[str]:
            verbs = ("SELECT", "INSERT", "UPDATE", "DELETE", "TRUNCATE", "REFERENCES", "TRIGGER", "MAINTAIN")
            return {v for v in verbs if await app.fetchval("SELECT has_table_privilege($1, $2)", table, v)}

        for table in sorted(tables):
            expected = {"SELECT"}
            if table not in READ_ONLY:
                expected.add("INSERT")
            if table not in READ_ONLY | APPEND_ONLY | COLUMNS_ONLY:
                expected.add("UPDATE")
            if table in DELETABLE:
                expected.add("DELETE")
            assert await rights(table) == expected, table
        for statement in (
            "CREATE TABLE mine (id int)",
            "DROP TABLE orders",
            "ALTER TABLE orders DISABLE TRIGGER ALL",
            "UPDATE order_events SET actor = 'nobody'",
            "DELETE FROM payments",
            "UPDATE orders SET total_cents = 1",
            "UPDATE order_items SET unit_price_cents = 1",
            "UPDATE order_items SET quantity = 1",
            "SELECT setval('pickup_numbers', 1)",
            "CREATE OR REPLACE FUNCTION guard_payment() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'",
        ):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await app.execute(statement)
        # Numbers are drawn.
        assert await app.fetchval("SELECT nextval('pickup_numbers')") > 0


async def test_not_even_the_owner_changes_history(owner_url: str) -> None:
    async with connected(owner_url) as owner:
        for table in ("order_events", "payment_events"):
            for statement in (f"UPDATE {table} SET actor = ''", f"DELETE FROM {table}", f"TRUNCATE {table}"):
                with pytest.raises(asyncpg.CheckViolationError, match="append-only"):
                    await owner.execute(statement)


async def test_the_readable_schema_is_what_the_migrations_make(
    server: EmbeddedPostgres, owner_url: str, empty_database: str
) -> None:
    async with connected(empty_database) as connection:
        await connection.execute(files("comanda.database").joinpath("schema.sql").read_text())
    made, readable = await asyncio.gather(*(asyncio.to_thread(dumped, url) for url in (owner_url, empty_database)))
    assert sorted(made - readable) == sorted(readable - made) == []
    assert any(statement.startswith("CREATE TRIGGER") for statement in made)


def dumped(url: str) -> set[str]:
    """Answer a database's schema as statements, but for the order of statements and of a table's columns."""
    words = [str(bin_dir() / "pg_dump"), "--schema-only", "--no-owner", "--no-privileges", "--restrict-key=x", url]
    done = subprocess.run(words, capture_output=True, text=True, check=False, env={"PATH": os.environ["PATH"]})
    assert done.returncode == 0, done.stderr.replace(url, "URL")
    lines = [line for line in done.stdout.splitlines() if line and not line.startswith(("--", "SET ", "\\"))]
    statements = re.split(r";\n(?=[A-Z])", "\n".join(lines))
    return {normalised(statement) for statement in statements}


def normalised(statement: str) -> str:
    """Sort the columns and constraints of a table: a column that a later migration adds comes last there."""
    if not statement.startswith("CREATE TABLE"):
        return statement
    head, *columns, tail = statement.splitlines()
    return "\n".join([head, *sorted(column.strip().rstrip(",") for column in columns), tail])


async def test_no_migration_takes_time_from_the_database() -> None:
    for name, sql in migrations():
        assert not re.search(r"\bnow\(\)|current_timestamp|clock_timestamp", sql, re.IGNORECASE), name


def test_migrations_are_named_in_their_order() -> None:
    names: list[Any] = [name for name, _ in migrations()]
    assert all(re.fullmatch(r"\d{4}_[a-z0-9_]+\.sql", name) for name in names)
    assert [int(name[:4]) for name in names] == list(range(1, len(names) + 1))
