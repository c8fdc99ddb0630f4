"""What the cluster does to this machine: commands, network namespaces, mounts, cgroups, and processes by their mark."""

import os
import signal
import subprocess
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

CGROUPS = Path("/sys/fs/cgroup")
CONTROLLERS = ("cpu", "cpuacct", "cpuset", "memory", "devices", "freezer", "blkio", "pids", "systemd")
NAMESPACES = Path("/run/netns")


class Failed(Exception):
    """The cluster cannot go on. The text says what failed and what to do."""


def run(*command: str, stdin: str | None = None, check: bool = True) -> str:
    """Run a command and answer what it said.

    Raises:
        Failed: it ended otherwise than well.
    """
    answer = subprocess.run(command, input=stdin, capture_output=True, text=True, check=False)
    if check and answer.returncode:
        raise Failed(f"{' '.join(command)}: {(answer.stderr or answer.stdout).strip()[-600:]}")
    return answer.stdout


def within(namespace: str, command: Iterable[str]) -> list[str]:
    """Answer the command that runs another in a network namespace, and becomes it: its process id is the other's.

    `ip netns exec` would mount a fresh /sys too, in which the cgroups are not.
    """
    return ["nsenter", f"--net={NAMESPACES / namespace}", "--", *command]


def is_unified() -> bool:
    """Answer whether this machine has cgroups of version 2 alone."""
    return (CGROUPS / "cgroup.controllers").exists()


def cgroup_folders(name: str) -> list[Path]:
    """Answer the folders of a cgroup, in every controller."""
    if is_unified():
        return [CGROUPS / name]
    return [CGROUPS / each / name for each in CONTROLLERS if (CGROUPS / each).is_dir()]


def make_cgroup(name: str) -> None:
    """Make a cgroup in every controller, so that a kubelet can put pods below it."""
    if is_unified():
        for above in (CGROUPS, CGROUPS / name):
            above.mkdir(exist_ok=True)
            usable = (above / "cgroup.controllers").read_text(encoding="utf-8").split()
            wanted = [f"+{each}" for each in ("cpu", "cpuset", "memory", "pids", "io", "hugetlb") if each in usable]
            (above / "cgroup.subtree_control").write_text(" ".join(wanted), encoding="utf-8")
        return
    for folder in cgroup_folders(name):
        folder.mkdir(exist_ok=True)
        if folder.parent.name == "cpuset":
            # Empty at first, and then no process may enter.
            for file in ("cpuset.cpus", "cpuset.mems"):
                (folder / file).write_text((folder.parent / file).read_text(encoding="utf-8"), encoding="utf-8")


def processes_of_cgroup(name: str) -> set[int]:
    """Answer the processes in a cgroup and below it."""
    found: set[int] = set()
    for folder in cgroup_folders(name):
        for file in folder.rglob("cgroup.procs"):
            try:
                found.update(int(line) for line in file.read_text(encoding="utf-8").split())
            except OSError:  # gone meanwhile
                continue
    return found


def remove_cgroup(name: str) -> None:
    """Remove a cgroup and all below it; its processes are gone already."""
    for folder in cgroup_folders(name):
        for each in sorted(folder.rglob("*"), key=lambda path: -len(path.parts)) if folder.exists() else []:
            if each.is_dir():
                each.rmdir()
        if folder.exists():
            folder.rmdir()


def processes_with(marker: str) -> set[int]:
    """Answer the processes in whose environment a marker stands, this one not."""
    found = set()
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            if marker.encode() in (entry / "environ").read_bytes().split(b"\0"):
                found.add(int(entry.name))
        except OSError:  # gone meanwhile
            continue
    return found


def end(processes: Iterable[int], sign: int = signal.SIGKILL) -> None:
    """Signal processes by their ids; those that are gone are well."""
    for process in processes:
        try:
            os.kill(process, sign)
        except ProcessLookupError:
            continue


def mounts_below(folder: Path) -> Iterator[str]:
    """Answer what is mounted at or below a folder, the innermost first."""
    places = []
    for line in Path("/proc/self/mountinfo").read_text(encoding="utf-8").splitlines():
        place = line.split()[4].encode().decode("unicode_escape")
        if place == str(folder) or place.startswith(f"{folder}/"):
            places.append(place)
    yield from sorted(places, key=len, reverse=True)


def unmount_below(folder: Path) -> None:
    """Unmount all at or below a folder, lazily: what still has a file open keeps it, and nobody else."""
    for place in mounts_below(folder):
        run("umount", "--lazy", place, check=False)


def share_root() -> bool:
    """Make the root mount shared, as it is where systemd starts a machine; answer whether it was not.

    Without it no pod can have the node's root with what is mounted there later (mountPropagation: HostToContainer).
    """
    lines = [line.split() for line in Path("/proc/self/mountinfo").read_text(encoding="utf-8").splitlines()]
    # proc(5): the fields after the sixth, up to "-", are the tags; a shared mount has "shared:N".
    if any(line[4] == "/" and any(each.startswith("shared:") for each in line[6 : line.index("-")]) for line in lines):
        return False
    run("mount", "--make-shared", "/")
    return True


def argument_of(process: int) -> Sequence[str]:
    """Answer the command line of a process, nothing if it is gone."""
    try:
        return Path(f"/proc/{process}/cmdline").read_text(encoding="utf-8").split("\0")[:-1]
    except OSError:
        return []
