"""What the cluster is made of, by name and address: its nodes, their zones, its folders, its ranges of addresses.

One place says it; everything else asks here. Two clones on one machine are two clusters with names of their own, and
with ranges of their own where COMANDA_CLUSTER_NETWORK says so.
"""

import hashlib
import os
from dataclasses import dataclass
from functools import cached_property
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

CLONE = Path(__file__).parents[2]
REGION = "sa-east-1"
CLUSTER = "comanda"
DNS_DOMAIN = "cluster.local"

NETWORK = IPv4Network("172.30.0.0/24")
PODS = IPv4Network("10.244.0.0/16")
SERVICES = IPv4Network("10.96.0.0/16")


@dataclass(frozen=True)
class Node:
    """One node: its number from 1, its zone, and the node group whose labels it has."""

    number: int
    zone: str
    group: str

    @property
    def name(self) -> str:
        """As `kubectl get nodes` names it."""
        return f"node{self.number}"

    @property
    def labels(self) -> dict[str, str]:
        """As EKS gives them to the nodes of a group (EKS user guide, managed node groups), and our own."""
        return {
            "comanda/node-group": "database" if self.group.endswith("database") else "general",
            "eks.amazonaws.com/capacityType": "ON_DEMAND",
            "eks.amazonaws.com/nodegroup": self.group,
            "node.kubernetes.io/instance-type": "t3.large",
            "topology.kubernetes.io/region": REGION,
            "topology.kubernetes.io/zone": self.zone,
        }


NODES = (
    Node(1, f"{REGION}a", "comanda-general-a"),
    Node(2, f"{REGION}a", "comanda-database"),
    Node(3, f"{REGION}b", "comanda-general-b"),
)
"""Two in one zone, of which one is the database's; one in another. The first carries the control plane too."""


@dataclass(frozen=True)
class Layout:
    """One cluster's places.

    Args:
        clone: the checkout that it belongs to. network: of the nodes, a /24.
    """

    clone: Path = CLONE
    network: IPv4Network = NETWORK
    pods: IPv4Network = PODS
    services: IPv4Network = SERVICES

    @cached_property
    def name(self) -> str:
        """What tells this cluster's things on the machine from another's."""
        return "comanda-" + hashlib.sha256(str(self.clone).encode()).hexdigest()[:6]

    @property
    def folder(self) -> Path:
        """Where its state is: short, since sockets live there, whose paths Linux bounds at 107 characters."""
        return Path("/var/lib") / self.name

    @property
    def logs(self) -> Path:
        """One file a process."""
        return self.folder / "logs"

    @property
    def facts(self) -> Path:
        """What the contract promises to scripts and tests."""
        return self.clone / ".comanda" / "cluster.json"

    @property
    def control(self) -> Path:
        """The supervisor's socket."""
        return self.folder / "supervisor.sock"

    @property
    def marker(self) -> str:
        """What stands in the environment of every process of it, by which they are found when all else is lost."""
        return f"COMANDA_TEST_CLUSTER={self.name}"

    @property
    def root_was_private(self) -> Path:
        """A file that is there where the machine's root mount was made shared for this cluster."""
        return self.folder / "root-was-private"

    def namespace(self, node: Node) -> str:
        """Answer the name of a node's network namespace."""
        return f"{self.name}-{node.number}"

    def address(self, node: Node) -> IPv4Address:
        """Answer a node's address."""
        return self.network.network_address + node.number

    def pods_of(self, node: Node) -> IPv4Network:
        """Answer the addresses of a node's pods: 10.244.N.0/24."""
        return list(self.pods.subnets(new_prefix=24))[node.number]

    def root(self, node: Node) -> Path:
        """Answer where a node's kubelet and containerd keep their own."""
        return self.folder / node.name

    @property
    def main(self) -> IPv4Address:
        """The first node's address, where the control plane and the infrastructure listen."""
        return self.address(NODES[0])

    @property
    def api(self) -> IPv4Address:
        """The service address of the API server itself: always the first of the range."""
        return self.services.network_address + 1

    @property
    def dns(self) -> IPv4Address:
        """The service address of DNS, by custom the tenth."""
        return self.services.network_address + 10


def layout() -> Layout:
    """Answer this clone's layout.

    Raises:
        SystemExit: COMANDA_CLUSTER_NETWORK is no range that can be used.
    """
    given = os.environ.get("COMANDA_CLUSTER_NETWORK")
    if not given:
        return Layout()
    try:
        network = IPv4Network(given)
        if network.prefixlen != 24 or not network.is_private:
            raise ValueError("it must be private and a /24")
    except ValueError as error:
        raise SystemExit(f"COMANDA_CLUSTER_NETWORK={given}: {error}, as 172.31.7.0/24") from error
    # Pods and services follow the nodes' third number, so that one setting keeps two clusters apart.
    third = int(network.network_address.packed[2])
    return Layout(
        network=network,
        pods=IPv4Network(f"10.{100 + third % 56}.0.0/16"),
        services=IPv4Network(f"10.{156 + third % 56}.0.0/16"),
    )
