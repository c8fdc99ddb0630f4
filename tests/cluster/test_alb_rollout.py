"""The load balancer's stand-in under a rollout: who serves on long enough loses nothing, and who does not, does."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp

from tests.cluster.alb import gates
from tests.cluster.alb.targets import State
from tests.cluster.alb_bed import NAMESPACE, Bed, alb_bed, ingress, service
from tests.cluster.fake_pods import Asked, FakePod, plain, read_body

CLIENTS = 4
LAG, DELAY = 10, 6
"""Seconds that a pod has to serve on: what the load balancer is late, and what the Ingress's annotation says."""
SAID = {"target-group-attributes": f"deregistration_delay.timeout_seconds={DELAY}"}


class Load:
    """Clients that ask without a pause, and what they were answered."""

    def __init__(self, bed: Bed) -> None:
        self.bed = bed
        self.statuses: list[int] = []
        self.broken = 0

    async def client(self, number: int) -> None:
        """Ask for good; every other time with a body."""
        async with aiohttp.ClientSession() as session:
            while True:
                method = "POST" if len(self.statuses) % 2 else "GET"
                try:
                    async with session.request(
                        method, self.bed.url, data=b"order" if method == "POST" else None
                    ) as answer:
                        await answer.read()
                        self.statuses.append(answer.status)
                except aiohttp.ClientError:
                    self.broken += 1

    async def while_time_passes(self, seconds: int) -> None:
        """Let time pass, with requests in every second of it."""
        for _ in range(seconds):
            await self.bed.clock.pass_(1)
            before = self.bed.alb.log.counts["requests"]
            await self.bed.until(lambda: self.bed.alb.log.counts["requests"] >= before + CLIENTS)  # noqa: B023


@asynccontextmanager
async def load_on(bed: Bed) -> AsyncIterator[Load]:
    """Clients until the block ends."""
    load = Load(bed)
    clients = [asyncio.create_task(load.client(number)) for number in range(CLIENTS)]
    try:
        yield load
    finally:
        for each in clients:
            each.cancel()
        await asyncio.gather(*clients, return_exceptions=True)


