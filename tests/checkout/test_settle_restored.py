"""After a restore: whatever the guests paid since the backup is served, given back or ended, and nobody pays twice."""

import asyncio
from datetime import datetime, timedelta
from typing import Any
from uuid import uuid4

import msgspec
import pytest

from comanda.checkout.order_document import OrderDocument
from comanda.checkout.restored_report import Lost, NotOurs, Outcome, StillOpen
from comanda.checkout.settle_restored import foresee_restored
from comanda.menu.store import RECOVERED_NAME
from comanda.payments.model import Review
from comanda.payments.provider import ProviderPage
from comanda.staff.keys import Role
from tests.accounting import assert_every_real_is_accounted_for
from tests.checkout.meddling import pass_time, place_with, waits_in, with_provider
from tests.checkout.restoring import Backup, charge_beside, dies, settle, together, work_through
from tests.database.rows import connected
from tests.running_diner import Diner

ALL = {"all": True}


async def cancel(diner: Diner, order: dict[str, Any]) -> None:
    """Cancel an order as its guest."""
    assert (await diner.call("POST", f"/v1/orders/{order['id']}/cancel")).status == 200


async def placed(diner: Diner, count: int) -> list[dict[str, Any]]:
    """Place so many orders."""
    return [await diner.place() for _ in range(count)]


async def stands(diner: Diner, order: dict[str, Any]) -> tuple[str, str, int]:
    """Answer where an order and its payment stand, and what was given back."""
    found = await diner.order(order["id"])
    return found["status"], found["payment"]["status"], found["refunded_cents"]


async def test_what_the_database_knows_becomes_what_it_became_meanwhile(diner: Diner, owner_url: str) -> None:
    paid, left, refused, late = await placed(diner, 4)
    given_back, in_part, contested, eaten = [await diner.place_paid(2) for _ in range(4)]
    backup = await Backup.take(diner, owner_url)
    await diner.pay(paid)
    await cancel(diner, left)
    diner.sandbox.act(diner.charge(refused), "reject")
    await diner.refund(given_back, ALL)
    await diner.refund(in_part, {"items": [{"item_id": 1, "quantity": 1}]})
    diner.sandbox.act(diner.charge(contested), "charge-back")
    await diner.advance(eaten, "preparing", "ready", "picked_up")
    await work_through(diner)
    await diner.pay(late)
    await backup.restore(diner)
    diner.sandbox.arm("webhook_never", times=None)

    report = await settle(diner, backup.at)
    assert (report.payments, report.settled, report.open, report.not_ours) == (8, 8, [], [])
    half = in_part["total_cents"] // 2
    assert await stands(diner, paid) == await stands(diner, late) == ("paid", "approved", 0)
    assert (await stands(diner, left))[:2] == ("cancelled", "cancelled")
    assert (await stands(diner, refused))[:2] == ("cancelled", "rejected")
    assert await stands(diner, given_back) == ("cancelled", "refunded", given_back["total_cents"])
    assert await stands(diner, in_part) == ("paid", "partially_refunded", half)
    assert await stands(diner, contested) == ("paid", "charged_back", 0)
    assert await stands(diner, eaten) == ("paid", "approved", 0)
    assert await diner.value("SELECT count(*) FROM payment_events WHERE actor = 'restore'") == 7
    await work_through(diner)
    assert (await assert_every_real_is_accounted_for(diner, restored=True)).open == 0


