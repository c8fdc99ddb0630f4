"""A load balancer between a client and pods, before a small API server: all of it in the test's own process."""

import asyncio
import shlex
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp

from tests.cluster.alb.kubernetes import Json
from tests.cluster.alb.standin import Options, StandIn
from tests.cluster.alb.targets import State, Target
from tests.cluster.fake_kubernetes import FakeKubernetes, fake_kubernetes
from tests.cluster.fake_pods import FakePod
from tests.cluster.hand_clock import HandClock

NAMESPACE = "comanda"
SERVICE = "comanda-api"
PREFIX = "alb.ingress.kubernetes.io/"
ANNOTATIONS = {
    "target-type": "ip",
    "scheme": "internet-facing",
    "healthcheck-path": "/readyz",
    "target-group-attributes": "deregistration_delay.timeout_seconds=20",
}
FIELDS = [
    "type",
    "time",
    "elb",
    "client",
    "target",
    "request_time",
    "target_time",
    "response_time",
    "status",
    "target_status",
    "received",
    "sent",
    "request",
    "agent",
    "cipher",
    "tls",
    "group",
    "trace",
    "domain",
    "certificate",
    "priority",
    "created",
    "actions",
    "redirect",
    "error",
    "targets",
    "target_statuses",
    "classification",
    "classification_reason",
    "connection",
    "reason",
]

LONGEST = 60
"""Seconds of any test, by the machine's own time: what never comes is a failure, not a wait for good."""


def ingress(
    paths: list[tuple[str, str]] | None = None, *, annotations: dict[str, str] | None = None, **spec: Any
) -> Json:
    """Answer an Ingress of the class, with paths as (path, type) to the API's service."""
    backend = {"service": {"name": SERVICE, "port": {"name": "http"}}}
    http = {
        "paths": [{"path": path, "pathType": kind, "backend": backend} for path, kind in (paths or [("/", "Prefix")])]
    }
    said = {PREFIX + name: value for name, value in {**ANNOTATIONS, **(annotations or {})}.items()}
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "Ingress",
        "metadata": {"namespace": NAMESPACE, "name": "api", "annotations": said},
        "spec": {"ingressClassName": "alb", "rules": [{"http": http}], **spec},
    }


def service(name: str = SERVICE, *, annotations: dict[str, str] | None = None) -> Json:
    """Answer the API's service."""
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"namespace": NAMESPACE, "name": name, "annotations": annotations or {}},
        "spec": {
            "selector": {"app": name},
            "ports": [
                {"name": "http", "port": 80, "targetPort": "http"},
                {"name": "ops", "port": 9000, "targetPort": 9000},
            ],
        },
    }


def node(name: str = "node1", ready: str = "True") -> Json:
    """Answer a node."""
    return {
        "kind": "Node",
        "metadata": {"name": name},
        "status": {"conditions": [{"type": "Ready", "status": ready}]},
    }


