"""One program that `make run` starts: its log, its readiness, its end."""

import contextlib
import http.client
import signal
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from urllib.parse import urlsplit

from comanda_local.privileges import run_as


class Child:
    """A child process whose output goes to `log_file` and who is ready when `ready_url` answers 200.

    Its output does not pass through us, so our death does not break its pipes: it gets SIGTERM from the
    kernel then and ends in order.
    """

    def __init__(
        self, name: str, command: list[str], environment: Mapping[str, str], log_file: Path, ready_url: str
    ) -> None:
        self.name = name
        self.process: subprocess.Popen[bytes] | None = None
        self._command = command
        self._environment = dict(environment)
        self.log_file = log_file
        self.said_from = 0
        """Where in the log the present process began to write."""
        self._ready_url = urlsplit(ready_url)

    def start(self) -> None:
        """Start the process; returns at once. Raises OSError if it cannot be started."""
        self.log_file.touch(mode=0o600)
        with self.log_file.open("ab") as log:
            self.said_from = log.tell()
            self.process = subprocess.Popen(  # noqa: S603
                [*run_as(None, death_signal="TERM"), *self._command],
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                # Its own session: Ctrl-C at the terminal is for us, who end the children in order.
                start_new_session=True,
                # What it makes is nobody else's: the sandbox's ledger holds every payment.
                umask=0o077,
            )

    def is_ready(self) -> bool:
        """Ask `ready_url` once."""
        connection = http.client.HTTPConnection(
            self._ready_url.hostname or "127.0.0.1", self._ready_url.port or 80, timeout=2
        )
        try:
            connection.request("GET", self._ready_url.path)
            return connection.getresponse().status == 200
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    def stop(self, timeout_seconds: float, hurried: Callable[[], bool]) -> bool:
        """Ask the process to end, and kill it after `timeout_seconds`, or as soon as `hurried` says so.

        Returns:
            Whether it ended by itself.
        """
        process, waited = self.process, 0.0
        if process is None or process.poll() is not None:
            return True
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(signal.SIGTERM)
        while waited < timeout_seconds and not hurried():
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(0.05)
                return True
            waited += 0.05
        process.kill()
        process.wait()
        return False
