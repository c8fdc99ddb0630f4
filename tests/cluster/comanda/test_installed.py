"""API and worker installed by the tool where nothing of them is: as on the first day, or after somebody's mistake."""

from tests.cluster.comanda.guests import ordering
from tests.cluster.comanda.house import House


def test_the_tool_brings_back_all_of_the_api_and_guests_are_served(house: House) -> None:
    house.kube("delete", "namespace", "comanda", "--timeout=180s")
    said = house.deploy("step", "api", "--yes")
    assert "create Namespace comanda" in said, said
    house.at_rest()
    # The database was not touched: its menu is there, and its keys open.
    with ordering(house, guests=2) as guests:
        guests.wait_for_served(4)
    guests.were_all_served()
    house.deploy("step", "api", "--yes")
    assert len(house.pods("comanda-worker")) == 2
