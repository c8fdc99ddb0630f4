"""What an order may be made of, and what it costs."""

from uuid import UUID

import pytest

from comanda.checkout.place_order import ItemRequest, OrderRequest, price
from comanda.errors import Invalid
from comanda.menu.model import Product
from comanda.orders.model import NewItem
from tests.unit.samples import a_settings

COFFEE = UUID("00000000-0000-4000-8000-00000000000c")
PIE = UUID("00000000-0000-4000-8000-00000000000d")
MENU = {
    product: Product(id=product, name=name, description="", price_cents=cents, image_url=None, available=True)
    for product, name, cents in [(COFFEE, "Café", 700), (PIE, "Torta", 1990)]
}
KNOBS = a_settings(MAX_ITEMS=3, MAX_QUANTITY=5, MAX_ORDER_CENTS=10_000)


def asked(*lines: tuple[UUID, int]) -> OrderRequest:
    """Build a request for so many of these products."""
    return OrderRequest(items=[ItemRequest(product_id=product, quantity=quantity) for product, quantity in lines])


def test_names_and_prices_are_copied_from_the_menu_line_by_line() -> None:
    request = OrderRequest(
        items=[
            ItemRequest(product_id=COFFEE, quantity=2, notes=" sem\taçúcar "),
            ItemRequest(product_id=PIE, quantity=1, notes="\u200b"),
            ItemRequest(product_id=COFFEE, quantity=1),
        ]
    )
    assert price(request, MENU, KNOBS) == [
        NewItem(COFFEE, "Café", 2, 700, "sem açúcar"),
        NewItem(PIE, "Torta", 1, 1990, None),
        NewItem(COFFEE, "Café", 1, 700, None),
    ]


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        (asked(*[(COFFEE, 1)] * 4), "too_many_items"),
        (asked((COFFEE, 1), (UUID(int=7), 1)), "product_unavailable"),
        (asked((COFFEE, 6)), "quantity_too_large"),
        (asked((PIE, 5), (COFFEE, 1)), "order_too_large"),
    ],
)
def test_what_cannot_be_ordered_is_refused(request_: OrderRequest, code: str) -> None:
    with pytest.raises(Invalid) as refused:
        price(request_, MENU, KNOBS)
    assert refused.value.code == code


def test_the_bounds_themselves_can_be_ordered() -> None:
    assert len(price(asked(*[(COFFEE, 1)] * 3), MENU, KNOBS)) == 3
    assert price(asked((COFFEE, 5)), MENU, KNOBS)[0].quantity == 5
    exact = a_settings(MAX_ORDER_CENTS=3980)
    assert price(asked((PIE, 2)), MENU, exact)[0].unit_price_cents == 1990


def test_every_missing_product_is_named_once() -> None:
    with pytest.raises(Invalid) as refused:
        price(asked((COFFEE, 1), (PIE, 1), (PIE, 1)), {}, KNOBS)
    assert refused.value.detail.count(str(PIE)) == 1
    assert str(COFFEE) in refused.value.detail
