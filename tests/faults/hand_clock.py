"""Time that goes on only when somebody says so: everybody's, the provider's too."""

from datetime import UTC, datetime, timedelta

from comanda_sandbox.clock import Clock

BEGAN = datetime(2026, 11, 27, 15, 0, tzinfo=UTC)


class HandClock(Clock):
    """The sandbox's clock, without the machine's in it."""

    def now(self) -> datetime:
        """The time, aware, in UTC, to the millisecond."""
        return BEGAN + self.offset

    def signed_at(self) -> int:
        """Signatures too carry this time."""
        return int(self.now().timestamp() * 1000)

    def go_on(self, by: timedelta) -> None:
        """Let a moment pass that nobody waited for."""
        self.offset += by

    def to(self, moment: datetime) -> None:
        """Let time pass up to a moment."""
        if moment > self.now():
            self.advance(moment - self.now())
