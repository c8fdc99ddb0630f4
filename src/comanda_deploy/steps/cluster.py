"""Step 4: the EKS cluster: its version, who may use it, from where, and what it logs."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date
from functools import partial
from typing import Any

from botocore.exceptions import ClientError

from comanda_deploy.aws_errors import code_of
from comanda_deploy.context import Context
from comanda_deploy.names import CLUSTER, CLUSTER_ROLE, LOG_GROUP, OPERATOR_USER, TAG, TAG_VALUE, VPC, tags
from comanda_deploy.pod_identity import role_arn
from comanda_deploy.settings import Settings
from comanda_deploy.step import Change, Kind, Step
from comanda_deploy.steps.network import WORLD, known_vpcs
from comanda_deploy.versions import kubernetes_ends

ADMIN_POLICY = "arn:aws:eks::aws:cluster-access-policy/AmazonEKSClusterAdminPolicy"
WHAT = f"EKS cluster {CLUSTER}"
CREATION, UPDATE, UPGRADE, DELETION = 600, 120, 600, 300
"""How many seconds EKS usually takes for each."""


@dataclass(frozen=True)
class ClusterFacts:
    """The cluster as it is, and what it rests on.

    Args:
        status: EKS' own word; "" if there is no cluster.
        vpc: the cluster's. own_vpc: the one that carries our name and tag, "" if none does.
        entries: who has access, with the policies associated: ARN to policy ARNs.
        wanted_admins: the operator's user, and those of the settings.
        caller: the user or role that runs this; "" where that has no ARN of its own.
        node_versions: the minor of each node group. addons_behind: the add-ons that do not fit the cluster's minor yet,
            or are not well.
        next_unfit: add-ons of which EKS has no version for the next minor.
        insights: what EKS finds in the way of the next minor.
        ends: the end of standard support of each minor on offer. today: the day of the plan.
    """

    status: str = ""
    version: str = ""
    role: str | None = None
    subnets: Mapping[str, str] = field(default_factory=dict)
    vpc: str = ""
    own_vpc: str = ""
    cidrs: tuple[str, ...] = ()
    public: bool = True
    private: bool = True
    logs: tuple[str, ...] = ()
    support: str = "STANDARD"
    protected: bool = True
    mode: str = "API"
    tagged: bool = True
    arn: str = ""
    issues: tuple[str, ...] = ()
    entries: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    wanted_admins: tuple[str, ...] = ()
    caller: str = ""
    node_versions: Mapping[str, str] = field(default_factory=dict)
    addons_behind: tuple[str, ...] = ()
    next_unfit: tuple[str, ...] = ()
    insights: tuple[str, ...] = ()
    ends: Mapping[str, date] = field(default_factory=dict)
    today: date = date.min
    log_group: bool = False
    log_days: int | None = None


class Cluster(Step[ClusterFacts]):
    """A control plane in the public subnets, that can be reached from the operator's addresses alone."""

    name = "cluster"
    about = "the EKS cluster: version, access, endpoint, logs"

    def observe(self, context: Context) -> ClusterFacts:
        """Read the cluster, its log group, and what it rests on."""
        ends, _ = kubernetes_ends(context)
        vpc, subnets = _public_subnets(context)
        there, days = _log_group(context)
        base: dict[str, Any] = {
            "role": role_arn(context, CLUSTER_ROLE),
            "subnets": subnets,
            "own_vpc": vpc,
            "ends": ends,
            "today": context.clock().date(),
            "wanted_admins": _admins(context),
            "caller": _caller(context),
            "log_group": there,
            "log_days": days,
        }
        try:
            found = context.client("eks").describe_cluster(name=CLUSTER)["cluster"]
        except ClientError as error:
            if code_of(error) == "ResourceNotFoundException":
                return ClusterFacts(**base)
            raise
        network = found["resourcesVpcConfig"]
        enabled = [each["types"] for each in found["logging"]["clusterLogging"] if each["enabled"]]
        facts = ClusterFacts(
            **base,
            status=found["status"],
            version=found["version"],
            vpc=network["vpcId"],
            cidrs=tuple(sorted(network.get("publicAccessCidrs", []))),
            public=network["endpointPublicAccess"],
            private=network["endpointPrivateAccess"],
            logs=tuple(sorted(kind for kinds in enabled for kind in kinds)),
            support=found.get("upgradePolicy", {}).get("supportType", "EXTENDED"),
            protected=found.get("deletionProtection", False),
            mode=found.get("accessConfig", {}).get("authenticationMode", "CONFIG_MAP"),
            tagged=found.get("tags", {}).get(TAG) == TAG_VALUE,
            arn=found["arn"],
            issues=tuple(f"{each['code']}: {each['message']}" for each in found.get("health", {}).get("issues", [])),
            **_of_active(context, found),
        )
        return facts

    def decide(self, settings: Settings, facts: ClusterFacts) -> list[Change]:
        """Make it, mend it, or bring it up one minor."""
        refused = list(_refused(settings, facts))
        if refused:
            return refused
        changes = [*_log_changes(settings, facts)]
        if not facts.status:
            changes.append(
                Change(
                    Kind.CREATE,
                    WHAT,
                    f"Kubernetes {settings.cluster.kubernetes_version}",
                    expected_seconds=CREATION,
                    do=partial(_create, facts=facts),
                )
            )
        elif facts.status == "CREATING":
            changes.append(Change(Kind.WAIT, WHAT, "is being made", expected_seconds=CREATION))
        elif facts.status in {"UPDATING", "PENDING"}:
            changes.append(Change(Kind.WAIT, WHAT, "is being changed", expected_seconds=UPDATE))
        elif facts.status == "DELETING":
            changes.append(Change(Kind.WAIT, WHAT, "is being deleted", expected_seconds=DELETION))
        else:
            changes += _mended(settings, facts)
        changes += _access(facts)
        changes += _upgrade(settings, facts)
        changes += _notes(settings, facts)
        return changes

    def decide_removal(self, settings: Settings, facts: ClusterFacts) -> list[Change]:
        """Delete it, its protection taken off first; its log group last, since it logs until its end."""
        changes = []
        if facts.status == "DELETING":
            changes.append(Change(Kind.WAIT, WHAT, "is being deleted", expected_seconds=DELETION))
        elif facts.status in {"CREATING", "UPDATING"}:
            changes.append(Change(Kind.WAIT, WHAT, f"is {facts.status.lower()}", expected_seconds=CREATION))
        elif facts.status:
            if facts.protected:
                off = partial(_update, deletionProtection=False)
                changes.append(Change(Kind.CHANGE, WHAT, "deletion protection off", expected_seconds=UPDATE, do=off))
            changes.append(Change(Kind.DELETE, WHAT, expected_seconds=DELETION, do=_delete))
        if facts.log_group:
            if "logs" in settings.destroy.keep:
                changes.append(Change(Kind.NOTE, f"log group {LOG_GROUP}", "kept"))
            else:
                changes.append(Change(Kind.DELETE, f"log group {LOG_GROUP}", do=_delete_log_group))
        return changes


