"""A service of the cluster on a port of this machine, on loopback alone, while pods come and go."""

import re
import subprocess
import sys
import threading
from argparse import Namespace
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from comanda_deploy import commands, kubectl
from comanda_deploy.arguments import Parser
from comanda_deploy.context import Context
from comanda_deploy.errors import DeployError, NotFromHereError
from comanda_deploy.kubectl import KUBECTL

VERB = "infra/scripts/eks-cluster-mng.sh"
OPEN = re.compile(r"Forwarding from 127\.0\.0\.1:(\d+) ->")
TAKEN = re.compile(r"address already in use|unable to listen on any of the requested ports")
"""What kubectl says where somebody else has the port."""
OPENS_WITHIN = 30
"""Seconds for kubectl to listen, or to say why not."""
LOOKS_EVERY_SECONDS = 2


@dataclass(frozen=True)
class Place:
    """What is to be reached.

    Args:
        title: for people. service: its service, and the name of the app. port: the service's.
        namespace: where it is. made_by: the verb that deploys it.
    """

    title: str
    service: str
    port: int
    namespace: str
    made_by: str


@dataclass
class Way:
    """A way that is open.

    Args:
        port: of this machine, on 127.0.0.1.
    """

    process: "subprocess.Popen[bytes]"
    port: int = 0
    said: list[str] = field(default_factory=list)
    """What kubectl complained of."""

    def until_it_ends(self) -> str:
        """Wait until kubectl gives up, as when the pod is gone; answer why."""
        self.process.wait()
        return " ".join(" ".join(self.said).split())[:400] or "no reason given"


class PortTakenError(DeployError):
    """Somebody else has the port of this machine."""


def add_options(parser: Parser, place: Place) -> None:
    """Add what a verb takes that leads to a place."""
    parser.add_argument(
        "--port",
        type=int,
        default=place.port,
        metavar="N",
        help=f"of this machine; 0 for any, {place.port} if not said",
    )


def connect(options: Namespace, place: Place, who: str = "") -> int:
    """Print the address of a service on this machine, and keep it open until Ctrl-C, whatever becomes of its pod.

    Args:
        options: `port`: of this machine, 0 for any. who: what more there is to say to whoever comes.

    Raises:
        DeployError: it cannot be reached.
    """
    context = commands.context_of(options)
    kubectl.reach(context)
    require(context, place)
    try:
        port = _once(context, place, options.port, f"{place.title}, for this machine alone, until Ctrl-C.{who}")
        while True:
            _until_a_pod_is_ready(context, place)
            try:
                port = _once(context, place, port, f"{place.title} is reached again.", again=True)
            except PortTakenError:
                raise
            except DeployError:
                # The pod went in between.
                context.sleep(LOOKS_EVERY_SECONDS)
    except KeyboardInterrupt:
        return 0


def require(context: Context, place: Place) -> None:
    """See that there is a pod to be led to.

    Raises:
        DeployError: there is none; which verb makes one, or looks at those that there are.
    """
    try:
        kubectl.ready_pod(context, place.service, namespace=place.namespace)
    except DeployError as error:
        if kubectl.one(context, "service", place.service, namespace=place.namespace) is None:
            raise DeployError(f"{place.title} is not deployed yet: run {VERB} {place.made_by}") from error
        raise


@contextmanager
def opened(context: Context, place: Place, port: int = 0) -> Iterator[Way]:
    """Open a way for the block.

    Args:
        port: of this machine, 0 for any that is free.

    Raises:
        DeployError: it does not open.
    """
    ports = f"{port or ''}:{place.port}"
    arguments = ["port-forward", f"service/{place.service}", ports, "--namespace", place.namespace]
    process = context.start(
        [*KUBECTL, *arguments, "--address=127.0.0.1"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    way, listens = Way(process), threading.Event()
    listener = threading.Thread(target=_listen, args=(way, listens), daemon=True)
    listener.start()
    try:
        listens.wait(OPENS_WITHIN)
        if not way.port:
            process.terminate()
            why = way.until_it_ends()
            listener.join(OPENS_WITHIN)
            if TAKEN.search(" ".join(way.said)):
                raise PortTakenError(f"port {port} of this machine is taken: --port with another, or --port 0 for any")
            raise DeployError(
                f"there is no way to {place.title} ({why}): kubectl get pods --namespace {place.namespace}"
            )
        yield way
    finally:
        # At a terminal kubectl has heard of Ctrl-C too.
        process.terminate()
        process.wait()
        listener.join(OPENS_WITHIN)


def _listen(way: Way, listens: threading.Event) -> None:
    """Read all that kubectl says: it would wait for a reader otherwise."""
    assert way.process.stdout is not None, "it was started so"
    with way.process.stdout as lines:
        for line in lines:
            text = line.decode("utf-8", "replace")
            if found := OPEN.match(text):
                way.port = int(found[1])
                listens.set()
            elif not text.startswith(("Handling connection", "Forwarding from")):
                way.said.append(text)
    listens.set()


def _once(context: Context, place: Place, port: int, says: str, *, again: bool = False) -> int:
    """Open a way, say so, and wait until it ends; answer its port."""
    with opened(context, place, port) as way:
        if not again:
            print(f"http://127.0.0.1:{way.port}", flush=True)
        print(says, file=sys.stderr, flush=True)
        why = way.until_it_ends()
        print(f"The way to {place.title} ended ({why}). It is looked for again.", file=sys.stderr, flush=True)
        return way.port


def _until_a_pod_is_ready(context: Context, place: Place) -> None:
    """Wait as long as it takes: Ctrl-C ends it."""
    while True:
        try:
            kubectl.ready_pod(context, place.service, namespace=place.namespace)
        except NotFromHereError:
            raise
        except DeployError:
            context.sleep(LOOKS_EVERY_SECONDS)
        else:
            return
