"""The supervisor: what ends is started again, and what cannot start is named with its last words."""

import asyncio
import re
import socket
import sys
from pathlib import Path

import pytest

from tests.cluster.layout import Layout
from tests.cluster.machine import Failed
from tests.cluster.process import Process
from tests.cluster.supervisor import Supervisor

LISTEN = "import socket, sys; socket.create_server(('127.0.0.1', int(sys.argv[1]))); print('open', flush=True)"


class Here(Layout):
    """A layout in a test's folder, of a cluster that is nobody's."""

    @property
    def folder(self) -> Path:
        """In the test's folder."""
        return self.clone


@pytest.fixture
def supervisor(tmp_path: Path) -> Supervisor:
    """One that has nothing yet."""
    layout = Here(clone=tmp_path)
    layout.logs.mkdir()
    return Supervisor(layout, lambda _: None)


def python(code: str, *arguments: str, restarts: bool = True) -> Process:
    return Process("part", (sys.executable, "-c", code, *arguments), None, restarts=restarts)


async def never() -> bool:
    return False


async def test_a_full_port_is_named_with_the_part_and_its_last_words(supervisor: Supervisor) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        await supervisor.start(python(LISTEN, str(taken.getsockname()[1]), restarts=False))
        with pytest.raises(Failed) as failed:
            await supervisor.until("the part", never)
    assert "part ended with 1" in str(failed.value)
    assert "Address already in use" in str(failed.value)
    assert str(supervisor.layout.logs / "part.log") in str(failed.value)


async def test_what_ends_again_and_again_is_not_started_for_good(supervisor: Supervisor) -> None:
    await supervisor.start(python("print('once more')"))
    with pytest.raises(Failed, match=re.compile("again and again.*once more", re.DOTALL)):
        await supervisor.until("the part", never)
    assert (supervisor.layout.logs / "part.log").read_text(encoding="utf-8").count("once more") == 5


async def test_what_ends_once_is_there_again(supervisor: Supervisor) -> None:
    await supervisor.start(python("import signal; signal.pause()"))
    first = supervisor.status()["part"]
    child = supervisor.running["part"].child
    assert child is not None
    child.kill()
    await child.wait()

    async def is_another() -> bool:
        return supervisor.status()["part"] not in (None, first)

    await supervisor.until("another one", is_another)
    await supervisor.stop(["part"])
    assert supervisor.status() == {"part": None}


async def test_what_does_not_end_when_told_is_killed(supervisor: Supervisor) -> None:
    deaf = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); signal.pause()"
    await supervisor.start(python(deaf))

    async def is_deaf() -> bool:
        return "deaf" in supervisor.last_lines("part")

    await supervisor.until("it does not listen", is_deaf)
    await asyncio.wait_for(supervisor.stop(["part"], patience=0.1), 30)
    assert supervisor.status() == {"part": None}
