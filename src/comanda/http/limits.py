"""How often one client address may do a thing, per pod. Generous: a diner's guests share one address.

The bound that holds across pods, unpaid orders of a client, is in the database (`checkout.intend_order`).
"""

from limits import RateLimitItem, parse
from limits.aio.storage import MemoryStorage
from limits.aio.strategies import MovingWindowRateLimiter

from comanda.errors import TooMany
from comanda.http.addresses import is_within
from comanda.settings import Settings


class Limits:
    """Counts what client addresses do."""

    def __init__(self, settings: Settings) -> None:
        self._exempt = settings.exempt
        self._strategy = MovingWindowRateLimiter(MemoryStorage())
        self.orders: RateLimitItem = parse(settings.order_burst)

    def is_exempt(self, address: str) -> bool:
        """Whether an address meets no limit."""
        return is_within(address, self._exempt)

    async def hit(self, item: RateLimitItem, name: str, address: str) -> None:
        """Count one more of an address, unless it is empty. Raises TooMany when it is one too many."""
        if address and not await self._strategy.hit(item, name, address):
            raise TooMany(f"at most {item} from one address", retry_after=max(1, item.get_expiry() // 2))
