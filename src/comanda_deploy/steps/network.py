"""Step 2: the VPC, two public and two private subnets over two zones, and their ways out."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from ipaddress import IPv4Network
from typing import Any

from comanda_deploy.context import Context
from comanda_deploy.errors import DeployError
from comanda_deploy.names import TAG, TAG_VALUE, VPC, tag_specification, tags
from comanda_deploy.settings import Settings
from comanda_deploy.step import Change, Kind, Step

WORLD = "0.0.0.0/0"
PUBLIC, PRIVATE = "public", "private"
ROLE_TAGS = {PUBLIC: "kubernetes.io/role/elb", PRIVATE: "kubernetes.io/role/internal-elb"}
"""By these the load balancer controller finds the subnets to put a load balancer into."""


@dataclass(frozen=True)
class Subnet:
    """A subnet as it is."""

    id: str
    cidr: str
    zone: str
    gives_public_addresses: bool
    tags: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class RouteTable:
    """A route table as it is.

    Args:
        way_out: the gateway's id that the world is routed to, None if there is no such route.
        dead: whether that gateway is gone (AWS calls the route a black hole).
        subnets: the subnets' ids, with their associations'.
    """

    id: str
    way_out: str | None = None
    dead: bool = False
    subnets: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class NatGateway:
    """A NAT gateway as it is: its state in AWS's words, and the address that it holds."""

    id: str
    state: str
    allocation: str | None


@dataclass(frozen=True)
class NetworkFacts:
    """What there is, by our names.

    Args:
        zones: the region's ordinary zones that are available, in order.
        vpcs: the ids of all VPCs that are ours by tag and name: one at most.
        tenants: network interfaces in the VPC that are not a NAT gateway's: what keeps its subnets from being deleted.
        in_use: the subnets, by name, in which something runs, with one interface of it.
    """

    zones: tuple[str, ...] = ()
    vpcs: tuple[str, ...] = ()
    cidr: str = ""
    dns_support: bool = True
    dns_hostnames: bool = True
    subnets: Mapping[str, Subnet] = field(default_factory=dict)
    internet_gateway: str | None = None
    attached: bool = False
    tables: Mapping[str, RouteTable] = field(default_factory=dict)
    nat_gateways: Mapping[str, NatGateway] = field(default_factory=dict)
    addresses: Mapping[str, str] = field(default_factory=dict)
    default_group: str | None = None
    default_group_open: bool = False
    tenants: tuple[str, ...] = ()
    in_use: Mapping[str, str] = field(default_factory=dict)

    @property
    def vpc(self) -> str:
        """The VPC's id. Used where there is one."""
        return self.vpcs[0]


@dataclass(frozen=True)
class Place:
    """A subnet as it should be."""

    name: str
    kind: str
    letter: str
    zone: str
    cidr: str


def places(settings: Settings, zones: tuple[str, ...], there: Mapping[str, Subnet]) -> list[Place]:
    """Answer the four subnets: a sixteenth of the VPC's addresses each.

    The zones are the region's first two, unless subnets stand already: a zone that AWS adds or closes moves nothing.
    """
    blocks = list(IPv4Network(settings.network.cidr).subnets(prefixlen_diff=4))
    found = []
    for number, (kind, letter) in enumerate((kind, letter) for kind in (PUBLIC, PRIVATE) for letter in "ab"):
        name = f"{VPC}-{kind}-{letter}"
        at_home = [
            there[f"{VPC}-{other}-{letter}"].zone for other in (PUBLIC, PRIVATE) if f"{VPC}-{other}-{letter}" in there
        ]
        by_order = zones["ab".index(letter)] if len(zones) > 1 else ""
        found.append(Place(name, kind, letter, at_home[0] if at_home else by_order, str(blocks[number])))
    return found


