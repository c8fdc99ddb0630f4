"""`comanda compare-backup`: whether a restored database is whole, and says of the past what the living one says.

The restored one is asked as its superuser, by a socket that nobody else reaches. The living one is asked as the API's
user, who may read every table and change no history, in sessions that are told to read only.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from time import monotonic

import asyncpg
import msgspec

from comanda.database.pool import OUTAGES, Connection
from comanda.settings import SettingsError

LATE = timedelta(minutes=10)
"""A row may be written with a time as long before the backup and still be committed after it: transactions end within
a minute, the pods' clocks are close to each other."""
SHOWN = 3
"""Of one kind of problem, as many are named."""
LONGEST = 3_000
"""Bytes of a result: of a termination message kubelet keeps 4096 (MaxPodTerminationMessageContainerLength)."""
STARTS_WITHIN_SECONDS = 1_200
ANSWERS_WITHIN_SECONDS = 60
LOOKS_EVERY_SECONDS = 0.5
LIVE_USERS = (("comanda_api_b", "API_B_PASSWORD"), ("comanda_api_a", "API_A_PASSWORD"))
"""Two, of which one's password may just be changing."""
FAILURES: tuple[type[Exception], ...] = (*OUTAGES, asyncpg.PostgresError)
READ_ONLY = {"default_transaction_read_only": "on", "application_name": "comanda-drill", "timezone": "UTC"}


@dataclass(frozen=True)
class History:
    """Rows of which a part never changes once they are written.

    Args:
        name: for people. source: the table as `t`, and what it is joined with. key: names a row. at: when it was
            written. columns: what never changes. forgotten: whether old rows are deleted.
    """

    name: str
    source: str
    key: str
    at: str
    columns: str
    forgotten: bool = False


HISTORIES = (
    History(
        "order_events",
        "order_events AS t",
        "t.id::text",
        "t.at",
        "t.id, t.order_id, t.version, t.status_from, t.status_to, t.actor, t.reason, t.request_id, t.at",
    ),
    History(
        "payment_events",
        "payment_events AS t",
        "t.id::text",
        "t.at",
        "t.id, t.payment_id, t.version, t.status_from, t.status_to, t.provider_status, t.refunded_cents, t.actor, "
        "t.reason, t.request_id, t.at",
    ),
    History(
        "orders", "orders AS t", "t.id::text", "t.created_at", "t.id, t.total_cents, t.name, t.notes, t.created_at"
    ),
    History(
        "order_items",
        "order_items AS t JOIN orders AS o ON o.id = t.order_id",
        "t.order_id || '/' || t.id",
        "o.created_at",
        "t.order_id, t.id, t.product_id, t.name, t.quantity, t.unit_price_cents, t.notes",
    ),
    History(
        "payments",
        "payments AS t",
        "t.id::text",
        "t.created_at",
        "t.id, t.order_id, t.amount_cents, t.idempotency_key, t.created_at",
    ),
    History(
        "refunds",
        "refunds AS t",
        "t.id::text",
        "t.created_at",
        "t.id, t.payment_id, t.amount_cents, t.idempotency_key, t.whole, t.created_at",
    ),
    History(
        "webhook_events",
        "webhook_events AS t",
        "t.id::text",
        "t.received_at",
        "t.id, t.provider_payment_id, t.received_at",
        forgotten=True,
    ),
)
REPLAY = """
SELECT t.id FROM {thing}s AS t
WHERE t.version <> (SELECT count(*) FROM {thing}_events WHERE {thing}_id = t.id)
   OR t.status IS DISTINCT FROM
      (SELECT status_to FROM {thing}_events WHERE {thing}_id = t.id ORDER BY version DESC LIMIT 1)
UNION
SELECT {thing}_id FROM (
    SELECT {thing}_id, version, status_from, row_number() OVER steps AS step, lag(status_to) OVER steps AS before
    FROM {thing}_events WINDOW steps AS (PARTITION BY {thing}_id ORDER BY version)) AS chain
WHERE version <> step OR status_from IS DISTINCT FROM before
ORDER BY 1
"""
"""Orders or payments that are not what their history makes of them, event by event."""

TABLES = """
SELECT oid::regclass::text FROM pg_class WHERE relkind IN ('r', 'm', 't') AND relpersistence = 'p' ORDER BY 1
"""
INDEXES = """
SELECT c.oid::regclass::text, i.indisunique FROM pg_class AS c
JOIN pg_index AS i ON i.indexrelid = c.oid JOIN pg_am AS a ON a.oid = c.relam
WHERE a.amname = 'btree' AND c.relkind = 'i' AND c.relpersistence = 'p' AND i.indisvalid AND i.indisready ORDER BY 1
"""


