"""Server-sent events: one hub a process, told by LISTEN/NOTIFY, however many listeners it has.

A connection begins with the state as it now is, and each event carries whole documents, so nothing is lost between
two connections. A change is read from the database once, not once a listener, and a listener that is slow gets the
newest state rather than a queue of old ones.
"""

import asyncio
import collections
import contextlib
import logging
import re
from collections.abc import AsyncGenerator
from datetime import datetime, timedelta
from uuid import UUID

import msgspec
from prometheus_client import Gauge

import comanda.payments.store
from comanda.checkout.order_document import Rendered, read_kitchen, read_order, read_orders
from comanda.clock import Clock
from comanda.database.pool import OUTAGES, Pool
from comanda.errors import Unavailable
from comanda.kitchen.board import read_board
from comanda.settings import Settings
from comanda.staff.keys import end_of
from comanda.tasks import keep_going

logger = logging.getLogger(__name__)

LISTENERS = Gauge("comanda_stream_listeners", "Open server-sent event streams.", ["stream"])
for _stream in ("order", "kitchen", "board"):
    LISTENERS.labels(_stream)  # zero is an answer, nothing is not

COALESCE_SECONDS = 0.02
RETRY_SECONDS = 0.5
WATCH_FLUSH_SECONDS = 3
KITCHEN_QUEUE = 200
MOST_WATCHED = 5_000
VERSION = re.compile(r"[0-9]{1,18}")


class _Listener:
    """One open stream: what to send next, and a bell. None is the end."""

    def __init__(self, client: str, key_id: UUID | None = None) -> None:
        self.client = client
        self.key_id = key_id
        self.ends_at: datetime | None = None
        self.ended = False
        self.seen = b""
        self.bell = asyncio.Event()
        self.events: dict[str, bytes] = {}
        self.resync = False
        self.version = 0


def _event(name: str, data: bytes, event_id: str) -> bytes:
    # The documents are JSON on one line, so one data field holds each.
    return b"id: %s\nevent: %s\ndata: %s\n\n" % (event_id.encode(), name.encode(), data)


