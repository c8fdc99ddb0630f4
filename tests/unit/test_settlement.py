"""What becomes of an order and its payment, case by case: the rules of `checkout/settlement.py` as a table."""

from datetime import datetime, timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from comanda.checkout.settlement import Verdict, decide, undecided
from comanda.orders.model import UNSERVED_END, Order, OrderStatus
from comanda.payments.model import (
    DISPUTED,
    MONEY_CAME,
    OPEN,
    NewPayment,
    Payment,
    PaymentStatus,
    Review,
    mismatch,
    status_of,
)
from comanda.payments.provider import ProviderPayment
from tests.unit.samples import EXPIRES, PLACED, PROVIDER_EXPIRES, TOTAL, a_payment, a_view, an_order

SOON = PLACED + timedelta(minutes=2)
LATE = PROVIDER_EXPIRES + timedelta(minutes=1)
ZERO = timedelta(0)

# order, our payment, the provider's word (`+300` is given back of it), and then what becomes of order, payment,
# and review, and whether money is owed back or the charge cancelled there. `-` is 'as it was' or 'none'.
# `kitchen` stands for paid, preparing and ready; `ended` for cancelled and expired without money.
TABLE = """
awaiting  pending   pending              | -         pending            -              -      : the QR stays
awaiting  pending   in_process           | -         in_process         -              -      : the bank looks into it, the QR stays
awaiting  pending   authorized           | -         in_process         -              -      : the same under another word
awaiting  pending   approved             | paid      approved           -              -      : it is cooked
awaiting  pending   approved+300         | paid      partially_refunded -              -      : it is cooked, part was given back at once
awaiting  pending   approved+1000        | cancelled refunded           -              -      : all was given back before we knew of it
awaiting  pending   refunded             | cancelled refunded           -              -      : the same
awaiting  pending   rejected/by_bank     | cancelled rejected           -              -      : nothing was paid, order again
awaiting  pending   cancelled/by_payer   | cancelled cancelled          -              -      : nothing was paid
awaiting  pending   cancelled/expired    | expired   expired            -              -      : nothing was paid in time
awaiting  pending   in_mediation         | cancelled in_mediation       disputed       -      : contested money is not cooked for
awaiting  pending   charged_back/settled | cancelled charged_back       disputed       -      : the bank took it back
awaiting  pending   quantum              | -         pending            unknown_status -      : waits, a person looks
awaiting  requested pending              | -         pending            -              -      : the QR is there
awaiting  requested approved             | paid      approved           -              -      : it is cooked
kitchen   approved  pending              | -         approved           went_back      -      : cooked all the same
kitchen   approved  in_process           | -         approved           went_back      -      : cooked all the same
kitchen   approved  authorized           | -         approved           went_back      -      : cooked all the same
kitchen   approved  approved             | -         approved           -              -      : told again, nothing happens
kitchen   approved  approved+300         | -         partially_refunded -              -      : the rest is cooked
kitchen   approved  approved+1000        | cancelled refunded           -              -      : off the kitchen
kitchen   approved  refunded             | cancelled refunded           -              -      : off the kitchen
kitchen   approved  rejected/by_bank     | -         approved           went_back      -      : cooked all the same
kitchen   approved  cancelled/by_payer   | -         approved           went_back      -      : cooked all the same
kitchen   approved  cancelled/expired    | -         approved           went_back      -      : cooked all the same
kitchen   approved  in_mediation         | -         in_mediation       disputed       -      : cooked, a person looks
kitchen   approved  charged_back/settled | -         charged_back       disputed       -      : cooked, a person looks
kitchen   approved  quantum              | -         approved           unknown_status -      : cooked, a person looks
picked_up approved  pending              | -         approved           went_back      -      : eaten
picked_up approved  in_process           | -         approved           went_back      -      : eaten
picked_up approved  authorized           | -         approved           went_back      -      : eaten
picked_up approved  approved             | -         approved           -              -      : eaten; 'approved' hours later moves nothing back
picked_up approved  approved+300         | -         partially_refunded -              -      : eaten, part came back
picked_up approved  approved+1000        | -         refunded           -              -      : eaten, all came back
picked_up approved  refunded             | -         refunded           -              -      : eaten, all came back
picked_up approved  rejected/by_bank     | -         approved           went_back      -      : eaten
picked_up approved  cancelled/by_payer   | -         approved           went_back      -      : eaten
picked_up approved  cancelled/expired    | -         approved           went_back      -      : eaten
picked_up approved  in_mediation         | -         in_mediation       disputed       -      : eaten
picked_up approved  charged_back/settled | -         charged_back       disputed       -      : eaten
picked_up approved  quantum              | -         approved           unknown_status -      : eaten
ended     pending   pending              | -         pending            -              cancel : must not be paid any more
ended     pending   in_process           | -         in_process         -              cancel : must not be paid any more
ended     pending   authorized           | -         in_process         -              cancel : must not be paid any more
ended     pending   approved             | -         approved           -              owed   : late, all goes back
ended     pending   approved+300         | -         partially_refunded -              owed   : late, the rest goes back
ended     pending   approved+1000        | -         refunded           -              -      : late, all went back already
ended     pending   refunded             | -         refunded           -              -      : late, all went back already
ended     pending   rejected/by_bank     | -         rejected           -              -      : nothing was paid
ended     pending   in_mediation         | -         in_mediation       disputed       -      : contested: not given back twice
ended     pending   charged_back/settled | -         charged_back       disputed       -      : the bank took it back
ended     pending   quantum              | -         pending            unknown_status -      : a person looks
ended     expired   pending              | -         expired            -              cancel : a charge turned up that we had given up
ended     expired   approved             | -         approved           -              owed   : it was even paid: all goes back
ended     rejected  cancelled/expired    | -         rejected           -              -      : nothing was paid
ended     refunded  refunded             | -         refunded           -              -      : told again, nothing happens
ended     refunded  approved             | -         refunded           -              -      : a lagging answer gives nothing back twice
cancelled pending   cancelled/by_payer   | -         cancelled          -              -      : as the guest wished
cancelled pending   cancelled/expired    | -         expired            -              -      : it ran out before we cancelled it
expired   pending   cancelled/by_payer   | -         expired            -              -      : we cancelled it because it ran out
expired   pending   cancelled/expired    | -         expired            -              -      : it ran out
"""  # noqa: E501 (a table)
GROUPS = {
    "awaiting": [OrderStatus.AWAITING_PAYMENT],
    "kitchen": [OrderStatus.PAID, OrderStatus.PREPARING, OrderStatus.READY],
    "ended": [OrderStatus.CANCELLED, OrderStatus.EXPIRED],
}


