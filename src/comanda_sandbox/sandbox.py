"""The sandbox itself: joins ledger, clock, faults and webhooks, and is what the doors call."""

import asyncio
import contextlib
import hashlib
import ssl
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec

from comanda_sandbox import br_code, payments, qr_image, webhooks
from comanda_sandbox.behaviour import Behaviour
from comanda_sandbox.clock import Clock
from comanda_sandbox.credentials import Credentials
from comanda_sandbox.errors import RefusedError, not_found
from comanda_sandbox.faults import Faults, Target
from comanda_sandbox.ledger import Ledger
from comanda_sandbox.payments import Payment, Refund
from comanda_sandbox.validation import payment_request

# The seller that every payment goes to.
PIX_KEY = "b76aa9c2-2ec4-4110-954e-ebfe34f05b61"
SELLER_NAME = "COMANDA SANDBOX"
SELLER_CITY = "SAO PAULO"
SELLER_EMAIL = "vendedor@comanda.com.br"


@dataclass(frozen=True, slots=True)
class Settings:
    """What a sandbox is started with.

    Args:
        token: the access token that it takes; one that begins with ``TEST-`` makes ``live_mode`` false.
        webhook_secret: signs webhooks, as raw bytes.
        webhook_url: the address set in the panel; None sends webhooks only for payments that bring one.
        ledger: the ledger's file; None keeps it in memory.
        webhook_time_scale: how many times faster than Mercado Pago's the webhooks' retry schedule runs.
        answer_timeout: seconds that a receiver of webhooks has for its answer.
        seller_email: the e-mail of the account that is paid, refused as a payer's.
        operator_from_anywhere: take operator actions from other machines too.
        clock: its time; None goes with the machine's.
        webhook_tls: how to check the certificates of https receivers; None checks them as usual.
        behaviour: switches for what is not known of the real one.
    """

    token: str
    webhook_secret: str
    webhook_url: str | None = None
    ledger: Path | None = None
    webhook_time_scale: float = 1000.0
    answer_timeout: float = 22.0
    seller_email: str = SELLER_EMAIL
    operator_from_anywhere: bool = False
    clock: Clock | None = None
    webhook_tls: ssl.SSLContext | None = None
    behaviour: Behaviour = field(default_factory=Behaviour)


