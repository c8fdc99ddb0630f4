"""A restored database is judged by itself and by the living one: green, and red for each kind of damage."""

import asyncio
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import asyncpg
import msgspec
import pytest

from comanda.__main__ import main
from comanda.backups import compare as comparing
from comanda.backups.compare import Findings, Places, as_message, compare, judge
from comanda.database.migrate import migrate
from comanda.database.pool import Connection
from comanda_local.postgres import EmbeddedPostgres, bin_dir
from tests.conftest import url_of
from tests.database.rows import connected
from tests.running_diner import Diner

MINUTE = timedelta(minutes=1)


class Pair:
    """A living database, as its owner and as the API's user, and the restored one."""

    def __init__(self, owner: Connection, live: Connection, restored: Connection, taken: datetime) -> None:
        self.owner = owner
        self.live = live
        self.restored = restored
        self.taken = taken

    async def compare(self) -> Findings:
        """Compare them, as the drill does."""
        return await compare(self.restored, self.live, self.taken)

    async def history(self, connection: Connection, sql: str) -> None:
        """Do to the history what no code can."""
        await connection.execute("SET session_replication_role = replica")
        await connection.execute(sql)
        await connection.execute("SET session_replication_role = DEFAULT")


async def orders(diner: Diner) -> None:
    """Have some of each: open, served, refunded, ended."""
    await diner.place(1)
    served = await diner.place(2, 1)
    await diner.pay(served)
    await diner.work()
    await diner.advance(served, "preparing", "ready", "picked_up")
    refunded = await diner.place(1)
    await diner.pay(refunded)
    await diner.work()
    await diner.refund(refunded, {"all": True})
    await diner.work()
    cancelled = await diner.place(1)
    await diner.call("POST", f"/v1/orders/{cancelled['id']}/cancel")
    await diner.work()


@pytest.fixture
async def pair(diner: Diner, server: EmbeddedPostgres, database: str, owner_url: str) -> AsyncIterator[Pair]:
    """What guests have ordered, then a backup of it, then more that they have ordered."""
    await orders(diner)
    copy = f"{database}_restored"
    async with connected(owner_url) as owner:
        # No database is copied while somebody is in it; so it is by rows.
        taken = await owner.fetchval("SELECT greatest((SELECT max(at) FROM order_events), now())")
        await restore(server, database, copy)
        await orders(diner)
        try:
            async with (
                connected(url_of(server, database, user="app")) as live,
                connected(url_of(server, copy)) as restored,
            ):
                for each in (live, restored):
                    await each.execute("SET timezone = 'UTC'")
                yield Pair(owner, live, restored, taken)
        finally:
            await owner.execute(f"DROP DATABASE {copy} WITH (FORCE)")


async def restore(server: EmbeddedPostgres, database: str, copy: str) -> None:
    """Make a database with the same rows, by dump and restore: for one that is in use."""
    async with connected(server.superuser_url) as superuser:
        await superuser.execute(f"CREATE DATABASE {copy}")
    command = (
        f"'{bin_dir()}/pg_dump' --dbname '{url_of(server, database)}' | "
        f"'{bin_dir()}/psql' --no-psqlrc --quiet --set ON_ERROR_STOP=1 --dbname '{url_of(server, copy)}'"
    )
    process = await asyncio.create_subprocess_shell(command, stdout=asyncio.subprocess.DEVNULL)
    assert await process.wait() == 0


async def test_a_backup_of_a_diner_that_went_on_is_green(pair: Pair) -> None:
    found = await pair.compare()
    assert found.problems == []
    assert found.rows["orders"] == 4
    assert found.rows["order_events"] == await pair.restored.fetchval("SELECT count(*) FROM order_events") > 8
    assert found.rows["refunds"] == 1
    assert await pair.live.fetchval("SELECT count(*) FROM orders") == 8
    assert found.tables > 70, "the catalogs too"
    assert found.indexes > 120
    assert found.newest_event == await pair.restored.fetchval("SELECT max(at) FROM payment_events")
    assert found.behind_seconds is not None
    assert 0 <= found.behind_seconds < 60