async def test_what_it_has_lost_is_put_back_and_given_back(diner: Diner, owner_url: str) -> None:
    backup = await Backup.take(diner, owner_url)
    paid, in_part, gone, picked_up = [await diner.place_paid(2) for _ in range(4)]
    waiting, cancelled, rejected, processed = await placed(diner, 4)
    diner.sandbox.act(diner.charge(in_part), "refund", amount_cents=300)
    await diner.refund(gone, ALL)
    await diner.advance(picked_up, "preparing", "ready", "picked_up")
    await cancel(diner, cancelled)
    diner.sandbox.act(diner.charge(rejected), "reject")
    diner.sandbox.act(diner.charge(processed), "process")
    await work_through(diner)
    charges = {order["id"]: diner.charge(order) for order in (paid, in_part, gone, picked_up, waiting)}
    await backup.restore(diner)
    assert await diner.value("SELECT count(*) FROM orders") == 0

    report = await settle(diner, backup.at)
    total = paid["total_cents"]
    assert (report.payments, report.recreated, report.cancelled, report.nothing_owed) == (8, 3, 2, 3)
    assert (report.settled, report.kept, report.open, report.refunds_owed_cents) == (0, 0, [], 3 * total - 300)
    # The guest who still looks sees it at once: ended, with the money on its way.
    for order in (paid, picked_up):
        found = await diner.order(order["id"])
        document = msgspec.convert(found, OrderDocument)
        assert (document.status, document.payment.status, document.total_cents) == ("cancelled", "approved", total)
        assert document.payment.provider_payment_id == charges[order["id"]]
        assert [(line.name, line.quantity, line.unit_price_cents) for line in document.items] == [
            (RECOVERED_NAME, 1, total)
        ]
        assert found["created_at"] == order["created_at"] or document.created_at is not None
    assert (await stands(diner, in_part))[:2] == ("cancelled", "partially_refunded")
    assert (await stands(diner, waiting))[:2] == (await stands(diner, processed))[:2] == ("cancelled", "cancelled")
    for order in (gone, cancelled, rejected):
        assert (await diner.call("GET", f"/v1/orders/{order['id']}")).status == 404
    rows = await diner.pool.fetch("SELECT DISTINCT actor, reason FROM order_events")
    assert [tuple(row) for row in rows] == [("restore", "lost with the database")]

    await work_through(diner)
    assert await stands(diner, paid) == ("cancelled", "refunded", total)
    assert await stands(diner, in_part) == ("cancelled", "refunded", total)
    sums = await assert_every_real_is_accounted_for(diner, restored=True)
    assert (sums.charged, sums.refunded, sums.open) == (4 * total, 4 * total, 0)
    assert {refund.amount_cents for refund in diner.sandbox.refunds(charges[in_part["id"]])} == {300, total - 300}


async def test_kept_it_stands_as_served_until_a_person_has_looked(diner: Diner, owner_url: str) -> None:
    backup = await Backup.take(diner, owner_url)
    paid, in_part = [await diner.place_paid(2) for _ in range(2)]
    diner.sandbox.act(diner.charge(in_part), "refund", amount_cents=300)
    waiting = await diner.place()
    await work_through(diner)
    await backup.restore(diner)

    report = await settle(diner, backup.at, lost=Lost.KEEP)
    assert (report.kept, report.cancelled, report.recreated, report.refunds_owed_cents) == (2, 1, 0, 0)
    assert await stands(diner, paid) == ("picked_up", "approved", 0)
    assert await stands(diner, in_part) == ("picked_up", "partially_refunded", 300)
    assert (await stands(diner, waiting))[0] == "cancelled"
    assert (await diner.order(paid["id"]))["paid_at"] is not None
    await pass_time(diner, minutes=120, step=600)
    reviews = await diner.pool.fetch("SELECT review FROM payments WHERE review IS NOT NULL")
    assert [row["review"] for row in reviews] == [Review.RECOVERED] * 2
    assert (await diner.call("GET", "/v1/kitchen", role=Role.STAFF)).body == {"orders": []}
    sums = await assert_every_real_is_accounted_for(diner, restored=True)
    assert (sums.served, sums.open) == (2 * paid["total_cents"] - 300, 0)
    # Whoever comes back for the money gets it, and then there is nothing to look at.
    assert (await diner.refund(paid, ALL)).status == 201
    await work_through(diner)
    assert await stands(diner, paid) == ("picked_up", "refunded", paid["total_cents"])
    assert await diner.value("SELECT count(*) FROM payments WHERE review IS NOT NULL") == 1


async def test_the_recovered_product_is_on_no_menu(diner: Diner, owner_url: str) -> None:
    menu = (await diner.call("GET", "/v1/menu")).body
    backup = await Backup.take(diner, owner_url)
    await diner.place_paid()
    await backup.restore(diner)
    await settle(diner, backup.at)
    diner.menu.forget()
    assert (await diner.call("GET", "/v1/menu")).body == menu
    listed = await diner.call("GET", "/v1/products", role=Role.MANAGER)
    assert RECOVERED_NAME not in str(listed.body)
    assert (
        await diner.value("SELECT count(*) FROM products WHERE name = $1 AND archived_at IS NULL", RECOVERED_NAME) == 0
    )


