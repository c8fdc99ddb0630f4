"""The network: what is decided, as data; and built, changed by hand, mended and taken down on an emulated EC2."""

from dataclasses import replace

import msgspec
import pytest

from comanda_deploy.settings import Settings, read_settings
from comanda_deploy.step import Kind
from comanda_deploy.steps.network import NatGateway, Network, NetworkFacts, RouteTable, Subnet, _subnet_tags, places

ZONES = ("sa-east-1a", "sa-east-1b", "sa-east-1c")


def settings(*, private_nodes: bool = False, cidr: str = "10.20.0.0/16") -> Settings:
    published = read_settings()
    return msgspec.structs.replace(
        published, network=msgspec.structs.replace(published.network, private_nodes=private_nodes, cidr=cidr)
    )


def built() -> NetworkFacts:
    """Answer the facts of a network that is as it should be."""
    subnets = {
        place.name: Subnet(f"subnet-{place.name}", place.cidr, place.zone, place.kind == "public", _subnet_tags(place))
        for place in places(settings(), ZONES, {})
    }
    tables = {
        "comanda-public": RouteTable(
            "rtb-1", "igw-1", subnets={"subnet-comanda-public-a": "as-1", "subnet-comanda-public-b": "as-2"}
        ),
        "comanda-private-a": RouteTable("rtb-2", subnets={"subnet-comanda-private-a": "as-3"}),
        "comanda-private-b": RouteTable("rtb-3", subnets={"subnet-comanda-private-b": "as-4"}),
    }
    return NetworkFacts(
        zones=ZONES,
        vpcs=("vpc-1",),
        cidr="10.20.0.0/16",
        subnets=subnets,
        internet_gateway="igw-1",
        attached=True,
        tables=tables,
        default_group="sg-0",
    )


def said(facts: NetworkFacts, wanted: Settings | None = None) -> list[str]:
    changes = Network().decide(wanted or settings(), facts)
    return [f"{change.kind} {change.what}" + (f": {change.detail}" if change.detail else "") for change in changes]


def test_an_empty_account_gets_all_of_it() -> None:
    changes = said(NetworkFacts(zones=ZONES))
    assert changes[0] == "create VPC comanda: 10.20.0.0/16"
    assert "create subnet comanda-public-a: 10.20.0.0/20 in sa-east-1a" in changes
    assert "create subnet comanda-private-b: 10.20.48.0/20 in sa-east-1b" in changes
    assert sum(change.startswith("create subnet") for change in changes) == 4
    assert not any("NAT" in change or "elastic" in change for change in changes), "it costs money: only if asked for"


def test_as_it_should_be_there_is_nothing_to_do() -> None:
    assert said(built()) == []


def test_private_nodes_get_a_nat_gateway_in_each_zone_and_say_what_it_costs() -> None:
    changes = said(NetworkFacts(zones=ZONES), settings(private_nodes=True))
    nats = [change for change in changes if change.startswith("create NAT gateway")]
    assert len(nats) == 2
    assert all("33 USD a month" in change for change in nats)
    assert not any("public addresses for" in change for change in changes)


@pytest.mark.parametrize(
    ("drift", "expected"),
    [
        ({"dns_hostnames": False}, ["change VPC comanda: EnableDnsHostnames on"]),
        ({"dns_support": False}, ["change VPC comanda: EnableDnsSupport on"]),
        ({"default_group_open": True}, ["change default security group of comanda: no rules"]),
        ({"attached": False}, ["change internet gateway comanda: attached to the VPC"]),
    ],
)
def test_drift_of_the_vpc_is_mended(drift: dict[str, bool], expected: list[str]) -> None:
    assert said(replace(built(), **drift)) == expected  # type: ignore[arg-type]


def test_drift_of_a_subnet_is_mended() -> None:
    facts = built()
    changed = replace(
        facts.subnets["comanda-public-a"], gives_public_addresses=False, tags={"Name": "comanda-public-a"}
    )
    facts = replace(facts, subnets={**facts.subnets, "comanda-public-a": changed})
    assert said(facts) == [
        "change subnet comanda-public-a: public addresses for what starts in it",
        "change subnet comanda-public-a: tag Project, kubernetes.io/role/elb",
    ]


@pytest.mark.parametrize(
    ("table", "expected"),
    [
        (RouteTable("rtb-1", None, subnets={}), 3),
        (RouteTable("rtb-1", "igw-gone", dead=True, subnets=built().tables["comanda-public"].subnets), 1),
        (RouteTable("rtb-1", "igw-other", subnets=built().tables["comanda-public"].subnets), 1),
    ],
)
def test_a_way_that_leads_nowhere_is_led_back(table: RouteTable, expected: int) -> None:
    facts = built()
    changes = said(replace(facts, tables={**facts.tables, "comanda-public": table}))
    assert len(changes) == expected
    assert all(change.startswith("change route table comanda-public: ") for change in changes)


