"""The dashboards: as Grafana's schema has them, each panel whole, each query of a metric that is given.

What is not shown here is in docs/monitoring.md: Grafana itself could not be run.
"""

import json
import re
import subprocess
import sys
import tomllib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from comanda_dashboards import filled
from comanda_dashboards.every import DASHBOARDS
from comanda_dashboards.manifests import FOLDER, manifests
from comanda_dashboards.parts import DATASOURCE, SCHEMA_VERSION, Dashboard, Panel
from tests.monitoring import promtool_panels
from tests.monitoring.promql_names import asked_of, metrics

Json = dict[str, Any]
HERE = Path(__file__).parent
ROOT = HERE.parents[1]
PUBLISHED: Json = json.loads((HERE / "schema" / "grafana.json").read_text(encoding="utf-8"))
KNOWN: Json = tomllib.loads((HERE / "dashboard_metrics.toml").read_text(encoding="utf-8"))
ANNOTATION = 262_144
"""Bytes that `kubectl apply` may keep in an annotation."""
UNITS = {
    "none", "short", "percentunit", "s", "bytes", "Bps", "reqps", "cps", "ops", "currencyBRL", "dtdurations",
}  # fmt: skip
"""Grafana's ids that are in use here, each seen in the list that grafana-foundation-sdk keeps of them."""
FOLDERS = {"timeseries": "timeseries", "stat": "stat", "bargauge": "bargauge", "table": "table"}
FOLDERS |= {"state-timeline": "statetimeline"}
SUFFIXES = re.compile(r"_(bucket|sum|count)$")

each = pytest.mark.parametrize("dashboard", DASHBOARDS, ids=lambda one: one.slug)


def in_manifest(dashboard: Dashboard) -> Json:
    """Answer a dashboard as Grafana reads it from the committed manifest."""
    [body] = yaml.safe_load_all((FOLDER / f"1-grafana-dashboard-{dashboard.slug}.yaml").read_text(encoding="utf-8"))
    found: Json = json.loads(body["data"][f"{dashboard.slug}.json"])
    return found


def panels(dashboard: Dashboard) -> list[Json]:
    """Answer its panels, headings left out."""
    return [panel for panel in in_manifest(dashboard)["panels"] if panel["type"] != "row"]


def every_panel() -> Iterator[tuple[str, Panel]]:
    """Answer each panel, with the name by which the committed list knows it."""
    for dashboard in DASHBOARDS:
        for panel in dashboard.panels:
            yield f"{dashboard.slug}/{panel.title}", panel


def validator(name: str) -> jsonschema.Draft7Validator:
    """Answer what judges by one of the published schemas."""
    return jsonschema.Draft7Validator(PUBLISHED[name])


def job_of(metric: str) -> set[str]:
    """Answer which jobs give a metric."""
    names = {metric, SUFFIXES.sub("", metric)}
    return {job for job, known in KNOWN["jobs"].items() if names & set(known)}


# What is committed.


def test_the_manifests_are_what_the_code_makes() -> None:
    there = {file: file.read_text(encoding="utf-8") for file in FOLDER.glob("1-grafana-dashboard-*.yaml")}
    assert there == manifests(), "run make dashboards"


def test_make_dashboards_says_what_it_would_change_and_changes_it(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from comanda_dashboards import manifests as m, __main__ as run;"
        "run.FOLDER = m.FOLDER = Path(sys.argv.pop(1)); raise SystemExit(run.main())"
    )
    other = tmp_path / "1-grafana-dashboard-of-before.yaml"
    other.write_text("of a dashboard that is no more\n", encoding="utf-8")

    def ran(*flags: str) -> tuple[int, list[str]]:
        command = [sys.executable, "-c", code, str(tmp_path), *flags]
        answer = subprocess.run(command, capture_output=True, text=True, check=False)
        return answer.returncode, answer.stdout.splitlines()

    code_of, said = ran("--check")
    assert (code_of, len(said)) == (1, len(DASHBOARDS) + 1)
    assert list(tmp_path.iterdir()) == [other]
    assert ran()[0] == 0
    assert {file.name for file in tmp_path.iterdir()} == {file.name for file in manifests()}
    assert ran("--check") == (0, [])


@each
def test_its_manifest_can_be_applied(dashboard: Dashboard) -> None:
    """`kubectl apply` keeps the object as JSON in an annotation, quotes of the dashboard's own JSON escaped."""
    file = FOLDER / f"1-grafana-dashboard-{dashboard.slug}.yaml"
    [body] = yaml.safe_load_all(file.read_text(encoding="utf-8"))
    assert body["metadata"]["name"] == f"dashboard-{dashboard.slug}"
    assert body["metadata"]["namespace"] == "monitoring"
    assert len(json.dumps(body).encode()) < ANNOTATION / 2


