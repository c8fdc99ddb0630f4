"""`python -m tests.cluster up|down|status|node|supervise`: what `make cluster` and `make cluster-down` call."""

import argparse
import asyncio
import fcntl
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.cluster import building, cleaning, facts, preflight
from tests.cluster.bringing_up import bring_up, named, of_node
from tests.cluster.ebs import protocol
from tests.cluster.layout import CLONE, NODES, Layout, layout
from tests.cluster.machine import Failed, unmount_below
from tests.cluster.objects import MARKER, Kubectl, marker
from tests.cluster.parts import CORE, PARTS
from tests.cluster.process import Process
from tests.cluster.supervisor import Handler, Supervisor, ask, serve

READY = "ready"
FAILED = "failed"


def main() -> int:
    """Run a command, and answer its exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.cluster", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    for name, about in (
        ("up", "bring the cluster up, building what is missing; a second time is a quick success"),
        ("down", "end it, and leave nothing"),
        ("status", "each process, and where its log is"),
        ("env", "print the environment in which the product's scripts work on it"),
        ("mark", "let tests run on the cluster that COMANDA_TEST_KUBECONFIG names, after asking"),
        ("supervise", argparse.SUPPRESS),
    ):
        added = commands.add_parser(name, help=about)
        if name == "up":
            added.add_argument("--built", action="store_true", help="build no more than the core; start what is built")
        if name in ("up", "supervise"):
            added.add_argument(
                "--core", action="store_true", help="only nodes, DNS, registry, AWS, balancer: a third of the build"
            )
    lost = commands.add_parser("node", help="lose a node, or have it back")
    lost.add_argument("do", choices=["power-off", "power-on"])
    lost.add_argument("name")
    options = parser.parse_args()
    where = layout()
    try:
        return {
            "up": up,
            "down": down,
            "status": status,
            "env": env,
            "mark": mark,
            "supervise": supervise,
            "node": node,
        }[options.command](where, options)
    except (Failed, ConnectionError) as error:
        print(f"cluster: {error}", file=sys.stderr)
        return 1


def up(where: Layout, options: argparse.Namespace) -> int:
    """Bring it up."""
    _refuse_what_lacks()
    with _alone(where):
        if _is_up(where):
            print(f"the cluster is up already: {where.facts}")
            return 0
        if cleaning.leftovers(where):
            print("an old cluster's leftovers go first")
            cleaning.clean(where)
        building.ensure(CORE if options.core or options.built else PARTS)
        # It wants Go, which the driver's own environment has not.
        protocol.compiled()
        where.logs.mkdir(parents=True)
        where.folder.chmod(0o700)
        return _follow(where, _start_supervisor(where, core=options.core))


def down(where: Layout, options: argparse.Namespace) -> int:
    """End it."""
    del options
    if os.geteuid() != 0:
        raise Failed("root is needed: sudo make cluster-down")
    with _alone(where):
        try:
            ask(where, "down", patience=30)
        except (ConnectionError, Failed, OSError):
            print("no supervisor answers: what is left is looked for")
        cleaning.clean(where)
    print("nothing of the cluster is left")
    return 0


def status(where: Layout, options: argparse.Namespace) -> int:
    """Say how it is."""
    del options
    for name, process in ask(where, "status").items():
        print(f"  {process or 'ended':>8}  {name:32} {where.logs / f'{name}.log'}")
    return 0


def env(where: Layout, options: argparse.Namespace) -> int:
    """Print the environment of the scripts."""
    del options
    for name, value in facts.environment(facts.read(where)).items():
        print(f"export {name}='{value}'")
    return 0


def mark(where: Layout, options: argparse.Namespace) -> int:
    """Write the marker into another cluster, once somebody has said its address."""
    del options
    named = os.environ.get("COMANDA_TEST_KUBECONFIG")
    if not named:
        raise Failed("COMANDA_TEST_KUBECONFIG names no cluster: set it to a kubeconfig")
    kube = Kubectl(Path("kubectl"), Path(named))
    server = json.loads(kube("config", "view", "--minify", "--output=json"))["clusters"][0]["cluster"]["server"]
    print(f"Tests may then delete and change everything in the cluster at {server}.")
    if not sys.stdin.isatty() or input("Type that address to go on: ").strip() != server:
        raise Failed("nothing was touched")
    kube.apply([marker(where)])
    print(f"marked: {MARKER} in kube-system; delete that config map to take it back")
    return 0


def node(where: Layout, options: argparse.Namespace) -> int:
    """Lose a node, or have it back."""
    ask(where, options.do, node=options.name)
    print(f"{options.name}: {options.do}")
    return 0


def supervise(where: Layout, options: argparse.Namespace) -> int:
    """Be the supervisor, until told to end."""
    return asyncio.run(_supervise(where, core=options.core))


async def _supervise(where: Layout, *, core: bool) -> int:
    progress = (where.folder / "progress").open("a", encoding="utf-8", buffering=1)
    supervisor = Supervisor(where, lambda line: print(line, file=progress))
    ended = asyncio.Event()

    async def end(_: dict[str, Any]) -> None:
        ended.set()

    async def now(_: dict[str, Any]) -> dict[str, int | None]:
        return supervisor.status()

    async def power_off(asked: dict[str, Any]) -> None:
        await _lose(where, supervisor, asked["node"])

    async def power_on(asked: dict[str, Any]) -> None:
        await supervisor.start(*of_node(supervisor, named(asked["node"])))

    async def stop(asked: dict[str, Any]) -> None:
        await supervisor.stop(asked["names"])

    async def run(asked: dict[str, Any]) -> None:
        node = NODES[0] if asked["inside"] else None
        await supervisor.start(Process(asked["name"], tuple(asked["command"]), node, asked["environment"]))

    async def start(asked: dict[str, Any]) -> None:
        await supervisor.start(*(supervisor.running[name].process for name in asked["names"]))

    handlers: dict[str, Handler] = {
        "down": end,
        "status": now,
        "power-off": power_off,
        "power-on": power_on,
        "stop": stop,
        "start": start,
        "run": run,
    }
    async with await serve(supervisor, handlers):
        try:
            cluster = await bring_up(where, supervisor, core=core)
        except Exception as failure:
            # Whatever it was, whoever waits is told, and not left to wait.
            supervisor.say(f"{FAILED}: {failure if isinstance(failure, Failed) else repr(failure)}")
            raise

        async def ports(_: dict[str, Any]) -> dict[str, int]:
            return cluster.ports

        handlers["ports"] = ports
        facts.write(where, cluster.facts)
        supervisor.say(READY)
        await ended.wait()
    await supervisor.stop(reversed(list(supervisor.running)), patience=5)
    return 0


async def _lose(where: Layout, supervisor: Supervisor, name: str) -> None:
    one = named(name)
    await supervisor.stop([each.name for each in of_node(supervisor, one)], sign=9, patience=5)
    await asyncio.to_thread(cleaning.end_node, where, one.name, where.namespace(one))
    from tests.cluster.ebs import power_off  # noqa: PLC0415 - only when a node is lost

    await asyncio.to_thread(power_off, where.folder / "ebs", one.name)
    await asyncio.to_thread(unmount_below, where.root(one))


def _refuse_what_lacks() -> None:
    if lacks := preflight.lacking():
        lines = [f"  {each}" for each in lacks]
        raise Failed("this machine lacks:\n" + "\n".join(lines))


@contextmanager
def _alone(where: Layout) -> Iterator[None]:
    """One at a time: a second `make cluster` waits for the first, and then finds it up."""
    with Path(f"/run/lock/{where.name}").open("w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _is_up(where: Layout) -> bool:
    try:
        ask(where, "status", patience=10)
    except (ConnectionError, Failed, OSError):
        return False
    return where.facts.exists()


def _start_supervisor(where: Layout, *, core: bool) -> subprocess.Popen[bytes]:
    marker, _, name = where.marker.partition("=")
    with (where.logs / "supervisor.log").open("ab") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "tests.cluster", "supervise", *(["--core"] if core else [])],
            cwd=CLONE,
            env={**os.environ, marker: name},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )


def _follow(where: Layout, supervisor: subprocess.Popen[bytes]) -> int:
    """Say what the supervisor says, until it is ready or has failed."""
    progress, had = where.folder / "progress", 0
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline:
        lines = progress.read_text(encoding="utf-8").splitlines() if progress.exists() else []
        for line in lines[had:]:
            if line == READY:
                print(f"ready: {where.facts}. Logs: {where.logs}")
                return 0
            print(line, flush=True)
            if line.startswith(f"{FAILED}:"):
                print("\n".join(lines[lines.index(line) + 1 :]))
                print(f"cluster: it did not come up; logs: {where.logs}; then make cluster-down", file=sys.stderr)
                return 1
        had = len(lines)
        if supervisor.poll() is not None:
            break
        time.sleep(0.1)
    print(f"cluster: the supervisor says nothing more: see {where.logs / 'supervisor.log'}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    raise SystemExit(main())
