"""`rotate-secrets`: new passwords, keys and tokens, with those before still good until nobody uses them."""

import argparse
import json
import shlex
import sys
from argparse import Namespace
from datetime import UTC, datetime

from botocore.exceptions import BotoCoreError, ClientError

from comanda_deploy import (
    commands,
    database_users,
    kubectl,
    rotating_database,
    rotating_grafana,
    rotating_keys,
    rotating_mercado_pago,
)
from comanda_deploy import lock as locks
from comanda_deploy.arguments import Parser, add_json, confirm
from comanda_deploy.aws_errors import code_of, explain
from comanda_deploy.context import Context
from comanda_deploy.database_users import PASSWORDS
from comanda_deploy.errors import DeployError
from comanda_deploy.names import API_SECRET, DATABASE_SECRET, GRAFANA_SECRET
from comanda_deploy.rotating_mercado_pago import PREVIOUS
from comanda_deploy.steps.secrets import URLS, values_of
from comanda_deploy.taking_over import Say

WHAT = {
    "database": "the passwords of all five users of the database, while it serves",
    "staff": "a key of the kitchen's tablets; the new one is printed",
    "manager": "a key of managers; the new one is printed",
    "grafana": "the password of Grafana's admin; Grafana starts again",
    "mercado-pago": "a new access token or webhook secret, which you are asked for",
}
KEYS = ("staff", "manager")
ENTRIES = {"database": DATABASE_SECRET, "mercado-pago": API_SECRET, "grafana": GRAFANA_SECRET}
WRONGLY_CALLED = 2
VERB = "infra/scripts/eks-cluster-mng.sh rotate-secrets"
MADE_BY = "run infra/scripts/eks-cluster-deploy.sh create-secrets"


def add_options(parser: Parser) -> None:
    """Add what rotate-secrets takes beside --yes."""
    add_json(parser)
    parser.add_argument(
        "what",
        nargs="*",
        type=_what,
        metavar="WHAT",
        help=f"one or more of {', '.join(WHAT)}; without: say what there is",
    )
    parser.add_argument("--name", help="with staff or manager: which key, if there are several")
    parser.add_argument(
        "--keep",
        type=_minutes,
        default=60,
        metavar="MINUTES",
        help="with staff or manager: how long the key before stays valid (60)",
    )
    parser.add_argument(
        "--finish",
        action="store_true",
        help="with mercado-pago: take no webhook signed with the secret before any more",
    )
    parser.add_argument(
        "--other-account",
        action="store_true",
        help="with mercado-pago: take a token of another account, or of tests instead of live, or the other way round",
    )


def rotate(options: Namespace) -> int:
    """Rotate what was asked for; without anything, say what there is and when it was last changed.

    Raises:
        DeployError: it cannot be done, or ended half-way: the same command goes on.
    """
    # Keys come last: one that was printed shall not be lost sight of by what comes after it.
    what = sorted(dict.fromkeys(options.what), key=lambda each: each in KEYS)
    if wrong := _misfit(what, options):
        print(f"rotate-secrets: {wrong}: see rotate-secrets --help", file=sys.stderr)
        return WRONGLY_CALLED
    context = commands.context_of(options)
    if not what:
        return _list(context, options)
    if set(what) - {"grafana"}:
        kubectl.reach(context)
    for each in what:
        if each not in KEYS and not values_of(context, ENTRIES[each]):
            raise DeployError(f"there is no entry {ENTRIES[each]} yet: {MADE_BY}")
    # What is printed for a person to keep is alone on the standard output.
    to = sys.stderr if options.json or set(what) & set(KEYS) else sys.stdout

    def say(line: str) -> None:
        print(f"  {line}", file=to, flush=True)

    given = {}
    if "mercado-pago" in what and not options.finish:
        given = rotating_mercado_pago.ask(context)
        rotating_mercado_pago.check(context, given, options, say)
    for each in what:
        print(f"Rotate {each}: {WHAT[each]}.", file=to)
    if options.finish:
        print("Webhooks that are still signed with the secret before will be refused.", file=to)
    if not options.yes and to is sys.stderr:
        print("Go on? [y/N] ", end="", file=to, flush=True)
    confirm(options, "Go on? [y/N] " if to is sys.stdout else "")
    done: dict[str, dict[str, str]] = {}
    with locks.locked(context, f"rotate-secrets {' '.join(what)}"):
        try:
            for place, each in enumerate(what):
                done[each] = _one(context, what[place:], given, options, say)
        finally:
            if options.json:
                # A key that was made is told although the next one failed: it is never shown again.
                print(json.dumps({"rotated": done}), flush=True)
    print(f"Rotated: {', '.join(what)}. Next: {_next(what, options)}", file=to)
    return 0


