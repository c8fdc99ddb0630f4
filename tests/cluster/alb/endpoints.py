"""Which pods the controller registers for a service: endpoint slices, and what pods and nodes say beside them."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from tests.cluster.alb.kubernetes import Json, Key
from tests.cluster.alb.model import GroupSpec

Address: TypeAlias = tuple[str, int]

SERVICE_LABEL = "kubernetes.io/service-name"


@dataclass(frozen=True)
class Pod:
    """Who is behind an address."""

    namespace: str
    name: str
    uid: str


def wanted(
    spec: GroupSpec, slices: Iterable[Json], pods: Mapping[Key, Json], nodes: Mapping[Key, Json]
) -> dict[Address, Pod]:
    """Answer who is to be registered with a target group.

    These are the endpoints that are ready; those not ready whose containers are, as before a gate opens, on nodes that
    are ready, unless they are ending; and if there are none at all, those on nodes of which nothing is known.
    """
    ready: dict[Address, Pod] = {}
    unknown: dict[Address, Pod] = {}
    for each, port in _endpoints(spec, slices):
        conditions = each.get("conditions") or {}
        pod = pods.get((spec.key.namespace, each["targetRef"]["name"]))
        if pod is None:
            continue
        at = (str(each["addresses"][0]), port)
        who = Pod(spec.key.namespace, pod["metadata"]["name"], str(pod["metadata"].get("uid", "")))
        if conditions.get("ready"):
            ready[at] = who
        elif condition(pod, "ContainersReady") == "True":
            node = condition(nodes.get(("", pod["spec"].get("nodeName", "")), {}), "Ready")
            if node == "True" and not conditions.get("terminating"):
                ready[at] = who
            elif node == "Unknown":
                unknown[at] = who
    return ready or unknown


def _endpoints(spec: GroupSpec, slices: Iterable[Json]) -> Iterable[tuple[Json, int]]:
    """Answer the endpoints of a service's port that are pods, each with the port's number."""
    for each in slices:
        metadata = each["metadata"]
        if metadata.get("namespace") != spec.key.namespace:
            continue
        if (metadata.get("labels") or {}).get(SERVICE_LABEL) != spec.key.service:
            continue
        for port in each.get("ports") or []:
            if not port.get("port") or (spec.port_name and port.get("name") != spec.port_name):
                continue
            for endpoint in each.get("endpoints") or []:
                if (endpoint.get("targetRef") or {}).get("kind") == "Pod" and endpoint.get("addresses"):
                    yield endpoint, int(port["port"])


def condition(thing: Json, kind: str) -> str:
    """Answer a condition's status: True, False or Unknown; "" if there is no such condition."""
    for each in (thing.get("status") or {}).get("conditions") or []:
        if each["type"] == kind:
            return str(each["status"])
    return ""
