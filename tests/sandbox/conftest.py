"""A sandbox, somebody who calls it and somebody who gets its webhooks."""

from collections.abc import AsyncIterator

import aiohttp
import pytest

from comanda_sandbox.running import RunningSandbox, running_sandbox
from tests.sandbox.caller import Caller
from tests.sandbox.receiver import Receiver, receiving


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with receiving() as one:
        yield one


@pytest.fixture
async def sandbox(receiver: Receiver) -> AsyncIterator[RunningSandbox]:
    """Its webhooks' schedule runs in real time: only moving the clock brings a retry."""
    async with running_sandbox(webhook_url=receiver.url, webhook_time_scale=1) as one:
        yield one


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    # A connection for each call: one that a fault closed must not be found dead by the next.
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(force_close=True)) as one:
        yield one


@pytest.fixture
async def caller(sandbox: RunningSandbox, session: aiohttp.ClientSession) -> Caller:
    return Caller(session, sandbox.url, sandbox.token)