async def test_the_api_s_user_may_ask_all_of_it_and_changes_nothing(pair: Pair) -> None:
    await pair.live.execute("SET default_transaction_read_only = on")
    assert (await pair.compare()).problems == []


async def test_a_backup_without_any_order_is_green(server: EmbeddedPostgres, database: str) -> None:
    await restore(server, database, f"{database}_restored")
    async with (
        connected(url_of(server, database)) as live,
        connected(url_of(server, f"{database}_restored")) as restored,
    ):
        found = await compare(restored, live, datetime(2026, 11, 26, tzinfo=UTC))
    assert (found.problems, found.newest_event, found.behind_seconds) == ([], None, None)


@pytest.mark.parametrize(
    ("sql", "said"),
    [
        (
            "UPDATE order_events SET actor = 'somebody' WHERE id = (SELECT min(id) FROM order_events)",
            "order_events 1 of .* differs from the living database's",
        ),
        (
            "UPDATE payment_events SET at = at + interval '1 microsecond' WHERE id = 1",
            "payment_events 1 of .* differs",
        ),
        (
            "UPDATE payment_events SET reason = '' WHERE reason IS NULL AND id = 1",
            "payment_events 1 of .* differs",
        ),
        ("UPDATE orders SET notes = 'other' WHERE id = (SELECT min(id::text)::uuid FROM orders)", "orders .* differs"),
        ("UPDATE order_items SET unit_price_cents = unit_price_cents + 1", "order_items .*/1 of .* differs"),
        ("UPDATE refunds SET idempotency_key = 'another'", "refunds .* differs"),
        ("UPDATE payments SET amount_cents = amount_cents + 1", "payments .* differs"),
    ],
)
async def test_a_row_that_changed_is_red(pair: Pair, sql: str, said: str) -> None:
    await pair.history(pair.restored, sql)
    assert_said(await pair.compare(), said)


async def test_an_event_that_the_living_one_lost_is_red(pair: Pair) -> None:
    await pair.history(pair.owner, "DELETE FROM order_events WHERE id = 2")
    assert_said(await pair.compare(), "order_events 2 of .* is in the backup and not in the living database")


async def test_an_old_event_that_the_backup_lacks_is_red(pair: Pair) -> None:
    old = "UPDATE order_events SET at = at - interval '11 minutes' WHERE id = 1"
    await pair.history(pair.owner, old)
    await pair.history(pair.restored, "DELETE FROM order_events WHERE id = 1")
    assert_said(await pair.compare(), "order_events 1 of .* is missing in the backup, which is of ")


async def test_an_event_that_was_just_being_written_is_no_loss(pair: Pair) -> None:
    """Its number and its time are from before the backup, its commit is not."""
    ours = "SELECT id FROM orders ORDER BY id LIMIT 1"
    order = await pair.live.fetchval(ours)
    for sql in (
        "DELETE FROM order_events WHERE order_id = '{}'",
        "DELETE FROM payment_events WHERE payment_id IN (SELECT id FROM payments WHERE order_id = '{}')",
        "DELETE FROM refunds WHERE payment_id IN (SELECT id FROM payments WHERE order_id = '{}')",
        "DELETE FROM payments WHERE order_id = '{}'",
        "DELETE FROM order_items WHERE order_id = '{}'",
        "DELETE FROM orders WHERE id = '{}'",
    ):
        await pair.history(pair.restored, sql.format(order))
    assert (await pair.compare()).problems == []


