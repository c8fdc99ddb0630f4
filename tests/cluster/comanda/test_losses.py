"""What is lost in a diner's life, while guests order: pods, nodes, the database, the API server. No order is."""

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster.bringing_up import is_ready
from tests.cluster.comanda import figures
from tests.cluster.comanda.guests import Guests, ordering
from tests.cluster.comanda.house import House
from tests.cluster.layout import NODES, layout
from tests.cluster.objects import Json
from tests.cluster.suite.kube import until
from tests.cluster.supervisor import ask

OF_THE_DATABASE = "node2"
OF_THE_API = "node3"
AN_OUTAGE = ("503 database_unavailable", "409 request_in_progress")
"""What guests are told while the database is away, and what the key of a request that the outage caught says for up to
15 s after: its order is stored, its charge perhaps made. Both with Retry-After; calm pages say the rest."""


@pytest.fixture
def whole(house: House) -> Iterator[House]:
    """The house, with every node and pod back at the end, whatever became of them."""
    yield house
    # The way to a pod's metrics is kubectl's: without an API server it ends again and again, and is given up.
    ask(layout(), "start", names=["kube-apiserver", "way-to-ops"])
    for node in NODES:
        ask(layout(), "power-on", node=node.name)
    until("every node is back", lambda: _are_ready(house), 120)
    for node in NODES:
        house.kube("uncordon", node.name)
    house.rolled_out("statefulset/database", "comanda-db")
    house.at_rest()


@pytest.mark.parametrize("app", ["comanda-api", "comanda-worker"])
def test_a_pod_is_deleted(house: House, app: str) -> None:
    with ordering(house) as guests:
        pod = house.pods(app)[0]["metadata"]["name"]
        began = time.monotonic()
        house.kube("--namespace=comanda", "delete", "pod", pod)
        house.rolled_out(f"deployment/{app}")
        guests.wait_for_served(10)
    figures.note(f"a pod of {app} deleted", guests, back=time.monotonic() - began)
    guests.were_all_served()
    guests.balance()


@pytest.mark.parametrize("app", ["comanda-api", "comanda-worker"])
def test_a_pod_is_killed(house: House, app: str) -> None:
    with ordering(house, patient=True) as guests:
        pod = house.pods(app)[0]
        began = time.monotonic()
        kill(pod)
        until("it was started again", lambda: _restarts(house, pod) > _restarts_of(pod), 60)
        house.rolled_out(f"deployment/{app}")
        guests.wait_for_served(10)
    figures.note(f"a pod of {app} killed", guests, back=time.monotonic() - began)
    # What that pod had in hand when it died is lost, and asked for again; nothing goes on failing.
    assert guests.worst < 15, guests.failures
    balanced(guests)


def test_the_database_is_killed(house: House) -> None:
    with ordering(house, patient=True) as guests:
        [pod] = house.pods("database", "comanda-db")
        began = time.monotonic()
        kill(pod)
        until("it was started again", lambda: _restarts(house, pod) > _restarts_of(pod), 60)
        house.rolled_out("statefulset/database", "comanda-db")
        guests.wait_for_served(10)
    figures.note("the database killed", guests, back=time.monotonic() - began)
    only_outages(guests, within=60)
    balanced(guests)


@pytest.mark.takes(80)
@pytest.mark.parametrize("name", [node.name for node in NODES])
def test_a_node_is_drained_and_brought_back(whole: House, name: str) -> None:
    with ordering(whole, patient=True) as guests:
        began = time.monotonic()
        whole.kube("drain", name, "--ignore-daemonsets", "--delete-emptydir-data", "--timeout=280s")
        whole.rolled_out("statefulset/database", "comanda-db")
        whole.at_rest()
        drained = time.monotonic() - began
        guests.wait_for_served(4)
        whole.kube("uncordon", name)
        guests.wait_for_served(10)
    figures.note(f"{name} drained", guests, drained=drained)
    if name == OF_THE_DATABASE:
        only_outages(guests, within=90)
    else:
        assert not guests.failures
    balanced(guests)


