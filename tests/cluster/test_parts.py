"""What the cluster is made of is told once and whole: the data against the locks, and against what we deploy."""

import re
import tomllib

import pytest

from tests.cluster.cache import ARCHITECTURES
from tests.cluster.parts import CORE, FOLDER, GO, PARTS, Part, of_binary
from tests.tidy.sources import ROOT

LICENCES = {"Apache-2.0", "MIT"}
"""Those that have been weighed."""

FOREIGN = [part for part in PARTS if part.module]
each_part = pytest.mark.parametrize("part", PARTS, ids=lambda part: part.name)
each_foreign_part = pytest.mark.parametrize("part", FOREIGN, ids=lambda part: part.name)


def go_mod(part: Part) -> str:
    """Answer a part's go.mod."""
    return (part.folder / "go.mod").read_text(encoding="utf-8")


def test_every_part_has_its_folder_and_no_other() -> None:
    assert sorted(part.name for part in PARTS) == sorted(path.name for path in FOLDER.iterdir())


@each_foreign_part
def test_its_lock_says_the_same_version(part: Part) -> None:
    required = re.findall(rf"^(?:require |\t){re.escape(part.module)} (\S+)", go_mod(part), re.MULTILINE)
    assert required == [part.version]
    assert part.checksum.startswith("h1:")


@each_foreign_part
def test_its_lock_has_its_programs_as_tools(part: Part) -> None:
    tools = re.findall(r"^(?:tool |\t)([^\s()]+)$", go_mod(part), re.MULTILINE)
    assert sorted(tools) == sorted(part.binaries.values())


@each_foreign_part
def test_what_is_taken_from_modules_is_locked(part: Part) -> None:
    locked = {tuple(line.split()[:2]) for line in (part.folder / "go.sum").read_text(encoding="utf-8").splitlines()}
    required = dict(re.findall(r"^(?:require )?\t?(\S+) (v\S+)", go_mod(part), re.MULTILINE))
    for file in part.files.values():
        assert (file.module, required[file.module]) in locked


@each_part
def test_it_says_its_licence_and_why_it_is_there(part: Part) -> None:
    assert part.licence in LICENCES
    assert part.why.endswith(".")
    assert part.seconds > 0


@each_part
def test_the_go_that_is_asked_for_is_new_enough(part: Part) -> None:
    found = re.search(r"^go (\S+)$", go_mod(part), re.MULTILINE)
    assert found is not None
    assert tuple(map(int, found[1].split("."))) <= GO


def test_programs_and_parts_are_named_once() -> None:
    programs = [name for part in PARTS for name in part.binaries]
    assert len(set(programs)) == len(programs)
    assert len({part.name for part in PARTS}) == len(PARTS)
    assert of_binary("kubelet").name == "kubernetes"
    with pytest.raises(KeyError, match="no part"):
        of_binary("cubelet")


def test_the_core_comes_first() -> None:
    assert PARTS[: len(CORE)] == CORE
    assert {part.name for part in CORE} >= {"kubernetes", "etcd", "containerd", "pause", "crane", "coredns"}


def test_kubernetes_is_the_one_that_we_create() -> None:
    settings = tomllib.loads((ROOT / "infra" / "settings.toml").read_text(encoding="utf-8"))
    assert of_binary("kubelet").version.startswith(f"v{settings['cluster']['kubernetes_version']}.")


def test_kubernetes_modules_are_all_of_one_release() -> None:
    kubernetes = of_binary("kubelet")
    replaced = re.findall(r"^\tk8s\.io/\S+ => k8s\.io/\S+ (\S+)$", go_mod(kubernetes), re.MULTILINE)
    assert len(replaced) > 30
    assert set(replaced) == {kubernetes.version.replace("v1.", "v0.")}


def test_versions_that_programs_are_told_are_those_that_are_built() -> None:
    for part in PARTS:
        told = {value.removeprefix("v") for name, value in part.variables.items() if name.endswith("ersion")}
        # Prometheus counts its modules otherwise than itself: v0.316.0 is 3.16.0.
        assert told <= {part.version.removeprefix("v"), re.sub(r"^v0\.(\d)(\d\d)\.", r"\1.\2.", part.version)}


def test_architectures_are_those_of_the_nodes_that_we_offer() -> None:
    assert set(ARCHITECTURES.values()) == {"amd64", "arm64"}