class Sandbox:
    """One seller's payments.

    Every change is one transaction of the ledger, together with the webhooks that tell of it.

    Raises:
        UnusableLedgerError: the ledger's file cannot be used.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.behaviour = settings.behaviour
        self.live_mode = not settings.token.startswith("TEST-")
        self.faults = Faults()
        self.ledger = Ledger(settings.ledger)
        self.clock = settings.clock or Clock(self.ledger.clock_offset())
        self.credentials = Credentials(
            self.ledger, self.clock, token=settings.token, webhook_secret=settings.webhook_secret
        )
        self.courier = webhooks.Courier(
            self.ledger,
            self.clock,
            self.credentials,
            live_mode=self.live_mode,
            scale=settings.webhook_time_scale,
            answer_timeout=settings.answer_timeout,
            tls=settings.webhook_tls,
        )
        self.stopping = asyncio.Event()
        self._expiry_changed = asyncio.Event()
        self.clock.watch(self._clock_moved)
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Begin to deliver webhooks and to let payments expire."""
        self._tasks = [
            asyncio.create_task(self.courier.run(), name="courier"),
            asyncio.create_task(self._watch_expiry(), name="expiry"),
        ]

    async def stop(self) -> None:
        """End it; what was not delivered stays in the ledger."""
        self.stopping.set()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self.ledger.close()

    # What a client of the API does

    def create_payment(self, body: dict[str, Any], key: str) -> Payment:
        """Create a payment, or find the one that its key has created before.

        Returns:
            The payment as the first answer showed it (or as it now is, if so switched).

        Raises:
            RefusedError: the body is not what Mercado Pago takes.
        """
        fingerprint = _fingerprint(body)
        earlier = self.ledger.recall("payments", key)
        if earlier and self._remembers(self.payment(earlier[1]).created_at):
            if earlier[0] != fingerprint and self.behaviour.payment_key_reuse == "refuse":
                raise RefusedError(409, "The idempotency key was used with another body")
            payment = self.payment(earlier[1])
            return payment if self.behaviour.payment_replay == "current_state" else payments.as_created(payment)
        now = self.clock.now()
        asked = payment_request(body, now=now, seller_email=self.settings.seller_email)
        with self._changes():
            payment_id = self.ledger.next_number("payment")
            qr_code = br_code.build(
                key=PIX_KEY,
                name=SELLER_NAME,
                city=SELLER_CITY,
                amount_cents=asked.amount_cents,
                txid=f"mpqrinter{payment_id}",
            )
            payment = Payment(
                id=payment_id,
                status="pending",
                status_detail="pending_waiting_transfer",
                amount_cents=asked.amount_cents,
                refunded_cents=0,
                external_reference=asked.external_reference,
                description=asked.description,
                payer=asked.payer,
                metadata=asked.metadata,
                notification_url=asked.notification_url,
                created_at=now,
                updated_at=now,
                approved_at=None,
                expires_at=asked.expires_at,
                qr_code=qr_code,
                qr_code_base64=qr_image.png_base64(qr_code),
            )
            self.ledger.add_payment(payment)
            self.ledger.remember("payments", key, fingerprint=fingerprint, result_id=payment_id)
            self._notify(payment, "payment.created", now)
        self._expiry_changed.set()
        return payment

    def payment(self, payment_id: int) -> Payment:
        """The payment of that id.

        Raises:
            RefusedError: there is none (404).
        """
        payment = self.ledger.payment(payment_id)
        if payment is None:
            raise not_found()
        return payment

    def cancel_payment(self, payment_id: int) -> Payment:
        """Cancel a payment that is still open.

        Raises:
            RefusedError: there is none (404), or its state does not allow it (400, 2063 or 3005).
        """
        payment = self.payment(payment_id)
        if payment.status in {"cancelled", "rejected", "refunded"}:
            raise RefusedError(
                400, "Not valid action, resource is in a state that does not allow this operation", code=3005
            )
        if payment.status not in {"pending", "in_process"}:
            raise RefusedError(400, "The action requested is not valid for the current payment state", code=2063)
        return self.move(payment_id, payments.cancel)

    def create_refund(self, payment_id: int, amount_cents: int | None, key: str) -> tuple[Refund, bool]:
        """Refund a payment, or find the refund that its key has made before.

        Args:
            amount_cents: None for all that is left.

        Returns:
            The refund, and whether it is an earlier one.

        Raises:
            RefusedError: no such payment (404, 2000), one that is not approved (400, 2063), more than is
                left (400, 2017), older than 180 days, or refused by a fault for lack of balance.
        """
        scope = f"refunds/{payment_id}"
        earlier = self.ledger.recall(scope, key)
        if earlier and self._remembers(self.refund(earlier[1]).created_at):
            return self.refund(earlier[1]), True
        payment = self.payment(payment_id)
        amount_cents = self._refundable(payment, amount_cents)
        target = Target("create_refund", payment.id, payment.external_reference)
        fault = self.faults.strike_one("refund", target)
        if fault and fault.name == "refund_refused":
            raise RefusedError(400, "The seller's balance is not enough for this refund", code=fault.values["code"])
        with self._changes():
            refund = self._add_refund(payment, amount_cents, in_process=fault is not None)
            self.ledger.remember(scope, key, fingerprint=str(amount_cents), result_id=refund.id)
        return refund, False

    def _remembers(self, used_at: datetime) -> bool:
        memory = self.behaviour.key_memory_seconds
        return not memory or self.clock.now() < used_at + timedelta(seconds=memory)

    def refund(self, refund_id: int) -> Refund:
        """The refund of that id.

        Raises:
            RefusedError: there is none (404).
        """
        refund = self.ledger.refund(refund_id)
        if refund is None:
            raise RefusedError(404, "Refund not found", code=2000)
        return refund

    # What an operator does

    def move(self, payment_id: int, how: Callable[[Payment, datetime], Payment]) -> Payment:
        """Move a payment to another state and tell of it.

        Raises:
            RefusedError: there is no such payment (404).
            ImpossibleMoveError: its state does not allow it.
        """
        now = self.clock.now()
        payment = how(self.payment(payment_id), now)
        with self._changes():
            self.ledger.save_payment(payment)
            if payment.status_detail != "expired" or self.behaviour.expiry_webhook:
                self._notify(payment, "payment.updated", now)
        return payment

    def refund_by_operator(self, payment_id: int, amount_cents: int | None) -> Payment:
        """Give money back from the panel.

        Raises:
            RefusedError: as :meth:`create_refund`.
        """
        payment = self.payment(payment_id)
        amount_cents = self._refundable(payment, amount_cents)
        with self._changes():
            self._add_refund(payment, amount_cents, in_process=False)
        return self.payment(payment_id)

    def decide_refund(self, refund_id: int, *, approved: bool) -> Refund:
        """Approve or refuse a refund in process.

        Raises:
            RefusedError: there is none (404).
            ImpossibleMoveError: it is decided already.
        """
        now = self.clock.now()
        refund = payments.decide(self.refund(refund_id), now, approved=approved)
        payment = self.payment(refund.payment_id)
        with self._changes():
            self.ledger.save_refund(refund)
            if approved:
                payment = payments.refunded(payment, refund.amount_cents, now)
                self.ledger.save_payment(payment)
            if approved or self.behaviour.refund_refusal_webhook:
                self._notify(payment, "payment.updated", now)
        return refund

    def sweep(self) -> None:
        """Let every payment expire whose time has come."""
        by = self.clock.now() - timedelta(seconds=self.behaviour.expiry_lag_seconds)
        for payment in self.ledger.payments_due_to_expire(by):
            self.move(payment.id, payments.expire)

    async def settled(self) -> None:
        """Wait until every webhook that is due has been tried."""
        self.sweep()
        await self.courier.settled()

    def _refundable(self, payment: Payment, amount_cents: int | None) -> int:
        if payment.status != "approved":
            raise RefusedError(400, "The action requested is not valid for the current payment state", code=2063)
        if payment.approved_at and self.clock.now() - payment.approved_at > payments.REFUND_WINDOW:
            raise RefusedError(400, "The payment is older than the 180 days in which it can be refunded")
        rest = payment.amount_cents - sum(
            refund.amount_cents for refund in self.ledger.refunds(payment.id) if refund.status != "rejected"
        )
        wanted = rest if amount_cents is None else amount_cents
        if not 0 < wanted <= rest:
            raise RefusedError(400, "The transaction_amount is invalid for the current payment state", code=2017)
        return wanted

    def _add_refund(self, payment: Payment, amount_cents: int, *, in_process: bool) -> Refund:
        now = self.clock.now()
        status = "in_process" if in_process else "approved"
        refund = Refund(self.ledger.next_number("refund"), payment.id, amount_cents, status, now, now)
        self.ledger.add_refund(refund)
        if not in_process:
            payment = payments.refunded(payment, amount_cents, now)
            self.ledger.save_payment(payment)
            self._notify(payment, "payment.updated", now)
        return refund

    def _notify(self, payment: Payment, action: str, now: datetime) -> None:
        webhooks.plan(
            payment,
            action,
            now,
            ledger=self.ledger,
            faults=self.faults,
            panel_url=self.settings.webhook_url,
            ipn_twin=self.behaviour.ipn_twin,
        )

    @contextlib.contextmanager
    def _changes(self) -> Iterator[None]:
        with self.ledger.transaction():
            yield
        self.courier.wake()

    def _clock_moved(self) -> None:
        self.ledger.save_clock_offset(self.clock.offset)
        self._expiry_changed.set()

    async def _watch_expiry(self) -> None:
        while True:
            self._expiry_changed.clear()
            self.sweep()
            at = self.ledger.next_expiry()
            lag = timedelta(seconds=self.behaviour.expiry_lag_seconds)
            seconds = None if at is None else max((at + lag - self.clock.now()).total_seconds(), 0.001)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self._expiry_changed.wait()


def _fingerprint(body: dict[str, Any]) -> str:
    return hashlib.sha256(msgspec.json.encode(body, order="sorted")).hexdigest()
