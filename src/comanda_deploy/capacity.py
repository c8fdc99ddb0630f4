"""Whether the nodes, at their most, have room for ten API pods and all that stands beside them."""

from collections.abc import Sequence
from dataclasses import dataclass

from comanda_deploy.settings import Settings

API_PODS = 10
"""As far as the API scales by itself."""


@dataclass(frozen=True)
class InstanceSize:
    """One EC2 instance type, as DescribeInstanceTypes says.

    Args:
        memory: in MiB. interfaces: ENIs; addresses: IPv4 addresses on each.
        architecture: "x86_64" or "arm64".
    """

    name: str
    vcpus: int
    memory: int
    interfaces: int
    addresses: int
    architecture: str = "x86_64"

    @property
    def pods(self) -> int:
        """The most pods that the VPC's CNI finds addresses for (EKS: ENIs x (addresses - 1) + 2)."""
        return self.interfaces * (self.addresses - 1) + 2

    @property
    def free_millicores(self) -> int:
        """What is left of the CPU once kubelet and system have theirs (EKS AMI: 6 % of the first core, then less)."""
        reserved = 60 + (10 if self.vcpus > 1 else 0) + 5 * max(0, min(self.vcpus, 4) - 2)
        return (
            self.vcpus * 1000 - reserved - (self.vcpus - 4) * 5 // 2 if self.vcpus > 4 else self.vcpus * 1000 - reserved
        )

    @property
    def free_memory(self) -> int:
        """What is left of the memory, in MiB (EKS AMI: 255 MiB and 11 MiB a pod reserved, 100 MiB for eviction).

        The hypervisor and the kernel keep some 7 % of what the type is said to have.
        """
        return self.memory * 93 // 100 - (255 + 11 * self.pods) - 100


@dataclass(frozen=True)
class Load:
    """What some pods ask for: how many, and of each the CPU in millicores and the memory in MiB."""

    name: str
    pods: int
    millicores: int
    memory: int


ON_EVERY_NODE = (
    Load("aws-node", 1, 50, 0),
    Load("kube-proxy", 1, 100, 0),
    Load("ebs-csi-node", 1, 30, 120),
    Load("eks-pod-identity-agent", 1, 0, 0),
    Load("node-exporter", 1, 50, 64),
    Load("fluent-bit", 1, 50, 64),
)
DATABASE = Load("database", 1, 520, 1568)
ANYWHERE = (
    Load("api", API_PODS, 250, 192),
    Load("worker", 2, 100, 96),
    Load("backup", 1, 10, 64),
    Load("drill", 1, 10, 64),
    Load("restored", 1, 150, 704),
    Load("coredns", 2, 100, 70),
    Load("metrics-server", 2, 100, 200),
    Load("ebs-csi-controller", 2, 60, 240),
    Load("snapshot-controller", 2, 10, 32),
    Load("external-secrets", 1, 50, 128),
    Load("external-secrets-webhook", 2, 25, 64),
    Load("external-secrets-cert-controller", 1, 25, 96),
    Load("aws-load-balancer-controller", 2, 100, 200),
    Load("cluster-autoscaler", 2, 100, 300),
    Load("prometheus", 1, 250, 1024),
    Load("alertmanager", 1, 20, 64),
    Load("grafana", 1, 100, 256),
    Load("kube-state-metrics", 1, 50, 128),
)


def shortages(settings: Settings, sizes: Sequence[InstanceSize]) -> list[str]:
    """Answer what the nodes have too little of, at their most; empty if all fits.

    Args:
        sizes: of every type that the settings name. The smallest of a group counts: the group may get it.
    """
    by_name = {size.name: size for size in sizes}
    general = [by_name[name] for name in settings.nodes.instance_types if name in by_name]
    database = [by_name[name] for name in settings.nodes.database_instance_types if name in by_name]
    nodes = 2 * settings.nodes.max_per_zone
    found = []
    if general:
        found += _shortages(f"{nodes} general nodes", nodes, general, ANYWHERE)
    if database:
        found += _shortages("the database's node", 1, database, (DATABASE,))
    return found


def _shortages(what: str, nodes: int, sizes: Sequence[InstanceSize], loads: Sequence[Load]) -> list[str]:
    asked = (
        (
            "millicores of CPU",
            sum(load.pods * load.millicores for load in loads),
            _each("millicores"),
            "free_millicores",
        ),
        ("MiB of memory", sum(load.pods * load.memory for load in loads), _each("memory"), "free_memory"),
        ("pods", sum(load.pods for load in loads), _each("pods"), "pods"),
    )
    found = []
    for unit, wanted, own, attribute in asked:
        smallest = min(sizes, key=lambda size: getattr(size, attribute))
        room = nodes * (getattr(smallest, attribute) - own)
        if room < wanted:
            found.append(f"{what} of type {smallest.name} have room for {room} {unit}, {wanted} are asked for")
    return found


def _each(attribute: str) -> int:
    """Answer what the pods that run on every node take of it."""
    return sum(getattr(load, attribute) for load in ON_EVERY_NODE)
