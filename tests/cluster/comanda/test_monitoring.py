"""Prometheus as shipped finds what it shall watch, and says within two minutes what is wrong.

How long an alert waits before it fires, and the windows of the budgets, are promtool's to show (tests/monitoring).
"""

import json
import time
import tomllib
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from comanda_dashboards import filled
from comanda_dashboards.every import DASHBOARDS
from tests.cluster.comanda.guests import ordering
from tests.cluster.comanda.house import House
from tests.cluster.comanda.prometheus import Prometheus
from tests.cluster.comanda.test_backups import forget_backup, spoil_backup
from tests.cluster.layout import CLONE, NODES, layout
from tests.cluster.suite.kube import until
from tests.cluster.supervisor import ask
from tests.monitoring.drawing.picture import draw_all

pytestmark = pytest.mark.needs("prometheus", "node-exporter")

NOT_HERE = {"kube-state-metrics", "grafana", "cluster-autoscaler", "external-secrets"}
"""Jobs whose program runs on no cluster of the tests (docs/monitoring.md)."""
NOTICED_WITHIN = 120
GONE_WITHIN = 240
KNOWN = tomllib.loads((CLONE / "tests" / "monitoring" / "dashboard_metrics.toml").read_text(encoding="utf-8"))


def pending(prometheus: Prometheus, alert: str) -> None:
    """Wait until an alert is pending, or fires already."""
    prometheus.until_noticed(alert, NOTICED_WITHIN)


def gone(prometheus: Prometheus, alert: str) -> None:
    """Wait until nothing is left of it."""
    prometheus.until_gone(alert, GONE_WITHIN)


def test_it_finds_everything_by_itself(house: House, prometheus: Prometheus) -> None:
    wanted = {
        "comanda-api": len(house.pods("comanda-api")),
        "comanda-worker": len(house.pods("comanda-worker")),
        "kubelet": len(NODES),
        "cadvisor": len(NODES),
        "node-exporter": len(NODES),
        "postgresql": 1,
        "prometheus": 1,
        "alertmanager": 1,
    }

    def all_are_up() -> bool:
        found = {job: health for job, health in prometheus.health().items() if job not in NOT_HERE}
        return found == {job: ["up"] * count for job, count in wanted.items()}

    until("all are up", all_are_up, 120)
    assert prometheus.value("pg_up") == 1


def test_its_rules_are_loaded_and_none_of_them_fails(prometheus: Prometheus) -> None:
    for kind in ("alert", "record"):
        rules = prometheus.rules(kind)
        assert rules
        until(
            f"every {kind} was looked at",
            lambda kind=kind: all(rule["health"] == "ok" for rule in prometheus.rules(kind)),
            60,
        )
    assert prometheus.state("Watchdog") == "firing"
    alerts = json.loads(
        prometheus.house.kube(
            "get", "--raw=/api/v1/namespaces/monitoring/services/alertmanager:9093/proxy/api/v2/alerts"
        )
    )
    assert "Watchdog" in {each["labels"]["alertname"] for each in alerts}, "Alertmanager is told"


@pytest.mark.takes(240)
def test_every_panel_and_every_recorded_rule_has_data_from_the_running_system(
    house: House, prometheus: Prometheus, tmp_path: Path
) -> None:
    order = house.order(quantity=2)
    house.pay(order)
    house.until_status(order, "paid")
    refund = {"items": [{"item_id": 1, "quantity": 1}]}
    assert house.call("POST", f"/v1/orders/{order['id']}/refunds", refund, role="staff").status == 201
    if not prometheus.query("comanda_restore_drill_success"):
        house.verb("db-backup")
        house.verb("db-drill")
    resting = {name for names in KNOWN["rests_on"].values() for name in names}
    asked = {f"{each.dashboard}/{each.panel}": each.expr for each in filled.queries()}
    assert resting <= asked.keys(), "the list is of panels that there are"
    asked |= {rule["name"]: rule["name"] for rule in prometheus.rules("record")}
    wanted = asked.keys() - resting

    def without_data() -> list[str]:
        return sorted(name for name in wanted if not prometheus.query(asked[name]))

    board = urllib.request.urlopen(house.facts["api"] + "/v1/board/events", timeout=600)  # noqa: S310 - loopback
    with board, ordering(house) as guests:
        guests.wait_for_served(8)
        try:
            until("all have data", lambda: not without_data(), 150)
        except AssertionError:
            assert without_data() == []
    end = datetime.now(UTC)
    pictures = draw_all(prometheus.ask, tmp_path, end - timedelta(minutes=15), end)
    assert len(pictures) == len(DASHBOARDS), "each is drawn"


@pytest.mark.takes(300)
def test_a_provider_that_is_down_is_noticed_and_its_return_too(house: House, prometheus: Prometheus) -> None:
    gone(prometheus, "ProviderUnavailable")
    with ordering(house, guests=6, patient=True) as guests:
        ask(layout(), "stop", names=["sandbox"])
        try:
            pending(prometheus, "ProviderUnavailable")
        finally:
            ask(layout(), "start", names=["sandbox"])
        guests.wait_for_served(6)
        gone(prometheus, "ProviderUnavailable")


