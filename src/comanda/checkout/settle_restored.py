"""After a restore: the database has gone back in time, money has not. Settle all that moved at the provider since.

What the database still knows is settled as ever. What it has lost is put back and ended: an open Pix is cancelled,
money that came goes back, unless an operator says that the kitchen has served it. Nothing is decided here that the
rules of `settlement` do not decide; `docs/payments.md` tells it to people.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable
from datetime import datetime, timedelta
from itertools import groupby
from uuid import UUID

import msgspec

import comanda.payments.refunds
import comanda.payments.store
from comanda.checkout import measures
from comanda.checkout.check_payment import SEARCH_LAG, cancel_if_due
from comanda.checkout.context import Checkout
from comanda.checkout.recreate_order import ACTOR, recreate_order
from comanda.checkout.restored_report import Lost, NotOurs, Outcome, Report, Step, StillOpen
from comanda.checkout.second_charge import settle_another_charge
from comanda.checkout.settle_payment import settle_payment
from comanda.database.pool import COLLISIONS, OUTAGES
from comanda.money import CURRENCY
from comanda.orders.model import OrderStatus
from comanda.orders.pickup import NoPickupNumberFree, pass_over
from comanda.payments.mercado_pago import MAXIMUM_OFFSET
from comanda.payments.model import MONEY_CAME, OPEN, Payment, PaymentStatus, status_of
from comanda.payments.provider import ProviderDenied, ProviderError, ProviderPayment, ProviderUnavailable
from comanda.payments.schedule import backoff, no_sooner

logger = logging.getLogger(__name__)

MARGIN = timedelta(minutes=30)
"""How long before the backup's moment we begin: clocks differ, and a backup's name is not the moment of its content."""

PAUSE = timedelta(seconds=1)
"""Between two looks at the provider's list, when its index no longer lags behind what we want to see."""

PausesForSeconds = Callable[[float], Awaitable[None]]
"""Waits so many seconds."""


class _NotYet(Exception):
    """The provider does not say yet what has become of a payment."""


PASSING: tuple[type[Exception], ...] = (ProviderError, NoPickupNumberFree, _NotYet, *OUTAGES, *COLLISIONS)
"""What is tried again."""


async def settle_restored(
    checkout: Checkout,
    since: datetime,
    *,
    until: datetime,
    lost: Lost,
    patience: timedelta,
    rest: PausesForSeconds = asyncio.sleep,
) -> Report:
    """Settle, put back or give back every payment that was made or changed since the restored backup.

    The provider's list is gone through again until it shows nothing new and its index can no longer lag behind
    `until`. Whoever kills this, or runs it twice at once, only has it done again: each step is the same by its key.

    Args:
        since: the moment that the database has gone back to.
        until: from when on the restored database has been the one that takes orders.
        lost: what becomes of a paid order that the database does not know.
        patience: how long to go on in all while the provider or the database does not answer.

    Returns:
        What was done; all is settled only if `open` is empty.

    Raises:
        ProviderDenied: our token is refused; waiting would not help.
    """
    run = _Run(checkout, since, until, lost)
    deadline = checkout.clock() + patience
    failures, passes = 0, 0
    while True:
        began = checkout.clock()
        fresh = await run.go_through()
        passes += 1
        if not run.open and not fresh and passes > 1 and began >= until + SEARCH_LAG:
            return await run.report()
        now = checkout.clock()
        if now >= deadline:
            if not run.open:
                run.open[None] = "the provider's search may not show all yet"
            return await run.report()
        failures = failures + 1 if run.open else 0
        wait = max(until + SEARCH_LAG - now, PAUSE)
        if run.open:
            wait = no_sooner(backoff(failures - 1, checkout.settings, checkout.chance), run.retry_after)
        await rest(min(wait, deadline - now).total_seconds())


async def foresee_restored(checkout: Checkout, since: datetime, *, until: datetime, lost: Lost) -> Report:
    """Answer what `settle_restored` would do, by what the provider's search shows now; change nothing.

    Raises:
        ProviderError: the search failed.
    """
    run = _Run(checkout, since, until, lost)
    return await run.foresee()