async def _begun(events: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
    """Run a stream up to its first, empty chunk: it is registered then, and whatever closes it is heard."""
    await anext(events)
    return events


class Streams:
    """The hub of one process.

    Args:
        pool: where changes are read.
        settings: how many listeners, how often a heartbeat, how soon a watched payment is asked about.
        clock: for noting until when an order is watched.
    """

    def __init__(self, pool: Pool, settings: Settings, clock: Clock) -> None:
        self._pool = pool
        self._settings = settings
        self._clock = clock
        self._orders: dict[UUID, set[_Listener]] = {}
        self._kitchen: set[_Listener] = set()
        self._board: set[_Listener] = set()
        self._changed: set[UUID] = set()
        self._board_changed = False
        self._looked_at: set[UUID] = set()
        self._bell = asyncio.Event()
        self._closed = False
        self._clients: collections.Counter[str] = collections.Counter()
        self._sequence = 0
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Begin to tell listeners of changes."""
        self._tasks = [
            asyncio.create_task(keep_going("streams", self._pump, after_failure=self.resync), name="streams"),
            asyncio.create_task(keep_going("watched", self._note_watched), name="watched"),
            asyncio.create_task(keep_going("heartbeat", self._heartbeat), name="heartbeat"),
        ]

    async def stop(self) -> None:
        """End every stream cleanly: its client connects again, to another pod."""
        self._closed = True
        for listener in self._all():
            listener.bell.set()
        for task in self._tasks:
            task.cancel()
        for task in self._tasks:
            with contextlib.suppress(asyncio.CancelledError):
                await task

    def order_changed(self, payload: str) -> None:
        """Hear of a change to an order's own row: kitchen and board may show it."""
        self._changed.add(UUID(payload))
        self._board_changed = True
        self._bell.set()

    def payment_changed(self, payload: str) -> None:
        """Hear of a change to an order's payment."""
        self._changed.add(UUID(payload))
        self._bell.set()

    def resync(self) -> None:
        """Hear that changes may have been missed: everybody gets the state as it now is."""
        self._changed.update(self._orders)
        for listener in self._kitchen:
            listener.resync = True
            listener.bell.set()
        self._board_changed = True
        self._bell.set()

    def looked_at(self, order_id: UUID) -> None:
        """Note that a guest has just looked at an order that awaits its payment."""
        if len(self._looked_at) < MOST_WATCHED:
            self._looked_at.add(order_id)

    def key_revoked(self, payload: str) -> None:
        """Hear that a key was revoked, or is to end: what was opened with it ends, or learns when it will."""
        for listener in self._kitchen:
            if str(listener.key_id) == payload:
                listener.resync = True
                listener.bell.set()

    async def order(
        self, order_id: UUID, last_event_id: str | None, *, client: str = ""
    ) -> AsyncGenerator[bytes, None]:
        """Open the stream of one order.

        Args:
            client: the caller's address; empty for one that meets no limit.
            last_event_id: the version that the client has seen; it gets that version again only if it changed.

        Raises:
            NotFound: there is no such order.
            Unavailable: too many streams, or this process is stopping.
        """
        self._refuse_if_full(client)
        async with self._pool.acquire(timeout=5) as connection:
            now = await read_order(connection, order_id)
        listener = _Listener(client)
        seen = int(last_event_id) if last_event_id and VERSION.fullmatch(last_event_id) else 0
        listener.version = min(seen, now.version)
        if now.version > listener.version:
            listener.version = now.version
            listener.events["order"] = _event("order", now.body, str(now.version))
        return await _begun(self._order_events(order_id, listener))

    async def kitchen(self, key_id: UUID) -> AsyncGenerator[bytes, None]:
        """Open the kitchen's stream: `snapshot` events hold the whole list, `order` events one changed order.

        It ends when the key does. However many guests listen, there is room for the kitchen.

        Raises Unavailable if this process is stopping.
        """
        listener = _Listener("", key_id)
        listener.resync = True
        listener.bell.set()
        return await _begun(self._kitchen_events(listener))

    async def board(self, *, client: str = "") -> AsyncGenerator[bytes, None]:
        """Open the board's stream: every event holds the whole board. Raises Unavailable as `order` does."""
        self._refuse_if_full(client)
        listener = _Listener(client)
        self._tell_board(listener, await self._read_board())
        return await _begun(self._board_events(listener))

    def _refuse_if_full(self, client: str) -> None:
        if self._closed:
            raise Unavailable("this pod is stopping; connect again", code="stopping", retry_after=1)
        settings = self._settings
        theirs_full = bool(client) and self._clients[client] >= settings.max_streams_per_client
        if theirs_full or self._clients.total() >= settings.max_streams:
            raise Unavailable("too many open streams; try again in a moment", code="too_many_streams", retry_after=5)

    def _all(self) -> list[_Listener]:
        watchers = [listener for group in self._orders.values() for listener in group]
        return [*watchers, *self._kitchen, *self._board]

    async def _order_events(self, order_id: UUID, listener: _Listener) -> AsyncGenerator[bytes, None]:
        self._orders.setdefault(order_id, set()).add(listener)
        # Read again now that it is registered: a change in between told nobody.
        self._changed.add(order_id)
        self._bell.set()
        try:
            async with contextlib.aclosing(self._events("order", listener)) as chunks:
                async for chunk in chunks:
                    yield chunk
        finally:
            group = self._orders.get(order_id)
            if group is not None:
                group.discard(listener)
                if not group:
                    del self._orders[order_id]

    async def _kitchen_events(self, listener: _Listener) -> AsyncGenerator[bytes, None]:
        self._kitchen.add(listener)
        try:
            async with contextlib.aclosing(self._events("kitchen", listener)) as chunks:
                async for chunk in chunks:
                    yield chunk
        finally:
            self._kitchen.discard(listener)

    async def _board_events(self, listener: _Listener) -> AsyncGenerator[bytes, None]:
        self._board.add(listener)
        # What changed since it was read, before anybody knew of this listener.
        self._board_changed = True
        self._bell.set()
        try:
            async with contextlib.aclosing(self._events("board", listener)) as chunks:
                async for chunk in chunks:
                    yield chunk
        finally:
            self._board.discard(listener)

    async def _events(self, name: str, listener: _Listener) -> AsyncGenerator[bytes, None]:
        guest = listener.key_id is None
        if guest or self._closed:
            # Counted in the same breath, so that a thousand at once are not all let in.
            self._refuse_if_full(listener.client)
        self._clients[listener.client] += guest
        LISTENERS.labels(name).inc()
        try:
            yield b""
            yield b"retry: 2000\n\n"
            while not (self._closed or listener.ended):
                if listener.resync:
                    snapshot = await self._kitchen_snapshot(listener)
                    if snapshot is not None:
                        yield snapshot
                elif listener.events:
                    events, listener.events = listener.events, {}
                    yield b"".join(events.values())
                else:
                    listener.bell.clear()
                    await listener.bell.wait()
        finally:
            self._clients[listener.client] -= guest
            if not self._clients[listener.client]:
                del self._clients[listener.client]
            LISTENERS.labels(name).dec()

    async def _kitchen_snapshot(self, listener: _Listener) -> bytes | None:
        listener.resync = False
        listener.events.clear()
        try:
            async with self._pool.acquire(timeout=5) as connection:
                # Asked again whenever word of a revocation may have been missed.
                listener.ends_at = None if listener.key_id is None else await end_of(connection, listener.key_id)
                self._end_if_due(listener)
                body = await read_kitchen(connection)
        except OUTAGES:
            listener.resync = True
            await asyncio.sleep(RETRY_SECONDS)
            return None
        return None if listener.ended else _event("snapshot", body, self._next_id())

    def _end_if_due(self, listener: _Listener) -> None:
        if listener.ends_at is not None and listener.ends_at <= self._clock():
            listener.ended = True

    def _next_id(self) -> str:
        self._sequence += 1
        return str(self._sequence)

    async def _read_board(self) -> bytes:
        async with self._pool.acquire(timeout=5) as connection:
            return msgspec.json.encode(await read_board(connection))

    def _tell_board(self, listener: _Listener, board: bytes) -> None:
        if board != listener.seen:
            listener.seen = board
            listener.events["board"] = _event("board", board, self._next_id())
            listener.bell.set()

    async def _pump(self) -> None:
        """Read what changed, once for all listeners, and hand it to those whom it concerns."""
        while True:
            await self._bell.wait()
            await asyncio.sleep(COALESCE_SECONDS)
            self._bell.clear()
            changed, self._changed = self._changed, set()
            board_changed, self._board_changed = self._board_changed, False
            try:
                await self._tell(changed, board_changed)
            except OUTAGES as error:
                logger.warning("streams wait for the database", extra={"error": type(error).__name__})
                self._changed |= changed
                self._board_changed |= board_changed
                self._bell.set()
                await asyncio.sleep(RETRY_SECONDS)

    async def _tell(self, changed: set[UUID], board_changed: bool) -> None:
        wanted = list(changed) if self._kitchen else [order_id for order_id in changed if order_id in self._orders]
        if wanted:
            async with self._pool.acquire(timeout=5) as connection:
                documents = await read_orders(connection, wanted)
            for order_id, document in documents.items():
                self._tell_of_order(order_id, document)
        if board_changed and self._board:
            board = await self._read_board()
            for listener in self._board:
                self._tell_board(listener, board)

    def _tell_of_order(self, order_id: UUID, document: Rendered) -> None:
        event = _event("order", document.body, str(document.version))
        for listener in self._orders.get(order_id, ()):
            if document.version > listener.version:
                listener.version = document.version
                listener.events["order"] = event
                listener.bell.set()
        if not document.was_paid:
            return
        event = _event("order", document.body, self._next_id())
        for listener in self._kitchen:
            listener.events[str(order_id)] = event
            if len(listener.events) > KITCHEN_QUEUE:
                listener.resync = True
            listener.bell.set()

    async def _heartbeat(self) -> None:
        """A comment now and then, so that proxies keep the connection and dead clients are noticed."""
        while True:
            await asyncio.sleep(self._settings.stream_heartbeat_ms / 1000)
            for listener in self._all():
                self._end_if_due(listener)
                listener.events.setdefault("", b": still here\n\n")
                listener.bell.set()

    async def _note_watched(self) -> None:
        """Tell the worker which orders guests look at, so that it asks the provider soon."""
        while True:
            await asyncio.sleep(WATCH_FLUSH_SECONDS)
            watched, self._looked_at = self._looked_at | set(self._orders), set()
            if not watched:
                continue
            now = self._clock()
            try:
                async with self._pool.acquire(timeout=5) as connection:
                    await comanda.payments.store.note_watched(
                        connection,
                        watched,
                        watched_until=now + timedelta(seconds=self._settings.watch_window),
                        check_by=now + timedelta(seconds=self._settings.check_watched),
                    )
            except OUTAGES as error:
                logger.warning("could not note who is watching", extra={"error": type(error).__name__})
