"""A database that goes back in time while the provider's ledger does not, and what happens in between."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from typing import Any, cast

import msgspec

from comanda.checkout.context import Checkout
from comanda.checkout.restored_report import Lost, Report
from comanda.checkout.settle_restored import settle_restored
from comanda.database.pool import Pool, open_pool
from tests.checkout.meddling import Crash, with_provider
from tests.database.rows import connected
from tests.running_diner import Diner

TABLES = "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'r' ORDER BY relname"
SEQUENCES = "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'S'"


class Backup:
    """A copy of every row and every sequence, and the moment of it."""

    def __init__(self, owner_url: str, at: datetime) -> None:
        self.at = at
        self._owner_url = owner_url
        self._sequences: dict[str, tuple[int, bool]] = {}

    @classmethod
    async def take(cls, diner: Diner, owner_url: str) -> "Backup":
        """Back up, a moment after what was done before."""
        await diner.sandbox.settled()
        await diner.later(seconds=1)
        backup = cls(owner_url, diner.checkout.clock())
        async with connected(owner_url) as owner:
            await owner.execute("CREATE SCHEMA backup")
            for row in await owner.fetch(TABLES):
                await owner.execute(f"CREATE TABLE backup.{row['relname']} AS TABLE public.{row['relname']}")
            for row in await owner.fetch(SEQUENCES):
                state = await owner.fetchrow(f"SELECT last_value, is_called FROM {row['relname']}")
                assert state is not None
                backup._sequences[row["relname"]] = (state["last_value"], state["is_called"])
        await diner.later(seconds=1)
        return backup

    async def restore(self, diner: Diner) -> None:
        """Take the database back, as if its disk had been replaced by the backup's."""
        await diner.sandbox.settled()
        await diner.later(seconds=1)
        async with connected(self._owner_url) as owner, owner.transaction():
            # As superuser, past every guard: a disk knows none.
            await owner.execute("SET LOCAL session_replication_role = replica")
            tables = [row["relname"] for row in await owner.fetch(TABLES)]
            await owner.execute(f"TRUNCATE {', '.join(tables)}")
            for table in tables:
                await owner.execute(f"INSERT INTO public.{table} OVERRIDING SYSTEM VALUE TABLE backup.{table}")
            for name, (value, called) in self._sequences.items():
                await owner.execute("SELECT setval($1::text::regclass, $2, $3)", name, value, called)


async def settle(
    diner: Diner,
    since: datetime,
    *,
    lost: Lost = Lost.REFUND,
    checkout: Checkout | None = None,
    patience: float = 600,
    until: datetime | None = None,
) -> Report:
    """Run the command's story, the diner's clock going on by itself while it rests."""

    async def rest(seconds: float) -> None:
        await diner.later(seconds=seconds)

    checkout = checkout or diner.checkout
    until = until or checkout.clock()
    wait = timedelta(seconds=patience)
    return await settle_restored(checkout, since, until=until, lost=lost, patience=wait, rest=rest)


async def dies(diner: Diner, backup: Backup, number: int, *, after: bool, until: datetime) -> bool:
    """Run the command in a process that dies at the n-th thing that it asks; answer whether it came to that."""
    pool = await open_pool(diner.checkout.settings, "dying")
    dying = _DyingAt(msgspec.structs.replace(diner.checkout, pool=pool), number, after=after)
    try:
        await settle(diner, backup.at, until=until, checkout=dying.checkout)
    except (Crash, BaseExceptionGroup):
        assert dying.died, "nothing else gets out of it"
    finally:
        # Its connections go with it.
        pool.terminate()
    return dying.died


class _DyingAt:
    """Counts what is asked of the provider and the database, and dies at the n-th thing: before it, or after it.

    Args:
        number: counted from 1; past the last one nobody dies.
        after: whether what was asked is done, and only its answer is lost.
    """

    def __init__(self, checkout: Checkout, number: int, *, after: bool) -> None:
        self._left = number
        self._after = after
        calls = ("search_changed", "get_payment", "cancel_payment", "create_refund")
        meddled = with_provider(checkout, **{name: self._call(checkout, name) for name in calls})
        self.checkout = msgspec.structs.replace(meddled, pool=cast(Pool, _Pool(checkout.pool, self)))

    @property
    def died(self) -> bool:
        """Whether it came to that."""
        return self._left <= 0

    @asynccontextmanager
    async def at(self) -> AsyncIterator[None]:
        """Count one thing, and die at it if it is the one."""
        if self.died:
            raise Crash
        self._left -= 1
        if self.died and not self._after:
            raise Crash
        yield
        if self.died:
            raise Crash

    def _call(self, checkout: Checkout, name: str) -> Callable[..., Awaitable[Any]]:
        async def method(*arguments: Any, **named: Any) -> Any:
            async with self.at():
                return await getattr(checkout.provider, name)(*arguments, **named)

        return method


class _Pool:
    """A pool whose connections are counted: each is one statement or one transaction of a story."""

    def __init__(self, pool: Pool, dying: _DyingAt) -> None:
        self._pool = pool
        self._dying = dying

    @asynccontextmanager
    async def acquire(self, *, timeout: float) -> AsyncIterator[Any]:
        """Lend a connection, as asyncpg's pool does."""
        async with self._dying.at(), self._pool.acquire(timeout=timeout) as connection:
            yield connection


async def charge_beside(diner: Diner, reference: str | None, cents: int = 1500, **fields: Any) -> int:
    """Make a charge at the provider that no order here asked for; answer its id."""
    body = {
        "transaction_amount": cents / 100,
        "payment_method_id": "pix",
        "payer": {"email": "someone@example.com"},
        "external_reference": reference,
        **fields,
    }
    key = f"beside-{len(diner.sandbox.payments())}"
    headers = {"Authorization": f"Bearer {diner.sandbox.token}", "X-Idempotency-Key": key}
    async with diner.session.post(f"{diner.sandbox.url}/v1/payments", json=body, headers=headers) as answer:
        made = await answer.json()
        assert answer.status == 201, made
    return int(made["id"])


async def work_through(diner: Diner, *, minutes: int = 3) -> None:
    """Let the worker do what is due, and what comes due soon."""
    await diner.work()
    for _ in range(minutes):
        await diner.later(minutes=1)
        await diner.work()


async def together(*work: Awaitable[Any]) -> list[Any]:
    """Do several things at once."""
    return list(await asyncio.gather(*work))
