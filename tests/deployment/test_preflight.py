"""Preflight: what cannot go well is refused before anything is made, and what ends is said in time; as data."""

from dataclasses import replace
from datetime import date
from typing import Any

import pytest
from botocore.awsrequest import AWSResponse
from botocore.compat import HTTPHeaders

from comanda_deploy.capacity import InstanceSize
from comanda_deploy.runbook import named
from comanda_deploy.steps.preflight import SOON, Preflight, PreflightFacts, Quota
from comanda_deploy.versions import Life
from tests.deployment.account import USUAL, Account, as_said, changed

OPERATOR = "arn:aws:iam::123456789012:user/comanda-operator"
VPCS = Quota("VPCs in this region", "L-F678F1CE", limit=5, used=4, wanted=1)
CORES = Quota("vCPUs of running on-demand standard instances", "L-1216C47A", limit=32, used=0, wanted=16)
LARGE = InstanceSize("t3.large", vcpus=2, memory=8192, interfaces=3, addresses=12)
LARGE_AMD = replace(LARGE, name="t3a.large")
ENDS = date(2027, 8, 2)
BUILT = PreflightFacts(
    caller=OPERATOR,
    simulated=True,
    quotas=(VPCS, CORES),
    sizes=(LARGE, LARGE_AMD),
    lives=(Life("Kubernetes 1.36", ENDS, SOON + 1, "EKS"), Life("PostgreSQL 18", date(2030, 11, 14), 1452, "a table")),
)


def ending(days: int) -> PreflightFacts:
    """Answer the facts with so many days left of Kubernetes."""
    return replace(BUILT, lives=(replace(BUILT.lives[0], days_left=days), BUILT.lives[1]))


def test_where_all_can_go_well_there_is_nothing_to_say() -> None:
    assert Preflight().decide(USUAL, BUILT) == []


@pytest.mark.parametrize(
    ("facts", "expected", "mend"),
    [
        (
            replace(BUILT, caller="arn:aws:iam::123456789012:root"),
            "refused the account's root user: must not run this",
            "sign in as comanda-operator: see docs/runbook.md",
        ),
        (
            replace(BUILT, denied=("ec2:CreateVpc", "eks:CreateCluster")),
            f"refused rights: {OPERATOR} may not ec2:CreateVpc, eks:CreateCluster",
            "have an administrator run comanda-deploy bootstrap",
        ),
        (
            replace(BUILT, denied=tuple(f"eks:Action{number}" for number in range(9))),
            f"refused rights: {OPERATOR} may not {', '.join(f'eks:Action{number}' for number in range(8))}, ...",
            "have an administrator run comanda-deploy bootstrap",
        ),
        (
            replace(BUILT, denied=tuple(f"eks:Action{number}" for number in range(8))),
            f"refused rights: {OPERATOR} may not {', '.join(f'eks:Action{number}' for number in range(8))}",
            "have an administrator run comanda-deploy bootstrap",
        ),
        (
            replace(BUILT, unknown_types=("t9.huge", "x1.none")),
            "refused instance types: sa-east-1 has no t9.huge, x1.none",
            "name others in nodes.instance_types and nodes.database_instance_types of infra/settings.toml",
        ),
        (
            replace(BUILT, quotas=(replace(VPCS, used=5), CORES)),
            "refused quota VPCs in this region: 5, of which 5 are used, and 1 more are needed",
            "ask AWS for more in the Service Quotas console, quota code L-F678F1CE",
        ),
        (
            replace(BUILT, quotas=(VPCS, replace(CORES, used=17))),
            "refused quota vCPUs of running on-demand standard instances: 32, of which 17 are used, "
            "and 16 more are needed",
            "ask AWS for more in the Service Quotas console, quota code L-1216C47A",
        ),
    ],
)
def test_what_would_fail_later_is_refused_with_what_to_do(facts: PreflightFacts, expected: str, mend: str) -> None:
    changes = Preflight().decide(USUAL, facts)
    assert as_said(changes) == [expected]
    assert changes[0].mend == (mend,)


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        # Usual for roles of one's own: it is no reason to refuse.
        (
            replace(BUILT, simulated=False),
            ["note rights: IAM does not let them be looked at: seen only when used"],
        ),
        # What just fits, fits, and where nothing more is needed nothing is asked for.
        (replace(BUILT, quotas=(replace(CORES, used=16), replace(VPCS, used=6, wanted=0))), []),
        (ending(SOON + 1), []),
        (ending(SOON), ["note Kubernetes 1.36: maintained until 2027-08-02, 120 days (EKS)"]),
        (ending(1), ["note Kubernetes 1.36: maintained until 2027-08-02, 1 days (EKS)"]),
        (ending(0), ["note Kubernetes 1.36: maintained until 2027-08-02, 0 days (EKS)"]),
        (ending(-3), ["note Kubernetes 1.36: maintained until 2027-08-02, that is 3 days past (EKS)"]),
    ],
)
def test_what_is_worth_knowing_stops_nothing(facts: PreflightFacts, expected: list[str]) -> None:
    assert as_said(Preflight().decide(USUAL, facts)) == expected


