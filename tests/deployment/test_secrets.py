"""The secrets: what is decided of each entry, as data; and that a value that is there is never touched."""

import json
from dataclasses import replace
from urllib.parse import unquote, urlsplit

import boto3
import pytest

from comanda_deploy.context import Context
from comanda_deploy.errors import DeployError
from comanda_deploy.runbook import named
from comanda_deploy.step import Kind
from comanda_deploy.steps.secrets import ASKED, GENERATED, OF_GRAFANA, URLS, Entry, Secrets, SecretsFacts
from tests.deployment.account import MERCADO_PAGO, USUAL, Account, as_said, changed

API, DATABASE, GRAFANA = "secret comanda/api", "secret comanda/db", "secret comanda/grafana"
FULL = SecretsFacts(
    api=Entry(frozenset([*ASKED, *URLS, "MORE"]), exists=True),
    database=Entry(frozenset(GENERATED), exists=True),
    grafana=Entry(frozenset(OF_GRAFANA), exists=True),
)
GONE = Entry(exists=True, deleted=True)
ALL_OF_DATABASE = "SUPERUSER_PASSWORD, OWNER_PASSWORD, API_A_PASSWORD, API_B_PASSWORD, METRICS_PASSWORD"
ALL_OF_API = "MERCADO_PAGO_ACCESS_TOKEN, MERCADO_PAGO_WEBHOOK_SECRET, PAYER_EMAIL, DATABASE_URL, MIGRATION_DATABASE_URL"


def without(entry: Entry, *keys: str) -> Entry:
    return replace(entry, keys=entry.keys - set(keys))


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        (FULL, []),
        (
            SecretsFacts(),
            [
                f"create {DATABASE}: {ALL_OF_DATABASE}",
                f"create {API}: {ALL_OF_API}",
                f"create {GRAFANA}: ADMIN_PASSWORD",
            ],
        ),
        (
            replace(FULL, database=without(FULL.database, "METRICS_PASSWORD", "API_A_PASSWORD")),
            [f"change {DATABASE}: API_A_PASSWORD, METRICS_PASSWORD"],
        ),
        (replace(FULL, api=without(FULL.api, "PAYER_EMAIL")), [f"change {API}: PAYER_EMAIL"]),
        # What was made without a value is filled, and not made a second time.
        (replace(FULL, database=Entry(exists=True)), [f"change {DATABASE}: {ALL_OF_DATABASE}"]),
        (
            replace(FULL, api=without(FULL.api, "DATABASE_URL", "MIGRATION_DATABASE_URL")),
            [f"change {API}: DATABASE_URL, MIGRATION_DATABASE_URL"],
        ),
        (replace(FULL, grafana=Entry(exists=True)), [f"change {GRAFANA}: ADMIN_PASSWORD"]),
        # What is in it shows once it is back.
        (
            SecretsFacts(GONE, GONE, GONE),
            [
                f"change {DATABASE}: it was to be deleted: taken back",
                f"change {API}: it was to be deleted: taken back",
                f"change {GRAFANA}: it was to be deleted: taken back",
            ],
        ),
    ],
)
def test_what_is_missing_is_said_by_name(facts: SecretsFacts, expected: list[str]) -> None:
    assert as_said(Secrets().decide(USUAL, facts)) == expected


@pytest.mark.parametrize(
    ("facts", "keep", "expected"),
    [
        (FULL, (), [f"delete {API}", f"delete {DATABASE}", f"delete {GRAFANA}"]),
        (FULL, ("secrets",), [f"note {API}: kept", f"note {DATABASE}: kept", f"note {GRAFANA}: kept"]),
        # One that waits for its deletion would keep its name from the next deployment.
        (replace(FULL, api=GONE), (), [f"delete {API}", f"delete {DATABASE}", f"delete {GRAFANA}"]),
        # It is not kept by being let alone.
        (
            replace(FULL, api=GONE),
            ("secrets",),
            [
                f"note {API}: AWS deletes it soon: to keep it, restore it in the Secrets Manager console",
                f"note {DATABASE}: kept",
                f"note {GRAFANA}: kept",
            ],
        ),
        (replace(FULL, database=Entry(), grafana=Entry()), (), [f"delete {API}"]),
        (SecretsFacts(), (), []),
        (SecretsFacts(), ("secrets",), []),
    ],
)
def test_they_are_deleted_for_good_unless_they_are_kept(
    facts: SecretsFacts, keep: tuple[str, ...], expected: list[str]
) -> None:
    assert as_said(Secrets().decide_removal(changed(USUAL, destroy={"keep": keep}), facts)) == expected