def rows() -> list[Any]:
    """Read the table: one case per order status."""
    cases = []
    for line in TABLE.strip().splitlines():
        facts, _, rest = line.partition("|")
        verdict, _, meaning = rest.partition(": ")
        who, ours, told = facts.split()
        for status in GROUPS.get(who) or [OrderStatus(who)]:
            name = f"{status} {ours}: {told}: {meaning}"
            cases.append(pytest.param(status, PaymentStatus(ours), told, verdict.split(), id=name))
    return cases


def word(told: str) -> ProviderPayment:
    """Build the provider's word from the table's notation."""
    status, _, refunded = told.partition("+")
    return a_view(status, refunded_cents=int(refunded or 0))


@pytest.mark.parametrize(("status", "ours", "told", "expected"), rows())
def test_every_word_of_the_provider_about_every_order(
    status: OrderStatus, ours: PaymentStatus, told: str, expected: list[str]
) -> None:
    now = LATE if status is OrderStatus.EXPIRED else SOON
    verdict = decide(an_order(status), a_payment(ours), word(told), now)
    assert [
        verdict.order_status or "-",
        verdict.payment_status,
        verdict.review or "-",
        "owed" if verdict.refund_owed else "cancel" if verdict.cancel_at_provider else "-",
    ] == expected


def test_the_table_has_every_order_status_and_every_word() -> None:
    words = {"pending", "in_process", "authorized", "approved", "approved+300", "approved+1000", "refunded"}
    words |= {"rejected/by_bank", "cancelled/by_payer", "cancelled/expired"}
    words |= {"in_mediation", "charged_back/settled", "quantum"}
    there = {(case.values[0], case.values[2]) for case in rows()}
    assert there == {(status, told) for status in OrderStatus for told in words}


