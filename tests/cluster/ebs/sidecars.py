"""The driver's processes and Kubernetes' own side of it, as data for whoever runs them: programs and arguments.

The driver's run from any folder, with nothing in their environment but what stands here. Of Kubernetes' own each takes
`unix://` before the socket; the three that speak to the driver end when it does, and want to be started again. What
fails is tried again within ten seconds, not within five minutes: a test waits for it.
"""

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tests.cluster.cache import root
from tests.cluster.ebs.names import DRIVER

CLONE = Path(__file__).parents[3]
PATIENCE = "--retry-interval-max=10s"
ALONE = "--leader-election=false"


@dataclass(frozen=True)
class Program:
    """One process.

    Args:
        program: its name in tests/cluster/parts.py, or its path. arguments: after it.
    """

    program: str
    arguments: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)


def controller(state: Path, socket: Path, aws: str, region: str, tags: Mapping[str, str]) -> Program:
    """Answer the driver's controller.

    Args:
        state: what all processes of the driver share. aws: the emulated account's URL. tags: of all that is made.
    """
    more = [f"--extra-tag={key}={value}" for key, value in tags.items()]
    return _driver("controller", state, socket, f"--aws={aws}", f"--region={region}", *more)


def node(state: Path, kubelet: Path, name: str, zone: str) -> Program:
    """Answer the driver at a node, which goes with the node.

    Args:
        kubelet: its --root-dir, in which the socket is.
    """
    socket = kubelet / "plugins" / DRIVER / "csi.sock"
    return _driver("node", state, socket, f"--kubelet={kubelet}", f"--name={name}", f"--zone={zone}")


def _driver(what: str, state: Path, socket: Path, *more: str) -> Program:
    arguments = ("-m", "tests.cluster.ebs", what, f"--state={state}", f"--endpoint={socket}", *more)
    return Program(sys.executable, arguments, {"PYTHONPATH": str(CLONE), "COMANDA_CACHE": str(root().parent)})


def sidecars(socket: Path, kubeconfig: Path, node: str) -> tuple[Program, ...]:
    """Answer the processes beside the controller, in the order of their start.

    Args:
        socket: of the driver's controller. node: where they run.
    """
    driver, cluster = f"--csi-address=unix://{socket}", f"--kubeconfig={kubeconfig}"
    return (
        Program("snapshot-controller", (cluster, ALONE, PATIENCE)),
        Program(
            "csi-provisioner",
            (
                driver,
                cluster,
                ALONE,
                PATIENCE,
                "--feature-gates=Topology=true",
                "--strict-topology",
                "--extra-create-metadata",
                "--default-fstype=ext4",
                "--timeout=60s",
            ),
            {"NODE_NAME": node},
        ),
        Program("csi-snapshotter", (driver, cluster, ALONE, PATIENCE, "--extra-create-metadata", "--timeout=60s")),
        Program("csi-resizer", (driver, cluster, ALONE, PATIENCE, "--timeout=60s", "--resize-timeout=60s")),
    )
