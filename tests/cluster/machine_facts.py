"""What this machine has of what the cluster needs, as facts. Looking changes nothing that outlasts the look."""

import json
import os
import platform
import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Network
from pathlib import Path

from tests.cluster import toolchain
from tests.cluster.machine import CGROUPS

PACKAGES = {
    "conntrack": "conntrack",
    "flock": "util-linux",
    "ip": "iproute2",
    "iptables": "iptables",
    "losetup": "mount",
    "mkfs.ext4": "e2fsprogs",
    "mkfs.xfs": "xfsprogs",
    "modprobe": "kmod",
    "mount": "mount",
    "nsenter": "util-linux",
    "runc": "runc",
    "setpriv": "util-linux",
    "socat": "socat",
    "unshare": "util-linux",
}
"""The programs that are called, and the packages of Debian and Ubuntu that have them."""

CNI_FOLDERS = (Path("/usr/lib/cni"), Path("/opt/cni/bin"))
CNI_PLUGINS = ("bridge", "host-local", "loopback", "portmap")

CAPABILITIES = {"CAP_NET_ADMIN": 12, "CAP_SYS_ADMIN": 21}
"""By their bit in the kernel's sets."""


@dataclass(frozen=True)
class Probe:
    """Something that is tried in namespaces of its own, which are gone afterwards with all that is in them."""

    what: str
    needs: tuple[str, ...]
    """Programs without which it is not tried: that they lack is said anyway."""

    script: str
    """What must end well; its folder is empty, and removed afterwards."""

    mend: str
    namespaces: tuple[str, ...] = ("--net",)


PROBES = (
    Probe(
        "network namespaces", ("unshare",), "true", "run it where root may make them: not in an unprivileged container"
    ),
    Probe(
        "bridges and veth",
        ("unshare", "ip"),
        "ip link add b0 type bridge && ip link add v0 type veth peer name v1 && ip link set v0 master b0",
        "modprobe bridge veth",
    ),
    Probe(
        "filtering on bridges",
        ("unshare",),
        "echo 1 > /proc/sys/net/bridge/bridge-nf-call-iptables",
        "modprobe br_netfilter",
    ),
    Probe(
        "iptables with the kernel's NAT, conntrack and statistic matches",
        ("unshare", "iptables"),
        "iptables -t nat -N TRY && iptables -t nat -A TRY -m comment --comment try -j MASQUERADE"
        " && iptables -t nat -A TRY -p tcp -m statistic --mode random --probability 0.5 -j DNAT --to 192.0.2.1:80"
        " && iptables -A FORWARD -m conntrack --ctstate INVALID -j DROP"
        " && iptables -A FORWARD -m mark --mark 1 -j ACCEPT",
        "take the iptables that the kernel supports: update-alternatives --config iptables",
    ),
    Probe(
        "overlay file systems",
        ("unshare", "mount"),
        'mount -t tmpfs tmpfs . && cd "$PWD" && mkdir lower upper work merged'
        " && mount -t overlay -o lowerdir=lower,upperdir=upper,workdir=work overlay merged",
        "modprobe overlay",
        ("--mount",),
    ),
    Probe(
        "ext4 on loop devices",
        ("unshare", "mount", "losetup", "mkfs.ext4"),
        "truncate -s 8M disk && mkfs.ext4 -q disk && mkdir here && mount -o loop disk here",
        "modprobe loop ext4; a container must be given /dev/loop-control and /dev/loop*",
        ("--mount",),
    ),
)


@dataclass(frozen=True)
class Facts:
    """What was seen. Sizes are in bytes."""

    system: str = "Linux"
    architecture: str = "x86_64"
    is_root: bool = True
    capabilities: int = -1
    """The effective ones, as bits."""

    programs: frozenset[str] = frozenset(PACKAGES)
    cni_plugins: frozenset[str] = frozenset(CNI_PLUGINS)
    controllers: frozenset[str] = frozenset()
    """The cgroup controllers that can be used."""

    cgroups_writable: bool = True
    failed_probes: Mapping[str, str] = field(default_factory=dict)
    """By what was tried: what it said."""

    go: tuple[int, ...] | None = None
    memory_free: int = 0
    disk_free: Mapping[Path, int] = field(default_factory=dict)
    """By folder, which need not exist yet."""

    networks: tuple[tuple[IPv4Network, str], ...] = ()
    """The addresses that the machine itself uses, and by what."""


