"""Where in the manifests stands what is particular to an account, and how other values are put there."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Network
from itertools import pairwise
from pathlib import Path
from typing import Any

import yaml

from comanda_deploy.agreement import PRIVATE, PROXIES, SERVICES, STORES
from comanda_deploy.errors import DeployError
from comanda_deploy.objects import key_of

PUBLIC_URL = "PUBLIC_URL"
TO_API = "to-api"
NETWORKS = range(16, 21)
"""Sizes that a VPC may have (infra/settings.toml, network.cidr); a subnet is a sixteenth of it."""
PLAIN_LISTEN = "    alb.ingress.kubernetes.io/listen-ports: '[{\"HTTP\": 80}]'\n"
PLAIN_RULE = "    - http:\n"
LISTEN = ("    alb.ingress.kubernetes.io/target-type: ip\n", "    alb.ingress.kubernetes.io/healthcheck-path:")
RULE = ("  rules:\n", "        paths:\n")
"""Between these lines of the Ingress stands what HTTPS makes another."""
CERTIFICATE = "    alb.ingress.kubernetes.io/certificate-arn: {}\n"
EXAMPLE = "comanda.example.com"
"""The host in the published overlay."""


@dataclass(frozen=True)
class Particulars:
    """What is particular to an account.

    Args:
        network: the VPC's block. public: its public subnets'. services: Kubernetes' services'.
        host: "" for plain HTTP. certificate: its ARN, "" without a host.
    """

    region: str
    network: IPv4Network
    public: tuple[IPv4Network, ...]
    services: IPv4Network
    host: str
    certificate: str

    @property
    def public_url(self) -> str:
        """How guests and Mercado Pago reach the API, "" where nobody is told."""
        return f"https://{self.host}" if self.host else ""


def network_in(texts: Mapping[Path, str]) -> IPv4Network:
    """Answer the VPC's block that the manifests were written for: its public subnets may come in to the API.

    Raises:
        DeployError: they do not say.
    """
    for file, text in texts.items():
        for node in _documents(file, text):
            key = key_of(_plain(node))
            if key[1] == "NetworkPolicy" and key[3] == TO_API:
                nodes = list(_blocks(node, "ingress", "from"))
                if (at := _pair([each.value for each in nodes])) is not None:
                    return IPv4Network(nodes[at].value).supernet(prefixlen_diff=4)
                raise _lost(file, f"NetworkPolicy {TO_API}", "the two public subnets' blocks, side by side")
    raise DeployError(f"there is no NetworkPolicy {TO_API} in the manifests: put it back as published")


def with_particulars(file: Path, text: str, wanted: Particulars, was: IPv4Network, overlay: str) -> str:
    """Answer a manifest's text with the particulars in it, and else as it is.

    Args:
        was: the VPC's block that it was written for. overlay: the text of the Ingress with HTTPS.

    Raises:
        DeployError: what is to be replaced is not there as it was published.
    """
    changes: list[tuple[int, int, str]] = []
    for node in _documents(file, text):
        for found, value in _values(file, node, wanted, was):
            if found.style in {"|", ">"}:
                raise _lost(file, f"line {found.start_mark.line + 1}", "its value in that line")
            if found.value != value:
                changes.append((found.start_mark.index, found.end_mark.index, _written(found, value)))
        changes += _excepted(node, wanted, was)
        if key_of(_plain(node))[1] == "Ingress":
            changes += _of_ingress(file, text, wanted, overlay)
    for start, end, value in sorted(changes, reverse=True):
        text = text[:start] + value + text[end:]
    return text


def _values(file: Path, node: Any, wanted: Particulars, was: IPv4Network) -> Iterator[tuple[Any, str]]:
    """Answer the scalars that are particular, each with what it is to be."""
    group, kind, _, name = key_of(_plain(node))
    if (group, kind) in STORES:
        if region := _at(node, "spec", "provider", "aws", "region"):
            yield region, wanted.region
    elif kind == "NetworkPolicy" and name == TO_API:
        nodes = list(_blocks(node, "ingress", "from"))
        at = _pair([each.value for each in nodes])
        assert at is not None, "network_in has seen it"
        yield from zip(nodes[at : at + 2], map(str, wanted.public), strict=True)
    elif kind == "NetworkPolicy":
        nodes = list(_blocks(node, "egress", "to"))
        ours = [each for each in nodes if each.value == str(was)]
        services = [each for each in nodes if each not in ours and each.value in map(str, SERVICES)]
        if services and not ours:
            what = f"the VPC's block {was} beside the services' {services[0].value}"
            raise _lost(file, f"NetworkPolicy {name}", what)
        yield from ((each, str(wanted.network)) for each in ours)
        yield from ((each, str(wanted.services)) for each in services)
    elif kind == "ConfigMap":
        if (url := _at(node, "data", PUBLIC_URL)) is not None:
            yield url, wanted.public_url
        # Empty it is meant so: something else than the load balancer stands before the API.
        if (proxies := _at(node, "data", PROXIES)) is not None and proxies.value:
            blocks = proxies.value.split(",")
            at = _pair([each.strip() for each in blocks])
            if at is None:
                raise _lost(file, PROXIES, "the two public subnets' blocks, side by side")
            for place, block in enumerate(wanted.public, start=at):
                blocks[place] = blocks[place].replace(blocks[place].strip(), str(block))
            yield proxies, ",".join(blocks)


def _excepted(node: Any, wanted: Particulars, was: IPv4Network) -> Iterator[tuple[int, int, str]]:
    """Answer what of "the world without private networks" changes: a VPC on public addresses is left out by name."""
    for rule in _items(_at(node, "spec", "egress")):
        for peer in _items(_at(rule, "to")):
            without = _at(peer, "ipBlock", "except")
            if without is None or not without.flow_style:
                continue
            named = [each.value for each in without.value]
            # One on private addresses was never written here, though it may be as large as what is.
            kept = named if _covered(was, PRIVATE) else [each for each in named if each != str(was)]
            if not _covered(wanted.network, [IPv4Network(each) for each in kept]):
                kept = [*kept, str(wanted.network)]
            if kept != named:
                yield without.start_mark.index, without.end_mark.index, f"[{', '.join(kept)}]"


def _of_ingress(file: Path, text: str, wanted: Particulars, overlay: str) -> Iterator[tuple[int, int, str]]:
    """Answer what of the Ingress changes with HTTPS, a host and its certificate, all of it as the overlay says it."""
    https_listen, https_rule = (overlay[slice(*_span(file, overlay, between))] for between in (LISTEN, RULE))
    at_listen, at_rule = _span(file, text, LISTEN), _span(file, text, RULE)
    listen, rule = text[slice(*at_listen)], text[slice(*at_rule)]
    given = listen.removeprefix(https_listen)
    is_https = listen.startswith(https_listen) and (not given or given.startswith(CERTIFICATE.format("").rstrip("\n")))
    is_https = is_https and given.count("\n") <= 1
    if not (listen == PLAIN_LISTEN and rule == PLAIN_RULE) and not (is_https and _same_but_host(rule, https_rule)):
        raise _lost(file, "Ingress", "what it says as published, or in infra/overlays/https")
    if wanted.host:
        yield (*at_listen, https_listen + CERTIFICATE.format(wanted.certificate))
        yield (*at_rule, https_rule.replace(EXAMPLE, wanted.host))
    else:
        yield (*at_listen, PLAIN_LISTEN)
        yield (*at_rule, PLAIN_RULE)


def _same_but_host(rule: str, published: str) -> bool:
    before, _, after = published.partition(EXAMPLE)
    host = rule.removeprefix(before).removesuffix(after)
    return rule == f"{before}{host}{after}" and "\n" not in host


def _span(file: Path, text: str, between: tuple[str, str]) -> tuple[int, int]:
    start = text.find(between[0])
    end = text.find(between[1], start)
    if start < 0 or end < 0:
        raise _lost(file, "Ingress", f"the lines {between[0].strip()} and {between[1].strip()}")
    return start + len(between[0]), end


def _pair(values: list[str]) -> int | None:
    """Answer where two public subnets stand side by side: the first two sixteenths of a network that may be a VPC."""
    for at, (first, second) in enumerate(pairwise(values)):
        try:
            network = IPv4Network(first).supernet(prefixlen_diff=4)
        except ValueError:
            continue
        cut = network.subnets(prefixlen_diff=4)
        if network.prefixlen in NETWORKS and [first, second] == [str(next(cut)), str(next(cut))]:
            return at
    return None


def _covered(network: IPv4Network, by: Iterable[IPv4Network]) -> bool:
    return any(network.subnet_of(each) for each in by)


def _written(node: Any, value: str) -> str:
    """Answer a scalar's text, in the quotes that it has."""
    quote = node.style or ('"' if not value else "")
    return f"{quote}{value}{quote}"


