"""The load balancer's stand-in: a request's way to a pod and its answer's way back."""

import asyncio
import re
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from tests.cluster.alb.certificate import self_signed
from tests.cluster.alb_bed import Bed, alb_bed, ingress, service
from tests.cluster.fake_pods import Asked, FakePod, plain, read_body, read_chunk

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


async def one_pod(bed: Bed) -> FakePod:
    pod = await bed.pod("a")
    await bed.healthy(pod)
    return pod


async def test_a_request_reaches_the_pod_as_it_was_sent(tmp_path: Path) -> None:
    async with alb_bed(tmp_path) as bed:
        pod = await one_pod(bed)
        headers = {
            "Host": "api.diner.test",
            "X-Own": "1",
            "Connection": "keep-alive, X-Hop",
            "X-Hop": "1",
            "TE": "trailers",
        }
        assert await bed.get("/v1/a%2Fb%20c?q=%C3%A9&x=1+2", headers=headers) == (200, "a")
        [asked] = pod.asked
        assert asked.line == "GET /v1/a%2Fb%20c?q=%C3%A9&x=1+2 HTTP/1.1"
        assert (asked.all("Host"), asked.all("X-Own")) == (["api.diner.test"], ["1"])
        assert [asked.all(name) for name in ("Connection", "X-Hop", "TE", "Keep-Alive")] == [[], [], [], []]


async def test_of_an_absolute_url_the_path_counts(tmp_path: Path) -> None:
    async with alb_bed(tmp_path, [ingress([("/v1", "Prefix")]), service()]) as bed:
        pod = await one_pod(bed)
        reader, writer = await asyncio.open_connection("127.0.0.1", bed.port)
        writer.write(b"GET http://other.test/v1/a%2Fb?q=1 HTTP/1.1\r\nHost: api.test\r\n\r\n")
        async with asyncio.timeout(5):
            assert (await reader.readline()).startswith(b"HTTP/1.1 200 ")
        writer.close()
        assert pod.asked[0].line == "GET /v1/a%2Fb?q=1 HTTP/1.1"


async def test_the_clients_address_is_added_at_the_right_of_x_forwarded_for(tmp_path: Path) -> None:
    async with alb_bed(tmp_path) as bed:
        pod = await one_pod(bed)
        await bed.get()
        await bed.get(headers=[("X-Forwarded-For", "1.2.3.4"), ("X-Forwarded-For", "5.6.7.8, 9.9.9.9")])
        await bed.get(headers={"X-Forwarded-Proto": "https", "X-Forwarded-Port": "443"})
        assert [each.all("X-Forwarded-For") for each in pod.asked] == [
            ["127.0.0.1"],
            ["1.2.3.4, 5.6.7.8, 9.9.9.9, 127.0.0.1"],
            ["127.0.0.1"],
        ]
        assert [pod.asked[2].all(f"X-Forwarded-{name}") for name in ("Proto", "Port")] == [["http"], ["80"]]


@pytest.mark.parametrize(("mode", "seen"), [("preserve", ["1.2.3.4"]), ("remove", [])])
async def test_x_forwarded_for_may_be_kept_or_taken_away(tmp_path: Path, mode: str, seen: list[str]) -> None:
    said = {"load-balancer-attributes": f"routing.http.xff_header_processing.mode={mode}"}
    async with alb_bed(tmp_path, [ingress(annotations=said), service()]) as bed:
        pod = await one_pod(bed)
        await bed.get(headers={"X-Forwarded-For": "1.2.3.4"})
        assert pod.asked[0].all("X-Forwarded-For") == seen


async def test_a_trace_is_begun_or_gone_on_with(tmp_path: Path) -> None:
    async with alb_bed(tmp_path) as bed:
        pod = await one_pod(bed)
        await bed.get()
        await bed.get(headers={"X-Amzn-Trace-Id": "Self=1-0-0;Root=1-67891233-abcdef012345678912345678;By=me"})
        first, second = (each.all("X-Amzn-Trace-Id")[0] for each in pod.asked)
        assert re.fullmatch(r"Root=1-[0-9a-f]{8}-[0-9a-f]{24}", first)
        assert re.fullmatch(r"Self=1-[0-9a-f]{8}-[0-9a-f]{24};Root=1-67891233-abcdef012345678912345678;By=me", second)
        assert (await bed.entry(2))["trace"] == second


async def test_invalid_head_fields_are_dropped_only_where_that_is_wanted(tmp_path: Path) -> None:
    async with alb_bed(tmp_path) as bed:
        pod = await one_pod(bed)
        await bed.get(headers={"X_Odd": "1"})
        said = {"load-balancer-attributes": "routing.http.drop_invalid_header_fields.enabled=true"}
        await bed.kubernetes.put(ingress(annotations=said))
        await bed.until(lambda: bed.alb.balancer.model.listeners["HTTP"].settings.drop_invalid_fields)
        await bed.get(headers={"X_Odd": "1", "X-Even": "2"})
        assert [each.all("X_Odd") for each in pod.asked] == [["1"], []]
        assert pod.asked[1].all("X-Even") == ["2"]


