"""The cluster: what is decided of every state that EKS can show, as data, and what is read of one made otherwise."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import date, timedelta
from typing import Any

import boto3
import pytest

from comanda_deploy.engine import LONGEST_WAIT
from comanda_deploy.runbook import named
from comanda_deploy.step import Kind
from comanda_deploy.steps.cluster import ADMIN_POLICY, Cluster, ClusterFacts
from tests.deployment.account import USUAL, Account, as_said, changed

OPERATOR = "arn:aws:iam::123456789012:user/comanda-operator"
MARIA = "arn:aws:iam::123456789012:user/maria"
GROUPS = ("comanda-database", "comanda-general-a", "comanda-general-b")
WHAT = "EKS cluster comanda"
LOGS = "log group /aws/eks/comanda/cluster"
TODAY = date(2026, 11, 23)

NOTHING = ClusterFacts(
    role="arn:aws:iam::123456789012:role/AWS_EKS_ROLE",
    subnets={"subnet-a": "sa-east-1a", "subnet-b": "sa-east-1b"},
    own_vpc="vpc-1",
    wanted_admins=(OPERATOR,),
    caller=OPERATOR,
    ends={"1.34": date(2026, 12, 2), "1.35": date(2027, 3, 27), "1.36": date(2027, 8, 2)},
    today=TODAY,
)
BUILT = replace(
    NOTHING,
    status="ACTIVE",
    version="1.36",
    vpc="vpc-1",
    cidrs=("203.0.113.7/32",),
    logs=("audit", "authenticator"),
    arn="arn:aws:eks:sa-east-1:123456789012:cluster/comanda",
    entries={OPERATOR: (ADMIN_POLICY,)},
    node_versions=dict.fromkeys(GROUPS, "1.36"),
    log_group=True,
    log_days=30,
)
AT_1_34 = replace(BUILT, version="1.34", node_versions=dict.fromkeys(GROUPS, "1.34"))


def said(facts: ClusterFacts, **cluster: Any) -> list[str]:
    return as_said(Cluster().decide(changed(USUAL, cluster=cluster), facts))


def test_as_it_should_be_there_is_nothing_to_do() -> None:
    assert said(BUILT) == []


def test_where_there_is_none_it_is_made_after_its_log_group_and_its_administrator_let_in() -> None:
    """EKS' own log group would keep its lines for ever, and carry no tag."""
    assert said(NOTHING) == [
        f"create {LOGS}",
        f"change {LOGS}: kept for 30 days",
        f"create {WHAT}: Kubernetes 1.36",
        f"create access of {OPERATOR}: administrator",
        f"change access of {OPERATOR}: its policy",
    ]


@pytest.mark.parametrize(
    ("differs", "expected"),
    [
        ({"cidrs": ("0.0.0.0/0",)}, [f"change {WHAT}: API reachable from 203.0.113.7/32 and from within"]),
        ({"public": False}, [f"change {WHAT}: API reachable from 203.0.113.7/32 and from within"]),
        ({"private": False}, [f"change {WHAT}: API reachable from 203.0.113.7/32 and from within"]),
        ({"logs": ()}, [f"change {WHAT}: logs audit, authenticator"]),
        ({"support": "EXTENDED"}, [f"change {WHAT}: standard support, the extended one is paid"]),
        # EKS goes from the one to the other over both.
        ({"mode": "CONFIG_MAP"}, [f"change {WHAT}: access entries"]),
        ({"mode": "API_AND_CONFIG_MAP"}, [f"change {WHAT}: access entries alone"]),
        ({"protected": False}, [f"change {WHAT}: deletion protection on"]),
        ({"tagged": False}, [f"change {WHAT}: tag Project"]),
        ({"log_group": False, "log_days": None}, [f"create {LOGS}", f"change {LOGS}: kept for 30 days"]),
        ({"log_days": None}, [f"change {LOGS}: kept for 30 days"]),
        # EKS takes one kind of change at a time.
        (
            {"support": "EXTENDED", "protected": False, "logs": ("api",)},
            [
                f"change {WHAT}: logs audit, authenticator",
                f"change {WHAT}: standard support, the extended one is paid",
                f"change {WHAT}: deletion protection on",
            ],
        ),
    ],
)
def test_what_a_hand_has_changed_is_put_back(differs: dict[str, Any], expected: list[str]) -> None:
    assert said(replace(BUILT, **differs)) == expected


