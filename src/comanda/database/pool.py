"""The connection pool, and the two ways of touching the database: one statement, or one transaction.

Time-outs are set on the connection itself, so that no statement, lock or forgotten transaction waits forever.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

import asyncpg
from asyncpg.pool import PoolConnectionProxy
from prometheus_client import Gauge

from comanda.settings import Settings

if TYPE_CHECKING:
    Pool: TypeAlias = asyncpg.Pool[asyncpg.Record]
    Connection: TypeAlias = asyncpg.Connection[asyncpg.Record] | PoolConnectionProxy[asyncpg.Record]
else:
    Pool = asyncpg.Pool
    Connection = asyncpg.Connection

Result = TypeVar("Result")

# What a passing outage looks like from here: the database is away, starting, stopping, full, or too slow, or its
# password is being changed. (TimeoutError is an OSError.)
OUTAGES: tuple[type[Exception], ...] = (
    OSError,
    asyncpg.InterfaceError,
    # What asyncpg makes of a connection whose server has said goodbye in this very moment.
    asyncpg.InternalClientError,
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,
    asyncpg.InsufficientResourcesError,
    asyncpg.InvalidAuthorizationSpecificationError,
    asyncpg.InvalidCatalogNameError,
    asyncpg.LockNotAvailableError,
    asyncpg.ReadOnlySQLTransactionError,
    asyncpg.IdleInTransactionSessionTimeoutError,
)

CLOSE_SECONDS = 5
CONNECTIONS = Gauge("comanda_database_pool_connections", "Connections of this process's pool, by state.", ["state"])
MOST_CONNECTIONS = Gauge("comanda_database_pool_max", "How many connections the pool may have.")


class Collision(Exception):
    """Two transactions wanted the same thing in the same moment; this one is rolled back and tried again."""


COLLISIONS: tuple[type[Exception], ...] = (asyncpg.SerializationError, asyncpg.DeadlockDetectedError, Collision)


class PlainConnection(asyncpg.Connection):
    """A pooled connection on which nobody leaves session state, so that its release needs no reset query.

    asyncpg still rolls back a transaction that was left open. LISTEN has a connection of its own.
    """

    def get_reset_query(self) -> str:
        """Answer nothing to run at release: it would be one more round trip for every request."""
        return ""


def session_settings(settings: Settings, application: str) -> dict[str, str]:
    """Answer the PostgreSQL session settings for a connection of `application`; milliseconds where it is a time."""
    return {
        "application_name": f"comanda-{application}",
        "timezone": "UTC",
        "jit": "off",
        "statement_timeout": str(settings.database_statement_timeout_ms),
        "lock_timeout": str(settings.database_lock_timeout_ms),
        "idle_in_transaction_session_timeout": str(settings.database_statement_timeout_ms * 2),
    }


async def open_pool(settings: Settings, application: str) -> Pool:
    """Open the pool named `application` in pg_stat_activity. Raises one of `OUTAGES` if nobody answers."""
    pool: Pool = await asyncpg.create_pool(
        settings.database_url,
        min_size=1,
        max_size=settings.database_pool_size,
        max_inactive_connection_lifetime=300,
        timeout=settings.database_connect_timeout_ms / 1000,
        command_timeout=(settings.database_statement_timeout_ms + 1000) / 1000,
        connection_class=PlainConnection,
        server_settings=session_settings(settings, application),
    )
    CONNECTIONS.labels("in_use").set_function(lambda: pool.get_size() - pool.get_idle_size())
    CONNECTIONS.labels("idle").set_function(pool.get_idle_size)
    MOST_CONNECTIONS.set(pool.get_max_size())
    return pool


async def close_pool(pool: Pool) -> None:
    """Close a pool in order; after some seconds, and where the database is gone, without its leave."""
    try:
        async with asyncio.timeout(CLOSE_SECONDS):
            await pool.close()
    except OUTAGES:
        pool.terminate()


async def in_transaction(
    pool: Pool, work: Callable[[Connection], Awaitable[Result]], *, acquire_timeout_ms: int = 5000
) -> Result:
    """Run `work` in one transaction and answer what it answers.

    A serialization failure, a deadlock or a `Collision` was rolled back whole, so it is tried again, three times in
    all; `work` must therefore touch nothing but the connection that it is given.
    """
    for attempt in range(2):
        try:
            return await _once(pool, work, acquire_timeout_ms)
        except COLLISIONS:
            await asyncio.sleep(random.uniform(0.005, 0.05) * (attempt + 1))  # noqa: S311 (jitter, no secret)
    return await _once(pool, work, acquire_timeout_ms)


async def _once(pool: Pool, work: Callable[[Any], Awaitable[Result]], acquire_timeout_ms: int) -> Result:
    async with pool.acquire(timeout=acquire_timeout_ms / 1000) as connection, connection.transaction():
        return await work(connection)
