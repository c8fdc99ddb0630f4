"""Guests who order, pay and are served while something is done to Comanda: what failed them, and what became of it.

    with ordering(house, guests=4) as guests:
        ...                                    # roll out, kill, change
    guests.were_all_served()

Each comes anew as soon as they were served. They neither repeat nor forgive: a request that is not answered as it
should be is counted by its cause.
"""

import asyncio
import secrets
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from tests.cluster.comanda.house import House
from tests.cluster.objects import Json

LOOK_SECONDS = 0.1
"""How often a guest who waits looks again: as often as a test may rest."""

SERVED_WITHIN_SECONDS = 120


class GaveUp(Exception):
    """A guest went away; the cause was counted."""


@dataclass
class Guests:
    """What they met.

    Args:
        answers: how often each status came. failures: what should not have come, by its cause.
        served: the orders that were picked up, and what each cost, in centavos.
        left: how the orders ended whose guest gave up, by order.
    """

    house: House
    answers: Counter[int] = field(default_factory=Counter)
    failures: Counter[str] = field(default_factory=Counter)
    served: dict[str, int] = field(default_factory=dict)
    left: dict[str, str] = field(default_factory=dict)
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


@contextmanager
def ordering(house: House, guests: int = 4) -> Iterator[Guests]:
    """Let so many guests order, one after another each, until the block ends and the last of them is served."""
    met = Guests(house)
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
        self.met.failures[f"waited for {SERVED_WITHIN_SECONDS} s"] += 1
        raise GaveUp

    async def _ask(
        self, method: str, path: str, body: object = None, *, expected: int = 200, role: str = "", at: str = "api"
    ) -> Json:
        facts = self.met.house.facts
        headers = {"Authorization": f"Bearer {facts[f'{role}_key']}"} if role else {}
        if path == "/v1/orders":
            headers["Idempotency-Key"] = secrets.token_urlsafe(24)
        shape = "/".join("ID" if len(part) > 20 or part.isdigit() else part for part in path.split("/"))
        try:
            async with self.session.request(method, facts[at] + path, json=body, headers=headers) as answer:
                self.met.answers[answer.status] += 1
                if answer.status != expected:
                    self.met.failures[f"{method} {shape}: {answer.status} {(await answer.text())[:200]}"] += 1
                    raise GaveUp
                found: Json = await answer.json(content_type=None)
                return found
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            self.met.failures[f"{method} {shape}: {type(error).__name__} {error}"] += 1
            raise GaveUp from None