@pytest.mark.parametrize(
    ("setting", "expected"),
    [
        (
            {"endpoint_cidrs": ("198.51.100.0/24", "203.0.113.7/32")},
            [f"change {WHAT}: API reachable from 198.51.100.0/24, 203.0.113.7/32 and from within"],
        ),
        ({"logs": ("audit", "api")}, [f"change {WHAT}: logs audit, api"]),
        ({"logs": ()}, [f"change {WHAT}: logs nothing"]),
        ({"log_days": 365}, [f"change {LOGS}: kept for 365 days"]),
        ({"deletion_protection": False}, [f"change {WHAT}: deletion protection off"]),
        (
            {"endpoint_cidrs": ("0.0.0.0/0",)},
            [
                f"change {WHAT}: API reachable from 0.0.0.0/0 and from within",
                f"note {WHAT}: its API can be reached from the whole internet: see cluster.endpoint_cidrs",
            ],
        ),
    ],
)
def test_a_setting_that_was_changed_is_brought_about(setting: dict[str, Any], expected: list[str]) -> None:
    assert said(BUILT, **setting) == expected


def test_the_order_in_which_settings_name_things_is_no_drift() -> None:
    facts = replace(BUILT, cidrs=("198.51.100.0/24", "203.0.113.7/32"))
    assert said(facts, endpoint_cidrs=("203.0.113.7/32", "198.51.100.0/24"), logs=("authenticator", "audit")) == []


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        ("CREATING", f"wait {WHAT}: is being made"),
        ("UPDATING", f"wait {WHAT}: is being changed"),
        ("PENDING", f"wait {WHAT}: is being changed"),
        ("DELETING", f"wait {WHAT}: is being deleted"),
    ],
)
def test_eks_at_work_is_waited_for_and_not_without_end(status: str, expected: str) -> None:
    changes = Cluster().decide(USUAL, replace(BUILT, status=status, protected=False))
    assert as_said(changes) == [expected]
    assert 0 < 3 * changes[0].expected_seconds <= 2 * LONGEST_WAIT.total_seconds()


# Who may use it.


@pytest.mark.parametrize(
    ("differs", "expected"),
    [
        (
            {"entries": {}},
            [f"create access of {OPERATOR}: administrator", f"change access of {OPERATOR}: its policy"],
        ),
        ({"entries": {OPERATOR: ()}}, [f"change access of {OPERATOR}: its policy"]),
        (
            {"wanted_admins": (OPERATOR, MARIA)},
            [f"create access of {MARIA}: administrator", f"change access of {MARIA}: its policy"],
        ),
        (
            {"entries": {OPERATOR: (ADMIN_POLICY,), MARIA: (ADMIN_POLICY,)}},
            [f"delete access of {MARIA}: an administrator that cluster.admins does not name"],
        ),
        # Who may only look was let in by somebody, and is not our business.
        ({"entries": {OPERATOR: (ADMIN_POLICY,), MARIA: ("arn:aws:eks::aws:AmazonEKSViewPolicy",)}}, []),
        # A session that is no user or role of this account, as of a federation, has no ARN to be an administrator.
        ({"caller": ""}, []),
    ],
)
def test_administrators_are_those_of_the_settings_and_no_others(differs: dict[str, Any], expected: list[str]) -> None:
    assert said(replace(BUILT, **differs)) == expected


# What cannot be.


