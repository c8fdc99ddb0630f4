"""Which requests a call to EC2 is for IAM, by the Service Authorization Reference's page on EC2."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tests.deployment.rights.request import Request, Value, arn, as_mapping, carried, request, requested
from tests.deployment.rights.things import Things

Parameters = Mapping[str, Any]

LOOKS = {
    "DescribeAddresses",
    "DescribeAvailabilityZones",
    "DescribeInstanceTypes",
    "DescribeInstances",
    "DescribeInternetGateways",
    "DescribeLaunchTemplateVersions",
    "DescribeLaunchTemplates",
    "DescribeNatGateways",
    "DescribeNetworkInterfaces",
    "DescribeRouteTables",
    "DescribeSecurityGroups",
    "DescribeSnapshots",
    "DescribeSubnets",
    "DescribeVolumes",
    "DescribeVpcs",
}
"""Those that have no narrower resource."""

TYPES = {
    "AllocationId": "elastic-ip",
    "GroupId": "security-group",
    "InternetGatewayId": "internet-gateway",
    "LaunchTemplateName": "launch-template",
    "NatGatewayId": "natgateway",
    "NetworkInterfaceId": "network-interface",
    "RouteTableId": "route-table",
    "SnapshotId": "snapshot",
    "SubnetId": "subnet",
    "VolumeId": "volume",
    "VpcId": "vpc",
}
"""What a parameter names."""

ON = {
    "AssociateRouteTable": ("RouteTableId", "SubnetId"),
    "AttachInternetGateway": ("InternetGatewayId", "VpcId"),
    "CreateLaunchTemplateVersion": ("LaunchTemplateName",),
    "CreateRoute": ("RouteTableId",),
    "DeleteInternetGateway": ("InternetGatewayId",),
    "DeleteLaunchTemplate": ("LaunchTemplateName",),
    "DeleteNatGateway": ("NatGatewayId",),
    "DeleteNetworkInterface": ("NetworkInterfaceId",),
    "DeleteRoute": ("RouteTableId",),
    "DeleteRouteTable": ("RouteTableId",),
    "DeleteSecurityGroup": ("GroupId",),
    "DeleteSnapshot": ("SnapshotId",),
    "DeleteSubnet": ("SubnetId",),
    "DeleteVolume": ("VolumeId",),
    "DeleteVpc": ("VpcId",),
    "DescribeVpcAttribute": ("VpcId",),
    "DetachInternetGateway": ("InternetGatewayId", "VpcId"),
    "DisassociateRouteTable": ("RouteTableId", "SubnetId"),
    "ModifyLaunchTemplate": ("LaunchTemplateName",),
    "ModifySubnetAttribute": ("SubnetId",),
    "ModifyVpcAttribute": ("VpcId",),
    "ReleaseAddress": ("AllocationId",),
    "ReplaceRoute": ("RouteTableId",),
    "ReplaceRouteTableAssociation": ("RouteTableId", "SubnetId"),
    "RevokeSecurityGroupEgress": ("GroupId",),
    "RevokeSecurityGroupIngress": ("GroupId",),
}
"""Which of its parameters name what a call is carried out on: each is asked for, and all must be allowed."""

MAKES: dict[str, tuple[str, tuple[str, ...]]] = {
    "AllocateAddress": ("elastic-ip", ()),
    "CreateInternetGateway": ("internet-gateway", ()),
    "CreateLaunchTemplate": ("launch-template", ()),
    "CreateNatGateway": ("natgateway", ("SubnetId", "AllocationId")),
    "CreateRouteTable": ("route-table", ("VpcId",)),
    "CreateSubnet": ("subnet", ("VpcId",)),
    "CreateVpc": ("vpc", ()),
}
"""What a call makes, and what it makes it in."""

BEGIN = {"subnet-": "subnet", "vpc-": "vpc", "rtb-": "route-table"}
"""What an id is of: only CreateTags names things without saying what they are."""


def requests(operation: str, parameters: Parameters, things: Things) -> Iterator[Request]:
    """Answer what IAM is asked."""
    action = f"ec2:{operation}"
    if operation in LOOKS:
        yield request(action)
    elif operation in MAKES:
        kind, within = MAKES[operation]
        tags = requested(_asked_for(parameters.get("TagSpecifications", []), kind))
        yield request(action, of(kind, "*"), tags)
        for name in within:
            yield _on(action, name, parameters[name], things)
        if tags:
            yield request("ec2:CreateTags", of(kind, "*"), tags, {"ec2:CreateAction": operation})
    elif operation == "CreateTags":
        for id_ in parameters["Resources"]:
            kind = next(kind for beginning, kind in BEGIN.items() if id_.startswith(beginning))
            tags = requested(as_mapping(parameters["Tags"]))
            yield request(action, of(kind, id_), tags, carried(things.tags_in_ec2(id_)))
    else:
        if "AssociationId" in parameters:
            # Where the subnet goes is named; of where it was only the association is.
            parameters = {**things.association(parameters["AssociationId"]), **parameters}
        for name in ON[operation]:
            yield _on(action, name, parameters[name], things)


def of(kind: str, id_: str) -> str:
    """Answer the ARN of a thing of EC2; images and snapshots are of no account."""
    return arn("ec2", f"{kind}/{id_}", **({"account": ""} if kind in {"image", "snapshot"} else {}))


def instances_run(template: str, subnets: Sequence[str], group: str, things: Things) -> Iterator[Request]:
    """Answer what EKS asks in the operator's name for a node group with a launch template: may they start it?

    Of `ec2:IsLaunchTemplateResource`: it is false of what does not stand in the template, and ours says neither subnet
    nor image nor group: a condition on it would let no node start (seen by others as UnauthorizedOperation).

    Args:
        subnets: of the group. group: the cluster's security group. Both and the image are EKS' to add.
    """
    found = things.template(template)
    id_ = found["LaunchTemplateId"]
    by_template: dict[str, Value] = {"ec2:LaunchTemplate": of("launch-template", id_)}
    tagged = found["LaunchTemplateData"].get("TagSpecifications", [])
    yield request(
        "ec2:RunInstances", of("launch-template", id_), carried(things.tags_in_ec2(id_)), by_template, _says(True)
    )
    for kind in ("instance", "volume", "network-interface"):
        tags = requested(_asked_for(tagged, kind))
        says = _says(kind != "network-interface")
        yield request("ec2:RunInstances", of(kind, "*"), tags, by_template, says)
        if tags:
            yield request("ec2:CreateTags", of(kind, "*"), tags, {"ec2:CreateAction": "RunInstances"})
    yield request("ec2:RunInstances", of("image", "ami-of-eks"), by_template, _says(False))
    for kind, ids in (("security-group", [group]), ("subnet", subnets)):
        for id_ in ids:
            has = carried(things.tags_in_ec2(id_))
            yield request("ec2:RunInstances", of(kind, id_), has, by_template, _says(False))


def _says(in_template: bool) -> dict[str, Value]:
    return {"ec2:IsLaunchTemplateResource": "true" if in_template else "false"}


def _on(action: str, name: str, id_: str, things: Things) -> Request:
    if name == "LaunchTemplateName":
        id_ = things.template(id_)["LaunchTemplateId"]
    return request(action, of(TYPES[name], id_), carried(things.tags_in_ec2(id_)))


def _asked_for(specifications: Sequence[Mapping[str, Any]], kind: str) -> dict[str, str]:
    return {
        key: value
        for each in specifications
        if each["ResourceType"] == kind
        for key, value in as_mapping(each["Tags"]).items()
    }