@pytest.mark.parametrize(
    ("sql", "said"),
    [
        ("UPDATE orders SET status = 'expired' WHERE status = 'cancelled'", "order"),
        ("UPDATE orders SET version = version + 1 WHERE status = 'picked_up'", "order"),
        ("UPDATE payments SET status = 'pending' WHERE status = 'approved'", "payment"),
        ("UPDATE order_events SET status_from = 'expired' WHERE status_to = 'ready'", "order"),
        ("DELETE FROM payment_events WHERE version = 2", "payment"),
    ],
)
async def test_a_state_that_does_not_follow_from_its_history_is_red(pair: Pair, sql: str, said: str) -> None:
    await pair.history(pair.restored, sql)
    assert_said(await pair.compare(), f"{said} [0-9a-f-]{{36}} is not what its history makes of it")


async def test_webhooks_may_be_forgotten_and_not_changed(pair: Pair) -> None:
    assert await pair.restored.fetchval("SELECT count(*) FROM webhook_events") > 1
    await pair.owner.execute("DELETE FROM webhook_events WHERE id = (SELECT min(id) FROM webhook_events)")
    assert (await pair.compare()).problems == []


async def test_a_changed_webhook_is_red(pair: Pair) -> None:
    await pair.owner.execute("UPDATE webhook_events SET provider_payment_id = 1 WHERE id = 1")
    assert_said(await pair.compare(), "webhook_events 1 of .* differs")


async def test_a_database_of_a_version_that_the_living_one_has_not_is_red(pair: Pair) -> None:
    await pair.restored.execute("INSERT INTO schema_migrations (name, checksum) VALUES ('9999_x.sql', '')")
    assert_said(await pair.compare(), r"it has 9999_x\.sql, which the living one has not")


async def test_a_database_that_is_none_of_ours_is_red(pair: Pair, server: EmbeddedPostgres) -> None:
    await pair.restored.execute("DROP TABLE order_events CASCADE")
    assert_said(await pair.compare(), "it is no database of Comanda's: .*order_events")


async def test_many_problems_are_named_by_the_first_and_their_number(pair: Pair) -> None:
    await pair.history(pair.restored, "UPDATE order_events SET actor = 'x'")
    problems = (await pair.compare()).problems
    assert len(problems) == 4
    assert problems[-1].endswith("more of that kind")


@pytest.mark.parametrize("thing", ["orders", "orders_pkey"])
async def test_a_page_that_is_damaged_on_the_disk_is_red(tmp_path: Path, thing: str) -> None:
    """On a disk of its own: what a snapshot of a failing one brings."""
    postgres = EmbeddedPostgres(tmp_path / "data", fsync=False)
    with postgres:
        async with connected(postgres.superuser_url) as superuser:
            await superuser.execute("CREATE DATABASE comanda")
        url = postgres.superuser_url.rpartition("/")[0] + "/comanda"
        await migrate(url)
        async with connected(url) as owner:
            await owner.execute(
                "INSERT INTO orders (id, status, total_cents, created_at, status_changed_at) SELECT gen_random_uuid(), "
                "'awaiting_payment', 1, now(), now() FROM generate_series(1, 2000)"
            )
            file = tmp_path / "data" / await owner.fetchval("SELECT pg_relation_filepath($1::text::regclass)", thing)
            await owner.execute("CHECKPOINT")
    with file.open("r+b") as pages:
        pages.seek(2 * 8192 + 4000)
        pages.write(b"\xff" * 64)
    with postgres:
        async with connected(url) as restored:
            found = await compare(restored, restored, datetime.now(UTC))
    kind = "index" if thing.endswith("pkey") else "table"
    assert_said(found, f"{kind} {thing} is damaged: DataCorruptedError: invalid page")
    assert found.rows == {}, "what is not whole is not read"


async def test_an_index_that_lost_a_row_is_red(pair: Pair) -> None:
    """It would be read without a fault, and lie."""
    await pair.restored.execute("UPDATE pg_index SET indisready = false WHERE indexrelid = 'orders_newest'::regclass")
    await pair.restored.execute(
        "INSERT INTO orders (id, status, total_cents, created_at, status_changed_at) "
        "VALUES (gen_random_uuid(), 'expired', 1, now(), now())"
    )
    await pair.restored.execute("UPDATE pg_index SET indisready = true WHERE indexrelid = 'orders_newest'::regclass")
    assert_said(await pair.compare(), "index orders_newest is damaged: .*lacks matching index tuple")


