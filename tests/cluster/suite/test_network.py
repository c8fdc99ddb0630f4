"""Names and services reach pods on every node; nothing reaches out."""

from collections.abc import Callable

import pytest

from tests.cluster.layout import NODES
from tests.cluster.objects import Json
from tests.cluster.suite.kube import Caller, Space, deployment, service, until

pytestmark = pytest.mark.cluster


def on(node: str) -> Json:
    return {"nodeSelector": {"kubernetes.io/hostname": node}}


def test_every_node_s_pods_reach_every_other_s_by_name(space: Space) -> None:
    for node in NODES:
        space.apply(deployment(space, node.name, **on(node.name)), service(node.name))
    for node in NODES:
        space.rolled_out(f"deployment/{node.name}")
    for node in NODES:
        with space.at(f"deployment/{node.name}") as call:
            for other in NODES:
                asked = f"/get?url=http://{other.name}.{space.name}.svc.cluster.local/"
                # A pod is ready a moment before every node's proxy leads to it.
                until(f"{node.name} reaches {other.name}", _answers(call, asked, other.name))


def test_a_service_spreads_over_its_pods_and_the_api_server_has_its_name(space: Space) -> None:
    space.apply(deployment(space, "many", 3), service("many"))
    space.rolled_out("deployment/many")
    with space.at("deployment/many") as call:
        assert call("/resolve?name=kubernetes.default.svc.cluster.local").startswith("10.")
        names = {each["metadata"]["name"] for each in space.pods("many")}
        seen: set[str] = set()

        def all_seen() -> bool:
            seen.add(call("/get?url=http://many/").split()[0])
            return seen == names

        until("each of three pods answers", all_seen)


def test_a_headless_service_names_each_pod(space: Space) -> None:
    space.apply(deployment(space, "crowd", 2), service("crowd", headless=True))
    space.rolled_out("deployment/crowd")
    with space.at("deployment/crowd") as call:
        until("two addresses", lambda: len(call("/resolve?name=crowd").split()) == 2)


def test_no_way_leads_out_of_the_cluster(space: Space) -> None:
    space.apply(deployment(space, "curious"))
    space.rolled_out("deployment/curious")
    with space.at("deployment/curious") as call:
        assert "no such host" in call("/resolve?name=api.mercadopago.com")
        refused = call("/get?url=http://192.0.2.1/")
    assert "unreachable" in refused or "Timeout" in refused or "no route" in refused, refused


def _answers(call: Caller, asked: str, node: str) -> Callable[[], bool]:
    return lambda: call(asked).endswith(node)
