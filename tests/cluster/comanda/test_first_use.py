"""What an operator does first, and how they look in: keys, the menu, settings of an account, the database, the logs."""

import json
import time

import pytest

from tests.cluster.comanda.house import House
from tests.cluster.comanda.releases import clone_in
from tests.manifests.reading import FOLDERS


def test_a_manager_s_key_is_made_and_opens_the_menu(house: House) -> None:
    name = f"manager-{time.time_ns()}"
    [key] = house.verb("create-manager-key", "--name", name).split()
    before, house.facts["manager_key"] = house.facts["manager_key"], key
    try:
        made = house.call("POST", "/v1/categories", {"name": name}, role="manager")
        assert made.status == 201, made
        assert house.call("DELETE", f"/v1/categories/{made.body['id']}", role="manager").status == 204
    finally:
        house.facts["manager_key"] = before
    assert name in house.verb("create-manager-key", "--name", name, codes=(1,)), "a name is taken once"


def test_a_menu_that_is_there_is_left_alone(house: House) -> None:
    before = house.call("GET", "/v1/menu").body
    assert "left alone" in house.verb("load-menu")
    assert house.call("GET", "/v1/menu").body == before


def test_an_order_is_followed_through_the_pods_logs(house: House) -> None:
    order = house.order()
    house.pay(order)
    house.until_status(order, "paid")
    lines = [json.loads(line) for line in house.verb("logs", order["id"], "--json").splitlines()]
    assert lines, "nobody wrote of it"
    assert {"comanda-api", "comanda-worker"} <= {app for line in lines for app in _apps(line)}, lines


def test_the_database_is_looked_into_and_not_written(house: House) -> None:
    order = house.order()
    [row] = house.verb("db-connect", "--json", "-c", f"SELECT status FROM orders WHERE id = '{order['id']}'").split(
        "\n"
    )[:1]
    assert json.loads(row) == {"status": "awaiting_payment"}
    said = house.verb("db-connect", "-c", f"DELETE FROM order_items WHERE order_id = '{order['id']}'", codes=(1,))
    assert "read-only" in said or "permission denied" in said, said
    assert house.document(order)["items"]


def test_manifests_that_are_configured_for_an_account_can_be_applied(
    house: House, tmp_path_factory: pytest.TempPathFactory
) -> None:
    clone = clone_in(tmp_path_factory.mktemp("operator") / "clone", house)
    settings = clone.folder / "other.toml"
    settings.write_text('[network]\ncidr = "10.64.0.0/16"\n')
    house.deploy("verb", "eks-cluster-mng.sh", "configure", "--settings", str(settings), "--yes", clone=clone.folder)
    files = [file for part in FOLDERS for file in sorted((clone.manifests.parent / part).glob("*.yaml"))]
    text = "".join(file.read_text() for file in files)
    assert "10.64." in text
    assert "10.20." not in text
    for file in files:
        house.kube("apply", "--dry-run=server", f"--filename={file}")


def _apps(line: object) -> set[str]:
    said = json.dumps(line)
    return {app for app in ("comanda-api", "comanda-worker") if app in said}
