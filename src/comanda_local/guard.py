"""Keeping what was started running: who ends without being asked is started again, with growing pauses."""

import signal
import subprocess
import time
from collections.abc import Callable
from typing import Protocol

from comanda_local.errors import LocalError
from comanda_local.postgres import PostgresError

FIRST_PAUSE_SECONDS = 0.2
LONGEST_PAUSE_SECONDS = 10.0
CALM_SECONDS = 30.0
"""Who has run for this long counts as healthy again: its next pause is the first one."""


class Guarded(Protocol):
    """What can be guarded: the embedded PostgreSQL and the children."""

    name: str
    process: subprocess.Popen[bytes] | None

    def start(self) -> None:
        """Start it anew."""


class Guard:
    """Watches one process; `look` is called often and never waits, but for the start itself."""

    def __init__(self, guarded: Guarded, say: Callable[[str], None]) -> None:
        self._guarded = guarded
        self._say = say
        self._pause = FIRST_PAUSE_SECONDS
        self._started = time.monotonic()
        self._due: float | None = None

    @property
    def waits(self) -> bool:
        """Whether a new start is planned."""
        return self._due is not None

    def look(self) -> None:
        """Start the process again if it has ended and its pause is over. Says one line when it ended."""
        now = time.monotonic()
        process = self._guarded.process
        if self._due is None:
            if process is not None and process.poll() is None:
                return
            if now - self._started > CALM_SECONDS:
                self._pause = FIRST_PAUSE_SECONDS
            self._plan(now, how_it_ended(process.returncode) if process is not None else "is not running")
        elif now >= self._due:
            try:
                self._guarded.start()
            except (OSError, LocalError, PostgresError) as error:
                self._plan(now, f"cannot start ({error})")
            else:
                self._due, self._started = None, time.monotonic()

    def _plan(self, now: float, what: str) -> None:
        self._say(f"{self._guarded.name} {what}; starting it again in {self._pause:.1f} s")
        self._due = now + self._pause
        self._pause = min(self._pause * 2, LONGEST_PAUSE_SECONDS)


def how_it_ended(returncode: int) -> str:
    """Say in words what a process's return code means."""
    if returncode >= 0:
        return f"ended with code {returncode}"
    try:
        return f"was ended by {signal.Signals(-returncode).name}"
    except ValueError:
        return f"was ended by signal {-returncode}"