class Findings(msgspec.Struct, kw_only=True):
    """What a comparison found.

    Args:
        problems: none if all is well; else in words. tables, indexes: how many were read to the last page. rows: by
            history, how many the backup has. newest_event: when the last thing happened that the backup knows.
            behind_seconds: how long that was before the backup.
    """

    problems: list[str] = []
    tables: int = 0
    indexes: int = 0
    rows: dict[str, int] = {}
    newest_event: datetime | None = None
    behind_seconds: int | None = None


async def compare(restored: Connection, live: Connection, taken: datetime) -> Findings:
    """Judge a restored database by itself and by the living one.

    Args:
        restored: as its superuser: it gets an extension. live: with the right to read. taken: the moment to which the
            backup goes back, aware.

    Raises:
        asyncpg.PostgresError, OSError: the living one does not answer. What is wrong with the restored one is found.
    """
    found = Findings()
    found.problems += await _damage(restored, found)
    if found.problems:
        return found  # what is not whole is not to be read
    try:
        found.problems += await _unknown_migrations(restored, live)
        for thing in ("order", "payment"):
            rows = await restored.fetch(REPLAY.format(thing=thing))
            found.problems += _first([f"{thing} {row[0]} is not what its history makes of it" for row in rows])
        for history in HISTORIES:
            found.problems += _first([each async for each in _differences(history, restored, live, taken, found)])
        found.newest_event = await restored.fetchval(
            "SELECT greatest((SELECT max(at) FROM order_events), (SELECT max(at) FROM payment_events))"
        )
    except (asyncpg.UndefinedTableError, asyncpg.UndefinedColumnError) as error:
        found.problems.append(f"it is no database of Comanda's: {_line(error)}")
    if found.newest_event is not None:
        found.behind_seconds = round((taken - found.newest_event).total_seconds())
    return found


@dataclass(frozen=True)
class Places:
    """Where a comparison finds what it needs.

    Args:
        taken: the moment to which the backup goes back, aware. restored: the folder of the restored server's socket, or
            its host. passwords: the folder with those of the living one's users. live: that one's host, and its port.
        message: where Kubernetes reads a container's last word.
    """

    taken: datetime
    restored: str = "/var/run/postgresql"
    passwords: Path = Path("/run/secrets/database")
    live: str = "database.comanda-db.svc"
    port: int = 5432
    message: Path = Path("/dev/termination-log")


def read_places(environment: Mapping[str, str]) -> Places:
    """Read BACKUP_TAKEN; all the rest is as the manifest has it.

    Raises:
        SettingsError: it is missing, or no moment; one line.
    """
    try:
        taken = datetime.fromisoformat(environment.get("BACKUP_TAKEN", ""))
    except ValueError:
        taken = datetime.min  # noqa: DTZ901 (naive, and so refused below)
    if taken.tzinfo is None:
        raise SettingsError("BACKUP_TAKEN is not valid: the drill gives it; run `comanda drill` instead")
    return Places(taken)


async def judge(places: Places) -> Findings:
    """Wait until the restored server takes connections, and compare.

    Returns:
        What was found; that a server does not answer is a problem as well.
    """
    try:
        restored = await _restored(places)
    except FAILURES as error:
        return Findings(problems=[f"the restored database takes no connection: {_line(error)}"])
    try:
        live = await _live(places)
        try:
            return await compare(restored, live, places.taken)
        finally:
            await live.close(timeout=5)
    except FAILURES as error:
        return Findings(problems=[f"the comparison was broken off: {_line(error)}"])
    finally:
        await restored.close(timeout=5)