class Slow:
    """A pod's behaviour: answers at once, but what is slow only when it is told to."""

    def __init__(self, pod: FakePod) -> None:
        self._pod = pod
        self.may_end = asyncio.Event()
        self.begun = asyncio.Event()

    async def __call__(self, asked: Asked, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.body = await read_body(asked, reader)
        if asked.path == "/slow":
            self.begun.set()
            await self.may_end.wait()
        writer.write(plain(self._pod.name))


async def rolled_in(bed: Bed, load: Load, name: str) -> FakePod:
    """Start a pod with the load balancer's gate; let it be ready when that opens, as Kubernetes does."""
    [group] = bed.alb.balancer.groups.values()
    kind = gates.condition_type(group.spec.name)
    pod = await bed.pod(name, gate=kind)

    def is_open() -> bool:
        conditions = bed.kubernetes.objects["Pod"][NAMESPACE, name]["status"]["conditions"]
        return {"True"} == {each["status"] for each in conditions if each["type"] == kind}

    while not is_open():
        await load.while_time_passes(1)
    await bed.endpoint(pod, ready=True, serving=True, terminating=False)
    return pod


async def test_a_rollout_of_pods_that_serve_on_for_lag_and_drain_loses_nothing(tmp_path: Path) -> None:
    async with alb_bed(tmp_path, [ingress(annotations=SAID), service()]) as bed:
        old = [await bed.pod(f"old-{number}") for number in range(3)]
        await bed.healthy(*old)
        async with load_on(bed) as load:
            for number, pod in enumerate(old):
                await rolled_in(bed, load, f"new-{number}")
                pod.serve = slow = Slow(pod)
                asking = [asyncio.create_task(bed.get("/slow")) for _ in range(2 * len(old))]
                await slow.begun.wait()
                await bed.end_pod(pod)
                served = len(pod.asked)
                await load.while_time_passes(LAG - 1)
                assert len(pod.asked) > served + LAG - 1, "a removed pod still gets new requests"
                await load.while_time_passes(1)
                assert bed.state(pod) == "draining"
                served = len(pod.asked)
                await load.while_time_passes(DELAY - 1)
                assert len(pod.asked) == served, "a draining pod gets none"
                slow.may_end.set()
                assert {status for status, _ in await asyncio.gather(*asking)} == {200}
                await load.while_time_passes(1)
                assert bed.state(pod) == "unused"
                await pod.stop()
            await load.while_time_passes(2)
        assert (set(load.statuses), load.broken) == ({200}, 0)
        counts = bed.alb.log.counts
        assert (counts["elb_5xx"], counts["target_5xx"]) == (0, 0)
        assert counts["target_2xx"] > 3 * CLIENTS * (LAG + DELAY)


async def test_a_pod_that_ends_when_it_is_told_loses_requests(tmp_path: Path) -> None:
    async with alb_bed(tmp_path) as bed:
        pods = await bed.pod("old"), await bed.pod("new")
        await bed.healthy(*pods)
        async with load_on(bed) as load:
            await load.while_time_passes(1)
            await bed.end_pod(pods[0])
            await pods[0].stop()
            await load.while_time_passes(LAG)
            lost = load.statuses.count(502)
            assert lost >= LAG
            await load.while_time_passes(2)
            late = load.statuses[-CLIENTS:]
        assert late == [200] * CLIENTS
        reasons = {entry["reason"] for entry in bed.entries() if entry["status"] == "502"}
        assert reasons <= {"connection-refused", "target-closed"}
        assert bed.alb.log.counts["elb_5xx"] >= lost


async def test_a_pod_that_serves_on_for_the_lag_alone_loses_what_is_in_flight(tmp_path: Path) -> None:
    async with alb_bed(tmp_path) as bed:
        pods = await bed.pod("old"), await bed.pod("new")
        await bed.healthy(*pods)
        async with load_on(bed) as load:
            for pod in pods:
                pod.serve = Slow(pod)
            asking = [asyncio.create_task(bed.get("/slow")) for _ in range(4)]
            await pods[0].serve.begun.wait()  # type: ignore[union-attr]
            await bed.end_pod(pods[0])
            await load.while_time_passes(LAG)
            await pods[0].stop()
            await load.while_time_passes(2)
            pods[1].serve.may_end.set()  # type: ignore[union-attr]
            slow = [status for status, _ in await asyncio.gather(*asking)]
        assert set(slow) == {200, 502}
        assert set(load.statuses) == {200}


async def test_without_gates_a_rollout_leaves_nobody_for_a_while(tmp_path: Path) -> None:
    async with alb_bed(tmp_path) as bed:
        old = await bed.pod("old")
        await bed.healthy(old)
        async with load_on(bed) as load:
            # Kubernetes takes the new pod for ready, and ends the old one; the load balancer has not checked it yet.
            new = await bed.pod("new")
            new.healthy = False
            await bed.end_pod(old)
            await load.while_time_passes(LAG + 1)
            assert bed.count(State.HEALTHY) == 0
            new.healthy = True
            while bed.state(new) != "healthy":
                await load.while_time_passes(1)
            await load.while_time_passes(1)
        assert set(load.statuses) == {200, 503}
        assert load.statuses[-1] == 200


async def test_with_a_deregistration_delay_of_nothing_requests_are_cut_at_once(tmp_path: Path) -> None:
    said = {"target-group-attributes": "deregistration_delay.timeout_seconds=0"}
    async with alb_bed(tmp_path, [ingress(annotations=said), service()]) as bed:
        pod = await bed.pod("a")
        await bed.healthy(pod)
        pod.serve = slow = Slow(pod)
        asking = asyncio.create_task(bed.get("/slow"))
        await slow.begun.wait()
        await bed.end_pod(pod)
        await bed.clock.pass_(LAG)
        assert (await asking)[0] == 502
        assert (await bed.entry())["reason"] == "deregistration-delay-over"
