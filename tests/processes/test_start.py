"""How a pod starts: what it waits for, what it refuses, and what it says then."""

import signal
import socket
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import aiohttp
import asyncpg
import pytest

from comanda.database.migrate import migrate
from comanda_local.ports import free_port
from comanda_local.postgres import EmbeddedPostgres
from tests.conftest import url_of
from tests.processes.pods import Pod, call, environment, eventually

Start = Callable[..., Awaitable[Pod]]


async def test_a_pod_waits_for_the_schema_and_says_so(
    server: EmbeddedPostgres, template: str, empty_database: str, start: Start, session: aiohttp.ClientSession
) -> None:
    name = empty_database.rpartition("/")[2]
    least_rights = url_of(server, name, user="app")
    api, worker = [await start(verb, environment(least_rights)) for verb in ("serve", "worker")]
    for pod in (api, worker):
        assert "comanda migrate" in await pod.hears("waiting for the database")
        assert (await call(session, "GET", f"{pod.ops}/livez")).status == 200
        assert (await call(session, "GET", f"{pod.ops}/readyz")).status == 503
    assert await migrate(empty_database) > 0
    for pod in (api, worker):
        await pod.ready()
        assert (await call(session, "GET", f"{pod.ops}/readyz")).status == 200
    assert (await call(session, "GET", f"{api.url}/readyz")).status == 200
    assert (await call(session, "GET", f"{api.url}/v1/menu")).status == 200
    for pod in (api, worker):
        pod.send(signal.SIGTERM)
    assert [await pod.ends() for pod in (api, worker)] == [0, 0]


async def test_a_pod_waits_for_a_database_that_is_away_and_stops_when_told_to(start: Start) -> None:
    pods = [
        await start(verb, environment(f"postgresql://app:hidden-password@127.0.0.1:{free_port()}/comanda"))
        for verb in ("serve", "worker")
    ]
    for pod in pods:
        assert "does not answer" in await pod.hears("waiting for the database")
        pod.send(signal.SIGTERM)
    assert [await pod.ends() for pod in pods] == [0, 0]


async def test_a_rolled_back_pod_starts_on_a_newer_database(owner_url: str, database_url: str, start: Start) -> None:
    connection = await asyncpg.connect(owner_url)
    await connection.execute("INSERT INTO schema_migrations (name, checksum) VALUES ('9999_later.sql', 'x')")
    await connection.close()
    worker = await start("worker", environment(database_url))
    await worker.ready()
    worker.send(signal.SIGTERM)
    assert await worker.ends() == 0


@dataclass
class Refusal:
    """Settings that a pod cannot start with, and what it must say of them."""

    settings: dict[str, object]
    status: int
    says: str


REFUSALS = {
    "missing secret": Refusal({"MERCADO_PAGO_ACCESS_TOKEN": " "}, 2, "MERCADO_PAGO_ACCESS_TOKEN is not set"),
    "no number": Refusal({"PORT": "eighty"}, 2, "PORT is not valid"),
    "a name": Refusal({"HOST": "localhost"}, 2, "HOST is not valid"),
    "no port": Refusal({"PORT": 0}, 2, "PORT is not valid"),
    "no burst": Refusal({"ORDER_BURST": "often"}, 2, "ORDER_BURST is not valid"),
    "clear token": Refusal({"MERCADO_PAGO_BASE_URL": "http://pay.example.com"}, 2, "MERCADO_PAGO_BASE_URL is not"),
    "no url": Refusal({"DATABASE_URL": "mysql://app:hidden-password@127.0.0.1/x"}, 2, "DATABASE_URL is not valid"),
    "odd url": Refusal(
        {"DATABASE_URL": "postgresql://app:hidden-password/x@127.0.0.1/x"}, 2, "DATABASE_URL is not valid"
    ),
}


@pytest.mark.parametrize("case", REFUSALS.values(), ids=REFUSALS.keys())
async def test_wrong_settings_end_with_status_2_and_one_line(database_url: str, start: Start, case: Refusal) -> None:
    pod = await start("serve", environment(database_url, None, **case.settings))
    assert await pod.ends() == case.status
    [line] = pod.errors
    assert case.says in line


async def test_a_wrong_password_or_database_ends_with_one_line(
    server: EmbeddedPostgres, database_url: str, start: Start
) -> None:
    for url in (
        database_url.replace("app:app", "app:hidden-password"),
        database_url.rpartition("/")[0] + "/nowhere",
    ):
        pod = await start("worker", environment(url))
        assert await pod.ends() == 1
        [line] = pod.errors
        assert "correct DATABASE_URL" in line


@pytest.mark.parametrize("name", ["PORT", "OPS_PORT"])
@pytest.mark.parametrize("shared", [False, True], ids=["taken", "shared"])
async def test_a_taken_port_ends_with_status_1_and_one_line(
    database_url: str, start: Start, name: str, shared: bool
) -> None:
    with socket.socket() as other:
        # What Granian itself does, so that a second API would find the port free and take half of the requests.
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, int(shared))
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        pod = await start("serve", environment(database_url, None, **{name: port}))
        assert await pod.ends() == 1
    [line] = pod.errors
    assert f"127.0.0.1:{port}" in line
    assert f"set {name} to another port" in line


async def test_ready_means_that_the_port_is_open(
    database_url: str, start: Start, session: aiohttp.ClientSession
) -> None:
    api = await start("serve", environment(database_url))

    async def ready() -> bool:
        try:
            return (await call(session, "GET", f"{api.ops}/readyz")).status == 200
        except aiohttp.ClientConnectionError:
            return False

    await eventually(ready, "readiness")
    assert (await call(session, "GET", f"{api.url}/readyz")).status == 200
    # A public port says nothing of what is inside.
    assert (await call(session, "GET", f"{api.url}/metrics")).status == 404
    api.send(signal.SIGINT)
    assert await api.ends() == 0
