"""The page ``/``, in Portuguese, where a person 'pays' an open Pix. Plain forms, no script."""

import base64
import hashlib
import html
import re
from importlib.resources import files
from string import Template
from urllib.parse import urlencode

from aiohttp import web

from comanda_sandbox import br_code
from comanda_sandbox.errors import RefusedError
from comanda_sandbox.operator_actions import act
from comanda_sandbox.operator_api import number_of, operator_door
from comanda_sandbox.payments import ImpossibleMoveError, Payment
from comanda_sandbox.sandbox import Sandbox

_PAGE = files("comanda_sandbox").joinpath("page.html").read_text("utf-8")
_STYLE = re.search(r"<style>(.*?)</style>", _PAGE, re.DOTALL)
_STYLE_HASH = base64.b64encode(hashlib.sha256(_STYLE[1].encode() if _STYLE else b"").digest()).decode()
_HEADERS = {
    "Content-Security-Policy": (
        f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; form-action 'self'; base-uri 'none';"
        " frame-ancestors 'none'"
    ),
    "Cache-Control": "no-store",
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
}
_REFRESH_SECONDS = 3
_OPEN, _FINISHED = 100, 30
_STATES = {
    "pending": "aguardando pagamento",
    "in_process": "em análise",
    "approved": "pago",
    "rejected": "recusado",
    "cancelled": "cancelado",
    "refunded": "devolvido",
    "in_mediation": "em mediação",
    "charged_back": "chargeback",
}
# Buttons: the action's name, its label, its look.
_BUTTONS = {
    "pending": (("pay", "Pagar", "main"), ("reject", "Recusar", ""), ("expire", "Expirar", "")),
    "in_process": (("pay", "Pagar", "main"), ("reject", "Recusar", "")),
    "approved": (("refund", "Devolver", ""), ("charge-back", "Chargeback", "grave")),
    "in_mediation": (("charge-back", "Chargeback", "grave"),),
}
_LABELS = {action: label for buttons in _BUTTONS.values() for action, label, _ in buttons}


def routes() -> list[web.RouteDef]:
    """The page and where its buttons lead."""
    return [
        web.get("/", operator_door(_show)),
        web.post("/payments/{payment_id}/{action}", operator_door(_press)),
    ]


def reais(cents: int) -> str:
    """An amount as people in Brazil write it."""
    whole, rest = divmod(cents, 100)
    return f"R$ {whole:,}".replace(",", ".") + f",{rest:02d}"


async def _show(request: web.Request, sandbox: Sandbox) -> web.Response:
    sandbox.sweep()
    query = request.query
    note = ""
    if "pix" in query:
        payment, note = _scanned(sandbox, query["pix"].strip())
        return _page(sandbox, note=note, only=payment)
    if "payment" in query and (text := query["payment"]).isascii() and text.isdigit() and len(text) <= 18:
        payment = sandbox.ledger.payment(int(text))
        return _page(sandbox, note="" if payment else f"Não há pagamento {text}.", only=payment)
    return _page(sandbox, refresh="auto" in query)


async def _press(request: web.Request, sandbox: Sandbox) -> web.StreamResponse:
    payment_id, action = number_of(request, "payment_id"), request.match_info["action"]
    if action not in _LABELS:
        raise RefusedError(404, f"there is no button {action!r}")
    form = await request.post()
    try:
        act(sandbox, payment_id, action, {})
    except (ImpossibleMoveError, RefusedError):
        note = f"{_LABELS[action]}: o pagamento {payment_id} já não permite isso."
        return _page(sandbox, note=note, status=409)
    back = {name: str(form[name]) for name in ("auto", "payment") if name in form}
    raise web.HTTPSeeOther("/" + (f"?{urlencode(back)}" if back else ""))


def _scanned(sandbox: Sandbox, text: str) -> tuple[Payment | None, str]:
    try:
        txid = br_code.parse(text)["62.05"]
    except br_code.InvalidBrCodeError:
        return None, "Este código não é um Pix copia e cola válido."
    number = txid.removeprefix("mpqrinter")
    payment = sandbox.ledger.payment(int(number)) if number.isdigit() and len(number) <= 18 else None
    if payment is None or payment.qr_code != text:
        return None, "Este Pix não é deste ambiente de teste."
    return payment, ""


def _page(
    sandbox: Sandbox,
    *,
    note: str = "",
    only: Payment | None = None,
    refresh: bool = False,
    status: int = 200,
) -> web.Response:
    if only:
        sections = _section("Pagamento", [only], "", f'<input type="hidden" name="payment" value="{only.id}">')
        other_url, other_text = "/", "Ver todos"
    else:
        kept = '<input type="hidden" name="auto" value="1">' if refresh else ""
        opened, finished = sandbox.ledger.open_payments(_OPEN), sandbox.ledger.finished_payments(_FINISHED)
        sections = _section("Em aberto", opened, "Nenhum Pix em aberto. Faça um pedido e ele aparece aqui.", kept)
        sections += _section("Encerrados há pouco", finished, "Nada ainda.", kept)
        other_url, other_text = ("/", "Parar de atualizar") if refresh else ("/?auto=1", "Atualizar automaticamente")
    text = Template(_PAGE).substitute(
        refresh=f'<meta http-equiv="refresh" content="{_REFRESH_SECONDS}">' if refresh else "",
        other_url=other_url,
        other_text=other_text,
        note=f'<p class="note" role="status">{html.escape(note)}</p>' if note else "",
        sections=sections,
    )
    return web.Response(text=text, status=status, content_type="text/html", headers=_HEADERS)


def _section(title: str, payments: list[Payment], empty: str, kept: str) -> str:
    rows = "\n".join(_row(payment, kept) for payment in payments)
    return f"<h2>{title}</h2>\n" + (f"<ul>\n{rows}\n</ul>\n" if rows else f'<p class="soft">{empty}</p>\n')


def _row(payment: Payment, kept: str) -> str:
    state = _STATES.get(payment.status, payment.status)
    if payment.status_detail == "expired":
        state = "expirado"
    if payment.refunded_cents and payment.status != "refunded":
        state += f", {reais(payment.refunded_cents)} devolvidos"
    reference = html.escape(payment.external_reference or "sem referência")
    buttons = "".join(
        f'<form method="post" action="/payments/{payment.id}/{action}">{kept}'
        f'<button class="{look}" aria-label="{label} {reais(payment.amount_cents)}, pagamento {payment.id}">'
        f"{label}</button></form>"
        for action, label, look in _BUTTONS.get(payment.status, ())
    )
    return (
        f'<li data-payment="{payment.id}" data-status="{payment.status}">'
        f'<div><p class="amount">{reais(payment.amount_cents)}</p>'
        f'<p class="soft">{reference}</p><p class="soft">{payment.id} · {state}</p></div>'
        f'<div class="actions">{buttons}</div></li>'
    )
