"""The load balancer's stand-in: when a pod gets requests, and when it does not any more."""

import asyncio
from pathlib import Path

import aiohttp
import pytest

from tests.cluster.alb.targets import Lags, State
from tests.cluster.alb_bed import Bed, alb_bed, ingress, service
from tests.cluster.fake_pods import Asked, FakePod, plain
from tests.cluster.test_alb import HEAD, chunk, one_pod


async def asked(bed: Bed, times: int) -> dict[str, int]:
    """Ask so many times; answer how often each pod did."""
    answers = [await bed.get() for _ in range(times)]
    assert {status for status, _ in answers} == {200}
    names = [text for _, text in answers]
    return {name: names.count(name) for name in sorted(set(names))}


async def test_a_new_pod_gets_requests_only_after_its_health_check(tmp_path: Path) -> None:
    async with alb_bed(tmp_path) as bed:
        pod = await bed.pod("a")
        pod.healthy = False
        await bed.until(lambda: bed.state(pod) == "initial")
        assert bed.target(pod).reason == "Elb.RegistrationInProgress"
        await bed.clock.pass_(2)
        assert pod.checks == []
        await bed.clock.flow(lambda: bool(pod.checks), most=2)
        target = bed.target(pod)
        assert (target.state, target.reason) == (State.INITIAL, "Elb.InitialHealthChecking")
        assert (await bed.get())[0] == 503
        pod.healthy = True
        assert await bed.clock.flow(lambda: bed.state(pod) == "healthy") == pytest.approx(14, abs=2)
        assert await asked(bed, 1) == {"a": 1}
        assert bed.target(pod).reason == ""


async def test_a_health_check_is_as_the_annotations_say(tmp_path: Path) -> None:
    said = {
        "healthcheck-path": "/readyz?deep=1",
        "healthcheck-interval-seconds": "10",
        "healthcheck-timeout-seconds": "2",
        "success-codes": "500-499,503",
    }
    async with alb_bed(tmp_path, [ingress(), service()]) as bed:
        pod = await one_pod(bed)
        await bed.kubernetes.put(ingress(annotations=said))
        await bed.until(lambda: bool(bed.alb.balancer.model.problems))
        assert await asked(bed, 1) == {"a": 1}
        await bed.kubernetes.put(ingress(annotations={**said, "success-codes": "200,204"}))
        await bed.until(lambda: not bed.alb.balancer.model.problems)
        count = len(pod.checks)
        await bed.clock.flow(lambda: len(pod.checks) == count + 1)
        assert await bed.clock.flow(lambda: len(pod.checks) == count + 2) == pytest.approx(10, abs=1)
        check = pod.checks[-1]
        assert check.line == "GET /readyz?deep=1 HTTP/1.1"
        assert check.all("User-Agent") == ["ELB-HealthChecker/2.0"]
        assert check.all("Host") == [f"127.0.0.2:{pod.port}"]
        assert check.all("Connection") == ["close"]


async def test_the_health_checks_go_to_a_port_of_their_own(tmp_path: Path) -> None:
    async with alb_bed(tmp_path, [service()]) as bed:
        pod = await bed.pod("a")
        ops = FakePod("ops", pod.address)
        await ops.start()
        await bed.kubernetes.put(ingress(annotations={"healthcheck-port": str(ops.port)}))
        await bed.until(lambda: bed.state(pod) == "initial")
        await bed.healthy(pod)
        assert (len(ops.checks), len(pod.checks)) == (1, 0)
        ops.healthy = False
        await bed.clock.flow(lambda: bed.state(pod) == "unhealthy")
        await ops.stop()


async def test_a_pod_is_unhealthy_after_two_failed_checks_and_back_after_two_passed_ones(tmp_path: Path) -> None:
    async with alb_bed(tmp_path) as bed:
        pods = await bed.pod("a"), await bed.pod("b")
        await bed.healthy(*pods)
        pods[0].healthy = False
        assert await bed.clock.flow(lambda: bed.state(pods[0]) == "unhealthy") == pytest.approx(30, abs=2)
        assert bed.target(pods[0]).reason == "Target.ResponseCodeMismatch"
        assert bed.target(pods[0]).description == "Health checks failed with these codes: [503]"
        assert await asked(bed, 4) == {"b": 4}
        pods[0].healthy = True
        assert await bed.clock.flow(lambda: bed.state(pods[0]) == "healthy") == pytest.approx(30, abs=2)
        assert await asked(bed, 4) == {"a": 2, "b": 2}