@pytest.mark.parametrize(
    ("facts", "setting", "expected", "mend"),
    [
        (
            replace(NOTHING, role=None),
            {},
            f"refused {WHAT}: there is no role AWS_EKS_ROLE",
            ("have an administrator run comanda-deploy bootstrap",),
        ),
        (
            NOTHING,
            {"endpoint_cidrs": ()},
            f"refused {WHAT}: nobody could reach its API: cluster.endpoint_cidrs is empty",
            ("put your own address into cluster.endpoint_cidrs of infra/settings.toml, as 203.0.113.7/32",),
        ),
        (
            NOTHING,
            {"kubernetes_version": "1.29"},
            f"refused {WHAT}: EKS has no Kubernetes 1.29",
            ("set cluster.kubernetes_version to one of 1.34, 1.35, 1.36",),
        ),
        (
            replace(NOTHING, today=date(2026, 12, 2)),
            {"kubernetes_version": "1.34"},
            f"refused {WHAT}: Kubernetes 1.34 ended on 2026-12-02",
            ("set cluster.kubernetes_version to 1.36",),
        ),
        (
            replace(BUILT, vpc="vpc-other"),
            {},
            f"refused {WHAT}: stands in another VPC, vpc-other: it cannot be moved",
            ("comanda-deploy destroy --keep volumes,snapshots,images,secrets", "then comanda-deploy apply"),
        ),
        # Else step network, which does not know it either, would make a second VPC beside it.
        (
            replace(BUILT, own_vpc=""),
            {},
            f"refused {WHAT}: its VPC vpc-1 does not carry our name and tag",
            ("put the tags Name=comanda and Project=comanda back on vpc-1 in the VPC console",),
        ),
        (
            replace(BUILT, status="FAILED", issues=("InsufficientFreeAddresses: no room", "Other: more")),
            {},
            f"refused {WHAT}: could not be made: InsufficientFreeAddresses: no room; Other: more",
            ("aws eks delete-cluster --name comanda, wait until it is gone", "then comanda-deploy apply"),
        ),
        (
            replace(BUILT, status="FAILED"),
            {},
            f"refused {WHAT}: could not be made: EKS does not say why",
            ("aws eks delete-cluster --name comanda, wait until it is gone", "then comanda-deploy apply"),
        ),
        (
            BUILT,
            {"kubernetes_version": "1.35"},
            f"refused {WHAT}: is at 1.36: Kubernetes cannot go back to 1.35",
            ("set cluster.kubernetes_version to 1.36",),
        ),
        (
            replace(BUILT, caller=MARIA),
            {},
            f"refused access of {MARIA}: is none of the cluster's administrators",
            (f'put "{MARIA}" into cluster.admins of infra/settings.toml, or sign in as comanda-operator',),
        ),
        (
            replace(AT_1_34, next_unfit=("coredns", "vpc-cni")),
            {},
            "refused Kubernetes 1.35: coredns, vpc-cni has no version for 1.35",
            ("wait until AWS has one", "until then set cluster.kubernetes_version back to 1.34"),
        ),
        (
            replace(AT_1_34, insights=("Deprecated APIs: v1beta3 is in use", "Skew: too old")),
            {},
            "refused Kubernetes 1.35: Deprecated APIs: v1beta3 is in use; Skew: too old",
            (
                "see the cluster's upgrade insights in the EKS console, mend what uses the old API",
                "until then set cluster.kubernetes_version back to 1.34",
            ),
        ),
    ],
)
def test_what_cannot_be_is_refused_with_what_to_do_and_nothing_is_planned_beside(
    facts: ClusterFacts, setting: dict[str, Any], expected: str, mend: tuple[str, ...]
) -> None:
    changes = Cluster().decide(changed(USUAL, cluster=setting), facts)
    assert as_said(changes) == [expected]
    assert changes[0].mend == mend


def test_all_that_is_wrong_is_said_at_once() -> None:
    changes = said(replace(NOTHING, role=None, caller=MARIA), endpoint_cidrs=(), kubernetes_version="1.29")
    assert len(changes) == 4
    assert all(change.startswith("refused ") for change in changes)