class Network(Step[NetworkFacts]):
    """Public subnets for the cluster and its load balancer, private ones for nodes of those who want them there."""

    name = "network"
    about = "VPC, 2 public and 2 private subnets over 2 zones, internet gateway, routes"

    def observe(self, context: Context) -> NetworkFacts:
        """Read the VPC that carries our tag and name, and all that is in it."""
        zones = tuple(
            sorted(
                zone["ZoneName"]
                for zone in context.client("ec2").describe_availability_zones(
                    Filters=[
                        {"Name": "state", "Values": ["available"]},
                        {"Name": "zone-type", "Values": ["availability-zone"]},
                    ]
                )["AvailabilityZones"]
                if zone.get("OptInStatus", "opt-in-not-required") == "opt-in-not-required"
            )
        )
        vpcs = known_vpcs(context)
        facts = NetworkFacts(
            zones=zones,
            vpcs=tuple(each["VpcId"] for each in vpcs),
            internet_gateway=_gateway(context),
            addresses=_addresses(context),
        )
        if len(vpcs) != 1:
            return facts
        vpc = vpcs[0]["VpcId"]
        groups = context.pages(
            "ec2", "describe_security_groups", "SecurityGroups", Filters=[*_in(vpc), _filter("group-name", "default")]
        )
        subnets, tenants = _subnets(context, vpc), _tenants(context, vpc)
        return replace(
            facts,
            cidr=vpcs[0]["CidrBlock"],
            dns_support=_attribute(context, vpc, "enableDnsSupport", "EnableDnsSupport"),
            dns_hostnames=_attribute(context, vpc, "enableDnsHostnames", "EnableDnsHostnames"),
            subnets=subnets,
            attached=_attached(context, vpc),
            tables=_tables(context, vpc),
            nat_gateways=_nat_gateways(context, vpc),
            default_group=groups[0]["GroupId"] if groups else None,
            default_group_open=bool(groups and (groups[0]["IpPermissions"] or groups[0]["IpPermissionsEgress"])),
            tenants=tuple(_named(each) for each in tenants),
            in_use={
                name: _named(each)
                for name, subnet in subnets.items()
                for each in tenants
                if each["SubnetId"] == subnet.id and each["Status"] == "in-use"
            },
        )

    def decide(self, settings: Settings, facts: NetworkFacts) -> list[Change]:
        """Build what is missing, mend what differs, refuse what would have to be replaced."""
        if len(facts.vpcs) > 1:
            return [_two_networks(facts)]
        if len(facts.zones) < 2:
            return [
                Change(Kind.REFUSED, "zones", f"{settings.aws.region} has fewer than two", mend=("choose another",))
            ]
        wanted = places(settings, facts.zones, facts.subnets)
        refused = [*_replaced(settings, facts, wanted)]
        if refused:
            return refused
        return [
            *_network(settings, facts),
            *_subnet_changes(settings, facts, wanted),
            *_public_way(facts, wanted),
            *_private_ways(settings, facts, wanted),
        ]

    def decide_removal(self, settings: Settings, facts: NetworkFacts) -> list[Change]:  # noqa: ARG002 - nothing is kept
        """Take it down from the inside out; what others have put into it is named, not touched."""
        if len(facts.vpcs) > 1:
            return [_two_networks(facts)]
        return list(_removal(facts))


def known_vpcs(context: Context) -> list[dict[str, Any]]:
    """Answer the VPCs that carry our tag and name: one at most, if nothing went wrong."""
    return context.pages("ec2", "describe_vpcs", "Vpcs", Filters=[*_ours(), {"Name": "tag:Name", "Values": [VPC]}])


def _two_networks(facts: NetworkFacts) -> Change:
    return Change(
        Kind.REFUSED,
        f"VPC {VPC}",
        f"there are {len(facts.vpcs)} of that name: {', '.join(facts.vpcs)}",
        mend=("delete the empty one in the VPC console, then run it again",),
    )


def _replaced(settings: Settings, facts: NetworkFacts, wanted: list[Place]) -> Iterator[Change]:
    by_hand = ("comanda-deploy destroy --keep volumes,snapshots,images,secrets", "then comanda-deploy apply")
    if facts.vpcs and facts.cidr != settings.network.cidr:
        detail = f"has {facts.cidr}, network.cidr says {settings.network.cidr}: a VPC's addresses cannot be changed"
        yield Change(Kind.REFUSED, f"VPC {VPC}", detail, mend=by_hand)
        return
    for place in wanted:
        there = facts.subnets.get(place.name)
        if there and there.cidr != place.cidr:
            detail = f"has {there.cidr} instead of {place.cidr}: a subnet's addresses cannot be changed"
            yield Change(Kind.REFUSED, f"subnet {place.name}", detail, mend=by_hand)


