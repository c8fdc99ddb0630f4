"""The load balancer's stand-in: what Ingresses ask for, read as the controller reads it."""

from typing import Any

import pytest

from tests.cluster.alb.annotations import Wrong, read_balancer, read_group, unknown
from tests.cluster.alb.endpoints import wanted
from tests.cluster.alb.kubernetes import Json, key
from tests.cluster.alb.model import Model, Naming, build
from tests.cluster.alb.rules import Action, Fixed, Forward, GroupKey, Redirect, choose, path_patterns
from tests.cluster.alb_bed import NAMESPACE, PREFIX, SERVICE, ingress, node, service

API = Forward(GroupKey(NAMESPACE, SERVICE, "http"))


def built(*ingresses: Json, services: list[Json] | None = None, last: Model | None = None) -> Model:
    things = {key(each): each for each in (services or [service()])}
    return build(ingresses, things, Naming(), last or Model())


def asked(model: Model, path: str, host: str = "api.test", protocol: str = "HTTP") -> Action:
    listener = model.listeners[protocol]
    return choose(listener.rules, host, path, listener.default)[0]


@pytest.mark.parametrize(
    ("path", "kind", "yes", "no"),
    [
        ("/v1/menu", "Exact", ["/v1/menu"], ["/v1/menu/", "/v1/menu/1", "/V1/menu"]),
        ("/v1", "Prefix", ["/v1", "/v1/", "/v1/menu"], ["/v1menu", "/", "/v2"]),
        ("/v1/", "Prefix", ["/v1", "/v1/", "/v1/menu"], ["/v1menu"]),
        ("/", "Prefix", ["/", "/anything", "//"], []),
        (
            "/v1/*/events",
            "ImplementationSpecific",
            ["/v1/orders/1/events", "/v1//events"],
            ["/v1/events", "/v1/a/event"],
        ),
        ("/v?/menu", "ImplementationSpecific", ["/v1/menu", "/vX/menu"], ["/v12/menu", "/v/menu"]),
        ("/a.b", "ImplementationSpecific", ["/a.b"], ["/aXb"]),
    ],
)
def test_only_the_paths_of_the_ingress(path: str, kind: str, yes: list[str], no: list[str]) -> None:
    model = built(ingress([(path, kind)]))
    assert [each for each in yes if asked(model, each) != API] == []
    assert [each for each in no if asked(model, each) != Fixed(404)] == []


def test_exact_paths_come_first_and_longer_prefixes_before_shorter_ones() -> None:
    ours = ingress([("/*", "ImplementationSpecific"), ("/", "Prefix"), ("/v1", "Prefix"), ("/v1/menu", "Exact")])
    paths = [rule.paths for rule in built(ours).listeners["HTTP"].rules]
    assert paths == [("/v1/menu",), ("/v1", "/v1/*"), ("/*",), ("/*",)]


def test_a_rule_with_a_host_is_for_that_host_alone() -> None:
    ours = ingress()
    ours["spec"]["rules"][0]["host"] = "*.Diner.test"
    model = built(ours)
    assert asked(model, "/", "api.diner.TEST") == API
    assert asked(model, "/", "diner.test") == Fixed(404)


@pytest.mark.parametrize(
    ("path", "kind"), [("/a*", "Exact"), ("/a?", "Prefix"), ("/a b", "Exact"), ("/" + "a" * 128, "Exact")]
)
def test_a_path_that_would_be_refused_is(path: str, kind: str) -> None:
    with pytest.raises(Wrong):
        path_patterns(path, kind)


def test_the_default_backend_takes_what_no_rule_matches() -> None:
    backend = {"service": {"name": SERVICE, "port": {"number": 80}}}
    model = built(ingress([("/v1", "Prefix")], defaultBackend=backend))
    assert asked(model, "/other") == Forward(GroupKey(NAMESPACE, SERVICE, "80"))


def test_a_service_that_does_not_exist_is_answered_503() -> None:
    model = built(ingress(), services=[service("another")])
    assert asked(model, "/") == Fixed(503, "Backend service does not exist")


