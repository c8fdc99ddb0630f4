"""After a restore: what is foreseen, and what stays open and is said to be so."""

from typing import Any

import pytest

from comanda.checkout import settle_restored
from comanda.checkout.restored_report import Lost
from comanda.checkout.settle_restored import foresee_restored
from comanda.payments.mercado_pago import MercadoPago
from comanda.payments.provider import ProviderDenied
from tests.checkout.restoring import Backup, charge_beside, settle
from tests.running_diner import Diner


async def nothing(*_: Any, **__: Any) -> None:
    """Do nothing."""


async def fails(*_: Any, **__: Any) -> None:
    """Be a fault of ours."""
    raise ValueError("a fault of ours")


async def denies(*_: Any, **__: Any) -> None:
    """Be a provider that does not take our token any more."""
    raise ProviderDenied(401, None, "invalid token")


async def test_a_second_charge_and_what_owes_nothing_are_foreseen(diner: Diner, owner_url: str) -> None:
    backup = await Backup.take(diner, owner_url)
    order = await diner.place_paid()
    second = await charge_beside(diner, order["id"], order["total_cents"])
    diner.sandbox.act(second, "pay")
    refused = await diner.place()
    diner.sandbox.act(diner.charge(refused), "reject")
    await backup.restore(diner)
    foreseen = await foresee_restored(diner.checkout, backup.at, until=diner.checkout.clock(), lost=Lost.REFUND)
    assert (foreseen.recreated, foreseen.second_charges, foreseen.nothing_owed) == (1, 1, 1)


async def test_a_token_that_is_refused_ends_it_at_once(
    diner: Diner, owner_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    backup = await Backup.take(diner, owner_url)
    await backup.restore(diner)
    monkeypatch.setattr(MercadoPago, "search_changed", denies)
    with pytest.raises(ProviderDenied):
        await settle(diner, backup.at, patience=60)


async def test_more_than_one_search_reaches_is_found_by_several(
    diner: Diner, owner_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = await diner.place()
    await diner.later(minutes=40)
    backup = await Backup.take(diner, owner_url)
    for _ in range(7):
        await diner.place()
        await diner.later(seconds=1)
    diner.sandbox.act(diner.charge(old), "pay", late=True)
    await backup.restore(diner)
    monkeypatch.setattr("comanda.payments.mercado_pago.CHANGED_PAGE", 2)
    monkeypatch.setattr(settle_restored, "MAXIMUM_OFFSET", 3)
    report = await settle(diner, backup.at)
    assert (report.payments, report.cancelled, report.settled, report.open) == (8, 7, 1, [])


async def test_more_of_one_moment_than_the_search_reaches_is_said_to_be_open(
    diner: Diner, owner_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    backup = await Backup.take(diner, owner_url)
    for _ in range(3):
        await diner.place()
    await backup.restore(diner)
    monkeypatch.setattr("comanda.payments.mercado_pago.CHANGED_PAGE", 1)
    monkeypatch.setattr(settle_restored, "MAXIMUM_OFFSET", 0)
    report = await settle(diner, backup.at, patience=60)
    assert "the search ends there" in report.open[0].error


async def test_a_fault_of_ours_leaves_one_open_and_the_others_settled(
    diner: Diner, owner_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = await diner.place()
    backup = await Backup.take(diner, owner_url)
    lost = await diner.place()
    await backup.restore(diner)
    monkeypatch.setattr(settle_restored, "settle_payment", fails)
    report = await settle(diner, backup.at, patience=60)
    assert diner.charge(known) in {each.payment for each in report.open}
    monkeypatch.undo()
    report = await settle(diner, backup.at)
    assert report.open == []
    assert diner.sandbox.payment(diner.charge(lost)).status == "cancelled"


async def test_an_order_that_has_ended_is_open_until_the_provider_has_ended_it_too(
    diner: Diner, owner_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    order = await diner.place()
    diner.sandbox.arm("server_error", times=None, match={"operation": "cancel_payment"})
    await diner.call("POST", f"/v1/orders/{order['id']}/cancel")
    backup = await Backup.take(diner, owner_url)
    await backup.restore(diner)
    diner.sandbox.clear_faults()
    monkeypatch.setattr(settle_restored, "cancel_if_due", nothing)
    report = await settle(diner, backup.at, patience=60)
    assert [each.payment for each in report.open] == [diner.charge(order)]