async def test_one_failed_check_between_others_changes_nothing(tmp_path: Path) -> None:
    async with alb_bed(tmp_path) as bed:
        pod = await one_pod(bed)
        for _ in range(3):
            for healthy in (False, True):
                pod.healthy = healthy
                count = len(pod.checks)
                await bed.clock.flow(lambda: len(pod.checks) > count)  # noqa: B023 (called before the next turn)
        assert bed.state(pod) == "healthy"


async def test_a_check_without_an_answer_in_time_has_failed(tmp_path: Path) -> None:
    async with alb_bed(tmp_path) as bed:
        pods = await bed.pod("a"), await bed.pod("b")
        await bed.healthy(*pods)

        async def never(_: Asked, reader: asyncio.StreamReader, __: asyncio.StreamWriter) -> None:
            await reader.read()

        # The check's path is answered by what answers all others.
        pods[0].serve = never
        await bed.kubernetes.put(ingress(annotations={"healthcheck-path": "/v1/menu"}))
        await bed.clock.flow(lambda: bed.state(pods[0]) == "unhealthy")
        assert (bed.target(pods[0]).reason, bed.target(pods[0]).description) == ("Target.Timeout", "Request timed out")
        assert bed.state(pods[1]) == "healthy"


async def test_a_check_that_is_led_elsewhere_has_failed(tmp_path: Path) -> None:
    async def serve(_: Asked, __: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(plain("", "302 Found", "Location: /readyz\r\n"))

    async with alb_bed(tmp_path) as bed:
        pod = await one_pod(bed)
        pod.serve = serve
        await bed.kubernetes.put(ingress(annotations={"healthcheck-path": "/v1/menu"}))
        await bed.clock.flow(lambda: bed.state(pod) == "unhealthy")
        assert bed.target(pod).description == "Health checks failed with these codes: [302]"


async def test_a_pod_that_refuses_its_checks_has_failed_them(tmp_path: Path) -> None:
    async with alb_bed(tmp_path) as bed:
        pod = await one_pod(bed)
        await pod.stop()
        await bed.clock.flow(lambda: bed.state(pod) == "unhealthy")
        assert bed.target(pod).reason == "Target.FailedHealthChecks"


async def test_with_none_but_unhealthy_pods_all_of_them_get_requests(tmp_path: Path) -> None:
    async with alb_bed(tmp_path) as bed:
        pods = await bed.pod("a"), await bed.pod("b")
        await bed.healthy(*pods)
        for pod in pods:
            pod.healthy = False
        await bed.clock.flow(lambda: bed.count(State.UNHEALTHY) == 2)
        third = await bed.pod("c")
        await bed.until(lambda: bed.state(third) == "initial")
        assert await asked(bed, 4) == {"a": 2, "b": 2}


async def test_pods_take_turns(tmp_path: Path) -> None:
    async with alb_bed(tmp_path) as bed:
        await bed.healthy(*[await bed.pod(name) for name in "abc"])
        assert await asked(bed, 9) == {"a": 3, "b": 3, "c": 3}


async def test_least_outstanding_requests_spares_the_pod_that_is_busy(tmp_path: Path) -> None:
    said = {"target-group-attributes": "load_balancing.algorithm.type=least_outstanding_requests"}
    async with alb_bed(tmp_path, [ingress(annotations=said), service()]) as bed:
        pods = await bed.pod("a"), await bed.pod("b")
        await bed.healthy(*pods)
        may_end = asyncio.Event()

        async def busy(_: Asked, __: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await may_end.wait()
            writer.write(plain("late"))

        pods[0].serve = busy
        waiting = asyncio.create_task(bed.get())
        while not pods[0].asked:
            if not waiting.done():
                await asyncio.wait([waiting, asyncio.create_task(pods[0].until_asked())], return_when="FIRST_COMPLETED")
            else:
                waiting = asyncio.create_task(bed.get())
        assert await asked(bed, 4) == {"b": 4}
        may_end.set()
        assert (await waiting)[1] == "late"


async def test_slow_start_gives_a_new_pod_a_growing_share(tmp_path: Path) -> None:
    said = {"target-group-attributes": "slow_start.duration_seconds=100"}
    async with alb_bed(tmp_path, [ingress(annotations=said), service()]) as bed:
        await bed.healthy(await bed.pod("a"))
        await bed.healthy(await bed.pod("b"))
        shares = []
        for _ in range(3):
            await bed.clock.pass_(20)
            shares.append((await asked(bed, 40)).get("b", 0))
        await bed.clock.pass_(60)
        assert shares == sorted(set(shares))
        assert 0 < shares[0] < shares[-1] < 20
        assert await asked(bed, 40) == {"a": 20, "b": 20}


async def test_a_removed_pod_gets_new_requests_for_ten_seconds_more(tmp_path: Path) -> None:
    async with alb_bed(tmp_path) as bed:
        pods = await bed.pod("a"), await bed.pod("b")
        await bed.healthy(*pods)
        await bed.end_pod(pods[0])
        await bed.clock.pass_(9.9)
        assert bed.state(pods[0]) == "healthy"
        assert await asked(bed, 4) == {"a": 2, "b": 2}
        await bed.clock.pass_(0.1)
        target = bed.target(pods[0])
        assert (target.state, target.reason) == (State.DRAINING, "Target.DeregistrationInProgress")
        assert await asked(bed, 4) == {"b": 4}


async def test_the_last_pod_leaves_nobody(tmp_path: Path) -> None:
    async with alb_bed(tmp_path) as bed:
        pod = await one_pod(bed)
        await bed.kubernetes.delete("EndpointSlice", "comanda", "comanda-api-a")
        await bed.until(lambda: bed.target(pod).leaving)
        assert await asked(bed, 1) == {"a": 1}
        await bed.clock.pass_(10)
        assert (await bed.get())[0] == 503


async def test_requests_in_flight_go_on_while_a_pod_drains_and_are_cut_at_its_end(tmp_path: Path) -> None:
    may_end = asyncio.Event()

    async def serve(at: Asked, __: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if at.path == "/events":
            writer.write(HEAD + chunk(b"first"))
            await writer.drain()
        await may_end.wait() if at.path == "/short" else await asyncio.Event().wait()
        writer.write(plain("done"))

    async with alb_bed(tmp_path) as bed:
        pod = await one_pod(bed)
        pod.serve = serve
        short, long = asyncio.create_task(bed.get("/short")), asyncio.create_task(bed.get("/long"))
        async with bed.session.get(f"{bed.url}/events") as events:
            assert await events.content.readexactly(5) == b"first"
            await pod.until_asked(3)
            await bed.end_pod(pod)
            await bed.clock.pass_(10)
            assert bed.state(pod) == "draining"
            await bed.clock.pass_(19)
            may_end.set()
            assert await short == (200, "done")
            assert not long.done()
            await bed.clock.pass_(1)
            assert bed.state(pod) == "unused"
            assert (await long)[0] == 502
            with pytest.raises(aiohttp.ClientPayloadError):
                await events.content.read()
        entries = {entry["request"].split()[1][-6:]: entry for entry in [await bed.entry(n) for n in (1, 2, 3)]}
        assert {entry["status"] for name, entry in entries.items() if name != "/short"} == {"502"}
        assert {entry["reason"] for name, entry in entries.items() if name != "/short"} == {"deregistration-delay-over"}
        assert bed.target(pod).reason == "Target.NotRegistered"


async def test_a_pod_that_comes_back_within_the_lag_stays(tmp_path: Path) -> None:
    async with alb_bed(tmp_path) as bed:
        pod = await one_pod(bed)
        await bed.endpoint(pod, ready=False, terminating=True)
        await bed.until(lambda: bed.target(pod).leaving)
        await bed.clock.pass_(5)
        await bed.endpoint(pod, ready=True)
        await bed.until(lambda: not bed.target(pod).leaving)
        await bed.clock.pass_(60)
        assert bed.state(pod) == "healthy"


async def test_a_pod_that_comes_back_while_it_drains_begins_anew(tmp_path: Path) -> None:
    async with alb_bed(tmp_path) as bed:
        pod = await one_pod(bed)
        await bed.end_pod(pod)
        await bed.clock.pass_(10)
        assert bed.state(pod) == "draining"
        await bed.endpoint(pod, ready=True)
        await bed.until(lambda: bed.count(State.INITIAL) == 1)
        assert (await bed.get())[0] == 503
        await bed.clock.flow(lambda: bed.count(State.HEALTHY) == 1, most=6)
        assert await asked(bed, 1) == {"a": 1}
        assert bed.count(State.DRAINING) == 1
        await bed.clock.flow(lambda: bed.count(State.UNUSED) == 1)
        assert await asked(bed, 1) == {"a": 1}


async def test_the_lags_are_settings(tmp_path: Path) -> None:
    async with alb_bed(tmp_path, lags=Lags(registration=20, removal=40)) as bed:
        pod = await bed.pod("a")
        await bed.until(lambda: bed.state(pod) == "initial")
        assert await bed.clock.flow(lambda: bed.state(pod) == "healthy") == pytest.approx(20, abs=1)
        await bed.end_pod(pod)
        await bed.clock.pass_(39)
        assert bed.state(pod) == "healthy"
        await bed.clock.pass_(1)
        assert bed.state(pod) == "draining"
