"""The page where a person pays."""

import re

import pytest

from comanda_sandbox.page import reais
from comanda_sandbox.running import RunningSandbox
from tests.sandbox.caller import Caller


async def page(caller: Caller, path: str = "/") -> str:
    """The page's text."""
    answer = await caller.call("GET", path, headers={"Authorization": ""})
    assert answer.status == 200
    assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
    return answer.body.decode()


def shown(text: str) -> list[int]:
    """The payments on a page, in order."""
    return [int(number) for number in re.findall(r'data-payment="(\d+)"', text)]


@pytest.mark.parametrize(("cents", "text"), [(1, "R$ 0,01"), (2590, "R$ 25,90"), (123456789, "R$ 1.234.567,89")])
def test_amounts_as_in_brazil(cents: int, text: str) -> None:
    assert reais(cents) == text


async def test_open_payments_newest_first_then_the_finished(sandbox: RunningSandbox, caller: Caller) -> None:
    assert "Nenhum Pix em aberto" in await page(caller)
    made = [await caller.created(external_reference=f"order-{number}") for number in range(3)]
    sandbox.act(made[1], "pay")
    text = await page(caller)
    assert shown(text) == [made[2], made[0], made[1]]
    assert "R$ 25,90" in text
    assert "order-2" in text
    for label in ("Pagar", "Recusar", "Expirar", "Devolver", "Chargeback"):
        assert f">{label}</button>" in text


@pytest.mark.parametrize(
    ("before", "button", "status"),
    [
        ("", "pay", "approved"),
        ("", "reject", "rejected"),
        ("", "expire", "cancelled"),
        ("pay", "refund", "refunded"),
        ("pay", "charge-back", "charged_back"),
    ],
)
async def test_buttons(sandbox: RunningSandbox, caller: Caller, before: str, button: str, status: str) -> None:
    payment_id = await caller.created()
    if before:
        sandbox.act(payment_id, before)
    form = f"/payments/{payment_id}/{button}"
    assert f'<form method="post" action="{form}">' in await page(caller)
    headers = {"Content-Type": "application/x-www-form-urlencoded", "Origin": sandbox.url}
    pressed = await caller.call("POST", form, data=b"auto=1", headers=headers)
    assert (pressed.status, pressed.headers["Location"]) == (303, "/?auto=1")
    assert sandbox.payment(payment_id).status == status
    if (before, button) == ("", "pay"):
        again = await caller.call("POST", form, data=b"", headers=headers)
        assert again.status == 409
        assert "já não permite" in again.body.decode()
    assert (await caller.call("POST", f"/payments/{payment_id}/resolve", headers=headers)).status == 404
    assert (await caller.call("POST", "/payments/7/pay", headers=headers)).status == 409


async def test_a_code_is_pasted(caller: Caller) -> None:
    made = [(await caller.create()).json for _ in range(2)]
    code = made[0]["point_of_interaction"]["transaction_data"]["qr_code"]
    found = await page(caller, "/?pix=" + code.replace(" ", "+"))
    assert shown(found) == [made[0]["id"]]
    assert "não é um Pix" in await page(caller, "/?pix=" + code[:-1].replace(" ", "+"))
    other = (
        "00020126580014br.gov.bcb.pix0136b76aa9c2-2ec4-4110-954e-ebfe34f05b61520400005303986540525.90"
        "5802BR5913LOJA+SIMULADA6009SAO+PAULO62250521mpqrinter1234567890126304E21D"
    )
    assert "não é deste ambiente" in await page(caller, "/?pix=" + other)


async def test_a_tickets_page(sandbox: RunningSandbox, caller: Caller) -> None:
    payment = (await caller.create()).json
    await caller.created()
    ticket = payment["point_of_interaction"]["transaction_data"]["ticket_url"]
    text = await page(caller, ticket.removeprefix(sandbox.url))
    assert shown(text) == [payment["id"]]
    assert f'name="payment" value="{payment["id"]}"' in text
    assert "Não há pagamento 7" in await page(caller, "/?payment=7")
    await page(caller, "/?payment=x")


async def test_states_in_words(sandbox: RunningSandbox, caller: Caller) -> None:
    payment_id = await caller.created()
    sandbox.act(payment_id, "pay")
    sandbox.act(payment_id, "refund", amount_cents=100)
    assert "pago, R$ 1,00 devolvidos" in await page(caller)
    expired = await caller.created()
    sandbox.act(expired, "expire")
    assert "expirado" in await page(caller)


async def test_nothing_foreign_and_no_script(sandbox: RunningSandbox, caller: Caller) -> None:
    await caller.created(description="<b>")
    answer = await caller.call("GET", "/?pix=%3Cscript%3Ealert(1)%3C/script%3E")
    text = answer.body.decode()
    assert "<script" not in text
    assert "http://" not in text
    assert "https://" not in text
    policy = answer.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe-inline" not in policy
    assert '<html lang="pt-BR">' in text


async def test_it_can_look_again_by_itself(caller: Caller) -> None:
    assert 'http-equiv="refresh"' not in await page(caller)
    assert 'http-equiv="refresh"' in await page(caller, "/?auto=1")