def _refused(settings: Settings, facts: ClusterFacts) -> Iterator[Change]:
    wanted = settings.cluster.kubernetes_version
    mend: tuple[str, ...] = ("have an administrator run comanda-deploy bootstrap",)
    if facts.role is None:
        yield Change(Kind.REFUSED, WHAT, f"there is no role {CLUSTER_ROLE}", mend=mend)
    if not settings.cluster.endpoint_cidrs:
        mend = ("put your own address into cluster.endpoint_cidrs of infra/settings.toml, as 203.0.113.7/32",)
        yield Change(Kind.REFUSED, WHAT, "nobody could reach its API: cluster.endpoint_cidrs is empty", mend=mend)
    if facts.ends and wanted not in facts.ends:
        mend = (f"set cluster.kubernetes_version to one of {', '.join(sorted(facts.ends))}",)
        yield Change(Kind.REFUSED, WHAT, f"EKS has no Kubernetes {wanted}", mend=mend)
    elif not facts.status and wanted in facts.ends and facts.ends[wanted] <= facts.today:
        mend = (f"set cluster.kubernetes_version to {max(facts.ends, key=minor_of)}",)
        yield Change(Kind.REFUSED, WHAT, f"Kubernetes {wanted} ended on {facts.ends[wanted]}", mend=mend)
    if facts.status and not facts.own_vpc:
        # Else step network would make a second VPC beside the one in which the cluster stands.
        mend = (f"put the tags Name={VPC} and {TAG}={TAG_VALUE} back on {facts.vpc} in the VPC console",)
        yield Change(Kind.REFUSED, WHAT, f"its VPC {facts.vpc} does not carry our name and tag", mend=mend)
    elif facts.status and facts.vpc != facts.own_vpc:
        by_hand = ("comanda-deploy destroy --keep volumes,snapshots,images,secrets", "then comanda-deploy apply")
        yield Change(Kind.REFUSED, WHAT, f"stands in another VPC, {facts.vpc}: it cannot be moved", mend=by_hand)
    if facts.status == "FAILED":
        why = "; ".join(facts.issues) or "EKS does not say why"
        mend = ("aws eks delete-cluster --name comanda, wait until it is gone", "then comanda-deploy apply")
        yield Change(Kind.REFUSED, WHAT, f"could not be made: {why}", mend=mend)
    if facts.version and minor_of(wanted) < minor_of(facts.version):
        mend = (f"set cluster.kubernetes_version to {facts.version}",)
        yield Change(Kind.REFUSED, WHAT, f"is at {facts.version}: Kubernetes cannot go back to {wanted}", mend=mend)
    if facts.caller and facts.caller not in facts.wanted_admins:
        # Not added silently: the next operator's apply would take it away again.
        mend = (f'put "{facts.caller}" into cluster.admins of infra/settings.toml, or sign in as {OPERATOR_USER}',)
        yield Change(Kind.REFUSED, f"access of {facts.caller}", "is none of the cluster's administrators", mend=mend)
    yield from _refused_upgrade(settings, facts)


