"""What nobody expects: a server that ends by itself, a password that changes, an error that quotes a guest's row."""

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable
from uuid import UUID

import asyncpg
import pytest

import comanda.app
import comanda.database.pool
from comanda.app import serve
from comanda.database.pool import close_pool, open_pool
from comanda.http.logs import JsonFormatter
from comanda.process import ProcessError
from comanda.settings import read_settings
from tests.processes.pods import environment, eventually
from tests.running_diner import Diner


async def returns() -> None:
    """What Granian's server does when its worker has died."""


async def raises() -> None:
    """What it does when it cannot begin."""
    raise RuntimeError("something in Rust\n\nStack backtrace:\n   0: <unknown>")


@pytest.mark.parametrize(("end", "reason"), [(returns, "no reason given"), (raises, "something in Rust")])
@pytest.mark.parametrize("opened", [False, True])
async def test_a_server_that_ends_by_itself_ends_the_process(
    database_url: str,
    monkeypatch: pytest.MonkeyPatch,
    end: Callable[[], Awaitable[None]],
    reason: str,
    opened: bool,
) -> None:
    class Server:
        async def serve(self) -> None:
            await end()

    async def is_open(*_: object) -> None:
        """The port was open, once."""

    monkeypatch.setattr(comanda.app, "make_server", lambda *_: Server())
    if opened:
        monkeypatch.setattr(comanda.app, "_until_open", is_open)
    before = asyncio.all_tasks()
    async with asyncio.timeout(10):
        with pytest.raises(ProcessError, match=f"the HTTP server ended by itself: {reason}$"):
            await serve(read_settings(environment(database_url)))
    left = {task.get_name() for task in asyncio.all_tasks() - before}
    assert not left & {"server", "listener", "streams", "watched", "heartbeat"}


async def test_a_changed_password_is_an_outage_that_ends(diner: Diner, owner_url: str) -> None:
    owner = await asyncpg.connect(owner_url)

    async def menu_of_staff() -> int:
        return (await diner.call("GET", f"/v1/orders/{UUID(int=1)}")).status

    try:
        assert await menu_of_staff() == 404
        await owner.execute("ALTER ROLE app PASSWORD 'another'")
        await owner.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE usename = 'app' AND datname = current_database()"
        )

        async def turned_away() -> bool:
            answer = await diner.call("GET", f"/v1/orders/{UUID(int=1)}")
            assert answer.code in {"database_unavailable", "order_not_found"}
            return answer.status == 503

        for _ in range(3):
            await eventually(turned_away, "the outage")
    finally:
        await owner.execute("ALTER ROLE app PASSWORD 'app'")
        await owner.close()

    async def back() -> bool:
        return await menu_of_staff() == 404

    await eventually(back, "the end of the outage")


async def test_a_pool_whose_database_is_gone_closes_all_the_same(database_url: str, owner_url: str) -> None:
    pool = await open_pool(read_settings(environment(database_url)), "test")
    stuck = await pool.acquire()
    query = asyncio.create_task(stuck.execute("SELECT pg_sleep(4)"))
    comanda_close = comanda.database.pool.CLOSE_SECONDS
    comanda.database.pool.CLOSE_SECONDS = 0
    try:
        async with asyncio.timeout(3):
            await close_pool(pool)
    finally:
        comanda.database.pool.CLOSE_SECONDS = comanda_close
    with pytest.raises((asyncpg.PostgresError, asyncpg.InterfaceError, asyncio.CancelledError)):
        await query


async def test_logged_errors_of_the_database_quote_nobody(owner_url: str) -> None:
    connection = await asyncpg.connect(owner_url)
    insert = "INSERT INTO categories (id, name, created_at, updated_at) VALUES ($1, $2, now(), now())"
    guest = "Dona Célia " * 20
    try:
        with pytest.raises(asyncpg.CheckViolationError, match="Dona") as caught:
            await connection.execute(insert, UUID(int=1), guest)
    finally:
        await connection.close()
    with pytest.raises(RuntimeError) as outer:
        raise RuntimeError("a story failed") from caught.value
    record = logging.LogRecord("x", logging.ERROR, "x", 1, "failed", (), (RuntimeError, outer.value, None))
    line = json.loads(JsonFormatter().format(record))
    assert "categories_name_check" in line["exception"]
    assert "Dona" not in line["exception"]
