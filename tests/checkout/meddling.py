"""Ways to be unlucky that no sandbox can play: our own process dying, and two things in one moment."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, cast
from uuid import UUID

import msgspec

from comanda.checkout.context import Checkout
from comanda.checkout.place_order import OrderRequest, place_order
from comanda.http.idempotency import read_key
from comanda.payments.mercado_pago import MercadoPago
from tests.running_diner import Diner


class Crash(BaseException):
    """The process is gone: no code of ours may catch it."""


class _Meddled:
    """A provider's client of which one method is replaced."""

    def __init__(self, provider: MercadoPago, **methods: Callable[..., Awaitable[Any]]) -> None:
        self._provider = provider
        self._methods = methods

    def __getattr__(self, name: str) -> Any:
        return self._methods.get(name) or getattr(self._provider, name)


def with_provider(checkout: Checkout, **methods: Callable[..., Awaitable[Any]]) -> Checkout:
    """Answer a checkout whose provider has these methods in place of its own."""
    provider = cast(MercadoPago, _Meddled(checkout.provider, **methods))
    return msgspec.structs.replace(checkout, provider=provider)


def dies_before(checkout: Checkout, operation: str) -> Checkout:
    """Answer a checkout whose process dies just before it calls the provider."""

    async def method(*_: Any, **__: Any) -> None:
        raise Crash

    return with_provider(checkout, **{operation: method})


def dies_after(checkout: Checkout, operation: str) -> Checkout:
    """Answer a checkout whose process dies with the provider's answer in its hand."""

    async def method(*arguments: Any, **named: Any) -> None:
        await getattr(checkout.provider, operation)(*arguments, **named)
        raise Crash

    return with_provider(checkout, **{operation: method})


def waits_in(checkout: Checkout, operation: str, entered: asyncio.Event, go_on: asyncio.Event) -> Checkout:
    """Answer a checkout that has the provider's answer, rings `entered` and waits for `go_on` before it reads it."""

    async def method(*arguments: Any, **named: Any) -> Any:
        answer = await getattr(checkout.provider, operation)(*arguments, **named)
        entered.set()
        await go_on.wait()
        return answer

    return with_provider(checkout, **{operation: method})


async def place_with(diner: Diner, checkout: Checkout, *, key: str | None = None) -> UUID:
    """Place an order of one piece of the first product as the API does, with a checkout of one's own."""
    request = msgspec.convert(diner.basket(1), OrderRequest)
    menu = await diner.menu.current()
    read = read_key(key, scope="order", request=request)
    return (await place_order(checkout, request, menu.products, key=read, client="", request_id="test")).order_id


async def only_order(diner: Diner) -> dict[str, Any]:
    """Read the only order that there is: its guest's connection may be gone."""
    return await diner.order(str(await diner.value("SELECT id FROM orders")))


async def pass_time(diner: Diner, *, minutes: float, step: float = 20) -> None:
    """Let time pass in steps of seconds, the worker at work all along."""
    await diner.work()
    for _ in range(int(minutes * 60 / step)):
        await diner.later(seconds=step)
        await diner.work()
