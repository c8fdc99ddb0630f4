"""The load balancer's stand-in: whose fault it is, and that no request is ever sent twice."""

import asyncio
from pathlib import Path

import aiohttp
import pytest

from tests.cluster.alb_bed import Bed, alb_bed, ingress, service
from tests.cluster.fake_pods import Asked, FakePod, Serve, plain
from tests.cluster.test_alb import HEAD, chunk, one_pod


def sends(*parts: bytes, reset: bool = False) -> Serve:
    """Answer a pod's behaviour: it writes something, however little, and ends the connection."""

    async def serve(_: Asked, __: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for part in parts:
            writer.write(part)
            await writer.drain()
        if reset:
            writer.transport.abort()
        raise ConnectionError

    return serve


async def two_pods(bed: Bed, serve: Serve) -> tuple[FakePod, FakePod]:
    """Answer two healthy pods, of which both behave as told."""
    pods = await bed.pod("a"), await bed.pod("b")
    await bed.healthy(*pods)
    for pod in pods:
        pod.serve = serve
    return pods


async def test_what_no_rule_matches_is_404_from_the_load_balancer(tmp_path: Path) -> None:
    async with alb_bed(tmp_path, [ingress([("/v1", "Prefix")]), service()]) as bed:
        pod = await one_pod(bed)
        assert await bed.get("/metrics") == (404, "")
        assert pod.asked == []
        entry = await bed.entry()
        assert (entry["status"], entry["target_status"], entry["target"]) == ("404", "-", "-")
        assert (entry["priority"], entry["actions"]) == ("0", "fixed-response")


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize(
    "serve",
    [
        sends(),
        sends(reset=True),
        sends(b"HTTP/1.1 200 OK\r\nContent-Le"),
        sends(b"nonsense\r\n\r\n"),
        sends(b"HTTP/1.1 200 OK\r\nBad Name\r\n\r\n"),
        sends(b"HTTP/1.1 200 OK\r\nX: " + b"a" * 17_000 + b"\r\nContent-Length: 0\r\n\r\n"),
        sends(b"HTTP/1.1 200 OK\r\n" + (b"X: " + b"a" * 9_000 + b"\r\n") * 4 + b"Content-Length: 0\r\n\r\n"),
    ],
    ids=["ended", "reset", "half a head", "nonsense", "bad field", "long field", "long head"],
)
async def test_a_pod_that_does_not_answer_is_502_and_no_second_one_is_asked(
    tmp_path: Path, serve: Serve, method: str
) -> None:
    async with alb_bed(tmp_path) as bed:
        pods = await two_pods(bed, serve)
        async with bed.session.request(method, bed.url, data=b"order" if method == "POST" else None) as answer:
            assert (answer.status, answer.headers["Server"]) == (502, "awselb/2.0")
        assert sum(len(pod.asked) for pod in pods) == 1
        entry = await bed.entry()
        assert entry["status"] == "502"
        assert entry["target"] in {bed.target(pod).name for pod in pods}


async def test_an_answer_that_breaks_off_is_cut_off_and_counts_as_502(tmp_path: Path) -> None:
    async with alb_bed(tmp_path) as bed:
        for number, part in enumerate([HEAD + chunk(b"half"), b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf"], 1):
            pods = [bed.pods["a"], bed.pods["b"]] if bed.pods else await two_pods(bed, sends(part))
            for pod in pods:
                pod.serve = sends(part)
            async with bed.session.get(bed.url) as answer:
                assert answer.status == 200
                assert await answer.content.readexactly(4) == b"half"
                with pytest.raises(aiohttp.ClientPayloadError):
                    await answer.content.read()
            assert sum(len(pod.asked) for pod in pods) == number
            entry = await bed.entry(number)
            assert (entry["status"], entry["target_status"], entry["reason"]) == ("502", "200", "target-closed")


async def test_a_kept_connection_that_the_pod_ends_as_a_request_comes_is_502(tmp_path: Path) -> None:
    """It is what happens to a server whose keep-alive is shorter than the load balancer's; a client would ask again."""
    async with alb_bed(tmp_path) as bed:
        pod = await one_pod(bed)
        assert await bed.get() == (200, "a")
        pod.serve = sends()
        before = pod.connections
        assert (await bed.get())[0] == 502
        assert (len(pod.asked), pod.connections) == (2, before)


async def test_a_pod_that_refuses_is_502_though_nothing_was_sent(tmp_path: Path) -> None:
    async with alb_bed(tmp_path) as bed:
        pod, other = await two_pods(bed, sends())
        other.serve = None
        await pod.stop()
        answers = [await bed.get() for _ in range(4)]
        assert sorted(status for status, _ in answers) == [200, 200, 502, 502]
        refused = next(entry for entry in bed.entries() if entry["status"] == "502")
        assert (refused["target_status"], refused["reason"]) == ("-", "connection-refused")
        assert [refused[f"{name}_time"] for name in ("request", "target", "response")] == ["-1"] * 3


async def test_without_a_pod_it_is_503(tmp_path: Path) -> None:
    async with alb_bed(tmp_path) as bed:
        assert (await bed.get())[0] == 503
        entry = await bed.entry()
        assert (entry["status"], entry["target"], entry["actions"]) == ("503", "-", "forward")


async def test_a_pod_that_is_silent_for_the_idle_time_out_is_504(tmp_path: Path) -> None:
    async def serve(_: Asked, reader: asyncio.StreamReader, __: asyncio.StreamWriter) -> None:
        await reader.read()

    async with alb_bed(tmp_path) as bed:
        pods = await two_pods(bed, serve)
        asking = asyncio.create_task(bed.get())
        await asyncio.wait([asyncio.create_task(pod.until_asked()) for pod in pods], return_when="FIRST_COMPLETED")
        await bed.clock.pass_(59)
        assert not asking.done()
        await bed.clock.pass_(2)
        assert (await asking)[0] == 504
        assert sum(len(pod.asked) for pod in pods) == 1
        entry = await bed.entry()
        assert (entry["status"], entry["target_status"], entry["reason"]) == ("504", "-", "target-silent")


async def test_no_connection_within_ten_seconds_is_504(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with alb_bed(tmp_path) as bed:
        pod = await one_pod(bed)
        begun, never = asyncio.Event(), asyncio.Event()

        async def connect(*_: object) -> None:
            begun.set()
            await never.wait()

        # No address of this machine swallows connections; the connector is the last place where one can be held.
        connector = bed.target(pod).pool.open(60).connector
        assert connector is not None
        monkeypatch.setattr(connector, "_create_connection", connect)
        asking = asyncio.create_task(bed.get())
        await begun.wait()
        await bed.clock.pass_(9)
        assert not asking.done()
        await bed.clock.pass_(1)
        assert (await asking)[0] == 504
        assert (await bed.entry())["reason"] == "no-connection-in-time"


async def test_events_that_flow_hold_a_connection_open_beyond_the_idle_time_out(tmp_path: Path) -> None:
    next_one = asyncio.Event()

    async def serve(_: Asked, __: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(HEAD)
        while True:
            await next_one.wait()
            next_one.clear()
            writer.write(chunk(b": beat\n\n"))

    said = {"load-balancer-attributes": "idle_timeout.timeout_seconds=30"}
    async with alb_bed(tmp_path, [ingress(annotations=said), service()]) as bed:
        pod = await one_pod(bed)
        pod.serve = serve
        async with asyncio.timeout(5), bed.session.get(bed.url) as answer:
            for _ in range(5):
                await bed.clock.pass_(25)
                next_one.set()
                assert await answer.content.readuntil(b"\n\n") == b": beat\n\n"
            await bed.clock.pass_(31)
            with pytest.raises(aiohttp.ClientPayloadError):
                await answer.content.read()
        entry = await bed.entry()
        assert (entry["status"], entry["target_status"], entry["reason"]) == ("504", "200", "target-silent")


async def test_a_client_that_goes_before_the_answer_is_460_and_the_pod_is_told(tmp_path: Path) -> None:
    told = asyncio.Event()

    async def serve(_: Asked, reader: asyncio.StreamReader, __: asyncio.StreamWriter) -> None:
        assert await reader.read() == b""
        told.set()

    async with alb_bed(tmp_path) as bed:
        pod = await one_pod(bed)
        pod.serve = serve
        asking = asyncio.create_task(bed.get())
        await pod.until_asked()
        asking.cancel()
        entry = await bed.entry()
        assert (entry["status"], entry["target_status"]) == ("460", "-")
        async with asyncio.timeout(5):
            await told.wait()
        assert bed.target(pod).flights == set()


async def test_a_client_that_goes_amid_an_answer_is_no_fault(tmp_path: Path) -> None:
    async def serve(_: Asked, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(HEAD + chunk(b"first"))
        await reader.read()

    async with alb_bed(tmp_path) as bed:
        pod = await one_pod(bed)
        pod.serve = serve
        async with bed.session.get(bed.url) as answer:
            assert await answer.content.readexactly(5) == b"first"
        entry = await bed.entry()
        assert (entry["status"], entry["target_status"], entry["reason"]) == ("200", "200", "client-closed")


async def test_a_client_that_stops_amid_its_body_is_408(tmp_path: Path) -> None:
    async def serve(_: Asked, reader: asyncio.StreamReader, __: asyncio.StreamWriter) -> None:
        await reader.read()

    async with alb_bed(tmp_path) as bed:
        pod = await one_pod(bed)
        pod.serve = serve
        head = b"POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 10\r\n\r\nhalf"
        reader, writer = await asyncio.open_connection("127.0.0.1", bed.port)
        writer.write(head)
        await pod.until_asked()
        await bed.clock.pass_(61)
        assert (await reader.readline()).startswith(b"HTTP/1.1 408 ")
        assert (await bed.entry())["status"] == "408"
        writer.close()


async def test_a_client_that_goes_amid_its_body_is_460_and_the_pod_is_told(tmp_path: Path) -> None:
    told: asyncio.Queue[bytes] = asyncio.Queue()

    async def serve(_: Asked, reader: asyncio.StreamReader, __: asyncio.StreamWriter) -> None:
        told.put_nowait(await reader.read())

    async with alb_bed(tmp_path) as bed:
        pod = await one_pod(bed)
        pod.serve = serve
        _, writer = await asyncio.open_connection("127.0.0.1", bed.port)
        writer.write(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhalf")
        await pod.until_asked()
        writer.close()
        assert (await bed.entry())["status"] == "460"
        async with asyncio.timeout(5):
            assert await told.get() == b"half"


async def test_a_pod_may_answer_before_it_has_the_whole_body(tmp_path: Path) -> None:
    async def serve(_: Asked, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(plain("too much", "413 Too Much", "Connection: close\r\n"))
        await writer.drain()
        await reader.read()

    async with alb_bed(tmp_path) as bed:
        pod = await one_pod(bed)
        pod.serve = serve
        reader, writer = await asyncio.open_connection("127.0.0.1", bed.port)
        writer.write(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhalf")
        async with asyncio.timeout(5):
            assert (await reader.readline()).startswith(b"HTTP/1.1 413")
        writer.close()
        entry = await bed.entry()
        assert (entry["status"], entry["target_status"]) == ("413", "413")


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
        (b"nonsense\r\n\r\n", 400),
        (b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"GET /" + b"a" * 17_000 + b" HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"a" * 17_000 + b"\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\n" + (b"X: " + b"a" * 14_000 + b"\r\n") * 5 + b"\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", 400),
        (b"TRACE / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", 405),
        (b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nX-Forwarded-For: " + b"1.1.1.1," * 31 + b"\r\n\r\n", 463),
    ],
    ids=[
        "no host",
        "two hosts",
        "nonsense",
        "no path",
        "long line",
        "long field",
        "long head",
        "two lengths",
        "bad body",
        "trace",
        "many addresses",
    ],
)
async def test_what_the_load_balancer_refuses_itself(tmp_path: Path, sent: bytes, status: int) -> None:
    async with alb_bed(tmp_path) as bed:
        pod = await one_pod(bed)
        reader, writer = await asyncio.open_connection("127.0.0.1", bed.port)
        writer.write(sent)
        async with asyncio.timeout(5):
            # What is no HTTP/1.1 is not answered in HTTP/1.1.
            assert int((await reader.readline()).split()[1]) == status
        writer.close()
        entry = await bed.entry()
        assert (entry["status"], entry["target"]) == (str(status), "-")
        assert pod.asked == []


async def test_a_head_as_long_as_is_allowed_passes(tmp_path: Path) -> None:
    async with alb_bed(tmp_path) as bed:
        pod = await one_pod(bed)
        headers = [("X-Long", "a" * 15_000)] * 4
        assert (await bed.get("/" + "p" * 15_000, headers=headers))[0] == 400
        assert (await bed.get("/" + "p" * 1_000, headers=headers))[0] == 200
        assert len(pod.asked[0].all("X-Long")) == 4


async def test_an_old_connection_ends_with_the_answer(tmp_path: Path) -> None:
    said = {"load-balancer-attributes": "client_keep_alive.seconds=60"}
    async with alb_bed(tmp_path, [ingress(annotations=said), service()]) as bed:
        await one_pod(bed)
        for seconds, ending in ((0, None), (59, None), (1, "close"), (0, None)):
            await bed.clock.pass_(seconds)
            async with bed.session.get(bed.url) as answer:
                assert answer.headers.get("Connection") == ending
