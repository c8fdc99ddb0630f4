"""`rotate-secrets`: nobody who runs is locked out, what leaked is worth nothing in the end, a kill loses nothing."""

import base64
import json
import re
from argparse import Namespace
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest

from comanda_deploy import commands, kubectl, rotating_database, rotating_keys, rotating_mercado_pago, rotation, verbs
from comanda_deploy import lock as locks
from comanda_deploy.database_users import ITERATIONS, lets_in, set_passwords, verifier
from comanda_deploy.errors import DeployError
from comanda_deploy.rotating_mercado_pago import PREVIOUS, Told
from comanda_local.postgres import EmbeddedPostgres
from comanda_testbed.bed import TestBed
from tests.deployment.rotating import USERS, Cluster, Killed, make_roles

SETTINGS = {"name": None, "keep": 60, "finish": False, "other_account": False, "json": False, "yes": True}


@pytest.fixture(scope="module")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedPostgres]:
    """A server of this module's own: all its passwords change."""
    with EmbeddedPostgres(
        tmp_path_factory.mktemp("rotated") / "data", fsync=False, settings={"log_statement": "all"}
    ) as one:
        make_roles(one)
        yield one


@pytest.fixture
def cluster(shared_bed: TestBed, postgres: EmbeddedPostgres, monkeypatch: pytest.MonkeyPatch) -> Cluster:
    monkeypatch.setattr(kubectl, "reach", lambda _: None)
    for name, value in shared_bed.environment.items():
        monkeypatch.setenv(name, value)
    made = Cluster(shared_bed, postgres)
    made.begin()
    return made


def rotate_database(cluster: Cluster) -> list[str]:
    said: list[str] = []
    rotating_database.rotate(cluster.context(), said.append)
    return said


def passwords(cluster: Cluster) -> dict[str, str]:
    entry = cluster.entry("comanda/db")
    return {user: entry[key] for user, key in USERS.items()}


def assert_rotated(cluster: Cluster, before: dict[str, str], *, user: str = "comanda_api_b") -> None:
    """See that all is as it shall be in the end."""
    now = passwords(cluster)
    for each, old in before.items():
        assert now[each] != old, each
        assert cluster.lets_in(each, now[each]), each
        assert not cluster.lets_in(each, old), f"{each} is still let in by what may have leaked"
    api = cluster.entry("comanda/api")
    assert urlsplit(api["DATABASE_URL"]).username == user
    assert urlsplit(api["DATABASE_URL"]).password == now[user]
    assert urlsplit(api["MIGRATION_DATABASE_URL"]).password == now["comanda_owner"]
    assert "ROTATING" not in cluster.entry("comanda/db")
    assert {pod.url for pod in cluster.pods} == {api["DATABASE_URL"]}
    assert cluster.secrets["comanda-migration"]["MIGRATION_DATABASE_URL"] == api["MIGRATION_DATABASE_URL"]
    assert cluster.secrets["database"] == {key: now[each] for each, key in USERS.items()}
    assert cluster.locked_out == []


# The database.


def test_every_user_has_another_password_and_no_pod_is_ever_locked_out(cluster: Cluster) -> None:
    before = passwords(cluster)
    rotate_database(cluster)
    assert_rotated(cluster, before)


def test_twice_it_is_the_first_user_s_turn_again(cluster: Cluster) -> None:
    rotate_database(cluster)
    before = passwords(cluster)
    rotate_database(cluster)
    assert_rotated(cluster, before, user="comanda_api_a")


def test_killed_between_any_two_changes_it_goes_on(
    cluster: Cluster, shared_bed: TestBed, postgres: EmbeddedPostgres
) -> None:
    rotate_database(cluster)
    assert cluster.changes > 15
    for number in range(1, cluster.changes + 1):
        again = Cluster(shared_bed, postgres)
        again.begin()
        before = passwords(again)
        again.kill_at = number
        with pytest.raises(Killed):
            rotate_database(again)
        again.kill_at = None
        rotate_database(again)
        # It went on: beginning anew would have brought the first user back.
        assert_rotated(again, before)


