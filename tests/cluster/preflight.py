"""Says what this machine lacks for the tests' cluster, and what mends it: `python -m tests.cluster.preflight`."""

import argparse
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from ipaddress import IPv4Network
from pathlib import Path

from tests.cluster import toolchain
from tests.cluster.cache import ARCHITECTURES, missing, root
from tests.cluster.layout import layout
from tests.cluster.machine_facts import CAPABILITIES, CNI_PLUGINS, PACKAGES, PROBES, Facts, look

GIB = 2**30
MEMORY = 3 * GIB
DISK = 6 * GIB
"""For images, volumes and logs of a run."""

DISK_TO_BUILD = 25 * GIB
"""Most of it until the build is done; see `building`."""

CONTROLLERS = ("cpu", "cpuset", "memory", "pids")


@dataclass(frozen=True)
class Lack:
    """Something that the machine has not got, and what to do."""

    what: str
    mend: str
    packages: tuple[str, ...] = ()
    """Debian's and Ubuntu's, if those are what mends it."""

    def __str__(self) -> str:
        return f"{self.what}: {self.mend}"


def lacking() -> list[Lack]:
    """Answer what this machine lacks; nothing, if the cluster can start, or be built and started."""
    here = layout()
    ranges = {"the nodes": here.network, "the pods": here.pods, "the services": here.services}
    return judge(look([here.folder, root()]), here.folder, ranges, must_build=bool(missing()))


def judge(facts: Facts, state: Path, ranges: dict[str, IPv4Network], *, must_build: bool) -> list[Lack]:
    """Answer what a machine lacks, of what was seen of it.

    Args:
        facts: what was seen, the room at `state` and at the cache's root included.
        state: where the cluster keeps its state.
        ranges: the addresses that it will use, by what for.
        must_build: whether some of its programs are still to be built.
    """
    if facts.system != "Linux":
        return [Lack("Linux", f"this is {facts.system}: run it in a virtual machine with Linux")]
    return [
        *_rights(facts),
        *_programs(facts),
        *_kernel(facts),
        *(_build(facts) if must_build else []),
        *_room(facts, state, must_build=must_build),
        *_addresses(facts, ranges),
    ]


def _rights(facts: Facts) -> list[Lack]:
    if not facts.is_root:
        return [Lack("root", "nodes are made of namespaces and mounts: run it with sudo, or in a virtual machine")]
    return [
        Lack(name, "this root may not do everything: run it outside the container, or in a privileged one")
        for name, bit in CAPABILITIES.items()
        if not facts.capabilities >> bit & 1
    ]


def _programs(facts: Facts) -> list[Lack]:
    lacks = [_to_install(name, package) for name, package in PACKAGES.items() if name not in facts.programs]
    plugins = [name for name in CNI_PLUGINS if name not in facts.cni_plugins]
    if plugins:
        lacks.append(_to_install(f"the CNI plugins {', '.join(plugins)}", "containernetworking-plugins"))
    return lacks


def _to_install(what: str, package: str) -> Lack:
    return Lack(what, f"apt-get install {package}", (package,))


def _kernel(facts: Facts) -> list[Lack]:
    lacks = [
        Lack(f"the cgroup controller {name}", f"start the kernel with cgroup_enable={name}")
        for name in CONTROLLERS
        if name not in facts.controllers
    ]
    if not facts.cgroups_writable:
        lacks.append(Lack("cgroups to write to", "mount /sys/fs/cgroup writable: not in an unprivileged container"))
    for probe in PROBES:
        if probe.what in facts.failed_probes:
            lacks.append(Lack(f"{probe.what} ({facts.failed_probes[probe.what]})", probe.mend))
    return lacks


def _build(facts: Facts) -> list[Lack]:
    lacks = []
    if facts.architecture not in ARCHITECTURES:
        lacks.append(Lack("a processor that the programs are built for", f"take one of {', '.join(ARCHITECTURES)}"))
    if what := toolchain.too_old(facts.go):
        lacks.append(Lack(what, toolchain.INSTALL))
    return lacks


def _room(facts: Facts, state: Path, *, must_build: bool) -> list[Lack]:
    lacks = []
    if facts.memory_free < MEMORY:
        lacks.append(Lack(f"3 GiB of free memory ({facts.memory_free / GIB:.1f} are)", "end something else"))
    wanted = {state: (DISK, "make room")}
    if must_build:
        mend = "make room, or name a roomier folder: COMANDA_CACHE=..."
        wanted[root()] = (DISK_TO_BUILD, mend)
    for folder, (needed, mend) in wanted.items():
        free = facts.disk_free[folder]
        if free < needed:
            lacks.append(Lack(f"{needed // GIB} GiB free at {folder} ({free / GIB:.1f} are)", mend))
    return lacks


def _addresses(facts: Facts, ranges: dict[str, IPv4Network]) -> list[Lack]:
    lacks = []
    for whose, wanted in ranges.items():
        used = [(network, by) for network, by in facts.networks if network.overlaps(wanted)]
        if used:
            network, by = used[0]
            mend = f"take other addresses for the cluster: COMANDA_CLUSTER_NETWORK={_unused(facts)}"
            lacks.append(Lack(f"the addresses {wanted} for {whose} ({network} is in use, {by})", mend))
    return lacks


def _unused(facts: Facts) -> IPv4Network:
    """Answer nodes' addresses that nobody uses here; the pods' and services' follow them (`layout`)."""
    candidates = [IPv4Network(f"{start}.{third}.0/24") for third in range(1, 256) for start in ("172.30", "192.168")]
    return next(
        (each for each in candidates if not any(each.overlaps(network) for network, _ in facts.networks)), candidates[0]
    )


def install(lacks: list[Lack]) -> int:
    """Install the packages that are lacking, by apt-get. Answers its exit code."""
    packages = sorted({package for lack in lacks for package in lack.packages})
    if not packages:
        return 0
    if shutil.which("apt-get") is None or os.geteuid() != 0:
        print(f"comanda: without root and apt-get, install these yourself: {' '.join(packages)}", file=sys.stderr)
        return 1
    quiet = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for command in (["update", "-q"], ["install", "-q", "-y", "--no-install-recommends", *packages]):
        print(f"comanda: apt-get {' '.join(command)}", flush=True)
        code = subprocess.run(["apt-get", *command], env=quiet, stdin=subprocess.DEVNULL, check=False).returncode
        if code:
            return code
    return 0


def main(arguments: list[str] | None = None) -> int:
    """Say what lacks. Answers 0 if nothing does."""
    parser = argparse.ArgumentParser(prog="python -m tests.cluster.preflight", description=__doc__)
    parser.add_argument("--install", action="store_true", help="install what packages of Debian or Ubuntu mend")
    lacks = lacking()
    if parser.parse_args(arguments).install and install(lacks) == 0:
        lacks = lacking()
    for lack in lacks:
        print(f"comanda: lacking {lack}", file=sys.stderr)
    if not lacks:
        print("comanda: this machine has all that the cluster needs")
    return 1 if lacks else 0


if __name__ == "__main__":
    sys.exit(main())