def _documents(file: Path, text: str) -> list[Any]:
    try:
        return [each for each in yaml.compose_all(text, yaml.SafeLoader) if each is not None and each.value]
    except yaml.YAMLError as error:
        raise DeployError(f"{file} cannot be read ({' '.join(str(error).split())}): mend it") from error


def _plain(node: Any) -> Any:
    """Answer what of an object its key is made of."""
    metadata = {name: found.value for name in ("namespace", "name") if (found := _at(node, "metadata", name))}
    version, kind = _at(node, "apiVersion"), _at(node, "kind")
    return {"apiVersion": version and version.value, "kind": kind and kind.value, "metadata": {"name": "", **metadata}}


def _at(node: Any, *path: str) -> Any:
    """Answer what stands under some keys, None if nothing does."""
    for key in path:
        if not isinstance(node, yaml.MappingNode):
            return None
        node = next((value for name, value in node.value if name.value == key), None)
    return node


def _items(node: Any) -> list[Any]:
    return node.value if isinstance(node, yaml.SequenceNode) else []


def _blocks(node: Any, way: str, peers: str) -> Iterator[Any]:
    for rule in _items(_at(node, "spec", way)):
        for peer in _items(_at(rule, peers)):
            if (block := _at(peer, "ipBlock", "cidr")) is not None:
                yield block


def _lost(file: Path, where: str, what: str) -> DeployError:
    return DeployError(f"{file}: {where} does not have {what}: put it back as published (git diff shows what changed)")
