"""Which Prometheus and exporters `make run MONITORING=1` takes, and the line it says otherwise."""

from pathlib import Path

import pytest

from comanda_local.errors import LocalError
from comanda_local.programs import find_programs, known_flags
from tests.local.stand_in import program, says_version


def test_they_are_found_on_the_path_by_either_name(tmp_path: Path) -> None:
    prometheus = says_version(tmp_path / "prometheus", "3.16.0")
    node = program(tmp_path / "prometheus-node-exporter", "")
    postgres = program(tmp_path / "postgres_exporter", "")
    found = find_programs({"PATH": f"/nowhere:{tmp_path}", "PROMETHEUS": " "})
    assert (found.prometheus, found.node_exporter, found.postgres_exporter) == (prometheus, node, postgres)


def test_a_named_one_comes_before_the_path(tmp_path: Path) -> None:
    says_version(tmp_path / "prometheus", "2.53.0")
    named = says_version(tmp_path / "other", "3.0.1")
    found = find_programs({"PATH": str(tmp_path), "PROMETHEUS": str(named)})
    assert found.prometheus == named
    assert found.node_exporter is None
    assert found.postgres_exporter is None


def test_no_prometheus_is_refused_with_the_mend(tmp_path: Path) -> None:
    with pytest.raises(LocalError, match=r"there is none on the PATH: .*prometheus\.io/download/.* PROMETHEUS=/"):
        find_programs({"PATH": str(tmp_path)})


@pytest.mark.parametrize("version", ["2.42.0+ds", "2.55.1", "1.8.2", "v0.20.0"])
def test_an_old_prometheus_is_refused_with_the_mend(tmp_path: Path, version: str) -> None:
    old = says_version(tmp_path / "prometheus", version)
    with pytest.raises(LocalError, match=r"and 3 is the oldest that will do: .* PROMETHEUS=/") as refused:
        find_programs({"PATH": str(tmp_path)})
    assert str(refused.value).startswith(f"{old} is Prometheus {version.removesuffix('+ds')}, ")


def test_versions_are_numbers(tmp_path: Path) -> None:
    says_version(tmp_path / "prometheus", "10.0.0")
    find_programs({"PATH": str(tmp_path)})


def test_what_says_no_version_is_no_prometheus(tmp_path: Path) -> None:
    program(tmp_path / "prometheus", "echo hello\n")
    with pytest.raises(LocalError, match="so it is no Prometheus"):
        find_programs({"PATH": str(tmp_path)})


def test_what_cannot_be_run_is_refused(tmp_path: Path) -> None:
    program(tmp_path / "prometheus", "", interpreter="/nowhere/sh")
    with pytest.raises(LocalError, match=r"cannot be run \(No such file or directory\)"):
        find_programs({"PATH": str(tmp_path)})


@pytest.mark.parametrize("name", ["PROMETHEUS", "NODE_EXPORTER", "POSTGRES_EXPORTER"])
def test_a_named_one_that_is_not_there_is_refused(tmp_path: Path, name: str) -> None:
    says_version(tmp_path / "prometheus", "3.0.0")
    with pytest.raises(LocalError, match=rf"^{name} names no program that can be run \(/nowhere/it\)"):
        find_programs({"PATH": str(tmp_path), name: "/nowhere/it"})


def test_only_flags_that_a_version_knows_are_given(tmp_path: Path) -> None:
    help_of_both_kinds = (
        "  --collector.old  Enabled\n  --[no-]collector.new\n     Enable it\n  --web.listen-address=:9187"
    )
    asked = program(tmp_path / "exporter", f"cat >&2 <<'end'\n{help_of_both_kinds}\nend\n")
    wanted = ("--collector.old", "--no-collector.new", "--collector.newest", "--web.listen-address=:1")
    assert known_flags(asked, wanted) == ["--collector.old", "--no-collector.new", "--web.listen-address=:1"]
