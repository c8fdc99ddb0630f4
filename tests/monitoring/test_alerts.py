"""Whoever is woken finds out why, what it means and what to do: every alert is whole, and none is without its tests."""

import re
from collections.abc import Mapping
from typing import Any

import pytest
import yaml

from tests.monitoring.reading import PAGES, alert_cases, alerts, records, rule_files
from tests.tidy.sources import ROOT

SEVERITIES = {"page", "ticket", "none"}
AREAS = {"ordering", "payments", "kitchen", "database", "backups", "cluster", "monitoring"}
SECTIONS = ["Meaning", "Impact", "First look", "Fix", "How to silence"]
each_alert = pytest.mark.parametrize("alert", alerts(), ids=lambda alert: alert["alert"])


def page_of(alert: Mapping[str, Any]) -> str:
    """Answer the text of an alert's page."""
    return (PAGES / f"{alert['alert']}.md").read_text(encoding="utf-8")


def test_names_are_given_once() -> None:
    names = [alert["alert"] for alert in alerts()]
    assert len(names) == len(set(names))


@each_alert
def test_it_says_how_urgent_it_is_and_where_its_page_is(alert: Mapping[str, Any]) -> None:
    assert set(alert["labels"]) == {"severity", "area"}
    assert alert["labels"]["severity"] in SEVERITIES
    assert alert["labels"]["area"] in AREAS
    assert set(alert["annotations"]) == {"summary", "description", "page"}
    assert alert["annotations"]["page"] == f"docs/alerts/{alert['alert']}.md"
    assert (ROOT / alert["annotations"]["page"]).is_file()


@each_alert
def test_none_but_the_watchdog_fires_at_the_first_look(alert: Mapping[str, Any]) -> None:
    assert ("for" in alert) == (alert["labels"]["severity"] != "none")


@each_alert
def test_its_page_leads_from_the_alert_to_the_fix(alert: Mapping[str, Any]) -> None:
    page = page_of(alert)
    assert page.startswith(f"# {alert['alert']}\n")
    assert re.findall(r"^## (.*)$", page, re.MULTILINE) == SECTIONS
    parts = dict(zip(SECTIONS, re.split(r"^## .*$", page, flags=re.MULTILINE)[1:], strict=True))
    assert all(len(text.split()) > 5 for text in parts.values())
    assert f"alertname={alert['alert']}" in parts["How to silence"]
    for name in ("First look", "Fix"):
        assert re.search(r"^    \S|`\S", parts[name], re.MULTILINE), f"nothing to paste under {name}"


def test_there_is_no_page_without_an_alert() -> None:
    assert {path.stem for path in PAGES.iterdir()} == {alert["alert"] for alert in alerts()}


@pytest.mark.parametrize("path", sorted(PAGES.glob("*.md")), ids=lambda path: path.stem)
def test_pages_name_verbs_alerts_and_pages_that_exist(path: Any) -> None:
    page = path.read_text(encoding="utf-8")
    known = {path.stem for path in PAGES.iterdir()}
    for link in re.findall(r"\]\(([^)#]*?)(?:#[^)]*)?\)", page):
        if "://" not in link:
            assert (path.parent / link).is_file(), link
    assert set(re.findall(r"\[`?(\w+)`?\]\(\1\.md\)", page)) <= known
    runbook = (ROOT / "docs" / "runbook.md").read_text(encoding="utf-8")
    for verb in re.findall(r"eks-cluster-mng\.sh ([a-z-]+)", page):
        assert f"`{verb}" in runbook or f"eks-cluster-mng.sh {verb}" in runbook, verb


METRIC = re.compile(
    r"\b(?:comanda|http|pg|kube|kubelet|node|cluster_autoscaler|externalsecret|prometheus|alertmanager)_\w+"
)


@each_alert
def test_its_page_asks_for_what_its_rule_asks_for(alert: Mapping[str, Any]) -> None:
    """A metric that is renamed in the rule alone would lead nowhere at night."""
    # A histogram's page may ask for what is recorded of it.
    asked = {re.sub(r"_(bucket|count|sum)$", "", name) for name in METRIC.findall(alert["expr"])}
    asked |= set(re.findall(r"\w+:\w+:\w+", alert["expr"]))
    assert not asked or any(name in page_of(alert) for name in asked), asked


def test_the_overview_lists_every_alert_with_its_severity() -> None:
    overview = (ROOT / "docs" / "monitoring.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| \[(\w+)\]\(alerts/\1\.md\) \| (\w+) \|", overview, re.MULTILINE))
    assert rows == {alert["alert"]: alert["labels"]["severity"] for alert in alerts()}


@each_alert
def test_promtool_sees_it_fire_and_sees_it_silent(alert: Mapping[str, Any]) -> None:
    # The watchdog is never silent; that is what it is for.
    wanted = {True} if alert["labels"]["severity"] == "none" else {True, False}
    assert {fires for name, fires in alert_cases() if name == alert["alert"]} == wanted


def test_no_case_is_of_an_alert_that_is_none() -> None:
    assert {name for name, _ in alert_cases()} == {alert["alert"] for alert in alerts()}


def test_what_is_recorded_is_named_by_level_metric_and_operation() -> None:
    for record in records():
        assert re.fullmatch(r"[a-z_]+:[a-zA-Z_]+:[a-z0-9_]+", record["record"]), record["record"]


def test_what_alerts_take_from_recordings_is_recorded() -> None:
    recorded = {record["record"] for record in records()}
    for alert in alerts():
        assert set(re.findall(r"\b\w+:\w+:\w+\b", alert["expr"])) <= recorded, alert["alert"]


def test_rules_are_read_every_15_seconds_but_for_windows_of_hours() -> None:
    for text in rule_files().values():
        for group in yaml.safe_load(text)["groups"]:
            assert group.get("interval") == ("1m" if group["name"].endswith("-long") else None), group["name"]