def look(folders: Iterable[Path]) -> Facts:
    """Answer what this machine has; `folders` are those whose room is asked for."""
    is_root = os.geteuid() == 0
    programs = frozenset(name for name in PACKAGES if find(name))
    system = platform.system()
    return Facts(
        system=system,
        architecture=platform.machine(),
        is_root=is_root,
        capabilities=capabilities(_read("/proc/self/status")),
        programs=programs,
        cni_plugins=frozenset(name for name in CNI_PLUGINS if any((each / name).exists() for each in CNI_FOLDERS)),
        controllers=_controllers(),
        cgroups_writable=_can_make_cgroups() if is_root else True,
        failed_probes=_probe(programs) if is_root and system == "Linux" else {},
        go=toolchain.version(),
        memory_free=memory_free(_read("/proc/meminfo"), _memory_limit()),
        disk_free={folder: shutil.disk_usage(_existing(folder)).free for folder in folders},
        networks=_networks() if "ip" in programs else (),
    )


def find(program: str) -> str | None:
    """Answer where a program is; root's are not on everybody's PATH."""
    return shutil.which(program, path=_path())


def _path() -> str:
    return f"{os.environ.get('PATH', '')}:/usr/local/sbin:/usr/sbin:/sbin"


def capabilities(status: str) -> int:
    """Answer the effective capabilities of /proc/self/status, all of them where it says nothing."""
    lines = [line.split()[1] for line in status.splitlines() if line.startswith("CapEff:")]
    return int(lines[0], 16) if lines else -1


def memory_free(meminfo: str, limit: int | None) -> int:
    """Answer the bytes that can still be had: the machine's, or our cgroup's if those are fewer."""
    available = [int(line.split()[1]) * 1024 for line in meminfo.splitlines() if line.startswith("MemAvailable:")]
    return min([*available, *([] if limit is None else [limit])], default=0)


def networks(routes: str, addresses: str) -> tuple[tuple[IPv4Network, str], ...]:
    """Answer what `ip -json route` and `ip -json address` say is in use; the way to everywhere else is not."""
    found = [
        (IPv4Network(route["dst"]), f"a route by {route.get('dev', 'no device')}")
        for route in json.loads(routes or "[]")
        if route["dst"] != "default"
    ]
    found += [
        (IPv4Network(f"{address['local']}/{address['prefixlen']}", strict=False), f"an address of {link['ifname']}")
        for link in json.loads(addresses or "[]")
        for address in link.get("addr_info", [])
        if address.get("family") == "inet"
    ]
    return tuple(found)


def _networks() -> tuple[tuple[IPv4Network, str], ...]:
    ip = find("ip") or "ip"
    return networks(
        *(
            subprocess.run([ip, "-json", "-4", kind, "show"], capture_output=True, text=True, check=False).stdout
            for kind in ("route", "address")
        )
    )


def _read(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8")
    except OSError:
        return ""


def _memory_limit() -> int | None:
    """What our cgroup leaves us, if it is bounded, files that need not stay in memory not counted against us."""
    for folder, limit, used, idle in (
        (CGROUPS, "memory.max", "memory.current", "inactive_file"),
        (CGROUPS / "memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
    ):
        bound, now = (_read(str(folder / name)).strip() for name in (limit, used))
        if bound.isdigit() and now.isdigit():
            statistics = dict(line.split() for line in _read(str(folder / "memory.stat")).splitlines())
            return int(bound) - int(now) + int(statistics.get(idle, 0))
    return None


def _controllers() -> frozenset[str]:
    unified = _read(str(CGROUPS / "cgroup.controllers"))
    if unified:
        return frozenset(unified.split())
    return frozenset(path.name for path in CGROUPS.iterdir()) if CGROUPS.is_dir() else frozenset()


def _can_make_cgroups() -> bool:
    above = CGROUPS if (CGROUPS / "cgroup.controllers").exists() else CGROUPS / "memory"
    try:
        tried = Path(tempfile.mkdtemp(prefix="comanda-preflight-", dir=above))
        tried.rmdir()
    except OSError:
        return False
    return True


def _existing(folder: Path) -> Path:
    return next(each for each in (folder, *folder.parents) if each.exists())


def _probe(programs: frozenset[str]) -> dict[str, str]:
    failed = {}
    for probe in PROBES:
        if not programs.issuperset(probe.needs):
            continue
        command = [find("unshare") or "unshare", *probe.namespaces, "sh", "-ec", probe.script]
        with tempfile.TemporaryDirectory(prefix="comanda-preflight-") as folder:
            answer = subprocess.run(
                command, cwd=folder, env={"PATH": _path()}, capture_output=True, text=True, check=False
            )
        if answer.returncode:
            said = (answer.stderr or answer.stdout).strip().splitlines()
            failed[probe.what] = said[-1] if said else f"exit code {answer.returncode}"
    return failed
