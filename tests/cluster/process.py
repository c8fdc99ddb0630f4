"""One process of the cluster, as data: what is run, in whose network, and whether it is started again."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from tests.cluster.layout import Layout, Node
from tests.cluster.machine import within


@dataclass(frozen=True)
class Process:
    """A process that the supervisor runs.

    Args:
        name: unique; its log is NAME.log.
        command: as it would be typed in its network.
        node: in whose network namespace it runs; None for this machine's own network.
        restarts: whether it is started again when it ends by itself, as systemd would.
        part_of: the node whose loss takes it away; None for the infrastructure.
    """

    name: str
    command: tuple[str, ...]
    node: Node | None
    environment: Mapping[str, str] = field(default_factory=dict)
    restarts: bool = True
    part_of: Node | None = None

    def variables(self, layout: Layout) -> dict[str, str]:
        """Answer its environment: nothing of the caller's, and the marks by which it is found, its children too."""
        marks = dict([layout.marker.split("=", 1)])
        if self.part_of:
            marks["COMANDA_TEST_NODE"] = layout.namespace(self.part_of)
        return {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8", **self.environment, **marks}

    def argv(self, layout: Layout) -> list[str]:
        """Answer what is executed."""
        return list(self.command) if self.node is None else within(layout.namespace(self.node), self.command)