@pytest.mark.parametrize(
    ("view", "review"),
    [
        (a_view("approved", amount_cents=TOTAL - 1), Review.AMOUNT_MISMATCH),
        (a_view("approved", amount_cents=TOTAL + 1), Review.AMOUNT_MISMATCH),
        (a_view("approved", currency="ARS"), Review.AMOUNT_MISMATCH),
    ],
)
def test_our_guests_money_that_is_not_what_we_asked_for_is_given_back_and_not_cooked_for(
    view: ProviderPayment, review: Review
) -> None:
    verdict = decide(an_order(), a_payment(), view, SOON)
    assert verdict == Verdict(
        payment_status=PaymentStatus.APPROVED,
        paid_cents=view.amount_cents,
        refunded_cents=0,
        review=review,
        order_status=OrderStatus.CANCELLED,
        refund_owed=review,
    )


@pytest.mark.parametrize(
    ("view", "review"),
    [
        (a_view("approved", external_reference=None), Review.REFERENCE_MISMATCH),
        (a_view("approved", external_reference="33333333-3333-4333-8333-333333333333"), Review.REFERENCE_MISMATCH),
        (a_view("approved", id=4), Review.SECOND_CHARGE),
        (a_view("approved", live_mode=True), Review.LIVE_MODE_MISMATCH),
        (a_view("refunded", live_mode=True), Review.LIVE_MODE_MISMATCH),
        (a_view("rejected", id=4), Review.REFERENCE_MISMATCH),
    ],
)
@pytest.mark.parametrize("status", list(OrderStatus))
def test_money_that_is_not_our_guests_moves_nothing_and_is_looked_at(
    status: OrderStatus, view: ProviderPayment, review: Review
) -> None:
    payment = a_payment()
    verdict = decide(an_order(status), payment, view, SOON)
    assert verdict.review == review
    assert (verdict.order_status, verdict.refund_owed, verdict.cancel_at_provider) == (None, None, False)
    assert (verdict.payment_status, verdict.paid_cents, verdict.refunded_cents) == (payment.status, None, 0)


@pytest.mark.parametrize("view", [a_view("approved", id=4), a_view("approved", external_reference="x")])
def test_words_about_another_payment_are_not_written_into_our_books(view: ProviderPayment) -> None:
    assert not decide(an_order(), a_payment(), view, SOON).believed


def test_a_charge_of_the_wrong_amount_is_cancelled_before_anybody_pays_it() -> None:
    verdict = decide(an_order(), a_payment(PaymentStatus.REQUESTED), a_view(amount_cents=1), SOON)
    assert verdict.cancel_at_provider
    assert verdict.order_status is OrderStatus.CANCELLED
    assert verdict.review == Review.AMOUNT_MISMATCH


def test_an_amount_that_differs_once_the_order_is_cooked_is_looked_at_and_moves_nothing() -> None:
    order, payment = an_order(OrderStatus.PREPARING), a_payment(PaymentStatus.APPROVED)
    verdict = decide(order, payment, a_view("approved", amount_cents=1), SOON)
    assert (verdict.order_status, verdict.review) == (None, Review.AMOUNT_MISMATCH)
    assert (verdict.paid_cents, verdict.refund_owed) == (TOTAL, None)


def test_a_centavo_that_is_left_of_it_goes_back_too() -> None:
    payment = a_payment(PaymentStatus.APPROVED, refund_reserved_cents=TOTAL - 1)
    verdict = decide(an_order(OrderStatus.CANCELLED), payment, a_view("approved"), SOON)
    assert verdict.refund_owed == "paid_after_the_end"


def test_what_was_strange_and_is_so_no_more_needs_nobody() -> None:
    payment = a_payment(review=Review.UNKNOWN_STATUS)
    assert decide(an_order(), payment, a_view("pending"), SOON).review is None


def test_before_it_has_the_providers_id_a_payment_matches_by_its_reference() -> None:
    payment = a_payment(PaymentStatus.REQUESTED)
    known = {name: getattr(payment, name) for name in Payment.__struct_fields__ if name in NewPayment.__struct_fields__}
    asked = NewPayment(**known, next_check_at=PLACED)
    assert mismatch(asked, a_view()) is None
    assert mismatch(asked, a_view(external_reference="somebody else's")) is Review.REFERENCE_MISMATCH


