"""What docker/compose.yaml runs before API and worker, without containers: its steps on a PostgreSQL of our own."""

import json
import stat
from pathlib import Path

import pytest

from comanda_local import containers
from comanda_local.postgres import EmbeddedPostgres


def volumes(place: Path) -> Path:
    """Make what the volumes are at the first start."""
    for name in ("kept", "database", "migration", "pods", "sandbox"):
        (place / name).mkdir()
    return place


def contents(place: Path) -> dict[str, str]:
    """Answer all files, by their place."""
    return {str(file.relative_to(place)): file.read_text() for file in sorted(place.rglob("*")) if file.is_file()}


def test_secrets_are_drawn_once_and_each_goes_to_its_reader_alone(tmp_path: Path) -> None:
    place = volumes(tmp_path)
    containers.share(place)
    first = contents(place)
    assert list(first) == [
        "database/SUPERUSER_PASSWORD",
        "kept/secrets.json",
        "kept/superuser",
        "migration/settings",
        "pods/settings",
        "sandbox/settings",
    ]
    kept = {**json.loads(first["kept/secrets.json"]), "superuser": first["kept/superuser"]}
    assert all(len(value) >= 32 for value in kept.values())

    def told(file: str) -> set[str]:
        return {name for name, value in kept.items() if value in first[file]}

    assert told("database/SUPERUSER_PASSWORD") == {"superuser"}
    assert told("migration/settings") == {"owner_password"}
    assert told("pods/settings") == {"api_password", "sandbox_token", "webhook_secret"}
    assert told("sandbox/settings") == {"sandbox_token", "webhook_secret"}
    modes = {str(file.relative_to(place)): stat.S_IMODE(file.stat().st_mode) for file in place.glob("*/*")}
    assert {name for name, mode in modes.items() if mode != 0o600} == {"database/SUPERUSER_PASSWORD"}

    (place / "pods" / "settings").unlink()  # as after a start that was cut short
    containers.share(place)
    assert contents(place) == first


def test_roles_menu_and_keys_are_there_after_it_and_a_second_start_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "volumes").mkdir()
    place = volumes(tmp_path / "volumes")
    containers.share(place)
    with EmbeddedPostgres(tmp_path / "data", fsync=False) as postgres:
        (place / "kept" / "superuser").write_text(postgres.password)
        monkeypatch.setattr(containers, "HOST", postgres.superuser_url.rpartition("@")[2].partition("/")[0])
        monkeypatch.setattr(containers, "PLACE", place)
        monkeypatch.setenv("PORT", "18000")
        for _ in range(2):
            for step in ("secrets", "roles", "sample"):
                assert containers.main([step]) == 0, capsys.readouterr().err
            said = capsys.readouterr().out
            kept = json.loads((place / "kept" / "secrets.json").read_text())
            assert "http://127.0.0.1:18000 " in said
            assert kept["staff_key"] in said
            assert kept["manager_key"] in said
            assert kept["owner_password"] not in said
        monkeypatch.setattr(containers, "HOST", "127.0.0.1:1")
        assert containers.main(["roles"]) == 1
        error = capsys.readouterr().err
        assert error.startswith("comanda: ")
        assert error.count("\n") == 1
        assert postgres.password not in error