async def test_a_charge_that_was_made_after_the_backup_of_its_order_is_found(diner: Diner, owner_url: str) -> None:
    diner.sandbox.arm("server_error", times=1, match={"operation": "create_payment"})
    order = await diner.place()
    assert order["payment"]["status"] == "requested"
    backup = await Backup.take(diner, owner_url)
    await diner.later(seconds=10)
    await diner.work()
    await diner.pay(order)
    await backup.restore(diner)
    report = await settle(diner, backup.at)
    assert (report.settled, report.recreated) == (1, 0)
    assert (await stands(diner, order))[:2] == ("paid", "approved")
    await work_through(diner)
    await assert_every_real_is_accounted_for(diner)


async def test_paid_in_the_moment_it_is_cancelled_it_is_given_back(diner: Diner, owner_url: str) -> None:
    backup = await Backup.take(diner, owner_url)
    order = await diner.place()
    charge = diner.charge(order)
    await backup.restore(diner)
    diner.sandbox.arm("webhook_never", times=None)
    cancelling = diner.sandbox.arm("slow", seconds=0.1, match={"operation": "cancel_payment"})
    running = asyncio.create_task(settle(diner, backup.at))
    await diner.sandbox.struck(cancelling)
    diner.sandbox.act(charge, "pay")
    report = await running
    assert (report.recreated, report.cancelled, report.refunds_owed_cents) == (1, 0, order["total_cents"])
    await work_through(diner)
    assert await stands(diner, order) == ("cancelled", "refunded", order["total_cents"])
    await assert_every_real_is_accounted_for(diner)


async def test_of_two_paid_charges_of_one_lost_order_both_go_back_once(diner: Diner, owner_url: str) -> None:
    backup = await Backup.take(diner, owner_url)
    order = await diner.place_paid()
    first = diner.charge(order)
    second = await charge_beside(diner, order["id"], order["total_cents"])
    await diner.later(seconds=1)
    diner.sandbox.act(second, "pay")
    await backup.restore(diner)
    report = await settle(diner, backup.at)
    assert (report.recreated, report.second_charges, report.open) == (1, 1, [])
    await work_through(diner)
    assert [diner.sandbox.payment(charge).status for charge in (first, second)] == ["refunded", "refunded"]
    assert len(diner.sandbox.refunds()) == 2
    assert await diner.value("SELECT review FROM payments") == Review.SECOND_CHARGE
    again = await settle(diner, backup.at)
    assert (again.settled, again.second_charges, len(diner.sandbox.refunds())) == (1, 1, 2)


async def test_what_is_none_of_ours_is_listed_and_left_alone(diner: Diner, owner_url: str) -> None:
    backup = await Backup.take(diner, owner_url)
    elsewhere = "https://other.example.com/v1/webhooks/mercado-pago"
    nobodys = await charge_beside(diner, None)
    tills = await charge_beside(diner, "till-7")
    loud = await charge_beside(diner, str(uuid4()).upper())
    foreign, test, strangers = [str(uuid4()) for _ in range(3)]
    abroad = await charge_beside(diner, foreign)
    tests_own = await charge_beside(diner, test)
    others = await charge_beside(diner, strangers, notification_url=elsewhere)
    for charge in (nobodys, tills, loud, abroad, tests_own, others):
        diner.sandbox.act(charge, "pay")
    await backup.restore(diner)
    diner.sandbox.arm("wrong_currency", times=None, match={"external_reference": foreign})
    diner.sandbox.arm("live_mode_flipped", times=None, match={"external_reference": test})
    before = [payment.updated_at for payment in diner.sandbox.payments()]
    report = await settle(diner, backup.at)
    assert sorted(report.not_ours, key=lambda each: each.payment) == [
        NotOurs(nobodys, "reference"),
        NotOurs(tills, "reference"),
        NotOurs(loud, "reference"),
        NotOurs(abroad, "currency"),
        NotOurs(tests_own, "live_mode"),
        NotOurs(others, "notification_url"),
    ]
    assert (report.payments, report.open) == (6, [])
    assert await diner.value("SELECT count(*) FROM orders") == 0
    assert [payment.updated_at for payment in diner.sandbox.payments()] == before
    assert diner.sandbox.refunds() == []