def test_killed_twice_it_still_goes_on(cluster: Cluster) -> None:
    before = passwords(cluster)
    for number in (4, 7):
        cluster.kill_at = number
        cluster.changes = 0
        with pytest.raises(Killed):
            rotate_database(cluster)
    cluster.kill_at = None
    rotate_database(cluster)
    assert_rotated(cluster, before)


def test_pods_that_do_not_come_up_leave_the_former_password_good(cluster: Cluster) -> None:
    before = passwords(cluster)
    cluster.trouble = True
    with pytest.raises(DeployError, match="do not come up, those from before serve"):
        rotate_database(cluster)
    assert cluster.lets_in("comanda_api_a", before["comanda_api_a"])
    assert cluster.locked_out == []
    cluster.trouble = False
    for pod in cluster.pods:
        if pod.url.startswith("postgresql://comanda_api_a"):
            pod.looks_left = 2
    rotate_database(cluster)
    assert_rotated(cluster, before)


def test_a_secret_that_is_not_copied_is_said_and_nothing_is_lost(cluster: Cluster) -> None:
    before = passwords(cluster)
    cluster.sync_works = False
    with pytest.raises(DeployError, match=r"comanda/comanda-api within 180 s: kubectl describe externalsecret"):
        rotate_database(cluster)
    assert cluster.locked_out == []
    cluster.sync_works = True
    rotate_database(cluster)
    assert_rotated(cluster, before)


def test_without_an_api_nobody_is_waited_for(shared_bed: TestBed, cluster: Cluster, postgres: EmbeddedPostgres) -> None:
    bare = Cluster(shared_bed, postgres, deployed=False)
    bare.begin()
    before = passwords(bare)
    said = rotate_database(bare)
    assert "API and worker are not deployed yet: nobody uses it" in said
    for user, old in before.items():
        assert not bare.lets_in(user, old)


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("postgresql://comanda_api_a:x@comanda.abc.sa-east-1.rds.amazonaws.com:5432/comanda", "docs/rds.md"),
        (
            "postgresql://comanda_owner:x@database.comanda-db.svc:5432/comanda",
            "is not of comanda_api_a or comanda_api_b",
        ),
        ("", "create-secrets first"),
    ],
)
def test_another_database_is_left_alone(cluster: Cluster, url: str, says: str) -> None:
    before = passwords(cluster)
    cluster.write("comanda/api", {**cluster.entry("comanda/api"), "DATABASE_URL": url})
    with pytest.raises(DeployError, match=re.escape(says)):
        rotate_database(cluster)
    assert passwords(cluster) == before


def test_a_mark_that_is_not_ours_is_not_gone_on_with(cluster: Cluster) -> None:
    cluster.write("comanda/db", {**cluster.entry("comanda/db"), "ROTATING": "somebody"})
    with pytest.raises(DeployError, match="names somebody, no user of ours"):
        rotate_database(cluster)


def test_no_password_is_on_a_command_line_in_what_is_said_or_in_the_server_s_log(cluster: Cluster) -> None:
    old = set(passwords(cluster).values())
    said = rotate_database(cluster)
    log = cluster.server.log_file.read_text(encoding="utf-8")
    told = json.dumps([cluster.commands, said])
    for secret in {*old, *passwords(cluster).values()}:
        assert secret not in told
    for secret in passwords(cluster).values():
        assert secret not in log
    assert "SCRAM-SHA-256" not in log, "what PostgreSQL keeps of one is not logged either"
    assert "SCRAM-SHA-256" not in told


# What PostgreSQL keeps of a password.


def test_a_verifier_is_what_postgresql_itself_would_make(cluster: Cluster) -> None:
    cluster.psql("ALTER ROLE comanda_metrics PASSWORD 'told in plain: \"it'")
    kept = cluster.psql("SELECT rolpassword FROM pg_authid WHERE rolname = 'comanda_metrics'")
    salt = base64.b64decode(kept.split(":")[1].partition("$")[0])
    assert f"${ITERATIONS}:" in kept
    assert verifier('told in plain: "it', salt) == kept
    with pytest.raises(ValueError, match="ASCII"):
        verifier("ção")


