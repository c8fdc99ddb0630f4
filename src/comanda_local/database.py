"""The database behind `make run`: roles, schema, sample menu and keys, whichever PostgreSQL it is."""

import asyncio
from datetime import UTC, datetime
from urllib.parse import urlsplit

import asyncpg

from comanda.database.migrate import APPLICATION_ROLE, MigrationError, migrate
from comanda.errors import Conflict
from comanda.menu.sample import load_menu, sample_menu
from comanda.staff.keys import Role, ensure_key, hash_key
from comanda_local.errors import LocalError
from comanda_local.folder import Secrets
from comanda_local.postgres import MAJOR, EmbeddedPostgres

DATABASE = "comanda"
OWNER = "comanda_owner"
API_USER = "comanda_api"
METRICS_USER = "comanda_metrics"
CONNECT_TIMEOUT_SECONDS = 5


def prepare_embedded(postgres: EmbeddedPostgres, secrets: Secrets) -> str:
    """Fill the embedded database, and answer the URL with least rights that API and worker use."""
    asyncio.run(make_roles(postgres.superuser_url, secrets))
    _fill(postgres.url(OWNER, secrets.owner_password, DATABASE), secrets)
    return postgres.url(API_USER, secrets.api_password, DATABASE)


def prepare_given(database_url: str, migration_url: str, secrets: Secrets) -> str:
    """Fill a database that somebody else runs, and answer its URL for API and worker.

    Raises:
        LocalError: it cannot be reached, refuses us, is too old, or lets us make no tables. The line names
        host and
            port, never the password.
    """
    for name, url in (("DATABASE_URL", database_url), ("MIGRATION_DATABASE_URL", migration_url)):
        asyncio.run(_check_reachable(name, url))
    _fill(migration_url, secrets)
    return database_url


def _fill(url: str, secrets: Secrets) -> None:
    try:
        asyncio.run(_migrate_and_load(url, secrets))
    except MigrationError as error:
        raise LocalError(f"the schema cannot be brought up to date: {error}") from None
    except asyncpg.InsufficientPrivilegeError as error:
        raise LocalError(f"the database refuses ({error}): give the owner's URL as MIGRATION_DATABASE_URL") from None
    except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as error:
        raise LocalError(f"the database {_place(url)} failed while it was filled: {error}") from None


async def _migrate_and_load(url: str, secrets: Secrets) -> None:
    await migrate(url)
    connection = await asyncpg.connect(url, timeout=CONNECT_TIMEOUT_SECONDS)
    try:
        now = datetime.now(UTC)
        await load_menu(connection, sample_menu(), now)
        for role, key in ((Role.STAFF, secrets.staff_key), (Role.MANAGER, secrets.manager_key)):
            # Named after the key: another clone that shares the database has keys of its own.
            name = f"make run, {role}, {hash_key(key).hex()[:8]}"
            try:
                await ensure_key(connection, name=name, role=role, key=key, now=now)
            except Conflict:
                raise LocalError(
                    f"the {role} key in .comanda/secrets.json was revoked: remove that line for a new one"
                ) from None
    finally:
        await connection.close(timeout=5)


async def make_roles(superuser_url: str, secrets: Secrets) -> None:
    """Make or mend the roles and the database. Idempotent; passwords are set anew in case the kept ones
    changed.
    """
    connection = await asyncpg.connect(superuser_url, timeout=CONNECT_TIMEOUT_SECONDS)
    try:
        roles = {row["rolname"] for row in await connection.fetch("SELECT rolname FROM pg_roles")}
        if APPLICATION_ROLE not in roles:
            await connection.execute(f"CREATE ROLE {APPLICATION_ROLE} NOLOGIN")
        for role, password in ((OWNER, secrets.owner_password), (API_USER, secrets.api_password)):
            await _make_user(connection, role, password)
        await connection.execute(f"GRANT {APPLICATION_ROLE} TO {API_USER}")
        if not await connection.fetchval("SELECT true FROM pg_database WHERE datname = $1", DATABASE):
            await connection.execute(f"CREATE DATABASE {DATABASE} OWNER {OWNER}")
        await connection.execute(f"REVOKE ALL ON DATABASE {DATABASE} FROM PUBLIC")
        await connection.execute(f"GRANT CONNECT ON DATABASE {DATABASE} TO {APPLICATION_ROLE}")
    finally:
        await connection.close(timeout=5)


async def make_metrics_user(superuser_url: str, password: str) -> None:
    """Make or mend the user of PostgreSQL's exporter, who may look at statistics alone: as users.sql of the
    manifests (4-db-stateful-set.yaml) has it. Idempotent; the database is there.
    """
    connection = await asyncpg.connect(superuser_url, timeout=CONNECT_TIMEOUT_SECONDS)
    try:
        await _make_user(connection, METRICS_USER, password)
        await connection.execute(f"ALTER ROLE {METRICS_USER} CONNECTION LIMIT 5")
        await connection.execute(f"GRANT pg_monitor TO {METRICS_USER}")
        await connection.execute(f"GRANT CONNECT ON DATABASE {DATABASE} TO {METRICS_USER}")
    finally:
        await connection.close(timeout=5)


async def _make_user(connection: "asyncpg.Connection[asyncpg.Record]", role: str, password: str) -> None:
    is_there = await connection.fetchval("SELECT true FROM pg_roles WHERE rolname = $1", role)
    quoted = await connection.fetchval("SELECT quote_literal($1::text)", password)
    await connection.execute(f"{'ALTER' if is_there else 'CREATE'} ROLE {role} LOGIN PASSWORD {quoted}")


async def _check_reachable(name: str, url: str) -> None:
    where = f"the database {_place(url)} of {name}"
    try:
        connection = await asyncpg.connect(url, timeout=CONNECT_TIMEOUT_SECONDS)
    except (asyncpg.InvalidPasswordError, asyncpg.InvalidAuthorizationSpecificationError):
        raise LocalError(f"{where} refuses this user or password: correct {name}") from None
    except asyncpg.InvalidCatalogNameError:
        raise LocalError(f"{where} does not exist on that server: create it, or correct {name}") from None
    except asyncpg.ClientConfigurationError:
        raise LocalError(
            f"{name} is not a database's URL: give postgresql://USER:PASSWORD@HOST:PORT/DATABASE"
        ) from None
    except TimeoutError:
        raise LocalError(f"{where} did not answer within {CONNECT_TIMEOUT_SECONDS} s: {_mend(name)}") from None
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        raise LocalError(f"{where} cannot be reached ({_reason(error)}): {_mend(name)}") from None
    try:
        if connection.get_server_version().major < int(MAJOR):
            raise LocalError(f"{where} is PostgreSQL {connection.get_server_version().major}: {MAJOR} is needed")
    finally:
        await connection.close(timeout=5)


def _mend(name: str) -> str:
    return f"start it or correct {name}; without DATABASE_URL, make run brings its own"


def _reason(error: Exception) -> str:
    if isinstance(error, ConnectionRefusedError):
        return "connection refused"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error).splitlines()[0] if str(error) else type(error).__name__


def _place(url: str) -> str:
    parts = urlsplit(url)
    return f"at {parts.hostname or 'localhost'}:{parts.port or 5432}"