@pytest.mark.takes(300)
@pytest.mark.parametrize(
    ("workload", "namespace", "replicas", "alert"),
    [
        ("statefulset/database", "comanda-db", 1, "DatabaseDown"),
        ("deployment/comanda-worker", "comanda", 2, "WorkerStopped"),
    ],
)
def test_what_is_taken_away_is_noticed_and_its_return_too(
    house: House, prometheus: Prometheus, workload: str, namespace: str, replicas: int, alert: str
) -> None:
    gone(prometheus, alert)
    house.kube(f"--namespace={namespace}", "scale", workload, "--replicas=0")
    try:
        pending(prometheus, alert)
    finally:
        house.kube(f"--namespace={namespace}", "scale", workload, f"--replicas={replicas}")
    house.rolled_out(workload, namespace)
    gone(prometheus, alert)


@pytest.mark.takes(400)
def test_webhooks_that_do_not_come_are_noticed_and_their_return_too(house: House, prometheus: Prometheus) -> None:
    gone(prometheus, "WebhooksDoNotArrive")
    with ordering(house, guests=8) as guests:
        house.call("POST", "/_sandbox/faults", {"fault": "webhook_never", "times": None}, at="sandbox")
        try:
            pending(prometheus, "WebhooksDoNotArrive")
        finally:
            house.call("DELETE", "/_sandbox/faults", at="sandbox")
        guests.wait_for_served(8)
        gone(prometheus, "WebhooksDoNotArrive")


@pytest.mark.takes(300)
def test_a_backup_that_is_spoiled_is_noticed_and_that_the_next_one_is_good_too(
    house: House, prometheus: Prometheus
) -> None:
    word = f"spoil-{time.time_ns()}"
    house.order(notes=word)
    house.psql("SELECT count(*) FROM order_items")
    house.psql("CHECKPOINT")
    backup = json.loads(house.verb("db-backup", "--json"))
    spoil_backup(backup["snapshot"], word)
    try:
        house.verb("db-drill", codes=(1,))
    finally:
        forget_backup(house, backup["name"])
    pending(prometheus, "RestoreDrillFailed")
    house.verb("db-backup")
    house.verb("db-drill")
    gone(prometheus, "RestoreDrillFailed")


@pytest.fixture
def another_rule(house: House) -> Iterator[str]:
    """A rule that somebody adds; it is taken away again."""
    rules = house.kube.get("--namespace=monitoring", "configmap", "prometheus-rules")
    name = "comanda:a_rule_of_the_tests:sum"
    group = f"groups:\n  - name: of-the-tests\n    rules:\n      - record: {name}\n        expr: sum(up)\n"

    def patch(value: str | None) -> None:
        change = json.dumps({"data": {"of-the-tests.yml": value}})
        house.kube("--namespace=monitoring", "patch", "configmap", "prometheus-rules", f"--patch={change}")

    assert "of-the-tests.yml" not in rules["data"]
    patch(group)
    yield name
    patch(None)


@pytest.mark.takes(200)
def test_a_changed_rule_is_loaded_without_a_restart(house: House, prometheus: Prometheus, another_rule: str) -> None:
    [pod] = house.pods("prometheus", "monitoring")
    # kubelet brings a changed config map within a minute or two; from then on it is Prometheus' turn.
    until("the rule is looked at", lambda: prometheus.value(another_rule), 180)
    [same] = house.pods("prometheus", "monitoring")
    assert same["metadata"]["uid"] == pod["metadata"]["uid"]
    assert all(each["restartCount"] == 0 for each in same["status"]["containerStatuses"])


@pytest.fixture
def on_a_disk(house: House) -> Iterator[None]:
    """Prometheus' data on a disk, as the component has it; it is as published again after."""
    manifests = CLONE / "infra" / "deployment" / "monitoring" / "prometheus" / "6-prometheus-dployment.yaml"
    overlay = CLONE / "infra" / "overlays" / "monitoring-with-volume"
    built = house.kube("kustomize", "--load-restrictor=LoadRestrictionsNone", str(overlay))
    try:
        house.kube("apply", "--filename=-", stdin=built)
        house.rolled_out("deployment/prometheus", "monitoring")
        yield
    finally:
        house.kube("apply", f"--filename={manifests}")
        house.rolled_out("deployment/prometheus", "monitoring")
        house.kube("--namespace=monitoring", "delete", "persistentvolumeclaim", "prometheus", "--timeout=60s")
        house.kube("delete", "storageclass", "comanda-monitoring")


@pytest.mark.takes(300)
@pytest.mark.usefixtures("on_a_disk")
def test_on_a_disk_its_data_outlives_its_pod(house: House, prometheus: Prometheus) -> None:
    until("Prometheus serves", prometheus.serves, 120)
    seen = float(until("it looked at itself", lambda: prometheus.value('timestamp(up{job="prometheus"} == 1)'), 60))
    [pod] = house.pods("prometheus", "monitoring")
    house.kube("--namespace=monitoring", "delete", "pod", pod["metadata"]["name"])
    house.rolled_out("deployment/prometheus", "monitoring")
    until("Prometheus serves", prometheus.serves, 120)
    [other] = house.pods("prometheus", "monitoring")
    assert other["metadata"]["uid"] != pod["metadata"]["uid"]
    assert prometheus.ask("query", query='up{job="prometheus"}', time=str(seen))["result"], "what it saw before"