def _network(settings: Settings, facts: NetworkFacts) -> Iterator[Change]:
    if not facts.vpcs:
        cidr = settings.network.cidr
        yield Change(Kind.CREATE, f"VPC {VPC}", cidr, do=partial(_create_vpc, cidr=cidr))
    for is_on, attribute in ((facts.dns_support, "EnableDnsSupport"), (facts.dns_hostnames, "EnableDnsHostnames")):
        # Of a VPC that is yet to be, hostnames are off and the rest is as AWS has it.
        if not is_on or (not facts.vpcs and attribute == "EnableDnsHostnames"):
            yield Change(
                Kind.CHANGE, f"VPC {VPC}", f"{attribute} on", do=partial(_switch_on, facts=facts, attribute=attribute)
            )
    if facts.default_group_open or not facts.vpcs:
        # Whatever lands in it by mistake shall reach nothing, and be reached by nobody.
        yield Change(
            Kind.CHANGE, f"default security group of {VPC}", "no rules", do=partial(_close_default_group, facts=facts)
        )
    if facts.internet_gateway is None:
        yield Change(Kind.CREATE, f"internet gateway {VPC}", do=_create_gateway)
    if not facts.attached:
        yield Change(Kind.CHANGE, f"internet gateway {VPC}", "attached to the VPC", do=partial(_attach, facts=facts))


def _subnet_changes(settings: Settings, facts: NetworkFacts, wanted: list[Place]) -> Iterator[Change]:
    for place in wanted:
        there = facts.subnets.get(place.name)
        public_addresses = place.kind == PUBLIC and not settings.network.private_nodes
        what = f"subnet {place.name}"
        if there is None:
            yield Change(
                Kind.CREATE, what, f"{place.cidr} in {place.zone}", do=partial(_create_subnet, facts=facts, place=place)
            )
        if (there.gives_public_addresses if there else False) != public_addresses:
            given = "public addresses for what starts in it" if public_addresses else "no public addresses"
            yield Change(
                Kind.CHANGE, what, given, do=partial(_give_addresses, facts=facts, place=place, give=public_addresses)
            )
        lacking = {key: value for key, value in _subnet_tags(place).items() if there and there.tags.get(key) != value}
        if there and lacking:
            yield Change(Kind.CHANGE, what, f"tag {', '.join(lacking)}", do=partial(_tag, id=there.id, more=lacking))


def _public_way(facts: NetworkFacts, wanted: list[Place]) -> Iterator[Change]:
    yield from _way(
        facts, f"{VPC}-public", [place for place in wanted if place.kind == PUBLIC], facts.internet_gateway or ""
    )


def _private_ways(settings: Settings, facts: NetworkFacts, wanted: list[Place]) -> Iterator[Change]:
    for place in (each for each in wanted if each.kind == PRIVATE):
        gateway = facts.nat_gateways.get(place.name)
        if gateway and gateway.state == "deleting":
            yield Change(Kind.WAIT, f"NAT gateway {place.name}", "is being deleted", expected_seconds=60)
        elif settings.network.private_nodes:
            yield from _nat(facts, place, gateway)
        if gateway and not settings.network.private_nodes and place.name in facts.in_use:
            # It would be cut off at once: the nodes are moved first, by hand.
            detail = f"stays as long as something runs in its subnet: {facts.in_use[place.name]}"
            yield Change(Kind.NOTE, f"NAT gateway {place.name}", detail)
            continue
        way_out = (gateway.id if gateway else "") if settings.network.private_nodes else None
        yield from _way(facts, place.name, [place], way_out)
        if not settings.network.private_nodes:
            yield from _no_nat(facts, place, gateway)


def _nat(facts: NetworkFacts, place: Place, gateway: NatGateway | None) -> Iterator[Change]:
    if place.name not in facts.addresses:
        yield Change(Kind.CREATE, f"elastic address {place.name}", do=partial(_create_address, name=place.name))
    if gateway is None:
        yield Change(
            Kind.CREATE,
            f"NAT gateway {place.name}",
            "about 33 USD a month, and its traffic",
            expected_seconds=120,
            do=partial(_create_nat, facts=facts, place=place),
        )
    elif gateway.state == "pending":
        yield Change(Kind.WAIT, f"NAT gateway {place.name}", "is being made", expected_seconds=120)
    elif gateway.state == "failed":
        detail = "AWS could not make it: deleted, to be made anew"
        yield Change(Kind.DELETE, f"NAT gateway {place.name}", detail, do=partial(_delete_nat, id=gateway.id))