@pytest.mark.parametrize(
    ("facts", "version", "why"),
    [
        (replace(AT_1_34, today=date(2026, 12, 2)), "1.34", "a cluster past its end is still looked after"),
        (replace(NOTHING, today=date(2026, 12, 1)), "1.34", "the day before its end it is maintained"),
        (replace(NOTHING, ends={}), "1.29", "nobody knows what EKS has: it will say so itself"),
        (replace(BUILT, next_unfit=("coredns",), insights=("old",)), "1.36", "what hinders a next minor hinders none"),
    ],
)
def test_what_could_be_is_not_refused(facts: ClusterFacts, version: str, why: str) -> None:
    assert not [each for each in said(facts, kubernetes_version=version) if each.startswith("refused")], why


# One minor at a time.


@pytest.mark.parametrize(
    ("differs", "expected"),
    [
        (
            {},
            [
                f"change {WHAT}, Kubernetes: 1.34 to 1.35",
                f"later {WHAT}, Kubernetes: 1.35 to 1.36, after add-ons and nodes are at 1.35",
            ],
        ),
        (
            {"version": "1.35"},
            [f"later {WHAT}, Kubernetes: 1.35 to 1.36, after {', '.join(GROUPS)}"],
        ),
        (
            {"version": "1.35", "addons_behind": ("kube-proxy",), "node_versions": {"comanda-database": "1.34"}},
            [f"later {WHAT}, Kubernetes: 1.35 to 1.36, after kube-proxy, comanda-database"],
        ),
        (
            {"version": "1.35", "node_versions": dict.fromkeys(GROUPS, "1.35")},
            [f"change {WHAT}, Kubernetes: 1.35 to 1.36"],
        ),
        (
            {"status": "UPDATING"},
            [
                f"wait {WHAT}: is being changed",
                f"later {WHAT}, Kubernetes: 1.34 to 1.35, after add-ons and nodes are at 1.34",
                f"later {WHAT}, Kubernetes: 1.35 to 1.36, after add-ons and nodes are at 1.35",
            ],
        ),
        # What is mended goes before: an upgrade cannot be taken back.
        (
            {"support": "EXTENDED", "version": "1.35", "node_versions": {}},
            [
                f"change {WHAT}: standard support, the extended one is paid",
                f"change {WHAT}, Kubernetes: 1.35 to 1.36",
            ],
        ),
        ({"status": "DELETING"}, [f"wait {WHAT}: is being deleted"]),
    ],
)
def test_it_is_raised_one_minor_at_a_time_and_waits_for_add_ons_and_nodes(
    differs: dict[str, Any], expected: list[str]
) -> None:
    assert said(replace(AT_1_34, **differs)) == expected


def test_a_cluster_of_two_digits_is_above_one_of_one() -> None:
    facts = replace(BUILT, version="1.9", node_versions={}, ends={"1.9": TODAY, "1.10": TODAY + timedelta(1)})
    assert said(facts, kubernetes_version="1.10") == [f"change {WHAT}, Kubernetes: 1.9 to 1.10"]


def test_what_eks_finds_wrong_with_it_is_told() -> None:
    assert said(replace(BUILT, issues=("Ec2SubnetNotFound: subnet-a is gone",))) == [
        f"note {WHAT}: Ec2SubnetNotFound: subnet-a is gone"
    ]


# Taken down.


@pytest.mark.parametrize(
    ("differs", "keep", "expected"),
    [
        ({}, (), [f"change {WHAT}: deletion protection off", f"delete {WHAT}", f"delete {LOGS}"]),
        ({"protected": False}, (), [f"delete {WHAT}", f"delete {LOGS}"]),
        ({"protected": False}, ("logs",), [f"delete {WHAT}", f"note {LOGS}: kept"]),
        ({"protected": False, "log_group": False}, (), [f"delete {WHAT}"]),
        ({"status": "FAILED", "protected": False, "log_group": False}, (), [f"delete {WHAT}"]),
        # Its log group goes last: it logs until its end.
        ({"status": "DELETING"}, (), [f"wait {WHAT}: is being deleted", f"delete {LOGS}"]),
        ({"status": "CREATING"}, (), [f"wait {WHAT}: is creating", f"delete {LOGS}"]),
        ({"status": "UPDATING"}, (), [f"wait {WHAT}: is updating", f"delete {LOGS}"]),
        ({"status": ""}, (), [f"delete {LOGS}"]),
        ({"status": "", "log_group": False}, (), []),
        # Whatever else is refused, taking it down is not.
        ({"role": None, "own_vpc": "", "caller": MARIA, "protected": False}, (), [f"delete {WHAT}", f"delete {LOGS}"]),
    ],
)
def test_it_is_taken_down_with_its_protection_off_first(
    differs: Mapping[str, Any], keep: tuple[str, ...], expected: list[str]
) -> None:
    settings = changed(USUAL, destroy={"keep": keep})
    assert as_said(Cluster().decide_removal(settings, replace(BUILT, **differs))) == expected