# What only the operator knows.


def asking(answers: dict[str, str], session: boto3.Session | None = None) -> Context:
    """Answer a run in which somebody sits at the terminal, and nothing is in the environment."""

    def ask(question: str) -> str:
        return answers.pop(question.split(",", maxsplit=1)[0])

    return Context(USUAL, session or boto3.Session(region_name="sa-east-1"), environment={}, ask=ask)


def test_what_is_missing_is_asked_for_before_anything_is_made_and_once(account: Account) -> None:
    answers = {**MERCADO_PAGO, "MERCADO_PAGO_ACCESS_TOKEN": "  APP_USR-1234-5678  "}
    context = asking(answers, account.session)
    step = Secrets()
    changes = step.decide(USUAL, step.observe(context))
    step.ask(context, changes)
    assert answers == {}, "all three were asked for"
    for change in changes:
        assert change.do is not None
        change.do(context)
    client = account.bed.client("secretsmanager")
    found = json.loads(client.get_secret_value(SecretId="comanda/api")["SecretString"])
    passwords = json.loads(client.get_secret_value(SecretId="comanda/db")["SecretString"])
    assert found == {
        **MERCADO_PAGO,
        "MERCADO_PAGO_ACCESS_TOKEN": "APP_USR-1234-5678",
        "DATABASE_URL": (
            f"postgresql://comanda_api_a:{passwords['API_A_PASSWORD']}@database.comanda-db.svc:5432/comanda"
        ),
        "MIGRATION_DATABASE_URL": (
            f"postgresql://comanda_owner:{passwords['OWNER_PASSWORD']}@database.comanda-db.svc:5432/comanda"
        ),
    }
    assert step.decide(USUAL, step.observe(context)) == []


def test_nothing_is_asked_for_that_is_there() -> None:
    step, context = Secrets(), asking({})
    step.ask(context, step.decide(USUAL, replace(FULL, database=Entry())))
    step.ask(context, [])
    assert context.answers == {}


def test_what_stands_in_the_environment_is_not_asked_for_and_nobody_is_asked_twice() -> None:
    questions: list[str] = []

    def ask(question: str) -> str:
        questions.append(question)
        return MERCADO_PAGO[question.split(",", maxsplit=1)[0]]

    step, context = Secrets(), asking({})
    context.ask = ask
    context.environment = {"PAYER_EMAIL": " maria@example.com ", "MERCADO_PAGO_ACCESS_TOKEN": "  "}
    for _ in range(2):
        step.ask(context, step.decide(USUAL, SecretsFacts()))
    assert questions == [
        "MERCADO_PAGO_ACCESS_TOKEN, Mercado Pago's access token (APP_USR-... or TEST-...): ",
        "MERCADO_PAGO_WEBHOOK_SECRET, the secret signature of its webhooks: ",
    ]
    assert context.answers == {**MERCADO_PAGO, "PAYER_EMAIL": "maria@example.com"}


def test_where_nobody_is_there_to_be_asked_it_says_where_the_value_may_stand() -> None:
    step, context = Secrets(), asking({})
    context.ask = None
    with pytest.raises(DeployError) as raised:
        step.ask(context, step.decide(USUAL, replace(FULL, api=without(FULL.api, "PAYER_EMAIL"))))
    assert str(raised.value) == "PAYER_EMAIL is needed and nobody is there to be asked: set it in the environment"


@pytest.mark.parametrize(
    ("key", "wrong"),
    [
        ("MERCADO_PAGO_ACCESS_TOKEN", "12345678"),
        ("MERCADO_PAGO_ACCESS_TOKEN", "APP_USR-with a space in it"),
        ("MERCADO_PAGO_WEBHOOK_SECRET", "short"),
        ("PAYER_EMAIL", "nobody"),
        ("PAYER_EMAIL", ""),
    ],
)
def test_what_does_not_look_like_it_is_refused_and_never_shown(key: str, wrong: str) -> None:
    step, context = Secrets(), asking({**MERCADO_PAGO, key: wrong})
    with pytest.raises(DeployError) as raised:
        step.ask(context, step.decide(USUAL, SecretsFacts()))
    assert str(raised.value) == f"{key} does not look like {ASKED[key].what}: look it up and give it again"
    assert not wrong or wrong not in str(raised.value)


