"""The small commands, as an operator types them: what they print, and one line where they cannot."""

import asyncio
import io
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import asyncpg
import pytest

from comanda.__main__ import main
from comanda.menu.sample import LARGEST, sample_menu
from comanda.staff.keys import hash_key
from comanda_local.ports import free_port

Command = Callable[..., tuple[int, str, str]]


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str]) -> Command:
    """Run a command; answer its status, output and errors."""

    def run(*words: str) -> tuple[int, str, str]:
        status = main(list(words))
        said = capsys.readouterr()
        assert "hidden-password" not in said.out + said.err
        return status, said.out, said.err

    return run


@pytest.fixture
def on_database(command: Command, database_url: str, monkeypatch: pytest.MonkeyPatch) -> Command:
    """Run commands with the rights that pods have."""
    monkeypatch.setenv("DATABASE_URL", database_url)
    return command


def refused(answer: tuple[int, str, str], status: int, *says: str) -> None:
    """Check that a command said one line, on the error output alone, and ended with `status`."""
    assert answer[:2] == (status, "")
    [line] = answer[2].splitlines()
    assert line.startswith("comanda: ")
    assert [text for text in says if text not in line] == [], line


def test_keys_are_made_once_shown_once_listed_and_revoked(on_database: Command) -> None:
    status, key, _ = on_database("keys", "create", "kitchen-tablet-1")
    assert status == 0
    assert key.startswith("comanda_staff_")
    status, manager, _ = on_database("keys", "create", "Dona Célia", "--role", "manager")
    assert (status, manager.startswith("comanda_manager_")) == (0, True)

    refused(on_database("keys", "create", "kitchen-tablet-1"), 1, "kitchen-tablet-1", "revoke it first")
    status, listed, _ = on_database("keys", "list")
    records = [json.loads(line) for line in listed.splitlines()]
    assert [(record["name"], record["role"], record["revoked_at"]) for record in records] == [
        ("kitchen-tablet-1", "staff", None),
        ("Dona Célia", "manager", None),
    ]
    for secret in (key, manager):
        assert secret.strip() not in listed
        assert hash_key(secret.strip()).hex() not in listed
    assert on_database("keys")[1] == listed

    assert on_database("keys", "revoke", "kitchen-tablet-1") == (0, "revoked kitchen-tablet-1\n", "")
    refused(on_database("keys", "revoke", "kitchen-tablet-1"), 1, "no valid key")
    assert json.loads(on_database("keys")[1].splitlines()[-1])["revoked_at"] is not None
    # The name is free again; the old key stays revoked.
    assert on_database("keys", "create", "kitchen-tablet-1")[1] != key


def test_a_key_is_rotated_and_the_list_says_what_ends_when(on_database: Command) -> None:
    _, old, _ = on_database("keys", "create", "tablet")
    status, new, told = on_database("keys", "rotate", "tablet", "--keep", "30")
    assert (status, new.startswith("comanda_staff_"), new == old) == (0, True, False)
    assert told.startswith("the key before it is valid until ")
    records = [json.loads(line) for line in on_database("keys", "list")[1].splitlines()]
    assert [(each["name"], each["valid"], each["revoked_at"] is None) for each in records] == [
        ("tablet", True, True),
        ("tablet", True, False),
    ]
    assert on_database("keys", "rotate", "tablet", "--keep", "0")[0] == 0
    assert [json.loads(line)["valid"] for line in on_database("keys")[1].splitlines()] == [True, True, False]
    refused(on_database("keys", "rotate", "nobody"), 1, "no valid key")


@pytest.mark.parametrize("minutes", ["-1", "1.5", "a while", "", "10081"])
def test_how_long_a_key_is_kept_is_a_number_of_minutes(
    on_database: Command, minutes: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        on_database("keys", "rotate", "tablet", f"--keep={minutes}")
    assert ended.value.code == 2
    assert "is not a number of minutes from 0 to 10080" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["", "x" * 61, "two\nlines", "\udcff"])
def test_odd_names_of_keys_are_refused(on_database: Command, name: str) -> None:
    refused(on_database("keys", "create", name), 1, "1 to 60 printable characters")


def test_a_menu_is_loaded_once(on_database: Command, tmp_path: Path) -> None:
    own = tmp_path / "menu.json"
    own.write_bytes(sample_menu())
    status, said, _ = on_database("load-menu", str(own))
    assert status == 0
    assert said.endswith(" products added\n")
    assert int(said.split()[0]) >= 20
    assert on_database("load-menu") == (0, "the menu is not empty; nothing was changed\n", "")


