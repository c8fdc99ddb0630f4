"""Bootstrap, once and by an administrator: the operator's user, the roles, their policies.

Who may make roles can make itself administrator: so the operator only passes on roles that stand already.
"""

import json
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from comanda_deploy.context import Context
from comanda_deploy.names import (
    AUTOSCALER_ROLE,
    BACKUPS_ROLE,
    CLUSTER,
    CLUSTER_ROLE,
    EBS_CSI_ROLE,
    EXTERNAL_SECRETS_ROLE,
    LOAD_BALANCER_ROLE,
    LOGS_ROLE,
    NODE_ROLE,
    OPERATOR_USER,
    tag_list,
)
from comanda_deploy.settings import Settings
from comanda_deploy.step import Change, Kind, Step

FOLDER = Path(__file__).parents[3] / "infra" / "iam"

OPERATOR_POLICIES = ("EKSCLIAccessPolicy-cluster", "EKSCLIAccessPolicy-network", "EKSCLIAccessPolicy-services")

ROLES: dict[str, tuple[str, tuple[str, ...]]] = {
    CLUSTER_ROLE: ("trust-cluster", ("aws:AmazonEKSClusterPolicy", "AWSEKSExtraPermissions")),
    NODE_ROLE: (
        "trust-nodes",
        (
            "aws:AmazonEC2ContainerRegistryReadOnly",
            "aws:AmazonEKS_CNI_Policy",
            "aws:AmazonEKSWorkerNodePolicy",
            "EKSExtraPermissions",
        ),
    ),
    EBS_CSI_ROLE: ("trust-pods", ("ComandaEbsCsi",)),
    EXTERNAL_SECRETS_ROLE: ("trust-pods", ("ComandaExternalSecrets",)),
    LOAD_BALANCER_ROLE: ("trust-pods", ("ComandaLoadBalancerController",)),
    AUTOSCALER_ROLE: ("trust-pods", ("K8SASGPolicy",)),
    BACKUPS_ROLE: ("trust-pods", ("ComandaBackups",)),
    LOGS_ROLE: ("trust-pods", ("ComandaLogs",)),
}
"""Each role: who may take it, and its policies; "aws:" marks those that AWS manages."""

SERVICE_ROLES = {
    "AWSServiceRoleForAmazonEKS": "eks.amazonaws.com",
    "AWSServiceRoleForAmazonEKSNodegroup": "eks-nodegroup.amazonaws.com",
    "AWSServiceRoleForAutoScaling": "autoscaling.amazonaws.com",
    "AWSServiceRoleForElasticLoadBalancing": "elasticloadbalancing.amazonaws.com",
    "AWSServiceRoleForEC2Spot": "spot.amazonaws.com",
}
"""An empty account has none of them, and the operator may not make them."""

POLICIES = tuple(dict.fromkeys([*OPERATOR_POLICIES, *(p for _, of in ROLES.values() for p in of if p[:4] != "aws:")]))


@dataclass(frozen=True)
class Policy:
    """A managed policy: its ARN, its document as canonical JSON, and the versions that may go, oldest first."""

    arn: str
    document: str
    spare: tuple[str, ...] = ()


@dataclass(frozen=True)
class Owner:
    """A user or role as it is.

    Args:
        policies: the ARNs of those attached. inline: the names of those written into it.
        trust: of a role, who may take it, as canonical JSON. keys: of a user, its access keys.
    """

    policies: frozenset[str] = frozenset()
    inline: tuple[str, ...] = ()
    trust: str = ""
    keys: tuple[str, ...] = ()


@dataclass(frozen=True)
class RolesFacts:
    """What IAM has under our names.

    Args:
        partition, account: make up the ARNs of what is yet to be.
        cluster: whether one stands that lives by the roles.
    """

    partition: str = "aws"
    account: str = ""
    user: Owner | None = None
    policies: Mapping[str, Policy] = field(default_factory=dict)
    roles: Mapping[str, Owner] = field(default_factory=dict)
    service_roles: frozenset[str] = frozenset()
    cluster: bool = False

    def arn(self, policy: str) -> str:
        """Answer the ARN of a policy of ours or of AWS's."""
        if policy.startswith("aws:"):
            return f"arn:{self.partition}:iam::aws:policy/{policy[4:]}"
        return f"arn:{self.partition}:iam::{self.account}:policy/{policy}"


