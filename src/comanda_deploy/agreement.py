"""Whether addresses and regions that stand in manifests are those that the settings make.

A manifest is applied as it stands, by hand too: what the settings say is not put into it, only compared.
"""

from collections.abc import Iterator
from ipaddress import IPv4Network

from comanda_deploy.objects import Json, Object
from comanda_deploy.settings import Settings
from comanda_deploy.steps.network import PUBLIC, places

PRIVATE = tuple(map(IPv4Network, ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10")))
"""Addresses that mean something only within a network of one's own (RFC 1918, RFC 6598)."""
SERVICES = tuple(map(IPv4Network, ("172.20.0.0/16", "10.100.0.0/16")))
"""From one of these EKS gives Kubernetes' services their addresses (EKS user guide, serviceIpv4Cidr)."""
PUBLISHED_SIZES = {16, 20}
"""Of the network and its subnets in the manifests as published."""
PROXIES = "TRUSTED_PROXIES"
STORES = {("external-secrets.io", "SecretStore"), ("external-secrets.io", "ClusterSecretStore")}


def disagreements(settings: Settings, each: Object) -> Iterator[str]:
    """Answer what stands in an object, and what the settings say instead."""
    if each.kind in STORES:
        yield from _of_store(settings, each.body)
    elif each.kind == ("networking.k8s.io", "NetworkPolicy"):
        yield from _of_policy(settings, each.body)
    elif each.kind == ("", "ConfigMap"):
        yield from _of_settings(settings, each.body)


def public_subnets(settings: Settings) -> list[IPv4Network]:
    """Answer where the load balancer has its addresses."""
    return [IPv4Network(each.cidr) for each in places(settings, (), {}) if each.kind == PUBLIC]


def services_of(settings: Settings) -> IPv4Network:
    """Answer from which block EKS gives services their addresses, where it is not told: the one that is not the VPC's.

    A VPC within 10.0.0.0/8 gets 172.20.0.0/16, any other 10.100.0.0/16 (the nodes' own start-up goes by that:
    awslabs/amazon-eks-ami, bootstrap.sh, DNS_CLUSTER_IP).
    """
    return SERVICES[0 if IPv4Network(settings.network.cidr).subnet_of(PRIVATE[0]) else 1]


def _of_store(settings: Settings, body: Json) -> Iterator[str]:
    """The step `secrets` makes the entries in the settings' region."""
    provider = (body.get("spec") or {}).get("provider") or {}
    region = (provider.get("aws") or {}).get("region")
    if region not in {None, settings.aws.region}:
        yield f"region is {region}, aws.region of the settings is {settings.aws.region}"


def _of_policy(settings: Settings, body: Json) -> Iterator[str]:
    """A rule that names private addresses of a network's or subnet's size means the VPC's; others are no matter."""
    vpc = IPv4Network(settings.network.cidr)
    subnets, public, spec = _subnets(settings), public_subnets(settings), body.get("spec") or {}
    # What is of another size is somebody's office, a peered network or the like.
    sizes = PUBLISHED_SIZES | {each.prefixlen for each in (vpc, *subnets)}
    for way, peers in (("ingress", "from"), ("egress", "to")):
        for rule in spec.get(way) or ():
            blocks = [*_blocks((each.get("ipBlock") or {}).get("cidr") for each in rule.get(peers) or ())]
            named = [
                block
                for block in blocks
                if any(block.subnet_of(each) for each in (vpc, *PRIVATE)) and block not in SERVICES
            ]
            cut = any(block.prefixlen in sizes for block in named)
            if not cut or any(vpc.subnet_of(block) for block in named):
                continue
            within = any(block.subnet_of(each) for block in named for each in subnets)
            half = way == "ingress" and len({*public} & {*named}) == 1
            if half or not within:
                yield f"{way} {peers} {_shown(named)}, network.cidr of the settings is {vpc}, {_made(settings)}"


def _of_settings(settings: Settings, body: Json) -> Iterator[str]:
    """What the load balancer says of a guest's address must be believed."""
    text = (body.get("data") or {}).get(PROXIES) or ""
    believed = [*_blocks(each.strip() for each in str(text).split(","))]
    if believed and not all(any(block.subnet_of(each) for each in believed) for block in public_subnets(settings)):
        yield f"{PROXIES} is {text}, network.cidr of the settings is {settings.network.cidr}, {_made(settings)}"


def _blocks(texts: Iterator[object]) -> Iterator[IPv4Network]:
    """Answer what of it are IPv4 networks: whether the rest makes sense others judge."""
    for text in texts:
        try:
            yield IPv4Network(str(text or ""))
        except ValueError:
            continue


def _subnets(settings: Settings) -> list[IPv4Network]:
    return [IPv4Network(each.cidr) for each in places(settings, (), {})]


def _made(settings: Settings) -> str:
    return f"its public subnets are {_shown(public_subnets(settings))}"


def _shown(blocks: list[IPv4Network]) -> str:
    return ", ".join(map(str, blocks))