def test_an_ingress_of_another_class_is_left_alone() -> None:
    assert built(ingress(ingressClassName="nginx")).listeners == {}


def test_the_class_may_stand_in_the_old_annotation() -> None:
    ours = ingress(ingressClassName=None)
    ours["metadata"]["annotations"]["kubernetes.io/ingress.class"] = "alb"
    assert asked(built(ours), "/") == API


def test_ssl_redirect_leaves_no_other_rule_on_http() -> None:
    said = {
        "certificate-arn": "arn:aws:acm:::1",
        "listen-ports": '[{"HTTP": 80}, {"HTTPS": 443}]',
        "ssl-redirect": "443",
    }
    model = built(ingress(annotations=said))
    assert asked(model, "/v1/menu") == Redirect(443)
    assert asked(model, "/v1/menu", protocol="HTTPS") == API


def test_a_certificate_alone_makes_an_https_listener_alone() -> None:
    model = built(ingress(annotations={"certificate-arn": "arn:aws:acm:::1"}))
    assert {name: each.port for name, each in model.listeners.items()} == {"HTTPS": 443}


def test_the_annotations_of_the_service_stand_above_the_ingress() -> None:
    group = read_group({PREFIX + "healthcheck-path": "/a"}, {PREFIX + "healthcheck-path": "/b"})
    assert group.health.path == "/b"


def test_without_annotations_the_controllers_defaults_hold() -> None:
    group = read_group({}, {})
    health = group.health
    assert (health.path, health.interval, health.timeout, health.healthy, health.unhealthy) == ("/", 15, 5, 2, 2)
    assert (health.codes, group.delay, group.least_outstanding, group.slow_start) == (((200, 200),), 300, False, 0)
    balancer = read_balancer({})
    assert (balancer.scheme, balancer.idle_timeout, balancer.keep_alive) == ("internal", 60, 3600)
    assert (balancer.listen, balancer.drop_invalid_fields) == ((("HTTP", 80),), False)


@pytest.mark.parametrize(
    "said",
    [
        {"healthcheck-interval-seconds": "4"},
        {"healthcheck-interval-seconds": "soon"},
        {"healthcheck-timeout-seconds": "15"},
        {"healthy-threshold-count": "1"},
        {"success-codes": "200-500"},
        {"success-codes": "fine"},
        {"target-type": "instance"},
        {"backend-protocol": "GRPC"},
        {"backend-protocol-version": "HTTP2"},
        {"target-group-attributes": "deregistration_delay.timeout_seconds=3601"},
        {"target-group-attributes": "deregistration_delay.timeout_seconds"},
        {"target-group-attributes": "slow_start.duration_seconds=10"},
        {
            "target-group-attributes": "slow_start.duration_seconds=30,"
            "load_balancing.algorithm.type=least_outstanding_requests"
        },
        {"target-group-attributes": "stickiness.enabled=true"},
        {"load-balancer-attributes": "idle_timeout.timeout_seconds=0"},
        {"listen-ports": '[{"HTTPS": 443}]'},
        {"listen-ports": '[{"TCP": 80}]'},
        {"listen-ports": "80"},
        {"ssl-redirect": "443"},
        {"scheme": "public"},
        {"actions.x": "{}"},
    ],
    ids=str,
)
def test_what_would_be_refused_changes_nothing_and_is_named(said: dict[str, str]) -> None:
    first = built(ingress([("/v1", "Prefix")]))
    second = built(ingress([("/v2", "Prefix")], annotations=said), last=first)
    assert (asked(second, "/v1"), asked(second, "/v2")) == (API, Fixed(404))
    assert len(second.problems[f"{NAMESPACE}/api"]) == 1


def test_a_misspelled_annotation_is_named() -> None:
    assert unknown({PREFIX + "healthcheck-pth": "/", PREFIX + "tags": "a=b", "other/one": ""}) == ["healthcheck-pth"]