# By Grafana's own schema.


@each
def test_it_is_a_dashboard_by_grafana_s_published_schema(dashboard: Dashboard) -> None:
    assert [error.message for error in validator("dashboard").iter_errors(in_manifest(dashboard))] == []


@each
def test_what_that_leaves_open_is_as_each_kind_of_panel_has_it(dashboard: Dashboard) -> None:
    wrong = []
    for panel in panels(dashboard):
        kind = FOLDERS[panel["type"]]
        custom = panel["fieldConfig"]["defaults"].get("custom", {})
        wrong += [
            f"{panel['title']}: {error.message}" for error in validator(f"{kind}.Options").iter_errors(panel["options"])
        ]
        if f"{kind}.FieldConfig" in PUBLISHED:
            found = validator(f"{kind}.FieldConfig").iter_errors(custom)
            wrong += [f"{panel['title']}: {error.message}" for error in found]
        else:
            assert custom == {}, panel["title"]
    assert wrong == []


def test_what_the_schema_does_not_know_would_be_found() -> None:
    good = in_manifest(DASHBOARDS[0])
    assert list(validator("dashboard").iter_errors({**good, "rows": []}))
    options = next(panel for panel in good["panels"] if panel["type"] == "timeseries")["options"]
    assert list(validator("timeseries.Options").iter_errors({**options, "fill": 1}))
    odd = {**good, "panels": [{**good["panels"][0], "id": "a"}]}
    assert list(validator("dashboard").iter_errors(odd))


# What a reader needs.


@each
def test_ids_are_its_own_and_nothing_stands_on_something_else(dashboard: Dashboard) -> None:
    body = in_manifest(dashboard)
    ids = Counter(panel["id"] for panel in body["panels"])
    assert {number for number, count in ids.items() if count > 1} == set()
    taken: dict[tuple[int, int], str] = {}
    for panel in body["panels"]:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24, panel["title"]
        for cell in [
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        ]:
            assert cell not in taken, f"{panel['title']} stands on {taken.get(cell)}"
            taken[cell] = panel["title"]


def test_every_dashboard_has_an_id_of_its_own_and_the_newest_form() -> None:
    bodies = [in_manifest(dashboard) for dashboard in DASHBOARDS]
    assert len({body["uid"] for body in bodies}) == len({body["title"] for body in bodies}) == len(DASHBOARDS) == 6
    assert {body["schemaVersion"] for body in bodies} == {SCHEMA_VERSION}
    assert all(len(body["uid"]) <= 40 and body["description"] for body in bodies)


@each
def test_every_panel_has_a_title_a_unit_and_asks_our_prometheus(dashboard: Dashboard) -> None:
    titles = Counter((panel["title"], panel["type"]) for panel in panels(dashboard))
    assert {title for title, count in titles.items() if count > 1} == set()
    for panel in panels(dashboard):
        assert panel["title"]
        assert panel["fieldConfig"]["defaults"]["unit"] in UNITS, panel["title"]
        assert panel["datasource"] == DATASOURCE, panel["title"]
        assert panel["targets"], panel["title"]
        assert {str(target["datasource"]) for target in panel["targets"]} == {str(DATASOURCE)}, panel["title"]
        assert len({target["refId"] for target in panel["targets"]}) == len(panel["targets"]), panel["title"]
    for variable in in_manifest(dashboard)["templating"]["list"]:
        assert variable["datasource"] == DATASOURCE


def test_the_data_source_is_the_one_that_is_provisioned() -> None:
    config = (FOLDER / "1-grafana-config-map.yaml").read_text(encoding="utf-8")
    [body] = [one for one in yaml.safe_load_all(config) if one["kind"] == "ConfigMap"]
    [source] = yaml.safe_load(body["data"]["prometheus.yaml"])["datasources"]
    assert {"type": source["type"], "uid": source["uid"]} == DATASOURCE
    assert source["jsonData"]["timeInterval"] == f"{filled.SCRAPED_EVERY}s", "$__rate_interval is four of it"


def test_thresholds_rise_and_those_of_goals_are_the_goals() -> None:
    for name, panel in every_panel():
        values = [at for at, _ in panel.steps]
        assert values == sorted(values), name
    goals = dict(every_panel())
    assert goals["service/Orders answered, in the time shown"].steps[0][0] == 0.995
    assert goals["service/Share that fails"].steps[0][0] == round(1 - 0.995, 3)
    assert goals["orders/Da aprovação à cozinha"].steps[0][0] == 15
    assert goals["orders/Pago que chega à cozinha em 15 s"].steps[0][0] == 0.99


