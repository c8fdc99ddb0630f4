"""The driver as its callers know it: its processes on their sockets, called as kubelet and the sidecars call them."""

import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc

from tests.cluster.ebs import sidecars
from tests.cluster.ebs.mounts import loops, mounts
from tests.cluster.ebs.names import DRIVER
from tests.cluster.ebs.power import clean
from tests.cluster.ebs.protocol import compiled, of, service

NODES = {"node1": "sa-east-1a", "node2": "sa-east-1a", "node3": "sa-east-1b"}
PATIENCE = 30.0


class Caller:
    """A client of one socket.

    Args:
        place: the socket, which need not be there yet.
    """

    def __init__(self, place: Path) -> None:
        # Else it shares the connection of an earlier client of this socket, to a process that was killed.
        self._channel = grpc.insecure_channel(f"unix:{place}", [("grpc.use_local_subchannel_pool", 1)])

    def __call__(self, method: str, of_service: str = "", **fields: Any) -> Any:
        """Call a method of CSI, or of another service, and answer its answer.

        Args:
            fields: the request's, messages in it as dicts.

        Raises:
            grpc.RpcError: it is refused.
        """
        name = of_service or _service_of(method)
        described = service(name).methods_by_name[method]
        call = self._channel.unary_unary(
            f"/{name}/{method}",
            request_serializer=of(described.input_type).SerializeToString,
            response_deserializer=of(described.output_type).FromString,
        )
        return call(of(described.input_type)(**fields), timeout=PATIENCE, wait_for_ready=True)

    def refused(self, method: str, **fields: Any) -> str:
        """Call a method that will be refused, and answer how: "NOT_FOUND"."""
        try:
            answer = self(method, **fields)
        except grpc.RpcError as error:
            refusal: Any = error  # a grpc.Call as well
            return str(refusal.code().name)
        raise AssertionError(f"{method} is not refused: {answer}")

    def close(self) -> None:
        """Hang up."""
        self._channel.close()


def _service_of(method: str) -> str:
    for name in ("csi.v1.Identity", "csi.v1.Controller", "csi.v1.Node"):
        if method in service(name).methods_by_name:
            return name
    raise KeyError(method)


@dataclass
class Driver:
    """The driver of a whole cluster: a controller, three nodes, and what they share.

    Args:
        aws: the URL of the emulated account.
    """

    folder: Path
    aws: str
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    callers: dict[str, Caller] = field(default_factory=dict)

    @property
    def state(self) -> Path:
        """What its processes share."""
        return self.folder / "state"

    @property
    def controller(self) -> Caller:
        """The controller, as the sidecars call it."""
        return self.callers["controller"]

    def node(self, name: str) -> Caller:
        """Answer a node, as its kubelet calls it."""
        return self.callers[name]

    def kubelet(self, node: str) -> Path:
        """Answer a kubelet's folder."""
        return self.folder / node

    def start(self, name: str, *, until_ready: bool = True) -> None:
        """Start the controller or a node, as the supervisor does."""
        socket = self.folder / "controller.sock"
        if name == "controller":
            program = sidecars.controller(self.state, socket, self.aws, "sa-east-1", {"Project": "comanda"})
        else:
            program = sidecars.node(self.state, self.kubelet(name), name, NODES[name])
            socket = self.kubelet(name) / "plugins" / DRIVER / "csi.sock"
        environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8", **program.environment}
        command = [program.program, *program.arguments]
        with self.log(name).open("ab") as log:
            self.processes[name] = subprocess.Popen(command, cwd="/", env=environment, stderr=log)
        self.callers[name] = Caller(socket)
        deadline = time.monotonic() + PATIENCE
        while until_ready and not self.callers[name]("Probe").ready.value:
            assert time.monotonic() < deadline, self.log(name).read_text(encoding="utf-8")
            time.sleep(0.02)

    def kill(self, name: str) -> None:
        """Kill one, without a word."""
        process, caller = self.processes.pop(name), self.callers.pop(name)
        process.kill()
        process.wait()
        caller.close()

    def log(self, name: str) -> Path:
        """Answer where one says what it did."""
        return self.folder / f"{name}.log"

    def left(self) -> list[str]:
        """Answer where something of it is mounted, and the files of its loop devices."""
        found = [str(each.place) for each in mounts() if self.folder in each.place.parents]
        return found + [str(file) for file in loops().values() if self.folder in file.parents]


@contextmanager
def running_driver(aws: str) -> Iterator[Driver]:
    """Run the driver until the block ends, and leave nothing of it."""
    compiled()  # the driver's own environment knows no Go
    # Short, for the sockets' sake.
    folder = Path(tempfile.mkdtemp(prefix="ebs-"))
    driver = Driver(folder, aws)
    try:
        for name in ("controller", *NODES):
            driver.start(name)
        yield driver
    finally:
        for name in list(driver.processes):
            driver.kill(name)
        clean(driver.state)
        assert driver.left() == []
        shutil.rmtree(folder)
