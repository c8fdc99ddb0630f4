"""Settings: what is missing or wrong is one clear line, without the value."""

import re
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from comanda.settings import Settings, SettingsError, read_settings

PAGE = Path(__file__).parents[2] / "docs" / "settings.md"

ENOUGH = {
    "DATABASE_URL": "postgresql://app:sesame@db.example.com:5432/comanda",
    "MERCADO_PAGO_ACCESS_TOKEN": "APP_USR-1234",
    "MERCADO_PAGO_WEBHOOK_SECRET": "raw key",
    "PAYER_EMAIL": "pix@diner.example.com",
}


def refusal(**changes: str) -> str:
    """Answer the one line that a wrong setting is refused with."""
    with pytest.raises(SettingsError) as caught:
        read_settings(ENOUGH | changes)
    line = str(caught.value)
    assert "\n" not in line
    assert len(line) < 200
    for value in changes.values():
        # Shorter ones may stand in the advice by chance.
        assert len(value) < 10 or value not in line
    return line


def test_little_is_enough() -> None:
    settings = read_settings(ENOUGH | {"PATH": "/bin", "UNKNOWN": "1"})
    assert settings.live_mode is True
    assert settings.notification_url is None
    assert settings.zone.key == "America/Sao_Paulo"
    assert (settings.proxies, settings.exempt) == ((), ())
    assert settings.lease == timedelta(seconds=30)
    assert "sesame" not in repr(settings)
    assert "sesame" not in f"{settings!s} {[settings]}"


def test_a_test_token_moves_no_money() -> None:
    assert read_settings(ENOUGH | {"MERCADO_PAGO_ACCESS_TOKEN": "TEST-1"}).live_mode is False


@pytest.mark.parametrize("name", ENOUGH)
@pytest.mark.parametrize("value", [None, "", "  \n"])
def test_what_is_missing_is_named(name: str, value: str | None) -> None:
    given = ENOUGH | {name: value} if value is not None else {k: v for k, v in ENOUGH.items() if k != name}
    with pytest.raises(SettingsError, match=f"^{name} is not set: "):
        read_settings({name: value for name, value in given.items() if value is not None})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("DATABASE_URL", "mysql://user:hunter2@host/db"),
        ("DATABASE_URL", "hunter2"),
        ("DATABASE_URL", "postgresql://user:hunter2@host:port/db"),
        ("DATABASE_POOL_SIZE", "1"),
        ("DATABASE_POOL_SIZE", "many"),
        ("DATABASE_STATEMENT_TIMEOUT_MS", "0"),
        ("DATABASE_STATEMENT_TIMEOUT_MS", "1.5"),
        ("MERCADO_PAGO_ACCESS_TOKEN", "hunter 2"),
        ("MERCADO_PAGO_ACCESS_TOKEN", "hunter\n2"),
        ("MERCADO_PAGO_ACCESS_TOKEN", "hünter2"),
        ("PAYER_EMAIL", "nobody"),
        ("PAYER_EMAIL", "a@b"),
        ("PAYER_EMAIL", "a b@example.com"),
        ("PAYMENT_TIMEOUT", "1799"),
        ("PAYMENT_TIMEOUT", "2592000"),
        ("PAYMENT_TIMEOUT", "30 min"),
        ("PUBLIC_URL", "diner.example.com"),
        ("PUBLIC_URL", "ftp://diner.example.com"),
        ("PUBLIC_URL", "https://"),
        ("PUBLIC_URL", "https://[::1"),
        ("TIME_ZONE", "America"),
        ("TIME_ZONE", "Sao Paulo"),
        ("TIME_ZONE", "../../../etc/passwd"),
        ("TRUSTED_PROXIES", "10.0.0.0/33"),
        ("TRUSTED_PROXIES", "10.0.0.0/8 192.168.0.0/16"),
        ("RATE_LIMIT_EXEMPT", "localhost"),
        ("PORT", "65536"),
        ("PORT", "http"),
        ("OPS_PORT", "-1"),
        ("LOG_LEVEL", "TRACE"),
        ("LOG_LEVEL", "info"),
        ("MAX_ITEMS", "0"),
        ("ORDER_BURST", "many"),
        ("ORDER_BURST", "0/minute"),
        ("ORDER_BURST", "1/minute; 2/hour"),
    ],
)
def test_what_is_wrong_is_named(name: str, value: str) -> None:
    assert refusal(**{name: value}).startswith(f"{name} is not valid: ")


def test_a_lease_shorter_than_the_provider_may_take() -> None:
    assert refusal(WORKER_LEASE="24", PROVIDER_TIMEOUT_MS="8000").startswith("WORKER_LEASE is too short")


@pytest.mark.parametrize(
    "url",
    [
        "https://api.mercadopago.com",
        "http://127.0.0.1:8001",
        "http://127.1.2.3",
        "http://[::1]:8001",
        "http://localhost:8001",
        "http://sandbox:8001",
        "http://sandbox.comanda.svc:8001",
        "http://sandbox.comanda.svc.cluster.local",
        "http://SANDBOX",
    ],
)
def test_where_the_token_may_go(url: str) -> None:
    assert read_settings(ENOUGH | {"MERCADO_PAGO_BASE_URL": url}).mercado_pago_base_url == url


@pytest.mark.parametrize(
    "url",
    [
        "http://api.mercadopago.com",
        "http://10.0.0.1",
        "http://203.0.113.1:8001",
        "http://[2001:db8::1]",
        "http://2130706433",
        "http://0x08080808",
        "http://1",
        "http://localhost.example.com",
        "http://127.0.0.1.example.com",
        "http://localhost@203.0.113.1",
        "http://evil.svc.example.com",
        "http://a.b.c.svc.cluster.local.example.com",
        "http://",
        "https://",
        "http://[::1",
        "http://sandbox:port",
        "ftp://localhost",
        "localhost:8001",
        "//localhost",
    ],
)
def test_where_the_token_may_not_go(url: str) -> None:
    assert refusal(MERCADO_PAGO_BASE_URL=url).startswith("MERCADO_PAGO_BASE_URL is not valid: ")


@pytest.mark.parametrize(
    ("public_url", "notification_url"),
    [
        ("https://diner.example.com", "https://diner.example.com/v1/webhooks/mercado-pago?source_news=webhooks"),
        ("https://diner.example.com/", "https://diner.example.com/v1/webhooks/mercado-pago?source_news=webhooks"),
        # Mercado Pago takes no other.
        ("http://diner.example.com", None),
        ("", None),
    ],
)
def test_where_webhooks_go(public_url: str, notification_url: str | None) -> None:
    assert read_settings(ENOUGH | {"PUBLIC_URL": public_url}).notification_url == notification_url


def test_every_setting_is_in_the_table_with_its_default() -> None:
    rows = re.findall(r"^\| `([A-Z_]+)` \| ([^|]+) \| ([^|]+) \|$", PAGE.read_text(), re.MULTILINE)
    documented = {name: default.strip() for name, default, _ in rows}
    assert len(documented) == len(rows)
    # For another command.
    assert documented.pop("MIGRATION_DATABASE_URL") == "empty"
    assert documented == {field.encode_name: shown(field) for field in msgspec.structs.fields(Settings)}


def shown(field: Any) -> str:
    if field.required:
        return "required"
    return f"`{field.default}`" if field.default != "" else "empty"


def test_a_resting_connection_outlives_the_load_balancers_patience() -> None:
    # An ALB keeps idle connections to its targets for 60 s; one that we close first is a 502 for a guest.
    assert read_settings(ENOUGH).header_timeout_ms > 60_000
