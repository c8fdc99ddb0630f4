"""Migrations: plain SQL files, applied in order, once, by one process at a time.

Every file runs in a transaction of its own with short lock and statement time-outs, so that it gives up rather than
queue the whole diner behind it. Each must be compatible with the version of the code that is still running
(docs/decisions/0003-migrations.md).
"""

import asyncio
import hashlib
import random
from importlib.resources import files
from importlib.resources.abc import Traversable

import asyncpg

from comanda.database.pool import Connection

# Any constant will do, as long as every process uses the same one.
ADVISORY_LOCK = 7_260_411_902_881
LOCK_TIMEOUT_MS = 3_000
STATEMENT_TIMEOUT_MS = 60_000
TRIES = 5
REST_SECONDS = (0.5, 2.0)
APPLICATION_ROLE = "comanda_app"

LEDGER = """
CREATE TABLE IF NOT EXISTS schema_migrations (
    name text PRIMARY KEY,
    checksum text NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT now()
)
"""


class MigrationError(Exception):
    """The database cannot be brought to this version; one line that says why."""


def migrations() -> list[tuple[str, str]]:
    """Answer the shipped migrations as (name, SQL), in the order in which they are applied."""
    folder = files("comanda.database").joinpath("migrations")
    shipped: list[Traversable] = [entry for entry in folder.iterdir() if entry.name.endswith(".sql")]
    return [(entry.name, entry.read_text()) for entry in sorted(shipped, key=lambda entry: entry.name)]


def grants() -> str:
    """Answer the SQL that says what the role of API and worker may do."""
    return files("comanda.database").joinpath("grants.sql").read_text()


def checksum(sql: str) -> str:
    """Answer what tells an edited migration from the one that was applied."""
    return hashlib.sha256(sql.encode()).hexdigest()


async def migrate(dsn: str, *, wait_seconds: int = 120) -> int:
    """Bring the database at `dsn` (its owner's URL) to this version.

    Safe to call from many processes at once: one migrates under an advisory lock, the others wait for it and then
    find nothing to do. A lock that a running query holds is waited for in short tries.

    Args:
        dsn: PostgreSQL URL of the user who owns the tables.
        wait_seconds: how long to wait in all, for another process or for busy tables.

    Returns:
        How many migrations were applied. 0 for a database that is newer than this code, as after a rollback, which
        is left as it is.

    Raises:
        MigrationError: an applied migration was edited, the database has another history than this code, a migration
            failed, or the wait ran out.
    """
    connection = await asyncpg.connect(
        # Waiting for the lock must not be ended by a time-out that the owner has by default.
        dsn,
        timeout=10,
        server_settings={"application_name": "comanda-migrate", "statement_timeout": "0"},
    )
    try:
        await _lock(connection, wait_seconds)
        return await _apply_missing(connection)
    finally:
        await connection.close(timeout=5)


async def current(connection: Connection) -> bool:
    """Answer whether every shipped migration has been applied to this database. Only reads."""
    try:
        applied = {row["name"] for row in await connection.fetch("SELECT name FROM schema_migrations")}
    except (asyncpg.UndefinedTableError, asyncpg.InsufficientPrivilegeError):
        # Not there, or not yet granted: the first migration is at work.
        return False
    return {name for name, _ in migrations()} <= applied


async def _lock(connection: "asyncpg.Connection[asyncpg.Record]", wait_seconds: int) -> None:
    try:
        async with asyncio.timeout(wait_seconds):
            await connection.execute("SELECT pg_advisory_lock($1)", ADVISORY_LOCK)
    except TimeoutError:
        raise MigrationError(
            f"another process has been migrating for {wait_seconds} s: look at it, then start again"
        ) from None


async def _apply_missing(connection: "asyncpg.Connection[asyncpg.Record]") -> int:
    await connection.execute("SET client_min_messages = warning")
    await connection.execute(LEDGER)
    applied = {
        row["name"]: row["checksum"] for row in await connection.fetch("SELECT name, checksum FROM schema_migrations")
    }
    shipped = migrations()
    for name, sql in shipped:
        if applied.get(name, checksum(sql)) != checksum(sql):
            raise MigrationError(f"{name} was edited after it was applied: restore it and add a new migration")
    missing = [(name, sql) for name, sql in shipped if name not in applied]
    newer = sorted(applied.keys() - {name for name, _ in shipped})
    if newer and missing:
        raise MigrationError(
            f"the database has {newer[0]}, which this version does not know, and lacks {missing[0][0]}: "
            "it was migrated by another line of versions"
        )
    if newer:
        # After a rollback the newer version may still be running: its grants are not ours to take away.
        return 0
    for name, sql in missing:
        # With the last one, so that no version sees its tables without the right to use them.
        await _apply(connection, name, sql, last=name == missing[-1][0])
    if not missing:
        # The role may have been made since.
        async with connection.transaction():
            await _grant(connection)
    return len(missing)


async def _apply(connection: "asyncpg.Connection[asyncpg.Record]", name: str, sql: str, *, last: bool) -> None:
    for attempt in range(1, TRIES + 1):
        try:
            async with connection.transaction():
                await connection.execute(f"SET LOCAL lock_timeout = {LOCK_TIMEOUT_MS}")
                await connection.execute(f"SET LOCAL statement_timeout = {STATEMENT_TIMEOUT_MS}")
                await connection.execute(sql)
                await connection.execute(
                    "INSERT INTO schema_migrations (name, checksum) VALUES ($1, $2)", name, checksum(sql)
                )
                if last:
                    await _grant(connection)
        except asyncpg.LockNotAvailableError:
            if attempt == TRIES:
                raise MigrationError(f"{name}: a table stayed locked through {TRIES} tries; try again later") from None
            await asyncio.sleep(random.uniform(*REST_SECONDS))  # noqa: S311 (jitter, no secret)
        except asyncpg.PostgresError as error:
            # The first line alone: what follows it may quote a guest's row.
            reason = str(error).partition("\n")[0]
            raise MigrationError(f"{name} failed and changed nothing: {reason}") from error
        else:
            return


async def _grant(connection: "asyncpg.Connection[asyncpg.Record]") -> None:
    if await connection.fetchval("SELECT 1 FROM pg_roles WHERE rolname = $1", APPLICATION_ROLE):
        await connection.execute(grants())