class Roles(Step[RolesFacts]):
    """Under the runbook's names, with the policies of `infra/iam`."""

    name = "bootstrap"
    about = "the operator's user, every role and its policies"
    in_one_go = True

    def observe(self, context: Context) -> RolesFacts:
        """Read user, roles and policies, in one call: IAM throttles who makes dozens."""
        facts = RolesFacts(context.caller["Arn"].split(":")[1], context.account_id)
        users, roles, policies = _details(context)
        names = {facts.arn(name): name for name in POLICIES}
        services = {role["Path"].split("/")[2] for role in roles if role["Path"].startswith("/aws-service-role/")}
        return RolesFacts(
            facts.partition,
            facts.account,
            user=next((_user(context, each) for each in users if each["UserName"] == OPERATOR_USER), None),
            policies={names[each["Arn"]]: _policy(each) for each in policies if each["Arn"] in names},
            roles={each["RoleName"]: _role(each) for each in roles if each["RoleName"] in ROLES},
            service_roles=frozenset(name for name, service in SERVICE_ROLES.items() if service in services),
            cluster=CLUSTER in context.pages("eks", "list_clusters", "clusters"),
        )

    def decide(self, settings: Settings, facts: RolesFacts) -> list[Change]:  # noqa: ARG002 - none applies
        """Make what is missing; put documents and attachments back as they are in the repository."""
        changes = [*_policy_changes(facts)]
        if facts.user is None:
            changes.append(Change(Kind.CREATE, f"user {OPERATOR_USER}", do=_create_user))
        changes += _attachments("user", OPERATOR_USER, OPERATOR_POLICIES, facts.user, facts)
        for name, (trust, policies) in ROLES.items():
            owner = facts.roles.get(name)
            if owner is None:
                changes.append(Change(Kind.CREATE, f"role {name}", do=partial(_create_role, name=name, trust=trust)))
            elif owner.trust != _canonical(document(trust)):
                do = partial(_trust, name=name, trust=trust)
                changes.append(Change(Kind.CHANGE, f"role {name}", "who may take it", do=do))
            changes += _attachments("role", name, policies, owner, facts)
        for name, service in SERVICE_ROLES.items():
            if name not in facts.service_roles:
                do = partial(_link, service=service)
                changes.append(Change(Kind.CREATE, f"service-linked role {name}", do=do))
        return changes

    def decide_removal(self, settings: Settings, facts: RolesFacts) -> list[Change]:  # noqa: ARG002 - none is kept
        """Remove all but the service-linked roles, which are AWS's and cost nothing."""
        if facts.cluster:
            mend = ("comanda-deploy destroy, then comanda-deploy bootstrap --remove",)
            return [Change(Kind.REFUSED, "roles", f"the cluster {CLUSTER} still lives by them", mend=mend)]
        changes = []
        if facts.user is not None:
            detail = f"and its {len(facts.user.keys)} access keys" if facts.user.keys else ""
            do = partial(_delete_user, owner=facts.user)
            changes.append(Change(Kind.DELETE, f"user {OPERATOR_USER}", detail, do=do))
        for name, owner in facts.roles.items():
            changes.append(Change(Kind.DELETE, f"role {name}", do=partial(_delete_role, name=name, owner=owner)))
        for name, policy in facts.policies.items():
            changes.append(Change(Kind.DELETE, f"policy {name}", do=partial(_delete_policy, policy=policy)))
        return changes


def document(name: str) -> dict[str, Any]:
    """Answer a policy of `infra/iam`."""
    loaded: dict[str, Any] = json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))
    return loaded


