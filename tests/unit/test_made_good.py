"""A refused refund is made good by later ones of the same lines: nobody has to look at it any more."""

from datetime import timedelta
from uuid import uuid4

import pytest

from comanda.payments.model import Refund, RefundItem, RefundStatus, all_made_good
from tests.unit.samples import PLACED

APPROVED, REJECTED, REQUESTED = RefundStatus.APPROVED, RefundStatus.REJECTED, RefundStatus.REQUESTED


def a_refund(status: RefundStatus, minute: int, *items: tuple[int, int]) -> Refund:
    """Build a refund of so many of these lines, promised in this minute and decided in the next."""
    return Refund(
        id=uuid4(),
        payment_id=uuid4(),
        status=status,
        amount_cents=100,
        items=[RefundItem(item, quantity) for item, quantity in items],
        reason=None,
        actor="test",
        idempotency_key=str(uuid4()),
        whole=False,
        provider_refund_id=None,
        request_id=None,
        attempts=1,
        created_at=PLACED + timedelta(minutes=minute),
        decided_at=None if status is REQUESTED else PLACED + timedelta(minutes=minute + 1),
    )


REFUSED = a_refund(REJECTED, 0, (1, 2))


@pytest.mark.parametrize(
    ("later", "good"),
    [
        ([], False),
        ([a_refund(APPROVED, 1, (1, 2))], True),
        ([a_refund(APPROVED, 1, (1, 1)), a_refund(APPROVED, 2, (1, 1), (2, 1))], True),
        ([a_refund(APPROVED, 1, (1, 1))], False),
        ([a_refund(APPROVED, 1, (2, 2))], False),
        ([a_refund(REQUESTED, 1, (1, 2))], False),
        ([a_refund(APPROVED, -1, (1, 2))], False),
        ([a_refund(APPROVED, 1, (1, 2)), a_refund(REJECTED, 2, (2, 1))], False),
        ([a_refund(REJECTED, 1, (1, 2)), a_refund(APPROVED, 2, (1, 2))], True),
        ([a_refund(APPROVED, 1, (1, 2)), a_refund(REJECTED, 2)], False),
    ],
)
def test_every_refused_line_needs_its_own_later_refund(later: list[Refund], good: bool) -> None:
    assert all_made_good([REFUSED, *later]) is good


def test_without_a_refusal_all_is_good() -> None:
    assert all_made_good([a_refund(APPROVED, 0, (1, 1))])
