"""Step 1: who runs this, and whether it can go well: rights, quotas, room, and ends of life."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from botocore.exceptions import ClientError

from comanda_deploy.aws_errors import DENIED, code_of
from comanda_deploy.capacity import InstanceSize, shortages
from comanda_deploy.context import Context
from comanda_deploy.names import (
    API_SECRET,
    CLUSTER,
    CLUSTER_ROLE,
    LOCK_PARAMETER,
    NODE_ROLE,
    REPOSITORY,
    TAG,
    TAG_VALUE,
)
from comanda_deploy.settings import Settings
from comanda_deploy.step import Change, Kind, Step
from comanda_deploy.versions import AS_KUBERNETES, Life, lives

SOON = 120
"""Days before an end of life from which on it is said."""


@dataclass(frozen=True)
class Quota:
    """One of AWS's limits: how much there may be, how much is there, how much Comanda adds."""

    name: str
    code: str
    limit: int
    used: int
    wanted: int


@dataclass(frozen=True)
class PreflightFacts:
    """What is known before anything is made.

    Args:
        caller: the ARN of who runs this.
        simulated: whether IAM could be asked what the caller may do; denied: what it may not.
        sizes: of the instance types in the settings. unknown_types: those that the region has not.
        lives: until when each version is maintained.
        built: whether the cluster is there already.
    """

    caller: str
    simulated: bool
    denied: tuple[str, ...] = ()
    quotas: tuple[Quota, ...] = ()
    sizes: tuple[InstanceSize, ...] = ()
    unknown_types: tuple[str, ...] = ()
    lives: tuple[Life, ...] = ()
    built: bool = False


class Preflight(Step[PreflightFacts]):
    """Looks only, makes nothing: what it finds wrong would fail later, and half-way."""

    name = "preflight"
    about = "who you are, what you may do, quotas, room for the pods, ends of life"

    def observe(self, context: Context) -> PreflightFacts:
        """Ask STS, IAM, EC2, Service Quotas and EKS."""
        simulated, denied = _simulate(context)
        sizes, unknown = _sizes(context)
        built = CLUSTER in context.pages("eks", "list_clusters", "clusters")
        return PreflightFacts(
            caller=context.caller["Arn"],
            simulated=simulated,
            denied=denied,
            quotas=tuple(_quotas(context, sizes, built=built)),
            sizes=sizes,
            unknown_types=unknown,
            lives=tuple(lives(context)),
            built=built,
        )

    def decide(self, settings: Settings, facts: PreflightFacts) -> list[Change]:
        """Refuse what cannot go well; say what is worth knowing."""
        changes = []
        if facts.caller.endswith(":root"):
            changes.append(
                _refused("the account's root user", "must not run this", f"sign in as comanda-operator: see {RUNBOOK}")
            )
        if facts.denied:
            names = ", ".join(facts.denied[:8]) + (", ..." if len(facts.denied) > 8 else "")
            changes.append(
                _refused(
                    "rights", f"{facts.caller} may not {names}", "have an administrator run comanda-deploy bootstrap"
                )
            )
        elif not facts.simulated:
            changes.append(Change(Kind.NOTE, "rights", "IAM does not let them be looked at: seen only when used"))
        if facts.unknown_types:
            changes.append(
                _refused(
                    "instance types",
                    f"{settings.aws.region} has no {', '.join(facts.unknown_types)}",
                    "name others in nodes.instance_types and nodes.database_instance_types of infra/settings.toml",
                )
            )
        changes += [
            _refused("room", shortage, "raise nodes.max_per_zone, or name larger types in nodes of infra/settings.toml")
            for shortage in shortages(settings, facts.sizes)
        ]
        changes += [
            _refused(
                f"quota {quota.name}",
                f"{quota.limit}, of which {quota.used} are used, and {quota.wanted} more are needed",
                f"ask AWS for more in the Service Quotas console, quota code {quota.code}",
            )
            for quota in facts.quotas
            if quota.wanted and quota.used + quota.wanted > quota.limit
        ]
        changes += [
            Change(Kind.NOTE, each.what, str(each))
            for each in facts.lives
            if each.days_left is not None and each.days_left <= SOON and each.source != AS_KUBERNETES
        ]
        return changes


RUNBOOK = "docs/runbook.md"


def _refused(what: str, detail: str, mend: str) -> Change:
    return Change(Kind.REFUSED, what, detail, mend=(mend,))


def _asked(context: Context) -> Iterator[tuple[str, tuple[str, ...], dict[str, str]]]:
    """Answer what must be allowed: on what, which actions, with what in the request. One of each statement's kind."""
    where = f"{context.region}:{context.account_id}"
    ours = {f"aws:RequestTag/{TAG}": TAG_VALUE, f"aws:ResourceTag/{TAG}": TAG_VALUE}
    cluster = f"arn:aws:eks:{where}:cluster/{CLUSTER}"
    yield cluster, ("eks:CreateCluster", "eks:DescribeCluster", "eks:UpdateClusterVersion", "eks:CreateNodegroup"), ours
    yield cluster, ("eks:CreateAddon", "eks:CreateAccessEntry", "eks:CreatePodIdentityAssociation"), ours
    yield f"arn:aws:ecr:{where}:repository/{REPOSITORY}", ("ecr:CreateRepository", "ecr:PutImage"), ours
    yield f"arn:aws:ec2:{where}:vpc/*", ("ec2:CreateVpc",), ours
    yield f"arn:aws:ec2:{where}:launch-template/*", ("ec2:CreateLaunchTemplate",), ours
    yield f"arn:aws:ssm:{where}:parameter{LOCK_PARAMETER}", ("ssm:PutParameter", "ssm:DeleteParameter"), ours
    yield f"arn:aws:secretsmanager:{where}:secret:{API_SECRET}-AbCdEf", ("secretsmanager:CreateSecret",), ours
    for role, service in ((CLUSTER_ROLE, "eks.amazonaws.com"), (NODE_ROLE, "eks.amazonaws.com")):
        passed = {"iam:PassedToService": service}
        yield f"arn:aws:iam::{context.account_id}:role/{role}", ("iam:PassRole",), passed