def test_the_runbook_names_the_days_from_which_on_an_end_is_said() -> None:
    assert SOON == 120, "docs/runbook.md says so twice"


def test_all_that_is_wrong_is_said_at_once_and_not_one_after_another() -> None:
    facts = replace(
        BUILT,
        caller="arn:aws:iam::123456789012:root",
        denied=("ec2:CreateVpc",),
        unknown_types=("t9.huge",),
        quotas=(replace(VPCS, used=5),),
        lives=ending(0).lives,
    )
    kinds = [each.split(":")[0] for each in as_said(Preflight().decide(USUAL, facts))]
    assert kinds == [
        "refused the account's root user",
        "refused rights",
        "refused instance types",
        "refused quota VPCs in this region",
        "note Kubernetes 1.36",
    ]


@pytest.mark.parametrize(
    ("setting", "expected"),
    [
        ({"max_per_zone": 1}, ["refused room: 2 general nodes of type t3.large have room for "]),
        ({"instance_types": ("t3.micro",)}, ["memory", "pods"]),
        ({"database_instance_types": ("t3.micro",)}, ["refused room: the database's node of type t3.micro"]),
    ],
)
def test_nodes_without_room_for_all_that_must_run_are_refused(setting: dict[str, Any], expected: list[str]) -> None:
    micro = InstanceSize("t3.micro", vcpus=2, memory=1024, interfaces=2, addresses=2)
    facts = replace(BUILT, sizes=(*BUILT.sizes, micro))
    changes = Preflight().decide(changed(USUAL, nodes=setting), facts)
    assert [change.mend for change in changes] == [
        ("raise nodes.max_per_zone, or name larger types in nodes of infra/settings.toml",)
    ] * len(changes)
    said = as_said(changes)
    assert all(any(part in each for each in said) for part in expected), said


def test_the_region_of_the_settings_is_the_one_that_is_named() -> None:
    settings = changed(USUAL, aws={"region": "eu-west-1"})
    (change,) = Preflight().decide(settings, replace(BUILT, unknown_types=("t9.huge",)))
    assert change.detail == "eu-west-1 has no t9.huge"


def test_it_makes_nothing_and_leaves_nothing() -> None:
    assert Preflight().decide_removal(USUAL, BUILT) == []
    assert all(
        change.do is None for change in Preflight().decide(USUAL, replace(BUILT, denied=("a",), simulated=False))
    )


# What is read.


def limited(account: Account, **limits: float) -> None:
    """Let Service Quotas answer these limits, and no limit worth naming for the rest: no emulator knows them."""

    def answer(params: dict[str, Any], **_: Any) -> tuple[AWSResponse, dict[str, Any]]:
        code = str(params["body"])
        value = next((limit for quota, limit in limits.items() if quota.replace("_", "-") in code), 10**6)
        return AWSResponse("", 200, HTTPHeaders(), None), {"Quota": {"Value": float(value)}}

    events: Any = account.session.events  # its stubs know only of handlers that answer nothing
    events.register("before-call.service-quotas.GetServiceQuota", answer)