def _no_nat(facts: NetworkFacts, place: Place, gateway: NatGateway | None) -> Iterator[Change]:
    if gateway and gateway.state != "deleting":
        yield Change(
            Kind.DELETE, f"NAT gateway {place.name}", expected_seconds=60, do=partial(_delete_nat, id=gateway.id)
        )
    if place.name in facts.addresses:
        allocation = facts.addresses[place.name]
        yield Change(Kind.DELETE, f"elastic address {place.name}", do=partial(_release_address, id=allocation))


def _way(facts: NetworkFacts, name: str, members: list[Place], way_out: str | None) -> Iterator[Change]:
    """Answer the changes of one route table: `way_out` is the gateway's id, "" if it is yet to be, None for no way."""
    what, table = f"route table {name}", facts.tables.get(name)
    if table is None:
        yield Change(Kind.CREATE, what, do=partial(_create_table, facts=facts, name=name))
    if way_out is not None and (table is None or table.dead or table.way_out is None or table.way_out != way_out):
        yield Change(
            Kind.CHANGE, what, "the world by its gateway", do=partial(_route, facts=facts, name=name, to=way_out)
        )
    if way_out is None and table and table.way_out is not None:
        yield Change(Kind.CHANGE, what, "no way to the world", do=partial(_unroute, table=table))
    for place in members:
        subnet = facts.subnets.get(place.name)
        if table is None or subnet is None or subnet.id not in table.subnets:
            detail = f"for subnet {place.name}"
            yield Change(Kind.CHANGE, what, detail, do=partial(_associate, facts=facts, name=name, place=place))


def _removal(facts: NetworkFacts) -> Iterator[Change]:
    for name, nat in sorted(facts.nat_gateways.items()):
        if nat.state == "deleting":
            yield Change(Kind.WAIT, f"NAT gateway {name}", "is being deleted", expected_seconds=60)
        else:
            yield Change(Kind.DELETE, f"NAT gateway {name}", expected_seconds=60, do=partial(_delete_nat, id=nat.id))
    for name, allocation in sorted(facts.addresses.items()):
        yield Change(Kind.DELETE, f"elastic address {name}", do=partial(_release_address, id=allocation))
    if facts.vpcs and facts.tenants:
        # Load balancers and the cluster give theirs back within minutes; a person's own never go by themselves.
        detail = f"still in it: {', '.join(facts.tenants[:5])}"
        yield Change(Kind.WAIT, f"VPC {VPC}", detail, expected_seconds=240)
    for name, subnet in sorted(facts.subnets.items()):
        yield Change(Kind.DELETE, f"subnet {name}", do=partial(_delete_subnet, id=subnet.id))
    for name, table in sorted(facts.tables.items()):
        yield Change(Kind.DELETE, f"route table {name}", do=partial(_delete_table, table=table))
    if facts.internet_gateway:
        yield Change(Kind.DELETE, f"internet gateway {VPC}", do=partial(_delete_gateway, facts=facts))
    if facts.vpcs:
        yield Change(Kind.DELETE, f"VPC {VPC}", facts.cidr, do=partial(_delete_vpc, id=facts.vpc))


def _subnet_tags(place: Place) -> dict[str, str]:
    return tags(Name=place.name, **{ROLE_TAGS[place.kind]: "1"})


# What is read.


def _filter(name: str, *values: str) -> dict[str, Any]:
    return {"Name": name, "Values": list(values)}


def _ours() -> list[dict[str, Any]]:
    return [_filter(f"tag:{TAG}", TAG_VALUE)]


def _in(vpc: str) -> list[dict[str, Any]]:
    return [_filter("vpc-id", vpc)]


def _tags(thing: dict[str, Any]) -> dict[str, str]:
    return {tag["Key"]: tag["Value"] for tag in thing.get("Tags", [])}


def _attribute(context: Context, vpc: str, asked: str, answered: str) -> bool:
    answer = context.client("ec2").describe_vpc_attribute(VpcId=vpc, Attribute=asked)
    return bool(answer[answered]["Value"])


