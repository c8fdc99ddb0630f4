"""`python -m comanda`: one image, several commands."""

import argparse
import asyncio
import json
import logging
import os
import signal
import sys
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import asyncpg

from comanda.clock import utc_now
from comanda.errors import ComandaError
from comanda.settings import Settings, SettingsError, read_settings

DATABASE_ERRORS = (OSError, asyncpg.PostgresError, asyncpg.InterfaceError)


class CommandError(Exception):
    """What a command says when it cannot go on: one line, with the mend."""


def main(arguments: list[str] | None = None) -> int:
    """Run a command; answer its exit status: 0 done, 1 failed, 2 wrongly called or set up."""
    options = _parser().parse_args(arguments)
    try:
        return _finish(int(options.run(options) or 0))
    except SettingsError as error:
        print(f"comanda: {error}", file=sys.stderr)
        return 2
    except (CommandError, ComandaError) as error:
        print(f"comanda: {error}", file=sys.stderr)
        return 1
    except BrokenPipeError:
        # Whoever read the output has had enough of it, as `| head` has; Python would complain again at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except KeyboardInterrupt:
        return 130


def _finish(status: int) -> int:
    """Write what is still buffered while a broken pipe can be told from a fault."""
    sys.stdout.flush()
    return status


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="comanda", description="Self-service ordering for a diner, paid by Pix.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def add(name: str, run: Callable[[argparse.Namespace], object], text: str) -> argparse.ArgumentParser:
        command = commands.add_parser(name, help=text, description=text)
        command.set_defaults(run=run)
        return command

    add("serve", _serve, "Run the API.")
    add("worker", _worker, "Run the worker: webhooks, payments, refunds.")
    add("migrate", _migrate, "Bring the database to this version (MIGRATION_DATABASE_URL, else DATABASE_URL).")
    add("openapi", _openapi, "Print the OpenAPI document.")
    back_up = add("back-up", _back_up, "In the cluster: back the database up, and prune backups that are too old.")
    back_up.add_argument("--dry-run", action="store_true", help="Only say what would be done.")
    add("drill", _drill, "In the cluster: restore the newest backup beside the database, and compare.")
    add("compare-backup", _compare_backup, "In the drill's pod: compare the restored database with the living one.")
    add("follow-settings", _follow_settings, "In the cluster: roll out API and worker if their settings changed.")

    keys = add("keys", _list_keys, "Make, list, rotate and revoke keys of staff and managers.")
    actions = keys.add_subparsers(metavar="ACTION")
    create = actions.add_parser("create", help="Make a key and print it, for the only time.")
    create.add_argument("name", help="Whose or what it is for, e.g. kitchen-tablet-1.")
    create.add_argument("--role", choices=["staff", "manager"], default="staff")
    create.set_defaults(run=_create_key)
    rotate = actions.add_parser(
        "rotate", help="Make a new key under a name and print it, for the only time; the one before ends by itself."
    )
    rotate.add_argument("name")
    rotate.add_argument(
        "--keep", type=_minutes, default=60, metavar="MINUTES", help="How long the one before stays valid (60)."
    )
    rotate.set_defaults(run=_rotate_key)
    revoke = actions.add_parser("revoke", help="Revoke a key, and those that it replaced, at once.")
    revoke.add_argument("name")
    revoke.set_defaults(run=_revoke_key)
    actions.add_parser("list", help="List keys as JSON lines; never the keys themselves.").set_defaults(run=_list_keys)

    menu = add("load-menu", _load_menu, "Fill an empty menu from a JSON document.")
    menu.add_argument("file", nargs="?", type=Path, help="`-`: standard input. Without one: the sample menu.")

    settle = add("settle-restored", _settle_restored, "After a restore: settle all payments since the backup.")
    settle.add_argument("--since", required=True, type=_moment, metavar="MOMENT", help="The backup's, in RFC 3339.")
    settle.add_argument(
        "--until", type=_moment, metavar="MOMENT", help="When the restored database was there to take orders; else now."
    )
    settle.add_argument(
        "--lost",
        choices=["refund", "keep"],
        default="refund",
        help="Paid orders that the database does not know: give the money back, or keep it, since they were served.",
    )
    settle.add_argument(
        "--patience",
        type=_seconds,
        default=600,
        metavar="SECONDS",
        help="How long to go on while the provider or the database does not answer (600).",
    )
    settle.add_argument("--dry-run", action="store_true", help="Say what would be done; change nothing.")
    return parser


