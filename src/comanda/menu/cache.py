"""The menu in memory, as the bytes that guests are sent; right in every pod within a second of a change.

A change rings through LISTEN/NOTIFY. A ring can be missed (a connection cut without a word shows only seconds later),
so the menu is also read again when it is `TRUSTED_SECONDS` old and somebody asks: two small reads a second at most.
While the database is away the last menu known is better than none.
"""

import asyncio
import hashlib
import time
from uuid import UUID

import msgspec

from comanda.database.pool import OUTAGES, Pool
from comanda.menu.model import Menu, Product
from comanda.menu.store import read_menu

TRUSTED_SECONDS = 0.5
READ_SECONDS = 0.4
"""How long guests wait for a newer menu than the last one known, before they get that one."""
FIRST_READ_SECONDS = 5


class CachedMenu(msgspec.Struct, frozen=True):
    """One state of the menu: its JSON, the strong ETag of that JSON, and its products by id."""

    body: bytes
    etag: str
    products: dict[UUID, Product]


def render(menu: Menu) -> CachedMenu:
    """Build what is served and looked up from a menu."""
    body = msgspec.json.encode(menu)
    etag = f'"{hashlib.sha256(body).hexdigest()[:24]}"'
    return CachedMenu(body, etag, {product.id: product for part in menu.categories for product in part.products})


class MenuCache:
    """Keeps the menu for one process.

    Args:
        pool: where it is read from.
    """

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._menu: CachedMenu | None = None
        self._read_at = 0.0
        self._stale = True
        self._away = False
        self._reading = asyncio.Lock()

    def forget(self) -> None:
        """Note that the menu has changed: the next `current` reads it again."""
        self._stale = True

    async def current(self) -> CachedMenu:
        """Answer the menu. Raises one of `OUTAGES` only if it was never read."""
        if self._menu is not None and self._fresh():
            return self._menu
        async with self._reading:
            if self._menu is None or not self._fresh():
                await self._read()
            assert self._menu is not None
            return self._menu

    def _fresh(self) -> bool:
        # While the database is away not every guest waits for it anew.
        trusted = self._away or not self._stale
        return trusted and time.monotonic() - self._read_at < TRUSTED_SECONDS

    async def _read(self) -> None:
        # A change during the read sets the flag again, so it must be cleared before.
        self._stale = False
        try:
            async with (
                asyncio.timeout(FIRST_READ_SECONDS if self._menu is None else READ_SECONDS),
                self._pool.acquire() as connection,
            ):
                self._menu = render(await read_menu(connection))
            self._away = False
        except OUTAGES:
            self._stale = self._away = True
            if self._menu is None:
                raise
        self._read_at = time.monotonic()