@pytest.mark.parametrize(
    ("setting", "expected"),
    [
        # Two of the database's while one is replaced, three in each zone: of two cores each.
        ({"nodes": {}}, ["15, of which 0 are used, and 16 more are needed"]),
        ({"nodes": {"max_per_zone": 2, "min_per_zone": 2}}, []),
        ({"nodes": {"capacity": "SPOT"}}, ["spot standard instances: 11, of which 0 are used, and 12 more are needed"]),
        (
            {"nodes": {}, "network": {"private_nodes": True}},
            [
                "15, of which 0 are used, and 16 more are needed",
                "elastic IP addresses: 1, of which 0 are used, and 2 more are needed",
            ],
        ),
    ],
)
def test_what_the_settings_ask_for_is_held_against_the_quotas(
    account: Account, setting: dict[str, Any], expected: list[str]
) -> None:
    limited(account, L_1216C47A=15, L_34B43A08=11, L_0263D0A3=1)
    refused = [each for each in account.plan([named("preflight")], **setting) if each.startswith("refused quota")]
    assert len(refused) == len(expected)
    for said, part in zip(refused, expected, strict=True):
        assert part in said


def test_what_runs_already_counts_and_spot_nodes_do_not(account: Account) -> None:
    limited(account, L_1216C47A=17)
    ec2 = account.bed.client("ec2")
    image = ec2.register_image(Name="any")["ImageId"]
    spot = {"MarketType": "spot"}
    ec2.run_instances(ImageId=image, MinCount=1, MaxCount=1, InstanceType="t3.large")
    ec2.run_instances(ImageId=image, MinCount=1, MaxCount=1, InstanceType="t3.large", InstanceMarketOptions=spot)
    assert account.plan([named("preflight")]) == [
        "refused quota vCPUs of running on-demand standard instances: 17, of which 2 are used, and 16 more are needed"
    ]


def test_what_a_killed_run_has_made_of_ours_is_not_asked_for_twice(account: Account) -> None:
    """Else it could not be gone on with, in an account that has just what is needed."""
    limited(account, L_F678F1CE=5, L_0263D0A3=3)
    private = {"private_nodes": True}
    ec2 = account.bed.client("ec2")
    ec2.allocate_address(Domain="vpc")
    account.apply([named("network")], network=private)
    while len(ec2.describe_vpcs()["Vpcs"]) < 5:
        ec2.create_vpc(CidrBlock="10.99.0.0/16")
    assert account.plan([named("preflight")], network=private) == []
    ec2.create_vpc(CidrBlock="10.99.0.0/16")
    assert account.plan([named("preflight")], network=private) == [], "others' are none of our business"


def test_quotas_are_looked_at_until_the_cluster_stands(account: Account) -> None:
    limited(account, L_1216C47A=1)
    assert len(account.plan([named("preflight")])) == 1
    account.apply([named("network"), named("cluster")])
    assert account.plan([named("preflight")]) == []


def test_rights_that_cannot_be_looked_at_and_dates_that_eks_does_not_tell_are_said_as_such(account: Account) -> None:
    account.bed.arm("iam:SimulatePrincipalPolicy", code="AccessDenied", status=403)
    account.bed.arm("eks:DescribeClusterVersions", code="AccessDeniedException", status=403)
    settings = changed(USUAL, cluster={"kubernetes_version": "1.34"})
    context = account.context(cluster={"kubernetes_version": "1.34"})
    notes = as_said(Preflight().decide(settings, Preflight().observe(context)))
    assert notes == [
        "note rights: IAM does not let them be looked at: seen only when used",
        "note Kubernetes 1.34: maintained until 2026-12-02, 9 days (a table of 2026-11-23)",
    ]


def test_a_type_that_the_region_has_not_is_found(account: Account) -> None:
    types = {"instance_types": ("t3.large", "t9.huge"), "database_instance_types": ("t3.large",)}
    assert account.plan([named("preflight")], nodes=types) == ["refused instance types: sa-east-1 has no t9.huge"]
