"""A sandbox inside the caller's own event loop, for tests.

    async with running_sandbox(webhook_url="http://127.0.0.1:8000/v1/webhooks/mercado-pago") as sandbox:
        client = MercadoPago(base_url=sandbox.url, access_token=sandbox.token, ...)
        ...
        sandbox.arm("create_answer_lost")                # the next creation works, unanswered
        sandbox.act(payment_id, "pay")                   # reject, expire, refund, charge-back, ...
        await sandbox.settled()                          # every webhook that is due has been tried
        await sandbox.advance(minutes=31)                # and what is due by then

What the operator's paths do over HTTP, these methods do directly; both may be mixed.
"""

import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from comanda_sandbox import operator_actions
from comanda_sandbox.behaviour import Behaviour
from comanda_sandbox.clock import Clock
from comanda_sandbox.deliveries import Delivery
from comanda_sandbox.faults import Fault
from comanda_sandbox.payments import Payment, Refund
from comanda_sandbox.sandbox import Sandbox, Settings
from comanda_sandbox.server import serving

TOKEN = "TEST-1234567890-sandbox"  # noqa: S105 - it opens nothing but this look-alike
WEBHOOK_SECRET = "sandbox-webhook-secret"  # noqa: S105 - likewise


@dataclass(frozen=True, slots=True)
class RunningSandbox:
    """A sandbox that listens at ``url`` (without a trailing slash)."""

    url: str
    sandbox: Sandbox

    @property
    def token(self) -> str:
        """The newest access token that it takes."""
        return self.sandbox.credentials.token

    @property
    def webhook_secret(self) -> str:
        """What its webhooks are signed with."""
        return self.sandbox.credentials.webhook_secret

    @property
    def clock(self) -> Clock:
        """Its clock."""
        return self.sandbox.clock

    def renew_token(self, *, old_valid_seconds: float | None = None) -> str:
        """Make a new access token; the old one is taken for so long, or until :meth:`end_old_tokens`."""
        return self.sandbox.credentials.renew_token(old_valid_seconds=old_valid_seconds)

    def end_old_tokens(self) -> None:
        """Refuse every token but the newest."""
        self.sandbox.credentials.end_old_tokens()

    def renew_webhook_secret(self) -> str:
        """Sign webhooks with another secret from now on."""
        return self.sandbox.credentials.renew_webhook_secret()

    def arm(
        self,
        fault: str,
        *,
        times: int | None = 1,
        skip: int = 0,
        match: Mapping[str, Any] | None = None,
        **values: Any,
    ) -> Fault:
        """Arm a fault of :data:`comanda_sandbox.faults.KINDS`.

        Raises:
            UnknownFaultError: what is not known there.
        """
        body = {"fault": fault, "times": times, "skip": skip, "match": dict(match or {}), **values}
        return self.sandbox.faults.arm(body)

    async def struck(self, fault: Fault, times: int = 1) -> None:
        """Wait until a fault has struck so many times: a request that it holds back has come, say."""
        await self.sandbox.faults.struck(fault, times)

    def clear_faults(self) -> None:
        """Disarm every fault."""
        self.sandbox.faults.clear()

    def act(self, payment_id: int, action: str, **options: Any) -> Payment:
        """Do an operator's action: pay (late=True), reject, expire, refund (amount_cents=…), charge-back
        (outcome=…), cancel (by=…), process, mediate or resolve.

        Raises:
            RefusedError, ImpossibleMoveError, WrongOptionError: it cannot be done.
        """
        return operator_actions.act(self.sandbox, payment_id, action, options)

    def decide_refund(self, refund_id: int, *, approved: bool) -> Refund:
        """Approve or refuse a refund in process."""
        return self.sandbox.decide_refund(refund_id, approved=approved)

    def behave(self, **changes: Any) -> Behaviour:
        """Change switches of :class:`Behaviour`.

        Raises:
            ValueError: an unknown switch or value.
        """
        self.sandbox.behaviour = self.sandbox.behaviour.changed(changes)
        return self.sandbox.behaviour

    async def advance(self, **by: float) -> None:
        """Move the clock, by ``timedelta``'s arguments: what is due before is done before, what is due by then after.

        Webhooks are waited for until they are answered or time out.
        """
        await self.settled()
        self.sandbox.clock.advance(timedelta(**by))
        await self.settled()

    async def settled(self) -> None:
        """Wait until every webhook that is due has been tried."""
        await self.sandbox.settled()

    def payments(self, external_reference: str | None = None) -> list[Payment]:
        """The ledger's payments, in centavos, all or those of one reference."""
        self.sandbox.sweep()
        return self.sandbox.ledger.payments(external_reference)

    def payment(self, payment_id: int) -> Payment:
        """One of them.

        Raises:
            RefusedError: there is none.
        """
        self.sandbox.sweep()
        return self.sandbox.payment(payment_id)

    def refunds(self, payment_id: int | None = None) -> list[Refund]:
        """The ledger's refunds, all or those of one payment."""
        return self.sandbox.ledger.refunds(payment_id)

    def deliveries(self, payment_id: int | None = None) -> list[Delivery]:
        """The ledger's webhook deliveries, all or those for one payment."""
        return self.sandbox.ledger.deliveries(payment_id)


@asynccontextmanager
async def running_sandbox(
    *,
    token: str = TOKEN,
    webhook_secret: str = WEBHOOK_SECRET,
    webhook_url: str | None = None,
    ledger: Path | None = None,
    webhook_time_scale: float = 1000.0,
    answer_timeout: float = 22.0,
    behaviour: Behaviour | None = None,
    webhook_tls: ssl.SSLContext | None = None,
    port: int = 0,
) -> AsyncIterator[RunningSandbox]:
    """Run a sandbox on loopback until the block ends.

    Args:
        webhook_url: where webhooks go; None sends none.
        ledger: a file to keep the ledger in; None keeps it in memory.
        webhook_time_scale: how many times faster than Mercado Pago's the retry schedule runs: with 1000 the
            first retry follows after 0.9 s, with 1 only :meth:`RunningSandbox.advance` brings it.
        answer_timeout: seconds that the receiver of a webhook has.
        port: 0 takes a free one.
    """
    settings = Settings(
        token=token,
        webhook_secret=webhook_secret,
        webhook_url=webhook_url,
        ledger=ledger,
        webhook_time_scale=webhook_time_scale,
        answer_timeout=answer_timeout,
        behaviour=behaviour or Behaviour(),
        webhook_tls=webhook_tls,
    )
    async with serving(settings, host="127.0.0.1", port=port) as (sandbox, url):
        yield RunningSandbox(url, sandbox)
