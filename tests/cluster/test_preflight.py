"""What the preflight makes of a machine: facts in, what lacks and its mend out."""

import json
from dataclasses import replace
from ipaddress import IPv4Network
from pathlib import Path

import pytest

from tests.cluster.cache import root
from tests.cluster.layout import Layout
from tests.cluster.machine_facts import CNI_PLUGINS, PACKAGES, PROBES, Facts, Probe, capabilities, memory_free, networks
from tests.cluster.preflight import CONTROLLERS, GIB, Lack, install, judge

STATE = Path("/var/lib/comanda-test")


@pytest.fixture
def fit(monkeypatch: pytest.MonkeyPatch) -> Facts:
    """A machine that has everything."""
    monkeypatch.setenv("COMANDA_CACHE", "/var/cache/comanda")
    return Facts(
        controllers=frozenset(CONTROLLERS),
        go=(1, 26, 7),
        memory_free=4 * GIB,
        disk_free={STATE: 7 * GIB, root(): 26 * GIB},
        networks=((IPv4Network("192.0.2.0/24"), "a route by eth0"),),
    )


def judged(facts: Facts, *, must_build: bool = True, layout: Layout | None = None) -> list[Lack]:
    """Answer what lacks."""
    at = layout or Layout()
    ranges = {"the nodes": at.network, "the pods": at.pods, "the services": at.services}
    return judge(facts, STATE, ranges, must_build=must_build)


def only(lacks: list[Lack]) -> Lack:
    """Answer the one that lacks."""
    assert len(lacks) == 1, lacks
    return lacks[0]


def test_nothing_lacks_a_machine_that_has_everything(fit: Facts) -> None:
    assert judged(fit) == []


def test_another_system_is_told_nothing_else() -> None:
    assert only(judged(Facts(system="Darwin"))).what == "Linux"


def test_without_root_its_capabilities_are_not_asked_for(fit: Facts) -> None:
    assert only(judged(replace(fit, is_root=False, capabilities=0))).what == "root"


def test_a_root_that_may_not_do_all(fit: Facts) -> None:
    lack = only(judged(replace(fit, capabilities=~(1 << 21))))
    assert lack.what == "CAP_SYS_ADMIN"
    assert "privileged" in lack.mend


@pytest.mark.parametrize("program", sorted(PACKAGES))
def test_a_program_is_missing(fit: Facts, program: str) -> None:
    lack = only(judged(replace(fit, programs=fit.programs - {program})))
    assert lack == Lack(program, f"apt-get install {PACKAGES[program]}", (PACKAGES[program],))


def test_plugins_for_the_pods_network_are_missing(fit: Facts) -> None:
    lack = only(judged(replace(fit, cni_plugins=frozenset(CNI_PLUGINS) - {"portmap", "bridge"})))
    assert str(lack) == "the CNI plugins bridge, portmap: apt-get install containernetworking-plugins"


@pytest.mark.parametrize("controller", CONTROLLERS)
def test_a_controller_is_off(fit: Facts, controller: str) -> None:
    lack = only(judged(replace(fit, controllers=fit.controllers - {controller})))
    assert controller in lack.what
    assert f"cgroup_enable={controller}" in lack.mend


def test_cgroups_are_read_only(fit: Facts) -> None:
    assert "cgroups" in only(judged(replace(fit, cgroups_writable=False))).what


@pytest.mark.parametrize("probe", PROBES, ids=lambda probe: probe.what)
def test_the_kernel_cannot_do_it(fit: Facts, probe: Probe) -> None:
    lack = only(judged(replace(fit, failed_probes={probe.what: "Operation not supported"})))
    assert lack == Lack(f"{probe.what} (Operation not supported)", probe.mend)


@pytest.mark.parametrize("probe", PROBES, ids=lambda probe: probe.what)
def test_what_is_tried_calls_only_what_is_known(probe: Probe) -> None:
    assert set(probe.needs) <= set(PACKAGES)


@pytest.mark.parametrize(("go", "here"), [(None, "there is none"), ((1, 26, 6), "1.26.6"), ((1, 24, 4), "1.24.4")])
def test_go_is_wanted_only_to_build(fit: Facts, go: tuple[int, ...] | None, here: str) -> None:
    lack = only(judged(replace(fit, go=go)))
    assert lack.what.startswith("Go 1.26.7 or newer")
    assert here in lack.what
    assert judged(replace(fit, go=go), must_build=False) == []