def test_success_codes_are_codes_and_ranges() -> None:
    health = read_group({PREFIX + "success-codes": "200, 204,300-302"}, {}).health
    assert [code for code in range(199, 304) if health.passes(code)] == [200, 204, 300, 301, 302]


def test_the_health_checks_port_may_be_a_number_or_one_of_the_service() -> None:
    for said, port in {"traffic-port": 0, "8081": 8081, "ops": 9000}.items():
        model = built(ingress(annotations={"healthcheck-port": said}))
        assert [each.check_port for each in model.groups.values()] == [port]
    assert built(ingress(annotations={"healthcheck-port": "http"})).groups == {}


def test_names_are_as_the_controller_makes_them() -> None:
    model = built(ingress())
    host = model.hostnames[NAMESPACE, "api"]
    assert host.startswith("k8s-comanda-api-")
    assert host.endswith(".sa-east-1.elb.amazonaws.com")
    assert built(ingress(annotations={"scheme": "internal"})).hostnames[NAMESPACE, "api"].startswith("internal-k8s-")
    assert (
        built(ingress(annotations={"group.name": "diner.shop"}))
        .hostnames[NAMESPACE, "api"]
        .startswith("k8s-dinershop-")
    )
    [group] = model.groups.values()
    assert group.name.startswith("k8s-comanda-comandaa-")
    assert len(group.name) <= 32


def pods(**of: dict[str, Any]) -> dict[tuple[str, str], Json]:
    return {
        (NAMESPACE, name): {
            "metadata": {"namespace": NAMESPACE, "name": name},
            "spec": {"nodeName": said.get("node", "n")},
            "status": {"conditions": [{"type": "ContainersReady", "status": said.get("containers", "True")}]},
        }
        for name, said in of.items()
    }


def chosen(conditions: dict[str, dict[str, Any]], known: dict[tuple[str, str], Json], **nodes: str) -> set[str]:
    """Answer the addresses that are registered, each pod's being its name."""
    [spec] = built(ingress()).groups.values()
    endpoints = [
        {"addresses": [name], "conditions": said, "targetRef": {"kind": "Pod", "name": name}}
        for name, said in conditions.items()
    ]
    piece = {
        "metadata": {"namespace": NAMESPACE, "name": "s", "labels": {"kubernetes.io/service-name": SERVICE}},
        "ports": [{"name": "ops", "port": 9000}, {"name": "http", "port": 8000}],
        "endpoints": [*endpoints, {"addresses": ["by hand"], "conditions": {"ready": True}}],
    }
    there = {("", name): node(name, ready) for name, ready in nodes.items()}
    found = wanted(spec, [piece], known, there)
    assert {port for _, port in found} <= {8000}
    return {address for address, _ in found}


def test_a_pod_is_registered_once_its_containers_are_ready_though_its_gate_is_shut() -> None:
    said = {"shut": {"ready": False, "terminating": False}, "open": {"ready": True}}
    assert chosen(said, pods(shut={}, open={}), n="True") == {"shut", "open"}


def test_a_pod_whose_containers_are_not_ready_is_not_registered() -> None:
    assert chosen({"a": {"ready": False}}, pods(a={"containers": "False"}), n="True") == set()


def test_a_pod_that_is_ending_is_not_registered_however_it_serves() -> None:
    assert chosen({"a": {"ready": False, "serving": True, "terminating": True}}, pods(a={}), n="True") == set()


def test_pods_of_lost_nodes_are_registered_only_if_there_are_no_others() -> None:
    said = {"lost": {"ready": False}, "here": {"ready": True}}
    known = pods(lost={"node": "gone"}, here={})
    assert chosen(said, known, n="True", gone="Unknown") == {"here"}
    assert chosen({"lost": {"ready": False}}, known, n="True", gone="Unknown") == {"lost"}


def test_an_endpoint_without_its_pod_is_not_registered_yet() -> None:
    assert chosen({"a": {"ready": True}}, {}, n="True") == set()
