"""Guests who order, pay and are served while something is done to Comanda: what failed them, and what became of it.

    with ordering(house, guests=4) as guests:
        ...                                    # roll out, kill, change
    guests.were_all_served()

Each comes anew as soon as they were served. A request that is not answered as it should be is counted by its cause; the
guest goes away, or, if patient, says the same again under the same key until it is answered, as a page does.
"""

import asyncio
import json
import secrets
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import aiohttp

from tests.cluster.comanda.house import House
from tests.cluster.objects import Json

SERVED = {"paid", "preparing", "ready", "picked_up"}
"""What an order is whose money we keep."""

LOOK_SECONDS = 0.1
"""How often a guest who waits looks again: as often as a test may rest."""

SERVED_WITHIN_SECONDS = 120
PATIENCE_SECONDS = 240
"""How long a patient guest says the same again."""


class GaveUp(Exception):
    """A guest went away; the cause was counted."""


@dataclass
class Guests:
    """What they met.

    Args:
        patient: whether they ask again.
        answers: how often each status came. failures: what should not have come, by its cause.
        trouble: when something failed, from its first failure to its last within five seconds of another.
        served: the orders that were picked up, and what each cost, in centavos.
        left: how the orders ended whose guest gave up, by order.
        began: when they came, on the machine's clock.
    """

    house: House
    patient: bool = False
    answers: Counter[int] = field(default_factory=Counter)
    failures: Counter[str] = field(default_factory=Counter)
    served: dict[str, int] = field(default_factory=dict)
    left: dict[str, str] = field(default_factory=dict)
    began: datetime = field(default_factory=lambda: datetime.now(UTC))
    trouble: list[tuple[float, float]] = field(default_factory=list)
    came: threading.Condition = field(default_factory=threading.Condition)
    going_home: threading.Event = field(default_factory=threading.Event)

    def wait_for_served(self, more: int, seconds: float = 60) -> None:
        """Wait until so many more were served.

        Raises:
            AssertionError: they were not, in time.
        """
        with self.came:
            wanted = len(self.served) + more
            done = self.came.wait_for(lambda: len(self.served) >= wanted, seconds)
        assert done, f"{len(self.served)} served, not {wanted}: {self.failures}"

    def were_all_served(self) -> None:
        """Hold every order against the provider's ledger: each charged once, what it cost, and cooked.

        Raises:
            AssertionError: a request failed, or an order was not charged once and in full.
        """
        assert not self.failures, f"{dict(self.failures)} of {dict(self.answers)}; {self.left}"
        assert self.served, "nobody was served at all"
        for order, cents in self.served.items():
            charged = [each for each in self.house.charges(order) if each["status"] == "approved"]
            # The provider's amounts are in reais, with decimals (Mercado Pago, Payments API).
            assert [each["transaction_amount"] * 100 for each in charged] == [cents], order

    def failed(self, cause: str) -> None:
        """Count a failure."""
        now = time.monotonic()
        self.failures[cause] += 1
        if self.trouble and now - self.trouble[-1][1] < 5:
            self.trouble[-1] = (self.trouble[-1][0], now)
        else:
            self.trouble.append((now, now))

    @property
    def worst(self) -> float:
        """For how long things went on failing, at the most, in seconds."""
        return max((last - first for first, last in self.trouble), default=0.0)

    def balance(self) -> Json:
        """Hold every payment of theirs at the provider against the orders, from the provider's own ledger.

        Returns:
            How many were paid, served, given back and never paid.

        Raises:
            AssertionError: an order was charged twice, was charged and is neither in the kitchen's hands nor given
                back, or is in the kitchen's hands and was not charged.
        """
        by_order: dict[str, list[Json]] = {}
        for each in self.house.ledger():
            if datetime.fromisoformat(each["date_created"]) >= self.began:
                by_order.setdefault(str(each["external_reference"]), []).append(each)
        count: Counter[str] = Counter()
        for order, payments in by_order.items():
            charged = [each for each in payments if each["date_approved"]]
            assert len(charged) <= 1, f"{order} was charged {len(charged)} times"
            answer = self.house.call("GET", f"/v1/orders/{order}")
            status = answer.body["status"] if answer.status == 200 else "unknown"
            if not charged:
                assert status not in SERVED, f"{order} is {status} and was never charged"
                count["never paid"] += 1
                continue
            kept = charged[0]["transaction_amount"] - (charged[0]["transaction_amount_refunded"] or 0)
            assert (kept > 0) == (status in SERVED), f"{order} is {status}, and we keep {kept} of it"
            count["paid"] += 1
            count["served" if kept else "given back"] += 1
        return dict(count)