def passwords_into_database(context: Context) -> None:
    """Set every user's password in PostgreSQL to what Secrets Manager says, as after a restore from before a rotation.

    Those that stand in a URL of the API's entry are what its pods use, and go before.

    Raises:
        DeployError: an entry lacks one, or PostgreSQL refused; nothing was changed then.
    """
    values = values_of(context, DATABASE_SECRET)
    passwords = {user: str(values.get(key) or "") for user, key in PASSWORDS.items()}
    for key in URLS:
        user, password = rotating_database.login_of(str(values_of(context, API_SECRET).get(key) or ""))
        if user in passwords and password:
            passwords[user] = password
    if missing := [PASSWORDS[user] for user, password in passwords.items() if not password]:
        mend = "run infra/scripts/eks-cluster-deploy.sh create-secrets"
        raise DeployError(f"secret {DATABASE_SECRET} lacks {', '.join(missing)}: {mend}")
    database_users.set_passwords(context, passwords)


def _one(context: Context, left: list[str], given: dict[str, str], options: Namespace, say: Say) -> dict[str, str]:
    """Rotate the first of what is left, and answer what a script wants to know of it."""
    what = left[0]
    try:
        if what in KEYS:
            name, key = rotating_keys.rotate(context, what, name=options.name, keep=options.keep)
            say(f"the new key {name!r} of {what}; the one before is valid for {options.keep} min")
            if not options.json:
                print(key, flush=True)
            return {"name": name, "key": key}
        if what == "database":
            rotating_database.rotate(context, say)
        elif what == "grafana":
            rotating_grafana.rotate(context, say)
        elif options.finish:
            rotating_mercado_pago.finish(context, say)
        else:
            rotating_mercado_pago.take_over(context, given, say)
    except (DeployError, ClientError, BotoCoreError) as error:
        raise DeployError(
            f"{explain(error)}\n  What runs is not locked out, and the lock is free. Mend the cause, then go on with: "
            f"{_again(left, options)}"
        ) from error
    return {}


def _again(left: list[str], options: Namespace) -> str:
    """Answer the command that does what is left, as it was asked for."""
    flags = []
    if set(KEYS) & set(left):
        flags += [f"--keep {options.keep}"] + ([f"--name {shlex.quote(options.name)}"] if options.name else [])
    if "mercado-pago" in left:
        flags += [f"--{each.replace('_', '-')}" for each in ("finish", "other_account") if getattr(options, each)]
    return " ".join([VERB, *left, *flags])


def _misfit(what: list[str], options: Namespace) -> str:
    """Answer which option does not go with what is to be rotated, "" if all do."""
    for flag, given, fits in (
        ("--name", options.name is not None, set(KEYS)),
        ("--finish", options.finish, {"mercado-pago"}),
        ("--other-account", options.other_account, {"mercado-pago"}),
    ):
        if given and not fits & set(what):
            return f"{flag} goes with {' or '.join(sorted(fits))} alone"
    both = options.name is not None and set(KEYS) <= set(what)
    return "--name is of one key: rotate staff and manager apart" if both else ""


def _next(what: list[str], options: Namespace) -> str:
    if set(what) & set(KEYS):
        return (
            f"type the new key in where the one before is, within {options.keep} min; comanda keys list says what ends"
        )
    if "mercado-pago" in what and not options.finish:
        return (
            "end the old token in Mercado Pago's panel; and once comanda_webhooks_by_previous_secret_total has stopped "
            f"to rise, {VERB} mercado-pago --finish"
        )
    if "grafana" in what:
        return "eks-cluster-mng.sh grafana-psw"
    return "nothing; comanda-deploy status says how things are"


def _list(context: Context, options: Namespace) -> int:
    """Say what there is, and when Secrets Manager last saw it change."""
    changed = {what: _changed(context, name) for what, name in ENTRIES.items()}
    notes = {}
    if changed["database"] and (left := rotating_database.left_to_do(context)):
        notes["database"] = f"a rotation is under way ({', '.join(left)}): run it again to go on"
    if changed["mercado-pago"] and values_of(context, API_SECRET).get(PREVIOUS):
        notes["mercado-pago"] = "a previous webhook secret is still taken: --finish ends that"
    if options.json:
        found = {
            each: {"changed": moment.isoformat() if moment else None, "note": notes.get(each, "")}
            for each, moment in changed.items()
        }
        print(json.dumps(found))
        return 0
    for each, about in WHAT.items():
        line = f"  {each:14}{about}"
        if each in ENTRIES:
            moment = changed[each]
            when = f"last changed {moment:%Y-%m-%d %H:%M} UTC" if moment else f"none yet: {MADE_BY}"
            line += f"\n  {'':14}{ENTRIES[each]}, {when}"
        else:
            line += f"\n  {'':14}in the database: comanda keys list says which there are"
        print(line + (f"\n  {'':14}{notes[each]}" if each in notes else ""))
    print(f"Next: {VERB} WHAT")
    return 0


def _changed(context: Context, name: str) -> datetime | None:
    try:
        found = context.client("secretsmanager").describe_secret(SecretId=name)
    except ClientError as error:
        if code_of(error) == "ResourceNotFoundException":
            return None
        raise
    moment: datetime | None = found.get("LastChangedDate")
    return moment.astimezone(tz=UTC) if moment else None


def _what(text: str) -> str:
    if text not in WHAT:
        raise argparse.ArgumentTypeError(f"there is no {text} to rotate, but {', '.join(WHAT)}")
    return text


def _minutes(text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text) <= 7 * 24 * 60):
        raise argparse.ArgumentTypeError(f"{text} is no number of minutes from 0 to 10080")
    return int(text)
