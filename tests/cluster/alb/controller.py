"""The controller: reads the cluster, has the load balancer follow it, and writes back what it is to know."""

import asyncio
import logging
from collections.abc import Callable

from tests.cluster.alb import gates
from tests.cluster.alb.balancer import Balancer
from tests.cluster.alb.clock import Clock
from tests.cluster.alb.endpoints import wanted
from tests.cluster.alb.kubernetes import AGAIN_SECONDS, STRATEGIC, Api, Away, Json, Mirror, Refused, key
from tests.cluster.alb.listeners import Listeners
from tests.cluster.alb.model import Naming, build, group_name, is_ours

logger = logging.getLogger(__name__)

INGRESSES = "/apis/networking.k8s.io/v1"
FINALIZER = "ingress.k8s.aws/resources"
GROUP_FINALIZER = "group.ingress.k8s.aws/"


class Controller:
    """Follows one cluster.

    Args:
        namespace: the only one that counts; "" for all of them. changed: called after each look at the cluster.
    """

    def __init__(
        self,
        api: Api,
        clock: Clock,
        balancer: Balancer,
        listeners: Listeners,
        naming: Naming,
        namespace: str,
        changed: Callable[[], None],
    ) -> None:
        self._api = api
        self._clock = clock
        self._balancer = balancer
        self._listeners = listeners
        self._naming = naming
        self._changed = changed
        self._look = asyncio.Event()
        within = f"/namespaces/{namespace}" if namespace else ""
        self.ingresses = self._mirror(f"{INGRESSES}{within}/ingresses")
        self.services = self._mirror(f"/api/v1{within}/services")
        self.slices = self._mirror(f"/apis/discovery.k8s.io/v1{within}/endpointslices")
        self.pods = self._mirror(f"/api/v1{within}/pods")
        self.nodes = self._mirror("/api/v1/nodes")

    @property
    def synced(self) -> bool:
        """Whether all of the cluster was seen once."""
        return all(each.known.is_set() for each in self._mirrors)

    def look(self) -> None:
        """Have everything looked at again, soon."""
        self._look.set()

    async def run(self) -> None:
        """Follow the cluster for good."""
        async with asyncio.TaskGroup() as group:
            for mirror in self._mirrors:
                group.create_task(mirror.follow(), name=f"follow {mirror.path}")
            for mirror in self._mirrors:
                await mirror.known.wait()
            while True:
                self._look.clear()
                await self._reconcile()
                self._changed()
                await self._look.wait()

    @property
    def _mirrors(self) -> tuple[Mirror, ...]:
        return self.ingresses, self.services, self.slices, self.pods, self.nodes

    def _mirror(self, path: str) -> Mirror:
        return Mirror(self._api, self._clock, path, self.look)

    async def _reconcile(self) -> None:
        ingresses = list(self.ingresses.objects.values())
        model = build(ingresses, self.services.objects, self._naming, self._balancer.model)
        for protocol in model.listeners:
            if protocol not in self._listeners.places:
                model.problems["listeners"] = [f"{protocol} is wanted, and this load balancer was given no port for it"]
        for name, problems in model.problems.items():
            if problems != self._balancer.model.problems.get(name):
                logger.warning("%s: %s", name, "; ".join(problems))
        await self._balancer.apply(model)
        for group in self._balancer.groups.values():
            group.set_wanted(wanted(group.spec, self.slices.objects.values(), self.pods.objects, self.nodes.objects))
        await self._listeners.follow()
        try:
            await self._write_ingresses(ingresses)
            await self._write_gates()
        except Away as away:
            logger.warning("cannot write: %s", away)
            self._clock.call_later(AGAIN_SECONDS, self.look)

    async def _write_ingresses(self, ingresses: list[Json]) -> None:
        """Hold on to the Ingresses that have a load balancer and say its name; let go of those that have none more."""
        for ingress in ingresses:
            metadata = ingress["metadata"]
            had = list(metadata.get("finalizers") or [])
            ours = [each for each in had if each == FINALIZER or each.startswith(GROUP_FINALIZER)]
            active = is_ours(ingress)
            if active and key(ingress) not in self._balancer.model.hostnames:
                continue
            group = group_name(ingress)
            needed = [GROUP_FINALIZER + group if group else FINALIZER] if active else []
            path = f"{INGRESSES}/namespaces/{metadata['namespace']}/ingresses/{metadata['name']}"
            if ours != needed:
                finalizers = [*(each for each in had if each not in ours), *needed]
                version = {"resourceVersion": metadata["resourceVersion"]} if "resourceVersion" in metadata else {}
                await self._patch(self.ingresses, path, {"metadata": {"finalizers": finalizers, **version}})
            if active:
                await self._write_status(ingress, path)

    async def _write_status(self, ingress: Json, path: str) -> None:
        wanted_status = [{"hostname": self._balancer.model.hostnames[key(ingress)]}]
        status = (ingress.get("status") or {}).get("loadBalancer") or {}
        if [{"hostname": each.get("hostname")} for each in status.get("ingress") or []] != wanted_status:
            await self._patch(
                self.ingresses, f"{path}/status", {"status": {"loadBalancer": {"ingress": wanted_status}}}
            )

    async def _write_gates(self) -> None:
        groups = self._balancer.groups.values()
        for pod, patch in list(gates.updates(groups, self.pods.objects, self._clock.utc())):
            namespace, name = key(pod)
            await self._patch(self.pods, f"/api/v1/namespaces/{namespace}/pods/{name}/status", patch, STRATEGIC)

    async def _patch(self, mirror: Mirror, path: str, body: Json, kind: str = "") -> None:
        """Change an object. Who is refused was late: what the watch brings next says how it is."""
        try:
            mirror.take(await (self._api.patch(path, body, kind) if kind else self._api.patch(path, body)))
        except Refused as refusal:
            if refusal.status not in {404, 409, 422}:
                logger.warning("cannot write %s: %s", path, refusal)

    def groups_of(self, namespace: str, labels: dict[str, str]) -> list[str]:
        """Answer the names of the target groups whose service selects a pod of these labels."""
        return [
            group.spec.name
            for group in self._balancer.groups.values()
            if group.spec.key.namespace == namespace
            and group.spec.selector
            and all(labels.get(name) == value for name, value in group.spec.selector.items())
        ]
