"""A cluster's own life: started twice, two on one machine, killed half-way, killed outright. In the end it works.

They are played by a second checkout, beside the one whose cluster the other tests are on. Both have the same addresses:
each has them in namespaces of its own.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from tests.cluster import cleaning
from tests.cluster.layout import CLONE, NODES, Layout, layout
from tests.cluster.machine import processes_with
from tests.cluster.objects import Kubectl
from tests.cluster.suite.kube import until

pytestmark = [pytest.mark.cluster, pytest.mark.apart]
TAKES_THE_RANGE = "ip link add taken type bridge && ip address add 172.30.0.9/24 dev taken && ip link set taken up"


class Checkout:
    """Another clone of this project, and its cluster's core.

    Args:
        folder: of the clone.
    """

    def __init__(self, folder: Path) -> None:
        """Copy what a cluster is made from."""
        self.layout = Layout(clone=folder)
        ignored = shutil.ignore_patterns("__pycache__", "suite")
        shutil.copytree(CLONE / "tests" / "cluster", folder / "tests" / "cluster", ignore=ignored)
        shutil.copy(CLONE / "tests" / "__init__.py", folder / "tests")
        shutil.copytree(CLONE / "src", folder / "src", ignore=ignored)
        self.folder = folder

    def start(self, *command: str, within: Sequence[str] = ()) -> "subprocess.Popen[str]":
        """Start a command of its cluster, by another command if one is given."""
        return subprocess.Popen(
            [*within, sys.executable, "-m", "tests.cluster", *command],
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def run(self, *command: str, within: Sequence[str] = (), code: int = 0) -> str:
        """Run one, and answer what it says."""
        with self.start(*command, within=within) as process:
            said, _ = process.communicate(timeout=180)
        assert process.returncode == code, said
        return said

    def nodes(self) -> list[str]:
        """Answer its nodes, as its API server knows them."""
        facts = json.loads(self.layout.facts.read_text(encoding="utf-8"))
        kube = Kubectl(Path(facts["kubectl"]), Path(facts["kubeconfig"]))
        return [each["metadata"]["name"] for each in kube.get("nodes")]


def supervisors(of: Layout) -> set[int]:
    """Answer the process ids of a cluster's supervisor: one at most, if all is well."""
    lines = {each: Path(f"/proc/{each}/cmdline") for each in processes_with(of.marker)}
    return {each for each, line in lines.items() if line.exists() and b"\0supervise\0" in line.read_bytes()}


@pytest.fixture
def other(tmp_path: Path) -> Iterator[Checkout]:
    """A second checkout, whose cluster is gone at the end whatever became of it."""
    checkout = Checkout(tmp_path / "other")
    yield checkout
    cleaning.clean(checkout.layout)


def test_addresses_that_the_machine_uses_are_refused_in_one_line(other: Checkout) -> None:
    # A network of its own plays a machine on which somebody else has them.
    another_machine = ["unshare", "--net", "--", "sh", "-c", f'{TAKES_THE_RANGE} && exec "$@"', "sh"]
    first, *lacks = other.run("up", "--core", within=another_machine, code=1).splitlines()
    assert first == "cluster: this machine lacks:"
    [line] = lacks
    assert "the addresses 172.30.0.0/24 for the nodes (172.30.0.0/24 is in use, " in line
    assert "COMANDA_CLUSTER_NETWORK=" in line
    assert cleaning.leftovers(other.layout) == []


def test_a_second_checkout_s_cluster_killed_half_way_and_again_works_and_the_first_is_not_touched(
    other: Checkout, kube: Kubectl
) -> None:
    before = (supervisors(layout()), kube.get("namespace", "kube-system")["metadata"]["uid"])
    assert len(before[0]) == 1
    with _half_way_up(other) as starting:
        starting.kill()
        starting.communicate()
    assert cleaning.leftovers(other.layout) != []
    assert "leftovers go first" in other.run("up", "--core")
    assert other.nodes() == [node.name for node in NODES]
    assert "is up already" in other.run("up", "--core")

    [supervisor] = supervisors(other.layout)
    os.kill(supervisor, signal.SIGKILL)
    said = other.run("up", "--core")
    assert "leftovers go first" in said
    assert "ready:" in said
    assert other.nodes() == [node.name for node in NODES]
    assert len(supervisors(other.layout)) == 1

    assert "nothing of the cluster is left" in other.run("down")
    assert cleaning.leftovers(other.layout) == []
    assert (supervisors(layout()), kube.get("namespace", "kube-system")["metadata"]["uid"]) == before


def test_of_one_whose_every_process_was_killed_nothing_is_left_either(other: Checkout) -> None:
    with _half_way_up(other) as starting:
        for process in processes_with(other.layout.marker):
            os.kill(process, signal.SIGKILL)
        starting.kill()
        starting.communicate()
    assert "nothing of the cluster is left" in other.run("down")
    assert cleaning.leftovers(other.layout) == []


def _half_way_up(other: Checkout) -> "subprocess.Popen[str]":
    progress = other.layout.folder / "progress"
    starting = other.start("up", "--core")
    until("half of it is there", lambda: progress.exists() and "API server" in progress.read_text("utf-8"))
    return starting
