"""Children of an earlier `make run` that was killed: they hold ports and work on the data, so they end
first.
"""

import contextlib
import os
import signal
import time
from pathlib import Path

from comanda_local.errors import LocalError

MARK = "COMANDA_LOCAL_FOLDER"
"""The environment variable by which a child is known as ours. A pid kept in a file could be anybody's by
now.
"""


def end_orphans(folder: Path, timeout_seconds: float = 8.0) -> int:
    """End the children that an earlier run in `folder` left behind, and answer how many there were.

    Normally none: they are told by the kernel when their launcher dies. The caller holds the folder's lock.

    Raises:
        LocalError: one of them does not end even when killed.
    """
    found = children_of(folder)
    for number, seconds in ((signal.SIGTERM, timeout_seconds / 2), (signal.SIGKILL, timeout_seconds / 2)):
        for pid in children_of(folder):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, number)
        deadline = time.monotonic() + seconds
        while children_of(folder) and time.monotonic() < deadline:
            time.sleep(0.02)
    if left := children_of(folder):
        raise LocalError(f"a process of an earlier run does not end (pid {left[0]}): end it and start again")
    return len(found)


def children_of(folder: Path) -> list[int]:
    """Answer the pids of all children, and their children, of a run in `folder`; PostgreSQL is not among
    them.
    """
    mark = os.fsencode(f"{MARK}={folder}")
    pids = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and entry.name != str(os.getpid()):
            # A zombie has no environment any more; a stranger's cannot be read.
            with contextlib.suppress(OSError):
                if mark in (entry / "environ").read_bytes().split(b"\0"):
                    pids.append(int(entry.name))
    return pids