# By Secrets Manager.


def test_what_was_set_by_hand_stays_and_what_is_empty_is_filled(account: Account) -> None:
    client = account.bed.client("secretsmanager")
    client.create_secret(Name="comanda/db", SecretString=json.dumps({"OWNER_PASSWORD": "by hand", "MORE": "x"}))
    client.create_secret(Name="comanda/api")  # as Terraform makes it: without a value
    steps = [named("secrets")]
    shown = account.plan(steps)
    assert [each.split(":")[0] for each in shown] == [f"change {DATABASE}", f"change {API}", f"create {GRAFANA}"]
    assert account.apply(steps) == shown
    assert account.plan(steps) == []
    found = json.loads(client.get_secret_value(SecretId="comanda/db")["SecretString"])
    assert (found["OWNER_PASSWORD"], found["MORE"]) == ("by hand", "x")
    made = [found[key] for key in GENERATED if key != "OWNER_PASSWORD"]
    assert len({*made}) == 4
    assert all(len(each) > 40 for each in made)
    [password] = json.loads(client.get_secret_value(SecretId="comanda/grafana")["SecretString"]).values()
    assert len(password) > 40
    assert password not in made


def test_the_api_s_urls_are_made_of_the_database_s_passwords_where_they_are_missing(account: Account) -> None:
    client, steps = account.bed.client("secretsmanager"), [named("secrets")]
    by_hand = "postgresql://comanda_api_b:another@elsewhere:5432/comanda"
    client.create_secret(Name="comanda/db", SecretString=json.dumps({"OWNER_PASSWORD": "by hand: a/b@c?"}))
    client.create_secret(Name="comanda/api", SecretString=json.dumps({**MERCADO_PAGO, "DATABASE_URL": by_hand}))
    assert account.apply(steps)[1:2] == [f"change {API}: MIGRATION_DATABASE_URL"]
    found = json.loads(client.get_secret_value(SecretId="comanda/api")["SecretString"])
    assert found["DATABASE_URL"] == by_hand, "what is there is never touched"
    url = urlsplit(found["MIGRATION_DATABASE_URL"])
    assert (url.username, unquote(url.password or "")) == ("comanda_owner", "by hand: a/b@c?")
    assert (url.hostname, url.port, url.path) == ("database.comanda-db.svc", 5432, "/comanda")


def test_a_url_without_its_password_is_not_made(account: Account) -> None:
    """Somebody takes the database's entry away between the look and the change."""
    step, context = Secrets(), account.context()
    change = step.decide(USUAL, replace(FULL, api=without(FULL.api, "DATABASE_URL")))[0]
    assert change.do is not None
    with pytest.raises(DeployError, match="secret comanda/db has no API_A_PASSWORD"):
        change.do(context)


@pytest.mark.parametrize("text", ["not JSON", '["a", "list"]', '"a word"'])
def test_what_is_no_object_is_nobody_s_to_mend_but_a_person_s(account: Account, text: str) -> None:
    account.bed.client("secretsmanager").create_secret(Name="comanda/api", SecretString=text)
    with pytest.raises(DeployError, match=r"secret comanda/api is no JSON object: mend it in the Secrets Manager"):
        account.plan([named("secrets")])


def test_one_in_deletion_is_restored_as_it_was_or_deleted_for_good(account: Account) -> None:
    steps, client = [named("secrets")], account.bed.client("secretsmanager")
    account.apply(steps)
    before = client.get_secret_value(SecretId="comanda/db")["SecretString"]
    client.delete_secret(SecretId="comanda/db", RecoveryWindowInDays=7)
    assert account.apply(steps) == [f"change {DATABASE}: it was to be deleted: taken back"]
    assert client.get_secret_value(SecretId="comanda/db")["SecretString"] == before
    client.delete_secret(SecretId="comanda/db", RecoveryWindowInDays=7)
    assert account.destroy(steps) == [f"delete {API}", f"delete {DATABASE}", f"delete {GRAFANA}"]
    assert {each.split()[0] for each in account.plan(steps)} == {Kind.CREATE.value}
