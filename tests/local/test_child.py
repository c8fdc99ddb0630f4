"""Children: readiness, logs, their end; the guard that starts them again; the orphans of a killed run."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from comanda_local.child import Child
from comanda_local.guard import Guard, how_it_ended
from comanda_local.log_file import last_lines, trim_log
from comanda_local.orphans import MARK, end_orphans
from comanda_local.ports import free_port

SERVES = "from http.server import *; import sys; HTTPServer(('127.0.0.1', int(sys.argv[1])), {}).serve_forever()"
ANSWERS_200 = SERVES.format("SimpleHTTPRequestHandler")
ANSWERS_501 = SERVES.format("BaseHTTPRequestHandler")
SPEAKS_AND_WAITS = "import sys, time; print('up', flush=True); time.sleep(60)"
IGNORES_SIGTERM = f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); {SPEAKS_AND_WAITS}"

Starter = Callable[..., Child]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Starter]:
    """Starts `python -c code`, and ends it after the test."""
    children = []

    def started(code: str, *, environment: dict[str, str] | None = None) -> Child:
        port = free_port()
        child = Child(
            "helper",
            [sys.executable, "-c", code, str(port)],
            {**os.environ, **(environment or {})},
            tmp_path / "helper.log",
            f"http://127.0.0.1:{port}/",
        )
        children.append(child)
        child.start()
        return child

    yield started
    for child in children:
        child.stop(0, lambda: True)


def eventually(condition: Callable[[], bool], timeout_seconds: float = 10.0) -> None:
    deadline = time.monotonic() + timeout_seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.01)


def settled(guard: Guard) -> bool:
    guard.look()
    return not guard.waits


def process_of(child: Child) -> subprocess.Popen[bytes]:
    assert child.process is not None
    return child.process


def test_is_ready_when_it_answers_200(start: Starter) -> None:
    child = start(ANSWERS_200)
    eventually(child.is_ready)


def test_another_answer_is_not_ready(start: Starter) -> None:
    child = start(ANSWERS_501)
    eventually(lambda: _listens(process_of(child).pid))
    assert not child.is_ready()


def test_ends_when_asked(start: Starter) -> None:
    child = start(SPEAKS_AND_WAITS)
    eventually(lambda: last_lines(child.log_file) == ["up"])
    assert child.stop(10, lambda: False)
    assert process_of(child).returncode == -signal.SIGTERM


def test_is_killed_when_it_does_not_end(start: Starter) -> None:
    child = start(IGNORES_SIGTERM)
    eventually(lambda: last_lines(child.log_file) == ["up"])
    assert not child.stop(0.1, lambda: False)
    assert process_of(child).returncode == -signal.SIGKILL


def test_a_hurried_stop_does_not_wait(start: Starter) -> None:
    child = start(IGNORES_SIGTERM)
    eventually(lambda: last_lines(child.log_file) == ["up"])
    began = time.monotonic()
    assert not child.stop(60, lambda: True)
    assert time.monotonic() - began < 10


def test_its_log_ends_in_what_it_said_last(start: Starter) -> None:
    child = start("for line in range(5000): print('line', line)")
    process_of(child).wait()
    assert last_lines(child.log_file) == [f"line {number}" for number in range(4995, 5000)]
    assert last_lines(child.log_file.with_name("missing.log")) == []


def test_a_log_that_grew_too_long_is_put_aside_while_it_is_written(start: Starter) -> None:
    child = start("print('x' * 2000, flush=True); " + SPEAKS_AND_WAITS)
    log = child.log_file
    eventually(lambda: "up" in last_lines(log))
    trim_log(log, 5000)
    assert log.stat().st_size == 2004
    trim_log(log, 1000)
    assert log.stat().st_size == 0
    assert log.with_name("helper.log.1").stat().st_size == 2004


def test_who_ends_unasked_is_started_again_and_it_is_said(start: Starter) -> None:
    child = start(SPEAKS_AND_WAITS)
    said: list[str] = []
    guard = Guard(child, said.append)
    guard.look()
    assert said == []
    first = process_of(child)
    first.kill()
    first.wait()
    guard.look()
    assert said == ["helper was ended by SIGKILL; starting it again in 0.2 s"]
    assert guard.waits
    eventually(lambda: settled(guard))
    assert process_of(child).pid != first.pid
    assert len(said) == 1


def test_the_pauses_grow_for_who_keeps_ending(start: Starter, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    child = start("raise SystemExit(3)")
    said: list[str] = []
    guard = Guard(child, said.append)
    for _ in range(8):
        process_of(child).wait()
        guard.look()
        now[0] += 11
        guard.look()
    pauses = [line.partition("ended with code 3; starting it again in ")[2] for line in said]
    assert pauses == ["0.2 s", "0.4 s", "0.8 s", "1.6 s", "3.2 s", "6.4 s", "10.0 s", "10.0 s"]


def test_who_has_run_calmly_begins_with_a_short_pause(start: Starter, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    child = start("")
    said: list[str] = []
    guard = Guard(child, said.append)
    for _ in range(2):
        process_of(child).wait()
        now[0] += 31
        guard.look()
        now[0] += 1
        guard.look()
    assert [line.rpartition(" in ")[2] for line in said] == ["0.2 s", "0.2 s"]


def test_a_start_that_fails_is_said_and_tried_again(start: Starter, monkeypatch: pytest.MonkeyPatch) -> None:
    child = start("")
    process_of(child).wait()
    said: list[str] = []
    guard = Guard(child, said.append)

    def fails() -> None:
        raise OSError(12, "Cannot allocate memory")

    with monkeypatch.context() as patched:
        patched.setattr(child, "start", fails)
        eventually(lambda: settled(guard) or len(said) == 2)
    assert "cannot start ([Errno 12] Cannot allocate memory); starting it again in 0.4 s" in said[1]
    eventually(lambda: settled(guard))


def test_ends_are_told_in_words() -> None:
    assert how_it_ended(1) == "ended with code 1"
    assert how_it_ended(-9) == "was ended by SIGKILL"
    assert how_it_ended(-64) == "was ended by SIGRTMAX"
    assert how_it_ended(-99) == "was ended by signal 99"


def test_orphans_of_this_folder_end_and_others_stay(start: Starter, tmp_path: Path) -> None:
    ours = start(SPEAKS_AND_WAITS, environment={MARK: str(tmp_path)})
    deaf = start(IGNORES_SIGTERM, environment={MARK: str(tmp_path)})
    another = start(SPEAKS_AND_WAITS, environment={MARK: f"{tmp_path}2"})
    eventually(lambda: last_lines(ours.log_file).count("up") == 3)
    assert end_orphans(tmp_path, timeout_seconds=0.4) == 2
    assert process_of(ours).wait() == -signal.SIGTERM
    assert process_of(deaf).wait() == -signal.SIGKILL
    assert process_of(another).poll() is None
    assert end_orphans(tmp_path) == 0


STARTS_A_CHILD = """
import os, sys
from pathlib import Path
from comanda_local.child import Child
sleeps = [sys.executable, "-c", "import time; time.sleep(60)"]
child = Child("x", sleeps, os.environ, Path(sys.argv[1]), "http://127.0.0.1:9/")
child.start()
print(child.process.pid, flush=True)
sys.stdin.read()
"""


def test_children_do_not_outlive_a_killed_parent(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", STARTS_A_CHILD, str(tmp_path / "log")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        # Only once it is the program itself: until then setpriv has not yet asked the kernel for the signal.
        # While one becomes the other its command line is empty.
        eventually(lambda: Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[0] == os.fsencode(sys.executable))
        parent.kill()
    eventually(lambda: not _lives(pid))


def _lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes() != b""
    except OSError:
        return False


def _listens(pid: int) -> bool:
    """Whether `pid` holds a listening TCP socket (state 0A in the kernel's table)."""
    table = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    listening = {f"socket:[{columns[9]}]" for columns in table if columns[3] == "0A"}
    try:
        return any(str(entry.readlink()) in listening for entry in Path(f"/proc/{pid}/fd").iterdir())
    except OSError:
        return False