# What is written ----------------------------------------------------------------------------------------------


def a_verdict(payment: Payment, **fields: Any) -> Verdict:
    """A verdict that leaves the payment as it is, but for these."""
    kept = {"paid_cents": payment.paid_cents, "refunded_cents": payment.refunded_cents, "review": payment.review}
    return Verdict(**{"payment_status": payment.status, **kept, **fields})


def test_a_verdict_that_says_what_is_known_changes_nothing() -> None:
    payment = a_payment()
    assert not a_verdict(payment).changes(payment, a_view())
    assert not a_verdict(payment).changes(payment, a_view(copy_paste=None))
    without = a_payment(PaymentStatus.REQUESTED)
    assert not a_verdict(without).changes(without, None)
    half = a_payment(copy_paste=None)
    assert not a_verdict(half).changes(half, a_view(copy_paste=None))
    assert not a_verdict(half).changes(half, None)


@pytest.mark.parametrize(
    "fields",
    [
        {"payment_status": PaymentStatus.IN_PROCESS},
        {"paid_cents": TOTAL},
        {"refunded_cents": 1},
        {"review": Review.UNKNOWN_STATUS},
    ],
)
def test_each_thing_that_a_verdict_says_anew_is_a_change_by_itself(fields: dict[str, Any]) -> None:
    payment = a_payment()
    assert a_verdict(payment, **fields).changes(payment, a_view())
    assert a_verdict(payment, **fields).changes(payment, None)


def test_the_providers_id_and_the_pix_to_copy_are_changes_by_themselves() -> None:
    nameless = a_payment(PaymentStatus.REQUESTED, copy_paste="000201")
    assert a_verdict(nameless).changes(nameless, a_view(copy_paste=None))
    without = a_payment(copy_paste=None)
    assert a_verdict(without).changes(without, a_view())


# Older answers ------------------------------------------------------------------------------------------------


def test_an_older_answer_changes_nothing() -> None:
    payment = a_payment(PaymentStatus.APPROVED, provider_updated_at=SOON, review=Review.REFUND_REFUSED)
    verdict = decide(
        an_order(OrderStatus.PAID), payment, a_view("pending", updated_at=SOON - timedelta(seconds=1)), SOON
    )
    assert not verdict.changes(payment, None)
    assert (verdict.order_status, verdict.refund_owed, verdict.believed) == (None, None, False)


def test_an_answer_as_old_as_the_last_one_counts() -> None:
    payment = a_payment(PaymentStatus.APPROVED, provider_updated_at=SOON)
    verdict = decide(an_order(OrderStatus.PAID), payment, a_view("refunded", updated_at=SOON), SOON)
    assert verdict.order_status is OrderStatus.CANCELLED


def test_money_that_came_is_never_told_of_too_late() -> None:
    payment = a_payment(provider_updated_at=SOON)
    view = a_view("approved", updated_at=SOON - timedelta(seconds=1))
    assert decide(an_order(), payment, view, SOON).order_status is OrderStatus.PAID


def test_an_answer_without_a_time_counts() -> None:
    payment = a_payment(provider_updated_at=SOON)
    assert decide(an_order(), payment, a_view("approved"), SOON).order_status is OrderStatus.PAID


def test_nothing_but_older_answers_does_not_keep_an_order_open_for_ever() -> None:
    payment = a_payment(provider_updated_at=SOON)
    view = a_view("pending", updated_at=SOON - timedelta(seconds=1))
    assert decide(an_order(), payment, view, PROVIDER_EXPIRES).order_status is OrderStatus.EXPIRED


# Expiry -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("now", "order_status", "cancel"),
    [
        (EXPIRES - timedelta(microseconds=1), None, False),
        (EXPIRES, None, True),
        (PROVIDER_EXPIRES - timedelta(microseconds=1), None, True),
        (PROVIDER_EXPIRES, OrderStatus.EXPIRED, True),
    ],
)
def test_an_open_charge_is_cancelled_at_our_expiry_and_given_up_at_the_providers(
    now: datetime, order_status: OrderStatus | None, cancel: bool
) -> None:
    verdict = decide(an_order(), a_payment(), a_view("pending"), now)
    assert (verdict.order_status, verdict.cancel_at_provider) == (order_status, cancel)
    assert verdict.payment_status is PaymentStatus.PENDING


