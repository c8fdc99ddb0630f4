"""What the checkout's stories work with."""

import random

import msgspec

from comanda.clock import Clock
from comanda.database.pool import Pool
from comanda.payments.mercado_pago import MercadoPago
from comanda.settings import Settings


class Checkout(msgspec.Struct, frozen=True):
    """The database, the provider, the settings, the time and the dice, handed to every story of the checkout."""

    pool: Pool
    provider: MercadoPago
    settings: Settings
    clock: Clock
    chance: random.Random
