"""Step 5: the nodes: one group for the database, one in each zone for the rest."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from operator import itemgetter
from typing import Any

from botocore.exceptions import ClientError

from comanda_deploy.aws_errors import code_of
from comanda_deploy.context import Context
from comanda_deploy.names import (
    CLUSTER,
    DATABASE_GROUP,
    GENERAL_GROUP,
    LAUNCH_TEMPLATE,
    NODE_GROUP_LABEL,
    NODE_ROLE,
    TAG,
    TAG_VALUE,
    VPC,
    tag_list,
    tag_specification,
    tags,
)
from comanda_deploy.pod_identity import role_arn
from comanda_deploy.settings import Settings
from comanda_deploy.step import Change, Kind, Step

CREATION, UPDATE, ROLLING, DELETION = 180, 60, 900, 300
TAGGED_WITH_A_NODE = ("instance", "volume", "network-interface")
REPAIR = {"enabled": True}
"""EKS replaces a node whose kubelet has been silent for 30 minutes (EKS User Guide, "Automatically repair nodes"). What
ran there is known to be gone only with its instance: until then the database's pod, and its disk, go nowhere.
"""
AMI = {"x86_64": "AL2023_x86_64_STANDARD", "arm64": "AL2023_ARM_64_STANDARD"}


@dataclass(frozen=True)
class Group:
    """A node group as it should be.

    Args:
        letter: of its zone. An EBS volume binds what uses it to one zone, so no group spans two.
        role: `database` or `general`, the value of its label.
    """

    name: str
    letter: str
    role: str
    types: tuple[str, ...]
    capacity: str
    minimum: int
    maximum: int


def groups(settings: Settings) -> list[Group]:
    """Answer the groups that the settings ask for.

    The database's has one node, always on demand, and room for a second while the first is replaced.
    """
    nodes = settings.nodes
    database = Group(DATABASE_GROUP, "a", "database", nodes.database_instance_types, "ON_DEMAND", 1, 2)
    general = [
        Group(
            f"{GENERAL_GROUP}-{letter}",
            letter,
            "general",
            nodes.instance_types,
            nodes.capacity,
            nodes.min_per_zone,
            nodes.max_per_zone,
        )
        for letter in "ab"
    ]
    return [database, *general]


@dataclass(frozen=True)
class Standing:
    """A node group as it is."""

    status: str
    version: str
    subnets: tuple[str, ...]
    types: tuple[str, ...]
    capacity: str
    ami: str
    minimum: int
    maximum: int
    desired: int
    labels: Mapping[str, str] = field(default_factory=dict)
    template_version: str = ""
    tagged: bool = True
    arn: str = ""
    issues: tuple[str, ...] = ()
    repaired: bool = True


@dataclass(frozen=True)
class NodesFacts:
    """The groups as they are, and what they rest on.

    Args:
        cluster: the control plane's minor; "" if there is none that is ready.
        subnets: the ids by our names.
        template: the launch template's data as canonical JSON, "" if there is none; template_version: its default one.
        architectures: of the instance types in the settings.
        addons_behind: add-ons that do not fit the control plane yet: nodes are brought up after them.
    """

    cluster: str = ""
    role: str | None = None
    subnets: Mapping[str, str] = field(default_factory=dict)
    template: str = ""
    template_version: str = ""
    architectures: tuple[str, ...] = ("x86_64",)
    groups: Mapping[str, Standing] = field(default_factory=dict)
    addons_behind: tuple[str, ...] = ()


class Nodes(Step[NodesFacts]):
    """Amazon Linux 2023, IMDSv2 with one hop, encrypted disks, no SSH."""

    name = "nodes"
    about = "node groups: one for the database, one in each zone for the rest"
    side_by_side = True

    def observe(self, context: Context) -> NodesFacts:
        """Read the groups, the launch template and what they rest on."""
        template, version = _template(context)
        cluster = _cluster_version(context)
        return NodesFacts(
            cluster=cluster,
            role=role_arn(context, NODE_ROLE),
            subnets=_subnets(context),
            template=template,
            template_version=version,
            architectures=_architectures(context),
            groups=_groups(context) if cluster else {},
            addons_behind=_addons_behind(context, cluster) if cluster else (),
        )

    def decide(self, settings: Settings, facts: NodesFacts) -> list[Change]:
        """Make what is missing, mend what differs, refuse what would be another group.

        Of those that must be made anew by hand one goes at a time: the rest is refused once that one stands again.
        """
        refused = [*_refused(settings, facts)]
        if refused:
            return refused
        wanted = groups(settings)
        anew = {group.name: [*_anew(settings, facts, group)] for group in wanted}
        if any(anew.values()) and all(_stands(facts.groups.get(group.name)) for group in wanted):
            return [change for changes in anew.values() for change in changes]
        changes = [*_template_changes(settings, facts)]
        for group in wanted:
            standing = facts.groups.get(group.name)
            if anew[group.name]:
                changes += [_in_turn(each) for each in anew[group.name]]
            else:
                changes += _missing(group) if standing is None else _mended(group, standing, facts)
        # All are begun before the first is waited for: minutes, side by side.
        return sorted(changes, key=lambda change: change.kind is Kind.WAIT)

    def decide_removal(self, settings: Settings, facts: NodesFacts) -> list[Change]:  # noqa: ARG002 - none is kept
        """Delete all groups of the cluster, ours or not: it cannot go before them. Then the launch template."""
        begin: list[Change] = []
        waits: list[Change] = []
        for name, standing in sorted(facts.groups.items()):
            if standing.status == "DELETING":
                waits.append(Change(Kind.WAIT, f"node group {name}", "is being deleted", expected_seconds=DELETION))
            else:
                do = partial(_delete, name=name)
                begin.append(Change(Kind.DELETE, f"node group {name}", expected_seconds=DELETION, do=do))
        changes = begin + waits
        if facts.template:
            changes.append(Change(Kind.DELETE, f"launch template {LAUNCH_TEMPLATE}", do=_delete_template))
        return changes


def template_data(settings: Settings) -> dict[str, Any]:
    """Answer the launch template: what a node is, but for its type and image, which EKS chooses.

    IMDSv2 with one hop keeps the node's role from the pods (EKS best practices, security).
    """
    return {
        "MetadataOptions": {"HttpTokens": "required", "HttpPutResponseHopLimit": 1, "HttpEndpoint": "enabled"},
        "BlockDeviceMappings": [
            {
                "DeviceName": "/dev/xvda",
                "Ebs": {
                    "VolumeSize": settings.nodes.disk_gib,
                    "VolumeType": "gp3",
                    "Encrypted": True,
                    "DeleteOnTermination": True,
                },
            }
        ],
        "TagSpecifications": [
            {"ResourceType": kind, "Tags": tag_list(Name=LAUNCH_TEMPLATE)} for kind in TAGGED_WITH_A_NODE
        ],
    }


def _refused(settings: Settings, facts: NodesFacts) -> Iterator[Change]:
    if facts.role is None:
        mend = ("have an administrator run comanda-deploy bootstrap",)
        yield Change(Kind.REFUSED, "node groups", f"there is no role {NODE_ROLE}", mend=mend)
    if len(facts.architectures) > 1:
        mend = ("name types of one architecture in nodes of infra/settings.toml",)
        yield Change(Kind.REFUSED, "node groups", f"types of {' and '.join(facts.architectures)} at once", mend=mend)
    for group in groups(settings):
        standing = facts.groups.get(group.name)
        if standing and standing.status in {"CREATE_FAILED", "DELETE_FAILED"}:
            done = "made" if standing.status == "CREATE_FAILED" else "deleted"
            why = "; ".join(standing.issues) or "EKS does not say why"
            yield Change(Kind.REFUSED, f"node group {group.name}", f"could not be {done}: {why}", mend=_by_hand(group))


def _anew(settings: Settings, facts: NodesFacts, group: Group) -> Iterator[Change]:
    """Answer what of a group that stands is otherwise, and cannot be changed."""
    standing = facts.groups.get(group.name)
    if standing is None or not _stands(standing):
        return
    # Without their way out, or their public addresses, nodes in another subnet would never join.
    way_out = ("comanda-deploy step network",)
    for name, is_now, wanted, before in (
        ("instance types", standing.types, group.types, ()),
        ("capacity", standing.capacity, group.capacity, ()),
        ("image", standing.ami, _ami(facts), ()),
        ("subnet", standing.subnets, (_subnet(settings, facts, group),), way_out),
    ):
        if is_now != wanted:
            detail = f"{name} cannot be changed: {_shown(is_now)}, the settings say {_shown(wanted)}"
            yield Change(Kind.REFUSED, f"node group {group.name}", detail, mend=(*before, *_by_hand(group)))


def _in_turn(refused: Change) -> Change:
    return replace(refused, kind=Kind.LATER, detail=f"{refused.detail}: once the others stand", mend=())


def _stands(standing: Standing | None) -> bool:
    return standing is not None and standing.status not in {"CREATING", "DELETING"}


def _by_hand(group: Group) -> tuple[str, ...]:
    away = "the database is away until then" if group.role == "database" else "what ran there moves to the other zone"
    return (
        f"aws eks delete-nodegroup --cluster-name {CLUSTER} --nodegroup-name {group.name}",
        f"then comanda-deploy step nodes: it waits and makes it anew; {away}",
    )


def _shown(value: object) -> str:
    return ", ".join(value) if isinstance(value, tuple) else str(value)


def _template_changes(settings: Settings, facts: NodesFacts) -> Iterator[Change]:
    what = f"launch template {LAUNCH_TEMPLATE}"
    if not facts.template:
        yield Change(Kind.CREATE, what, "IMDSv2, one hop, encrypted disk, no SSH", do=_create_template)
    elif facts.template != _canonical(template_data(settings)):
        yield Change(Kind.CHANGE, what, "a new version", do=partial(_renew_template))


def _missing(group: Group) -> Iterator[Change]:
    detail = f"{group.minimum} to {group.maximum} of {', '.join(group.types)}, {group.capacity}, zone {group.letter}"
    yield Change(
        Kind.CREATE, f"node group {group.name}", detail, expected_seconds=CREATION, do=partial(_create, group=group)
    )


def _mended(group: Group, standing: Standing, facts: NodesFacts) -> Iterator[Change]:
    what = f"node group {group.name}"
    if standing.status in {"CREATING", "UPDATING", "DELETING"}:
        usual = {"CREATING": CREATION, "UPDATING": ROLLING, "DELETING": DELETION}[standing.status]
        yield Change(Kind.WAIT, what, f"is {standing.status.lower()}", expected_seconds=usual)
        return
    if (standing.minimum, standing.maximum) != (group.minimum, group.maximum):
        # The autoscaler owns how many there are just now: it is moved only where it would lie outside.
        desired = min(max(standing.desired, group.minimum), group.maximum)
        scaling = {"minSize": group.minimum, "maxSize": group.maximum, "desiredSize": desired}
        do = partial(_configure, name=group.name, scalingConfig=scaling)
        detail = f"{group.minimum} to {group.maximum} nodes"
        yield Change(Kind.CHANGE, what, detail, expected_seconds=UPDATE, do=do)
    if standing.labels.get(NODE_GROUP_LABEL) != group.role:
        labels = {"addOrUpdateLabels": {NODE_GROUP_LABEL: group.role}}
        detail = f"label {NODE_GROUP_LABEL}={group.role}"
        do = partial(_configure, name=group.name, labels=labels)
        yield Change(Kind.CHANGE, what, detail, expected_seconds=UPDATE, do=do)
    if not standing.repaired:
        do = partial(_configure, name=group.name, nodeRepairConfig=REPAIR)
        yield Change(Kind.CHANGE, what, "silent nodes are replaced", expected_seconds=UPDATE, do=do)
    if not standing.tagged:
        yield Change(Kind.CHANGE, what, f"tag {TAG}", do=partial(_tag, arn=standing.arn))
    if standing.version != facts.cluster:
        detail = f"Kubernetes {standing.version} to {facts.cluster}, one node after another"
        if facts.addons_behind:
            after = f"{detail}, after {', '.join(facts.addons_behind)}"
            yield Change(Kind.LATER, what, after, expected_seconds=ROLLING)
        else:
            do = partial(_upgrade, name=group.name, version=facts.cluster)
            yield Change(Kind.CHANGE, what, detail, expected_seconds=ROLLING, do=do)
    elif standing.template_version != facts.template_version:
        do = partial(_upgrade, name=group.name, version=facts.cluster)
        detail = f"launch template version {facts.template_version}, one node after another"
        yield Change(Kind.CHANGE, what, detail, expected_seconds=ROLLING, do=do)
    for issue in standing.issues:
        yield Change(Kind.NOTE, what, issue)


def _ami(facts: NodesFacts) -> str:
    return AMI[facts.architectures[0]] if facts.architectures else AMI["x86_64"]


def _subnet(settings: Settings, facts: NodesFacts, group: Group) -> str:
    kind = "private" if settings.network.private_nodes else "public"
    return facts.subnets.get(f"{VPC}-{kind}-{group.letter}", "")


# What is read.


def _cluster_version(context: Context) -> str:
    try:
        found = context.client("eks").describe_cluster(name=CLUSTER)["cluster"]
    except ClientError as error:
        if code_of(error) == "ResourceNotFoundException":
            return ""
        raise
    version: str = found["version"]
    return version


def _subnets(context: Context) -> dict[str, str]:
    filters = [{"Name": f"tag:{TAG}", "Values": [TAG_VALUE]}]
    found = context.pages("ec2", "describe_subnets", "Subnets", Filters=filters)
    return {tag["Value"]: each["SubnetId"] for each in found for tag in each["Tags"] if tag["Key"] == "Name"}


def _template(context: Context) -> tuple[str, str]:
    try:
        found = context.client("ec2").describe_launch_template_versions(
            LaunchTemplateName=LAUNCH_TEMPLATE, Versions=["$Default"]
        )["LaunchTemplateVersions"]
    except ClientError as error:
        if code_of(error).startswith("InvalidLaunchTemplateName.NotFound"):
            return "", ""
        raise
    if not found:
        return "", ""
    return _canonical(_as_asked(found[0]["LaunchTemplateData"])), str(found[0]["VersionNumber"])


def _as_asked(data: dict[str, Any]) -> dict[str, Any]:
    """Answer of a template what we ask for: AWS adds defaults of its own, now these and now those."""
    options = data.get("MetadataOptions", {})
    wanted = ("HttpTokens", "HttpPutResponseHopLimit", "HttpEndpoint")
    asked = {key: value for key, value in data.items() if value not in (None, [], {})}
    asked["MetadataOptions"] = {key: options.get(key) for key in wanted}
    asked["TagSpecifications"] = [
        each for each in data.get("TagSpecifications", []) if each["ResourceType"] in TAGGED_WITH_A_NODE
    ]
    return asked


def _canonical(data: dict[str, Any]) -> str:
    """Answer a template so that the same is the same text: in which order AWS gives tags back is its own affair."""
    tags = [{**each, "Tags": sorted(each["Tags"], key=itemgetter("Key"))} for each in data["TagSpecifications"]]
    return json.dumps({**data, "TagSpecifications": sorted(tags, key=itemgetter("ResourceType"))}, sort_keys=True)


def _architectures(context: Context) -> tuple[str, ...]:
    nodes = context.settings.nodes
    wanted = sorted({*nodes.instance_types, *nodes.database_instance_types})
    found = context.catalogue(
        "ec2", "describe_instance_types", "InstanceTypes", Filters=[{"Name": "instance-type", "Values": wanted}]
    )
    kinds = {kind for each in found for kind in each["ProcessorInfo"]["SupportedArchitectures"] if kind in AMI}
    return tuple(sorted(kinds))


def _groups(context: Context) -> dict[str, Standing]:
    found = {}
    for name in context.pages("eks", "list_nodegroups", "nodegroups", clusterName=CLUSTER):
        each = context.client("eks").describe_nodegroup(clusterName=CLUSTER, nodegroupName=name)["nodegroup"]
        scaling = each["scalingConfig"]
        found[name] = Standing(
            status=each["status"],
            version=each["version"],
            subnets=tuple(sorted(each["subnets"])),
            types=tuple(each["instanceTypes"]),
            capacity=each["capacityType"],
            ami=each["amiType"],
            minimum=scaling["minSize"],
            maximum=scaling["maxSize"],
            desired=scaling["desiredSize"],
            labels=each.get("labels") or {},
            template_version=each.get("launchTemplate", {}).get("version", ""),
            tagged=each.get("tags", {}).get(TAG) == TAG_VALUE,
            arn=each["nodegroupArn"],
            repaired=each.get("nodeRepairConfig", {}).get("enabled", False),
            issues=tuple(f"{one['code']}: {one['message']}" for one in each.get("health", {}).get("issues", [])),
        )
    return found


def _addons_behind(context: Context, cluster: str) -> tuple[str, ...]:
    behind = []
    for name in context.pages("eks", "list_addons", "addons", clusterName=CLUSTER):
        addon = context.client("eks").describe_addon(clusterName=CLUSTER, addonName=name)["addon"]
        fits = context.catalogue("eks", "describe_addon_versions", "addons", addonName=name, kubernetesVersion=cluster)
        versions = {each["addonVersion"] for one in fits for each in one["addonVersions"]}
        if addon["addonVersion"] not in versions:
            behind.append(name)
    return tuple(behind)


# What is done.


def _create_template(context: Context) -> None:
    context.client("ec2").create_launch_template(
        LaunchTemplateName=LAUNCH_TEMPLATE,
        LaunchTemplateData=template_data(context.settings),
        TagSpecifications=tag_specification("launch-template", LAUNCH_TEMPLATE),
    )


def _renew_template(context: Context) -> None:
    ec2 = context.client("ec2")
    made = ec2.create_launch_template_version(
        LaunchTemplateName=LAUNCH_TEMPLATE, LaunchTemplateData=template_data(context.settings)
    )["LaunchTemplateVersion"]
    ec2.modify_launch_template(LaunchTemplateName=LAUNCH_TEMPLATE, DefaultVersion=str(made["VersionNumber"]))


def _create(context: Context, group: Group) -> None:
    facts = Nodes().observe(context)
    context.client("eks").create_nodegroup(
        clusterName=CLUSTER,
        nodegroupName=group.name,
        subnets=[_subnet(context.settings, facts, group)],
        nodeRole=facts.role,
        instanceTypes=list(group.types),
        capacityType=group.capacity,
        amiType=_ami(facts),
        scalingConfig={"minSize": group.minimum, "maxSize": group.maximum, "desiredSize": group.minimum},
        updateConfig={"maxUnavailable": 1},
        nodeRepairConfig=REPAIR,
        labels={NODE_GROUP_LABEL: group.role},
        launchTemplate={"name": LAUNCH_TEMPLATE, "version": facts.template_version},
        tags=tags(),
    )


def _configure(context: Context, name: str, **change: Any) -> None:
    context.client("eks").update_nodegroup_config(clusterName=CLUSTER, nodegroupName=name, **change)


def _upgrade(context: Context, name: str, version: str) -> None:
    template = {"name": LAUNCH_TEMPLATE, "version": _template(context)[1]}
    context.client("eks").update_nodegroup_version(
        clusterName=CLUSTER, nodegroupName=name, version=version, launchTemplate=template
    )


def _tag(context: Context, arn: str) -> None:
    context.client("eks").tag_resource(resourceArn=arn, tags=tags())


def _delete(context: Context, name: str) -> None:
    context.client("eks").delete_nodegroup(clusterName=CLUSTER, nodegroupName=name)


def _delete_template(context: Context) -> None:
    context.client("ec2").delete_launch_template(LaunchTemplateName=LAUNCH_TEMPLATE)
