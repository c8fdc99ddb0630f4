"""Put back an order that a restored database has lost, from what the provider still knows of its payment.

That is: its id, a sum, and what became of the Pix. What was ordered, by what name and under which number is gone.
"""

from datetime import datetime, timedelta
from uuid import UUID, uuid4

import comanda.menu.store
from comanda.checkout.context import Checkout
from comanda.database.pool import Connection, in_transaction
from comanda.orders.model import OrderStatus
from comanda.orders.pickup import next_number
from comanda.payments.model import Review
from comanda.payments.provider import ProviderPayment

ACTOR = "restore"
REASON = "lost with the database"

# One statement, so that an order never stands there without its payment; whoever comes second makes nothing.
RECREATE = """
WITH placed AS (
    INSERT INTO orders (id, status, total_cents, created_at, paid_at, pickup_number, status_changed_at)
    VALUES ($1, $2, $3, $4, $5, $6, $7)
    ON CONFLICT (id) DO NOTHING
    RETURNING id
), line AS (
    INSERT INTO order_items (order_id, id, product_id, name, quantity, unit_price_cents)
    SELECT id, 1, $8, $9, 1, $3 FROM placed
), noted AS (
    INSERT INTO order_events (order_id, version, status_to, actor, reason, at)
    SELECT id, 1, $2, $10, $11, $7 FROM placed
), charged AS (
    INSERT INTO payments (id, order_id, status, amount_cents, idempotency_key, description, payer_email,
        notification_url, live_mode, expires_at, provider_expires_at, provider_payment_id, review, next_check_at,
        created_at, updated_at)
    SELECT $12, id, 'pending', $3, $13, $14, $15, $16, $17, $18, $19, $20, $21, $7, $4, $7 FROM placed
    RETURNING id
)
INSERT INTO payment_events (payment_id, version, status_to, actor, reason, at)
SELECT id, 1, 'pending', $10, $11, $7 FROM charged
RETURNING true
"""


async def recreate_order(checkout: Checkout, order_id: UUID, view: ProviderPayment, *, keep: bool) -> bool:
    """Store a lost order with its payment, open and due at once; settling it is the ordinary way from there on.

    It stands as `cancelled`: an open Pix is then cancelled at the provider, and money that came is given back, now by
    whoever settles it or later by the worker. Kept, it stands as `picked_up`, and a person is to look at it.

    Args:
        order_id: the payment's external reference.
        view: the payment, read back from the provider; the intent is made up from it.
        keep: whether the kitchen has served it, so that the money stays.

    Returns:
        Whether it was made; False if it is there.
    """
    settings = checkout.settings

    async def work(connection: Connection) -> bool:
        now = checkout.clock()
        product_id, name = await comanda.menu.store.recovered_product(connection, now)
        created = view.created_at or now
        ends, provider_ends = _expiry(view, created, timedelta(seconds=settings.payment_timeout))
        number = await next_number(connection, now.astimezone(settings.zone).date()) if keep else None
        made = await connection.fetchval(
            RECREATE,
            order_id,
            OrderStatus.PICKED_UP if keep else OrderStatus.CANCELLED,
            view.amount_cents,
            created,
            (view.approved_at or now) if keep else None,
            number,
            now,
            product_id,
            name,
            ACTOR,
            REASON,
            uuid4(),
            # Whatever is asked of the provider for it has a key made from this one, so that asked twice is asked once.
            f"restored-{view.id}",
            name,
            settings.payer_email,
            settings.notification_url,
            view.live_mode,
            ends,
            provider_ends,
            view.id,
            Review.RECOVERED if keep else None,
        )
        return made is not None

    return await in_transaction(checkout.pool, work)


def _expiry(view: ProviderPayment, created: datetime, timeout: timedelta) -> tuple[datetime, datetime]:
    """Answer when we would have ended the Pix, and when the provider does; never before it was made."""
    provider_ends = view.expires_at if view.expires_at is not None and view.expires_at > created else created + timeout
    return min(created + timeout, provider_ends), provider_ends
