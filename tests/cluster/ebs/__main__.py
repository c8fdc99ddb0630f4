"""`python -m tests.cluster.ebs COMMAND`: the driver's processes, and what happens to them."""

import argparse
import logging
import re
import signal
import sys
import threading
from collections.abc import Iterable
from pathlib import Path

from tests.cluster.ebs.controller import EVERYTHING, Controller
from tests.cluster.ebs.ec2 import Account
from tests.cluster.ebs.identity import Identity, Registration
from tests.cluster.ebs.names import DRIVER
from tests.cluster.ebs.node import Node
from tests.cluster.ebs.parameters import Tagging, check_tags
from tests.cluster.ebs.power import clean, power_off
from tests.cluster.ebs.protocol import compiled
from tests.cluster.ebs.server import Refused, start
from tests.cluster.ebs.state import State
from tests.cluster.ebs.sweep import sweep

log = logging.getLogger("ebs")


def main() -> int:
    """Run, and answer the exit code."""
    options = _options()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", stream=sys.stderr)
    match options.command:
        case "controller":
            controller(options)
        case "node":
            node(options)
        case "protocol":
            print(compiled())
        case "power-off":
            power_off(options.state, options.node)
        case "clean":
            clean(options.state)
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.cluster.ebs", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    one = commands.add_parser("controller", help="make and remove volumes and snapshots")
    one.add_argument("--aws", required=True, metavar="URL", help="the emulated account")
    one.add_argument("--region", required=True)
    one.add_argument("--cluster", default="comanda", help="whose name the tags bear")
    one.add_argument("--extra-tag", action="append", default=[], metavar="KEY=VALUE", help="of all that is made")
    two = commands.add_parser("node", help="mount volumes at a node")
    two.add_argument("--name", required=True)
    two.add_argument("--zone", required=True)
    two.add_argument("--kubelet", required=True, type=Path, metavar="FOLDER", help="kubelet's --root-dir")
    for each in (one, two):
        each.add_argument("--endpoint", required=True, type=_socket, metavar="SOCKET")
    commands.add_parser("protocol", help="compile what is spoken, which needs Go and its modules, ahead of time")
    lost = commands.add_parser("power-off", help="lose a node: its volumes are free, what it had not flushed is gone")
    lost.add_argument("--node", required=True)
    gone = commands.add_parser("clean", help="unmount, give back and remove all, once no process is left")
    for each in (one, two, lost, gone):
        each.add_argument("--state", required=True, type=Path, metavar="FOLDER", help="what all of a cluster share")
    return parser.parse_args()


def _socket(text: str) -> Path:
    return Path(re.sub("^unix:(//)?", "", text)).absolute()


def controller(options: argparse.Namespace) -> None:
    """Serve the controller until it is told to end."""
    extra = dict(each.split("=", 1) for each in options.extra_tag)
    check_tags(extra)
    state = State(options.state)
    state.open()
    account = Account(options.aws, options.region)
    swept, ended = threading.Event(), _end()
    service = Controller(state, account, Tagging(options.cluster, extra), swept.is_set)
    server = start(options.endpoint, [("csi.v1.Identity", Identity(swept.is_set)), ("csi.v1.Controller", service)])
    while not swept.is_set() and not ended.is_set():
        try:
            with state.alone(EVERYTHING):
                sweep(state, account)
            swept.set()
        except Refused as refusal:
            log.warning("%s", refusal)
            ended.wait(1)
    log.info("the controller serves at %s", options.endpoint)
    ended.wait()
    server.stop(5).wait()


def node(options: argparse.Namespace) -> None:
    """Serve a node until it is told to end, and let its kubelet know."""
    state = State(options.state)
    state.open()
    always = Identity(lambda: True)
    services = [("csi.v1.Identity", always), ("csi.v1.Node", Node(state, options.name, options.zone))]
    ended = _end()
    server = start(options.endpoint, services)
    place = options.kubelet / "plugins_registry" / f"{DRIVER}-reg.sock"
    registry = start(place, [("pluginregistration.Registration", Registration(options.endpoint))])
    log.info("%s in %s serves at %s", options.name, options.zone, options.endpoint)
    ended.wait()
    # Kubelet sees the socket go, and takes the driver from the node's list.
    place.unlink(missing_ok=True)
    for each in (registry, server):
        each.stop(5).wait()


def _end(signals: Iterable[signal.Signals] = (signal.SIGTERM, signal.SIGINT)) -> threading.Event:
    ended = threading.Event()
    for each in signals:
        signal.signal(each, lambda *_: ended.set())
    return ended


if __name__ == "__main__":
    raise SystemExit(main())