def _serve(_options: argparse.Namespace) -> int:
    from comanda.app import serve

    return _run(serve)


def _worker(_options: argparse.Namespace) -> int:
    from comanda.worker import work

    return _run(work)


def _run(process: Callable[[Settings], Awaitable[None]]) -> int:
    import uvloop

    from comanda.http.logs import set_up_logs
    from comanda.process import ProcessError

    settings = read_settings(os.environ)
    set_up_logs(settings.log_level)

    async def run() -> None:
        await process(settings)

    try:
        uvloop.run(run())
    except ProcessError as error:
        raise CommandError(str(error)) from None
    except (SettingsError, KeyboardInterrupt):
        raise
    except BaseException:
        # A fault of ours: told like everything else, where the logs go.
        logging.getLogger("comanda").critical("ended by an unexpected error", exc_info=True)
        return 1
    return 0


def _migrate(_options: argparse.Namespace) -> None:
    from comanda.database.migrate import MigrationError, migrate

    name = "MIGRATION_DATABASE_URL" if os.environ.get("MIGRATION_DATABASE_URL") else "DATABASE_URL"
    url = os.environ.get(name) or _database_url()
    try:
        count = asyncio.run(migrate(url))
    except MigrationError as error:
        raise CommandError(str(error)) from None
    except ValueError:
        raise _not_a_url(name) from None
    except DATABASE_ERRORS as error:
        raise _unreachable(error) from None
    print(f"{count} migrations applied" if count else "nothing to migrate")


def _follow_settings(_options: argparse.Namespace) -> None:
    from comanda.cluster import ClusterError, of_this_pod
    from comanda.follow_settings import follow

    try:
        rolled = follow(of_this_pod(os.environ))
    except ClusterError as error:
        raise CommandError(str(error)) from None
    print(f"rolled out: {', '.join(rolled)}" if rolled else "nothing changed")


def _back_up(options: argparse.Namespace) -> None:
    from comanda.backups.back_up import BackupFailed, Job, back_up, foretell
    from comanda.backups.retention import read_rule
    from comanda.cluster import ClusterError, of_this_pod

    rule = read_rule(os.environ)
    try:
        job = Job(of_this_pod(os.environ), rule, utc_now, time.sleep, _say)
        if options.dry_run:
            print("\n".join(foretell(job)))
        else:
            back_up(job)
    except (ClusterError, BackupFailed) as error:
        raise CommandError(str(error)) from None


def _drill(_options: argparse.Namespace) -> None:
    from comanda.backups.drill import Drill, Red, drill, read_owner
    from comanda.cluster import ClusterError, of_this_pod

    # As a container's first process it would not hear of its end; and what it has made is to go with it.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        found = drill(Drill(of_this_pod(os.environ), read_owner(os.environ), utc_now, time.sleep, _say))
    except (ClusterError, Red) as error:
        raise CommandError(f"red: {error}") from None
    print(json.dumps(found))


def _compare_backup(_options: argparse.Namespace) -> int:
    from comanda.backups.compare import as_message, judge, read_places

    places = read_places(os.environ)
    found = asyncio.run(judge(places))
    message = as_message(found)
    # The drill reads it from the pod's status; whoever looks at the pod, in its log.
    places.message.write_bytes(message)
    print(message.decode())
    return 1 if found.problems else 0


def _say(line: str) -> None:
    print(line, flush=True)


def _openapi(_options: argparse.Namespace) -> None:
    from comanda.app import describe

    print(json.dumps(describe(), indent=1, ensure_ascii=False))


def _create_key(options: argparse.Namespace) -> None:
    from comanda.staff.keys import Role, create_key

    if not 1 <= len(options.name) <= 60 or not options.name.isprintable():
        raise CommandError("a key's name has 1 to 60 printable characters")

    async def create(connection: Any) -> str:
        return await create_key(connection, name=options.name, role=Role(options.role), now=utc_now())

    print(_with_database(create))


def _rotate_key(options: argparse.Namespace) -> None:
    from comanda.staff.keys import rotate_key

    now = utc_now()
    keep = timedelta(minutes=options.keep)

    async def rotate(connection: Any) -> str:
        return await rotate_key(connection, name=options.name, keep=keep, now=now)

    print(_with_database(rotate))
    print(f"the key before it is valid until {now + keep:%Y-%m-%d %H:%M:%S} UTC", file=sys.stderr)