def _refused_upgrade(settings: Settings, facts: ClusterFacts) -> Iterator[Change]:
    if not facts.version or minor_of(settings.cluster.kubernetes_version) <= minor_of(facts.version):
        return
    following = f"1.{minor_of(facts.version) + 1}"
    back = f"until then set cluster.kubernetes_version back to {facts.version}"
    if facts.next_unfit:
        detail = f"{', '.join(facts.next_unfit)} has no version for {following}"
        mend = ("wait until AWS has one", back)
        yield Change(Kind.REFUSED, f"Kubernetes {following}", detail, mend=mend)
    if facts.insights:
        mend = ("see the cluster's upgrade insights in the EKS console, mend what uses the old API", back)
        yield Change(Kind.REFUSED, f"Kubernetes {following}", "; ".join(facts.insights), mend=mend)


def _log_changes(settings: Settings, facts: ClusterFacts) -> Iterator[Change]:
    # Made before the cluster: EKS' own would keep its lines for ever, and carry no tag.
    what, days = f"log group {LOG_GROUP}", settings.cluster.log_days
    if not facts.log_group:
        yield Change(Kind.CREATE, what, do=_create_log_group)
    if facts.log_days != days:
        yield Change(Kind.CHANGE, what, f"kept for {days} days", do=partial(_keep_logs, days=days))


def _mended(settings: Settings, facts: ClusterFacts) -> Iterator[Change]:
    """EKS takes one kind of change at a time."""
    wanted = settings.cluster
    cidrs = tuple(sorted(wanted.endpoint_cidrs))
    if (facts.cidrs, facts.public, facts.private) != (cidrs, True, True):
        network = {"endpointPublicAccess": True, "endpointPrivateAccess": True, "publicAccessCidrs": list(cidrs)}
        detail = f"API reachable from {', '.join(cidrs)} and from within"
        yield _changed(detail, resourcesVpcConfig=network)
    if facts.logs != tuple(sorted(wanted.logs)):
        off = sorted(set(LOG_KINDS) - set(wanted.logs))
        logging = [{"types": sorted(wanted.logs), "enabled": True}, {"types": off, "enabled": False}]
        detail = f"logs {', '.join(wanted.logs) or 'nothing'}"
        yield _changed(detail, logging={"clusterLogging": [each for each in logging if each["types"]]})
    if facts.support != "STANDARD":
        yield _changed("standard support, the extended one is paid", upgradePolicy={"supportType": "STANDARD"})
    if facts.mode == "CONFIG_MAP":
        yield _changed("access entries", accessConfig={"authenticationMode": "API_AND_CONFIG_MAP"})
    elif facts.mode != "API":
        yield _changed("access entries alone", accessConfig={"authenticationMode": "API"})
    if facts.protected != wanted.deletion_protection:
        detail = f"deletion protection {'on' if wanted.deletion_protection else 'off'}"
        yield _changed(detail, deletionProtection=wanted.deletion_protection)
    if not facts.tagged:
        yield Change(Kind.CHANGE, WHAT, f"tag {TAG}", do=partial(_tag, arn=facts.arn))


LOG_KINDS = ("api", "audit", "authenticator", "controllerManager", "scheduler")


def _changed(detail: str, **change: Any) -> Change:
    return Change(Kind.CHANGE, WHAT, detail, expected_seconds=UPDATE, do=partial(_update, **change))