def as_message(found: Findings) -> bytes:
    """Answer findings as JSON that is short enough for a termination message."""
    problems = [each[:400] for each in found.problems]
    while True:
        text = msgspec.json.encode(msgspec.structs.replace(found, problems=problems))
        if len(text) <= LONGEST:
            return text
        problems = [*problems[: len(problems) // 2], "and more"]


async def _restored(places: Places) -> Connection:
    deadline = monotonic() + STARTS_WITHIN_SECONDS
    while True:
        try:
            return await asyncpg.connect(
                host=places.restored,
                user="postgres",
                database="comanda",
                timeout=10,
                server_settings={"timezone": "UTC"},
            )
        except asyncpg.InvalidAuthorizationSpecificationError:
            raise
        except OUTAGES:
            # It starts, and replays what was in its log. If it ends instead, the drill sees that, and not we.
            if monotonic() >= deadline:
                raise
            await asyncio.sleep(LOOKS_EVERY_SECONDS)


async def _live(places: Places) -> Connection:
    deadline = monotonic() + ANSWERS_WITHIN_SECONDS
    while True:
        for user, file in LIVE_USERS:
            last = (user, file) == LIVE_USERS[-1]
            try:
                password = (places.passwords / file).read_text(encoding="utf-8").strip()
                return await asyncpg.connect(
                    host=places.live,
                    port=places.port,
                    user=user,
                    password=password,
                    database="comanda",
                    timeout=10,
                    server_settings=READ_ONLY,
                )
            except OUTAGES:
                if last and monotonic() >= deadline:
                    raise
        await asyncio.sleep(LOOKS_EVERY_SECONDS)


async def _damage(restored: Connection, found: Findings) -> list[str]:
    """Read every table and index to the last page, and each by what PostgreSQL knows of how it must be."""
    if await restored.fetchval("SELECT pg_is_in_recovery()"):
        return ["its recovery did not come to an end"]
    problems = []
    try:
        # In a schema of its own: it is no part of what is compared.
        await restored.execute("CREATE SCHEMA drill; CREATE EXTENSION amcheck SCHEMA drill")
        tables, indexes = await restored.fetch(TABLES), await restored.fetch(INDEXES)
    except asyncpg.PostgresError as error:
        return [f"it cannot be checked: {_line(error)}"]
    for (name,) in tables:
        check = "SELECT msg FROM drill.verify_heapam($1::text::regclass, check_toast => true) LIMIT 1"
        problems += await _checked(restored, f"table {name}", check, name)
    for name, unique in indexes:
        check = f"SELECT drill.bt_index_parent_check($1::text::regclass, true, true, {unique})::text"
        problems += await _checked(restored, f"index {name}", check, name)
    found.tables, found.indexes = len(tables), len(indexes)
    return _first(problems)


async def _checked(restored: Connection, what: str, check: str, name: str) -> list[str]:
    try:
        # One returns what it finds, the other raises it.
        said = await restored.fetchval(check, name)
    except asyncpg.PostgresError as error:
        return [f"{what} is damaged: {_line(error)}"]
    return [f"{what} is damaged: {said}"] if said else []


async def _unknown_migrations(restored: Connection, live: Connection) -> list[str]:
    names = "SELECT name FROM schema_migrations"
    known = {row[0] for row in await live.fetch(names)}
    return [
        f"it has {row[0]}, which the living one has not" for row in await restored.fetch(names) if row[0] not in known
    ]


async def _differences(
    history: History, restored: Connection, live: Connection, taken: datetime, found: Findings
) -> AsyncIterator[str]:
    """Yield what differs: by the day first, and row by row of the days whose sums do."""
    # The living one last: what the backup has it must have by then.
    ours = await _days(history, restored)
    theirs = await _days(history, live)
    found.rows[history.name] = sum(count for count, _ in ours.values())
    for day in sorted({*ours, *theirs}):
        if ours.get(day) == theirs.get(day) or (day not in ours and day > taken.date()):
            continue
        for each in _of_day(history, await _rows(history, restored, day), await _rows(history, live, day), taken):
            yield each


async def _days(history: History, of: Connection) -> dict[date, tuple[int, str]]:
    """Answer by day, in UTC, how many rows there are and the sum over their hashes, in whichever order."""
    rows = await of.fetch(
        f"SELECT ({history.at} AT TIME ZONE 'UTC')::date, count(*), "
        f"sum(hashtextextended(ROW({history.columns})::text, 0))::text FROM {history.source} GROUP BY 1"
    )
    return {row[0]: (row[1], row[2]) for row in rows}


async def _rows(history: History, of: Connection, day: date) -> dict[str, tuple[int, datetime]]:
    begin = datetime(day.year, day.month, day.day, tzinfo=UTC)
    rows = await of.fetch(
        f"SELECT {history.key}, hashtextextended(ROW({history.columns})::text, 0), {history.at} "
        f"FROM {history.source} WHERE {history.at} >= $1 AND {history.at} < $2",
        begin,
        begin + timedelta(days=1),
    )
    return {row[0]: (row[1], row[2]) for row in rows}


def _of_day(
    history: History,
    ours: dict[str, tuple[int, datetime]],
    theirs: dict[str, tuple[int, datetime]],
    taken: datetime,
) -> Iterator[str]:
    for key, (row, at) in sorted(ours.items()):
        if key not in theirs and not history.forgotten:
            yield f"{history.name} {key} of {at.isoformat()} is in the backup and not in the living database"
        elif key in theirs and theirs[key][0] != row:
            yield f"{history.name} {key} of {at.isoformat()} differs from the living database's"
    for key, (_, at) in sorted(theirs.items()):
        if key not in ours and at < taken - LATE:
            yield f"{history.name} {key} of {at.isoformat()} is missing in the backup, which is of {taken.isoformat()}"


def _first(problems: Sequence[str]) -> list[str]:
    more = len(problems) - SHOWN
    return [*problems[:SHOWN], *([f"and {more} more of that kind"] if more > 0 else [])]


def _line(error: BaseException) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).splitlines()[:1])}"