@pytest.mark.parametrize("now", [EXPIRES, PROVIDER_EXPIRES, LATE])
def test_money_that_comes_before_the_order_was_given_up_is_cooked_for_however_late(now: datetime) -> None:
    assert decide(an_order(), a_payment(), a_view("approved"), now).order_status is OrderStatus.PAID


def test_cancelled_at_the_provider_after_our_expiry_is_expired() -> None:
    verdict = decide(an_order(), a_payment(), a_view("cancelled/by_collector"), EXPIRES)
    assert (verdict.order_status, verdict.payment_status) == (OrderStatus.EXPIRED, PaymentStatus.EXPIRED)


@pytest.mark.parametrize(
    ("ours", "after"),
    [
        (PaymentStatus.REQUESTED, PaymentStatus.EXPIRED),
        (PaymentStatus.PENDING, PaymentStatus.PENDING),
        (PaymentStatus.IN_PROCESS, PaymentStatus.IN_PROCESS),
    ],
)
def test_silence_lets_an_order_expire_when_nobody_could_pay_any_more(ours: PaymentStatus, after: PaymentStatus) -> None:
    before = undecided(an_order(), a_payment(ours), PROVIDER_EXPIRES - timedelta(microseconds=1), review=None)
    assert (before.order_status, before.payment_status) == (None, ours)
    verdict = undecided(an_order(), a_payment(ours), PROVIDER_EXPIRES, review=None)
    assert (verdict.order_status, verdict.payment_status) == (OrderStatus.EXPIRED, after)


@pytest.mark.parametrize("status", [status for status in OrderStatus if status is not OrderStatus.AWAITING_PAYMENT])
def test_silence_moves_no_other_order(status: OrderStatus) -> None:
    payment = a_payment(PaymentStatus.APPROVED)
    verdict = undecided(an_order(status), payment, LATE, review=payment.review)
    assert verdict.order_status is None
    assert not verdict.changes(payment, None)


# Refunds ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("told", "before", "reserved", "refunded"),
    [
        (a_view("refunded", refunded_cents=1000), 0, 1000, 0),  # all of it is ours, its own answer is on the way
        (a_view("approved", refunded_cents=300), 0, 300, 0),  # ours too
        (a_view("approved", refunded_cents=500), 0, 300, 200),  # 200 were given back in the provider's panel
        (a_view("approved", refunded_cents=500), 200, 300, 200),
        (a_view("refunded", refunded_cents=1000), 0, 300, 700),  # all was given back there: ours will be refused
        (a_view("approved", refunded_cents=100), 300, 0, 300),  # lagging: what came back stays back
        (a_view("approved", refunded_cents=0), 300, 300, 300),
        (a_view("refunded"), 0, 0, 1000),  # the word counts where the amount is missing
    ],
)
def test_a_refund_of_ours_that_shows_before_its_answer_is_counted_once(
    told: ProviderPayment, before: int, reserved: int, refunded: int
) -> None:
    status = PaymentStatus.PARTIALLY_REFUNDED if before else PaymentStatus.APPROVED
    payment = a_payment(status, refunded_cents=before, refund_reserved_cents=reserved)
    assert decide(an_order(OrderStatus.PICKED_UP), payment, told, SOON).refunded_cents == refunded


def test_a_whole_refund_of_ours_under_way_leaves_nothing_to_promise() -> None:
    payment = a_payment(PaymentStatus.APPROVED, refund_reserved_cents=TOTAL)
    verdict = decide(an_order(OrderStatus.CANCELLED), payment, a_view("refunded"), SOON)
    assert (verdict.refund_owed, verdict.payment_status) == (None, PaymentStatus.APPROVED)