def _revoke_key(options: argparse.Namespace) -> None:
    from comanda.staff.keys import revoke_key

    async def revoke(connection: Any) -> None:
        await revoke_key(connection, options.name, utc_now())

    _with_database(revoke)
    print(f"revoked {options.name}")


def _list_keys(_options: argparse.Namespace) -> None:
    import msgspec

    from comanda.staff.keys import list_keys

    async def listed(connection: Any) -> Any:
        return await list_keys(connection, utc_now())

    for record in _with_database(listed):
        print(msgspec.json.encode(record).decode())


def _load_menu(options: argparse.Namespace) -> None:
    import msgspec

    from comanda.menu.sample import LARGEST, load_menu, sample_menu

    try:
        document = _document(options.file, LARGEST) if options.file else sample_menu()
    except OSError as error:
        raise CommandError(f"cannot read {options.file}: {error.strerror}") from None
    if len(document) > LARGEST:
        raise CommandError(f"not a menu: it has more than {LARGEST} bytes")

    async def load(connection: Any) -> int | None:
        return await load_menu(connection, document, utc_now())

    try:
        count = _with_database(load)
    except msgspec.DecodeError as error:
        raise CommandError(f"not a menu: {error}") from None
    print("the menu is not empty; nothing was changed" if count is None else f"{count} products added")


def _document(file: Path, largest: int) -> bytes:
    """Read a file, or standard input, and one byte more than it may have at the most."""
    if str(file) == "-":
        return sys.stdin.buffer.read(largest + 1)
    with file.open("rb") as opened:
        return opened.read(largest + 1)


def _settle_restored(options: argparse.Namespace) -> None:
    import msgspec

    from comanda.after_restore import settle
    from comanda.http.logs import set_up_logs
    from comanda.process import ProcessError

    settings = read_settings(os.environ)
    # What is printed is for a script to read.
    set_up_logs(settings.log_level, sys.stderr)
    settling = settle(
        settings,
        since=options.since,
        until=options.until,
        keep=options.lost == "keep",
        patience=timedelta(seconds=options.patience),
        dry_run=options.dry_run,
    )
    try:
        report = asyncio.run(settling)
    except ProcessError as error:
        raise CommandError(str(error)) from None
    print(msgspec.json.encode(report).decode())
    if report.open:
        again = f"comanda settle-restored --since {options.since.isoformat()} --lost {options.lost}"
        raise CommandError(f"{len(report.open)} left open, see the output; go on with: {again}")


def _moment(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
        if moment.tzinfo is not None:
            return moment.astimezone(UTC)
    except (ValueError, OverflowError):
        pass
    raise argparse.ArgumentTypeError(f"{text!r} is not a moment with an offset, such as 2026-11-26T12:00:00Z")


def _seconds(text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text) <= 86_400):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds from 0 to 86400")
    return int(text)


def _minutes(text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text) <= 7 * 24 * 60):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of minutes from 0 to 10080")
    return int(text)


def _database_url() -> str:
    url = os.environ.get("DATABASE_URL", "")
    if not url:
        raise SettingsError("DATABASE_URL is not set: give it in the environment (docs/settings.md)")
    return url


def _with_database(work: Callable[[Any], Awaitable[Any]]) -> Any:
    url = _database_url()

    async def run() -> Any:
        try:
            connection = await asyncpg.connect(url, timeout=10)
        except ValueError:
            raise _not_a_url("DATABASE_URL") from None
        try:
            return await work(connection)
        finally:
            await connection.close(timeout=5)

    try:
        return asyncio.run(run())
    except DATABASE_ERRORS as error:
        raise _unreachable(error) from None


def _not_a_url(name: str) -> SettingsError:
    # Nothing of the error is shown: it may quote a part of the password.
    return SettingsError(f"{name} is not valid: give postgresql://USER:PASSWORD@HOST:PORT/DATABASE")


def _unreachable(error: Exception) -> CommandError:
    return CommandError(
        f"the database refused ({type(error).__name__}): check its URL, and that it runs and is migrated"
    )


if __name__ == "__main__":
    sys.exit(main())