def _gateway(context: Context) -> str | None:
    found = context.pages("ec2", "describe_internet_gateways", "InternetGateways", Filters=_ours())
    return found[0]["InternetGatewayId"] if found else None


def _attached(context: Context, vpc: str) -> bool:
    filters = [*_ours(), _filter("attachment.vpc-id", vpc)]
    return bool(context.pages("ec2", "describe_internet_gateways", "InternetGateways", Filters=filters))


def _subnets(context: Context, vpc: str) -> dict[str, Subnet]:
    return {
        _tags(each).get("Name", each["SubnetId"]): Subnet(
            each["SubnetId"], each["CidrBlock"], each["AvailabilityZone"], each["MapPublicIpOnLaunch"], _tags(each)
        )
        for each in context.pages("ec2", "describe_subnets", "Subnets", Filters=[*_in(vpc), *_ours()])
    }


def _tables(context: Context, vpc: str) -> dict[str, RouteTable]:
    found = {}
    for each in context.pages("ec2", "describe_route_tables", "RouteTables", Filters=[*_in(vpc), *_ours()]):
        out: dict[str, Any] = next(
            (route for route in each["Routes"] if route.get("DestinationCidrBlock") == WORLD), {}
        )
        found[_tags(each).get("Name", each["RouteTableId"])] = RouteTable(
            each["RouteTableId"],
            way_out=out.get("NatGatewayId") or out.get("GatewayId"),
            dead=out.get("State") == "blackhole",
            subnets={
                one["SubnetId"]: one["RouteTableAssociationId"] for one in each["Associations"] if "SubnetId" in one
            },
        )
    return found


def _nat_gateways(context: Context, vpc: str) -> dict[str, NatGateway]:
    found: dict[str, NatGateway] = {}
    for each in context.pages("ec2", "describe_nat_gateways", "NatGateways", Filter=[*_in(vpc), *_ours()]):
        # A deleted one is shown for an hour.
        if each["State"] != "deleted":
            held = each.get("NatGatewayAddresses", [])
            gateway = NatGateway(each["NatGatewayId"], each["State"], held[0].get("AllocationId") if held else None)
            found[_tags(each).get("Name", gateway.id)] = gateway
    return found


def _addresses(context: Context) -> dict[str, str]:
    found = context.client("ec2").describe_addresses(Filters=_ours())["Addresses"]
    return {_tags(each).get("Name", each["AllocationId"]): each["AllocationId"] for each in found}


def _tenants(context: Context, vpc: str) -> list[dict[str, Any]]:
    found = context.pages("ec2", "describe_network_interfaces", "NetworkInterfaces", Filters=_in(vpc))
    return [each for each in found if each.get("InterfaceType") != "nat_gateway"]


def _named(interface: dict[str, Any]) -> str:
    what = interface.get("Description") or interface.get("InterfaceType", "interface")
    return f"{interface['NetworkInterfaceId']} ({what})"


# What is done.


def _create_vpc(context: Context, cidr: str) -> None:
    context.client("ec2").create_vpc(CidrBlock=cidr, TagSpecifications=tag_specification("vpc", VPC))


def _switch_on(context: Context, facts: NetworkFacts, attribute: str) -> None:
    context.client("ec2").modify_vpc_attribute(VpcId=facts.vpc, **{attribute: {"Value": True}})


def _close_default_group(context: Context, facts: NetworkFacts) -> None:
    ec2, group = context.client("ec2"), facts.default_group
    described = ec2.describe_security_groups(GroupIds=[group])["SecurityGroups"][0]
    if rules := described["IpPermissions"]:
        ec2.revoke_security_group_ingress(GroupId=group, IpPermissions=rules)
    if rules := described["IpPermissionsEgress"]:
        ec2.revoke_security_group_egress(GroupId=group, IpPermissions=rules)


def _create_gateway(context: Context) -> None:
    context.client("ec2").create_internet_gateway(TagSpecifications=tag_specification("internet-gateway", VPC))


def _attach(context: Context, facts: NetworkFacts) -> None:
    context.client("ec2").attach_internet_gateway(InternetGatewayId=facts.internet_gateway, VpcId=facts.vpc)


