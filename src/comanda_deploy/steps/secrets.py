"""Step 11: the secrets in Secrets Manager: made where they are ours, asked for where they are Mercado Pago's."""

import json
import re
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any
from urllib.parse import quote

from botocore.exceptions import ClientError

from comanda_deploy.aws_errors import code_of
from comanda_deploy.context import Context
from comanda_deploy.errors import DeployError
from comanda_deploy.names import API_SECRET, DATABASE_NAMESPACE, DATABASE_SECRET, GRAFANA_SECRET, tag_list
from comanda_deploy.settings import Settings
from comanda_deploy.step import Change, Kind, Step


@dataclass(frozen=True)
class Asked:
    """A value that only the operator knows.

    Args:
        what: how it is asked for. shape: what it must look like.
    """

    what: str
    shape: str


ASKED = {
    "MERCADO_PAGO_ACCESS_TOKEN": Asked(
        "Mercado Pago's access token (APP_USR-... or TEST-...)", r"(APP_USR|TEST)-\S{8,}"
    ),
    "MERCADO_PAGO_WEBHOOK_SECRET": Asked("the secret signature of its webhooks", r"\S{16,}"),
    "PAYER_EMAIL": Asked("the e-mail address that stands for the payer", r"[^@\s]+@[^@\s]+\.[^@\s]+"),
}
"""In the entry of the API: its settings under their own names."""

GENERATED = ("SUPERUSER_PASSWORD", "OWNER_PASSWORD", "API_A_PASSWORD", "API_B_PASSWORD", "METRICS_PASSWORD")
"""In the entry of the database: its users. Two of the API's, so that one can rotate while the other serves."""

OF_GRAFANA = ("ADMIN_PASSWORD",)
"""In the entry of Grafana: its admin's."""

URLS = {
    "DATABASE_URL": ("comanda_api_a", "API_A_PASSWORD"),
    "MIGRATION_DATABASE_URL": ("comanda_owner", "OWNER_PASSWORD"),
}
"""In the entry of the API: where its database is, by user and password. The password stands in both entries, so that
no pod's secret has to be read from both.
"""
DATABASE_HOST = f"database.{DATABASE_NAMESPACE}.svc:5432"


@dataclass(frozen=True)
class Entry:
    """An entry as it is: which keys it has, never what they hold."""

    keys: frozenset[str] = frozenset()
    exists: bool = False
    deleted: bool = False


@dataclass(frozen=True)
class SecretsFacts:
    """The entries."""

    api: Entry = Entry()
    database: Entry = Entry()
    grafana: Entry = Entry()


class Secrets(Step[SecretsFacts]):
    """A value that is there is never touched: what was set by hand, or rotated, stays."""

    name = "secrets"
    about = "the settings of API, database and Grafana in Secrets Manager, apart"

    def observe(self, context: Context) -> SecretsFacts:
        """Read which keys the entries have."""
        return SecretsFacts(*(_entry(context, each) for each in (API_SECRET, DATABASE_SECRET, GRAFANA_SECRET)))

    def decide(self, settings: Settings, facts: SecretsFacts) -> list[Change]:  # noqa: ARG002 - none applies
        """Restore, make, and fill in what is missing."""
        changes = []
        # The database's goes first: of its passwords the API's are made.
        for name, entry, wanted, fill in (
            (DATABASE_SECRET, facts.database, GENERATED, _generate),
            (API_SECRET, facts.api, (*ASKED, *URLS), _setting),
            (GRAFANA_SECRET, facts.grafana, OF_GRAFANA, _generate),
        ):
            what = f"secret {name}"
            if entry.deleted:
                detail = "it was to be deleted: taken back"
                changes.append(Change(Kind.CHANGE, what, detail, do=partial(_restore, name=name)))
                continue  # what is in it shows once it is back
            missing = [key for key in wanted if key not in entry.keys]
            if missing:
                do = partial(_fill, name=name, wanted=wanted, fill=fill, exists=entry.exists)
                kind = Kind.CHANGE if entry.exists else Kind.CREATE
                changes.append(Change(kind, what, ", ".join(missing), do=do))
        return changes

    def ask(self, context: Context, changes: list[Change]) -> None:
        """Ask for Mercado Pago's values where the entry lacks them."""
        for key in ASKED:
            if any(change.what == f"secret {API_SECRET}" and key in change.detail.split(", ") for change in changes):
                _ask(context, key)

    def decide_removal(self, settings: Settings, facts: SecretsFacts) -> list[Change]:
        """Delete them for good: one that waits for its deletion would keep its name from the next deployment."""
        changes = []
        for name, entry in (
            (API_SECRET, facts.api),
            (DATABASE_SECRET, facts.database),
            (GRAFANA_SECRET, facts.grafana),
        ):
            if not entry.exists:
                continue
            if "secrets" in settings.destroy.keep:
                detail = "AWS deletes it soon: to keep it, restore it in the Secrets Manager console"
                changes.append(Change(Kind.NOTE, f"secret {name}", detail if entry.deleted else "kept"))
            else:
                changes.append(Change(Kind.DELETE, f"secret {name}", do=partial(_delete, name=name)))
        return changes


