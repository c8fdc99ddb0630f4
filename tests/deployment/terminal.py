"""An operator at a terminal: a command on a pseudo-terminal, its questions waited for, then answered.

It forks, and so runs as a process of its own: the tests' own process has threads.
"""

import json
import os
import pty
import select
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

PATIENCE = 60
"""Seconds for each question to come."""


def typed(
    command: Sequence[str], dialogue: Sequence[tuple[str, str]], environment: Mapping[str, str]
) -> subprocess.CompletedProcess[str]:
    """Run a command and answer its questions as they come; answer all that stood on the terminal, and its exit code.

    Args:
        dialogue: the end of each question, and what is typed then.
    """
    return subprocess.run(
        [sys.executable, str(Path(__file__)), json.dumps([command, dialogue])],
        env=dict(environment),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )


def _main() -> int:
    command, dialogue = json.loads(sys.argv[1])
    child, terminal = pty.fork()
    if child == 0:
        os.execvp(command[0], command)  # noqa: S606 - a command, as given
    shown = ""
    for question, answer in dialogue:
        while question not in shown:
            part = _read(terminal)
            if not part:
                print(shown, end="")
                print(f"\nended before it asked {question!r}", file=sys.stderr)
                return 70
            shown += part
        print(shown, end="")
        shown = ""
        os.write(terminal, f"{answer}\n".encode())
    while part := _read(terminal):
        shown += part
    print(shown, end="")
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def _read(terminal: int) -> str:
    """Answer what is shown next, "" at the end."""
    ready, _, _ = select.select([terminal], [], [], PATIENCE)
    if not ready:
        raise TimeoutError("nothing was shown for too long")
    try:
        return os.read(terminal, 4096).decode()
    except OSError:  # Linux's way to say that the other side is closed
        return ""


if __name__ == "__main__":
    raise SystemExit(_main())
