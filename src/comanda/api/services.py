"""What the handlers of one process share."""

from typing import TypeAlias

import msgspec
from litestar.di import NamedDependency

from comanda.api.streams import Streams
from comanda.checkout.context import Checkout
from comanda.http.limits import Limits
from comanda.http.ops import Readiness
from comanda.menu.cache import MenuCache


class Services(msgspec.Struct, frozen=True):
    """The checkout, the menu, the streams, the limits: made once in `comanda.app`, handed to every handler."""

    checkout: Checkout
    menu: MenuCache
    streams: Streams
    limits: Limits
    ready: Readiness


Shared: TypeAlias = NamedDependency[Services]
"""How a handler asks for the services."""
