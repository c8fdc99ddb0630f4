"""How the cluster comes up: in which order, and what each part waits for. Ready means ready."""

import asyncio
import json
import sys
import tarfile
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from comanda_local.ports import free_ports
from tests.cluster import certificates, control_plane, infrastructure, network, node, objects
from tests.cluster.alb import webhook
from tests.cluster.cache import binary, file, is_built
from tests.cluster.layout import NODES, Layout, Node
from tests.cluster.machine import Failed, run, share_root, within
from tests.cluster.parts import PARTS, of_binary
from tests.cluster.process import Process
from tests.cluster.supervisor import Supervisor

STORAGE = {"external-snapshotter", "external-provisioner", "external-resizer"}
ASK_SECRETS = "import urllib.request as r; r.urlopen('http://127.0.0.1:8082/healthz', timeout=2)"
CSI_DRIVER = Path(__file__).parent / "ebs" / "csidriver.yaml"


@dataclass
class Cluster:
    """A cluster that comes up, and is then changed by those who test on it.

    Args:
        ports: of this machine's loopback, by what is behind them.
    """

    layout: Layout
    supervisor: Supervisor
    ports: dict[str, int]
    pki: certificates.Certificates
    kubectl: objects.Kubectl

    @property
    def facts(self) -> dict[str, str]:
        """What the contract promises."""
        return {
            "kubectl": str(self.kubectl.command),
            "kubeconfig": str(self.kubectl.kubeconfig),
            "registry": f"127.0.0.1:{self.ports['registry']}",
            "aws": f"http://127.0.0.1:{self.ports['aws']}",
        }


async def bring_up(layout: Layout, supervisor: Supervisor, *, core: bool = False) -> Cluster:
    """Bring all of it up, and answer once every part answers.

    Args:
        core: whether to do without volumes, metrics and secrets.

    Raises:
        Failed: a part does not come.
    """
    began = time.monotonic()

    def done(what: str) -> None:
        supervisor.say(f"{time.monotonic() - began:5.1f} s  {what}")

    network.make(layout)
    pki = certificates.make(layout)
    ways = {
        "api": f"{layout.main}:{control_plane.PORT}",
        "registry": f"{layout.main}:{node.REGISTRY_PORT}",
        "aws": f"127.0.0.1:{infrastructure.AWS_PORT}",
        "alb": f"127.0.0.1:{infrastructure.BALANCER_PORT}",
        "alb-state": f"127.0.0.1:{infrastructure.BALANCER_STATE_PORT}",
    }
    ports = dict(zip(ways, free_ports(len(ways)), strict=True))
    admin = control_plane.kubeconfig(layout, "admin", pki.admin, f"https://127.0.0.1:{ports['api']}")
    inside = control_plane.kubeconfig(layout, "inside", pki.admin)
    control_plane.kubeconfig(layout, "proxy", pki.proxy)
    cluster = Cluster(layout, supervisor, ports, pki, objects.Kubectl(binary("kubectl"), admin))
    planes = control_plane.processes(layout, pki)
    done("network and certificates")
    await supervisor.start(
        planes["etcd"],
        infrastructure.registry(layout),
        infrastructure.aws(layout),
        *(infrastructure.way_in(layout, name, ports[name], target) for name, target in ways.items()),
    )
    await supervisor.start(planes["kube-apiserver"])
    await supervisor.until("the registry", lambda: _http(ports["registry"], "/v2/"))
    await asyncio.to_thread(_push_pause, layout, ports["registry"])
    done("registry")
    if share_root():
        layout.root_was_private.touch()
    for each in NODES:
        node.prepare(layout, each)
        await supervisor.start(node.processes(layout, each, pki)[0])
    await supervisor.until("the API server", lambda: _is_ready(cluster))
    done("API server")
    await asyncio.to_thread(cluster.kubectl.apply, objects.beginning(layout))
    await supervisor.start(planes["kube-controller-manager"], planes["kube-scheduler"])
    for each in NODES:
        await supervisor.until(f"containerd of {each.name}", lambda each=each: _listens(node.socket(layout, each)))  # type: ignore[misc]
        await supervisor.start(*node.processes(layout, each, pki)[1:])
    await supervisor.start(infrastructure.dns(layout, inside))
    await supervisor.until("three nodes", lambda: _nodes_are_ready(cluster))
    done("three nodes")
    await supervisor.until("the AWS account", lambda: _http(ports["aws"], "/"))
    await supervisor.until("DNS", lambda: _resolves(layout))
    done("DNS, AWS")
    await _start_balancer(cluster, inside)
    done("load balancer")
    if not core:
        for what in await _beyond_the_core(cluster, inside):
            done(what)
    return cluster


async def _start_balancer(cluster: Cluster, inside: Path) -> None:
    """Start the load balancer's stand-in; only then may it be asked for pods' gates."""
    url = f"https://{cluster.layout.main}:{infrastructure.BALANCER_WEBHOOK_PORT}"
    authority = cluster.pki.authority.read_text(encoding="utf-8")
    await cluster.supervisor.start(infrastructure.balancer(cluster.layout, cluster.pki, inside))
    await cluster.supervisor.until("the load balancer", lambda: _http(cluster.ports["alb-state"], "/_alb/state"))
    await asyncio.to_thread(cluster.kubectl.apply, webhook.manifests(url, authority))


