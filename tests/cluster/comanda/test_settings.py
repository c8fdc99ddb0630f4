"""A value changed in Secrets Manager and nowhere else is in use within five minutes, and no guest notices."""

import secrets
import time

from tests.cluster.comanda import account
from tests.cluster.comanda.guests import ordering
from tests.cluster.comanda.house import House
from tests.cluster.suite.kube import until

IN_USE_WITHIN_SECONDS = 300


def test_a_changed_secret_is_in_use_under_orders(house: House) -> None:
    email = f"caixa-{secrets.token_hex(4)}@example.com"
    before = {house.mark(name) for name in ("comanda-api", "comanda-worker")}
    with ordering(house) as guests:
        account.change(house.facts, PAYER_EMAIL=email)
        began = time.monotonic()
        until("all payments carry the new address", lambda: _payer(house) == email, IN_USE_WITHIN_SECONDS)
        for name in ("comanda-api", "comanda-worker"):
            house.rolled_out(f"deployment/{name}")
        took = time.monotonic() - began
        marks = {house.mark(name) for name in ("comanda-api", "comanda-worker")}
        assert len(marks - before) == len(marks) == 1, "both follow, and the same"
        # The load balancer sends to leaving pods for a while, which serve on: only then is the old value gone.
        house.at_rest()
        assert [_payer(house) for _ in range(5)] == [email] * 5
    print(f"in use after {took:.0f} s; {sum(guests.answers.values())} requests meanwhile, {len(guests.served)} orders")
    assert took < IN_USE_WITHIN_SECONDS
    guests.were_all_served()


def _payer(house: House) -> str:
    """Answer the address that a payment made just now carries at the provider."""
    order = house.order()
    found = until("a charge", lambda: house.charges(order["id"]))
    charge = house.call("GET", f"/v1/payments/{found[0]['id']}", at="sandbox").body
    assert house.call("POST", f"/v1/orders/{order['id']}/cancel").status == 200
    return str(charge["payer"]["email"])