def console_way() -> str:
    """Answer how to do the same by hand in AWS's console."""
    lines = ["In the IAM console, signed in with administrator rights:", ""]
    lines.append("1. Policies, Create policy, JSON: one for each file, named as the file.")
    lines += [f"     {FOLDER / (name + '.json')}" for name in POLICIES]
    lines += ["2. Users, Create user:", f"     {OPERATOR_USER}, with {', '.join(OPERATOR_POLICIES)}"]
    lines.append("3. Roles, Create role, Custom trust policy: paste the trust file, attach the policies.")
    for name, (trust, policies) in ROLES.items():
        lines.append(f"     {name}: {trust}.json; {', '.join(each.removeprefix('aws:') for each in policies)}")
    lines.append("4. In CloudShell, once for each service (an answer that it exists already is well):")
    lines += [f"     aws iam create-service-linked-role --aws-service-name {name}" for name in SERVICE_ROLES.values()]
    return "\n".join(lines)


def _canonical(value: Any) -> str:
    """Answer a policy so that two of the same meaning are the same text: order and single-item lists mean nothing."""

    def plain(each: Any) -> Any:
        if isinstance(each, dict):
            return {key: plain(inner) for key, inner in each.items()}
        if isinstance(each, list):
            inner = sorted((plain(one) for one in each), key=lambda one: json.dumps(one, sort_keys=True))
            return inner[0] if len(inner) == 1 else inner
        return each

    return json.dumps(plain(value), sort_keys=True)


def _policy_changes(facts: RolesFacts) -> Iterator[Change]:
    for name in POLICIES:
        there = facts.policies.get(name)
        if there is None:
            yield Change(Kind.CREATE, f"policy {name}", do=partial(_create_policy, name=name))
        elif there.document != _canonical(document(name)):
            do = partial(_renew_policy, name=name, policy=there)
            yield Change(Kind.CHANGE, f"policy {name}", "its document", do=do)


def _attachments(
    kind: str, name: str, wanted: tuple[str, ...], owner: Owner | None, facts: RolesFacts
) -> Iterator[Change]:
    there = owner.policies if owner else frozenset()
    for policy in wanted:
        if facts.arn(policy) not in there:
            do = partial(_attach, kind=kind, name=name, arn=facts.arn(policy))
            yield Change(Kind.CHANGE, f"{kind} {name}", f"policy {policy.removeprefix('aws:')}", do=do)
    for arn in sorted(there - {facts.arn(policy) for policy in wanted}):
        do = partial(_detach, kind=kind, name=name, arn=arn)
        yield Change(Kind.CHANGE, f"{kind} {name}", f"without policy {arn.split('/')[-1]}", do=do)
    for inline in owner.inline if owner else ():
        do = partial(_delete_inline, kind=kind, name=name, policy=inline)
        yield Change(Kind.CHANGE, f"{kind} {name}", f"without inline policy {inline}", do=do)


# What is read.


def _details(context: Context) -> tuple[list[Any], list[Any], list[Any]]:
    paginator = context.client("iam").get_paginator("get_account_authorization_details")
    users, roles, policies = [], [], []
    for page in paginator.paginate(Filter=["User", "Role", "LocalManagedPolicy"]):
        users += page["UserDetailList"]
        roles += page["RoleDetailList"]
        policies += page["Policies"]
    return users, roles, policies


def _user(context: Context, user: dict[str, Any]) -> Owner:
    keys = context.pages("iam", "list_access_keys", "AccessKeyMetadata", UserName=OPERATOR_USER)
    return Owner(
        frozenset(each["PolicyArn"] for each in user["AttachedManagedPolicies"]),
        tuple(each["PolicyName"] for each in user.get("UserPolicyList", [])),
        keys=tuple(each["AccessKeyId"] for each in keys),
    )


def _role(role: dict[str, Any]) -> Owner:
    return Owner(
        frozenset(each["PolicyArn"] for each in role["AttachedManagedPolicies"]),
        tuple(each["PolicyName"] for each in role.get("RolePolicyList", [])),
        _canonical(role["AssumeRolePolicyDocument"]),
    )


