"""`logs`: what all pods of API and worker wrote, as one: an order or a request from pod to pod, faults, or all of it.

What is there is put down in files that have no name, and merged from there: memory is bounded, whatever was written.
"""

import argparse
import heapq
import json
import os
import queue
import re
import subprocess
import sys
import tempfile
import threading
from argparse import Namespace
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import BinaryIO

from comanda_deploy import commands, kubectl, log_lines
from comanda_deploy.arguments import Parser, add_json
from comanda_deploy.context import Context
from comanda_deploy.errors import DeployError
from comanda_deploy.kubectl import KUBECTL
from comanda_deploy.log_lines import Line, Names, Source
from comanda_deploy.names import NAMESPACE
from comanda_deploy.objects import Json

CONTAINERS = {"comanda-api": "api", "comanda-worker": "worker"}
NAME = "app.kubernetes.io/name"
VERB = "infra/scripts/eks-cluster-mng.sh"
AT_ONCE = 4
"""Logs that are fetched at the same time."""
PATIENCE = 300
"""Seconds for one of them: the node keeps 10 MiB of a container (kubelet, containerLogMaxSize)."""
LOOKS_EVERY_SECONDS = 5.0
"""How often it is looked whether there are other pods, while they are followed."""
WAITING = 1000
"""Lines that are read from pods and not shown yet, at the most: then the pods' are waited with."""
NEVER = datetime.min.replace(tzinfo=UTC)


def add_options(parser: Parser) -> None:
    """Add what logs takes beside --yes."""
    add_json(parser)
    parser.add_argument(
        "id", nargs="?", type=_id, metavar="ID", help="of an order, a request or a payment: the lines that belong to it"
    )
    parser.add_argument(
        "--since", type=_duration, default="1h", metavar="DURATION", help="how far back, as 90s, 15m, 2h or 1d (1h)"
    )
    parser.add_argument("--follow", "-f", action="store_true", help="go on with what they write from now on")
    parser.add_argument(
        "--errors", action="store_true", help="only errors, answers of 5xx, and what is no line of a log at all"
    )


def show(options: Namespace) -> int:
    """Show the logs, oldest first, times in UTC.

    Raises:
        DeployError: there are no pods, or the cluster cannot be asked.
    """
    context = commands.context_of(options)
    kubectl.reach(context)
    pods = _pods(context)
    if not pods:
        raise DeployError(f"there is no pod of API or worker: run {VERB} deploy-api")
    viewer = Viewer(Names(options.id) if options.id else None, options.errors, options.json)
    try:
        latest = _show_what_is_there(context, options, pods, viewer)
        if options.follow:
            _follow(context, viewer, latest)
    except BrokenPipeError:
        # `| head` has seen enough. Python would say so again at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        if not options.follow:
            raise
    _say(f"{viewer.shown} lines, times in UTC. Next: {_next(options, viewer)}")
    return 0


@dataclass
class Viewer:
    """Chooses lines and shows them.

    Args:
        names: what they must name, None for all. shown: how many there were.
    """

    names: Names | None
    errors: bool
    json: bool
    shown: int = 0

    def show(self, line: Line) -> None:
        """Show a line, if it is one of those that were asked for."""
        if (self.names and not self.names.take(line)) or (self.errors and not line.is_bad):
            return
        self.shown += 1
        print(log_lines.for_scripts(line) if self.json else log_lines.for_people(line), flush=True)


def _show_what_is_there(
    context: Context, options: Namespace, pods: dict[str, Json], viewer: Viewer
) -> dict[str, datetime]:
    """Show what was written, and answer by pod until when that is."""
    sources = [source for name, body in pods.items() for source in _sources(name, body)]
    latest = dict.fromkeys(pods, NEVER)
    with ExitStack() as stack:
        files = [stack.enter_context(tempfile.TemporaryFile()) for _ in sources]
        with ThreadPoolExecutor(AT_ONCE) as pool:
            fetched = [
                pool.submit(_fetch, context, source, options.since, file)
                for source, file in zip(sources, files, strict=True)
            ]
            troubles = [each.result() for each in fetched]
        for source, trouble in zip(sources, troubles, strict=True):
            if trouble and not source.previous:
                _say(f"{source.pod} has no log to be had, or went meanwhile: {trouble}")
        for name in _gone(context, pods):
            _say(f"{name} is gone, and its log with it")

        def lines() -> Iterator[Line]:
            for file in files:
                file.seek(0)
            read = [log_lines.read(source, file) for source, file in zip(sources, files, strict=True)]
            return heapq.merge(*read, key=lambda each: each.at)

        # Twice: what a payment's line leads to may have been written before the order's line that names the payment.
        if viewer.names:
            viewer.names.follow(lines())
            viewer.names.follow(lines())
        for line in lines():
            latest[line.source.pod] = line.at
            viewer.show(line)
    return latest


