"""What the Ingresses ask for: listeners with rules, target groups, names. From objects alone, nothing is done yet."""

import hashlib
import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace

from tests.cluster.alb.annotations import (
    PREFIX,
    BalancerSettings,
    GroupSettings,
    Wrong,
    read_balancer,
    read_group,
    unknown,
)
from tests.cluster.alb.kubernetes import Json, Key, key
from tests.cluster.alb.rules import NOBODY, Action, Fixed, Forward, GroupKey, Redirect, Rule, in_order, path_patterns

CLASS = "alb"


@dataclass(frozen=True)
class GroupSpec:
    """A target group as it is to be.

    Args:
        name: of the target group and its binding; the pods' gate ends in it. port_name: of the service's port, "" if
            it has none. check_port: of the health checks, 0 for the one that takes the traffic.
        selector: of the service.
    """

    key: GroupKey
    name: str
    settings: GroupSettings
    port_name: str
    check_port: int
    selector: Mapping[str, str]


@dataclass(frozen=True)
class Listener:
    """A port of the load balancer: what it does with a request."""

    protocol: str
    port: int
    settings: BalancerSettings
    rules: tuple[Rule, ...] = ()
    default: Action = NOBODY


@dataclass
class Model:
    """All of it.

    Args:
        hostnames: the load balancer's, by Ingress. ingresses: of which it was built, each as it was when it last was
            right. problems: what is wrong or not known here, by object.
    """

    listeners: dict[str, Listener] = field(default_factory=dict)
    groups: dict[GroupKey, GroupSpec] = field(default_factory=dict)
    hostnames: dict[Key, str] = field(default_factory=dict)
    ingresses: dict[Key, Json] = field(default_factory=dict)
    problems: dict[str, list[str]] = field(default_factory=dict)


@dataclass(frozen=True)
class Naming:
    """What goes into names beside the objects' own."""

    cluster: str = "comanda"
    region: str = "sa-east-1"

    def hashed(self, *parts: str) -> str:
        """Answer ten characters that stay the same for the same parts."""
        return hashlib.sha256("".join((self.cluster, *parts)).encode()).hexdigest()[:10]

    def balancer(self, ingress: Json, scheme: str) -> str:
        """Answer the host name of an Ingress's load balancer."""
        namespace, name = key(ingress)
        group = group_name(ingress)
        middle = _plain(group)[:17] if group else f"{_plain(namespace)[:8]}-{_plain(name)[:8]}"
        digits = self.hashed(group or f"{namespace}/{name}", scheme)
        internal = "internal-" if scheme == "internal" else ""
        return f"{internal}k8s-{middle}-{digits}-{int(digits, 16) % 10**9:09}.{self.region}.elb.amazonaws.com"

    def group(self, ingress: Json, service: Json, port: str, protocol: str) -> str:
        """Answer the name of a target group."""
        namespace, name = key(service)
        uid = str(service["metadata"].get("uid", ""))
        digits = self.hashed(group_name(ingress) or "/".join(key(ingress)), *key(ingress), uid, port, "ip", protocol)
        return f"k8s-{_plain(namespace)[:8]}-{_plain(name)[:8]}-{digits}"


def _plain(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9]", "", name)


def group_name(ingress: Json) -> str:
    """Answer the group that an Ingress says it belongs to, "" for none but itself."""
    return str(annotations(ingress).get(f"{PREFIX}group.name", ""))


def annotations(thing: Json) -> dict[str, str]:
    """Answer an object's annotations."""
    found: dict[str, str] = thing["metadata"].get("annotations") or {}
    return found


def is_ours(ingress: Json) -> bool:
    """Answer whether an Ingress is of the class, and not on its way out."""
    said = annotations(ingress).get("kubernetes.io/ingress.class") or ingress["spec"].get("ingressClassName")
    return said == CLASS and "deletionTimestamp" not in ingress["metadata"]


