"""Where payments, refunds, idempotency keys and deliveries are kept: a SQLite file.

What was answered is in the file: every change is committed before its answer is sent, so that ``kill -9``
loses nothing. (Losing the machine's power may lose the last moments; a look-alike may.)
"""

import json
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from comanda_sandbox.deliveries import Delivery
from comanda_sandbox.payments import Payment, Refund

_VERSION = 1
_SCHEMA = """
create table numbers (name text primary key, next integer not null);
create table settings (name text primary key, value text not null);
create table payments (
    id integer primary key, status text not null, status_detail text not null, amount_cents integer not null,
    refunded_cents integer not null, external_reference text, description text, payer text not null,
    metadata text not null, notification_url text, created_at integer not null, updated_at integer not null,
    approved_at integer, expires_at integer not null, qr_code text not null, qr_code_base64 text not null,
    check (amount_cents > 0), check (refunded_cents between 0 and amount_cents)
);
create index payments_by_reference on payments (external_reference);
create index payments_by_creation on payments (created_at);
create index payments_by_update on payments (updated_at);
create index payments_by_expiry on payments (expires_at) where status = 'pending';
create table refunds (
    id integer primary key, payment_id integer not null references payments, amount_cents integer not null,
    status text not null, created_at integer not null, updated_at integer not null, check (amount_cents > 0)
);
create index refunds_by_payment on refunds (payment_id);
create table keys (
    scope text not null, key text not null, fingerprint text not null, result_id integer not null,
    primary key (scope, key)
);
create table deliveries (
    id integer primary key, payment_id integer not null, kind text not null, action text not null,
    flavour text not null, url text not null, data_id text not null, body_data_id text not null,
    signature text not null, seconds_ts integer not null, text_id integer not null, replay_of integer,
    waits_for_next integer not null, attempts_to_lose integer not null, created_at integer not null,
    due_at integer, state text not null, attempts integer not null, sent_ts text, sent_request_id text,
    last_result text
);
create index deliveries_pending on deliveries (due_at) where state = 'pending';
create index deliveries_by_payment on deliveries (payment_id);
"""


class UnusableLedgerError(Exception):
    """The file cannot serve as a ledger; the message says why and what to do."""