def test_a_newer_go_will_do(fit: Facts) -> None:
    assert judged(replace(fit, go=(1, 27, 0))) == []


def test_a_processor_that_nothing_was_tried_on(fit: Facts) -> None:
    assert "x86_64, aarch64" in only(judged(replace(fit, architecture="riscv64"))).mend


def test_room_to_run_and_room_to_build(fit: Facts) -> None:
    little = replace(fit, disk_free={STATE: 7 * GIB, root(): 24 * GIB})
    lack = only(judged(little))
    assert lack.what == "25 GiB free at /var/cache/comanda/cluster (24.0 are)"
    assert "COMANDA_CACHE" in lack.mend
    assert judged(little, must_build=False) == []
    less = replace(fit, disk_free={STATE: 5 * GIB, root(): 5 * GIB})
    assert only(judged(less, must_build=False)).what == f"6 GiB free at {STATE} (5.0 are)"


def test_memory(fit: Facts) -> None:
    assert only(judged(replace(fit, memory_free=GIB))).what == "3 GiB of free memory (1.0 are)"


@pytest.mark.parametrize(
    ("used", "whose"),
    [
        ("172.30.0.0/16", "172.30.0.0/24 for the nodes"),
        ("10.244.3.0/24", "10.244.0.0/16 for the pods"),
        ("10.96.0.1/32", "10.96.0.0/16 for the services"),
    ],
)
def test_addresses_that_are_in_use_are_refused(fit: Facts, used: str, whose: str) -> None:
    busy = replace(fit, networks=((IPv4Network(used), "a route by wg0"),))
    lack = only(judged(busy))
    assert lack.what == f"the addresses {whose} ({used} is in use, a route by wg0)"
    _, _, proposed = lack.mend.partition("COMANDA_CLUSTER_NETWORK=")
    assert not IPv4Network(proposed).overlaps(IPv4Network(used))
    assert IPv4Network(proposed).prefixlen == 24


def test_other_addresses_are_taken_as_the_mend_says(fit: Facts) -> None:
    busy = replace(fit, networks=((IPv4Network("172.30.0.0/24"), "an address of docker0"),))
    elsewhere = Layout(network=IPv4Network("172.30.1.0/24"), pods=IPv4Network("10.101.0.0/16"))
    assert judged(busy, layout=elsewhere) == []


def test_everything_that_lacks_is_said_at_once(fit: Facts) -> None:
    bare = replace(fit, programs=frozenset(), go=None, memory_free=0, cni_plugins=frozenset())
    assert len(judged(bare)) == len(PACKAGES) + 3


def test_what_ip_says_is_in_use() -> None:
    routes = [
        {"dst": "default", "gateway": "192.0.2.1", "dev": "eth0"},
        {"dst": "10.8.0.0/24", "dev": "wg0"},
        {"dst": "10.9.0.7", "dev": "wg0"},
        {"type": "blackhole", "dst": "10.1.0.0/16"},
    ]
    addresses = [
        {"ifname": "eth0", "addr_info": [{"family": "inet", "local": "192.0.2.2", "prefixlen": 24}]},
        {"ifname": "idle"},
    ]
    assert networks(json.dumps(routes), json.dumps(addresses)) == (
        (IPv4Network("10.8.0.0/24"), "a route by wg0"),
        (IPv4Network("10.9.0.7/32"), "a route by wg0"),
        (IPv4Network("10.1.0.0/16"), "a route by no device"),
        (IPv4Network("192.0.2.0/24"), "an address of eth0"),
    )
    assert networks("", "") == ()


def test_what_the_kernel_says_of_rights_and_memory() -> None:
    assert capabilities("Name:\tx\nCapEff:\t0000000000200000\n") == 1 << 21
    assert capabilities("") == -1
    meminfo = "MemTotal:       100 kB\nMemAvailable:        50 kB\n"
    assert memory_free(meminfo, None) == 50 * 1024
    assert memory_free(meminfo, 7) == 7
    assert memory_free("", None) == 0


def test_installing_nothing_calls_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert install([Lack("Linux", "run it elsewhere")]) == 0


def test_where_nothing_can_be_installed_the_packages_are_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", "")
    assert install([Lack("ip", "", ("iproute2",)), Lack("socat", "", ("socat",)), Lack("ip", "", ("iproute2",))]) == 1
    assert capsys.readouterr().err == "comanda: without root and apt-get, install these yourself: iproute2 socat\n"
