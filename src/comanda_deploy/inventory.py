"""All that is in the account and is ours, or was made for us: what `destroy` ends with."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from botocore.exceptions import ClientError

from comanda_deploy.aws_errors import code_of
from comanda_deploy.context import Context
from comanda_deploy.names import (
    API_SECRET,
    CLUSTER,
    DATABASE_SECRET,
    GRAFANA_SECRET,
    LOG_GROUP,
    POD_LOG_GROUPS,
    REPOSITORY,
    TAG,
    TAG_VALUE,
)
from comanda_deploy.steps.address import Address, ours
from comanda_deploy.steps.drain import BALANCER_TAG, CLUSTER_TAG, classic_balancers

PRICES = {
    "volume": "https://aws.amazon.com/ebs/pricing/",
    "snapshot": "https://aws.amazon.com/ebs/pricing/",
    "image repository": "https://aws.amazon.com/ecr/pricing/",
    "secret": "https://aws.amazon.com/secrets-manager/pricing/",
    "log group": "https://aws.amazon.com/cloudwatch/pricing/",
}
"""Where AWS says what a kept thing costs."""

KEPT_AS = {
    "volume": "volumes",
    "snapshot": "snapshots",
    "image repository": "images",
    "secret": "secrets",
    "log group": "logs",
}
"""Under which word of `destroy.keep` a thing stays."""


@dataclass(frozen=True, order=True)
class Thing:
    """One thing in the account: what, which, and whether it was to be kept."""

    kind: str
    id: str
    kept: bool = False


def take(context: Context) -> list[Thing]:
    """Answer everything that carries our tag, the cluster's, or one of our names.

    Each service is asked itself: the Resource Groups tagging API shows what is deleted for up to an hour longer.
    """
    keep = context.settings.destroy.keep
    found = {*_of_ec2(context), *_of_eks(context), *_of_balancers(context), *_of_the_rest(context)}
    return sorted(Thing(kind, id_, kept=KEPT_AS.get(kind) in keep) for kind, id_ in found)


def as_text(things: Sequence[Thing]) -> str:
    """Answer the inventory as a person reads it."""
    if not things:
        return "Inventory: nothing of Comanda is left in this account and region (IAM roles and policies are free)."
    lines = ["Inventory of what is left:"]
    for thing in things:
        price = f", priced at {PRICES[thing.kind]}" if thing.kind in PRICES else ""
        lines.append(f"  {'kept' if thing.kept else 'LEFT'}  {thing.kind} {thing.id}{price}")
    return "\n".join(lines)


EC2 = (
    ("instance", "describe_instances", "Reservations", "InstanceId"),
    ("volume", "describe_volumes", "Volumes", "VolumeId"),
    ("snapshot", "describe_snapshots", "Snapshots", "SnapshotId"),
    ("VPC", "describe_vpcs", "Vpcs", "VpcId"),
    ("subnet", "describe_subnets", "Subnets", "SubnetId"),
    ("internet gateway", "describe_internet_gateways", "InternetGateways", "InternetGatewayId"),
    ("NAT gateway", "describe_nat_gateways", "NatGateways", "NatGatewayId"),
    ("elastic address", "describe_addresses", "Addresses", "AllocationId"),
    ("route table", "describe_route_tables", "RouteTables", "RouteTableId"),
    ("security group", "describe_security_groups", "SecurityGroups", "GroupId"),
    ("network interface", "describe_network_interfaces", "NetworkInterfaces", "NetworkInterfaceId"),
    ("launch template", "describe_launch_templates", "LaunchTemplates", "LaunchTemplateId"),
)
GONE = {"terminated", "shutting-down", "deleted", "deleting"}


def _of_ec2(context: Context) -> Iterator[tuple[str, str]]:
    for kind, operation, key, id_ in EC2:
        for tag, values in ((TAG, [TAG_VALUE]), (CLUSTER_TAG, ["owned"]), (BALANCER_TAG, [CLUSTER])):
            arguments: dict[str, Any] = {"Filters": [{"Name": f"tag:{tag}", "Values": values}]}
            if kind == "NAT gateway":
                arguments = {"Filter": arguments["Filters"]}
            if kind == "snapshot":
                arguments["OwnerIds"] = ["self"]
            for thing in _described(context, operation, key, arguments):
                state = thing.get("State", "")
                if (state.get("Name") if isinstance(state, dict) else state) not in GONE:
                    yield kind, thing[id_]


def _described(context: Context, operation: str, key: str, arguments: dict[str, Any]) -> Iterator[dict[str, Any]]:
    client = context.client("ec2")
    if client.can_paginate(operation):
        things = context.pages("ec2", operation, key, **arguments)
    else:
        things = getattr(client, operation)(**arguments)[key]
    for thing in things:
        yield from thing["Instances"] if key == "Reservations" else [thing]


def _of_eks(context: Context) -> Iterator[tuple[str, str]]:
    if CLUSTER not in context.pages("eks", "list_clusters", "clusters"):
        return
    yield "EKS cluster", CLUSTER
    for group in context.pages("eks", "list_nodegroups", "nodegroups", clusterName=CLUSTER):
        yield "node group", group


def _of_balancers(context: Context) -> Iterator[tuple[str, str]]:
    for operation, key, arn in (
        ("describe_load_balancers", "LoadBalancers", "LoadBalancerArn"),
        ("describe_target_groups", "TargetGroups", "TargetGroupArn"),
    ):
        arns = [each[arn] for each in context.pages("elbv2", operation, key)]
        for start in range(0, len(arns), 20):
            answer = context.client("elbv2").describe_tags(ResourceArns=arns[start : start + 20])
            for described in answer["TagDescriptions"]:
                if _has_tag(described["Tags"]) or {"Key": BALANCER_TAG, "Value": CLUSTER} in described["Tags"]:
                    yield "load balancer" if arn == "LoadBalancerArn" else "target group", described["ResourceArn"]
    for name in classic_balancers(context):
        yield "load balancer", name


def _of_the_rest(context: Context) -> Iterator[tuple[str, str]]:
    for record in ours(context.settings.address.host, Address().observe(context)):
        yield "DNS record", f"{record.name} {record.kind}"
    for group in context.pages("autoscaling", "describe_auto_scaling_groups", "AutoScalingGroups"):
        if any(tag["Key"] == "eks:cluster-name" and tag["Value"] == CLUSTER for tag in group["Tags"]):
            yield "Auto Scaling group", group["AutoScalingGroupName"]
    for repository in _unless_absent(context, "ecr", "describe_repositories", repositoryNames=[REPOSITORY]):
        yield "image repository", repository["repositoryName"]
    for secret in context.pages("secretsmanager", "list_secrets", "SecretList"):
        if secret["Name"] in {API_SECRET, DATABASE_SECRET, GRAFANA_SECRET} or _has_tag(secret.get("Tags", [])):
            yield "secret", secret["Name"]
    for prefix in (LOG_GROUP, POD_LOG_GROUPS):
        for group in context.pages("logs", "describe_log_groups", "logGroups", logGroupNamePrefix=prefix):
            yield "log group", group["logGroupName"]
    for certificate in context.pages("acm", "list_certificates", "CertificateSummaryList"):
        arn = certificate["CertificateArn"]
        if _has_tag(context.client("acm").list_tags_for_certificate(CertificateArn=arn)["Tags"]):
            yield "certificate", arn


def _unless_absent(context: Context, service: str, operation: str, **arguments: Any) -> list[dict[str, Any]]:
    try:
        answer = getattr(context.client(service), operation)(**arguments)
    except ClientError as error:
        if code_of(error) == "RepositoryNotFoundException":
            return []
        raise
    repositories: list[dict[str, Any]] = answer["repositories"]
    return repositories


def _has_tag(tags: Sequence[dict[str, str]]) -> bool:
    return any(tag.get("Key") == TAG and tag.get("Value") == TAG_VALUE for tag in tags)