@pytest.mark.parametrize("password", ["plain", "it's \\ odd; $$ :'x' \"", "ção ½ ™ \u00a0", "\\'; DROP ROLE x; --ç"])
def test_any_password_is_set_as_it_is(cluster: Cluster, password: str) -> None:
    context = cluster.context()
    set_passwords(context, {"comanda_metrics": password, "comanda_api_b": password})
    assert lets_in(context, "comanda_metrics", password)
    assert lets_in(context, "comanda_api_b", password)
    assert not lets_in(context, "comanda_api_b", password + "x")


def test_all_are_set_or_none_and_what_refuses_says_no_password(cluster: Cluster) -> None:
    before = passwords(cluster)
    with pytest.raises(DeployError, match="42704") as refused:
        set_passwords(cluster.context(), {"comanda_api_a": "another", "comanda_nobody": "secret-of-nobody"})
    assert cluster.lets_in("comanda_api_a", before["comanda_api_a"])
    assert "secret-of-nobody" not in str(refused.value)
    assert "SCRAM" not in str(refused.value)


# After a restore.


def test_a_database_from_before_a_rotation_gets_the_passwords_of_now(cluster: Cluster) -> None:
    for user in USERS:
        cluster.psql(f"ALTER ROLE {user} PASSWORD 'of the backup'")
    for _ in range(2):
        rotation.passwords_into_database(cluster.context())
        for user, password in passwords(cluster).items():
            assert cluster.lets_in(user, password)


def test_what_the_pods_use_goes_before_where_the_entries_differ(cluster: Cluster) -> None:
    used = urlsplit(cluster.entry("comanda/api")["DATABASE_URL"]).password
    assert used is not None
    cluster.write("comanda/db", {**cluster.entry("comanda/db"), "API_A_PASSWORD": "another one"})
    rotation.passwords_into_database(cluster.context())
    assert cluster.lets_in("comanda_api_a", used)


def test_an_entry_that_lacks_one_changes_nothing(cluster: Cluster) -> None:
    before = passwords(cluster)
    cluster.write("comanda/db", {**cluster.entry("comanda/db"), "METRICS_PASSWORD": ""})
    with pytest.raises(DeployError, match=r"lacks METRICS_PASSWORD: run .*create-secrets"):
        rotation.passwords_into_database(cluster.context())
    assert cluster.lets_in("comanda_api_a", before["comanda_api_a"])


# Mercado Pago.

OLD = {
    "MERCADO_PAGO_ACCESS_TOKEN": "TEST-of-the-test-bed",
    "MERCADO_PAGO_WEBHOOK_SECRET": "whsec-of-the-test-bed",
}
NEW = {
    "MERCADO_PAGO_ACCESS_TOKEN": "TEST-quite-another-token",
    "MERCADO_PAGO_WEBHOOK_SECRET": "whsec-quite-another-one",
}


def take_over(cluster: Cluster, given: dict[str, str]) -> list[str]:
    said: list[str] = []
    rotating_mercado_pago.take_over(cluster.context(), given, said.append)
    return said


def test_both_are_taken_over_and_the_secret_before_stays_until_it_is_finished(cluster: Cluster) -> None:
    take_over(cluster, NEW)
    entry = cluster.entry("comanda/api")
    assert {key: entry[key] for key in NEW} == NEW
    assert entry[PREVIOUS] == OLD["MERCADO_PAGO_WEBHOOK_SECRET"]
    assert cluster.secrets["comanda-api"][PREVIOUS] == OLD["MERCADO_PAGO_WEBHOOK_SECRET"], "the pods have it"
    rotating_mercado_pago.finish(cluster.context(), print)
    assert PREVIOUS not in cluster.entry("comanda/api")
    assert PREVIOUS not in cluster.secrets["comanda-api"]
    assert cluster.locked_out == []