# What is asked.


def test_every_metric_is_given_by_the_job_that_it_is_asked_of() -> None:
    wrong = []
    for query in filled.queries():
        for metric, job in asked_of(query.expr):
            if metric in KNOWN["every_job"]:
                assert job in {"", *KNOWN["jobs"]}, query
            elif job not in job_of(metric):
                wrong.append(f"{query.dashboard}/{query.panel}: {metric} of {job or 'any job'}")
    assert wrong == []


def test_every_value_that_can_be_chosen_is_of_such_a_metric_too() -> None:
    for dashboard, selector, label in filled.variable_queries():
        [(metric, job)] = asked_of(selector)
        assert job in job_of(metric), dashboard
        assert label


def test_no_metric_is_listed_that_nobody_reads() -> None:
    read = {
        each for query in filled.queries() for name in metrics(query.expr) for each in (name, SUFFIXES.sub("", name))
    }
    read |= {metric for _, selector, _ in filled.variable_queries() for metric, _ in asked_of(selector)}
    assert {name for names in KNOWN["jobs"].values() for name in names} - read == set()


def test_variables_and_grafana_s_own_are_all_filled_in() -> None:
    asked = list(filled.queries())
    assert len(asked) > 150
    assert not [query for query in asked if "$" in query.expr]
    assert not [query for query in asked if query.expr.count("(") != query.expr.count(")")]
    [slow] = [query for query in asked if query.panel == "Write-ahead log"]
    assert slow.expr == 'max(pg_wal_size_bytes{job="postgresql"})'
    [rate] = [query for query in asked if query.panel == "Temporary files"]
    assert "[120s]" in rate.expr, "of a job that is scraped every 30 s"


def test_a_rate_is_never_taken_over_a_fixed_time() -> None:
    fixed = re.compile(r"\b(?:rate|irate|increase)\([^\[]*\[(?!\$__)")
    wrong = [name for name, panel in every_panel() for query in panel.queries if fixed.search(query.expr)]
    assert wrong == []


# What the tests' cluster has not got.


@pytest.mark.parametrize("job", ["kube-state-metrics", "cluster-autoscaler"])
def test_the_list_of_panels_that_rest_on_what_is_not_there_is_whole(job: str) -> None:
    resting = {
        f"{query.dashboard}/{query.panel}"
        for query in filled.queries()
        if any(job in job_of(metric) for metric in metrics(query.expr))
    }
    listed = KNOWN["rests_on"][job]
    assert set(listed) == resting
    assert len(set(listed)) == len(listed)


@pytest.mark.parametrize("job", ["kube-state-metrics", "cluster-autoscaler"])
def test_there_is_a_series_for_each_of_its_metrics(job: str) -> None:
    given = {line.partition("{")[0] for line in KNOWN["not_on_the_tests_cluster"][job]}
    assert given == set(KNOWN["jobs"][job])


def test_promtool_is_given_each_of_these_queries_and_its_series() -> None:
    [asked] = promtool_panels.document()["tests"]
    listed = {name for names in KNOWN["rests_on"].values() for name in names}
    wanted = [each.expr for each in filled.queries() if f"{each.dashboard}/{each.panel}" in listed]
    assert [each["expr"] for each in asked["promql_expr_test"]] == [f"count({expr}) > bool 0" for expr in wanted]
    given = {pair for each in asked["input_series"] for pair in asked_of(each["series"])}
    read = {pair for expr in wanted for pair in asked_of(expr) if pair[0] != "up"}
    assert read <= given, "each metric under the job that it is asked of"
    assert len(promtool_panels.rules()["groups"][0]["rules"]) == len(list(filled.queries()))


# What finds names in queries.


@pytest.mark.parametrize(
    ("expr", "found"),
    [
        ('sum by (route) (rate(http_requests_total{job="a"}[1m])) or on() vector(0)', {("http_requests_total", "a")}),
        ("time() - max by (loop) (round_seconds)", {("round_seconds", "")}),
        ('a{job=~"x|y"} / on (pod) group_left (node) b{job="z",c=~"d{2}"}', {("a", "x"), ("a", "y"), ("b", "z")}),
        ("histogram_quantile(0.95, sum by (le) (rate(x_bucket[60s])))", {("x_bucket", "")}),
    ],
)
def test_names_of_metrics_are_found_where_they_stand(expr: str, found: set[tuple[str, str]]) -> None:
    assert asked_of(expr) == found
