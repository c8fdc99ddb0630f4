"""Nothing is left: processes, mounts, loop devices, namespaces, cgroups and files of this cluster, however it ended."""

import shutil
import time
from pathlib import Path

from tests.cluster.layout import NODES, Layout
from tests.cluster.machine import (
    Failed,
    cgroup_folders,
    end,
    mounts_below,
    processes_of_cgroup,
    processes_with,
    remove_cgroup,
    run,
    unmount_below,
)
from tests.cluster.network import remove
from tests.cluster.node import cgroup

PATIENCE = 20.0
LINKS = Path("/var/log/containers")
CNI_RESULTS = Path("/var/lib/cni/results")


def clean(layout: Layout) -> None:
    """Take away all of it, found by marks that do not depend on what the cluster remembers of itself.

    Raises:
        Failed: something does not go.
    """
    _end_all(layout)
    _free_disks(layout)
    unmount_below(layout.folder)
    remove(layout)
    for node in NODES:
        remove_cgroup(cgroup(layout, node))
    _forget_addresses(layout)
    if layout.root_was_private.exists():
        run("mount", "--make-private", "/")
    shutil.rmtree(layout.folder, ignore_errors=True)
    _remove_dead_links(layout)
    layout.facts.unlink(missing_ok=True)
    if left := leftovers(layout):
        raise Failed(f"not all of it went: {', '.join(left)}")


def leftovers(layout: Layout) -> list[str]:
    """Answer what is left of a cluster on this machine, for people."""
    left = [f"process {each}" for each in sorted(_processes(layout))]
    left += [f"mount {each}" for each in mounts_below(layout.folder)]
    left += [f"network namespace {each.name}" for each in Path("/run/netns").glob(f"{layout.name}-*")]
    left += [f"cgroup {each}" for node in NODES for each in cgroup_folders(cgroup(layout, node)) if each.exists()]
    left += [str(layout.folder)] if layout.folder.exists() else []
    return left


def end_node(layout: Layout, name: str, space: str) -> None:
    """Kill all of a node's processes, containers and their shims too, as the loss of a machine does."""
    deadline = time.monotonic() + PATIENCE
    while alive := processes_with(f"COMANDA_TEST_NODE={space}") | processes_of_cgroup(f"{layout.name}-{name}"):
        if time.monotonic() > deadline:
            raise Failed(f"processes of {name} do not end: {sorted(alive)}")
        end(alive)
        time.sleep(0.05)


def _processes(layout: Layout) -> set[int]:
    found = processes_with(layout.marker)
    for node in NODES:
        found |= processes_of_cgroup(cgroup(layout, node))
    return found


def _end_all(layout: Layout) -> None:
    deadline = time.monotonic() + PATIENCE
    while alive := _processes(layout):
        if time.monotonic() > deadline:
            raise Failed(f"processes do not end: {sorted(alive)}")
        end(alive)
        time.sleep(0.05)


def _free_disks(layout: Layout) -> None:
    from tests.cluster.ebs import clean as free  # noqa: PLC0415 - it needs what only a running cluster has

    if (layout.folder / "ebs").exists():
        free(layout.folder / "ebs")


def _forget_addresses(layout: Layout) -> None:
    """CNI's plugins note each pod in a folder of the machine's."""
    for file in CNI_RESULTS.glob("*") if CNI_RESULTS.exists() else []:
        if str(layout.folder) in file.read_text(encoding="utf-8", errors="replace"):
            file.unlink()


def _remove_dead_links(layout: Layout) -> None:
    """kubelet links each container's log in a folder of the machine's."""
    for link in LINKS.glob("*.log") if LINKS.exists() else []:
        if link.is_symlink() and str(link.readlink()).startswith(str(layout.folder)):
            link.unlink()
