"""A few runs with whole processes that are killed, stopped and cut off; `make faults KIND=processes` does more."""

from collections.abc import AsyncIterator

import pytest

from tests.conftest import seed
from tests.faults.many import folder
from tests.faults.processes import Processes, one_run


@pytest.fixture
async def house() -> AsyncIterator[Processes]:
    with folder() as within:
        async with Processes(within) as standing:
            yield standing


async def test_whatever_befalls_them_who_paid_is_served_or_has_the_money_back(house: Processes) -> None:
    for which in ("7-0", "7-1", f"{seed()}-0"):
        result = await one_run(house, which)
        assert not result.failure, f"again: make faults KIND=processes ARGS='--only {which}': {result.failure}"
        assert result.orders
        assert result.faults
