"""The kitchen's steps, what guests type, and money as people read it."""

import unicodedata
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from comanda.errors import Conflict
from comanda.money import format_reais
from comanda.orders.model import BACK, FORWARD, UNDO_WINDOW, Move, OrderStatus, clean_text, step
from tests.unit.samples import PLACED, an_order

always = settings(derandomize=True, max_examples=300, deadline=None)


@pytest.mark.parametrize("status", list(OrderStatus))
@pytest.mark.parametrize("wanted", list(OrderStatus))
def test_every_step_of_the_kitchen(status: OrderStatus, wanted: OrderStatus) -> None:
    order = an_order(status, undo_until=PLACED + UNDO_WINDOW)
    if wanted == status:
        assert step(order, wanted, PLACED) is None
    elif FORWARD.get(status) == wanted:
        assert step(order, wanted, PLACED) == Move(wanted, PLACED + timedelta(seconds=30))
    elif BACK.get(status) == wanted:
        assert step(order, wanted, PLACED) == Move(wanted, None)
    else:
        with pytest.raises(Conflict) as refused:
            step(order, wanted, PLACED)
        assert refused.value.code == "illegal_move"
        hint = f"the next step is {FORWARD[status]}" if status in FORWARD else "there is no next step"
        assert refused.value.detail == f"the order is {status}; {hint}"


@pytest.mark.parametrize("status", list(BACK))
def test_a_step_back_is_possible_for_30_seconds(status: OrderStatus) -> None:
    order = an_order(status, undo_until=PLACED + UNDO_WINDOW)
    assert step(order, BACK[status], PLACED + timedelta(seconds=30)) == Move(BACK[status], None)
    for late in (order, an_order(status)):
        with pytest.raises(Conflict) as refused:
            step(late, BACK[status], PLACED + timedelta(seconds=30, milliseconds=1))
        assert refused.value.code == "too_late_to_step_back"
        assert refused.value.detail == "a step can be taken back once, within 30 seconds"


@pytest.mark.parametrize(
    ("typed", "kept"),
    [
        (None, None),
        ("", None),
        (" \t\r\n ", None),
        ("\u200b\u202e\x00\x1f", None),
        ("  sem   cebola\n\n por favor ", "sem cebola por favor"),
        ("Joa\u0303o", "João"),
        ("Joa\u200d\u0303o", "João"),
        ("\u212b", "\u00c5"),
        ("a\u202eb\u2066c\x07d\u00ade", "abcde"),
        ("um\u00a0dois\u2003tres", "um dois tres"),
        ("família 👩🏽", "família 👩🏽"),
    ],
)
def test_what_a_guest_typed_is_tidied(typed: str | None, kept: str | None) -> None:
    assert clean_text(typed) == kept


@always
@given(st.text(max_size=60))
def test_tidied_text_is_tidy_and_never_longer(typed: str) -> None:
    kept = clean_text(typed)
    if kept is None:
        return
    assert 0 < len(kept) <= len(typed)
    assert clean_text(kept) == kept
    assert not {unicodedata.category(char) for char in kept} & {"Cc", "Cf"}
    assert kept == " ".join(kept.split())


def test_letters_that_grow_when_composed_still_fit() -> None:
    # U+0958 is two characters in NFC, U+FB2C three.
    for letter in "\u0958\ufb2c":
        assert clean_text(letter * 40) == letter * 40


@pytest.mark.parametrize(
    ("cents", "text"),
    [
        (0, "R$ 0,00"),
        (5, "R$ 0,05"),
        (2590, "R$ 25,90"),
        (100000, "R$ 1.000,00"),
        (123456789, "R$ 1.234.567,89"),
        (-2590, "-R$ 25,90"),
    ],
)
def test_money_is_written_as_a_brazilian_reads_it(cents: int, text: str) -> None:
    assert format_reais(cents) == text
