"""`python -m comanda_local` as a person starts it, for tests that watch it from outside."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Self

from comanda_local.orphans import children_of
from comanda_local.postgres import processes_in
from comanda_local.privileges import database_account, run_as

ANY_PORTS = {"PORT": "0", "OPS_PORT": "0", "SANDBOX_PORT": "0"}


class Launch:
    """One run in `folder`, with the given environment and no other. Ends with the block, killed if need be."""

    def __init__(
        self, folder: Path, environment: Mapping[str, str] | None = None, *, as_user: list[str] | None = None
    ) -> None:
        self.folder = folder
        self.data = folder / ".comanda"
        self.lines: list[str] = []
        self._heard = threading.Condition()
        self.process = subprocess.Popen(
            [*(as_user or []), sys.executable, "-m", "comanda_local"],
            cwd=folder,
            env={"PATH": os.environ["PATH"], "HOME": str(folder), **ANY_PORTS, **(environment or {})},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self._reader.join()
        assert self.process.stdout is not None
        self.process.stdout.close()
        if self.process.returncode == -signal.SIGKILL:  # nobody else leaves anything
            for pid in self.left_running():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)

    def hears(self, text: str, timeout_seconds: float = 30.0) -> str:
        """Wait until a line of the output contains `text`; answer that line."""
        deadline = time.monotonic() + timeout_seconds
        with self._heard:
            while True:
                for line in self.lines:
                    if text in line:
                        return line
                ended = not self._reader.is_alive()
                left = deadline - time.monotonic()
                assert not ended, f"it ended without saying {text!r}: {self.lines}"
                assert left > 0, f"it did not say {text!r} in time: {self.lines}"
                self._heard.wait(min(left, 0.5))

    def ready(self) -> dict[str, Any]:
        """Wait until all is ready; answer `local.json`."""
        self.hears("Ctrl-C stops it")
        return self.document()

    def document(self) -> dict[str, Any]:
        """What `local.json` holds."""
        document: dict[str, Any] = json.loads((self.data / "local.json").read_text())
        return document

    def stop(self, number: int = signal.SIGINT, timeout_seconds: float = 30.0) -> int:
        """Send a signal and wait for the end; answer the exit code."""
        self.process.send_signal(number)
        return self.ends(timeout_seconds)

    def ends(self, timeout_seconds: float = 30.0) -> int:
        """Wait for the end; answer the exit code."""
        code = self.process.wait(timeout_seconds)
        self._reader.join()
        return code

    def pid_of(self, module: str) -> int:
        """The pid of the child that runs `module`, as in `comanda worker`, or of the postmaster."""
        if module == "postgres":
            return int((self.data / "postgresql" / "postmaster.pid").read_text().split()[0])
        wanted = f"-m {module}"
        found = [pid for pid in children_of(self.data) if wanted in _command_line(pid)]
        assert len(found) >= 1, f"nobody runs {module}"
        return found[0]

    def left_running(self) -> list[int]:
        """The pids of everything that belongs to this folder."""
        return [*children_of(self.data), *processes_in(self.data / "postgresql")]

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            with self._heard:
                self.lines.append(line.rstrip("\n"))
                self._heard.notify_all()
        with self._heard:
            self._heard.notify_all()


def only_line(launch: Launch) -> str:
    """The one line that it said before it ended with an error."""
    assert launch.ends() == 1
    assert len(launch.lines) == 1, launch.lines
    assert launch.lines[0].startswith("comanda: ")
    assert launch.left_running() == []
    assert not (launch.data / "local.json").exists()
    return launch.lines[0]


def call(method: str, url: str, body: object = None, key: str | None = None) -> tuple[int, Any]:
    """One HTTP request; the status (0 if nobody answers) and the body, if it is JSON."""
    headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {key}"} if key else {})
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data=data, method=method, headers=headers)  # noqa: S310
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=10) as answer:
            is_json = answer.headers.get_content_type() == "application/json"
            return answer.status, json.loads(answer.read()) if is_json else None
    except urllib.error.HTTPError as error:
        with error:
            return error.code, None
    except OSError:
        return 0, None


def ordinary_user() -> list[str]:
    """The words that start a command as an ordinary user; none if we are one.

    As root it is `nobody`, who keeps the one right to walk to this project and its Python, wherever they lie.
    """
    return run_as(database_account(Path("/")))


def eventually(condition: Callable[[], bool], what: str, timeout_seconds: float = 20.0) -> None:
    """Wait until `condition()` is true: for what other processes do without telling us."""
    deadline = time.monotonic() + timeout_seconds
    while not condition():
        assert time.monotonic() < deadline, f"not in time: {what}"
        time.sleep(0.02)


def _command_line(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return ""