async def _beyond_the_core(cluster: Cluster, inside: Path) -> list[str]:
    """Start volumes, metrics and secrets, as far as they are built, and answer which are there."""
    layout, supervisor, kubectl = cluster.layout, cluster.supervisor, cluster.kubectl
    built = {part.name for part in PARTS if is_built(part)}
    waits: dict[str, Callable[[Cluster], Awaitable[bool]]] = {}
    if built >= STORAGE:
        await asyncio.to_thread(kubectl.apply_files, file(of_binary("snapshot-controller"), "crds"))
        await asyncio.to_thread(kubectl, "apply", f"--filename={CSI_DRIVER}")
        await supervisor.start(*infrastructure.volumes(layout, inside))
        await supervisor.start(*(infrastructure.volumes_of(layout, each) for each in NODES))
        waits["volumes"] = _have_volumes
    if "external-secrets" in built:
        await asyncio.to_thread(kubectl.apply_files, file(of_binary("external-secrets"), "crds"))
        await supervisor.start(infrastructure.external_secrets(inside))
        waits["secrets"] = _watches_secrets
    if "metrics-server" in built:
        await supervisor.start(infrastructure.metrics(layout, cluster.pki, inside))
        await asyncio.to_thread(kubectl.apply, objects.of_metrics(layout))
        waits["metrics"] = _has_metrics
    for what, is_there in waits.items():
        await supervisor.until(what, lambda is_there=is_there: is_there(cluster))  # type: ignore[misc]
    return list(waits)


def _push_pause(layout: Layout, port: int) -> None:
    """Make an image of a static program, as every pod's first process is, and give it to the registry."""
    crane, program = str(binary("crane")), binary("pause")
    layer = layout.folder / "pause.tar"
    with tarfile.open(layer, "w") as archive:
        archive.add(program, "pause")
    name = f"127.0.0.1:{port}/{node.PAUSE.partition('/')[2]}"
    run(crane, "append", f"--new_layer={layer}", f"--new_tag={name}", "--insecure", "--platform=linux/amd64")
    run(crane, "mutate", name, f"--tag={name}", "--entrypoint=/pause", "--set-platform=linux/amd64", "--insecure")


async def _http(port: int, path: str) -> bool:
    """Answer whether something speaks HTTP there, whatever it says."""
    reader, writer = await asyncio.wait_for(asyncio.open_connection("127.0.0.1", port), 2)
    try:
        writer.write(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n".encode())
        await writer.drain()
        return (await asyncio.wait_for(reader.read(9), 5)).startswith(b"HTTP/1.1 ")
    finally:
        writer.close()


async def _listens(socket: Path) -> bool:
    _, writer = await asyncio.open_unix_connection(socket)
    writer.close()
    return True


async def _is_ready(cluster: Cluster) -> bool:
    return await _kubectl(cluster, "get", "--raw=/readyz") == "ok"


async def _kubectl(cluster: Cluster, *arguments: str) -> str:
    return await asyncio.to_thread(cluster.kubectl, "--request-timeout=5s", *arguments)


async def _nodes_are_ready(cluster: Cluster) -> bool:
    found = json.loads(await _kubectl(cluster, "get", "nodes", "--output=json"))["items"]
    return sum(is_ready(each) for each in found) == len(NODES)


def is_ready(thing: dict[str, Any]) -> bool:
    """Answer whether a node or pod says of itself that it is ready."""
    return any(
        each["type"] == "Ready" and each["status"] == "True" for each in thing.get("status", {}).get("conditions", [])
    )


async def _resolves(layout: Layout) -> bool:
    """Ask DNS by its service's address, as pods do."""
    code = (
        "import socket,struct,sys;"
        "q=b'\\x12\\x34\\x01\\x00\\x00\\x01'+b'\\0'*6+b''.join(bytes([len(p)])+p for p in "
        "b'kubernetes.default.svc.cluster.local'.split(b'.'))+b'\\0\\0\\x01\\0\\x01';"
        "s=socket.socket(socket.AF_INET,socket.SOCK_DGRAM);s.settimeout(2);"
        f"s.sendto(q,('{layout.dns}',53));a=s.recv(512);sys.exit(0 if a[3]&15==0 and a[7]>0 else 1)"
    )
    child = await asyncio.create_subprocess_exec(
        *within(layout.namespace(NODES[1]), [sys.executable, "-c", code]), stderr=asyncio.subprocess.DEVNULL
    )
    return await child.wait() == 0


async def _have_volumes(cluster: Cluster) -> bool:
    found = json.loads(await _kubectl(cluster, "get", "csinodes", "--output=json"))["items"]
    return sum(bool(each["spec"].get("drivers")) for each in found) == len(NODES)


async def _watches_secrets(cluster: Cluster) -> bool:
    """Ask External Secrets itself: its port is in the first node's network."""
    child = await asyncio.create_subprocess_exec(
        *within(cluster.layout.namespace(NODES[0]), [sys.executable, "-c", ASK_SECRETS]),
        stderr=asyncio.subprocess.DEVNULL,
    )
    return await child.wait() == 0


async def _has_metrics(cluster: Cluster) -> bool:
    found = json.loads(await _kubectl(cluster, "get", "--raw=/apis/metrics.k8s.io/v1beta1/nodes"))
    return len(found["items"]) == len(NODES)


def named(name: str) -> Node:
    """Answer the node of that name.

    Raises:
        Failed: there is none.
    """
    for each in NODES:
        if each.name == name:
            return each
    raise Failed(f"there is no node {name}: there are {', '.join(each.name for each in NODES)}")


def of_node(supervisor: Supervisor, one: Node) -> Sequence[Process]:
    """Answer the processes that a node's loss takes away, in the order of their start."""
    return [each.process for each in supervisor.running.values() if each.process.part_of == one]
