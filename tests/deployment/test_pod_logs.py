"""The pods' logs: what is decided of each state, as data; and in an account, switched on, off, and taken down."""

from dataclasses import replace
from typing import Any

import pytest

from comanda_deploy import inventory, needs, objects
from comanda_deploy.objects import Found
from comanda_deploy.pod_identity import Association, IdentityFacts
from comanda_deploy.runbook import named
from comanda_deploy.settings import Settings
from comanda_deploy.steps.application import ApplicationFacts
from comanda_deploy.steps.logs import FLUENT_BIT, FOLDER, GROUPS, IDENTITY, Logs, LogsFacts
from tests.deployment.account import USUAL, Account, as_said, changed

ON = changed(USUAL, logs={"retention_days": 30})
OFF = "note logs of the pods: go with their pods: logs.retention_days is 0"
WHOSE = "identity logging/fluent-bit as ComandaLogs"
WANTED = objects.read(FOLDER)
ROLES = ((IDENTITY.role, "arn:1"),)
KNOWN = IdentityFacts(True, ((IDENTITY, Association("a-1", IDENTITY.role)),), ROLES)
BUILT = LogsFacts(
    KNOWN,
    dict.fromkeys(GROUPS, 30),
    ApplicationFacts(WANTED, True, found={each.key: Found(each.body) for each in WANTED}),
)
NOTHING = LogsFacts(IdentityFacts(True, roles=ROLES), {}, ApplicationFacts(WANTED, True))
MADE = [
    "create Namespace logging: 1-logs-namespace.yaml",
    "create ServiceAccount logging/fluent-bit: 1-logs-namespace.yaml",
    "create NetworkPolicy logging/nothing: 1-logs-namespace.yaml",
    "create NetworkPolicy logging/from-fluent-bit: 1-logs-namespace.yaml",
    "create ConfigMap logging/fluent-bit: 2-logs-settings.yaml",
    "create DaemonSet logging/fluent-bit: 3-logs-fluent-bit.yaml",
]


def said(facts: LogsFacts, settings: Settings = ON) -> list[str]:
    return as_said(Logs().decide(settings, facts))


def taken_away(facts: LogsFacts, **keep: Any) -> list[str]:
    return as_said(Logs().decide_removal(changed(USUAL, destroy={"keep": keep.get("keep", ())}), facts))


def test_nobody_asked_for_it_as_published() -> None:
    assert USUAL.logs.retention_days == 0
    assert said(NOTHING, USUAL) == [OFF]


def test_as_it_should_be_there_is_nothing_to_do() -> None:
    assert said(BUILT) == []


def test_the_identity_goes_before_the_groups_and_both_before_the_pods() -> None:
    """A pod that is made before its identity has neither region nor credentials for all its life."""
    said_of = ("create log group {}", "change log group {}: kept for 30 days")
    groups = [each.format(name) for name in GROUPS for each in said_of]
    assert said(NOTHING) == [f"create {WHOSE}", *groups, *MADE]


def test_without_its_role_nothing_is_made() -> None:
    [first, *_] = Logs().decide(ON, replace(NOTHING, identity=IdentityFacts(True)))
    assert as_said([first]) == [f"refused {WHOSE}: there is no role ComandaLogs"]
    assert first.mend == ("have an administrator run comanda-deploy bootstrap",)


@pytest.mark.parametrize("days", [None, 7])
def test_a_group_keeps_its_lines_as_long_as_the_setting_says(days: int | None) -> None:
    facts = replace(BUILT, groups={**BUILT.groups, GROUPS[0]: days})
    assert said(facts) == [f"change log group {GROUPS[0]}: kept for 30 days"]


def test_a_group_that_somebody_deleted_is_made_anew() -> None:
    facts = replace(BUILT, groups=dict.fromkeys(GROUPS[1:], 30))
    assert said(facts) == [f"create log group {GROUPS[0]}", f"change log group {GROUPS[0]}: kept for 30 days"]


def test_it_waits_until_every_node_has_it() -> None:
    key = ("apps", "DaemonSet", "logging", "fluent-bit")
    late = replace(BUILT.manifests, late={key: "1 of 3 pods are available"})
    assert said(replace(BUILT, manifests=late)) == ["wait DaemonSet logging/fluent-bit: 1 of 3 pods are available"]


def test_switched_off_fluent_bit_goes_and_what_was_written_stays() -> None:
    changes = said(BUILT, USUAL)
    assert changes[0] == "delete DaemonSet logging/fluent-bit"
    assert changes[-2:] == [f"delete {WHOSE}", OFF]
    assert not [each for each in changes if "log group" in each]


def test_switched_off_a_cluster_that_does_not_answer_is_no_matter() -> None:
    silent = ApplicationFacts(WANTED, True, "no way to it")
    assert said(LogsFacts(manifests=silent), USUAL) == [OFF]


def test_destroy_takes_the_groups_last_and_all_of_them() -> None:
    facts = replace(BUILT, groups={**BUILT.groups, "/comanda/of-an-older-version": 7})
    changes = taken_away(facts)
    assert changes[0] == "delete DaemonSet logging/fluent-bit"
    assert changes[-5:] == [f"delete {WHOSE}", *(f"delete log group {each}" for each in facts.groups)]


def test_destroy_keeps_the_groups_where_logs_are_to_be_kept() -> None:
    changes = taken_away(BUILT, keep=("logs",))
    assert changes[-3:] == [f"note log group {each}: kept" for each in GROUPS]


def test_before_it_is_run_alone_its_cluster_is_looked_for() -> None:
    assert {each.made_by for each in needs.NEEDS["logs"]} == {"bootstrap", "cluster", "nodes", "kubeconfig"}


def test_its_manifests_are_those_of_the_overlay() -> None:
    assert FLUENT_BIT.folder == FOLDER
    assert {each.key[2] or each.key[3] for each in WANTED} == {"logging"}


def test_in_an_account_it_is_switched_on_off_and_taken_down(account: Account) -> None:
    step, days = [named("logs")], {"retention_days": 14}
    account.apply([named(each) for each in ("network", "cluster", "nodes", "kubeconfig")])
    groups = account.bed.client("logs")

    made = account.apply(step, logs=days)
    assert made[0] == f"create {WHOSE}"
    assert account.plan(step, logs=days) == []
    assert kept(groups) == dict.fromkeys(GROUPS, 14)
    assert groups.list_tags_log_group(logGroupName=GROUPS[0])["tags"] == {"Project": "comanda"}
    account.apply(step, logs={"retention_days": 30})
    assert kept(groups) == dict.fromkeys(GROUPS, 30)

    off = account.apply(step)
    assert off[-1] == f"delete {WHOSE}"
    assert account.plan(step) == []
    assert kept(groups) == dict.fromkeys(GROUPS, 30), "what was written is there"
    left = {each.id for each in inventory.take(account.context()) if each.kind == "log group"}
    assert left > {*GROUPS}

    account.destroy(step)
    assert kept(groups) == {}


def kept(logs: Any) -> dict[str, int | None]:
    found = logs.describe_log_groups(logGroupNamePrefix="/comanda/")["logGroups"]
    return {each["logGroupName"]: each.get("retentionInDays") for each in found}
