"""The sandbox's clock, which an operator can move."""

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta


class Clock:
    """Real time plus an offset.

    It says when a payment expires and when a webhook is tried again. Signatures carry real time instead:
    moving this clock plays 'time went by', while their receiver compares them with a clock that did not move.
    """

    def __init__(self, offset: timedelta = timedelta(0)) -> None:
        self.offset = offset
        self._watchers: list[Callable[[], None]] = []

    def now(self) -> datetime:
        """The sandbox's time, aware, in UTC, to the millisecond that is printed and kept in the ledger."""
        now = datetime.now(UTC) + self.offset
        return now.replace(microsecond=now.microsecond // 1000 * 1000)

    def signed_at(self) -> int:
        """Milliseconds since 1970 for a signature: of real time, see above."""
        return time.time_ns() // 10**6

    def advance(self, by: timedelta) -> None:
        """Move the clock; a negative ``by`` plays a provider whose clock is behind ours."""
        self.offset += by
        self._tell()

    def reset(self) -> None:
        """Back to real time."""
        self.offset = timedelta(0)
        self._tell()

    def watch(self, changed: Callable[[], None]) -> None:
        """Have ``changed`` called after every move of the clock."""
        self._watchers.append(changed)

    def _tell(self) -> None:
        for changed in self._watchers:
            changed()
