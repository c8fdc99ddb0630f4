"""A fixed and a small random set of runs under faults; `make faults` does as many as one likes."""

from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import msgspec
import pytest

from comanda.checkout import settlement
from comanda.payments.mercado_pago import MercadoPago
from comanda.payments.provider import PixCharge, ProviderPayment
from tests.conftest import seed
from tests.faults.run import one_run
from tests.faults.world import Stage

RATE = 0.02
FIXED = [
    *(f"7-{number}" for number in range(5)),
    # What it found once: an amount told wrong at approval, whose refund was waited for without end.
    "1851968200-1",
]


@pytest.fixture
async def stage(owner_url: str, database_url: str) -> AsyncIterator[Stage]:
    async with Stage(owner_url, database_url) as standing:
        yield standing


@pytest.mark.parametrize("number", range(5))
async def test_whatever_befalls_it_by_this_run_s_seed_too(stage: Stage, number: int) -> None:
    # The seed is the same in every test process, but is not known when tests are collected.
    which = f"{seed()}-{number}"
    result = await one_run(stage, which, rate=RATE)
    assert not result.failure, f"again: make faults ARGS='--only {which}': {result.failure}"


@pytest.mark.parametrize("which", FIXED)
async def test_whatever_befalls_it_every_real_is_accounted_for(stage: Stage, which: str) -> None:
    result = await one_run(stage, which, rate=RATE)
    assert not result.failure, f"again: make faults ARGS='--only {which}': {result.failure}"
    assert sum(result.faults.values()) > 5


async def test_the_same_seed_is_the_same_run(stage: Stage) -> None:
    first, again = [await one_run(stage, "5170-25", rate=RATE) for _ in range(2)]
    assert first.log == again.log
    assert first.digest == again.digest


async def test_faults_that_may_not_strike_do_not(stage: Stage) -> None:
    assert "!" not in "".join((await one_run(stage, "7-1", rate=RATE, allowed=frozenset())).log)


async def with_a_key_of_its_own(self: MercadoPago, charge: PixCharge, **named: Any) -> ProviderPayment:
    """Ask for a Pix as if nobody had stored a key for it."""
    return await CREATE(self, msgspec.structs.replace(charge, idempotency_key=str(uuid4())), **named)


CREATE = MercadoPago.create_pix


async def first_failure(stage: Stage, runs: int) -> str:
    """Answer what the first run that fails says, "" if so many do not."""
    for number in range(runs):
        if failure := (await one_run(stage, f"7-{number}", rate=RATE)).failure:
            return failure
    return ""


async def test_it_finds_a_charge_that_is_made_twice(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(MercadoPago, "create_pix", with_a_key_of_its_own)
    assert "was charged for 2 times" in await first_failure(stage, 12)


async def test_it_finds_money_that_is_kept_for_nobody_s_meal(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    real = settlement.decide

    def keeps(*arguments: Any) -> Any:
        return msgspec.structs.replace(real(*arguments), refund_owed=None)

    monkeypatch.setattr("comanda.checkout.settle_payment.decide", keeps)
    assert "nobody gives back" in await first_failure(stage, 12)
