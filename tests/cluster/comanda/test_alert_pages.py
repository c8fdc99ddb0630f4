"""Whoever is woken at night gets from the alert to the mend by its page alone: each is followed word by word.

Faults that are mended together are made together: an alert waits for no other, and a night has not time for each alone.
"""

import json
import re
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

from tests.cluster import facts
from tests.cluster.comanda.guests import ordering
from tests.cluster.comanda.house import House
from tests.cluster.comanda.pages import Page, filled
from tests.cluster.comanda.prometheus import Prometheus
from tests.cluster.layout import CLONE
from tests.cluster.suite.kube import until
from tests.monitoring.reading import alerts

pytestmark = pytest.mark.needs("prometheus", "node-exporter")

NOTICED_WITHIN = 150
GONE_WITHIN = 420
"""Windows of five minutes have to pass."""

LOOKS_AT_WHAT_IS_NOT_HERE = (
    "cluster-autoscaler",
    "deployment/external-secrets",
    "https://api.mercadopago.com",
    "stats/summary",
)
"""Programs that are in no pod of the tests' cluster, the world outside, and what this kubelet does not count."""
SAYS_NO_WHERE_NOTHING_ENDED = "--previous"
FOUND_NOTHING = 1
"""grep's, of a look that finds what is not there while all is well."""


@dataclass(frozen=True, eq=False)
class Operator:
    """Somebody with a shell as `infra-shell.sh` opens it, who types what a page says.

    Args:
        house: where.
    """

    house: House

    def tries(self, command: str) -> "subprocess.CompletedProcess[str]":
        """Type a command; to a verb's question the answer is yes."""
        known = facts.environment(self.house.facts)
        return subprocess.run(
            ["bash", "-o", "pipefail", "-c", re.sub(r"eks-cluster-mng\.sh \S+", r"\g<0> --yes", command)],
            env={**known, "HOME": str(Path.home()), "PATH": f"{CLONE}/infra/scripts:{known['PATH']}"},
            cwd=CLONE,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=600,
        )

    def types(self, command: str) -> str:
        """Type a command that must go well; answer what it says.

        Raises:
            AssertionError: it fails.
        """
        done = self.tries(command)
        assert done.returncode == 0, f"{command}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout


@pytest.fixture(scope="session")
def operator(house: House) -> Operator:
    return Operator(house)


def noticed(prometheus: Prometheus, *names: str) -> None:
    """Wait until alerts are pending, or fire already."""
    for name in names:
        prometheus.until_noticed(name, NOTICED_WITHIN)


def gone(prometheus: Prometheus, *names: str) -> None:
    """Wait until nothing is left of them."""
    for name in names:
        prometheus.until_gone(name, GONE_WITHIN)


@cache
def _tried(operator: Operator, command: str) -> "subprocess.CompletedProcess[str]":
    return operator.tries(command)


@pytest.mark.parametrize("alert", [alert["alert"] for alert in alerts()])
def test_what_a_page_says_to_look_at_can_be_looked_at(
    house: House, operator: Operator, prometheus: Prometheus, alert: str
) -> None:
    page = Page.of(alert)
    [database] = house.pods("database", "comanda-db")
    put = {
        "NAMESPACE": "comanda-db",
        "POD": "database-0",
        "CONTAINER": "postgresql",
        "NODE": database["spec"]["nodeName"],
        "IP_OF_THE_INSTANCE": database["status"]["podIP"],
        "JOB": "comanda-api",
        "METRIC": "comanda_orders",
        "ORDER_ID": "00000000-0000-4000-8000-000000000000",
        "https://HOST": house.facts["api"],
    }
    if "job/NAME" in " ".join(page.commands):
        # Where such an alert fires a job has run; a diner of five minutes may have had none yet.
        if not (jobs := house.kube.get("--namespace=comanda-db", "jobs")):
            house.kube("--namespace=comanda-db", "create", "job", "of-the-tests", "--from=cronjob/database-backup")
            house.kube(
                "--namespace=comanda-db", "wait", "job/of-the-tests", "--for=condition=Complete", "--timeout=180s"
            )
            jobs = house.kube.get("--namespace=comanda-db", "jobs")
        put["NAME"] = max(jobs, key=lambda job: job["metadata"]["creationTimestamp"])["metadata"]["name"]
    for query in page.queries:
        prometheus.query(filled(query, put))
    for command in page.commands:
        if any(word in command for word in LOOKS_AT_WHAT_IS_NOT_HERE):
            continue
        done = _tried(operator, filled(command, put))
        if "| grep" in command and done.returncode == FOUND_NOTHING and not done.stdout and "error" not in done.stderr:
            continue
        if SAYS_NO_WHERE_NOTHING_ENDED in command and "previous terminated container" in done.stderr:
            continue
        assert done.returncode == 0, f"{command}: {done.returncode}\n{done.stdout[-600:]}\n{done.stderr[-600:]}"


