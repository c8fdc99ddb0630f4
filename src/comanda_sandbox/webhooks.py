"""Webhooks: which are made when a payment changes, and the courier that brings them."""

import asyncio
import contextlib
import logging
import ssl
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit
from uuid import NAMESPACE_URL, uuid5

import aiohttp

from comanda_sandbox.clock import Clock
from comanda_sandbox.credentials import Credentials
from comanda_sandbox.deliveries import Delivery, attempted
from comanda_sandbox.faults import Fault, Faults, Target
from comanda_sandbox.ledger import Ledger
from comanda_sandbox.moments import written
from comanda_sandbox.payments import Payment
from comanda_sandbox.rendering import COLLECTOR_ID, encoded
from comanda_sandbox.signature import sign

Send = Callable[[str, bytes, Mapping[str, str]], Awaitable[str]]
"""Carries a webhook's request: address, body and headers; answers what came of it."""

_log = logging.getLogger(__name__)

# Twelve digits that no ledger of ours gives out before the year 2284.
_FOREIGN_PAYMENTS = 990_000_000_000
_AT_ONCE = 32


def plan(
    payment: Payment,
    action: str,
    now: datetime,
    *,
    ledger: Ledger,
    faults: Faults,
    panel_url: str | None,
    ipn_twin: bool,
) -> None:
    """Put the notifications of a payment's change into the ledger; to be called in the change's transaction.

    Args:
        action: ``payment.created`` or ``payment.updated``.
        panel_url: the address set in the panel, for payments that bring none.
        ipn_twin: whether a legacy IPN message goes along.
    """
    url = payment.notification_url or panel_url
    if url is None:
        return
    target = Target(
        payment_id=payment.id,
        external_reference=payment.external_reference,
        action=action,
        status=payment.status,
    )
    struck = faults.strike_all("webhook", target)
    true = Delivery(
        id=ledger.next_number("notification"),
        payment_id=payment.id,
        kind="webhook",
        action=action,
        flavour="true",
        url=url,
        data_id=str(payment.id),
        body_data_id=str(payment.id),
        signature="true",
        seconds_ts=False,
        text_id=False,
        replay_of=None,
        waits_for_next=False,
        attempts_to_lose=0,
        created_at=now,
        due_at=now,
        state="pending",
        attempts=0,
        sent_ts=None,
        sent_request_id=None,
        last_result=None,
    )
    for fault in struck:
        true = _changed(true, fault, now)
    ledger.add_delivery(true)
    beside = [extra for fault in struck for extra in _beside(true, fault, now)]
    asked_for_new_kind = ("source_news", "webhooks") in parse_qsl(urlsplit(url).query)
    if ipn_twin or (payment.notification_url is not None and not asked_for_new_kind):
        beside.append(replace(true, kind="ipn"))
    for extra in beside:
        ledger.add_delivery(replace(extra, id=ledger.next_number("notification")))


def _changed(delivery: Delivery, fault: Fault, now: datetime) -> Delivery:
    """The notification itself, as the fault has it."""
    values = fault.values
    after = delivery
    match fault.name:
        case "webhook_delayed":
            after = replace(delivery, due_at=now + timedelta(seconds=values["seconds"]))
        case "webhook_reordered":
            due_at = now + timedelta(seconds=values["seconds"])
            after = replace(delivery, due_at=due_at, waits_for_next=True)
        case "webhook_dropped":
            after = replace(delivery, attempts_to_lose=values["attempts"])
        case "webhook_never":
            after = replace(delivery, state="never", due_at=None)
        case "webhook_string_id":
            after = replace(delivery, text_id=True)
        case "webhook_seconds_ts":
            after = replace(delivery, seconds_ts=True)
    return after


def _beside(true: Delivery, fault: Fault, now: datetime) -> list[Delivery]:
    """What the fault sends beside the notification, ids still to be given."""
    flavour = fault.name.removeprefix("webhook_")
    extra = replace(true, flavour=flavour, attempts_to_lose=0, waits_for_next=False, state="pending", due_at=now)
    made: list[Delivery] = []
    match fault.name:
        case "webhook_duplicated":
            made = [extra] * int(fault.values["copies"])
        case "webhook_forged":
            made = [replace(extra, signature=fault.values["signature"])]
        case "webhook_replayed":
            made = [replace(extra, replay_of=true.id, due_at=None)]
        case "webhook_ipn_twin":
            made = [replace(extra, kind="ipn")]
        case "webhook_merchant_order":
            made = [replace(extra, kind="merchant_order")]
        case "webhook_other_payment":
            other = str(fault.values["payment_id"] or _foreign(true.payment_id))
            made = [replace(extra, data_id=other, body_data_id=other)]
        case "webhook_body_mismatch":
            made = [replace(extra, body_data_id=str(_foreign(true.payment_id)))]
    return made