def test_a_second_secret_keeps_both_before_and_one_that_comes_back_is_none_of_them(cluster: Cluster) -> None:
    secret = "MERCADO_PAGO_WEBHOOK_SECRET"
    take_over(cluster, {secret: "whsec-mistyped-it-was"})
    take_over(cluster, {secret: "whsec-as-it-should-be"})
    assert cluster.entry("comanda/api")[PREVIOUS].split() == ["whsec-mistyped-it-was", OLD[secret]]
    take_over(cluster, {secret: OLD[secret]})
    assert cluster.entry("comanda/api")[PREVIOUS].split() == ["whsec-as-it-should-be", "whsec-mistyped-it-was"]


def test_a_token_alone_leaves_the_secret_as_it_is(cluster: Cluster) -> None:
    take_over(cluster, {"MERCADO_PAGO_ACCESS_TOKEN": NEW["MERCADO_PAGO_ACCESS_TOKEN"]})
    entry = cluster.entry("comanda/api")
    assert PREVIOUS not in entry
    assert entry["MERCADO_PAGO_WEBHOOK_SECRET"] == OLD["MERCADO_PAGO_WEBHOOK_SECRET"]


def test_killed_between_any_two_changes_the_same_again_goes_on(
    shared_bed: TestBed, cluster: Cluster, postgres: EmbeddedPostgres
) -> None:
    take_over(cluster, NEW)
    for number in range(1, cluster.changes + 1):
        again = Cluster(shared_bed, postgres)
        again.begin()
        again.kill_at = number
        with pytest.raises(Killed):
            take_over(again, NEW)
        again.kill_at = None
        take_over(again, NEW)
        entry = again.entry("comanda/api")
        assert entry[PREVIOUS] == OLD["MERCADO_PAGO_WEBHOOK_SECRET"]
        assert again.secrets["comanda-api"] == {key: entry[key] for key in entry if key != "MIGRATION_DATABASE_URL"}
        assert again.locked_out == []


def options(**given: Any) -> Namespace:
    return Namespace(**{**SETTINGS, **given})


@pytest.mark.parametrize(
    ("new", "old", "given", "says"),
    [
        (
            Told(refused=True),
            Told("7"),
            NEW,
            "Mercado Pago refuses the new MERCADO_PAGO_ACCESS_TOKEN: nothing was changed",
        ),
        (Told("8"), Told("7"), NEW, "is another account's"),
        (
            Told("7"),
            Told("7"),
            {"MERCADO_PAGO_ACCESS_TOKEN": "APP_USR-a-live-one"},
            "is for tests and the other is not",
        ),
    ],
)
def test_a_token_that_is_not_good_is_found_out_before_it_is_written(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch, new: Told, old: Told, given: dict[str, str], says: str
) -> None:
    monkeypatch.setattr(
        rotating_mercado_pago, "whose", lambda _, token: old if token == OLD["MERCADO_PAGO_ACCESS_TOKEN"] else new
    )
    with pytest.raises(DeployError, match=re.escape(says)):
        rotating_mercado_pago.check(cluster.context(), given, options(), print)
    if not new.refused:
        rotating_mercado_pago.check(cluster.context(), given, options(other_account=True), print)


def test_one_that_cannot_be_asked_about_goes_on_with_yes_alone(cluster: Cluster) -> None:
    entry = cluster.entry("comanda/api")
    cluster.write("comanda/api", {**entry, "MERCADO_PAGO_BASE_URL": "http://sandbox.comanda-sandbox.svc:8001"})
    said: list[str] = []
    rotating_mercado_pago.check(cluster.context(), NEW, options(yes=True), said.append)
    assert "is not known from here: MERCADO_PAGO_BASE_URL is sandbox.comanda-sandbox.svc, within the cluster" in said[0]
    with pytest.raises(DeployError, match="say --yes"):
        rotating_mercado_pago.check(cluster.context(), NEW, options(yes=False), said.append)