@pytest.mark.pages
def test_monitoring_that_was_broken_by_hand_is_put_back(
    house: House, operator: Operator, prometheus: Prometheus
) -> None:
    names = ("ConfigReloadFailed", "TargetDown", "AlertmanagerCannotNotify")
    # Of jobs that are not here it fires all the time.
    absent = 'ALERTS{alertname="TargetAbsent", job="alertmanager"}'
    monitoring = "--namespace=monitoring"
    file = sorted(house.kube.get(monitoring, "configmap", "prometheus-rules")["data"])[0]
    broken = json.dumps({"data": {file: "groups: [{name: of-the-tests, rules: [{record: nothing}]}]"}})
    house.kube(monitoring, "patch", "configmap", "prometheus-rules", f"--patch={broken}")
    house.kube("delete", "clusterrolebinding", "comanda-prometheus")
    house.kube(monitoring, "delete", "deployment", "alertmanager")
    noticed(prometheus, *names)
    assert file in operator.types(
        next(each for each in Page.of("ConfigReloadFailed").commands if "=prometheus" in each)
    ), "the log names the file"
    page = Page.of("TargetDown")
    can = page.mend("kubectl auth can-i get nodes/metrics --as system:serviceaccount:monitoring:prometheus")
    assert operator.tries(can).stdout.strip() == "no"
    until("TargetAbsent is pending", lambda: prometheus.query(absent), NOTICED_WITHIN)
    for name in (*names, "TargetAbsent"):
        mend = Page.of(name).mend("eks-cluster-mng.sh deploy-monitoring")
    operator.types(mend)
    assert operator.types(can).strip() == "yes"
    gone(prometheus, *names)
    assert not prometheus.query(absent)


@contextmanager
def _somebody_locks_the_orders(house: House) -> Iterator[None]:
    """Somebody who works on the living database, and goes for a coffee in the middle of it."""
    statement = "DO $$ BEGIN LOCK TABLE orders IN ACCESS EXCLUSIVE MODE; PERFORM pg_sleep(400); END $$"
    codes = (0, 1, 2, 3)
    thread = threading.Thread(target=lambda: house.verb("db-connect", "--write", "-c", statement, codes=codes))
    thread.start()
    try:
        held = "SELECT count(*) FROM pg_locks WHERE relation = 'orders'::regclass AND mode = 'AccessExclusiveLock'"
        until("the lock is held", lambda: house.psql(held) != "0", 30)
        yield
    finally:
        ends = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'DO % LOCK TABLE orders%'"
        house.psql(ends)
        thread.join()


@pytest.mark.pages
def test_a_session_that_holds_up_all_others_is_found_and_ended(
    house: House, operator: Operator, prometheus: Prometheus
) -> None:
    name = "DatabasePoolExhausted"
    page = Page.of(name)
    with ordering(house, guests=24, patient=True) as guests:
        with _somebody_locks_the_orders(house):
            noticed(prometheus, name)
            [look] = page.commands
            assert "LOCK TABLE orders" in operator.types(look)
            waits = (
                "SELECT pid, pg_blocking_pids(pid) FROM pg_stat_activity WHERE cardinality(pg_blocking_pids(pid)) > 0"
            )
            waiting = operator.types(
                page.mend(f'eks-cluster-mng.sh db-connect -c "{waits}"').replace(" -c", " --csv -c")
            )
            pids = set(re.findall(r"\d+", waiting))
            blocked = set(re.findall(r"^(\d+),", waiting, re.MULTILINE))
            [holder] = pids - blocked
            ends = 'eks-cluster-mng.sh db-connect -c "SET ROLE NONE; SELECT pg_terminate_backend(PID)"'
            operator.types(page.mend(ends, PID=holder))
            guests.wait_for_served(24)
        gone(prometheus, name)
    guests.balance()


@pytest.mark.pages
def test_backups_that_do_not_come_come_again(house: House, operator: Operator, prometheus: Prometheus) -> None:
    database = "--namespace=comanda-db"
    suspended = json.dumps({"spec": {"suspend": True}})
    house.kube(database, "patch", "cronjob", "database-backup", f"--patch={suspended}")
    house.kube(database, "delete", "rolebinding", "database-backup")
    house.verb("db-backup", codes=(1,))
    kept = house.kube.get("--namespace=comanda", "configmap", "comanda-operations")["data"]
    report = {**json.loads(kept["backup.json"]), "newest": "2026-01-01T00:00:00Z"}
    old = json.dumps({"data": {"backup.json": json.dumps(report)}})
    house.kube("--namespace=comanda", "patch", "configmap", "comanda-operations", f"--patch={old}")
    noticed(prometheus, "BackupFailed", "BackupTooOld")
    page = Page.of("BackupTooOld")
    assert re.search(r"cronjob.*database-backup\s.*\sTrue\s", operator.types(page.commands[0]))
    operator.types(
        page.mend('kubectl patch cronjob database-backup --namespace comanda-db --patch \'{"spec":{"suspend":false}}\'')
    )
    assert "forbidden" in operator.types(Page.of("BackupFailed").commands[0])
    operator.types(Page.of("BackupFailed").mend("eks-cluster-mng.sh deploy-database"))
    operator.types(page.mend("eks-cluster-mng.sh db-backup"))
    gone(prometheus, "BackupFailed", "BackupTooOld")


@pytest.mark.pages
def test_an_api_that_somebody_took_away_is_put_back(house: House, operator: Operator, prometheus: Prometheus) -> None:
    house.kube("--namespace=comanda", "scale", "deployment/comanda-api", "--replicas=0")
    noticed(prometheus, "ApiDown")
    operator.types(Page.of("ApiDown").mend("eks-cluster-mng.sh deploy-api"))
    gone(prometheus, "ApiDown")
    with ordering(house) as guests:
        guests.wait_for_served(4)
    guests.were_all_served()