async def test_connections_to_a_pod_are_kept_and_shared_by_clients(tmp_path: Path) -> None:
    async with alb_bed(tmp_path) as bed:
        pod = await one_pod(bed)
        checks = len(pod.checks)
        for _ in range(5):
            async with aiohttp.ClientSession() as client, client.get(bed.url) as answer:
                assert answer.status == 200
        assert pod.connections - checks == 1


async def test_an_answer_comes_back_as_the_pod_gave_it(tmp_path: Path) -> None:
    async def serve(asked: Asked, _: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        more = "Set-Cookie: a=1\r\nSet-Cookie: b=2\r\nX-Own: 1\r\nConnection: X-Hop\r\nX-Hop: 1\r\n"
        writer.write(f"HTTP/1.1 207 Own Words\r\nContent-Length: 2\r\n{more}\r\nok".encode())

    async with alb_bed(tmp_path) as bed:
        pod = await one_pod(bed)
        pod.serve = serve
        async with bed.session.get(bed.url) as answer:
            assert (answer.status, answer.reason, await answer.read()) == (207, "Own Words", b"ok")
            assert answer.headers.getall("Set-Cookie") == ["a=1", "b=2"]
            assert answer.headers["X-Own"] == "1"
            assert not {"X-Hop", "Server", "Content-Type"} & set(answer.headers)


async def test_compressed_bodies_pass_untouched_both_ways(tmp_path: Path) -> None:
    squeezed = b"\x1f\x8b not really"

    async def serve(asked: Asked, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.body = await read_body(asked, reader)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 13\r\n\r\n" + squeezed[:13])

    async with alb_bed(tmp_path) as bed:
        pod = await one_pod(bed)
        pod.serve = serve
        async with aiohttp.ClientSession(auto_decompress=False) as client:
            headers = {"Content-Encoding": "gzip"}
            async with client.post(
                bed.url, data=squeezed, headers=headers, skip_auto_headers=["Content-Type"]
            ) as answer:
                assert await answer.read() == squeezed[:13]
        assert pod.asked[0].body == squeezed
        assert pod.asked[0].all("Content-Type") == []


async def test_a_head_request_is_answered_without_a_body(tmp_path: Path) -> None:
    async def serve(asked: Asked, _: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 5000\r\nETag: x\r\n\r\n")

    async with alb_bed(tmp_path) as bed:
        pod = await one_pod(bed)
        pod.serve = serve
        for _ in range(2):
            async with bed.session.head(bed.url) as answer:
                assert (answer.status, answer.headers["Content-Length"], answer.headers["ETag"]) == (200, "5000", "x")


async def test_a_pod_may_speak_https_with_a_certificate_that_nobody_signed(tmp_path: Path) -> None:
    async with alb_bed(tmp_path, [ingress(annotations={"backend-protocol": "HTTPS"}), service()]) as bed:
        pod = await bed.pod("a", tls=self_signed("pod"))
        await bed.healthy(pod)
        assert await bed.get() == (200, "a")


async def test_events_flow_at_once_and_as_they_come(tmp_path: Path) -> None:
    may_go_on = asyncio.Event()

    async def serve(asked: Asked, _: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(HEAD)
        await may_go_on.wait()
        for number in range(3):
            may_go_on.clear()
            writer.write(chunk(b"data: %d\n\n" % number))
            await may_go_on.wait()
        writer.write(chunk(b""))

    async with alb_bed(tmp_path) as bed:
        pod = await one_pod(bed)
        pod.serve = serve
        # The head is there before the first byte of a body, and each event before the next is sent.
        async with asyncio.timeout(5), bed.session.get(bed.url) as answer:
            may_go_on.set()
            for number in range(3):
                assert await answer.content.readuntil(b"\n\n") == b"data: %d\n\n" % number
                may_go_on.set()
            assert await answer.content.read() == b""


async def test_a_body_flows_to_the_pod_as_it_comes(tmp_path: Path) -> None:
    heard: asyncio.Queue[bytes] = asyncio.Queue()

    async def serve(asked: Asked, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await read_chunk(reader):
            heard.put_nowait(data)
        writer.write(plain("taken"))

    async with alb_bed(tmp_path) as bed:
        pod = await one_pod(bed)
        pod.serve = serve

        async def sent() -> AsyncIterator[bytes]:
            for part in (b"one", b"two"):
                yield part
                async with asyncio.timeout(5):
                    assert await heard.get() == part

        async with bed.session.post(bed.url, data=sent()) as answer:
            assert await answer.text() == "taken"


async def test_expect_100_continue_is_answered_by_the_load_balancer(tmp_path: Path) -> None:
    async with alb_bed(tmp_path) as bed:
        pod = await one_pod(bed)
        reader, writer = await asyncio.open_connection("127.0.0.1", bed.port)
        writer.write(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n")
        async with asyncio.timeout(5):
            assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
            writer.write(b"ok")
            assert (await reader.readline()).startswith(b"HTTP/1.1 200")
        writer.close()
        assert (pod.asked[0].all("Expect"), pod.asked[0].body) == ([], b"ok")


async def test_each_request_is_one_line_of_the_log(tmp_path: Path) -> None:
    async with alb_bed(tmp_path) as bed:
        pod = await one_pod(bed)
        headers = {"Host": "api.test:8080", "User-Agent": 'a "quoted" agent'}
        async with bed.session.post(f"{bed.url}/v1/orders?x=%20", data=b"12345", headers=headers) as answer:
            await answer.read()
        entry = await bed.entry()
        assert entry["created"] == f"{bed.clock.utc():%Y-%m-%dT%H:%M:%S.%fZ}"
        assert (entry["type"], entry["status"], entry["target_status"]) == ("http", "200", "200")
        assert entry["target"] == f"127.0.0.2:{pod.port}"
        assert re.fullmatch(r"127\.0\.0\.1:\d+", entry["client"])
        assert entry["request"] == "POST http://api.test:80/v1/orders?x=%20 HTTP/1.1"
        assert entry["agent"] == 'a "quoted" agent'
        assert (entry["priority"], entry["actions"], entry["reason"]) == ("1", "forward", "-")
        assert entry["group"].startswith("arn:aws:elasticloadbalancing:sa-east-1:000000000000:targetgroup/k8s-comanda-")
        assert int(entry["received"]) > 100
        assert int(entry["sent"]) > 40
        assert [entry[f"{name}_time"] for name in ("request", "target", "response")] == ["0.000"] * 3


async def test_the_state_page_counts_answers_by_whose_they_were(tmp_path: Path) -> None:
    async def serve(asked: Asked, _: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(plain("no", "500 Own Fault"))

    async with alb_bed(tmp_path, [ingress([("/v1", "Prefix")]), service()]) as bed:
        pod = await one_pod(bed)
        await bed.get("/v1")
        await bed.get("/metrics")
        pod.serve = serve
        assert await bed.get("/v1") == (500, "no")
        await bed.entry(3)
        async with bed.session.get(bed.admin) as answer:
            state = await answer.json()
        counts = {name: number for name, number in state["counts"].items() if number}
        assert counts == {"requests": 3, "target_2xx": 1, "elb_4xx": 1, "target_5xx": 1}
        assert (state["synced"], state["problems"]) == (True, {})
        assert state["groups"][0]["targets"][0]["state"] == "healthy"


async def test_a_test_may_wait_at_the_state_page(tmp_path: Path) -> None:
    async with alb_bed(tmp_path) as bed:

        async def wait(what: str) -> int:
            async with bed.session.get(bed.admin, params={"wait": what, "timeout": "30"}) as answer:
                return answer.status

        assert await wait("listening") == 200
        assert await wait("healthy:comanda/comanda-api:0") == 200
        assert await wait("well:comanda/comanda-api:0") == 400
        waiting = asyncio.create_task(wait("healthy:comanda/comanda-api:1"))
        await one_pod(bed)
        assert await waiting == 200
        waiting = asyncio.create_task(wait("healthy:comanda/comanda-api:=0"))
        await bed.clock.flow(waiting.done)
        assert await waiting == 504


async def test_https_is_served_and_http_redirected(tmp_path: Path) -> None:
    said = {
        "certificate-arn": "arn:aws:acm:::1",
        "listen-ports": '[{"HTTP": 80}, {"HTTPS": 443}]',
        "ssl-redirect": "443",
    }
    things = [ingress(annotations=said), service()]
    async with alb_bed(tmp_path, things, listen_tls=("127.0.0.1", 0)) as bed:
        pod = await one_pod(bed)
        async with bed.session.get(
            f"{bed.url}/v1/menu?a=1", headers={"Host": "api.test"}, allow_redirects=False
        ) as answer:
            assert (answer.status, answer.headers["Location"]) == (301, "https://api.test:443/v1/menu?a=1")
        assert pod.asked == []
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        port = bed.alb.listeners.places["HTTPS"].port
        async with bed.session.get(f"https://127.0.0.1:{port}/v1/menu", ssl=context) as answer:
            assert await answer.text() == "a"
        assert [pod.asked[0].all(f"X-Forwarded-{name}") for name in ("Proto", "Port")] == [["https"], ["443"]]
        entries = [await bed.entry(number) for number in (1, 2)]
        assert [each["type"] for each in entries] == ["http", "https"]
        assert [each["actions"] for each in entries] == ["redirect", "forward"]
        assert entries[0]["redirect"] == "https://api.test:443/v1/menu?a=1"
        assert entries[1]["tls"].startswith("TLSv1.")