class Ledger:
    """The open ledger. One process owns its file; all calls come from one thread.

    Args:
        path: the file, made if missing; None keeps all in memory.

    Raises:
        UnusableLedgerError: it cannot be opened, is no ledger of this version, or is open elsewhere.
    """

    def __init__(self, path: Path | None) -> None:
        try:
            self._db = sqlite3.connect(path or ":memory:", isolation_level=None, timeout=0.2)
        except sqlite3.Error as error:
            raise UnusableLedgerError(f"cannot open {path}: {error}") from None
        try:
            self._db.row_factory = sqlite3.Row
            # The lock is the process's: it goes with it, even after kill -9.
            self._db.execute("pragma locking_mode = exclusive")
            self._db.execute("pragma journal_mode = wal")
            self._db.execute("pragma synchronous = normal")
            self._db.execute("pragma foreign_keys = on")
            self._prepare(path)
        except (sqlite3.Error, UnusableLedgerError) as error:
            self._db.close()
            raise _unusable(path, error) from None

    def close(self) -> None:
        """Close the file; a second call does nothing."""
        self._db.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Make the changes inside all happen or none; must not be held across an ``await``."""
        self._db.execute("begin immediate")
        try:
            yield
        except BaseException:
            self._db.execute("rollback")
            raise
        self._db.execute("commit")

    def next_number(self, name: str) -> int:
        """The next id of a kind (``payment``, ``refund``, ``notification``); none is given twice, ever."""
        rows = self._db.execute(
            "update numbers set next = next + 1 where name = ? returning next - 1", (name,)
        ).fetchall()
        return int(rows[0][0])

    # Payments

    def add_payment(self, payment: Payment) -> None:
        """Keep a new payment."""
        self._insert("payments", payment)

    def save_payment(self, payment: Payment) -> None:
        """Keep a payment's new state."""
        self._db.execute(
            "update payments set status = ?, status_detail = ?, refunded_cents = ?, updated_at = ?,"
            " approved_at = ? where id = ?",
            (
                payment.status,
                payment.status_detail,
                payment.refunded_cents,
                _encode(payment.updated_at),
                _encode(payment.approved_at),
                payment.id,
            ),
        )

    def payment(self, payment_id: int) -> Payment | None:
        """The payment of that id."""
        found = self._payments("where id = ?", [payment_id])
        return found[0] if found else None

    def payments(self, external_reference: str | None = None, *, newest: int | None = None) -> list[Payment]:
        """All payments, or those of one reference; with ``newest``, so many at most, newest first."""
        where = "" if external_reference is None else "where external_reference = ?"
        order = "order by id" if newest is None else f"order by id desc limit {newest:d}"
        return self._payments(f"{where} {order}", [] if external_reference is None else [external_reference])

    def open_payments(self, newest: int) -> list[Payment]:
        """Payments still to be paid, newest first."""
        return self._payments("where status in ('pending', 'in_process') order by id desc limit ?", [newest])

    def finished_payments(self, newest: int) -> list[Payment]:
        """Payments paid or given up, the last changed first."""
        clause = "where status not in ('pending', 'in_process') order by updated_at desc, id desc limit ?"
        return self._payments(clause, [newest])

    def search_payments(
        self,
        equal: dict[str, str],
        *,
        between: tuple[str, datetime | None, datetime | None] | None,
        order_by: str,
        descending: bool,
        limit: int,
        offset: int,
        indexed_by: datetime | None,
    ) -> tuple[list[Payment], int]:
        """Look payments up.

        Args:
            equal: columns and the values that they must have.
            between: a column of times, and its first and last one, both included.
            order_by: a column.
            indexed_by: leave out what was created later, as if not yet indexed; where ``between`` is of changes, what
                was changed later too.

        Returns:
            The page asked for, and how many payments there are on all pages.
        """
        terms, values = ["true"], list[Any]()
        for column, value in equal.items():
            terms.append(f"{column} = ?")
            values.append(value)
        if between:
            column, first, last = between
            for sign, moment in ((">=", first), ("<=", last)):
                if moment is not None:
                    terms.append(f"{column} {sign} ?")
                    values.append(_encode(moment))
        if indexed_by:
            by_change = between is not None and between[0] == "updated_at"
            terms.append("updated_at <= ?" if by_change else "created_at <= ?")
            values.append(_encode(indexed_by))
        where = "where " + " and ".join(terms)
        total = self._db.execute(f"select count(*) from payments {where}", values).fetchone()[0]
        way = "desc" if descending else "asc"
        page = f"{where} order by {order_by} {way}, id {way} limit {limit:d} offset {offset:d}"
        return self._payments(page, values), total

    def payments_due_to_expire(self, by: datetime) -> list[Payment]:
        """Pending payments whose expiry lies at ``by`` or before."""
        clause = "where status = 'pending' and expires_at <= ? order by expires_at, id"
        return self._payments(clause, [_encode(by)])

    def next_expiry(self) -> datetime | None:
        """When the next pending payment expires."""
        row = self._db.execute("select min(expires_at) from payments where status = 'pending'").fetchone()
        return None if row[0] is None else _moment(row[0])

    # Refunds

    def add_refund(self, refund: Refund) -> None:
        """Keep a new refund."""
        self._insert("refunds", refund)

    def save_refund(self, refund: Refund) -> None:
        """Keep a refund's new state."""
        self._db.execute(
            "update refunds set status = ?, updated_at = ? where id = ?",
            (refund.status, _encode(refund.updated_at), refund.id),
        )

    def refund(self, refund_id: int) -> Refund | None:
        """The refund of that id."""
        rows = self._db.execute("select * from refunds where id = ?", (refund_id,))
        return next((Refund(**_decoded(row)) for row in rows), None)

    def refunds(self, payment_id: int | None = None) -> list[Refund]:
        """All refunds or those of one payment, oldest first."""
        where, values = ("", ()) if payment_id is None else ("where payment_id = ?", (payment_id,))
        rows = self._db.execute(f"select * from refunds {where} order by id", values)
        return [Refund(**_decoded(row)) for row in rows]

    # Idempotency keys

    def remember(self, scope: str, key: str, *, fingerprint: str, result_id: int) -> None:
        """Keep what a key has brought about; what a forgotten one did before is no longer its own."""
        self._db.execute("insert or replace into keys values (?, ?, ?, ?)", (scope, key, fingerprint, result_id))

    def recall(self, scope: str, key: str) -> tuple[str, int] | None:
        """The fingerprint of the body that first came with the key, and the id of what it brought about."""
        row = self._db.execute(
            "select fingerprint, result_id from keys where scope = ? and key = ?", (scope, key)
        ).fetchone()
        return None if row is None else (row[0], row[1])

    def idempotency_keys(self) -> list[tuple[str, str, int]]:
        """Every scope and key, and the id of what it brought about."""
        return [tuple(row) for row in self._db.execute("select scope, key, result_id from keys order by rowid")]

    # Deliveries

    def add_delivery(self, delivery: Delivery) -> None:
        """Keep a new delivery."""
        self._insert("deliveries", delivery)

    def save_delivery(self, delivery: Delivery) -> None:
        """Keep a delivery's new state."""
        self._db.execute(
            "update deliveries set state = ?, due_at = ?, attempts = ?, waits_for_next = ?,"
            " sent_ts = ?, sent_request_id = ?, last_result = ? where id = ?",
            (
                delivery.state,
                _encode(delivery.due_at),
                delivery.attempts,
                delivery.waits_for_next,
                delivery.sent_ts,
                delivery.sent_request_id,
                delivery.last_result,
                delivery.id,
            ),
        )

    def delivery(self, delivery_id: int) -> Delivery | None:
        """The delivery of that id."""
        found = self._deliveries("where id = ?", [delivery_id])
        return found[0] if found else None

    def deliveries(self, payment_id: int | None = None) -> list[Delivery]:
        """All deliveries or those for one payment, oldest first."""
        where = "" if payment_id is None else "where payment_id = ?"
        return self._deliveries(f"{where} order by id", [] if payment_id is None else [payment_id])

    def pending_deliveries(self, payment_id: int) -> list[Delivery]:
        """Those for one payment that have not ended yet, oldest first."""
        return self._deliveries("where payment_id = ? and state = 'pending' order by id", [payment_id])

    def due_deliveries(self, now: datetime, limit: int) -> list[Delivery]:
        """Pending ones whose time has come, the longest due first."""
        clause = "where state = 'pending' and due_at <= ? order by due_at, id limit ?"
        return self._deliveries(clause, [_encode(now), limit])

    def next_due_after(self, now: datetime) -> datetime | None:
        """When the next delivery that is not yet due will be."""
        row = self._db.execute(
            "select min(due_at) from deliveries where state = 'pending' and due_at > ?", (_encode(now),)
        ).fetchone()
        return None if row[0] is None else _moment(row[0])

    # What else outlives a restart

    def setting(self, name: str) -> str | None:
        """The text that was kept under a name."""
        row = self._db.execute("select value from settings where name = ?", (name,)).fetchone()
        return None if row is None else str(row[0])

    def save_setting(self, name: str, value: str) -> None:
        """Keep a text under a name."""
        self._db.execute("replace into settings values (?, ?)", (name, value))

    def clock_offset(self) -> timedelta:
        """How far the clock was moved when the ledger was last in use."""
        return timedelta(milliseconds=int(self.setting("clock_offset_ms") or 0))

    def save_clock_offset(self, offset: timedelta) -> None:
        """Keep how far the clock is moved, so that time does not jump back at a restart."""
        self.save_setting("clock_offset_ms", str(offset // timedelta(milliseconds=1)))

    def _prepare(self, path: Path | None) -> None:
        version = self._db.execute("pragma user_version").fetchone()[0]
        tables = self._db.execute("select count(*) from sqlite_master").fetchone()[0]
        if version == _VERSION:
            # Takes the lock at once, rather than at the first change.
            with self.transaction():
                self._db.execute("update numbers set next = next")
            return
        if version or tables:
            raise UnusableLedgerError(f"{path} is not a ledger of version {_VERSION}: move it away or name another")
        # Ids start from the time at which a ledger is made, so that whoever has met an earlier ledger's ids
        # never meets them again. A hundred a second keep them at the 12 digits of Mercado Pago's.
        now = time.time_ns()
        # Notifications start elsewhere, for whoever mixes the two up to find out.
        starts = {
            "payment": now // 10**7,
            "notification": 500_000_000_000 + now // 10**7,
            "refund": now // 10**9,
        }
        with self.transaction():
            for statement in _SCHEMA.split(";\n"):
                self._db.execute(statement)
            self._db.executemany("insert into numbers values (?, ?)", starts.items())
            self._db.execute(f"pragma user_version = {_VERSION}")

    def _insert(self, table: str, value: Payment | Refund | Delivery) -> None:
        row = {name: _encode(one) for name, one in asdict(value).items()}
        names, marks = ", ".join(row), ", ".join("?" * len(row))
        self._db.execute(f"insert into {table} ({names}) values ({marks})", list(row.values()))

    def _payments(self, clause: str, values: list[Any]) -> list[Payment]:
        rows = self._db.execute(f"select * from payments {clause}", values)
        return [Payment(**_decoded(row)) for row in rows]

    def _deliveries(self, clause: str, values: list[Any]) -> list[Delivery]:
        rows = self._db.execute(f"select * from deliveries {clause}", values)
        return [Delivery(**_decoded(row)) for row in rows]


def _unusable(path: Path | None, error: Exception) -> UnusableLedgerError:
    if isinstance(error, UnusableLedgerError):
        return error
    if "locked" in str(error):
        return UnusableLedgerError(f"{path} is in use by another sandbox: stop it first")
    if isinstance(error, sqlite3.OperationalError):
        return UnusableLedgerError(f"cannot use {path}: {error}")
    return UnusableLedgerError(f"{path} is not a ledger ({error}): name another file")


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_TRUTHS = {"seconds_ts", "text_id", "waits_for_next"}
_DOCUMENTS = {"payer", "metadata"}


def _encode(value: Any) -> Any:
    if isinstance(value, datetime):
        return (value - _EPOCH) // timedelta(milliseconds=1)
    return json.dumps(value) if isinstance(value, dict) else value


def _decoded(row: sqlite3.Row) -> dict[str, Any]:
    values = dict(row)
    for name, value in values.items():
        if name in _DOCUMENTS:
            values[name] = json.loads(value)
        elif name in _TRUTHS:
            values[name] = bool(value)
        elif name.endswith("_at") and value is not None:
            values[name] = _moment(value)
    return values


def _moment(milliseconds: int) -> datetime:
    return _EPOCH + timedelta(milliseconds=milliseconds)
