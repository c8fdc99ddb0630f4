"""Where every real is, by the provider's own ledger: what guests were charged is served, given back or still open."""

from uuid import UUID

import msgspec

from comanda.orders.model import UNSERVED_END, OrderStatus
from comanda.payments.model import PaymentStatus, Review
from comanda_sandbox.payments import Payment
from tests.running_diner import Diner

STORED = """
SELECT o.id, o.status AS order_status, o.total_cents, p.status AS payment_status, p.provider_payment_id, p.paid_cents,
       p.refunded_cents, p.refund_reserved_cents, p.review
FROM orders AS o JOIN payments AS p ON p.order_id = o.id
"""
HISTORY = """
SELECT count(*) FROM {thing}s AS t WHERE t.version <> (SELECT count(*) FROM {thing}_events WHERE {thing}_id = t.id)
    OR t.status <> (SELECT status_to FROM {thing}_events WHERE {thing}_id = t.id ORDER BY version DESC LIMIT 1)
"""
EXPLAINED = {Review.REFUND_REFUSED, Review.DISPUTED}


class Stored(msgspec.Struct, frozen=True, kw_only=True):
    """An order and its payment as they stand in our books."""

    id: UUID
    order_status: OrderStatus
    payment_status: PaymentStatus
    total_cents: int
    provider_payment_id: int | None
    paid_cents: int | None
    refunded_cents: int
    refund_reserved_cents: int
    review: str | None


class Accounts(msgspec.Struct):
    """Sums in centavos over all orders: `charged` is what the provider ever took from guests."""

    charged: int = 0
    served: int = 0
    refunded: int = 0
    open: int = 0


async def assert_every_real_is_accounted_for(diner: Diner, *, restored: bool = False) -> Accounts:
    """Compare our books with the provider's ledger, order by order.

    No order has two charges; none is cooked without its whole money; what an order that ended unserved still holds is
    on its way back, or a person was told why not; every refund of ours that is approved is one refund there.

    Args:
        restored: the database has gone back in time: what it has lost and nobody holds money of may stay unknown.

    Returns:
        The sums; `open` is what the diner holds for nobody's meal: on its way back, disputed, or not yet heard of.
    """
    sums = Accounts()
    rows = [msgspec.convert(dict(row), Stored) for row in await diner.pool.fetch(STORED)]
    for order in rows:
        charges = diner.sandbox.payments(str(order.id))
        assert len(charges) <= 1, f"{order.id} was charged for {len(charges)} times"
        for charge in charges:
            _add(sums, order, charge)
        if order.order_status not in UNSERVED_END | {OrderStatus.AWAITING_PAYMENT}:
            assert charges, f"{order.id} is {order.order_status} without a charge"
            assert charges[0].approved_at is not None, f"{order.id} is {order.order_status} without money"
    known = {str(order.id) for order in rows}
    unknown = [charge for charge in diner.sandbox.payments() if charge.external_reference not in known]
    assert restored or not unknown, unknown
    for charge in unknown:
        assert charge.status in {"refunded", "cancelled", "rejected"}, f"{charge.external_reference} is lost"
        sums.charged += charge.amount_cents if charge.approved_at is not None else 0
        sums.refunded += charge.refunded_cents
    assert sums.charged == sums.served + sums.refunded + sums.open, sums
    await _refunds_are_the_providers(diner)
    for thing in ("order", "payment"):
        assert await diner.value(HISTORY.format(thing=thing)) == 0, f"the history of an {thing} is not its own"
    return sums


def _add(sums: Accounts, order: Stored, charge: Payment) -> None:
    assert order.provider_payment_id in {None, charge.id}
    if charge.approved_at is None:
        assert order.paid_cents is None, f"{order.id} is paid in our books alone"
        return
    kept = charge.amount_cents - charge.refunded_cents
    assert kept >= 0
    sums.charged += charge.amount_cents
    sums.refunded += charge.refunded_cents
    if order.order_status in UNSERVED_END:
        sums.open += kept
        if order.paid_cents is not None and order.review not in EXPLAINED:
            ours = order.paid_cents - order.refunded_cents
            assert ours == order.refund_reserved_cents, f"{order.id} ended unserved and nobody gives back {ours}"
            assert kept <= ours, f"{order.id} ended unserved, and {kept} of it is held, not {ours}"
    elif order.order_status is OrderStatus.AWAITING_PAYMENT:
        sums.open += kept
    else:
        sums.served += kept
        assert order.paid_cents == charge.amount_cents == order.total_cents
        # What is given back is known here before or after it is there, by what is promised and not a centavo more.
        assert 0 <= charge.refunded_cents - order.refunded_cents <= order.refund_reserved_cents


async def _refunds_are_the_providers(diner: Diner) -> None:
    rows = await diner.pool.fetch("SELECT provider_refund_id FROM refunds WHERE status = 'approved'")
    ours = [row["provider_refund_id"] for row in rows]
    theirs = {refund.id for refund in diner.sandbox.refunds() if refund.status == "approved"}
    assert len(set(ours)) == len(ours)
    assert set(ours) <= theirs
    for charge in diner.sandbox.payments():
        approved = [refund.amount_cents for refund in diner.sandbox.refunds(charge.id) if refund.status == "approved"]
        assert sum(approved) == charge.refunded_cents <= charge.amount_cents
