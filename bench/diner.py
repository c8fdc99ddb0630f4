"""The surroundings of a measurement: PostgreSQL that really syncs, the provider's stub, the real API process."""

import asyncio
import contextlib
import os
import secrets
import shutil
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import asyncpg

from bench.stock import stock_menu
from comanda.clock import utc_now
from comanda.database.migrate import migrate
from comanda.staff.keys import Role, create_key
from comanda_local.child import Child
from comanda_local.ports import free_port
from comanda_local.postgres import EmbeddedPostgres

READY_SECONDS = 30
SOURCES = Path(__file__).parent.parent / "src"


@dataclass
class Diner:
    """What a measurement talks to. Secrets are of this run only."""

    postgres: EmbeddedPostgres
    folder: Path
    environment: dict[str, str]
    port: int
    ops_port: int
    owner_url: str
    staff_key: str
    webhook_secret: str
    products: list[str]

    @contextlib.contextmanager
    def running(self, command: list[str], environment: dict[str, str] | None = None) -> Iterator[int]:
        """Run a server on the diner's ports until the block ends; answer its pid once it is ready."""
        url = f"http://127.0.0.1:{self.ops_port}/readyz"
        with _child("api", command, self.environment | (environment or {}), self.folder, url) as pid:
            yield pid


@contextlib.contextmanager
def running_surroundings(folder: Path) -> Iterator[Diner]:
    """Start PostgreSQL and the stub below `folder`, which is emptied first, and make the database ready."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    port, ops_port, stub_port = free_port(), free_port(), free_port()
    # Stock settings but for the room that `make run` gives it too.
    settings: dict[str, str | int] = {"max_connections": 100, "shared_buffers": "128MB"}
    stub = [sys.executable, "-m", "bench.provider_stub", str(stub_port)]
    environment = {"PATH": os.environ.get("PATH", os.defpath), "PYTHONPATH": f"{SOURCES}:{SOURCES.parent}"}
    try:
        with (
            EmbeddedPostgres(folder / "postgresql", settings=settings) as postgres,
            _child("stub", stub, environment, folder, f"http://127.0.0.1:{stub_port}/"),
        ):
            password = secrets.token_urlsafe(16)
            owner_url = postgres.superuser_url.rpartition("/")[0] + "/comanda"
            products, staff_key = asyncio.run(_prepare(postgres.superuser_url, owner_url, password))
            webhook_secret = secrets.token_hex(32)
            environment |= {
                "DATABASE_URL": postgres.url("api", password, "comanda"),
                "MERCADO_PAGO_ACCESS_TOKEN": f"TEST-{secrets.token_hex(16)}",
                "MERCADO_PAGO_WEBHOOK_SECRET": webhook_secret,
                "MERCADO_PAGO_BASE_URL": f"http://127.0.0.1:{stub_port}",
                "PAYER_EMAIL": "guest@comanda.example.com",
                "PUBLIC_URL": f"http://127.0.0.1:{port}",
                "HOST": "127.0.0.1",
                "PORT": str(port),
                "OPS_HOST": "127.0.0.1",
                "OPS_PORT": str(ops_port),
                # Not exempt: what a guest's address is counted by is part of what placing costs.
                "ORDER_BURST": "1000000/1second",
                "MAX_UNPAID_ORDERS": "100000",
                "MAX_UNPAID_ORDERS_PER_CLIENT": "100000",
                "MAX_STREAMS_PER_CLIENT": "100000",
                "DRAIN_SECONDS": "0",
                "SHUTDOWN_TIMEOUT": "5",
            }
            yield Diner(postgres, folder, environment, port, ops_port, owner_url, staff_key, webhook_secret, products)
    finally:
        shutil.rmtree(folder / "postgresql", ignore_errors=True)


async def _prepare(superuser_url: str, owner_url: str, password: str) -> tuple[list[str], str]:
    connection = await asyncpg.connect(superuser_url)
    await connection.execute("CREATE ROLE comanda_app NOLOGIN")
    await connection.execute(f"CREATE ROLE api LOGIN PASSWORD '{password}' IN ROLE comanda_app")
    await connection.execute("CREATE DATABASE comanda")
    await connection.close()
    await migrate(owner_url)
    connection = await asyncpg.connect(owner_url)
    products = await stock_menu(connection)
    staff_key = await create_key(connection, name="bench", role=Role.STAFF, now=utc_now())
    await connection.close()
    return [str(product) for product in products], staff_key


@contextlib.contextmanager
def _child(name: str, command: list[str], environment: dict[str, str], folder: Path, url: str) -> Iterator[int]:
    child = Child(name, command, environment, folder / f"{name}.log", url)
    child.start()
    try:
        deadline = time.monotonic() + READY_SECONDS
        while not child.is_ready():
            assert child.process is not None
            if child.process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{name} did not start: {(folder / f'{name}.log').read_text()[-1000:]}")
            time.sleep(0.05)
        assert child.process is not None
        yield child.process.pid
    finally:
        child.stop(10, lambda: False)
