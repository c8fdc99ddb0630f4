"""The metrics that the dashboards ask for, and the ops port."""

from collections.abc import AsyncIterator

import aiohttp
import pytest
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from comanda.http.ops import Readiness, serve_ops
from tests.http.listening import until
from tests.running_diner import Diner

NAMES = {
    "http_requests": "counter",
    "http_request_duration_seconds": "histogram",
    "http_request_length_bytes": "histogram",
    "http_response_length_bytes": "histogram",
}


@pytest.fixture
async def ready() -> Readiness:
    return Readiness()


@pytest.fixture
async def ops(ready: Readiness) -> AsyncIterator[str]:
    """The URL of an ops port."""
    runner = await serve_ops("127.0.0.1", 0, ready)
    yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    await runner.cleanup()


async def scrape(ops: str) -> dict[str, Metric]:
    async with aiohttp.ClientSession() as session, session.get(f"{ops}/metrics") as response:
        assert response.status == 200
        assert response.content_type == "text/plain"
        text = await response.text()
    return {family.name: family for family in text_string_to_metric_families(text)}


def count(families: dict[str, Metric], name: str, **labels: str) -> float:
    return sum(
        sample.value
        for family in families.values()
        for sample in family.samples
        if sample.name == name and labels.items() <= sample.labels.items()
    )


async def test_requests_are_counted_by_route_method_and_class(diner: Diner, ops: str) -> None:
    before = await scrape(ops)
    order = await diner.place(1)
    await diner.call("GET", f"/v1/orders/{order['id']}")
    await diner.call("GET", f"/v1/orders/{order['id']}", headers={"X-Request-Id": "12345678"})
    await diner.call("GET", "/v1/orders/00000000-0000-0000-0000-000000000000")
    await diner.call("HEAD", "/v1/menu")
    await diner.call("GET", "/wp-login.php")
    after = await scrape(ops)
    for labels, by in (
        ({"route": "/v1/orders", "method": "POST", "status": "2XX"}, 1),
        ({"route": "/v1/orders/{order_id}", "method": "GET", "status": "2XX"}, 2),
        ({"route": "/v1/orders/{order_id}", "method": "GET", "status": "4XX"}, 1),
        ({"route": "/v1/menu", "method": "HEAD", "status": "2XX"}, 1),
        ({"route": "unmatched", "method": "GET", "status": "4XX"}, 1),
    ):
        for name in ("http_requests_total", *(f"{name}_count" for name in NAMES if name != "http_requests")):
            assert count(after, name, **labels) - count(before, name, **labels) == by, (name, labels)
    for name, kind in NAMES.items():
        assert after[name].type == kind
        for sample in after[name].samples:
            assert set(sample.labels) - {"le"} == {"route", "method", "status"}
            assert sample.labels["status"] in {"1XX", "2XX", "3XX", "4XX", "5XX"}
    length = "http_response_length_bytes_sum"
    route = {"route": "/v1/orders/{order_id}", "method": "GET", "status": "2XX"}
    assert count(after, length, **route) - count(before, length, **route) > 1000
    sent = {"route": "/v1/orders", "method": "POST", "status": "2XX"}
    name = "http_request_length_bytes_sum"
    assert count(after, name, **sent) - count(before, name, **sent) > 50


async def test_what_never_failed_stands_at_zero_so_that_a_first_failure_is_an_increase(diner: Diner, ops: str) -> None:
    families = await scrape(ops)
    failed = {
        (sample.labels["route"], sample.labels["method"])
        for sample in families["http_requests"].samples
        if sample.labels["status"] == "5XX"
    }
    assert {("/v1/orders", "POST"), ("/v1/orders/{order_id}", "GET"), ("/v1/menu", "GET")} <= failed
    for name, labels in {
        "comanda_charges_total": {"outcome": "refused"},
        "comanda_webhooks_total": {"outcome": "signature_forged"},
        "comanda_payment_reviews_total": {"reason": "amount_mismatch"},
        "comanda_stream_listeners": {"stream": "kitchen"},
    }.items():
        assert any(
            labels.items() <= sample.labels.items()
            for family in families.values()
            for sample in family.samples
            if sample.name == name
        ), name


async def test_clients_cannot_make_time_series(diner: Diner, ops: str) -> None:
    async def send_odd_things(round_: int) -> None:
        for number in range(20):
            odd = f"{round_}-{number}"
            await diner.call(f"M{round_}{number}", "/v1/menu")
            await diner.call("GET", f"/{odd}")
            await diner.call("GET", f"/v1/orders/{odd}")
            await diner.call("GET", f"/v1/menu?{odd}")
            await diner.call("POST", f"/docs/{odd}")

    await send_odd_things(1)
    first = await scrape(ops)
    await send_odd_things(2)
    second = await scrape(ops)
    for name in NAMES:
        assert {tuple(sample.labels.items()) for sample in first[name].samples} == {
            tuple(sample.labels.items()) for sample in second[name].samples
        }
    routes = {sample.labels["route"] for sample in second["http_requests"].samples}
    assert not any("-1" in route for route in routes)
    methods = {sample.labels["method"] for sample in second["http_requests"].samples}
    assert methods <= {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "OTHER"}


async def test_listeners_are_counted(diner: Diner, ops: str) -> None:
    async def open_board() -> float:
        return count(await scrape(ops), "comanda_stream_listeners", stream="board")

    before = await open_board()
    async with diner.session.get(f"{diner.url}/v1/board/events") as response:
        await response.content.readline()
        assert await open_board() == before + 1
    await until(lambda: not diner.streams._all())
    assert await open_board() == before


async def test_business_metrics_have_our_name(ops: str) -> None:
    families = await scrape(ops)
    ours = {name for name in families if not name.startswith(("python_", "process_", "http_"))}
    assert ours
    assert all(name.startswith("comanda_") for name in ours)


async def test_alive_ready_and_draining(ops: str, ready: Readiness) -> None:
    async with aiohttp.ClientSession() as session:

        async def status(path: str) -> int:
            async with session.get(ops + path) as response:
                return response.status

        async def all_three() -> tuple[int, int, int]:
            return await status("/livez"), await status("/startupz"), await status("/readyz")

        assert await all_three() == (200, 503, 503)
        ready.started = True
        assert await all_three() == (200, 200, 200)
        ready.draining = True
        assert await all_three() == (200, 200, 503)
        assert await status("/v1/menu") == 404


async def test_the_public_port_tells_of_readiness_and_nothing_more(diner: Diner) -> None:
    assert (await diner.call("GET", "/readyz")).body == "ready\n"
    diner.ready.draining = True
    answer = await diner.call("GET", "/readyz")
    assert (answer.status, answer.body) == (503, "not ready\n")
    for path in ("/metrics", "/livez"):
        assert (await diner.call("GET", path)).status == 404


async def test_a_draining_pod_closes_its_connections(diner: Diner) -> None:
    assert "connection" not in (await diner.call("GET", "/v1/menu")).headers
    diner.gate.draining = True
    assert (await diner.call("GET", "/v1/menu")).headers["connection"] == "close"
