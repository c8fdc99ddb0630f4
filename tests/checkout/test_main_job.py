"""The main job: an order is placed, paid by Pix, cooked and picked up."""

from tests.running_diner import Diner


async def test_an_order_goes_from_menu_to_pick_up(diner: Diner) -> None:
    order = await diner.place(2, 1)
    assert order["status"] == "awaiting_payment"
    assert order["payment"]["status"] == "pending"
    assert order["payment"]["pix"]["copy_paste"].startswith("000201")

    await diner.pay(order)
    await diner.work()
    paid = await diner.order(order["id"])
    assert (paid["status"], paid["pickup_number"], paid["payment"]["status"]) == ("paid", 1, "approved")

    await diner.advance(order, "preparing", "ready")
    board = await diner.call("GET", "/v1/board")
    assert board.body == {"preparing": [], "ready": [1]}
    done = await diner.advance(order, "picked_up")
    assert done.body["status"] == "picked_up"
    assert await diner.history(order) == ["awaiting_payment", "paid", "preparing", "ready", "picked_up"]