async def test_whose_a_payment_is_counts_by_itself_and_not_by_the_search(diner: Diner, owner_url: str) -> None:
    """A search may leave out what tells it from ours: another diner's money is not given back for that."""
    backup = await Backup.take(diner, owner_url)
    others = await charge_beside(diner, str(uuid4()), notification_url="https://other.example.com/hook")
    diner.sandbox.act(others, "pay")
    await backup.restore(diner)

    async def search(since: datetime, **named: Any) -> ProviderPage:
        page = await diner.checkout.provider.search_changed(since, **named)
        brief = [msgspec.structs.replace(each, notification_url=None) for each in page.payments]
        return ProviderPage(brief, page.total)

    report = await settle(diner, backup.at, checkout=with_provider(diner.checkout, search_changed=search))
    assert (report.not_ours, report.recreated) == ([NotOurs(others, "notification_url")], 0)
    assert await diner.value("SELECT count(*) FROM orders") == 0
    assert diner.sandbox.refunds() == []


async def test_a_part_given_back_after_the_backup_is_not_given_back_again_days_later(
    diner: Diner, owner_url: str
) -> None:
    diner.sandbox.behave(key_memory_seconds=86_400)
    order = await diner.place_paid(3)
    price = order["items"][0]["unit_price_cents"]
    assert (await diner.refund(order, {"items": [{"item_id": 1, "quantity": 1}]})).status == 201
    backup = await Backup.take(diner, owner_url)
    await work_through(diner)
    assert (await stands(diner, order))[2] == price
    await diner.later(hours=30)
    await backup.restore(diner)
    # Its refund is promised there and not made, and its key is forgotten.
    report = await settle(diner, backup.at)
    assert report.open == []
    await work_through(diner)
    assert [refund.amount_cents for refund in diner.sandbox.refunds()] == [price]
    assert await stands(diner, order) == ("paid", "partially_refunded", price)
    await assert_every_real_is_accounted_for(diner)


# The search ------------------------------------------------------------------------------------------------------


async def test_what_the_search_shows_late_is_waited_for(diner: Diner, owner_url: str) -> None:
    backup = await Backup.take(diner, owner_url)
    order = await diner.place_paid()
    await backup.restore(diner)
    diner.sandbox.arm("search_lag", times=None, seconds=55)
    began = diner.checkout.clock()
    report = await settle(diner, backup.at)
    assert (report.recreated, report.open) == (1, [])
    assert timedelta(seconds=60) <= diner.checkout.clock() - began <= timedelta(seconds=75)
    await work_through(diner)
    assert (await stands(diner, order))[:2] == ("cancelled", "refunded")


async def test_before_its_lag_can_be_over_nothing_is_called_settled(diner: Diner, owner_url: str) -> None:
    backup = await Backup.take(diner, owner_url)
    await diner.place_paid()
    await backup.restore(diner)
    diner.sandbox.arm("search_lag", times=None)
    report = await settle(diner, backup.at, patience=30)
    assert report.open == [StillOpen(None, "the provider's search may not show all yet")]
    diner.sandbox.clear_faults()
    # Told since when the restored database has been there, it need not wait.
    until = diner.checkout.clock()
    await diner.later(minutes=2)
    began = diner.checkout.clock()
    report = await settle(diner, backup.at, until=until)
    assert (report.recreated, report.open) == (1, [])
    assert diner.checkout.clock() - began < timedelta(seconds=10)