@pytest.fixture
async def places(server: EmbeddedPostgres, template: str, tmp_path: Path) -> AsyncIterator[Callable[..., Places]]:
    """A living database by the names and users that the cluster has; with the template come the roles."""
    async with connected(server.superuser_url) as superuser:
        await superuser.execute(f"CREATE DATABASE comanda TEMPLATE {template}")
        for user in ("comanda_api_a", "comanda_api_b"):
            await superuser.execute(f"CREATE ROLE {user} LOGIN PASSWORD '{user}' IN ROLE comanda_app")
        (tmp_path / "API_A_PASSWORD").write_text("comanda_api_a\n")
        (tmp_path / "API_B_PASSWORD").write_text("comanda_api_b\n")
        yield lambda: Places(datetime.now(UTC), "127.0.0.1", tmp_path, "127.0.0.1", server.port, tmp_path / "message")
        await superuser.execute("DROP DATABASE comanda WITH (FORCE)")
        await superuser.execute("DROP ROLE comanda_api_a, comanda_api_b")


@pytest.mark.parametrize("wrong", ["API_A_PASSWORD", "API_B_PASSWORD"])
async def test_while_one_password_changes_the_other_user_is_let_in(
    places: Callable[..., Places], tmp_path: Path, wrong: str
) -> None:
    (tmp_path / wrong).write_text("not any more")
    live = await comparing._live(places())
    try:
        assert await live.fetchval("SELECT count(*) FROM orders") == 0
        with pytest.raises(asyncpg.ReadOnlySQLTransactionError):
            await live.execute("INSERT INTO pickup_days (day, base) VALUES ('2026-11-26', 1)")
    finally:
        await live.close()


async def test_a_living_database_that_lets_nobody_in_is_red(
    places: Callable[..., Places], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, server: EmbeddedPostgres
) -> None:
    for file in ("API_A_PASSWORD", "API_B_PASSWORD"):
        (tmp_path / file).write_text("wrong")
    monkeypatch.setattr(comparing, "ANSWERS_WITHIN_SECONDS", 0.1)

    async def restored(_places: Places) -> Connection:
        return await asyncpg.connect(url_of(server, "comanda"))

    monkeypatch.setattr(comparing, "_restored", restored)
    assert_said(await judge(places()), "the comparison was broken off: InvalidPasswordError")


async def test_a_server_that_never_takes_connections_is_red(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(comparing, "STARTS_WITHIN_SECONDS", 0.1)
    monkeypatch.setattr(comparing, "LOOKS_EVERY_SECONDS", 0.05)
    found = await judge(Places(datetime.now(UTC), str(tmp_path)))
    assert_said(found, "the restored database takes no connection: FileNotFoundError")


def test_a_result_fits_into_a_termination_message_however_bad_it_is() -> None:
    text = as_message(Findings(problems=["ç" * 1000] * 40, rows={"orders": 1}))
    assert len(text) <= 4096
    assert msgspec.json.decode(text)["problems"][-1] == "and more"
    assert msgspec.json.decode(as_message(Findings(problems=["a"])))["problems"] == ["a"]


@pytest.mark.parametrize("taken", ["", "yesterday", "2026-11-26T12:00:00"])
def test_without_the_moment_of_the_backup_it_is_wrongly_called(
    taken: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("BACKUP_TAKEN", taken)
    assert main(["compare-backup"]) == 2
    assert "BACKUP_TAKEN is not valid" in capsys.readouterr().err


def assert_said(found: Findings, said: str) -> None:
    """Hold that it was found, and that the rest of the comparison was not for nothing."""
    assert found.problems
    with pytest.raises(AssertionError, match=said):
        raise AssertionError("\n".join(found.problems))
