"""A new access token and webhook secret of Mercado Pago's are taken over, with those before still good for a while.

Both tokens of an account are good at Mercado Pago while pods roll, until the old one is ended there. A webhook may be
signed with the old secret until Mercado Pago has changed over: it stays in MERCADO_PAGO_WEBHOOK_SECRET_PREVIOUS until
`--finish`.
"""

import ipaddress
import json
import re
import urllib.error
import urllib.request
from argparse import Namespace
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from comanda_deploy import taking_over
from comanda_deploy.arguments import confirm
from comanda_deploy.context import Context
from comanda_deploy.errors import DeployError
from comanda_deploy.names import API_SECRET
from comanda_deploy.steps.secrets import ASKED, change_entry, values_of
from comanda_deploy.taking_over import Say

TOKEN, SECRET = "MERCADO_PAGO_ACCESS_TOKEN", "MERCADO_PAGO_WEBHOOK_SECRET"
PREVIOUS = "MERCADO_PAGO_WEBHOOK_SECRET_PREVIOUS"
BASE_URL = "MERCADO_PAGO_BASE_URL"
MERCADO_PAGO = "https://api.mercadopago.com"
ANSWERS_SECONDS = 15


@dataclass(frozen=True)
class Told:
    """What Mercado Pago says of a token.

    Args:
        account: whose it is, "" if that is not known. refused: whether it is not taken. why: it could not be asked.
    """

    account: str = ""
    refused: bool = False
    why: str = ""


class _Stays(urllib.request.HTTPRedirectHandler):
    """Follows no redirection: it would take the token along."""

    def redirect_request(self, *_: Any) -> None:
        return None


def ask(context: Context) -> dict[str, str]:
    """Answer what is given anew, by its key: from the environment, else asked for without echo.

    Raises:
        DeployError: it does not look like what it should be, or nobody is there to be asked and nothing is given.
    """
    given = {}
    for key in (TOKEN, SECRET):
        value = context.environment.get(key, "").strip()
        if not value and context.ask is not None:
            value = context.ask(f"{key}, {ASKED[key].what}; empty: it stays: ").strip()
        if value and not re.fullmatch(ASKED[key].shape, value):
            raise DeployError(f"{key} does not look like {ASKED[key].what}: look it up and give it again")
        if value:
            given[key] = value
    if not given and context.ask is None:
        raise DeployError(f"nothing new is given, and nobody is there to be asked: set {TOKEN} or {SECRET}")
    return given


def check(context: Context, given: Mapping[str, str], options: Namespace, say: Say) -> None:
    """See that a new token is good, and of the same account, before anything is written.

    Raises:
        DeployError: it is not, or that is not known and nobody takes it upon them.
    """
    values = values_of(context, API_SECRET)
    token, before = given.get(TOKEN, ""), str(values.get(TOKEN) or "")
    if not token or token == before:
        return
    base = str(values.get(BASE_URL) or MERCADO_PAGO)
    new = whose(base, token)
    if new.refused:
        raise DeployError(f"Mercado Pago refuses the new {TOKEN}: nothing was changed. Look it up and give it again")
    old = whose(base, before) if new.account else Told()
    other_mode = bool(before) and before.startswith("TEST-") != token.startswith("TEST-")
    if (other_mode or (old.account and old.account != new.account)) and not options.other_account:
        what = "is for tests and the other is not" if other_mode else "is another account's"
        raise DeployError(
            f"the new {TOKEN} {what}: payments from before could then be neither looked at nor given back. If there "
            "are none, say --other-account"
        )
    if new.account:
        say(f"Mercado Pago takes the new token, of account {new.account}")
        return
    say(f"whether Mercado Pago takes the new token is not known from here: {new.why}")
    confirm(options, "With a wrong one nobody can pay. Go on? [y/N] ")


def take_over(context: Context, given: Mapping[str, str], say: Say) -> None:
    """Write what is new, the secret before beside it, and wait until every pod has it. Once more only waits.

    Raises:
        DeployError: the pods do not come up with it; those from before serve.
    """
    values = values_of(context, API_SECRET)
    changes: dict[str, str | None] = {key: value for key, value in given.items() if value != values.get(key)}
    if SECRET in changes:
        known = [str(values.get(SECRET) or ""), *str(values.get(PREVIOUS) or "").split()]
        kept = [each for each in dict.fromkeys(known) if each and each != changes[SECRET]]
        if any(len(each.split()) != 1 for each in kept):
            raise DeployError(f"{SECRET} of secret {API_SECRET} has a space in it: put it right there first")
        changes[PREVIOUS] = " ".join(kept) or None
    if changes:
        change_entry(context, API_SECRET, changes)
        say(f"secret {API_SECRET} has a new {' and '.join(key for key in (TOKEN, SECRET) if key in changes)}")
    else:
        say("nothing new was given: what is there stays, and is waited for")
    taking_over.by_all_pods(context, say)


def finish(context: Context, say: Say) -> None:
    """Take no webhook any more that is signed with a secret before the current one.

    Raises:
        DeployError: the pods do not come up so; those from before serve.
    """
    if values_of(context, API_SECRET).get(PREVIOUS):
        change_entry(context, API_SECRET, {PREVIOUS: None})
        say(f"secret {API_SECRET} has no {PREVIOUS} any more")
    else:
        say("there is no previous secret")
    taking_over.by_all_pods(context, say)


def whose(base: str, token: str) -> Told:
    """Ask Mercado Pago whose a token is. The token goes into the header alone, and over TLS unless to this machine."""
    parts = urlsplit(base)
    near = _is_loopback(parts.hostname or "")
    if parts.scheme != "https" and not near:
        return Told(why=f"{BASE_URL} is {parts.hostname}, within the cluster")
    request = urllib.request.Request(f"{base.rstrip('/')}/users/me", headers={"Authorization": f"Bearer {token}"})  # noqa: S310 - its scheme was looked at
    proxies = [urllib.request.ProxyHandler({})] if near else []
    try:
        with urllib.request.build_opener(_Stays, *proxies).open(request, timeout=ANSWERS_SECONDS) as answer:
            found = json.loads(answer.read(64 * 1024))
    except urllib.error.HTTPError as error:
        return Told(refused=error.code in {401, 403}, why=f"{parts.hostname} answers {error.code}")
    except (OSError, ValueError) as error:
        return Told(why=f"{parts.hostname} cannot be asked ({type(error).__name__})")
    account = found.get("id") if isinstance(found, dict) else None
    return Told(account=str(account)) if account else Told(why=f"{parts.hostname} does not say whose it is")


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
