"""The nodes' network: a namespace each, joined by a bridge in the first. No way leads out of it."""

from tests.cluster.layout import NODES, Layout
from tests.cluster.machine import NAMESPACES, run, within


def make(layout: Layout) -> None:
    """Make namespaces, bridge and links, and the ways between the nodes' pods."""
    first = layout.namespace(NODES[0])
    for node in NODES:
        space = layout.namespace(node)
        run("ip", "netns", "add", space)
        _in(space, "ip", "link", "set", "lo", "up")
        for setting in (
            "net.ipv4.ip_forward=1",
            "net.ipv4.conf.all.rp_filter=0",
            "net.ipv4.conf.default.rp_filter=0",
            # What a pod says to a service whose pod is on the same node must pass kube-proxy's rules too.
            "net.bridge.bridge-nf-call-iptables=1",
        ):
            _in(space, "sh", "-c", f"echo {setting.partition('=')[2]} > /proc/sys/{_path(setting)}")
    _in(first, "ip", "link", "add", "nodes", "type", "bridge")
    _in(first, "ip", "address", "add", f"{layout.main}/{layout.network.prefixlen}", "dev", "nodes")
    _in(first, "ip", "link", "set", "nodes", "up")
    # Nothing is there, but without a default way kubelet does not find its own address.
    _in(first, "ip", "route", "add", "default", "dev", "nodes")
    for node in NODES[1:]:
        space, port = layout.namespace(node), f"to-{node.name}"
        _in(first, "ip", "link", "add", port, "type", "veth", "peer", "name", "eth0", "netns", space)
        _in(first, "ip", "link", "set", port, "master", "nodes", "up")
        _in(space, "ip", "address", "add", f"{layout.address(node)}/{layout.network.prefixlen}", "dev", "eth0")
        _in(space, "ip", "link", "set", "eth0", "up")
        _in(space, "ip", "route", "add", "default", "via", str(layout.main))
    for node in NODES:
        for other in NODES:
            if other != node:
                way = (str(layout.pods_of(other)), "via", str(layout.address(other)))
                _in(layout.namespace(node), "ip", "route", "add", *way)


def remove(layout: Layout) -> None:
    """Remove the namespaces; links, bridge and rules go with them."""
    for node in NODES:
        if (NAMESPACES / layout.namespace(node)).exists():
            run("ip", "netns", "delete", layout.namespace(node), check=False)


def _in(space: str, *command: str) -> str:
    return run(*within(space, command))


def _path(setting: str) -> str:
    return setting.partition("=")[0].replace(".", "/")