def _simulate(context: Context) -> tuple[bool, tuple[str, ...]]:
    """Answer whether IAM could be asked, and which actions it would deny the caller."""
    denied: list[str] = []
    try:
        source = _policy_source(context)
        for resource, actions, entries in _asked(context):
            answer = context.client("iam").simulate_principal_policy(
                PolicySourceArn=source,
                ActionNames=list(actions),
                ResourceArns=[resource],
                ContextEntries=[
                    {"ContextKeyName": key, "ContextKeyValues": [value], "ContextKeyType": "string"}
                    for key, value in entries.items()
                ],
            )
            denied += [
                result["EvalActionName"]
                for result in answer["EvaluationResults"]
                if result["EvalDecision"] != "allowed"
            ]
    except ClientError as error:
        if code_of(error) in DENIED | {"NoSuchEntity", "InvalidInput"}:
            return False, ()
        raise
    return True, tuple(denied)


def _policy_source(context: Context) -> str:
    """Answer whose policies count: a session's are those of its role, whose path only IAM knows."""
    arn = context.caller["Arn"]
    if ":assumed-role/" not in arn:
        return arn
    role: str = context.client("iam").get_role(RoleName=arn.split("/")[1])["Role"]["Arn"]
    return role


def _sizes(context: Context) -> tuple[tuple[InstanceSize, ...], tuple[str, ...]]:
    nodes = context.settings.nodes
    wanted = sorted({*nodes.instance_types, *nodes.database_instance_types})
    # A filter, not InstanceTypes: one unknown name would fail the whole call, and say less.
    found = context.catalogue(
        "ec2", "describe_instance_types", "InstanceTypes", Filters=[{"Name": "instance-type", "Values": wanted}]
    )
    sizes = tuple(_size(each) for each in found)
    return sizes, tuple(sorted(set(wanted) - {size.name for size in sizes}))


def _size(described: dict[str, Any]) -> InstanceSize:
    return InstanceSize(
        name=described["InstanceType"],
        vcpus=described["VCpuInfo"]["DefaultVCpus"],
        memory=described["MemoryInfo"]["SizeInMiB"],
        interfaces=described["NetworkInfo"]["MaximumNetworkInterfaces"],
        addresses=described["NetworkInfo"]["Ipv4AddressesPerInterface"],
        architecture="arm64" if "arm64" in described["ProcessorInfo"]["SupportedArchitectures"] else "x86_64",
    )


def _quotas(context: Context, sizes: tuple[InstanceSize, ...], *, built: bool) -> Iterator[Quota]:
    """Answer the limits that a first deployment meets; an account that is built has met them."""
    if built:
        return
    nodes = context.settings.nodes
    vcpus = max((size.vcpus for size in sizes), default=2)
    general = 2 * nodes.max_per_zone * vcpus
    on_demand = 2 * vcpus + (general if nodes.capacity == "ON_DEMAND" else 0)
    networks = context.pages("ec2", "describe_vpcs", "Vpcs")
    ours = any({"Key": TAG, "Value": TAG_VALUE} in each.get("Tags", []) for each in networks)
    asked = [
        ("vpc", "L-F678F1CE", "VPCs in this region", len(networks), 0 if ours else 1),
        ("ec2", "L-1216C47A", "vCPUs of running on-demand standard instances", _vcpus(context), on_demand),
    ]
    if nodes.capacity == "SPOT":
        asked.append(("ec2", "L-34B43A08", "vCPUs of spot standard instances", 0, general))
    if context.settings.network.private_nodes:
        held = context.client("ec2").describe_addresses()["Addresses"]
        # A run that was killed may have allocated them already.
        there = sum({"Key": TAG, "Value": TAG_VALUE} in each.get("Tags", []) for each in held)
        asked.append(("ec2", "L-0263D0A3", "elastic IP addresses", len(held), max(0, 2 - there)))
    for service, code, name, used, wanted in asked:
        limit = _limit(context, service, code)
        if limit is not None:
            yield Quota(name, code, limit, used, wanted)


def _vcpus(context: Context) -> int:
    running = [{"Name": "instance-state-name", "Values": ["pending", "running"]}]
    total = 0
    for reservation in context.pages("ec2", "describe_instances", "Reservations", Filters=running):
        for instance in reservation["Instances"]:
            options = instance.get("CpuOptions", {})
            if instance.get("InstanceLifecycle") != "spot":
                total += options.get("CoreCount", 1) * options.get("ThreadsPerCore", 2)
    return total


def _limit(context: Context, service: str, code: str) -> int | None:
    try:
        answer = context.client("service-quotas").get_service_quota(ServiceCode=service, QuotaCode=code)
    except ClientError as error:
        if code_of(error) in DENIED | {"NoSuchResourceException"}:
            return None
        raise
    return int(answer["Quota"]["Value"])