@pytest.mark.parametrize(
    ("document", "says"),
    [
        (b"{", "not a menu"),
        (b"\xff\xfe", "not a menu"),
        (b"[]", "not a menu"),
        (b'{"categories": [{"name": "A", "products": [{"name": "B", "price_cents": 0}]}]}', "$.categories[0]"),
        (b'{"categories": [{"name": "A", "products": [{"name": "B", "price_cents": 1.5}]}]}', "$.categories[0]"),
        (b'{"categories": [{"name": "A", "products": []}, {"name": "a", "products": []}]}', "A"),
    ],
)
def test_a_wrong_menu_changes_nothing(on_database: Command, tmp_path: Path, document: bytes, says: str) -> None:
    file = tmp_path / "menu.json"
    file.write_bytes(document)
    status, out, err = on_database("load-menu", str(file))
    assert (status, out, len(err.splitlines())) == (1, "", 1)
    assert says.lower() in err.lower()
    assert on_database("load-menu")[1].endswith("products added\n")


def test_a_menu_comes_by_standard_input(on_database: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    one = b'{"categories": [{"name": "A", "products": [{"name": "B", "price_cents": 1}]}]}'
    for document, says in ((one[:-1], "not a menu"), (one + b" " * LARGEST, f"more than {LARGEST} bytes")):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(document)))
        refused(on_database("load-menu", "-"), 1, says)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(one)))
    assert on_database("load-menu", "-") == (0, "1 products added\n", "")


def test_a_file_that_is_far_too_large_is_not_read_whole(on_database: Command, tmp_path: Path) -> None:
    large = tmp_path / "large.json"
    with large.open("wb") as file:
        file.truncate(1 << 40)
    refused(on_database("load-menu", str(large)), 1, f"more than {LARGEST} bytes")


def test_an_empty_document_is_not_taken_for_a_menu_that_has_something(on_database: Command, tmp_path: Path) -> None:
    own = tmp_path / "menu.json"
    own.write_bytes(b'{"categories": []}')
    assert on_database("load-menu", str(own)) == (0, "0 products added\n", "")


def test_a_menu_that_cannot_be_read(on_database: Command, tmp_path: Path) -> None:
    refused(on_database("load-menu", str(tmp_path / "none.json")), 1, "none.json", "No such file")
    refused(on_database("load-menu", str(tmp_path)), 1, "Is a directory")


def test_migrate_says_what_it_did(command: Command, owner_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://nobody:hidden-password@127.0.0.1:9/none")
    monkeypatch.setenv("MIGRATION_DATABASE_URL", owner_url)
    assert command("migrate") == (0, "nothing to migrate\n", "")


async def make_away_with_a_checksum(owner_url: str) -> None:
    connection = await asyncpg.connect(owner_url)
    await connection.execute("UPDATE schema_migrations SET checksum = 'other'")
    await connection.close()


def test_migrate_refuses_in_one_line(owner_url: str, database_url: str, tmp_path: Path) -> None:
    asyncio.run(make_away_with_a_checksum(owner_url))
    for url, says in ((owner_url, "was edited after it was applied"), (database_url, "refused (InsufficientPriv")):
        environment = {"PATH": os.environ["PATH"], "DATABASE_URL": url}
        done = subprocess.run(
            [sys.executable, "-m", "comanda", "migrate"],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            cwd=tmp_path,
        )
        refused((done.returncode, done.stdout, done.stderr), 1, says)


COMMANDS = [["migrate"], ["keys", "list"], ["keys", "create", "x"], ["keys", "revoke", "x"], ["load-menu"]]


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_without_a_database(command: Command, words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    refused(command(*words), 2, "DATABASE_URL is not set")
    monkeypatch.setenv("DATABASE_URL", f"postgresql://app:hidden-password@127.0.0.1:{free_port()}/comanda")
    refused(command(*words), 1, "ConnectionRefusedError", "check its URL")
    for wrong in ("hidden-password", "postgresql://app:hidden-password/x@127.0.0.1/x", "mysql://hidden-password@x/y"):
        monkeypatch.setenv("DATABASE_URL", wrong)
        refused(command(*words), 2, "DATABASE_URL is not valid")


@pytest.mark.parametrize("words", COMMANDS[1:], ids=" ".join)
def test_before_migrating(
    command: Command, words: list[str], empty_database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", empty_database)
    refused(command(*words), 1, "UndefinedTableError", "migrated")


def test_openapi_needs_nothing(command: Command) -> None:
    status, said, errors = command("openapi")
    assert (status, errors) == (0, "")
    assert json.loads(said)["openapi"].startswith("3.1")


def test_output_that_nobody_reads_to_its_end(tmp_path: Path) -> None:
    done = subprocess.run(
        ["sh", "-c", f"{sys.executable} -m comanda openapi | head -c 1"],
        env={"PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
    )
    assert (done.stdout, done.stderr) == ("{", "")


@pytest.mark.parametrize("words", [[], ["nonsense"], ["keys", "create"], ["keys", "create", "x", "--role", "cook"]])
def test_wrong_words_end_with_status_2(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert ended.value.code == 2
    assert "usage: comanda" in capsys.readouterr().err