class _Run:
    """One run: what it has found, done, and not been able to do."""

    def __init__(self, checkout: Checkout, since: datetime, until: datetime, lost: Lost) -> None:
        self._checkout = checkout
        self._since = since
        self._until = until
        self._keep = lost is Lost.KEEP
        self._done: dict[int, Outcome] = {}
        self._not_ours: list[NotOurs] = []
        self._orders: set[UUID] = set()
        self._recreated: set[int] = set()
        self._passed_over: set[int] = set()
        self.open: dict[int | None, str] = {}
        self.retry_after: float | None = None

    async def go_through(self) -> bool:
        """Go through the provider's list once and do what can be done; answer whether there was anything new."""
        self.open, self.retry_after = {}, None
        try:
            fresh = await self._find()
            await self._pass_over_numbers(fresh)
        except ProviderDenied:
            raise
        except PASSING as error:
            self._could_not(None, error)
            return False
        logger.info("payments found at the provider", extra={"new": len(fresh), "settled_before": len(self._done)})
        room = asyncio.Semaphore(self._checkout.settings.worker_concurrency)
        async with asyncio.TaskGroup() as group:
            for views in _by_reference(fresh):
                group.create_task(self._settle_in_turn(views, room))
        return bool(fresh)

    async def foresee(self) -> Report:
        """Say what would be done."""
        would = []
        owed = 0
        for views in _by_reference(await self._find()):
            known = await self._payment_of(views[0])
            for view in views:
                outcome = self._foreseen(view, known)
                if view is not views[0] and outcome in {Outcome.RECREATED, Outcome.KEPT, Outcome.CANCELLED}:
                    outcome = Outcome.SECOND_CHARGE
                self._done[view.id] = outcome
                order_id = _order_id(view)
                if order_id is not None and outcome not in {Outcome.NOT_OURS, Outcome.NOTHING_OWED}:
                    would.append(Step(view.id, order_id, outcome))
                if outcome is Outcome.RECREATED:
                    owed += view.amount_cents - view.refunded_cents
        return msgspec.structs.replace(await self.report(), would=would, refunds_owed_cents=owed)

    async def report(self) -> Report:
        """Say what was done."""
        counts = {outcome: list(self._done.values()).count(outcome) for outcome in Outcome}
        for outcome, count in counts.items():
            logger.info("payments after a restore", extra={"outcome": str(outcome), "count": count})
        async with self._checkout.pool.acquire(timeout=5) as connection:
            owed = await comanda.payments.refunds.promised_cents(connection, self._orders, since=self._until)
        return Report(
            since=self._since,
            until=self._until,
            payments=len(self._done.keys() | (self.open.keys() - {None})),
            settled=counts[Outcome.SETTLED],
            recreated=counts[Outcome.RECREATED],
            refunds_owed_cents=owed,
            cancelled=counts[Outcome.CANCELLED],
            kept=counts[Outcome.KEPT],
            second_charges=counts[Outcome.SECOND_CHARGE],
            nothing_owed=counts[Outcome.NOTHING_OWED],
            not_ours=self._not_ours,
            open=[StillOpen(payment, error) for payment, error in self.open.items()],
        )

    async def _find(self) -> list[ProviderPayment]:
        """Find what is not done yet, but for orders placed in the restored database: it knows all of these itself."""
        found: dict[int, ProviderPayment] = {}
        changed = begin = self._since - MARGIN
        made, offset = False, 0
        while True:
            page = await self._checkout.provider.search_changed(begin, offset=offset, made=made)
            found.update(
                (view.id, _without_code(view))
                for view in page.payments
                if view.updated_at is None or view.updated_at >= changed
            )
            offset += len(page.payments)
            if not page.payments or (page.total is not None and offset >= page.total):
                break
            if offset > MAXIMUM_OFFSET:
                # No further page can be had. They come by when they were made: another search goes on from the last.
                last = page.payments[-1].created_at
                if last is None or (made and last <= begin):
                    raise ProviderUnavailable(
                        f"more than {MAXIMUM_OFFSET} payments, and the last leads no further: the search ends there"
                    )
                begin, made, offset = last, True, 0
        fresh = [view for view in found.values() if view.id not in self._done]
        async with self._checkout.pool.acquire(timeout=5) as connection:
            known = await comanda.payments.store.known_orders(connection, _order_ids(fresh))
        return [
            view
            for view in fresh
            if _order_id(view) not in known or view.created_at is None or view.created_at <= self._until
        ]

    async def _pass_over_numbers(self, fresh: list[ProviderPayment]) -> None:
        """Leave out the pickup numbers that guests were given after the backup, before any is given again.

        Each order that was paid meanwhile took one, or a few where it collided, and rolled-back ones left gaps.
        """
        paid = [
            view
            for view in fresh
            if view.approved_at is not None
            and view.id not in self._passed_over
            and _foreign(view, self._checkout) is None
        ]
        async with self._checkout.pool.acquire(timeout=5) as connection:
            known = await comanda.payments.store.known_orders(connection, _order_ids(paid), paid=True)
            lost = sum(_order_id(view) not in known for view in paid)
            if lost:
                day = self._checkout.clock().astimezone(self._checkout.settings.zone).date()
                await pass_over(connection, day, 2 * lost + 20)
        self._passed_over.update(view.id for view in paid)

    async def _settle_in_turn(self, views: list[ProviderPayment], room: asyncio.Semaphore) -> None:
        """Settle the payments of one reference, one after the other."""
        async with room:
            for view in views:
                try:
                    outcome = await self._settle(view)
                except PASSING as error:
                    self._could_not(view.id, error)
                except Exception as error:
                    logger.exception("a payment could not be settled", extra={"payment": view.id})
                    self._could_not(view.id, error)
                else:
                    self._done[view.id] = outcome
                    measures.RESTORED.labels(str(outcome)).inc()
                    extra = {"payment": view.id, "order_id": view.external_reference, "outcome": str(outcome)}
                    logger.info("payment settled after a restore", extra=extra)

    def _could_not(self, payment: int | None, error: Exception) -> None:
        self.open[payment] = str(error) or type(error).__name__
        if isinstance(error, ProviderUnavailable) and error.retry_after is not None:
            self.retry_after = max(self.retry_after or 0, error.retry_after)
        logger.warning("not settled yet", extra={"payment": payment, "error": self.open[payment]})

    async def _settle(self, found: ProviderPayment) -> Outcome:
        order_id = _order_id(found)
        known = await self._payment_of(found)
        reason = _foreign(found, self._checkout) if known is None else None
        if order_id is None or reason is not None:
            self._not_ours.append(NotOurs(found.id, reason or "reference"))
            return Outcome.NOT_OURS
        # The search's own words may be old ones.
        view = await self._checkout.provider.get_payment(found.id)
        if view is None or view.external_reference != found.external_reference:
            raise _NotYet("the provider's search shows it, and the provider itself does not")
        if known is None:
            # Nor need they be all: whose it is counts by what the payment itself says.
            reason = _foreign(view, self._checkout)
            if reason is not None:
                self._not_ours.append(NotOurs(view.id, reason))
                return Outcome.NOT_OURS
            if _nothing_owed(view):
                return Outcome.NOTHING_OWED
            keep = self._keep and status_of(view) in MONEY_CAME
            if await recreate_order(self._checkout, order_id, view, keep=keep):
                self._recreated.add(view.id)
            known = await self._payment_of(view)
            assert known is not None, "it was just made, by us or by another"
        self._orders.add(order_id)
        outcome = await self._settle_known(known, view)
        return await self._ended_as(order_id) if view.id in self._recreated else outcome

    async def _settle_known(self, ours: Payment, view: ProviderPayment) -> Outcome:
        """Settle a payment of an order that the database has, as the worker does."""
        if ours.provider_payment_id not in {None, view.id}:
            await settle_another_charge(self._checkout, ours, view, actor=ACTOR, request_id=ours.request_id)
            return Outcome.SECOND_CHARGE
        verdict = await settle_payment(self._checkout, ours.order_id, view, actor=ACTOR)
        await cancel_if_due(self._checkout, ours, view.id, verdict)
        status, now = await self._stored(ours.order_id)
        if now.status in OPEN and status != OrderStatus.AWAITING_PAYMENT:
            raise _NotYet("its order has ended, and the provider has not ended it yet")
        return Outcome.SETTLED

    async def _ended_as(self, order_id: UUID) -> Outcome:
        status, payment = await self._stored(order_id)
        if payment.status not in MONEY_CAME:
            return Outcome.CANCELLED
        return Outcome.KEPT if status == OrderStatus.PICKED_UP else Outcome.RECREATED

    async def _stored(self, order_id: UUID) -> tuple[str, Payment]:
        """Answer where an order that is there stands, and its payment."""
        async with self._checkout.pool.acquire(timeout=5) as connection:
            status: str = await connection.fetchval("SELECT status FROM orders WHERE id = $1", order_id)
            payment = await comanda.payments.store.by_order(connection, order_id)
        assert payment is not None, "an order is stored with its payment"
        return status, payment

    async def _payment_of(self, view: ProviderPayment) -> Payment | None:
        order_id = _order_id(view)
        if order_id is None:
            return None
        async with self._checkout.pool.acquire(timeout=5) as connection:
            return await comanda.payments.store.by_order(connection, order_id)

    def _foreseen(self, view: ProviderPayment, known: Payment | None) -> Outcome:
        if known is not None:
            other = known.provider_payment_id not in {None, view.id}
            return Outcome.SECOND_CHARGE if other else Outcome.SETTLED
        reason = _foreign(view, self._checkout)
        if reason is not None:
            self._not_ours.append(NotOurs(view.id, reason))
            return Outcome.NOT_OURS
        if _nothing_owed(view):
            return Outcome.NOTHING_OWED
        if status_of(view) not in MONEY_CAME:
            return Outcome.CANCELLED
        return Outcome.KEPT if self._keep else Outcome.RECREATED


