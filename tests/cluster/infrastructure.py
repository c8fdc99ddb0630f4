"""What stands beside Kubernetes: registry, DNS, metrics, the AWS account, External Secrets, ways in from this machine.

They run as plain processes in the first node's network. What the product ships runs as pods.
"""

import os
import sys
from dataclasses import replace
from pathlib import Path

from tests.cluster.cache import binary
from tests.cluster.certificates import Certificates
from tests.cluster.ebs import sidecars as ebs
from tests.cluster.layout import CLONE, CLUSTER, DNS_DOMAIN, NODES, REGION, Layout, Node
from tests.cluster.node import REGISTRY_PORT
from tests.cluster.process import Process

AWS_PORT = 4566
METRICS_PORT = 4443
BALANCER_PORT = 18080
BALANCER_TLS_PORT = 18443
BALANCER_STATE_PORT = 18081
BALANCER_WEBHOOK_PORT = 19443
FIRST = NODES[0]
AWS_KEYS = {"AWS_ACCESS_KEY_ID": "AKIATESTBEDADMIN0000", "AWS_SECRET_ACCESS_KEY": "of-the-test-bed"}


def registry(layout: Layout) -> Process:
    """Answer the registry that is every registry's mirror."""
    folder = layout.folder / "registry"
    folder.mkdir(exist_ok=True)
    address = f"{layout.main}:{REGISTRY_PORT}"
    return Process(
        "registry", (str(binary("crane")), "registry", "serve", f"--address={address}", f"--disk={folder}"), FIRST
    )


def aws(layout: Layout) -> Process:
    """Answer the emulated AWS account. It listens on its own network's loopback, as it always does."""
    command = (sys.executable, "-m", "comanda_testbed", "serve", "--port", str(AWS_PORT))
    return Process("aws", command, FIRST, {"PYTHONPATH": str(CLONE / "src"), "HOME": str(layout.folder)})


def dns(layout: Layout, kubeconfig: Path) -> Process:
    """Answer CoreDNS, as EKS configures it, but that it forwards nothing: no way leads out."""
    file = layout.folder / "Corefile"
    file.write_text(
        f"""{DNS_DOMAIN} in-addr.arpa ip6.arpa {{
    bind {layout.main}
    errors
    health {layout.main}:8080
    ready {layout.main}:8181
    kubernetes {DNS_DOMAIN} in-addr.arpa ip6.arpa {{
        kubeconfig {kubeconfig}
        pods insecure
        fallthrough in-addr.arpa ip6.arpa
    }}
    cache 5
}}
. {{
    bind {layout.main}
    template IN ANY . {{
        rcode NXDOMAIN
    }}
}}
""",
        encoding="utf-8",
    )
    return Process("coredns", (str(binary("coredns")), "-conf", str(file)), FIRST)


def metrics(layout: Layout, pki: Certificates, kubeconfig: Path) -> Process:
    """Answer metrics-server: every 10 s, so that no figure is older than 15."""
    command = (
        str(binary("metrics-server")),
        f"--kubeconfig={kubeconfig}",
        f"--authentication-kubeconfig={kubeconfig}",
        f"--authorization-kubeconfig={kubeconfig}",
        f"--bind-address={layout.main}",
        f"--secure-port={METRICS_PORT}",
        f"--tls-cert-file={pki.metrics.certificate}",
        f"--tls-private-key-file={pki.metrics.key}",
        f"--kubelet-certificate-authority={pki.authority}",
        "--kubelet-preferred-address-types=InternalIP",
        "--metric-resolution=10s",
        "--kubelet-request-timeout=5s",
    )
    return Process("metrics-server", command, FIRST)


def external_secrets(kubeconfig: Path) -> Process:
    """Answer External Secrets, led to the emulated Secrets Manager by what its SDK reads from the environment."""
    command = (
        str(binary("external-secrets")),
        "--enable-leader-election=false",
        "--metrics-addr=127.0.0.1:8090",
        "--live-addr=127.0.0.1:8082",
        "--loglevel=info",
    )
    here = f"http://127.0.0.1:{AWS_PORT}"
    environment = {
        **AWS_KEYS,
        "KUBECONFIG": str(kubeconfig),
        "AWS_REGION": REGION,
        "AWS_SECRETSMANAGER_ENDPOINT": here,
        "AWS_STS_ENDPOINT": here,
        "AWS_SSM_ENDPOINT": here,
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    return Process("external-secrets", command, FIRST, environment)


def balancer(layout: Layout, pki: Certificates, kubeconfig: Path) -> Process:
    """Answer the load balancer's stand-in, and the webhook that puts its gates into pods.

    It listens on its network's loopback too: who comes in from this machine is a caller on loopback, as
    X-Forwarded-For says.
    """
    command = (
        *(sys.executable, "-m", "tests.cluster.alb"),
        f"--kubeconfig={kubeconfig}",
        f"--listen=0.0.0.0:{BALANCER_PORT}",
        f"--listen-tls=0.0.0.0:{BALANCER_TLS_PORT}",
        f"--admin=127.0.0.1:{BALANCER_STATE_PORT}",
        f"--webhook={layout.main}:{BALANCER_WEBHOOK_PORT}",
        f"--cert={pki.balancer.certificate}",
        f"--key={pki.balancer.key}",
        f"--cluster={CLUSTER}",
        f"--region={REGION}",
        f"--log={layout.logs / 'alb-access.log'}",
    )
    return Process("alb", command, FIRST, {"PYTHONPATH": str(CLONE)})


def way_in(layout: Layout, name: str, port: int, target: str) -> Process:
    """Answer what leads from a port of this machine's loopback into the first node's network.

    Args:
        target: HOST:PORT there.
    """
    inside = (
        f"nsenter --net=/run/netns/{layout.namespace(FIRST)} socat STDIO TCP\\:{target.replace(':', chr(92) + ':')}"
    )
    command = ("socat", f"TCP-LISTEN:{port},bind=127.0.0.1,fork,reuseaddr", f"EXEC:{inside}")
    return Process(f"way-to-{name}", command, None, {"PATH": os.environ.get("PATH", os.defpath)})


def volumes(layout: Layout, kubeconfig: Path) -> list[Process]:
    """Answer what makes volumes and snapshots: the driver's controller, then Kubernetes' own beside it."""
    socket = layout.folder / "ebs.sock"
    here = f"http://127.0.0.1:{AWS_PORT}"
    programs = [
        ebs.controller(layout.folder / "ebs", socket, here, REGION, {"Project": "comanda"}),
        *ebs.sidecars(socket, kubeconfig, FIRST.name),
    ]
    return [_of_the_driver(each, FIRST) for each in programs]


def volumes_of(layout: Layout, node: Node) -> Process:
    """Answer the driver at a node: it goes with the node."""
    program = ebs.node(layout.folder / "ebs", layout.root(node) / "kubelet", node.name, node.zone)
    return replace(_of_the_driver(program, node), name=f"ebs-{node.name}", part_of=node)


def _of_the_driver(program: ebs.Program, node: Node) -> Process:
    is_ours = program.program.startswith("/")
    name = "ebs-controller" if is_ours else program.program
    command = program.program if is_ours else str(binary(program.program))
    return Process(name, (command, *program.arguments), node, program.environment)