async def test_many_pages_are_read_while_they_grow(
    diner: Diner, owner_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("comanda.payments.mercado_pago.CHANGED_PAGE", 3)
    old = await placed(diner, 4)
    await diner.later(minutes=40)
    backup = await Backup.take(diner, owner_url)
    # All are made at least a moment apart, and the old ones come in between the pages, from before the first.
    lost = await placed(diner, 10)
    await backup.restore(diner)
    real, seen = diner.checkout.provider.search_changed, []

    async def meanwhile(*arguments: Any, **named: Any) -> Any:
        page = await real(*arguments, **named)
        seen.append(len(page.payments))
        if old and len(seen) < 4:
            diner.sandbox.act(diner.charge(old.pop()), "pay", late=True)
        return page

    monkeypatch.setattr(diner.checkout.provider, "search_changed", meanwhile)
    report = await settle(diner, backup.at)
    assert (report.cancelled, report.open) == (10, [])
    assert report.settled == 4
    assert max(seen) == 3
    assert {payment.status for order in lost for payment in diner.sandbox.payments(order["id"])} == {"cancelled"}


async def test_orders_of_guests_who_come_meanwhile_are_left_to_the_worker(diner: Diner, owner_url: str) -> None:
    backup = await Backup.take(diner, owner_url)
    await diner.place_paid()
    await backup.restore(diner)
    until = diner.checkout.clock()
    await diner.later(seconds=1)
    new = await diner.place()
    report = await settle(diner, backup.at, until=until)
    assert (report.payments, report.recreated, report.settled) == (1, 1, 0)
    assert (await stands(diner, new))[0] == "awaiting_payment"


# Numbers ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("earlier", [0, 2])
async def test_no_number_that_a_guest_holds_is_given_again(diner: Diner, owner_url: str, earlier: int) -> None:
    for _ in range(earlier):
        await diner.place_paid()
    waiting = await diner.place()
    backup = await Backup.take(diner, owner_url)
    held = {(await diner.place_paid())["pickup_number"] for _ in range(3)}
    await diner.pay(waiting)
    await diner.work()
    held.add((await diner.order(waiting["id"]))["pickup_number"])
    assert held == {earlier + number for number in range(1, 5)}
    await backup.restore(diner)
    await settle(diner, backup.at)
    given = {(await diner.order(waiting["id"]))["pickup_number"], (await diner.place_paid())["pickup_number"]}
    assert not given & held
    assert max(given) < earlier + 50
    # Done again, no more are left out.
    await settle(diner, backup.at)
    assert (await diner.place_paid())["pickup_number"] == max(given) + 1


# Again, at once, and after a death -------------------------------------------------------------------------------


async def some_of_each(diner: Diner, owner_url: str) -> Backup:
    """Orders that the backup knows, and lost ones, of several fates; the database is taken back."""
    known = await placed(diner, 2)
    served = await diner.place_paid()
    backup = await Backup.take(diner, owner_url)
    await diner.pay(known[0])
    await cancel(diner, known[1])
    await diner.refund(served, ALL)
    await diner.place_paid(2)
    in_part = await diner.place_paid(2)
    diner.sandbox.act(diner.charge(in_part), "refund", amount_cents=200)
    await diner.place()
    await work_through(diner, minutes=1)
    await backup.restore(diner)
    return backup


async def test_run_again_it_finds_nothing_to_do(diner: Diner, owner_url: str) -> None:
    backup = await some_of_each(diner, owner_url)
    until = diner.checkout.clock()
    first = await settle(diner, backup.at, until=until)
    await work_through(diner)
    before = await diner.pool.fetch("SELECT id, version FROM payments ORDER BY id")
    again = await settle(diner, backup.at, until=until)
    assert (first.payments, first.settled, again.settled) == (6, 3, 6)
    assert (again.recreated, again.cancelled) == (0, 0)
    assert again.refunds_owed_cents == first.refunds_owed_cents > 0, (
        "what the first run promised is said by this one too"
    )
    assert await diner.pool.fetch("SELECT id, version FROM payments ORDER BY id") == before
    assert (await assert_every_real_is_accounted_for(diner, restored=True)).open == 0


async def test_from_two_places_at_once_with_workers_and_guests_at_work(diner: Diner, owner_url: str) -> None:
    backup = await some_of_each(diner, owner_url)
    until = diner.checkout.clock() - timedelta(minutes=2)

    async def guests() -> None:
        for _ in range(3):
            await diner.pay(await diner.place())
            await diner.work()

    runs = [settle(diner, backup.at, until=until) for _ in range(2)]
    one, two, _ = await together(*runs, guests())
    assert one.open == two.open == []
    assert one.recreated + two.recreated <= 3
    await settle(diner, backup.at)
    await work_through(diner)
    sums = await assert_every_real_is_accounted_for(diner, restored=True)
    assert sums.open == 0
    assert await diner.value("SELECT count(*) FROM orders WHERE status = 'paid'") == 4


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
async def test_killed_at_any_moment_the_next_run_goes_on(diner: Diner, owner_url: str, after: bool) -> None:
    known = await diner.place()
    backup = await Backup.take(diner, owner_url)
    await diner.pay(known)
    lost, waiting = await diner.place_paid(), diner.charge(await diner.place())
    second = await charge_beside(diner, lost["id"])
    diner.sandbox.act(second, "pay")
    await backup.restore(diner)
    await diner.later(minutes=2)
    until = diner.checkout.clock() - timedelta(minutes=2)
    deaths = 0
    while await dies(diner, backup, deaths + 1, after=after, until=until):
        deaths += 1
        if deaths % 3:
            # Another death in the very same lost database; else the next run goes on where this one died.
            await backup.restore(diner)
    assert deaths > 20
    await work_through(diner)
    assert (await stands(diner, known))[:2] == ("paid", "approved")
    assert await stands(diner, lost) == ("cancelled", "refunded", lost["total_cents"])
    assert diner.sandbox.payment(waiting).status == "cancelled"
    refunds = [(refund.payment_id, refund.amount_cents) for refund in diner.sandbox.refunds()]
    assert sorted(refunds) == [(diner.sandbox.payments(lost["id"])[0].id, lost["total_cents"]), (second, 1500)]


async def test_a_guest_may_place_an_order_while_the_old_pods_charge_is_on_its_way(diner: Diner, owner_url: str) -> None:
    backup = await Backup.take(diner, owner_url)
    entered, go_on = asyncio.Event(), asyncio.Event()
    placing = asyncio.create_task(place_with(diner, waits_in(diner.checkout, "create_pix", entered, go_on)))
    await entered.wait()
    await backup.restore(diner)
    go_on.set()
    await asyncio.gather(placing, return_exceptions=True)
    report = await settle(diner, backup.at)
    assert (report.cancelled, report.open) == (1, [])


# The provider away -----------------------------------------------------------------------------------------------


async def test_a_provider_that_is_away_for_a_while_is_waited_for(diner: Diner, owner_url: str) -> None:
    backup = await some_of_each(diner, owner_url)
    diner.sandbox.arm("server_error", times=1, match={"operation": "search_payments"})
    diner.sandbox.arm("rate_limited", times=4, retry_after=40, match={"operation": "get_payment"})
    diner.sandbox.arm("server_error", times=2, match={"operation": "cancel_payment"})
    began = diner.checkout.clock()
    report = await settle(diner, backup.at)
    assert (report.payments, report.open) == (6, [])
    assert diner.checkout.clock() - began >= timedelta(seconds=40)
    assert (report.settled, report.recreated, report.cancelled) == (3, 2, 1)
    await work_through(diner)
    assert (await assert_every_real_is_accounted_for(diner, restored=True)).open == 0


async def test_past_its_patience_it_says_what_is_open_and_the_next_run_goes_on(diner: Diner, owner_url: str) -> None:
    backup = await Backup.take(diner, owner_url)
    order = await diner.place()
    charge = diner.charge(order)
    await backup.restore(diner)
    diner.sandbox.arm("server_error", times=None, match={"operation": "cancel_payment"})
    report = await settle(diner, backup.at, patience=120)
    assert [each.payment for each in report.open] == [charge]
    assert "500" in report.open[0].error
    assert (report.payments, report.cancelled) == (1, 0)
    assert diner.sandbox.payment(charge).status == "pending"
    diner.sandbox.clear_faults()
    report = await settle(diner, backup.at)
    assert report.open == []
    assert diner.sandbox.payment(charge).status == "cancelled"


async def test_what_the_provider_does_not_show_yet_is_not_settled(diner: Diner, owner_url: str) -> None:
    backup = await Backup.take(diner, owner_url)
    await diner.place_paid()
    await backup.restore(diner)
    diner.sandbox.arm("not_found_after_create", times=2)
    report = await settle(diner, backup.at)
    assert (report.recreated, report.open) == (1, [])


# Only looking ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("lost", list(Lost))
async def test_a_dry_run_says_what_would_be_done_and_changes_nothing(diner: Diner, owner_url: str, lost: Lost) -> None:
    backup = await some_of_each(diner, owner_url)
    await charge_beside(diner, "till-7")

    async def everything() -> list[Any]:
        rows = [await diner.pool.fetch(f"SELECT * FROM {table} ORDER BY 1") for table in ("orders", "payments")]
        async with connected(owner_url) as owner:
            number = await owner.fetchval("SELECT last_value FROM pickup_numbers")
        return [rows, diner.sandbox.payments(), diner.sandbox.refunds(), number]

    before = await everything()
    foreseen = await foresee_restored(diner.checkout, backup.at, until=diner.checkout.clock(), lost=lost)
    assert await everything() == before
    done = await settle(diner, backup.at, lost=lost)
    assert foreseen.would is not None
    outcomes = sorted(step.outcome for step in foreseen.would)
    ended = [Outcome.KEPT if lost is Lost.KEEP else Outcome.RECREATED] * 2
    assert outcomes == sorted([Outcome.SETTLED] * 3 + ended + [Outcome.CANCELLED])
    changed = {"would": None, "until": done.until}
    assert msgspec.structs.replace(foreseen, **changed) == done