@dataclass
class Bed:
    """What a test has to do with."""

    kubernetes: FakeKubernetes
    clock: HandClock
    alb: StandIn
    session: aiohttp.ClientSession
    log: Path
    pods: dict[str, FakePod]

    @property
    def url(self) -> str:
        """The load balancer's HTTP listener."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def port(self) -> int:
        """Its port."""
        return self.alb.listeners.places["HTTP"].port

    @property
    def admin(self) -> str:
        """Its state page."""
        return f"http://127.0.0.1:{self.alb.admin_port}/_alb/state"

    async def pod(
        self, name: str, *, gate: str = "", of: str = SERVICE, tls: ssl.SSLContext | None = None, **conditions: Any
    ) -> FakePod:
        """Start a pod; its containers are ready, and it too, unless it has a gate."""
        pod = FakePod(name, f"127.0.0.{len(self.pods) + 2}", tls=tls)
        self.pods[name] = pod
        await pod.start()
        await self.kubernetes.put(
            {
                "kind": "Pod",
                "metadata": {"namespace": NAMESPACE, "name": name, "labels": {"app": of}},
                "spec": {"nodeName": "node1", "readinessGates": [{"conditionType": gate}] if gate else []},
                "status": {"conditions": [{"type": "ContainersReady", "status": "True"}]},
            }
        )
        await self.endpoint(pod, of=of, **(conditions or {"ready": not gate, "serving": True, "terminating": False}))
        return pod

    async def endpoint(self, pod: FakePod, *, of: str = SERVICE, **conditions: Any) -> None:
        """Put a pod into a slice of its own, or change its conditions there."""
        await self.kubernetes.put(
            {
                "kind": "EndpointSlice",
                "metadata": {
                    "namespace": NAMESPACE,
                    "name": f"{of}-{pod.name}",
                    "labels": {"kubernetes.io/service-name": of},
                },
                "addressType": "IPv4",
                "ports": [{"name": "http", "port": pod.port, "protocol": "TCP"}],
                "endpoints": [
                    {
                        "addresses": [pod.address],
                        "conditions": conditions,
                        "targetRef": {"kind": "Pod", "namespace": NAMESPACE, "name": pod.name},
                    }
                ],
            }
        )

    async def end_pod(self, pod: FakePod) -> None:
        """Have a pod end, as Kubernetes tells it: not ready, terminating. Its server serves on until it is stopped."""
        await self.endpoint(pod, ready=False, serving=True, terminating=True)
        await self.until(lambda: self.target(pod).leaving)

    def target(self, pod: FakePod) -> Target:
        """Answer the pod's target, the newest if there were several."""
        found = [
            each
            for group in self.alb.balancer.groups.values()
            for each in group.everyone()
            if (each.address, each.port) == (pod.address, pod.port)
        ]
        assert found, f"{pod.name} is not registered"
        return next((each for each in found if each.state is not State.UNUSED), found[-1])

    def state(self, pod: FakePod) -> str:
        """Answer the pod's state, "" if it was never registered."""
        try:
            return self.target(pod).state.value
        except AssertionError:
            return ""

    def count(self, state: State) -> int:
        """Answer how many of the API's targets are in a state."""
        return self.alb.balancer.count(state, NAMESPACE, SERVICE)

    async def healthy(self, *pods: FakePod) -> None:
        """Let time flow until these are healthy."""
        await self.clock.flow(lambda: all(self.state(pod) == "healthy" for pod in pods))

    async def until(self, true: Any) -> None:
        """Wait for something to be so, while the clock stands still."""
        async with asyncio.timeout(5):
            await self.alb.bell.until(true)

    async def get(self, path: str = "/", **more: Any) -> tuple[int, str]:
        """Ask the load balancer; answer status and text."""
        async with self.session.get(self.url + path, allow_redirects=False, **more) as answer:
            return answer.status, await answer.text()

    def entries(self) -> list[dict[str, str]]:
        """Answer the access log."""
        lines = self.log.read_text(encoding="utf-8").splitlines()
        return [dict(zip(FIELDS, shlex.split(line), strict=True)) for line in lines]

    async def entry(self, number: int = 1) -> dict[str, str]:
        """Wait for the log's entry of a number, the first being 1; answer it."""
        await self.until(lambda: self.alb.log.counts["requests"] >= number)
        return self.entries()[number - 1]


@asynccontextmanager
async def alb_bed(folder: Path, things: list[Json] | None = None, **options: Any) -> AsyncIterator[Bed]:
    """All of it until the block ends.

    Args:
        things: the first objects; without them an Ingress of all paths and its service.
    """
    clock, pods = HandClock(), dict[str, FakePod]()
    log = folder / "access.log"
    async with asyncio.timeout(LONGEST), fake_kubernetes() as kubernetes:
        for thing in [node(), *([ingress(), service()] if things is None else things)]:
            await kubernetes.put(thing)
        given = Options(
            kubeconfig=kubernetes.kubeconfig(folder),
            log=log,
            **{"listen": ("127.0.0.1", 0), "admin": ("127.0.0.1", 0), **options},
        )
        async with StandIn(given, clock) as alb, aiohttp.ClientSession() as session:
            bed = Bed(kubernetes, clock, alb, session, log, pods)
            await bed.until(lambda: alb.controller is not None and alb.controller.synced)
            try:
                yield bed
            finally:
                for pod in pods.values():
                    await pod.stop()
