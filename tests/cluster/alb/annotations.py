"""What the annotations of Ingresses and Services say, within the bounds that the controller and AWS set."""

import json
from collections.abc import Mapping
from dataclasses import dataclass

PREFIX = "alb.ingress.kubernetes.io/"
DEFAULT_DELAY = 300
"""Seconds; deregistration_delay.timeout_seconds, where no annotation says otherwise."""

WITHOUT_EFFECT_HERE = {
    "backend-protocol-version",
    "inbound-cidrs",
    "ip-address-type",
    "load-balancer-name",
    "manage-backend-security-group-rules",
    "security-groups",
    "ssl-policy",
    "subnets",
    "tags",
    "target-node-labels",
    "wafv2-acl-arn",
}
"""Known to the controller, and nothing to a stand-in in one network."""

READ_HERE = {
    "backend-protocol",
    "certificate-arn",
    "group.name",
    "group.order",
    "healthcheck-interval-seconds",
    "healthcheck-path",
    "healthcheck-port",
    "healthcheck-protocol",
    "healthcheck-timeout-seconds",
    "healthy-threshold-count",
    "listen-ports",
    "load-balancer-attributes",
    "scheme",
    "ssl-redirect",
    "success-codes",
    "target-group-attributes",
    "target-type",
    "unhealthy-threshold-count",
}

NOT_HERE = ("actions.", "conditions.", "auth-")
"""How those begin that the controller knows and this stand-in refuses, rather than do without them."""


class Wrong(Exception):
    """The controller or AWS would refuse this; the Ingress then stays as it last was."""


@dataclass(frozen=True)
class HealthCheck:
    """How a target is looked at.

    Args:
        port: "traffic-port", a number or the name of one of the service's ports. interval, timeout: seconds.
        codes: ranges, both ends within.
    """

    path: str = "/"
    port: str = "traffic-port"
    protocol: str = "HTTP"
    interval: int = 15
    timeout: int = 5
    healthy: int = 2
    unhealthy: int = 2
    codes: tuple[tuple[int, int], ...] = ((200, 200),)

    def passes(self, status: int) -> bool:
        """Answer whether a status counts as healthy."""
        return any(first <= status <= last for first, last in self.codes)


@dataclass(frozen=True)
class GroupSettings:
    """Of a target group; times in seconds."""

    health: HealthCheck = HealthCheck()
    protocol: str = "HTTP"
    delay: int = DEFAULT_DELAY
    least_outstanding: bool = False
    slow_start: int = 0


@dataclass(frozen=True)
class BalancerSettings:
    """Of the load balancer; times in seconds.

    Args:
        forwarded_for: append, preserve or remove.
    """

    scheme: str = "internal"
    idle_timeout: int = 60
    keep_alive: int = 3600
    drop_invalid_fields: bool = False
    forwarded_for: str = "append"
    listen: tuple[tuple[str, int], ...] = (("HTTP", 80),)
    redirect_to: int = 0
    """The port of ssl-redirect, 0 without one."""


def unknown(annotations: Mapping[str, str]) -> list[str]:
    """Answer the annotations of ours that neither the controller nor this stand-in knows: misspelled, most likely."""
    names = (name.removeprefix(PREFIX) for name in annotations if name.startswith(PREFIX))
    return sorted(
        name for name in names if name not in READ_HERE | WITHOUT_EFFECT_HERE and not name.startswith(NOT_HERE)
    )


def read_group(ingress: Mapping[str, str], service: Mapping[str, str]) -> GroupSettings:
    """Answer the settings of a target group; the service's annotations stand above the Ingress's.

    Raises:
        Wrong: they would be refused.
    """
    said = _Said({**ingress, **service})
    if said.text("target-type", "ip") != "ip":
        raise Wrong("target-type: only ip is known here")
    if said.text("backend-protocol-version", "HTTP1") != "HTTP1":
        raise Wrong("backend-protocol-version: only HTTP1 is known here")
    attributes = said.pairs("target-group-attributes")
    if attributes.text("stickiness.enabled", "false") != "false":
        raise Wrong("stickiness is not known here")
    algorithm = attributes.choice(
        "load_balancing.algorithm.type", ("round_robin", "least_outstanding_requests", "weighted_random")
    )
    slow_start = attributes.number("slow_start.duration_seconds", 0, 0, 900)
    if 0 < slow_start < 30:
        raise Wrong(f"slow_start.duration_seconds={slow_start}: 0 or from 30 to 900")
    if slow_start and algorithm != "round_robin":
        raise Wrong(f"slow_start.duration_seconds and {algorithm} exclude each other")
    protocol = said.choice("backend-protocol", ("HTTP", "HTTPS"))
    return GroupSettings(
        health=_read_health(said, protocol),
        protocol=protocol,
        delay=attributes.number("deregistration_delay.timeout_seconds", DEFAULT_DELAY, 0, 3600),
        least_outstanding=algorithm == "least_outstanding_requests",
        slow_start=slow_start,
    )