def test_private_subnets_have_no_way_out_unless_asked_for() -> None:
    facts = built()
    table = replace(facts.tables["comanda-private-a"], way_out="igw-1")
    changes = said(replace(facts, tables={**facts.tables, "comanda-private-a": table}))
    assert changes == ["change route table comanda-private-a: no way to the world"]


def test_nat_gateways_go_when_they_are_no_longer_wanted() -> None:
    facts = built()
    nat = NatGateway("nat-1", "available", "eipalloc-1")
    table = replace(facts.tables["comanda-private-a"], way_out="nat-1")
    facts = replace(
        facts,
        nat_gateways={"comanda-private-a": nat},
        addresses={"comanda-private-a": "eipalloc-1"},
        tables={**facts.tables, "comanda-private-a": table},
    )
    assert said(facts) == [
        "change route table comanda-private-a: no way to the world",
        "delete NAT gateway comanda-private-a",
        "delete elastic address comanda-private-a",
    ]
    gone = replace(facts, nat_gateways={"comanda-private-a": replace(nat, state="deleting")})
    assert said(gone)[0] == "wait NAT gateway comanda-private-a: is being deleted"


def test_a_nat_gateway_by_which_somebody_goes_out_is_not_taken_away_from_under_them() -> None:
    facts = built()
    table = replace(facts.tables["comanda-private-a"], way_out="nat-1")
    facts = replace(
        facts,
        nat_gateways={"comanda-private-a": NatGateway("nat-1", "available", "eipalloc-1")},
        addresses={"comanda-private-a": "eipalloc-1"},
        tables={**facts.tables, "comanda-private-a": table},
        in_use={"comanda-private-a": "eni-1 (a node)"},
    )
    assert said(facts) == [
        "note NAT gateway comanda-private-a: stays as long as something runs in its subnet: eni-1 (a node)"
    ]


@pytest.mark.parametrize(("state", "first"), [("pending", Kind.WAIT), ("failed", Kind.DELETE), ("deleting", Kind.WAIT)])
def test_a_nat_gateway_on_its_way_is_waited_for(state: str, first: Kind) -> None:
    facts = replace(
        built(),
        nat_gateways={"comanda-private-a": NatGateway("nat-1", state, "eipalloc-1")},
        addresses={"comanda-private-a": "eipalloc-1", "comanda-private-b": "eipalloc-2"},
    )
    changes = Network().decide(settings(private_nodes=True), facts)
    (nat, *_) = [change for change in changes if change.what == "NAT gateway comanda-private-a"]
    assert nat.kind is first


@pytest.mark.parametrize(
    ("facts", "wanted", "what"),
    [
        (replace(built(), vpcs=("vpc-1", "vpc-2")), settings(), "there are 2 of that name"),
        (replace(built(), zones=("sa-east-1a",)), settings(), "has fewer than two"),
        (built(), settings(cidr="10.30.0.0/16"), "cannot be changed"),
        (
            replace(
                built(),
                subnets={
                    **built().subnets,
                    "comanda-public-a": replace(built().subnets["comanda-public-a"], cidr="10.20.99.0/24"),
                },
            ),
            settings(),
            "a subnet's addresses cannot be changed",
        ),
    ],
)
def test_what_would_replace_a_thing_is_refused_with_what_to_do(
    facts: NetworkFacts, wanted: Settings, what: str
) -> None:
    changes = Network().decide(wanted, facts)
    assert [change.kind for change in changes] == [Kind.REFUSED]
    assert what in changes[0].detail
    assert changes[0].mend


def test_a_zone_that_aws_adds_moves_no_subnet() -> None:
    facts = replace(built(), zones=("sa-east-1-new", *ZONES))
    assert said(facts) == []


@pytest.mark.parametrize("prefix", [16, 18, 20])
def test_the_four_subnets_share_the_vpc_s_addresses(prefix: int) -> None:
    four = places(settings(cidr=f"10.20.0.0/{prefix}"), ZONES, {})
    assert len({place.cidr for place in four}) == 4
    assert {place.zone for place in four} == {"sa-east-1a", "sa-east-1b"}


def test_it_is_taken_down_from_the_inside_out() -> None:
    changes = Network().decide_removal(settings(), built())
    kinds = [change.what.split(" comanda")[0] for change in changes]
    assert kinds == ["subnet"] * 4 + ["route table"] * 3 + ["internet gateway", "VPC"]


def test_what_others_put_into_it_is_named_and_waited_for() -> None:
    changes = Network().decide_removal(settings(), replace(built(), tenants=("eni-1 (somebody's)",)))
    assert changes[0].kind is Kind.WAIT
    assert "eni-1 (somebody's)" in changes[0].detail


def test_nothing_there_is_nothing_to_remove() -> None:
    assert Network().decide_removal(settings(), NetworkFacts(zones=ZONES)) == []