def test_what_is_given_comes_from_the_environment_or_is_asked_for(cluster: Cluster) -> None:
    ask = rotating_mercado_pago.ask
    assert ask(cluster.context(**NEW)) == NEW
    asked: list[str] = []

    def answer(question: str) -> str:
        asked.append(question)
        return " " if "ACCESS_TOKEN" in question else NEW["MERCADO_PAGO_WEBHOOK_SECRET"]

    context = cluster.context()
    context.ask = answer
    assert ask(context) == {"MERCADO_PAGO_WEBHOOK_SECRET": NEW["MERCADO_PAGO_WEBHOOK_SECRET"]}
    assert len(asked) == 2
    assert all("empty: it stays" in each for each in asked)
    with pytest.raises(DeployError, match="nothing new is given"):
        ask(cluster.context())
    with pytest.raises(DeployError, match="does not look like") as wrong:
        ask(cluster.context(MERCADO_PAGO_ACCESS_TOKEN="no-token-at-all"))
    assert "no-token-at-all" not in str(wrong.value)


# Keys.


def key(name: str, role: str = "staff", revoked_at: str | None = None) -> str:
    return json.dumps({"name": name, "role": role, "revoked_at": revoked_at}) + "\n"


@pytest.mark.parametrize(
    ("listed", "name", "expected"),
    [
        (key("tablet") + key("boss", "manager"), None, "tablet"),
        (key("tablet") + key("tablet", revoked_at="2026-11-26T00:00:00Z"), None, "tablet"),
        (key("tablet") + key("other"), "other", "other"),
    ],
)
def test_the_only_key_is_meant_or_the_one_that_is_named(listed: str, name: str | None, expected: str) -> None:
    assert rotating_keys.chosen(listed, "staff", name) == expected


@pytest.mark.parametrize(
    ("listed", "name", "says"),
    [
        ("", None, "there is no key of staff yet: infra/scripts/eks-cluster-mng.sh create-manager-key --role staff"),
        (key("boss", "manager"), None, "there is no key of staff yet"),
        (key("tablet", revoked_at="2026-11-26T00:00:00Z"), None, "there is no key of staff yet"),
        (key("a") + key("b"), None, "several keys of staff, say which: --name 'a' | --name 'b'"),
        (key("a") + key("boss", "manager"), "boss", "there is no key of staff named 'boss': there is 'a'"),
    ],
)
def test_which_key_is_meant_is_asked_back(listed: str, name: str | None, says: str) -> None:
    with pytest.raises(DeployError, match=re.escape(says)):
        rotating_keys.chosen(listed, "staff", name)


# The verb.


def run(cluster: Cluster, monkeypatch: pytest.MonkeyPatch, *arguments: str, **environment: str) -> int:
    monkeypatch.setattr(commands, "context_of", lambda _: cluster.context(**environment))
    return verbs.run("eks-cluster-mng.sh", ["rotate-secrets", *arguments])