def build(ingresses: Iterable[Json], services: Mapping[Key, Json], naming: Naming, last: Model) -> Model:
    """Answer the model.

    Args:
        last: the one before. An Ingress that is wrong now counts as it was then, as the controller leaves it.
    """
    model = Model()
    ours = sorted(filter(is_ours, ingresses), key=lambda each: (_order(each), key(each)))
    for ingress in ours:
        name = "/".join(key(ingress))
        trouble = [f"annotation {each} is not known" for each in unknown(annotations(ingress))]
        try:
            _add(model, ingress, services, naming)
        except Wrong as wrong:
            trouble.append(str(wrong))
            if key(ingress) in last.ingresses:
                with suppress(Wrong):
                    _add(model, last.ingresses[key(ingress)], services, naming)
        if trouble:
            model.problems[name] = trouble
    if len({group_name(each) or "/".join(key(each)) for each in ours}) > 1:
        model.problems["groups"] = ["several groups of Ingresses share one address here, as if they were one"]
    return model


def _order(ingress: Json) -> int:
    try:
        return int(annotations(ingress).get(f"{PREFIX}group.order", "0"))
    except ValueError:
        return 0


def _add(model: Model, ingress: Json, services: Mapping[Key, Json], naming: Naming) -> None:
    settings = read_balancer(annotations(ingress))
    groups: dict[GroupKey, GroupSpec] = {}
    wanted: list[tuple[tuple[str, ...], tuple[str, ...], Action]] = []
    for rule in ingress["spec"].get("rules") or []:
        hosts = (str(rule["host"]),) if rule.get("host") else ()
        for path in in_order((rule.get("http") or {}).get("paths") or []):
            patterns = path_patterns(path.get("path") or "/*", path.get("pathType", ""))
            wanted.append((hosts, patterns, _backend(ingress, path["backend"], services, naming, groups)))
    default: Action = NOBODY
    if backend := ingress["spec"].get("defaultBackend"):
        default = _backend(ingress, backend, services, naming, groups)
    model.groups = {**groups, **model.groups}
    for protocol, port in settings.listen:
        found = model.listeners.setdefault(protocol, Listener(protocol, port, settings))
        if settings.redirect_to and protocol == "HTTP":
            model.listeners[protocol] = replace(found, rules=(), default=Redirect(settings.redirect_to))
        elif not isinstance(found.default, Redirect):
            first = len(found.rules) + 1
            more = tuple(Rule(number, *each) for number, each in enumerate(wanted, first))
            kept = found.default if default == NOBODY else default
            model.listeners[protocol] = replace(found, rules=(*found.rules, *more), default=kept)
    model.hostnames[key(ingress)] = naming.balancer(ingress, settings.scheme)
    model.ingresses[key(ingress)] = ingress


def _backend(
    ingress: Json, backend: Json, services: Mapping[Key, Json], naming: Naming, groups: dict[GroupKey, GroupSpec]
) -> Action:
    """Answer what is done for a backend, and add its group.

    Raises:
        Wrong: it is none, or its annotations are not.
    """
    if "service" not in backend:
        raise Wrong("a backend without a service")
    name, said = str(backend["service"]["name"]), backend["service"].get("port") or {}
    port = str(said.get("name") or said.get("number"))
    namespace = key(ingress)[0]
    service = services.get((namespace, name))
    if service is None:
        return Fixed(503, "Backend service does not exist")
    found = _port(service, port)
    if found is None:
        raise Wrong(f"service {name} has no port {port}")
    settings = read_group(annotations(ingress), annotations(service))
    group = GroupKey(namespace, name, port)
    groups[group] = GroupSpec(
        key=group,
        name=naming.group(ingress, service, port, settings.protocol),
        settings=settings,
        port_name=str(found.get("name", "")),
        check_port=_check_port(service, settings.health.port),
        selector=service["spec"].get("selector") or {},
    )
    return Forward(group)


def _port(service: Json, port: str) -> Json | None:
    for each in service["spec"].get("ports") or []:
        if port in {str(each.get("port")), each.get("name")}:
            found: Json = each
            return found
    return None


def _check_port(service: Json, said: str) -> int:
    if said == "traffic-port":
        return 0
    if said.isdecimal():
        return int(said)
    found = _port(service, said)
    target = (found or {}).get("targetPort", (found or {}).get("port"))
    if not isinstance(target, int):
        raise Wrong(f"healthcheck-port: {said!r} leads to no number")
    return target
