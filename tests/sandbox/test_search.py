"""Searching payments."""

from datetime import timedelta

import pytest

from comanda_sandbox.running import RunningSandbox
from tests.sandbox.caller import Answer, Caller


def ids(answer: Answer) -> list[int]:
    """The ids found, in order."""
    assert answer.status == 200, answer.body
    return [payment["id"] for payment in answer.json["results"]]


async def test_by_reference_newest_first(sandbox: RunningSandbox, caller: Caller) -> None:
    first = await caller.created(external_reference="a")
    sandbox.clock.advance(timedelta(seconds=1))
    second = await caller.created(external_reference="a")
    await caller.created(external_reference="b")
    query = {"external_reference": "a", "sort": "date_created", "range": "date_created"}
    window = {"begin_date": "NOW-1DAYS", "end_date": "NOW"}
    assert ids(await caller.search(**query, criteria="desc", **window)) == [second, first]
    assert ids(await caller.search(**query, criteria="asc", **window)) == [first, second]
    assert ids(await caller.search(external_reference="c")) == []


async def test_a_result_is_the_payment_itself(caller: Caller) -> None:
    payment_id = await caller.created()
    found = await caller.search(external_reference="order-1")
    assert found.json["results"] == [(await caller.get(payment_id)).json]


async def test_paging(caller: Caller) -> None:
    made = [await caller.created() for _ in range(5)]
    page = await caller.search(sort="id", criteria="asc", limit=2, offset=2)
    assert page.json["paging"] == {"total": 5, "limit": 2, "offset": 2}
    assert ids(page) == made[2:4]
    assert (await caller.search()).json["paging"]["limit"] == 30
    assert ids(await caller.search(limit=0)) == []


async def test_ranges(sandbox: RunningSandbox, caller: Caller) -> None:
    old = await caller.created()
    sandbox.clock.advance(timedelta(hours=2))
    new = await caller.created()
    sandbox.act(old, "pay")
    begin = {"begin_date": "NOW-30MINUTES", "end_date": "NOW"}
    assert ids(await caller.search(range="date_created", **begin)) == [new]
    assert sorted(ids(await caller.search(range="date_last_updated", **begin))) == sorted([old, new])
    assert ids(await caller.search(range="date_approved", **begin)) == [old]
    assert ids(await caller.search(status="approved")) == [old]
    assert ids(await caller.search(id=new)) == [new]
    middle = (sandbox.clock.now() - timedelta(hours=1)).replace(tzinfo=None).isoformat(timespec="milliseconds")
    assert ids(await caller.search(begin_date=f"{middle}Z")) == [new]
    assert ids(await caller.search(end_date=f"{middle}%2B00:00")) == [old]
    assert ids(await caller.search(begin_date="NOW-1HOURS", end_date="NOW-59MINUTES")) == []


@pytest.mark.parametrize(
    ("name", "value", "code"),
    [
        ("begin_date", "yesterday", 1001),
        ("begin_date", "NOW-1FORTNIGHTS", 1001),
        ("end_date", "2026-11-22", 1001),
        ("end_date", "2026-11-22T10:00:00Z", 1001),
        ("end_date", "2026-11-22T10:00:00.000+00:00", 1001),  # the plus is a blank, as in any query
        ("begin_date", "NOW-999999YEARS", 1001),
        ("sort", "amount", 1),
        ("criteria", "up", 1),
        ("range", "date_of_birth", 1),
        ("limit", "1001", 1000),
        ("limit", "-1", 1),
        ("offset", "10001", 1000),
        ("offset", "x", 1),
    ],
)
async def test_wrong_queries_are_refused(caller: Caller, name: str, value: str, code: int) -> None:
    answer = await caller.call("GET", f"/v1/payments/search?{name}={value}")
    assert (answer.status, answer.code) == (400, code)