@pytest.mark.takes(120)
@pytest.mark.parametrize("name", [OF_THE_DATABASE, OF_THE_API])
def test_a_node_is_lost(whole: House, name: str) -> None:
    _bring_the_database_to_its_node(whole)
    orders = whole.psql("SELECT count(*) FROM orders")
    with ordering(whole, patient=True) as guests:
        began = time.monotonic()
        ask(layout(), "power-off", node=name)
        until("it is not ready", lambda: not is_ready(whole.kube.get("node", name)), 120)
        silent = time.monotonic() - began
        whole.kube("delete", "node", name)  # as EKS does with an instance that is gone
        whole.rolled_out("statefulset/database", "comanda-db")
        until("guests are served", lambda: all(time.monotonic() - last > 5 for _, last in guests.trouble), 180)
        served = max((last - began for _, last in guests.trouble), default=0.0)
        guests.wait_for_served(10)
    figures.note(f"{name} lost", guests, not_ready=silent, served_again=served)
    assert guests.failures or name != OF_THE_DATABASE, "nobody noticed: it was not lost"
    [database] = whole.pods("database", "comanda-db")
    zones = {node.name: node.zone for node in NODES}
    assert database["spec"]["nodeName"] != name
    assert zones[database["spec"]["nodeName"]] == zones[OF_THE_DATABASE]
    assert int(whole.psql("SELECT count(*) FROM orders")) >= int(orders) + len(guests.served)
    balanced(guests)


@pytest.mark.takes(180)
def test_the_api_server_is_gone_for_a_minute(whole: House) -> None:
    with ordering(whole) as guests:
        ask(layout(), "stop", names=["kube-apiserver"])
        back_at = time.monotonic() + 60
        while time.monotonic() < back_at:
            guests.wait_for_served(1)
        ask(layout(), "start", names=["kube-apiserver"])
        until("it answers", lambda: whole.kube("get", "--raw=/readyz", check=False) == "ok")
        guests.wait_for_served(10)
    figures.note("the API server gone for a minute", guests)
    guests.were_all_served()
    guests.balance()


def _bring_the_database_to_its_node(house: House) -> None:
    """Bring it back where it would rather be: a drained node's stays where it went."""
    [pod] = house.pods("database", "comanda-db")
    if pod["spec"]["nodeName"] == OF_THE_DATABASE:
        return
    house.kube("cordon", pod["spec"]["nodeName"])
    try:
        house.kube("--namespace=comanda-db", "delete", "pod", "database-0")
        house.rolled_out("statefulset/database", "comanda-db")
    finally:
        house.kube("uncordon", pod["spec"]["nodeName"])
    [pod] = house.pods("database", "comanda-db")
    assert pod["spec"]["nodeName"] == OF_THE_DATABASE


def kill(pod: Json) -> None:
    """Kill what a pod runs, as the kernel does when there is no memory left: nothing of it can say a last word."""
    uid = pod["metadata"]["uid"]
    names = (uid, uid.replace("-", "_"))
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            group, command = (folder / "cgroup").read_text(), (folder / "cmdline").read_bytes()
        except OSError:
            continue  # it has ended meanwhile
        if any(name in group for name in names) and command and not command.startswith(b"/pause"):
            os.kill(int(folder.name), signal.SIGKILL)


def only_outages(guests: Guests, *, within: float) -> None:
    """See that guests were told of nothing but the database's outage, and not for long."""
    others = {cause: count for cause, count in guests.failures.items() if not cause.endswith(AN_OUTAGE)}
    assert not others, guests.failures
    assert guests.worst < within, guests.worst


def balanced(guests: Guests) -> None:
    """See that whoever ordered was served or has their money, and that somebody was."""
    assert guests.served, "nobody was served at all"
    found = guests.balance()
    print("balance:", found)
    assert found["served"] >= len(guests.served)


def _restarts(house: House, pod: Json) -> int:
    metadata = pod["metadata"]
    return _restarts_of(house.kube.get(f"--namespace={metadata['namespace']}", "pod", metadata["name"]))


def _restarts_of(pod: Json) -> int:
    return sum(int(each["restartCount"]) for each in pod["status"]["containerStatuses"])


def _are_ready(house: House) -> bool:
    nodes = {each["metadata"]["name"]: each for each in house.kube.get("nodes")}
    return set(nodes) == {node.name for node in NODES} and all(map(is_ready, nodes.values()))