def _policy(policy: dict[str, Any]) -> Policy:
    versions = policy["PolicyVersionList"]
    current = next(each["Document"] for each in versions if each["IsDefaultVersion"])
    spare = sorted((each["CreateDate"], each["VersionId"]) for each in versions if not each["IsDefaultVersion"])
    return Policy(policy["Arn"], _canonical(current), tuple(each for _, each in spare))


# What is done.


def _create_policy(context: Context, name: str) -> None:
    context.client("iam").create_policy(PolicyName=name, PolicyDocument=json.dumps(document(name)), Tags=tag_list())


def _renew_policy(context: Context, name: str, policy: Policy) -> None:
    iam = context.client("iam")
    if len(policy.spare) >= 4:  # IAM keeps five versions
        iam.delete_policy_version(PolicyArn=policy.arn, VersionId=policy.spare[0])
    iam.create_policy_version(PolicyArn=policy.arn, PolicyDocument=json.dumps(document(name)), SetAsDefault=True)


def _create_user(context: Context) -> None:
    context.client("iam").create_user(UserName=OPERATOR_USER, Tags=tag_list())


def _create_role(context: Context, name: str, trust: str) -> None:
    context.client("iam").create_role(
        RoleName=name, AssumeRolePolicyDocument=json.dumps(document(trust)), Tags=tag_list()
    )


def _trust(context: Context, name: str, trust: str) -> None:
    context.client("iam").update_assume_role_policy(RoleName=name, PolicyDocument=json.dumps(document(trust)))


def _attach(context: Context, kind: str, name: str, arn: str) -> None:
    if kind == "user":
        context.client("iam").attach_user_policy(UserName=name, PolicyArn=arn)
    else:
        context.client("iam").attach_role_policy(RoleName=name, PolicyArn=arn)


def _detach(context: Context, kind: str, name: str, arn: str) -> None:
    if kind == "user":
        context.client("iam").detach_user_policy(UserName=name, PolicyArn=arn)
    else:
        context.client("iam").detach_role_policy(RoleName=name, PolicyArn=arn)


def _link(context: Context, service: str) -> None:
    context.client("iam").create_service_linked_role(AWSServiceName=service)


def _delete_inline(context: Context, kind: str, name: str, policy: str) -> None:
    if kind == "user":
        context.client("iam").delete_user_policy(UserName=name, PolicyName=policy)
    else:
        context.client("iam").delete_role_policy(RoleName=name, PolicyName=policy)


def _delete_user(context: Context, owner: Owner) -> None:
    """Delete the user with all that IAM wants gone before it (IAM user guide, deleting a user)."""
    iam, name = context.client("iam"), OPERATOR_USER
    for arn in owner.policies:
        _detach(context, "user", name, arn)
    for policy in owner.inline:
        _delete_inline(context, "user", name, policy)
    for key in owner.keys:
        iam.delete_access_key(UserName=name, AccessKeyId=key)
    for group in context.pages("iam", "list_groups_for_user", "Groups", UserName=name):
        iam.remove_user_from_group(UserName=name, GroupName=group["GroupName"])
    for device in context.pages("iam", "list_mfa_devices", "MFADevices", UserName=name):
        iam.deactivate_mfa_device(UserName=name, SerialNumber=device["SerialNumber"])
    with suppress(iam.exceptions.NoSuchEntityException):
        iam.delete_login_profile(UserName=name)
    iam.delete_user(UserName=name)


def _delete_role(context: Context, name: str, owner: Owner) -> None:
    for arn in owner.policies:
        _detach(context, "role", name, arn)
    for policy in owner.inline:
        _delete_inline(context, "role", name, policy)
    context.client("iam").delete_role(RoleName=name)


def _delete_policy(context: Context, policy: Policy) -> None:
    for version in policy.spare:
        context.client("iam").delete_policy_version(PolicyArn=policy.arn, VersionId=version)
    context.client("iam").delete_policy(PolicyArn=policy.arn)