def _entry(context: Context, name: str) -> Entry:
    client = context.client("secretsmanager")
    try:
        described = client.describe_secret(SecretId=name)
    except ClientError as error:
        if code_of(error) == "ResourceNotFoundException":
            return Entry()
        raise
    if described.get("DeletedDate"):
        return Entry(exists=True, deleted=True)
    return Entry(frozenset(key for key, value in values_of(context, name).items() if value), exists=True)


def values_of(context: Context, name: str) -> dict[str, Any]:
    """Answer what an entry holds: nothing where it, or its first value, is yet to be made."""
    try:
        answer = context.client("secretsmanager").get_secret_value(SecretId=name)
    except ClientError as error:
        if code_of(error) == "ResourceNotFoundException":
            return {}
        raise
    return _read(name, answer.get("SecretString", "{}"))


def _read(name: str, text: str) -> dict[str, Any]:
    try:
        values = json.loads(text)
    except ValueError as error:
        raise DeployError(f"secret {name} is no JSON object: mend it in the Secrets Manager console") from error
    if not isinstance(values, dict):
        raise DeployError(f"secret {name} is no JSON object: mend it in the Secrets Manager console")
    return values


def _fill(
    context: Context, name: str, wanted: tuple[str, ...], fill: Callable[[Context, str], str], exists: bool
) -> None:
    """Add what is missing to what is there just now, and make the entry if it is not there."""
    client = context.client("secretsmanager")
    values = values_of(context, name)
    values.update({key: fill(context, key) for key in wanted if not values.get(key)})
    text = json.dumps(values)
    if exists:
        client.put_secret_value(SecretId=name, SecretString=text)
    else:
        client.create_secret(Name=name, SecretString=text, Tags=tag_list())


def change_entry(context: Context, name: str, changes: Mapping[str, str | None]) -> None:
    """Change some keys of an entry, in one go; the others stay as they are.

    Args:
        changes: what each shall hold; None takes it away.

    Raises:
        DeployError: the entry is no JSON object.
    """
    values = {**values_of(context, name), **changes}
    text = json.dumps({key: value for key, value in values.items() if value is not None})
    context.client("secretsmanager").put_secret_value(SecretId=name, SecretString=text)


def new_password() -> str:
    """Answer a password of 256 random bits, of characters that no URL and no shell minds."""
    return secrets.token_urlsafe(32)


def _generate(context: Context, key: str) -> str:  # noqa: ARG001 - as `_setting`
    return new_password()


def _setting(context: Context, key: str) -> str:
    return _url(context, *URLS[key]) if key in URLS else _ask(context, key)


def _url(context: Context, user: str, key: str) -> str:
    """Answer where the database is for one of its users; a password set by hand may need quoting, ours do not."""
    password = values_of(context, DATABASE_SECRET).get(key)
    if not password or not isinstance(password, str):
        raise DeployError(f"secret {DATABASE_SECRET} has no {key}: run it again, it is made first")
    return f"postgresql://{user}:{quote(password, safe='')}@{DATABASE_HOST}/comanda"


def _ask(context: Context, key: str) -> str:
    asked = ASKED[key]
    value = context.answers.get(key) or context.environment.get(key, "").strip()
    if not value:
        if context.ask is None:
            raise DeployError(f"{key} is needed and nobody is there to be asked: set it in the environment")
        value = context.ask(f"{key}, {asked.what}: ").strip()
    if not re.fullmatch(asked.shape, value):
        raise DeployError(f"{key} does not look like {asked.what}: look it up and give it again")
    context.answers[key] = value
    return value


def _restore(context: Context, name: str) -> None:
    context.client("secretsmanager").restore_secret(SecretId=name)


def _delete(context: Context, name: str) -> None:
    context.client("secretsmanager").delete_secret(SecretId=name, ForceDeleteWithoutRecovery=True)
