"""Passwords, keys and tokens are given out anew while guests order; those before end, and nobody is locked out."""

import json
import time
from urllib.parse import urlsplit

import pytest

from comanda_deploy.names import API_SECRET
from tests.cluster import facts
from tests.cluster.comanda import account, figures
from tests.cluster.comanda.guests import ordering
from tests.cluster.comanda.house import House
from tests.cluster.layout import layout

LOGIN = (
    "read -r PGPASSWORD; export PGPASSWORD; "
    "psql --host=database.comanda-db.svc --username=$0 --dbname=comanda --no-psqlrc --command='SELECT 1' 2>&1"
)


@pytest.mark.takes(150)
def test_the_database_s_passwords_change_while_guests_order(house: House) -> None:
    before = _login(house)
    with ordering(house) as guests:
        began = time.monotonic()
        house.verb("rotate-secrets", "database")
        seconds = time.monotonic() - began
        guests.wait_for_served(10)
    figures.note("the database's passwords rotated", guests, rotated=seconds)
    after = _login(house)
    assert {before[0], after[0]} == {"comanda_api_a", "comanda_api_b"}, "the other one serves"
    assert "password authentication failed" in _tried(house, *before), "what was known before is worth nothing"
    assert "(1 row)" in _tried(house, *after)
    guests.were_all_served()
    guests.balance()


@pytest.mark.takes(200)
def test_mercado_pago_s_token_and_secret_change_while_guests_order(house: House) -> None:
    with ordering(house) as guests:
        began = time.monotonic()
        token = house.call("POST", "/_sandbox/tokens", {}, at="sandbox").body["token"]
        secret = house.call("POST", "/_sandbox/webhook-secrets", {}, at="sandbox").body["webhook_secret"]
        guests.wait_for_served(4)
        house.verb(
            *("rotate-secrets", "mercado-pago"), MERCADO_PAGO_ACCESS_TOKEN=token, MERCADO_PAGO_WEBHOOK_SECRET=secret
        )
        # Nobody has the one before any more, so Mercado Pago may end it.
        assert house.call("DELETE", "/_sandbox/tokens", at="sandbox").status in {200, 204}
        house.facts["sandbox_token"] = token
        facts.write(layout(), house.facts)
        house.verb("rotate-secrets", "mercado-pago", "--finish")
        seconds = time.monotonic() - began
        guests.wait_for_served(10)
    figures.note("Mercado Pago's token and secret rotated", guests, rotated=seconds)
    entry = _entry(house)
    assert entry["MERCADO_PAGO_ACCESS_TOKEN"] == token
    assert entry["MERCADO_PAGO_WEBHOOK_SECRET"] == secret
    assert not entry.get("MERCADO_PAGO_WEBHOOK_SECRET_PREVIOUS")
    guests.were_all_served()
    guests.balance()


def test_a_kitchen_s_key_changes_and_the_one_before_is_good_for_a_while(house: House) -> None:
    before = house.facts["staff_key"]
    key = house.verb("rotate-secrets", "staff").strip().splitlines()[-1]
    assert key != before
    assert house.call("GET", "/v1/kitchen", role="staff").status == 200, "the one before"
    house.facts["staff_key"] = key
    facts.write(layout(), house.facts)
    assert house.call("GET", "/v1/kitchen", role="staff").status == 200


def _entry(house: House) -> dict[str, str]:
    manager = account.client(house.facts, "secretsmanager")
    entry: dict[str, str] = json.loads(manager.get_secret_value(SecretId=API_SECRET)["SecretString"])
    return entry


def _login(house: House) -> tuple[str, str]:
    """Answer whom API and worker are for the database, by the entry that they have it from."""
    url = urlsplit(_entry(house)["DATABASE_URL"])
    return url.username or "", url.password or ""


def _tried(house: House, user: str, password: str) -> str:
    inside = ("--namespace=comanda-db", "exec", "--stdin", "database-0", "--")
    return house.kube(*inside, "sh", "-c", LOGIN, user, stdin=f"{password}\n", check=False)