def _foreign(payment_id: int) -> int:
    return _FOREIGN_PAYMENTS + payment_id % 10**9


class Courier:
    """Brings what is due in the ledger, tries again what fails, and notes what came of it.

    Args:
        credentials: sign the webhooks.
        live_mode: what the webhooks say about themselves.
        scale: how many times faster than Mercado Pago's the retry schedule runs on the sandbox's clock.
        answer_timeout: seconds that a receiver has for its answer; these are real and not scaled.
        tls: how to check the certificates of https receivers; None checks them as usual.
    """

    def __init__(
        self,
        ledger: Ledger,
        clock: Clock,
        credentials: Credentials,
        *,
        live_mode: bool,
        scale: float,
        answer_timeout: float = 22.0,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._ledger = ledger
        self._clock = clock
        self._credentials = credentials
        self._live_mode = live_mode
        self._scale = scale
        self._answer_timeout = answer_timeout
        self._tls = tls
        self._in_flight: dict[int, Delivery] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._wake = asyncio.Event()
        self._progress = asyncio.Event()
        clock.watch(self.wake)

    def wake(self) -> None:
        """Look at the ledger again: something new may be due."""
        self._wake.set()

    async def run(self) -> None:
        """Bring deliveries until cancelled; those in flight then stay pending in the ledger."""
        # A connection for each delivery: one kept open would fail when its receiver has been restarted.
        connector = aiohttp.TCPConnector(force_close=True, ssl=self._tls or True)
        timeout = aiohttp.ClientTimeout(total=self._answer_timeout)
        async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:
            try:
                while True:
                    self._wake.clear()
                    now = self._clock.now()
                    for delivery in self.startable(now):
                        self._start(session, delivery)
                    await self._sleep(self._ledger.next_due_after(now))
            finally:
                for task in self._tasks:
                    task.cancel()
                await asyncio.gather(*self._tasks, return_exceptions=True)

    async def settled(self) -> None:
        """Wait until nothing is on its way or due: what is left waits for a later time or for another one."""
        while self._in_flight or self._ledger.due_deliveries(self._clock.now(), 1):
            self._progress.clear()
            self.wake()
            await self._progress.wait()

    def startable(self, now: datetime) -> list[Delivery]:
        """Answer what is due and can be tried now: of a payment's own notifications one at a time."""
        room = _AT_ONCE - len(self._in_flight)
        busy = {one.payment_id for one in self._in_flight.values() if one.true}
        startable: list[Delivery] = []
        for delivery in self._ledger.due_deliveries(now, 4 * _AT_ONCE):
            if len(startable) >= room or delivery.id in self._in_flight:
                continue
            # One payment's own notifications go one after the other: only a fault puts them out of order.
            if delivery.true and delivery.payment_id in busy:
                continue
            if delivery.true:
                busy.add(delivery.payment_id)
            startable.append(delivery)
        return startable

    def _start(self, session: aiohttp.ClientSession, delivery: Delivery) -> None:
        self._in_flight[delivery.id] = delivery
        task = asyncio.create_task(
            self.attempt(delivery, partial(self._by_http, session)), name=f"webhook {delivery.id}"
        )
        self._tasks.add(task)

        def done(task: asyncio.Task[None]) -> None:
            self._tasks.discard(task)
            del self._in_flight[delivery.id]
            if not task.cancelled() and (error := task.exception()):
                _log.error("webhook %s: %r", delivery.id, error)
            self._progress.set()
            self.wake()

        task.add_done_callback(done)

    async def _sleep(self, until: datetime | None) -> None:
        seconds = None if until is None else max((until - self._clock.now()).total_seconds(), 0.001)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._wake.wait()

    async def attempt(self, delivery: Delivery, send: Send) -> None:
        """Try a delivery once, by whoever carries it, and note in the ledger what came of it.

        Args:
            send: given address, body and headers, answers the status as text, or in a word what went wrong.
        """
        milliseconds = self._clock.signed_at()
        ts = str(milliseconds // 1000 if delivery.seconds_ts else milliseconds)
        request_id = str(uuid5(NAMESPACE_URL, f"{delivery.id}/{delivery.attempts}"))
        original = self._ledger.delivery(delivery.replay_of) if delivery.replay_of is not None else None
        if original is None:
            sent = replace(delivery, sent_ts=ts, sent_request_id=request_id)
            result = await self._carried(sent, send)
        else:
            sent = replace(delivery, sent_ts=original.sent_ts, sent_request_id=original.sent_request_id)
            result = await self._carried(original, send)
        self._note(replace(sent, waits_for_next=False), result)

    async def _carried(self, delivery: Delivery, send: Send) -> str:
        if delivery.attempts_to_lose and delivery.attempts < delivery.attempts_to_lose:
            return "lost"
        secret = self._credentials.webhook_secret
        return await send(*request_of(delivery, secret=secret, live_mode=self._live_mode))

    async def _by_http(
        self, session: aiohttp.ClientSession, address: str, body: bytes, headers: Mapping[str, str]
    ) -> str:
        try:
            async with session.post(address, data=body, headers=headers, allow_redirects=False) as answer:
                return str(answer.status)
        except TimeoutError:
            return "no answer in time"
        except (aiohttp.ClientError, OSError, ValueError) as error:
            return type(error).__name__

    def _note(self, delivery: Delivery, result: str) -> None:
        now = self._clock.now()
        after = attempted(delivery, now, result=result, scale=self._scale)
        with self._ledger.transaction():
            self._ledger.save_delivery(after)
            for other in self._ledger.pending_deliveries(after.payment_id):
                if other.replay_of == after.id and after.state == "delivered":
                    self._ledger.save_delivery(replace(other, due_at=now))
                elif other.replay_of == after.id and after.state == "given_up":
                    self._ledger.save_delivery(replace(other, state="given_up"))
                elif other.waits_for_next and other.id < after.id and after.true:
                    self._ledger.save_delivery(replace(other, due_at=now, waits_for_next=False))
        if after.state != "delivered":
            _log.warning(
                "webhook %s for payment %s: %s, %s",
                after.id,
                after.payment_id,
                result,
                "given up" if after.due_at is None else f"again in {(after.due_at - now).total_seconds():.1f} s",
            )


def request_of(delivery: Delivery, *, secret: str, live_mode: bool) -> tuple[str, bytes, dict[str, str]]:
    """The request that an attempt sends: address, body and headers, all from the delivery alone.

    Args:
        delivery: with ``sent_ts`` and ``sent_request_id`` set.
    """
    ts, request_id = delivery.sent_ts or "", delivery.sent_request_id or ""
    headers = {
        "Content-Type": "application/json",
        "User-Agent": "MercadoPago WebHook v1.0 payment",
        "x-request-id": request_id,
    }
    key = secret if delivery.signature != "wrong_secret" else f"not {secret}"
    if delivery.kind == "webhook":
        query = {"data.id": delivery.data_id, "type": "payment"}
        body = encoded(
            {
                "id": str(delivery.id) if delivery.text_id else delivery.id,
                "live_mode": live_mode,
                "type": "payment",
                "date_created": written(delivery.created_at),
                "user_id": COLLECTOR_ID,
                "api_version": "v1",
                "action": delivery.action,
                "data": {"id": delivery.body_data_id},
            }
        )
        signed_id = delivery.data_id
    else:
        # Signed over something else than what a receiver sees: integrators cannot check a legacy message.
        topic = "payment" if delivery.kind == "ipn" else "merchant_order"
        query = {"id": delivery.data_id, "topic": topic}
        body = encoded({"resource": _resource(delivery), "topic": topic})
        signed_id = f"{topic}/{delivery.data_id}"
    if delivery.signature != "missing":
        v1 = sign(secret=key, data_id=signed_id, request_id=request_id, ts=ts)
        headers["x-signature"] = f"ts={ts},v1={v1}" if delivery.signature != "garbled" else f"ts={ts};v1"
    return _address(delivery.url, query), body, headers


def _resource(delivery: Delivery) -> str:
    if delivery.kind == "ipn":
        return delivery.data_id
    return f"https://api.mercadolibre.com/merchant_orders/{delivery.data_id}"


def _address(url: str, query: dict[str, str]) -> str:
    parts = urlsplit(url)
    joined = "&".join(part for part in (parts.query, urlencode(query)) if part)
    return urlunsplit((parts.scheme, parts.netloc, parts.path, joined, ""))