def test_a_refused_refund_is_left_to_a_person() -> None:
    payment = a_payment(PaymentStatus.APPROVED, review=Review.REFUND_REFUSED)
    verdict = decide(an_order(OrderStatus.CANCELLED), payment, a_view("approved"), SOON)
    assert (verdict.refund_owed, verdict.review) == (None, Review.REFUND_REFUSED)


@pytest.mark.parametrize("told", ["quantum", "pending"])
def test_a_refused_refund_is_not_forgotten_over_a_strange_answer(told: str) -> None:
    payment = a_payment(PaymentStatus.APPROVED, review=Review.REFUND_REFUSED)
    verdict = decide(an_order(OrderStatus.CANCELLED), payment, a_view(told), SOON)
    assert (verdict.refund_owed, verdict.review) == (None, Review.REFUND_REFUSED)


def test_a_refused_refund_is_forgotten_when_all_went_back_by_another_way() -> None:
    payment = a_payment(PaymentStatus.APPROVED, review=Review.REFUND_REFUSED)
    verdict = decide(an_order(OrderStatus.CANCELLED), payment, a_view("refunded"), SOON)
    assert (verdict.review, verdict.payment_status) == (None, PaymentStatus.REFUNDED)


@pytest.mark.parametrize(("told", "ours"), [("in_mediation", "in_mediation"), ("charged_back", "charged_back")])
def test_a_dispute_that_a_person_has_looked_at_is_not_said_again(told: str, ours: str) -> None:
    order, payment = an_order(OrderStatus.PICKED_UP), a_payment(PaymentStatus(ours), review=None)
    assert decide(order, payment, a_view(told), SOON).review is None
    strange = a_payment(PaymentStatus(ours), review=Review.UNKNOWN_STATUS)
    assert decide(order, strange, a_view(told), SOON).review == Review.DISPUTED
    other = a_payment(PaymentStatus.APPROVED, review=None)
    assert decide(order, other, a_view(told), SOON).review == Review.DISPUTED


@pytest.mark.parametrize(
    "told", ["pending", "approved", "refunded", "cancelled", "rejected", "in_mediation", "quantum"]
)
@pytest.mark.parametrize("ours", [PaymentStatus.PENDING, PaymentStatus.APPROVED])
def test_no_word_about_the_first_charge_hides_that_there_was_a_second(ours: PaymentStatus, told: str) -> None:
    order = an_order(OrderStatus.PAID if ours in MONEY_CAME else OrderStatus.AWAITING_PAYMENT)
    payment = a_payment(ours, review=Review.SECOND_CHARGE)
    assert decide(order, payment, a_view(told), SOON).review == Review.SECOND_CHARGE


@pytest.mark.parametrize(
    ("told", "review"),
    [
        ("approved", Review.RECOVERED),
        ("approved+300", Review.RECOVERED),
        ("pending", Review.RECOVERED),
        ("in_mediation", Review.RECOVERED),
        ("refunded", None),
    ],
)
def test_an_order_kept_after_a_restore_is_looked_at_until_its_money_is_gone(told: str, review: Review | None) -> None:
    payment = a_payment(PaymentStatus.APPROVED, review=Review.RECOVERED)
    verdict = decide(an_order(OrderStatus.PICKED_UP), payment, a_view(told), SOON)
    assert (verdict.review, verdict.refund_owed) == (review, None)


@pytest.mark.parametrize(
    ("told", "review", "back"),
    [
        ("approved", Review.SECOND_CHARGE, True),
        ("approved+300", Review.SECOND_CHARGE, True),
        ("in_mediation", Review.SECOND_CHARGE, False),
        ("refunded", Review.REFERENCE_MISMATCH, False),
        ("pending", Review.REFERENCE_MISMATCH, False),
    ],
)
def test_a_second_charge_that_holds_money_gives_it_back(told: str, review: Review, back: bool) -> None:
    view = msgspec.structs.replace(word(told), id=4)
    verdict = decide(an_order(), a_payment(), view, SOON)
    assert (verdict.review, verdict.second_charge, verdict.believed) == (review, back, False)
    assert (verdict.reason == "second_charge 4") is (review is Review.SECOND_CHARGE)
    refused = a_payment(PaymentStatus.APPROVED, review=Review.REFUND_REFUSED)
    assert decide(an_order(OrderStatus.CANCELLED), refused, view, SOON).review == Review.REFUND_REFUSED