def _follow(context: Context, viewer: Viewer, latest: dict[str, datetime]) -> None:
    """Show what the pods write from now on, as it comes, new pods' too, until it is interrupted."""
    written: queue.Queue[tuple[Source, bytes]] = queue.Queue(WAITING)
    at_work: dict[str, subprocess.Popen[bytes]] = {}
    try:
        looked = NEVER
        while True:
            if (context.clock() - looked).total_seconds() >= LOOKS_EVERY_SECONDS:
                _follow_those_that_are_there(context, written, at_work, latest)
                looked = context.clock()
            try:
                source, raw = written.get(timeout=LOOKS_EVERY_SECONDS)
            except queue.Empty:
                continue
            before = latest.get(source.pod, NEVER)
            line = log_lines.parse(source, raw, before)
            # kubectl takes whole seconds: those lines were shown.
            if line.at > before or before is NEVER:
                latest[source.pod] = line.at
                viewer.show(line)
    finally:
        for process in at_work.values():
            process.kill()
            process.wait()


def _follow_those_that_are_there(
    context: Context,
    written: "queue.Queue[tuple[Source, bytes]]",
    at_work: dict[str, subprocess.Popen[bytes]],
    latest: dict[str, datetime],
) -> None:
    try:
        pods = _pods(context)
    except DeployError as error:
        _say(f"the cluster does not answer just now: {error}")
        return
    for name in [each for each in at_work if each not in pods]:
        process = at_work.pop(name)
        process.kill()
        process.wait()
        _say(f"{name} is gone")
    for name, body in pods.items():
        if name in at_work and at_work[name].poll() is None:
            continue
        source = Source(name, CONTAINERS[body["metadata"]["labels"][NAME]])
        since = latest.setdefault(name, NEVER)
        flags = ["--follow", *([f"--since-time={since:%Y-%m-%dT%H:%M:%SZ}"] if since is not NEVER else [])]
        # What it complains of, as of a container that has not begun, is no news: it is tried again.
        process = context.start(
            [*KUBECTL, *_logs_of(source), *flags],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        at_work[name] = process
        threading.Thread(target=_pass_on, args=(source, process, written), daemon=True).start()


def _pass_on(source: Source, process: subprocess.Popen[bytes], to: "queue.Queue[tuple[Source, bytes]]") -> None:
    assert process.stdout is not None
    while raw := process.stdout.readline(log_lines.LONGEST):
        to.put((source, raw))


def _fetch(context: Context, source: Source, since: str, to: BinaryIO) -> str:
    """Put a log into a file; answer why it cannot be had, "" if it can."""
    flags = [f"--since={since}", *(["--previous"] if source.previous else [])]
    process = context.start(
        [*KUBECTL, *_logs_of(source), *flags], stdin=subprocess.DEVNULL, stdout=to, stderr=subprocess.PIPE
    )
    try:
        _, said = process.communicate(timeout=PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        return f"it took longer than {PATIENCE} s"
    return " ".join(said.decode("utf-8", "replace").split())[:400] if process.returncode else ""


def _logs_of(source: Source) -> list[str]:
    return ["logs", source.pod, "--namespace", NAMESPACE, "--container", source.container, "--timestamps"]


def _pods(context: Context) -> dict[str, Json]:
    """Answer the pods of API and worker, by name."""
    selector = f"--selector={NAME} in ({','.join(CONTAINERS)})"
    text = kubectl.answer_of(context, "get", "pods", "--namespace", NAMESPACE, selector, "--output=json")
    return {each["metadata"]["name"]: each for each in json.loads(text)["items"]}


def _sources(name: str, body: Json) -> Iterator[Source]:
    """Answer the containers of a pod that have a log: the one before, too, where it was started again."""
    container = CONTAINERS[body["metadata"]["labels"][NAME]]
    for each in (body.get("status") or {}).get("containerStatuses") or ():
        if each["name"] == container and each.get("restartCount"):
            yield Source(name, container, previous=True)
    yield Source(name, container)


def _gone(context: Context, pods: dict[str, Json]) -> list[str]:
    """Answer which pods Kubernetes still tells of, and has no more. It tells of the last hour."""
    answer = kubectl.run(context, "get", "events", "--namespace", NAMESPACE, "--output=json")
    events = json.loads(answer.stdout)["items"] if not answer.returncode else []
    named = {each["involvedObject"].get("name", "") for each in events if each["involvedObject"].get("kind") == "Pod"}
    ours = tuple(f"{each}-" for each in CONTAINERS)
    return sorted(each for each in named if each.startswith(ours) and each not in pods)


def _next(options: Namespace, viewer: Viewer) -> str:
    if not viewer.shown and options.id:
        return f"look further back, {VERB} logs {options.id} --since 24h"
    if options.id:
        return f"{VERB} logs --errors shows the faults of all"
    return f"{VERB} logs ID shows one order, request or payment"


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _id(text: str) -> str:
    if not re.fullmatch(r"[\w.:-]{4,128}", text, re.ASCII):
        raise argparse.ArgumentTypeError(f"{text!r} is no id of an order, a request or a payment")
    return text


def _duration(text: str) -> str:
    found = re.fullmatch(r"([0-9]{1,5})([smhd])", text)
    if not found or not int(found[1]):
        raise argparse.ArgumentTypeError(f"{text!r} is no duration, as 90s, 15m, 2h or 1d")
    # kubectl knows no days.
    return f"{int(found[1]) * 24}h" if found[2] == "d" else text
