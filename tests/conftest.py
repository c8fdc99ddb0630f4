"""What every test may ask for: a real PostgreSQL, a database of its own, and a whole diner on it."""

import asyncio
import os
import random
import signal
from collections.abc import AsyncIterator, Iterator
from itertools import count
from pathlib import Path

import asyncpg
import pytest

from comanda.database.migrate import migrate
from comanda.database.pool import Connection
from comanda_local.postgres import EmbeddedPostgres
from tests.running_diner import Diner, running_diner

_numbers = count(1)

# Tests bring their own of everything; what the machine's owner has set for real must not reach them.
for _name in ("DATABASE_URL", "MIGRATION_DATABASE_URL", "KUBECONFIG", "AWS_PROFILE", "AWS_ACCESS_KEY_ID"):
    os.environ.pop(_name, None)

# A shell that runs us in the background has us ignore Ctrl-C, and nohup hang-ups. What tests start would inherit that,
# for good: it would not end, and a shell could not even trap it (POSIX, Shell & Utilities, 2.15 trap).
for _number, _handler in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, lambda *_: None)):
    if signal.getsignal(_number) is signal.SIG_IGN:
        signal.signal(_number, _handler)


def pytest_report_header() -> str:
    """Say the seed of all random input, so that a failure can be had again: SEED=… make test."""
    return f"seed: {seed()}"


def seed() -> int:
    """Answer the seed of this run; the same in every test process."""
    given = os.environ.get("SEED")
    if given is None:
        given = os.environ["SEED"] = str(random.SystemRandom().randrange(2**32))
    return int(given)


@pytest.fixture
def chance(request: pytest.FixtureRequest) -> random.Random:
    """Dice for one test, the same for the same seed."""
    return random.Random(f"{seed()} {request.node.nodeid}")


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedPostgres]:
    """A PostgreSQL of this test process's own. It need not outlive it, so it does not sync."""
    with EmbeddedPostgres(
        tmp_path_factory.mktemp("postgres") / "data", fsync=False, settings={"max_connections": 200}
    ) as running:
        yield running


@pytest.fixture(scope="session")
def template(server: EmbeddedPostgres) -> str:
    """The name of a database that the migrations have made, to copy from."""

    async def make() -> None:
        connection = await asyncpg.connect(server.superuser_url)
        try:
            await make_users(connection)
            await connection.execute("CREATE DATABASE template_comanda")
        finally:
            await connection.close()
        await migrate(url_of(server, "template_comanda"))

    asyncio.run(make())
    return "template_comanda"


async def make_users(connection: Connection) -> None:
    """Make the role that API and worker have, and a user of it whose password is its name."""
    await connection.execute("CREATE ROLE comanda_app NOLOGIN")
    await connection.execute("CREATE ROLE app LOGIN PASSWORD 'app' IN ROLE comanda_app")


def url_of(server: EmbeddedPostgres, database: str, *, user: str | None = None) -> str:
    """Answer the URL of a database, as its owner or as another user whose password is its name."""
    if user is None:
        return server.superuser_url.rpartition("/")[0] + f"/{database}"
    return server.url(user, user, database)


@pytest.fixture
async def empty_database(server: EmbeddedPostgres) -> AsyncIterator[str]:
    """The owner's URL of a database without anything in it."""
    async with fresh_database(server, "") as url:
        yield url


@pytest.fixture
async def database(server: EmbeddedPostgres, template: str) -> AsyncIterator[str]:
    """The name of a migrated database of this test's own."""
    async with fresh_database(server, template) as url:
        yield url.rpartition("/")[2]


@pytest.fixture
def database_url(server: EmbeddedPostgres, database: str) -> str:
    """The URL of a migrated database of this test's own, with the rights that API and worker have."""
    return url_of(server, database, user="app")


@pytest.fixture
def owner_url(server: EmbeddedPostgres, database: str) -> str:
    """The owner's URL of the same database."""
    return url_of(server, database)


@pytest.fixture
async def diner(database_url: str, chance: random.Random, tmp_path: Path) -> AsyncIterator[Diner]:
    """A diner with its API on a real port, its worker's loops to be turned by hand, and the Pix sandbox."""
    async with running_diner(database_url, chance, ledger=tmp_path / "ledger") as running:
        yield running


class fresh_database:  # noqa: N801 (read as `async with fresh_database(...)`)
    """A database of one block's own: empty, or a copy of `template`. Answers its owner's URL."""

    def __init__(self, server: EmbeddedPostgres, template: str) -> None:
        self._server = server
        self._template = template
        self._name = f"test_{next(_numbers)}"

    async def __aenter__(self) -> str:
        template = f" TEMPLATE {self._template}" if self._template else ""
        await self._execute(f"CREATE DATABASE {self._name}{template}")
        return url_of(self._server, self._name)

    async def __aexit__(self, *_: object) -> None:
        await self._execute(f"DROP DATABASE {self._name} WITH (FORCE)")

    async def _execute(self, statement: str) -> None:
        connection = await asyncpg.connect(self._server.superuser_url)
        try:
            await connection.execute(statement)
        finally:
            await connection.close()
