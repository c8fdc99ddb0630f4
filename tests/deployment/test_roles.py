"""Bootstrap: what is decided of user, roles and policies, as data; and its removal."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from comanda_deploy.runbook import BOOTSTRAP
from comanda_deploy.steps.roles import (
    FOLDER,
    OPERATOR_POLICIES,
    POLICIES,
    ROLES,
    SERVICE_ROLES,
    Owner,
    Policy,
    Roles,
    RolesFacts,
    _canonical,
    console_way,
    document,
)
from tests.deployment.account import USUAL, Account, as_said

NOTHING = RolesFacts(account="123456789012")
USER = "user comanda-operator"


def arn(policy: str) -> str:
    return NOTHING.arn(policy)


BUILT = replace(
    NOTHING,
    user=Owner(frozenset(map(arn, OPERATOR_POLICIES)), keys=("AKIA1", "AKIA2")),
    policies={name: Policy(arn(name), _canonical(document(name)), ("v1", "v2")) for name in POLICIES},
    roles={
        name: Owner(frozenset(map(arn, policies)), trust=_canonical(document(trust)))
        for name, (trust, policies) in ROLES.items()
    },
    service_roles=frozenset(SERVICE_ROLES),
)
OPERATOR = replace(Owner(), policies=frozenset(map(arn, OPERATOR_POLICIES)))
NODE = BUILT.roles["AWS_EKS_NODE_GROUP_ROLE"]


def role(name: str, owner: Owner) -> RolesFacts:
    """Answer the facts with one role otherwise."""
    return replace(BUILT, roles={**BUILT.roles, name: owner})


def policy(name: str, **differs: Any) -> RolesFacts:
    """Answer the facts with one policy otherwise."""
    return replace(BUILT, policies={**BUILT.policies, name: replace(BUILT.policies[name], **differs)})


def said(facts: RolesFacts) -> list[str]:
    return as_said(Roles().decide(USUAL, facts))


def test_as_they_should_be_there_is_nothing_to_do() -> None:
    assert said(BUILT) == []


def test_an_empty_account_gets_policies_then_user_and_roles_then_what_only_aws_may_take() -> None:
    changes = said(NOTHING)
    kinds = [each.split()[1] for each in changes]
    assert kinds == sorted(kinds, key=["policy", "user", "role", "service-linked"].index)
    assert changes[: len(POLICIES)] == [f"create policy {name}" for name in POLICIES]
    assert [each for each in changes if "AWS_EKS_NODE_GROUP_ROLE" in each] == [
        "create role AWS_EKS_NODE_GROUP_ROLE",
        "change role AWS_EKS_NODE_GROUP_ROLE: policy AmazonEC2ContainerRegistryReadOnly",
        "change role AWS_EKS_NODE_GROUP_ROLE: policy AmazonEKS_CNI_Policy",
        "change role AWS_EKS_NODE_GROUP_ROLE: policy AmazonEKSWorkerNodePolicy",
        "change role AWS_EKS_NODE_GROUP_ROLE: policy EKSExtraPermissions",
    ]
    assert [each for each in changes if USER in each] == [
        f"create {USER}",
        *(f"change {USER}: policy {name}" for name in OPERATOR_POLICIES),
    ]
    assert changes[-len(SERVICE_ROLES) :] == [f"create service-linked role {name}" for name in SERVICE_ROLES]
    assert sum(each.startswith("create role") for each in changes) == len(ROLES)


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        # After a new version of Comanda.
        (policy("K8SASGPolicy", document='{"Statement": []}'), ["change policy K8SASGPolicy: its document"]),
        (
            replace(BUILT, policies={name: each for name, each in BUILT.policies.items() if name != "K8SASGPolicy"}),
            ["create policy K8SASGPolicy"],
        ),
        (
            replace(BUILT, user=replace(OPERATOR, policies=OPERATOR.policies - {arn("EKSCLIAccessPolicy-network")})),
            [f"change {USER}: policy EKSCLIAccessPolicy-network"],
        ),
        # Of somebody by hand, or of the old runbook: whoever may more is more than an operator.
        (
            replace(
                BUILT,
                user=replace(
                    OPERATOR,
                    policies=OPERATOR.policies | {arn("aws:AdministratorAccess"), arn("aws:AmazonEKSClusterPolicy")},
                    inline=("more", "and more"),
                ),
            ),
            [
                f"change {USER}: without policy AdministratorAccess",
                f"change {USER}: without policy AmazonEKSClusterPolicy",
                f"change {USER}: without inline policy more",
                f"change {USER}: without inline policy and more",
            ],
        ),
        # Keys are the operator's own business.
        (replace(BUILT, user=replace(OPERATOR, keys=())), []),
        (
            role("ComandaEbsCsi", replace(BUILT.roles["ComandaEbsCsi"], trust="{}")),
            ["change role ComandaEbsCsi: who may take it"],
        ),
        (
            role("AWS_EKS_NODE_GROUP_ROLE", replace(NODE, policies=NODE.policies - {arn("aws:AmazonEKS_CNI_Policy")})),
            ["change role AWS_EKS_NODE_GROUP_ROLE: policy AmazonEKS_CNI_Policy"],
        ),
        (
            role("AWS_EKS_NODE_GROUP_ROLE", replace(NODE, policies=NODE.policies | {"arn:aws:iam::1:policy/dept/X"})),
            ["change role AWS_EKS_NODE_GROUP_ROLE: without policy X"],
        ),
        (
            role("AWS_EKS_NODE_GROUP_ROLE", replace(NODE, inline=("more",))),
            ["change role AWS_EKS_NODE_GROUP_ROLE: without inline policy more"],
        ),
        (
            replace(BUILT, service_roles=frozenset(SERVICE_ROLES) - {"AWSServiceRoleForEC2Spot"}),
            ["create service-linked role AWSServiceRoleForEC2Spot"],
        ),
        # A cluster that stands is no reason to let rights be wrong.
        (
            replace(BUILT, cluster=True, user=replace(OPERATOR, inline=("more",))),
            [f"change {USER}: without inline policy more"],
        ),
    ],
)
def test_what_a_hand_has_changed_is_put_back(facts: RolesFacts, expected: list[str]) -> None:
    assert said(facts) == expected


def test_a_missing_role_is_made_with_its_policies() -> None:
    facts = replace(BUILT, roles={name: owner for name, owner in BUILT.roles.items() if name != "ComandaBackups"})
    assert said(facts) == ["create role ComandaBackups", "change role ComandaBackups: policy ComandaBackups"]


def test_two_policies_of_one_meaning_are_the_same() -> None:
    """IAM, and whoever edits by hand, writes a list of one as a word, and lists in any order."""
    mine = {"Statement": {"Effect": "Allow", "Action": ["b", "a"], "Resource": "*"}, "Version": "2012-10-17"}
    theirs = {"Version": "2012-10-17", "Statement": [{"Action": ["a", "b"], "Resource": ["*"], "Effect": "Allow"}]}
    assert _canonical(mine) == _canonical(theirs)
    assert _canonical(mine) != _canonical({**mine, "Statement": {"Effect": "Deny", "Action": ["a", "b"]}})


def test_in_another_partition_aws_s_own_policies_are_that_partition_s() -> None:
    facts = replace(NOTHING, partition="aws-cn")
    assert facts.arn("aws:AmazonEKS_CNI_Policy") == "arn:aws-cn:iam::aws:policy/AmazonEKS_CNI_Policy"
    assert facts.arn("K8SASGPolicy") == "arn:aws-cn:iam::123456789012:policy/K8SASGPolicy"


# Taken back.


def test_it_is_refused_while_a_cluster_lives_by_it() -> None:
    """Without its roles a cluster can neither run nor be deleted."""
    (change,) = Roles().decide_removal(USUAL, replace(BUILT, cluster=True))
    assert as_said([change]) == ["refused roles: the cluster comanda still lives by them"]
    assert change.mend == ("comanda-deploy destroy, then comanda-deploy bootstrap --remove",)


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        (
            BUILT,
            [
                f"delete {USER}: and its 2 access keys",
                *(f"delete role {name}" for name in ROLES),
                *(f"delete policy {name}" for name in POLICIES),
            ],
        ),
        (replace(NOTHING, user=OPERATOR, service_roles=frozenset(SERVICE_ROLES)), [f"delete {USER}"]),
        (replace(NOTHING, service_roles=frozenset(SERVICE_ROLES)), []),
    ],
)
def test_all_but_what_is_aws_s_own_is_taken_back(facts: RolesFacts, expected: list[str]) -> None:
    assert as_said(Roles().decide_removal(USUAL, facts)) == expected


# By IAM, and by hand.


def test_a_policy_of_five_versions_is_renewed_and_all_that_hangs_on_the_user_goes_with_it(account: Account) -> None:
    iam = account.bed.client("iam")
    account.session, account.clients = account.bed.session(), {}
    target = arn("K8SASGPolicy")
    for number in range(4):
        statement = {"Effect": "Allow", "Action": f"ec2:Describe{number}", "Resource": "*"}
        other = json.dumps({"Version": "2012-10-17", "Statement": statement})
        iam.create_policy_version(PolicyArn=target, PolicyDocument=other, SetAsDefault=True)
    assert account.apply(BOOTSTRAP) == ["change policy K8SASGPolicy: its document"]
    assert account.apply(BOOTSTRAP) == []

    iam.create_login_profile(UserName="comanda-operator", Password="of-the-test-bed-1")
    iam.create_group(GroupName="people")
    iam.add_user_to_group(UserName="comanda-operator", GroupName="people")
    inline = json.dumps(document("K8SASGPolicy"))
    iam.put_user_policy(UserName="comanda-operator", PolicyName="more", PolicyDocument=inline)
    iam.put_role_policy(RoleName="ComandaEbsCsi", PolicyName="more", PolicyDocument=inline)
    assert account.destroy(BOOTSTRAP)[0] == f"delete {USER}: and its 1 access keys"
    assert account.destroy(BOOTSTRAP) == []


def test_the_console_way_names_every_file_role_and_service() -> None:
    text = console_way()
    for name in (*POLICIES, *ROLES, *SERVICE_ROLES.values(), "comanda-operator"):
        assert name in text
    files = [line.strip() for line in text.splitlines() if line.strip().startswith(str(FOLDER))]
    assert [Path(file).stem for file in files] == list(POLICIES)
    assert all(json.loads(Path(file).read_text(encoding="utf-8"))["Statement"] for file in files)
