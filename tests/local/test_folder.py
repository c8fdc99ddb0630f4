"""The data folder: its lock, its secrets, and the file that says all is ready."""

import json
import stat
from pathlib import Path

import pytest

from comanda_local.errors import LocalError
from comanda_local.folder import DataFolder

DOCUMENT = {"api": "http://127.0.0.1:8000", "sandbox": None}


def test_is_made_and_closed_to_others(tmp_path: Path) -> None:
    DataFolder(tmp_path / "a" / "b").take()
    assert stat.S_IMODE((tmp_path / "a" / "b").stat().st_mode) == 0o700


def test_an_open_folder_is_closed(tmp_path: Path) -> None:
    path = tmp_path / "open"
    path.mkdir()
    path.chmod(0o777)
    DataFolder(path).take()
    assert stat.S_IMODE(path.stat().st_mode) == 0o700


def test_one_run_at_a_time(tmp_path: Path) -> None:
    first = DataFolder(tmp_path)
    first.take()
    with pytest.raises(LocalError, match=r"already runs in this folder .* is starting or stopping"):
        DataFolder(tmp_path).take()
    first.publish(DOCUMENT)
    with pytest.raises(LocalError, match=r"already runs in this folder \(pid \d+\) at http://127.0.0.1:8000: use"):
        DataFolder(tmp_path).take()
    second = DataFolder(tmp_path)
    with pytest.raises(LocalError):
        second.take()
    second.withdraw()
    assert (tmp_path / "local.json").exists(), "the first one's file is left alone"


def test_what_a_killed_run_published_is_withdrawn(tmp_path: Path) -> None:
    (tmp_path / "local.json").write_text("{}")
    DataFolder(tmp_path).take()
    assert not (tmp_path / "local.json").exists()


def test_a_file_in_its_place_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(LocalError, match="cannot be written to"):
        DataFolder(tmp_path / "file").take()


def test_secrets_are_private_differ_and_stay(tmp_path: Path) -> None:
    folder = DataFolder(tmp_path)
    folder.take()
    made = folder.secrets()
    assert folder.secrets() == made
    file = tmp_path / "secrets.json"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    values = json.loads(file.read_text())
    assert len(set(values.values())) == len(values)
    assert made.sandbox_token.startswith("TEST-")
    assert made.staff_key not in repr(made)


def test_a_secret_that_is_missing_is_made_and_the_others_stay(tmp_path: Path) -> None:
    folder = DataFolder(tmp_path)
    folder.take()
    made = folder.secrets()
    file = tmp_path / "secrets.json"
    file.write_text(json.dumps({"staff_key": made.staff_key}))
    anew = folder.secrets()
    assert anew.staff_key == made.staff_key
    assert anew.manager_key != made.manager_key


@pytest.mark.parametrize("content", ["", "[]", '{"staff_key"'])
def test_broken_secrets_are_said(tmp_path: Path, content: str) -> None:
    folder = DataFolder(tmp_path)
    folder.take()
    (tmp_path / "secrets.json").write_text(content)
    with pytest.raises(LocalError, match=r"secrets\.json .*mend it, or remove it"):
        folder.secrets()


def test_publishes_privately_and_whole(tmp_path: Path) -> None:
    folder = DataFolder(tmp_path)
    folder.take()
    folder.publish(DOCUMENT)
    file = tmp_path / "local.json"
    assert json.loads(file.read_text()) == DOCUMENT
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    folder.withdraw()
    folder.withdraw()
    assert not file.exists()