@pytest.mark.parametrize("fields", [{"live_mode": True}, {"external_reference": "other"}])
def test_money_of_somebody_elses_payment_is_not_touched(fields: dict[str, Any]) -> None:
    verdict = decide(an_order(), a_payment(), a_view("approved", id=4, **fields), SOON)
    assert (verdict.review, verdict.second_charge) == (Review.REFERENCE_MISMATCH, False)


def test_a_dispute_that_ends_in_our_favour_leaves_the_money_to_its_order() -> None:
    payment = a_payment(PaymentStatus.IN_MEDIATION, review=Review.DISPUTED)
    served = decide(an_order(OrderStatus.PICKED_UP), payment, a_view("approved"), SOON)
    assert (served.payment_status, served.review, served.refund_owed) == (PaymentStatus.APPROVED, None, None)
    unserved = decide(an_order(OrderStatus.CANCELLED), payment, a_view("approved"), SOON)
    assert (unserved.payment_status, unserved.refund_owed) == (PaymentStatus.APPROVED, "paid_after_the_end")


# What holds whatever is said ----------------------------------------------------------------------------------


@st.composite
def situations(draw: st.DrawFn) -> tuple[Order, Payment, ProviderPayment, datetime]:
    """Draw an order, a payment that its table's CHECKs allow, any word of the provider, and a moment."""
    ours = draw(st.sampled_from(PaymentStatus))
    total = draw(st.integers(1, 10_000))
    paid = draw(st.just(total) | st.integers(1, 10_000)) if ours in MONEY_CAME else None
    refunded = 0 if paid is None else paid if ours is PaymentStatus.REFUNDED else draw(st.integers(0, paid))
    reserved = draw(st.integers(0, (paid or 0) - refunded))
    payment = a_payment(
        ours,
        amount_cents=total,
        paid_cents=paid,
        refunded_cents=refunded,
        refund_reserved_cents=reserved,
        review=draw(st.none() | st.sampled_from(Review)),
        provider_updated_at=draw(st.none() | st.just(SOON)),
    )
    told = draw(
        st.sampled_from(["pending", "in_process", "approved", "refunded", "rejected", "cancelled", "cancelled/expired"])
        | st.sampled_from(["in_mediation", "charged_back", "authorized", "quantum"])
    )
    amount = draw(st.just(total) | st.just(total) | st.integers(1, 10_000))
    view = a_view(
        told,
        id=draw(st.sampled_from([123456789012, 123456789012, 4])),
        amount_cents=amount,
        # Not even the sum of what the provider gives back is taken on trust.
        refunded_cents=draw(st.just(0) | st.just(amount) | st.integers(0, 20_000)),
        external_reference=draw(st.sampled_from([str(payment.order_id), str(payment.order_id), "other", None])),
        live_mode=draw(st.sampled_from([False, False, True])),
        currency=draw(st.sampled_from(["BRL", "BRL", "ARS"])),
        updated_at=draw(st.none() | st.sampled_from([SOON - timedelta(1), SOON, SOON + timedelta(1)])),
    )
    now = draw(st.sampled_from([SOON, EXPIRES, PROVIDER_EXPIRES, LATE]))
    return an_order(draw(st.sampled_from(OrderStatus)), total_cents=total), payment, view, now


def an_order_is_cooked_only_for_matching_money_that_came(
    order: Order, payment: Payment, view: ProviderPayment, now: datetime, verdict: Verdict
) -> None:
    if verdict.order_status is OrderStatus.PAID:
        assert order.status is OrderStatus.AWAITING_PAYMENT
        assert mismatch(payment, view) is None
        assert status_of(view) in {PaymentStatus.APPROVED, PaymentStatus.PARTIALLY_REFUNDED}
        assert verdict.paid_cents is not None
        assert verdict.payment_status in {PaymentStatus.APPROVED, PaymentStatus.PARTIALLY_REFUNDED}