# What is read.


def test_a_cluster_of_the_old_runbook_can_be_looked_at_and_is_given_access_entries(account: Account) -> None:
    """Its authentication is by config map: EKS then refuses to list access entries."""
    steps = [named("network"), named("cluster")]
    account.apply(steps)
    cluster = account.bed.eks.clusters["comanda"]
    cluster.body["accessConfig"]["authenticationMode"] = "CONFIG_MAP"
    cluster.access.clear()
    refused = account.bed.arm("eks:ListAccessEntries", code="InvalidRequestException", times=10**6)
    assert account.plan([named("cluster")])[0] == f"change {WHAT}: access entries"
    refused.times = 0
    done = account.apply([named("cluster")])
    assert done[:2] == [f"change {WHAT}: access entries", f"change {WHAT}: access entries alone"]
    assert account.plan(steps) == []


def test_a_vpc_that_lost_its_name_is_missed_before_a_second_one_is_made(account: Account) -> None:
    account.apply([named("network"), named("cluster")])
    ec2 = account.bed.client("ec2")
    vpc = account.bed.eks.clusters["comanda"].body["resourcesVpcConfig"]["vpcId"]
    ec2.delete_tags(Resources=[vpc], Tags=[{"Key": "Project"}])
    answer = account.command("step", "network", "cluster", "--yes")
    assert answer.returncode == 1
    assert f"its VPC {vpc} does not carry our name and tag" in answer.stderr
    assert len(ec2.describe_vpcs(Filters=[{"Name": "tag:Name", "Values": ["comanda"]}])["Vpcs"]) == 1


def test_it_is_not_raised_over_an_add_on_that_is_not_well(account: Account) -> None:
    """There is no way back: whoever is woken by it would have an older cluster to mend, and not a newer one."""
    steps = [named(name) for name in ("network", "cluster", "nodes", "addons")]
    old: dict[str, Any] = {"kubernetes_version": "1.35"}
    account.apply(steps, cluster=old)
    coredns = account.bed.eks.clusters["comanda"].addons["coredns"].body
    coredns["status"] = "DEGRADED"
    assert account.plan(steps) == [
        f"later {WHAT}, Kubernetes: 1.35 to 1.36, after coredns",
        "wait add-on coredns: is degraded",
    ]
    coredns["status"] = "ACTIVE"
    assert account.plan(steps) == [f"change {WHAT}, Kubernetes: 1.35 to 1.36"]


def test_an_administrator_of_the_settings_is_let_in_and_a_role_is_known_behind_its_session(account: Account) -> None:
    steps = [named("network"), named("cluster")]
    iam = account.bed.client("iam")
    role = iam.create_role(RoleName="Operators", Path="/people/", AssumeRolePolicyDocument="{}")["Role"]["Arn"]
    account.apply(steps)
    assert account.plan(steps, cluster={"admins": (role,)}) == [
        f"create access of {role}: administrator",
        f"change access of {role}: its policy",
    ]
    keys = account.bed.client("sts").assume_role(RoleArn=role, RoleSessionName="maria")["Credentials"]
    account.session = boto3.Session(
        keys["AccessKeyId"], keys["SecretAccessKey"], keys["SessionToken"], region_name=account.session.region_name
    )
    account.clients = {}
    assert account.plan(steps) == [f"refused access of {role}: is none of the cluster's administrators"]
    assert Kind.REFUSED not in {each.split()[0] for each in account.plan(steps, cluster={"admins": (role,)})}
