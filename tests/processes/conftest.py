"""A sandbox in this process, pods in processes of their own, and a database that both work on."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path

import aiohttp
import asyncpg
import pytest

from comanda.menu.sample import load_menu, sample_menu
from comanda.staff.keys import Role, create_key
from comanda_local.ports import free_port
from comanda_sandbox.running import RunningSandbox, running_sandbox
from tests.processes.pods import Pod, pods


@pytest.fixture
def api_port() -> int:
    """The port of this test's API, known before it starts: the sandbox sends its webhooks there."""
    return free_port()


@pytest.fixture
async def sandbox(api_port: int, tmp_path: Path) -> AsyncIterator[RunningSandbox]:
    """The Pix sandbox, with its ledger to judge by."""
    webhook_url = f"http://127.0.0.1:{api_port}/v1/webhooks/mercado-pago"
    async with running_sandbox(webhook_url=webhook_url, ledger=tmp_path / "ledger") as running:
        yield running


@pytest.fixture
async def start() -> AsyncIterator[Callable[..., Awaitable[Pod]]]:
    """Start a pod: `await start("serve", environment(...))`."""
    async with pods() as starting:
        yield starting


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    """An HTTP client that asks every time on a new connection, as guests do."""
    connector = aiohttp.TCPConnector(force_close=True)
    async with aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=30)) as client:
        yield client


async def stock(owner_url: str) -> str:
    """Load the sample menu and make a staff key; answer it."""
    connection = await asyncpg.connect(owner_url)
    try:
        now = datetime.now(UTC)
        await load_menu(connection, sample_menu(), now)
        return await create_key(connection, name="test", role=Role.STAFF, now=now)
    finally:
        await connection.close()


@pytest.fixture
async def staff_key(owner_url: str) -> str:
    """A staff key of a database that has the sample menu."""
    return await stock(owner_url)


@pytest.fixture
async def rows(owner_url: str) -> AsyncIterator["asyncpg.Connection[asyncpg.Record]"]:
    """A look into the database."""
    connection = await asyncpg.connect(owner_url)
    yield connection
    async with asyncio.timeout(5):
        await connection.close()
