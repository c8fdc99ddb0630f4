"""An order from the menu to the hand, through the load balancer, on real pods."""

import time

from tests.cluster.comanda.guests import ordering
from tests.cluster.comanda.house import House
from tests.cluster.suite.kube import until

PAID_WITHIN_SECONDS = 2
"""How soon a payment that the provider has told of is seen."""


def test_a_guest_orders_pays_and_is_called(house: House) -> None:
    order = house.order(quantity=2, notes="sem cebola")
    assert order["status"] == "awaiting_payment"
    assert order["pickup_number"] is None

    placed = house.pay(order)
    began = time.monotonic()
    number = house.until_status(order, "paid", PAID_WITHIN_SECONDS)["pickup_number"]
    print(f"paid {time.monotonic() - began:.2f} s after the guest paid")
    assert placed["payment"]["pix"]["copy_paste"].startswith("0002"), "no BR Code (Banco Central, EMV MPM)"
    kitchen = house.call("GET", "/v1/kitchen", role="staff").body["orders"]
    [to_cook] = [each for each in kitchen if each["id"] == order["id"]]
    assert [(each["quantity"], each["notes"]) for each in to_cook["items"]] == [(2, "sem cebola")]

    for status in ("preparing", "ready"):
        assert house.call("PATCH", f"/v1/orders/{order['id']}", {"status": status}, role="staff").status == 200
    until("called", lambda: number in house.call("GET", "/v1/board").body["ready"], 10)
    assert house.call("PATCH", f"/v1/orders/{order['id']}", {"status": "picked_up"}, role="staff").status == 200

    [charge] = house.charges(order["id"])
    assert charge["status"] == "approved"
    assert charge["transaction_amount"] * 100 == order["total_cents"]


def test_many_guests_at_once_are_all_served(house: House) -> None:
    with ordering(house, guests=8) as guests:
        guests.wait_for_served(16)
    guests.were_all_served()


def test_an_order_that_the_kitchen_cannot_make_is_paid_back(house: House) -> None:
    order = house.order()
    house.pay(order)
    house.until_status(order, "paid")
    body = {"all": True, "reason": "acabou"}
    asked = house.call("POST", f"/v1/orders/{order['id']}/refunds", body, role="staff")
    assert asked.status < 300, asked
    until("paid back", lambda: house.document(order)["refunded_cents"] == order["total_cents"], 30)
    [charge] = house.charges(order["id"])
    assert charge["transaction_amount_refunded"] * 100 == order["total_cents"]


def test_metrics_and_the_pods_own_probes_are_not_reached_from_outside(house: House) -> None:
    assert house.call("GET", "/metrics").status == 404
    assert house.call("GET", "/livez").status == 404
    until("metrics inside", lambda: "http_requests_total" in _metrics(house), 30)
    assert house.call("GET", "/readyz").status == 200


def test_without_a_key_nobody_sees_the_kitchen(house: House) -> None:
    refused = house.call("GET", "/v1/kitchen")
    assert (refused.status, refused.body["code"]) == (401, "unauthenticated")


def _metrics(house: House) -> str:
    """Answer them, or nothing while the way to a pod that a rollout has removed is made anew."""
    try:
        return str(house.call("GET", "/metrics", at="ops").body)
    except OSError:
        return ""
