"""What the handlers of one process share."""

from typing import TypeAlias

import msgspec
from litestar.di import NamedDependency

from comanda.api.streams import Streams
from comanda.checkout.context import Checkout
from comanda.http.limits import Limits
from comanda.menu.cache import MenuCache


class Readiness:
    """Whether this process wants requests: started, and not draining."""

    def __init__(self) -> None:
        self.started = False
        self.draining = False

    def __call__(self) -> bool:
        """Answer whether it does."""
        return self.started and not self.draining


class Services(msgspec.Struct, frozen=True):
    """The checkout, the menu, the streams, the limits: made once in `comanda.app`, handed to every handler."""

    checkout: Checkout
    menu: MenuCache
    streams: Streams
    limits: Limits
    ready: Readiness


Shared: TypeAlias = NamedDependency[Services]
"""How a handler asks for the services."""