def test_a_key_alone_stands_on_the_standard_output(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    cluster.keys = [json.loads(key("tablet"))]
    assert run(cluster, monkeypatch, "staff", "--keep", "15", "--yes") == 0
    said = capsys.readouterr()
    assert said.out == "comanda_staff_new-key-of-tablet-for-15\n"
    assert said.err.splitlines()[-1].startswith("Rotated: staff. Next: type the new key in")
    assert "comanda_staff_new-key" not in said.err
    assert locks.holder_of(cluster.context()) is None


def test_for_scripts_it_is_one_document(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    cluster.keys = [json.loads(key("tablet")), json.loads(key("boss", "manager"))]
    assert run(cluster, monkeypatch, "staff", "manager", "database", "--json", "--yes") == 0
    found = json.loads(capsys.readouterr().out)["rotated"]
    assert list(found) == ["database", "staff", "manager"], (
        "keys come last, so that none is printed and then lost sight of"
    )
    assert found["manager"] == {"name": "boss", "key": "comanda_staff_new-key-of-boss-for-60"}


def test_somebody_else_s_lock_is_respected(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    before = passwords(cluster)
    holder = locks.take(cluster.context(), "looking after it", stays=True)
    try:
        with pytest.raises(DeployError, match=r"locked by .*looking after it"):
            run(cluster, monkeypatch, "database", "--yes")
    finally:
        locks.release(cluster.context(), holder)
    assert passwords(cluster) == before


def test_a_failure_says_how_it_goes_on_and_frees_the_lock(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    cluster.sync_works = False
    with pytest.raises(DeployError, match=r"(?s)not locked out, and the lock is free.*rotate-secrets database$"):
        run(cluster, monkeypatch, "database", "--yes")
    assert locks.holder_of(cluster.context()) is None


def test_what_is_left_is_named_as_it_was_asked_for_and_a_key_that_was_made_is_told(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    cluster.keys = [json.loads(key("tablet"))]
    with pytest.raises(DeployError, match=r"no key of manager yet(?s:.*)rotate-secrets manager --keep 15$"):
        run(cluster, monkeypatch, "staff", "manager", "--keep", "15", "--json", "--yes")
    assert json.loads(capsys.readouterr().out) == {
        "rotated": {"staff": {"name": "tablet", "key": "comanda_staff_new-key-of-tablet-for-15"}}
    }
    cluster.keys = []
    with pytest.raises(DeployError, match=r"rotate-secrets staff --keep 60 --name 'at the bar'$"):
        run(cluster, monkeypatch, "staff", "--name", "at the bar", "--yes")


def test_nothing_is_done_without_a_yes(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    before = passwords(cluster)
    with pytest.raises(DeployError, match="say --yes"):
        run(cluster, monkeypatch, "database")
    assert passwords(cluster) == before


def test_without_saying_what_it_says_what_there_is_and_changes_nothing(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(cluster, monkeypatch) == 0
    said = capsys.readouterr().out
    assert re.search(r"comanda/db, last changed \d{4}-\d\d-\d\d \d\d:\d\d UTC", said)
    assert "comanda/grafana, none yet: run infra/scripts/eks-cluster-deploy.sh create-secrets" in said
    assert said.splitlines()[-1] == "Next: infra/scripts/eks-cluster-mng.sh rotate-secrets WHAT"
    assert cluster.changes == 0
    cluster.write("comanda/db", {**cluster.entry("comanda/db"), "ROTATING": "comanda_owner postgres"})
    cluster.write("comanda/api", {**cluster.entry("comanda/api"), PREVIOUS: "whsec-from-before-this"})
    assert run(cluster, monkeypatch, "--json") == 0
    text = capsys.readouterr().out
    found = json.loads(text)
    assert found["database"]["note"] == "a rotation is under way (comanda_owner, postgres): run it again to go on"
    assert found["mercado-pago"]["note"] == "a previous webhook secret is still taken: --finish ends that"
    assert found["grafana"]["changed"] is None
    assert "whsec" not in text


def test_an_entry_that_is_not_there_yet_is_said_with_what_makes_it(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(
        DeployError, match=r"no entry comanda/grafana yet: run infra/scripts/eks-cluster-deploy.sh create-secrets"
    ):
        run(cluster, monkeypatch, "grafana", "--yes")


def test_mercado_pago_from_the_environment(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(rotating_mercado_pago, "whose", lambda *_: Told("7"))
    assert run(cluster, monkeypatch, "mercado-pago", "--yes", **NEW) == 0
    said = capsys.readouterr()
    assert "--finish" in said.out.splitlines()[-1]
    assert run(cluster, monkeypatch, "mercado-pago", "--finish", "--yes") == 0
    said_again = capsys.readouterr()
    for secret in (*NEW.values(), *OLD.values()):
        assert secret not in said.out + said.err + said_again.out + said_again.err
    assert PREVIOUS not in cluster.entry("comanda/api")


@pytest.mark.parametrize(
    "arguments",
    [
        ["everything"],
        ["database", "--finish"],
        ["database", "--name", "x"],
        ["staff", "--other-account"],
        ["staff", "manager", "--name", "x"],
        ["staff", "--keep", "-1"],
        ["staff", "--keep", "an hour"],
    ],
)
def test_wrongly_called_it_ends_with_2_and_says_so(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: list[str]
) -> None:
    try:
        status = run(cluster, monkeypatch, *arguments, "--yes")
    except SystemExit as ended:
        status = int(ended.code or 0)
    assert status == 2
    assert len(capsys.readouterr().err.splitlines()) == 1
    assert cluster.changes == 0