def _create_subnet(context: Context, facts: NetworkFacts, place: Place) -> None:
    more = {key: value for key, value in _subnet_tags(place).items() if key not in {TAG, "Name"}}
    context.client("ec2").create_subnet(
        VpcId=facts.vpc,
        CidrBlock=place.cidr,
        AvailabilityZone=place.zone,
        TagSpecifications=tag_specification("subnet", place.name, **more),
    )


def _give_addresses(context: Context, facts: NetworkFacts, place: Place, give: bool) -> None:
    context.client("ec2").modify_subnet_attribute(
        SubnetId=facts.subnets[place.name].id, MapPublicIpOnLaunch={"Value": give}
    )


def _tag(context: Context, id: str, more: dict[str, str]) -> None:  # noqa: A002 - AWS's word
    context.client("ec2").create_tags(Resources=[id], Tags=[{"Key": key, "Value": more[key]} for key in more])


def _create_table(context: Context, facts: NetworkFacts, name: str) -> None:
    context.client("ec2").create_route_table(VpcId=facts.vpc, TagSpecifications=tag_specification("route-table", name))


def _route(context: Context, facts: NetworkFacts, name: str, to: str) -> None:
    ec2, table = context.client("ec2"), facts.tables[name]
    gateway = {"NatGatewayId": to} if to.startswith("nat-") else {"GatewayId": to}
    change = ec2.replace_route if table.way_out or table.dead else ec2.create_route
    change(RouteTableId=table.id, DestinationCidrBlock=WORLD, **gateway)


def _unroute(context: Context, table: RouteTable) -> None:
    context.client("ec2").delete_route(RouteTableId=table.id, DestinationCidrBlock=WORLD)


def _associate(context: Context, facts: NetworkFacts, name: str, place: Place) -> None:
    ec2, table, subnet = context.client("ec2"), facts.tables[name], facts.subnets[place.name]
    filters = [_filter("association.subnet-id", subnet.id)]
    for other in context.pages("ec2", "describe_route_tables", "RouteTables", Filters=filters):
        for association in other["Associations"]:
            if association.get("SubnetId") == subnet.id:
                # Somebody has led it elsewhere. AWS wants the association replaced, not a second one.
                ec2.replace_route_table_association(
                    AssociationId=association["RouteTableAssociationId"], RouteTableId=table.id
                )
                return
    ec2.associate_route_table(RouteTableId=table.id, SubnetId=subnet.id)


def _create_address(context: Context, name: str) -> None:
    context.client("ec2").allocate_address(Domain="vpc", TagSpecifications=tag_specification("elastic-ip", name))


def _create_nat(context: Context, facts: NetworkFacts, place: Place) -> None:
    public = facts.subnets.get(f"{VPC}-{PUBLIC}-{place.letter}")
    if public is None:
        raise DeployError(f"subnet {VPC}-{PUBLIC}-{place.letter} is not there yet: run it again")
    allocation = facts.addresses[place.name]
    context.client("ec2").create_nat_gateway(
        SubnetId=public.id,
        AllocationId=allocation,
        ClientToken=allocation,  # one gateway for an address, however often it is asked for
        TagSpecifications=tag_specification("natgateway", place.name),
    )


def _delete_nat(context: Context, id: str) -> None:  # noqa: A002 - AWS's word
    context.client("ec2").delete_nat_gateway(NatGatewayId=id)


def _release_address(context: Context, id: str) -> None:  # noqa: A002 - AWS's word
    context.client("ec2").release_address(AllocationId=id)


def _delete_subnet(context: Context, id: str) -> None:  # noqa: A002 - AWS's word
    context.client("ec2").delete_subnet(SubnetId=id)


def _delete_table(context: Context, table: RouteTable) -> None:
    for association in table.subnets.values():
        context.client("ec2").disassociate_route_table(AssociationId=association)
    context.client("ec2").delete_route_table(RouteTableId=table.id)


def _delete_gateway(context: Context, facts: NetworkFacts) -> None:
    if facts.attached:
        context.client("ec2").detach_internet_gateway(InternetGatewayId=facts.internet_gateway, VpcId=facts.vpc)
    context.client("ec2").delete_internet_gateway(InternetGatewayId=facts.internet_gateway)


def _delete_vpc(context: Context, id: str) -> None:  # noqa: A002 - AWS's word
    context.client("ec2").delete_vpc(VpcId=id)
