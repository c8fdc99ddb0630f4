"""The supervisor: runs the cluster's processes, starts again what ended by itself, and does what a socket tells it.

It is one process of its own, started by `make cluster` and ended by `make cluster-down`.
"""

import asyncio
import json
import os
import signal
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.cluster.layout import Layout
from tests.cluster.machine import Failed
from tests.cluster.process import Process

PATIENCE = 60.0
"""Seconds for anything to become ready."""
OFTEN = 5
"""How many ends in a minute are too many to start a process again."""


@dataclass
class Running:
    """A process and what became of it.

    Args:
        wanted: whether it is to run. ends: when it ended by itself, by the monotonic clock.
    """

    process: Process
    child: asyncio.subprocess.Process | None = None
    wanted: bool = True
    ends: deque[float] = field(default_factory=lambda: deque(maxlen=OFTEN))
    watcher: asyncio.Task[None] | None = None


class Supervisor:
    """Holds all processes of one cluster.

    Args:
        say: is given a line for each thing that happened, for people.
    """

    def __init__(self, layout: Layout, say: Callable[[str], None]) -> None:
        """Begin with none."""
        self.layout = layout
        self.say = say
        self.running: dict[str, Running] = {}
        self.failure: Failed | None = None

    async def start(self, *processes: Process) -> None:
        """Start processes; one that ran before, and was stopped, runs again."""
        for process in processes:
            running = self.running.setdefault(process.name, Running(process))
            running.process, running.wanted = process, True
            if running.child is None or running.child.returncode is not None:
                await self._spawn(running)

    async def stop(self, names: Iterable[str], sign: int = signal.SIGTERM, patience: float = 10.0) -> None:
        """Stop processes and wait for their end; what does not end in time is killed."""
        chosen = [self.running[name] for name in names if name in self.running]
        for each in chosen:
            each.wanted = False
            if each.child and each.child.returncode is None:
                with suppress(ProcessLookupError):
                    each.child.send_signal(sign)
        waits = [asyncio.ensure_future(each.child.wait()) for each in chosen if each.child]
        if not waits:
            return
        _, late = await asyncio.wait(waits, timeout=patience)
        if late:
            for each in chosen:
                if each.child and each.child.returncode is None:
                    with suppress(ProcessLookupError):
                        each.child.kill()
            await asyncio.wait(late)

    async def until(self, what: str, check: Callable[[], Awaitable[bool]], patience: float = PATIENCE) -> None:
        """Wait until something is so.

        Raises:
            Failed: it does not become so in time, or a process ends again and again meanwhile.
        """
        began = time.monotonic()
        while True:
            with suppress(OSError, Failed, asyncio.TimeoutError):
                if await check():
                    return
            if self.failure:
                raise self.failure
            if time.monotonic() - began > patience:
                raise Failed(f"{what}: not so after {patience:.0f} s; the logs are in {self.layout.logs}")
            await asyncio.sleep(0.1)

    def last_lines(self, name: str, count: int = 12) -> str:
        """Answer the end of a process's log."""
        try:
            lines = self._log(name).read_text(encoding="utf-8", errors="replace").splitlines()
        except FileNotFoundError:
            return ""
        return "\n".join(f"    {line[:300]}" for line in lines[-count:])

    def status(self) -> dict[str, Any]:
        """Answer each process's id, None for one that does not run."""
        return {
            name: each.child.pid if each.child and each.child.returncode is None else None
            for name, each in sorted(self.running.items())
        }

    def _log(self, name: str) -> Path:
        return self.layout.logs / f"{name}.log"

    async def _spawn(self, running: Running) -> None:
        process = running.process
        with self._log(process.name).open("ab") as log:
            running.child = await asyncio.create_subprocess_exec(
                *process.argv(self.layout),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=process.variables(self.layout),
                cwd=self.layout.folder,
                start_new_session=True,
            )
        running.watcher = asyncio.create_task(self._watch(running, running.child))

    async def _watch(self, running: Running, child: asyncio.subprocess.Process) -> None:
        code = await child.wait()
        if not running.wanted or running.child is not child:
            return
        name, now = running.process.name, time.monotonic()
        running.ends.append(now)
        often = len(running.ends) == OFTEN and now - running.ends[0] < 60
        if often or not running.process.restarts:
            self.failure = Failed(
                f"{name} ended with {code} again and again; its last lines:\n{self.last_lines(name)}\n"
                f"  all of it: {self._log(name)}\n  mend that, then make cluster-down cluster"
            )
            self.say(f"failed: {name} ended with {code}")
            return
        self.say(f"{name} ended with {code}: started again")
        await asyncio.sleep(min(0.5 * len(running.ends), 2))
        if running.wanted and running.child is child:
            await self._spawn(running)


Handler = Callable[[dict[str, Any]], Awaitable[Any]]


async def serve(supervisor: Supervisor, handlers: dict[str, Handler]) -> asyncio.Server:
    """Answer a server on the layout's socket: a line of JSON with `do`, and a line with `answer` or `error`."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        said: dict[str, Any]
        try:
            asked = json.loads(await reader.readline())
            said = {"answer": await handlers[asked.pop("do")](asked)}
        except Failed as failure:
            said = {"error": str(failure)}
        except Exception as error:
            said = {"error": f"{type(error).__name__}: {error}"}
        with suppress(ConnectionError):
            writer.write(json.dumps(said).encode() + b"\n")
            await writer.drain()
        writer.close()

    supervisor.layout.control.unlink(missing_ok=True)
    server = await asyncio.start_unix_server(talk, supervisor.layout.control)
    supervisor.layout.control.chmod(0o600)
    return server


def ask(layout: Layout, do: str, *, patience: float = 120.0, **more: Any) -> Any:
    """Ask a running supervisor, and answer what it answers.

    Raises:
        ConnectionError: none is running. Failed: it could not do it.
    """
    import socket  # noqa: PLC0415 - only those who ask

    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(patience)
        try:
            connection.connect(str(layout.control))
        except (FileNotFoundError, ConnectionRefusedError) as error:
            raise ConnectionError("no cluster is running: make cluster") from error
        connection.sendall(json.dumps({"do": do, **more}).encode() + b"\n")
        with connection.makefile("rb") as answers:
            said = json.loads(answers.readline() or b'{"error": "the supervisor ended"}')
    if "error" in said:
        raise Failed(said["error"])
    return said["answer"]


def pid_is_alive(process: int) -> bool:
    """Answer whether a process of that id runs."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
