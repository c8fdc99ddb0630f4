"""A program of ours as a process: started, killed, held and let go again, its output kept."""

import asyncio
import signal
import sys
from collections.abc import Mapping
from pathlib import Path


class Program:
    """One of them.

    Args:
        name: also of its log. arguments: of Python. environment: all of it. folder: where the log is.
    """

    def __init__(self, name: str, arguments: list[str], environment: Mapping[str, str], folder: Path) -> None:
        self.name = name
        self.environment = dict(environment)
        self._arguments = arguments
        self._log = folder / f"{name}.log"
        self._process: asyncio.subprocess.Process | None = None
        self._read = 0

    async def start(self) -> None:
        """Start it, again if it was killed."""
        with self._log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable,
                *self._arguments,
                env=self.environment,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    async def kill(self) -> None:
        """End it without a word."""
        if self._process is not None and self._process.returncode is None:
            self._process.kill()
            await self._process.wait()

    async def ended(self, seconds: float) -> int:
        """Wait for its end; answer the exit code."""
        assert self._process is not None
        async with asyncio.timeout(seconds):
            return await self._process.wait()

    async def mend(self) -> None:
        """Let it go on, and start it again if it has ended."""
        if self._process is not None and self._process.returncode is None:
            self.go_on()
        else:
            await self.start()

    def hold(self) -> None:
        """Stop it where it is."""
        self._send(signal.SIGSTOP)

    def go_on(self) -> None:
        """Let it go on."""
        self._send(signal.SIGCONT)

    def last(self) -> str:
        """Answer the end of what it said."""
        return self._log.read_text(errors="replace")[-600:]

    def traceback(self) -> str:
        """Answer the first fault of its own that it has told of since this was last asked, "" for none."""
        text = self._log.read_text(errors="replace")
        new, self._read = text[self._read :], len(text)
        line = next((line for line in new.splitlines() if '"level":"CRITICAL"' in line or "an item failed" in line), "")
        return f"{self.name}: {line[:600]}" if line else ""

    def _send(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)