def _access(facts: ClusterFacts) -> Iterator[Change]:
    for arn in facts.wanted_admins:
        if arn not in facts.entries:
            yield Change(Kind.CREATE, f"access of {arn}", "administrator", do=partial(_create_entry, arn=arn))
        if ADMIN_POLICY not in facts.entries.get(arn, ()):
            yield Change(Kind.CHANGE, f"access of {arn}", "its policy", do=partial(_associate, arn=arn))
    for arn in facts.entries:
        if arn not in facts.wanted_admins and ADMIN_POLICY in facts.entries[arn]:
            detail = "an administrator that cluster.admins does not name"
            yield Change(Kind.DELETE, f"access of {arn}", detail, do=partial(_delete_entry, arn=arn))


def _upgrade(settings: Settings, facts: ClusterFacts) -> Iterator[Change]:
    """One minor at a time: control plane, then add-ons, then nodes; only then the next."""
    if facts.status not in {"ACTIVE", "UPDATING"}:
        return
    now, wanted = minor_of(facts.version), minor_of(settings.cluster.kubernetes_version)
    behind = [name for name, version in facts.node_versions.items() if minor_of(version) < now]
    waits = [*facts.addons_behind, *behind]
    for minor in range(now + 1, wanted + 1):
        detail = f"1.{minor - 1} to 1.{minor}"
        if minor == now + 1 and not waits and facts.status == "ACTIVE":
            version = f"1.{minor}"
            do = partial(_upgrade_to, version=version)
            yield Change(Kind.CHANGE, f"{WHAT}, Kubernetes", detail, expected_seconds=UPGRADE, do=do)
        else:
            after = ", ".join(waits) if minor == now + 1 and waits else f"add-ons and nodes are at 1.{minor - 1}"
            yield Change(Kind.LATER, f"{WHAT}, Kubernetes", f"{detail}, after {after}", expected_seconds=UPGRADE)


def _notes(settings: Settings, facts: ClusterFacts) -> Iterator[Change]:
    if WORLD in settings.cluster.endpoint_cidrs:
        yield Change(Kind.NOTE, WHAT, "its API can be reached from the whole internet: see cluster.endpoint_cidrs")
    for issue in facts.issues:
        yield Change(Kind.NOTE, WHAT, issue)


def minor_of(version: str) -> int:
    """Answer the minor of a version, as a number: 36 of "1.36"."""
    return int(version.split(".")[1])


# What is read.


def _public_subnets(context: Context) -> tuple[str, dict[str, str]]:
    """Answer our VPC and its public subnets with their zones."""
    ours = {"Name": f"tag:{TAG}", "Values": [TAG_VALUE]}
    vpcs = known_vpcs(context)
    if not vpcs:
        return "", {}
    filters = [
        ours,
        {"Name": "vpc-id", "Values": [vpcs[0]["VpcId"]]},
        {"Name": "tag:Name", "Values": [f"{VPC}-public-a", f"{VPC}-public-b"]},
    ]
    found = context.pages("ec2", "describe_subnets", "Subnets", Filters=filters)
    return vpcs[0]["VpcId"], {each["SubnetId"]: each["AvailabilityZone"] for each in found}


def _log_group(context: Context) -> tuple[bool, int | None]:
    for each in context.pages("logs", "describe_log_groups", "logGroups", logGroupNamePrefix=LOG_GROUP):
        if each["logGroupName"] == LOG_GROUP:
            return True, each.get("retentionInDays")
    return False, None


def _admins(context: Context) -> tuple[str, ...]:
    partition, account = context.caller["Arn"].split(":")[1], context.account_id
    operator = f"arn:{partition}:iam::{account}:user/{OPERATOR_USER}"
    return tuple(dict.fromkeys([operator, *context.settings.cluster.admins]))


def _caller(context: Context) -> str:
    """Answer who runs this: of a session, whose ARN is another each time, its role."""
    arn = context.caller["Arn"]
    if ":assumed-role/" in arn:
        return role_arn(context, arn.split("/")[1]) or ""
    return arn if ":iam:" in arn and ":user/" in arn else ""


def _of_active(context: Context, found: dict[str, Any]) -> dict[str, Any]:
    """Answer what only a living cluster has."""
    if found["status"] not in {"ACTIVE", "UPDATING"}:
        return {}
    eks = context.client("eks")
    entries = {}
    # Of a cluster that knows no access entries EKS refuses to be asked for them: that is mended first.
    knows_entries = found.get("accessConfig", {}).get("authenticationMode", "CONFIG_MAP") != "CONFIG_MAP"
    listed = context.pages("eks", "list_access_entries", "accessEntries", clusterName=CLUSTER) if knows_entries else []
    for arn in listed:
        entry = eks.describe_access_entry(clusterName=CLUSTER, principalArn=arn)["accessEntry"]
        if entry["type"] == "STANDARD":
            policies = eks.list_associated_access_policies(clusterName=CLUSTER, principalArn=arn)
            entries[arn] = tuple(each["policyArn"] for each in policies["associatedAccessPolicies"])
    groups = {}
    for name in context.pages("eks", "list_nodegroups", "nodegroups", clusterName=CLUSTER):
        groups[name] = eks.describe_nodegroup(clusterName=CLUSTER, nodegroupName=name)["nodegroup"]["version"]
    more: dict[str, Any] = {"entries": entries, "node_versions": groups}
    if context.settings.cluster.kubernetes_version != found["version"]:
        more.update(_of_upgrade(context, found["version"]))
    return more


