"""The menu in memory, as the bytes that guests are sent; right in every pod within a second of a change.

A change rings through LISTEN/NOTIFY. While nobody listens (the listener is reconnecting) the cache trusts itself
for `UNHEARD_SECONDS` only. While the database is away the last menu known is better than none.
"""

import asyncio
import hashlib
import time
from collections.abc import Callable
from uuid import UUID

import msgspec

from comanda.database.pool import OUTAGES, Pool
from comanda.menu.model import Menu, Product
from comanda.menu.store import read_menu

UNHEARD_SECONDS = 0.5


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
        heard: answers whether changes reach us just now; False makes the cache read again by itself.
    """

    def __init__(self, pool: Pool, heard: Callable[[], bool]) -> None:
        self._pool = pool
        self._heard = heard
        self._menu: CachedMenu | None = None
        self._read_at = 0.0
        self._stale = True
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
        if self._stale:
            return False
        return self._heard() or time.monotonic() - self._read_at < UNHEARD_SECONDS

    async def _read(self) -> None:
        # A change during the read sets the flag again, so it must be cleared before.
        self._stale = False
        try:
            async with self._pool.acquire(timeout=2) as connection:
                self._menu = render(await read_menu(connection))
        except OUTAGES:
            self._stale = True
            if self._menu is None:
                raise
        self._read_at = time.monotonic()
