"""The name under which guests come: certificate, DNS record, load balancer; and without a domain."""

from dataclasses import replace
from typing import Any

import pytest

from comanda_deploy.names import tag_list
from comanda_deploy.runbook import named
from comanda_deploy.steps.address import Address, AddressFacts, Record
from tests.deployment.account import USUAL, Account, as_said, changed

HOST: dict[str, Any] = {"host": "pedidos.example.com"}
SETTINGS = changed(USUAL, address=HOST)
PROOF = Record("_x.pedidos.example.com", "CNAME", "_y.acm-validations.aws")
BALANCER = ("k8s-comanda-1.sa-east-1.elb.amazonaws.com", "Z2P70J7HTTTPLU")
NAME = Record("pedidos.example.com", "A", BALANCER[0])
BUILT = AddressFacts("Z1", "arn:1", "ISSUED", PROOF, (PROOF, NAME), BALANCER)


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        (AddressFacts(), ["refused name pedidos.example.com: no hosted zone of this account holds it"]),
        (
            AddressFacts("Z1"),
            [
                "create certificate pedidos.example.com: proved by a DNS record",
                "create record that proves pedidos.example.com",
                "note name pedidos.example.com: there is no load balancer yet: step address again after deploy-api",
            ],
        ),
        (
            replace(BUILT, status="PENDING_VALIDATION"),
            [
                "wait certificate pedidos.example.com: AWS looks for the record; "
                "if that does not end, the domain's name servers are not this zone's"
            ],
        ),
        (BUILT, []),
        (replace(BUILT, records=(PROOF,)), ["create name pedidos.example.com: leads to the load balancer"]),
        (
            replace(BUILT, records=(PROOF, replace(NAME, to="old.sa-east-1.elb.amazonaws.com"))),
            ["change name pedidos.example.com: leads to the load balancer"],
        ),
        (
            replace(BUILT, records=(PROOF, replace(NAME, to="203.0.113.9"))),
            ["refused name pedidos.example.com: it leads to 203.0.113.9 already"],
        ),
        (
            replace(BUILT, status="EXPIRED"),
            ["delete certificate pedidos.example.com: it is expired: to be made anew"],
        ),
    ],
)
def test_what_is_decided(facts: AddressFacts, expected: list[str]) -> None:
    assert as_said(Address().decide(SETTINGS, facts)) == expected


def test_without_a_host_plan_says_how_payments_are_found() -> None:
    (note,) = as_said(Address().decide(USUAL, AddressFacts()))
    assert note == (
        "note address: plain HTTP at the load balancer's own name: no webhooks, payments are found by asking alone"
    )


def test_of_the_zone_only_what_is_ours_is_removed() -> None:
    mine = Record("pedidos.example.com", "TXT", "somebody's")
    changes = as_said(Address().decide_removal(SETTINGS, replace(BUILT, records=(PROOF, NAME, mine))))
    assert changes == [
        "delete record _x.pedidos.example.com CNAME",
        "delete record pedidos.example.com A",
        "delete certificate pedidos.example.com",
    ]


def test_a_name_of_its_own_in_route_53_and_taken_back(account: Account) -> None:
    zone = account.bed.client("route53").create_hosted_zone(Name="example.com", CallerReference="1")["HostedZone"]["Id"]
    steps = [named("network"), named("address")]
    account.apply([named("network")])
    ec2, elb = account.bed.client("ec2"), account.bed.client("elbv2")
    subnets = ec2.describe_subnets(Filters=[{"Name": "tag:Name", "Values": ["comanda-public-*"]}])["Subnets"]
    made = elb.create_load_balancer(
        Name="K8s-Comanda",
        Subnets=[each["SubnetId"] for each in subnets],
        Tags=[{"Key": "elbv2.k8s.aws/cluster", "Value": "comanda"}, *tag_list()],
    )["LoadBalancers"][0]
    done = account.apply(steps, address=HOST)
    assert "create certificate pedidos.example.com: proved by a DNS record" in done
    assert "create name pedidos.example.com: leads to the load balancer" in done
    assert account.plan(steps, address=HOST) == []
    # The load balancer goes before the name, as it does in destroy.
    elb.delete_load_balancer(LoadBalancerArn=made["LoadBalancerArn"])
    account.destroy([named("address")], address=HOST)
    left = account.bed.client("route53").list_resource_record_sets(HostedZoneId=zone)["ResourceRecordSets"]
    assert {each["Type"] for each in left} <= {"NS", "SOA"}
    assert account.bed.client("acm").list_certificates()["CertificateSummaryList"] == []