def _of_upgrade(context: Context, version: str) -> dict[str, Any]:
    """Answer what is in the way of the next minor, and what is not yet at this one."""
    following = f"1.{minor_of(version) + 1}"
    behind, unfit = [], []
    for name in context.pages("eks", "list_addons", "addons", clusterName=CLUSTER):
        addon = context.client("eks").describe_addon(clusterName=CLUSTER, addonName=name)["addon"]
        # There is no way back: what is not well now is mended before.
        if addon["addonVersion"] not in offered(context, name, version) or addon["status"] != "ACTIVE":
            behind.append(name)
        if not offered(context, name, following):
            unfit.append(name)
    insights = [
        f"{each['name']}: {each['insightStatus'].get('reason', '')}"
        for each in context.pages(
            "eks",
            "list_insights",
            "insights",
            clusterName=CLUSTER,
            filter={"categories": ["UPGRADE_READINESS"], "statuses": ["ERROR"]},
        )
        if each["insightStatus"]["status"] == "ERROR"
    ]
    return {"addons_behind": tuple(behind), "next_unfit": tuple(unfit), "insights": tuple(insights)}


def offered(context: Context, addon: str, minor: str) -> list[str]:
    """Answer the versions of an add-on that EKS has for a minor of Kubernetes, its default first."""
    found = context.catalogue("eks", "describe_addon_versions", "addons", addonName=addon, kubernetesVersion=minor)
    versions = [each for one in found for each in one["addonVersions"]]
    versions.sort(key=lambda each: not any(fits.get("defaultVersion") for fits in each["compatibilities"]))
    return [each["addonVersion"] for each in versions]


# What is done.


def _create(context: Context, facts: ClusterFacts) -> None:
    wanted = context.settings.cluster
    context.client("eks").create_cluster(
        name=CLUSTER,
        version=wanted.kubernetes_version,
        roleArn=facts.role,
        resourcesVpcConfig={
            "subnetIds": sorted(facts.subnets),
            "endpointPublicAccess": True,
            "endpointPrivateAccess": True,
            "publicAccessCidrs": sorted(wanted.endpoint_cidrs),
        },
        logging={"clusterLogging": [{"types": sorted(wanted.logs), "enabled": True}]} if wanted.logs else {},
        accessConfig={"authenticationMode": "API", "bootstrapClusterCreatorAdminPermissions": False},
        upgradePolicy={"supportType": "STANDARD"},
        # Protected once it stands: one that could not be made must be easy to delete.
        deletionProtection=False,
        tags=tags(),
    )


def _update(context: Context, **change: Any) -> None:
    context.client("eks").update_cluster_config(name=CLUSTER, **change)


def _upgrade_to(context: Context, version: str) -> None:
    context.client("eks").update_cluster_version(name=CLUSTER, version=version)


def _delete(context: Context) -> None:
    context.client("eks").delete_cluster(name=CLUSTER)


def _tag(context: Context, arn: str) -> None:
    context.client("eks").tag_resource(resourceArn=arn, tags=tags())


def _create_entry(context: Context, arn: str) -> None:
    context.client("eks").create_access_entry(clusterName=CLUSTER, principalArn=arn, tags=tags())


def _associate(context: Context, arn: str) -> None:
    context.client("eks").associate_access_policy(
        clusterName=CLUSTER, principalArn=arn, policyArn=ADMIN_POLICY, accessScope={"type": "cluster"}
    )


def _delete_entry(context: Context, arn: str) -> None:
    context.client("eks").delete_access_entry(clusterName=CLUSTER, principalArn=arn)


def _create_log_group(context: Context) -> None:
    context.client("logs").create_log_group(logGroupName=LOG_GROUP, tags=tags())


def _keep_logs(context: Context, days: int) -> None:
    context.client("logs").put_retention_policy(logGroupName=LOG_GROUP, retentionInDays=days)


def _delete_log_group(context: Context) -> None:
    context.client("logs").delete_log_group(logGroupName=LOG_GROUP)
