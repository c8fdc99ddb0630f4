"""The way in from outside: the load balancer's stand-in on the real cluster, as `make cluster` starts it."""

import fcntl
import http.client
import json
import threading
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.cluster.layout import layout
from tests.cluster.objects import Json
from tests.cluster.suite.kube import Caller, Space, deployment, service
from tests.cluster.supervisor import ask

pytestmark = pytest.mark.cluster
GATES = "elbv2.k8s.aws/pod-readiness-gate-inject"
PREFIX = "alb.ingress.kubernetes.io/"
LAG = 10
"""Seconds in which a pod that was removed still gets new requests."""


def ingress(name: str, *paths: str) -> Json:
    annotations = {
        PREFIX + "scheme": "internet-facing",
        PREFIX + "target-type": "ip",
        PREFIX + "healthcheck-path": "/",
        PREFIX + "healthcheck-interval-seconds": "5",
        PREFIX + "healthcheck-timeout-seconds": "2",
        PREFIX + "target-group-attributes": "deregistration_delay.timeout_seconds=5",
    }
    backend = {"service": {"name": name, "port": {"number": 80}}}
    rules = [{"http": {"paths": [{"path": each, "pathType": "Exact", "backend": backend} for each in paths]}}]
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "Ingress",
        "metadata": {"name": name, "annotations": annotations},
        "spec": {"ingressClassName": "alb", "rules": rules},
    }


def serving_on(space: Space, replicas: int) -> Json:
    """Answer a deployment whose pods serve on while the load balancer does not know yet that they go."""
    found = deployment(space, "web", replicas, container={"lifecycle": {"preStop": {"sleep": {"seconds": LAG + 6}}}})
    found["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] = LAG + 12
    found["spec"]["strategy"] = {"rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}}
    return found


@pytest.fixture
def behind(space: Space) -> Iterator[Space]:
    """A namespace whose pods are behind the load balancer, by two paths. One test at a time has it."""
    with (layout().folder / "balancer.lock").open("w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield from _behind(space)


def _behind(space: Space) -> Iterator[Space]:
    space.kube("label", "namespace", space.name, f"{GATES}=enabled")
    space.apply(ingress("web", "/", "/headers"), service("web"))
    state("listening")
    space.apply(serving_on(space, 2))
    space.rolled_out("deployment/web", 90)
    yield space
    # It has a finalizer: the load balancer lets it go, and only it.
    space("delete", "ingress", "web", "--timeout=30s")


def test_guests_come_in_by_the_ingress_s_paths_alone(behind: Space) -> None:
    call = Caller(f"http://127.0.0.1:{ports()['alb']}")
    assert "node" in call("/")
    assert "X-Forwarded-For: 127.0.0.1" in call("/headers")
    assert status_of("/wait") == 404, "the pods have it, the Ingress does not"
    for pod in behind.pods("web"):
        kinds = [each["conditionType"] for each in pod["spec"]["readinessGates"]]
        assert len(kinds) == 1
        assert kinds[0].startswith("target-health.elbv2.k8s.aws/k8s-")
        assert _condition(pod, kinds[0]) == "True"


def test_a_rollout_fails_no_request(behind: Space) -> None:
    before = {each["metadata"]["uid"] for each in behind.pods("web")}
    with load() as answers:
        behind("rollout", "restart", "deployment/web")
        behind.rolled_out("deployment/web", 120)
        state(f"healthy:{behind.name}/web:=2", f"draining:{behind.name}/web:=0")
    assert not before & {each["metadata"]["uid"] for each in behind.pods("web")}
    assert set(answers) == {200}, answers
    assert answers[200] > 100


def ports() -> dict[str, int]:
    """Answer the ports of this machine that lead into the cluster."""
    found: dict[str, int] = ask(layout(), "ports")
    return found


def state(*waits: str) -> Json:
    """Wait until the load balancer is so, and answer what it says of itself."""
    asked = "&".join(f"wait={each}" for each in waits)
    address = f"http://127.0.0.1:{ports()['alb-state']}/_alb/state?timeout=90&{asked}"
    with urllib.request.urlopen(address, timeout=100) as answer:
        found: Json = json.load(answer)
    return found


def status_of(path: str) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", ports()["alb"], timeout=30)
    try:
        connection.request("GET", path)
        return connection.getresponse().status
    finally:
        connection.close()


@contextmanager
def load(clients: int = 3) -> Iterator["Counter[Any]"]:
    """Ask by several connections without a pause; answers how often which status came, or which error."""
    answers: Counter[Any] = Counter()
    ended, port = threading.Event(), ports()["alb"]

    def client() -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        # Some 50 requests a second in all, so that the machine has time for its cluster.
        while not ended.wait(0.05):
            try:
                connection.request("GET", "/")
                answer = connection.getresponse()
                answer.read()
                answers[answer.status] += 1
            except (OSError, http.client.HTTPException) as error:
                answers[type(error).__name__] += 1
                connection.close()
        connection.close()

    threads = [threading.Thread(target=client) for _ in range(clients)]
    for each in threads:
        each.start()
    try:
        yield answers
    finally:
        ended.set()
        for each in threads:
            each.join()


def _condition(pod: Json, kind: str) -> str:
    return next(str(each["status"]) for each in pod["status"]["conditions"] if each["type"] == kind)