def what_went_back_never_exceeds_what_came_less_what_is_promised(
    order: Order, payment: Payment, view: ProviderPayment, now: datetime, verdict: Verdict
) -> None:
    paid = verdict.paid_cents or 0
    assert payment.refunded_cents <= verdict.refunded_cents <= paid - payment.refund_reserved_cents
    assert payment.paid_cents in {None, verdict.paid_cents}
    if verdict.payment_status is PaymentStatus.REFUNDED:
        assert verdict.refunded_cents == verdict.paid_cents


def a_finished_order_never_moves_and_a_started_one_only_ends(
    order: Order, payment: Payment, view: ProviderPayment, now: datetime, verdict: Verdict
) -> None:
    to = verdict.order_status
    if order.status in UNSERVED_END | {OrderStatus.PICKED_UP}:
        assert to is None
    elif order.status is not OrderStatus.AWAITING_PAYMENT:
        assert to in {None, OrderStatus.CANCELLED}
    assert to is not order.status


def an_order_that_ended_unserved_owes_what_is_left_of_its_money(
    order: Order, payment: Payment, view: ProviderPayment, now: datetime, verdict: Verdict
) -> None:
    left = (verdict.paid_cents or 0) - verdict.refunded_cents - payment.refund_reserved_cents
    unserved = (verdict.order_status or order.status) in UNSERVED_END
    told_of_money = verdict.believed and mismatch(payment, view) in {None, Review.AMOUNT_MISMATCH}
    told_of_money = told_of_money and status_of(view) in MONEY_CAME
    if verdict.refund_owed is not None:
        assert unserved
        assert left > 0
    elif unserved and left > 0 and told_of_money:
        assert verdict.payment_status in DISPUTED or verdict.review == Review.REFUND_REFUSED


def only_an_open_charge_is_cancelled_at_the_provider(
    order: Order, payment: Payment, view: ProviderPayment, now: datetime, verdict: Verdict
) -> None:
    if verdict.cancel_at_provider:
        assert status_of(view) in OPEN
        assert verdict.refund_owed is None
        assert verdict.order_status is not OrderStatus.PAID
        # A guest's QR is not taken away while it is good.
        assert order.status is not OrderStatus.AWAITING_PAYMENT or mismatch(payment, view) or now >= EXPIRES


def money_once_seen_is_never_unseen(
    order: Order, payment: Payment, view: ProviderPayment, now: datetime, verdict: Verdict
) -> None:
    if payment.status in MONEY_CAME:
        assert verdict.payment_status in MONEY_CAME


def the_same_word_twice_is_the_same_as_once(
    order: Order, payment: Payment, view: ProviderPayment, now: datetime, first: Verdict
) -> None:
    again = a_payment(
        first.payment_status,
        amount_cents=payment.amount_cents,
        paid_cents=first.paid_cents,
        refunded_cents=first.refunded_cents,
        refund_reserved_cents=(first.paid_cents or 0) - first.refunded_cents
        if first.refund_owed
        else payment.refund_reserved_cents,
        review=first.review,
        provider_payment_id=payment.provider_payment_id or (view.id if first.believed else None),
        copy_paste="000201",
        provider_updated_at=view.updated_at if first.believed and view.updated_at else payment.provider_updated_at,
    )
    moved = an_order(first.order_status or order.status, total_cents=order.total_cents)
    second = decide(moved, again, view, now)
    assert (second.order_status, second.refund_owed) == (None, None)
    assert (second.payment_status, second.paid_cents, second.refunded_cents, second.review) == (
        first.payment_status,
        first.paid_cents,
        first.refunded_cents,
        first.review,
    )


INVARIANTS = [
    an_order_is_cooked_only_for_matching_money_that_came,
    what_went_back_never_exceeds_what_came_less_what_is_promised,
    a_finished_order_never_moves_and_a_started_one_only_ends,
    an_order_that_ended_unserved_owes_what_is_left_of_its_money,
    only_an_open_charge_is_cancelled_at_the_provider,
    money_once_seen_is_never_unseen,
    the_same_word_twice_is_the_same_as_once,
]


@settings(derandomize=True, max_examples=1000, deadline=None)
@given(situations())
def test_what_holds_whatever_the_provider_says(case: tuple[Order, Payment, ProviderPayment, datetime]) -> None:
    verdict = decide(*case)
    for holds in INVARIANTS:
        holds(*case, verdict)
