"""What the logs say of a request, and what they never say; the request id from the caller to the provider."""

import json
import logging
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from comanda.http import logs
from comanda.http.logs import JsonFormatter
from comanda.payments.mercado_pago import MercadoPago
from comanda.staff.keys import Role
from tests.running_diner import Diner


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """All that this process logs, as the lines that it would write, with everything turned on."""
    written: list[str] = []
    write_access = logs.write_access

    def kept(line: logs.AccessLine) -> None:
        written.append(msgspec.json.encode(line).decode())
        write_access(line)

    monkeypatch.setattr(logs, "write_access", kept)

    class Keep(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            written.append(self.format(record))

    handler = Keep()
    handler.setFormatter(JsonFormatter())
    root = logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    yield written
    root.removeHandler(handler)
    root.setLevel(level)


def of_request(lines: list[str], request_id: str) -> list[dict[str, Any]]:
    return [line for line in map(json.loads, lines) if line.get("request_id") == request_id]


async def test_a_safe_request_id_is_taken(diner: Diner, lines: list[str]) -> None:
    for given in ("guest-1.2_3", "A" * 64, "12345678"):
        answer = await diner.call("GET", "/v1/menu", headers={"X-Request-Id": given})
        assert answer.headers["x-request-id"] == given
        [line] = of_request(lines, given)
        assert {name: line[name] for name in ("message", "method", "route", "status", "level")} == {
            "message": "request",
            "method": "GET",
            "route": "/v1/menu",
            "status": 200,
            "level": "INFO",
        }
        assert line["at"].endswith("Z")
        assert line["milliseconds"] >= 0


async def test_another_one_is_made(diner: Diner) -> None:
    for given in ("", "short", "A" * 65, "with space 1", 'quote"quote', "é" * 10, "semi;colon;"):
        made = [
            (await diner.call("GET", "/nothing", headers={"X-Request-Id": given})).headers["x-request-id"] for _ in "ab"
        ]
        assert given not in made
        assert len(set(made)) == 2
        assert all(len(each) == 32 for each in made)


async def test_the_request_id_reaches_row_provider_and_worker(
    diner: Diner, lines: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str | None] = []
    create_pix = MercadoPago.create_pix

    async def spied(self: MercadoPago, charge: Any, *, request_id: str | None) -> Any:
        asked.append(request_id)
        return await create_pix(self, charge, request_id=request_id)

    monkeypatch.setattr(MercadoPago, "create_pix", spied)
    diner.sandbox.arm("server_error", times=2)
    answer = await diner.call("POST", "/v1/orders", diner.basket(1), headers={"X-Request-Id": "guest-0042"})
    assert answer.body["payment"]["status"] == "requested"
    assert await diner.value("SELECT request_id FROM orders") == "guest-0042"
    await diner.later(seconds=30)
    await diner.work()
    await diner.later(seconds=60)
    await diner.work()
    assert len(asked) >= 3
    assert set(asked) == {"guest-0042"}
    # Once in the request, once in the worker.
    told = [line["message"] for line in of_request(lines, "guest-0042")]
    assert told.count("no answer to a charge") == 2


async def test_no_line_holds_a_secret_or_a_name(diner: Diner, lines: list[str]) -> None:
    key = "an-idempotency-key-0001"
    body = diner.basket(2, 1) | {"name": "Florisvaldo", "notes": "alergia a camarão"}
    body["items"][0]["notes"] = "sem coentro"
    order = (await diner.call("POST", "/v1/orders", body, headers={"Idempotency-Key": key})).body
    await diner.call("POST", "/v1/orders", diner.basket(1), headers={"Idempotency-Key": key})
    await diner.call("POST", "/v1/orders", {"items": [], "name": "Florisvaldo"})
    await diner.call("POST", "/v1/orders", body | {"name": ["Florisvaldo"]})
    for fault in ("server_error", "answer_lost", "non_json"):
        diner.sandbox.arm(fault)
        await diner.call("POST", "/v1/orders", body)
    diner.sandbox.arm("refused", status=401)
    await diner.call("POST", "/v1/orders", body)
    async with diner.session.post(
        f"{diner.url}/v1/webhooks/mercado-pago?data.id=1&type=payment", json={}, headers={"X-Signature": "ts=1,v1=00"}
    ):
        pass
    await diner.pay(order)
    await diner.work()
    await diner.call("GET", f"/v1/orders/{order['id']}")
    await diner.advance(order, "preparing", "ready")
    await diner.refund(order, {"all": True, "reason": "Florisvaldo desistiu"}, key=key)
    await diner.later(minutes=5)
    await diner.work()
    await diner.call("GET", "/v1/kitchen", headers={"Authorization": "Bearer comanda_staff_guessed"})
    await diner.call("GET", "/v1/orders?cursor=Florisvaldo", role=Role.MANAGER)
    settings = diner.checkout.settings
    logging.getLogger("test").info("the settings are %s", settings)

    assert len(lines) > 20
    logged = "\n".join(lines)
    secrets = {
        settings.mercado_pago_access_token,
        settings.mercado_pago_webhook_secret,
        settings.payer_email,
        settings.database_url,
        *diner.keys.values(),
        key,
        "comanda_staff_guessed",
        "Florisvaldo",
        "alergia",
        "coentro",
        "desistiu",
        order["payment"]["pix"]["copy_paste"],
        order["payment"]["pix"]["qr_code_png_base64"][:60],
    }
    assert [secret for secret in secrets if secret in logged] == []
    assert all(isinstance(json.loads(line), dict) for line in lines)


def test_a_line_is_json_whatever_is_in_it() -> None:
    record = logging.LogRecord("a", logging.INFO, "f", 1, 'line\nbreak "%s" \x00', ("é",), None)
    record.__dict__["thing"] = object()
    line = JsonFormatter().format(record)
    assert "\n" not in line
    assert json.loads(line)["message"] == 'line\nbreak "é" \x00'