@contextmanager
def ordering(house: House, guests: int = 4, *, patient: bool = False) -> Iterator[Guests]:
    """Let so many guests order, one after another each, until the block ends and the last of them is served."""
    met = Guests(house, patient)
    thread = threading.Thread(target=lambda: asyncio.run(_crowd(met, guests)), name="guests")
    thread.start()
    try:
        met.wait_for_served(guests)
        yield met
        met.wait_for_served(guests)
    finally:
        met.going_home.set()
        thread.join()


async def _crowd(met: Guests, guests: int) -> None:
    timeout = aiohttp.ClientTimeout(total=30)
    async with aiohttp.ClientSession(timeout=timeout) as session:
        await asyncio.gather(*(_one_after_another(_Guest(met, session)) for _ in range(guests)))


async def _one_after_another(guest: "_Guest") -> None:
    while not guest.met.going_home.is_set():
        try:
            await guest.visit()
        except GaveUp:
            await asyncio.sleep(LOOK_SECONDS)


class _Guest:
    def __init__(self, met: Guests, session: aiohttp.ClientSession) -> None:
        self.met = met
        self.session = session

    async def visit(self) -> None:
        menu = await self._ask("GET", "/v1/menu")
        product = next(each for group in menu["categories"] for each in group["products"] if each["available"])
        body = {"items": [{"product_id": product["id"], "quantity": 1 + secrets.randbelow(3)}]}
        placed = await self._ask("POST", "/v1/orders", body, expected=201)
        order = str(placed["id"])
        self.met.left[order] = "placed"
        document = await self._until(order, lambda each: each["payment"]["pix"])
        await self._ask("POST", f"/_sandbox/payments/{document['payment']['provider_payment_id']}/pay", at="sandbox")
        self.met.left[order] = "paid at the provider"
        await self._until(order, lambda each: each["status"] == "paid")
        for status in ("preparing", "ready", "picked_up"):
            await self._ask("PATCH", f"/v1/orders/{order}", {"status": status}, role="staff")
            self.met.left[order] = status
        del self.met.left[order]
        with self.met.came:
            self.met.served[order] = placed["total_cents"]
            self.met.came.notify_all()

    async def _until(self, order: str, so: Callable[[Json], Any]) -> Json:
        deadline = time.monotonic() + SERVED_WITHIN_SECONDS
        while time.monotonic() < deadline:
            document = await self._ask("GET", f"/v1/orders/{order}")
            if so(document):
                return document
            await asyncio.sleep(LOOK_SECONDS)
        self.met.failed(f"waited for {SERVED_WITHIN_SECONDS} s")
        raise GaveUp

    async def _ask(
        self, method: str, path: str, body: object = None, *, expected: int = 200, role: str = "", at: str = "api"
    ) -> Json:
        facts = self.met.house.facts
        headers = {"Authorization": f"Bearer {facts[f'{role}_key']}"} if role else {}
        if path == "/v1/orders":
            headers["Idempotency-Key"] = secrets.token_urlsafe(24)
        shape = "/".join("ID" if len(part) > 20 or part.isdigit() else part for part in path.split("/"))
        deadline = time.monotonic() + (PATIENCE_SECONDS if self.met.patient else 0)
        while True:
            try:
                async with self.session.request(method, facts[at] + path, json=body, headers=headers) as answer:
                    self.met.answers[answer.status] += 1
                    if answer.status == expected:
                        found: Json = await answer.json(content_type=None)
                        return found
                    cause = f"{method} {shape}: {answer.status} {_cause(await answer.text())}".strip()
                    later = answer.status != 503 or "Retry-After" in answer.headers
                    self.met.failed(cause if later else f"{cause}, and not when to come again")
            except (aiohttp.ClientError, TimeoutError, OSError) as error:
                self.met.failed(f"{method} {shape}: {type(error).__name__}")
            if time.monotonic() >= deadline:
                raise GaveUp
            await asyncio.sleep(LOOK_SECONDS)


def _cause(said: str) -> str:
    """Answer what tells one cause from another: a problem document's code."""
    try:
        problem = json.loads(said)
    except ValueError:
        return ""  # the load balancer's own page says no more than its status
    return str(problem.get("code", problem)) if isinstance(problem, dict) else said[:80]