def _read_health(said: "_Said", protocol: str) -> HealthCheck:
    codes = []
    for part in said.text("success-codes", "200").split(","):
        first, _, last = part.strip().partition("-")
        try:
            codes.append((int(first), int(last or first)))
        except ValueError:
            raise Wrong(f"success-codes: {part!r} is neither a code nor a range") from None
        if not 200 <= codes[-1][0] <= codes[-1][1] <= 499:
            raise Wrong(f"success-codes: {part!r} is not within 200-499")
    path = said.text("healthcheck-path", "/")
    if not path.startswith("/"):
        raise Wrong(f"healthcheck-path: {path!r} does not begin with /")
    health = HealthCheck(
        path=path,
        port=said.text("healthcheck-port", "traffic-port"),
        protocol=said.choice("healthcheck-protocol", ("HTTP", "HTTPS"), protocol),
        interval=said.number("healthcheck-interval-seconds", 15, 5, 300),
        timeout=said.number("healthcheck-timeout-seconds", 5, 2, 120),
        healthy=said.number("healthy-threshold-count", 2, 2, 10),
        unhealthy=said.number("unhealthy-threshold-count", 2, 2, 10),
        codes=tuple(codes),
    )
    if health.timeout >= health.interval:
        raise Wrong(f"healthcheck-timeout-seconds={health.timeout} is not less than the interval, {health.interval}")
    return health


def read_balancer(annotations: Mapping[str, str]) -> BalancerSettings:
    """Answer the settings of the load balancer.

    Raises:
        Wrong: they would be refused.
    """
    for name in annotations:
        if name.startswith(PREFIX) and name.removeprefix(PREFIX).startswith(NOT_HERE):
            raise Wrong(f"{name} is not known here")
    said = _Said(annotations)
    attributes = said.pairs("load-balancer-attributes")
    certificate = said.text("certificate-arn", "")
    listen = _read_ports(said.text("listen-ports", '[{"HTTPS": 443}]' if certificate else '[{"HTTP": 80}]'))
    secured = [port for protocol, port in listen if protocol == "HTTPS"]
    if secured and not certificate:
        raise Wrong("an HTTPS port needs certificate-arn: none is discovered here")
    redirect = said.number("ssl-redirect", 0, 0, 65535)
    if redirect and redirect not in secured:
        raise Wrong(f"ssl-redirect={redirect} is no HTTPS port of listen-ports")
    return BalancerSettings(
        scheme=said.choice("scheme", ("internal", "internet-facing")),
        idle_timeout=attributes.number("idle_timeout.timeout_seconds", 60, 1, 4000),
        keep_alive=attributes.number("client_keep_alive.seconds", 3600, 60, 604800),
        drop_invalid_fields=attributes.choice("routing.http.drop_invalid_header_fields.enabled", ("false", "true"))
        == "true",
        forwarded_for=attributes.choice("routing.http.xff_header_processing.mode", ("append", "preserve", "remove")),
        listen=listen,
        redirect_to=redirect,
    )


def _read_ports(text: str) -> tuple[tuple[str, int], ...]:
    try:
        given = json.loads(text)
        ports = [(protocol, int(port)) for each in given for protocol, port in each.items()]
    except (ValueError, TypeError, AttributeError):
        raise Wrong(f"listen-ports: {text!r} is no list of protocols with ports") from None
    if not ports or any(protocol not in {"HTTP", "HTTPS"} or not 0 < port < 65536 for protocol, port in ports):
        raise Wrong(f"listen-ports: {text!r}")
    if len({port for _, port in ports}) < len(ports):
        raise Wrong(f"listen-ports: {text!r} names a port twice")
    return tuple(ports)


class _Said:
    """Annotations, or attributes within one, read with bounds."""

    def __init__(self, values: Mapping[str, str], prefix: str = PREFIX) -> None:
        self._values = values
        self._prefix = prefix

    def text(self, name: str, default: str) -> str:
        return self._values.get(self._prefix + name, default)

    def choice(self, name: str, known: tuple[str, ...], default: str = "") -> str:
        found = self.text(name, default or known[0])
        if found not in known:
            raise Wrong(f"{name}: {found!r} is none of {', '.join(known)}")
        return found

    def number(self, name: str, default: int, least: int, most: int) -> int:
        found = self.text(name, str(default))
        try:
            number = int(found)
        except ValueError:
            raise Wrong(f"{name}: {found!r} is no number") from None
        if not least <= number <= most:
            raise Wrong(f"{name}={number} is not within {least} and {most}")
        return number

    def pairs(self, name: str) -> "_Said":
        """Answer the pairs that one annotation holds: k1=v1,k2=v2."""
        pairs = {}
        for part in filter(None, (part.strip() for part in self.text(name, "").split(","))):
            left, equals, right = part.partition("=")
            if not equals:
                raise Wrong(f"{name}: {part!r} is no pair")
            pairs[left.strip()] = right.strip()
        return _Said(pairs, "")