def _without_code(view: ProviderPayment) -> ProviderPayment:
    """Answer a payment without its QR code: thousands of them would not fit beside the worker, whose pod this is."""
    return msgspec.structs.replace(view, copy_paste=None, qr_code_png_base64=None)


def _order_id(view: ProviderPayment) -> UUID | None:
    """Answer the order that a payment says to be of: a UUID written as we write it; None for any other reference."""
    try:
        order_id = UUID(view.external_reference or "")
    except ValueError:
        return None
    return order_id if str(order_id) == view.external_reference else None


def _order_ids(views: Iterable[ProviderPayment]) -> set[UUID]:
    return {order_id for view in views if (order_id := _order_id(view)) is not None}


def _by_reference(views: Iterable[ProviderPayment]) -> list[list[ProviderPayment]]:
    """Group payments by their reference; within it those with money first, then the oldest: that is the order's own."""

    def key(view: ProviderPayment) -> tuple[str, bool, int]:
        return view.external_reference or "", status_of(view) not in MONEY_CAME, view.id

    return [list(group) for _, group in groupby(sorted(views, key=key), lambda view: view.external_reference or "")]


def _foreign(view: ProviderPayment, checkout: Checkout) -> str | None:
    """Answer how one can tell that a payment of no known order is not a lost one of this diner; None if one cannot.

    Several diners, or a shop and its tests, may share an account: each sends its own address for webhooks.
    """
    settings = checkout.settings
    if _order_id(view) is None:
        return "reference"
    if view.live_mode != settings.live_mode:
        return "live_mode"
    if view.currency != CURRENCY:
        return "currency"
    told, ours = view.notification_url, settings.notification_url
    return "notification_url" if told is not None and told != ours else None


def _nothing_owed(view: ProviderPayment) -> bool:
    """Whether a lost payment holds nobody's money and cannot be paid any more."""
    ended = {PaymentStatus.REFUNDED, PaymentStatus.CANCELLED, PaymentStatus.REJECTED, PaymentStatus.EXPIRED}
    return status_of(view) in ended
