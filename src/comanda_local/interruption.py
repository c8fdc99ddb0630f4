"""Ctrl-C and SIGTERM, as `make run` takes them."""

import select
import signal
import socket
from types import FrameType


class Interrupted(KeyboardInterrupt):
    """Somebody wants us to stop while we are starting. A KeyboardInterrupt: asyncio swallows any other
    kind.
    """


class Interruption:
    """What the signals mean: while starting they raise `Interrupted`, afterwards they set flags that are
    waited for.

    The first asks for a stop in order, a second one while stopping for a hurried one.
    """

    def __init__(self) -> None:
        self.asked = False
        self.hurried = False
        self._raises = True
        self._wake, wakes = socket.socketpair()
        self._wake.setblocking(False)
        wakes.setblocking(False)
        signal.set_wakeup_fd(wakes.fileno(), warn_on_full_buffer=False)
        self._wakes = wakes  # kept open
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self._on_signal)
        signal.signal(signal.SIGCHLD, lambda *_: None)  # only so that the end of a child wakes us

    def settle(self) -> None:
        """From here on signals no longer raise."""
        self._raises = False

    def wait(self, seconds: float) -> None:
        """Wait for a signal, the end of a child, or `seconds`, whichever comes first."""
        if select.select([self._wake], [], [], seconds)[0]:
            self._wake.recv(4096)

    def _on_signal(self, _number: int, _frame: FrameType | None) -> None:
        if self.asked:
            self.hurried = True
        self.asked = True
        if self._raises:
            self._raises = False
            raise Interrupted
