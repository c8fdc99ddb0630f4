"""What Kubernetes made in the account, taken away with the cluster: load balancers, disks, network interfaces.

Terraform and eksctl do not know these things, so they are what keeps a VPC from being deleted and what is billed for
months afterwards.
"""

import json
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from botocore.exceptions import ClientError

from comanda_deploy.aws_errors import code_of
from comanda_deploy.context import Context
from comanda_deploy.errors import DeployError
from comanda_deploy.kubectl import KUBECTL
from comanda_deploy.names import CLUSTER, TAG, TAG_VALUE
from comanda_deploy.settings import Settings
from comanda_deploy.step import Change, Kind, Step
from comanda_deploy.steps.network import known_vpcs

BALANCER_TAG = "elbv2.k8s.aws/cluster"
"""The load balancer controller puts it, with the cluster's name, on all that it makes."""
CLUSTER_TAG = f"kubernetes.io/cluster/{CLUSTER}"
"""EKS itself puts it, with "owned", on what it makes; the EBS CSI driver too."""
DISK_TAG = "ebs.csi.aws.com/cluster"
"""The EBS CSI driver puts it, with "true", on its volumes and snapshots."""
CONTROLLERS_HAVE = timedelta(minutes=5)
"""How long a deleted ingress may wait for its controller, before we take the load balancer away ourselves."""


@dataclass(frozen=True)
class Exposed:
    """An ingress, or a service of type LoadBalancer.

    Args:
        kind: as kubectl takes it: "ingress". deleting: it is on its way out. stuck: and nobody sees to it.
    """

    kind: str
    namespace: str
    name: str
    deleting: bool = False
    stuck: bool = False

    def __str__(self) -> str:
        """Answer as kubectl prints it, with the namespace."""
        return f"{self.kind} {self.namespace}/{self.name}"


@dataclass(frozen=True)
class DrainFacts:
    """What exposes the cluster, and what it has for that: load balancers and target groups (ARN, name).

    Args:
        classic: the names of classic load balancers, which EKS itself makes for a service of type LoadBalancer.
    """

    exposed: tuple[Exposed, ...] = ()
    balancers: tuple[tuple[str, str], ...] = ()
    target_groups: tuple[tuple[str, str], ...] = ()
    classic: tuple[str, ...] = ()


class Drain(Step[DrainFacts]):
    """Ingresses and load balancers, while the cluster still lives."""

    name = "drain"
    about = "load balancers that Kubernetes made"

    def observe(self, context: Context) -> DrainFacts:
        """Ask the cluster, if it can be reached, and AWS."""
        return DrainFacts(
            exposed=_exposed(context),
            balancers=_made_by_controller(
                context, "describe_load_balancers", "LoadBalancers", "LoadBalancerArn", "LoadBalancerName"
            ),
            target_groups=_made_by_controller(
                context, "describe_target_groups", "TargetGroups", "TargetGroupArn", "TargetGroupName"
            ),
            classic=classic_balancers(context),
        )

    def decide(self, settings: Settings, facts: DrainFacts) -> list[Change]:  # noqa: ARG002 - nothing is built here
        """Nothing: what Kubernetes makes, Kubernetes keeps."""
        return []

    def decide_removal(self, settings: Settings, facts: DrainFacts) -> list[Change]:  # noqa: ARG002 - none applies
        """Delete what exposes the cluster; its controller takes the load balancers away, or else we do."""
        alive = [each for each in facts.exposed if not each.deleting]
        changes = [
            Change(
                Kind.DELETE,
                str(each),
                "its load balancer goes with it",
                expected_seconds=60,
                do=partial(_delete_exposed, each=each),
            )
            for each in alive
        ]
        if changes:
            return changes
        at_work = [each for each in facts.exposed if not each.stuck]
        if at_work and (facts.balancers or facts.classic):
            names = ", ".join(map(str, at_work))
            return [Change(Kind.WAIT, "load balancers", f"of {names}", expected_seconds=90)]
        changes += [
            Change(Kind.DELETE, f"load balancer {name}", do=partial(_delete_balancer, arn=arn))
            for arn, name in facts.balancers
        ]
        changes += [
            Change(Kind.DELETE, f"load balancer {name}", do=partial(_delete_classic, name=name))
            for name in facts.classic
        ]
        changes += [
            Change(Kind.DELETE, f"target group {name}", do=partial(_delete_target_group, arn=arn))
            for arn, name in facts.target_groups
        ]
        return changes


def _exposed(context: Context) -> tuple[Exposed, ...]:
    """Answer what exposes the cluster; nothing if it cannot be asked, since then its controllers do nothing either."""
    try:
        answer = context.run(
            [*KUBECTL, "--request-timeout=10s", "get", "ingresses,services", "--all-namespaces", "--output", "json"],
            timeout=30,
        )
    except DeployError:
        return ()
    if answer.returncode != 0:
        return ()
    found = []
    for item in json.loads(answer.stdout)["items"]:
        kind = item["kind"].lower()
        if kind == "service" and item["spec"].get("type") != "LoadBalancer":
            continue
        since = item["metadata"].get("deletionTimestamp")
        stuck = since is not None and context.clock() - datetime.fromisoformat(since) > CONTROLLERS_HAVE
        found.append(Exposed(kind, item["metadata"]["namespace"], item["metadata"]["name"], since is not None, stuck))
    return tuple(found)


def _made_by_controller(context: Context, operation: str, key: str, arn: str, name: str) -> tuple[tuple[str, str], ...]:
    things = {each[arn]: each[name] for each in context.pages("elbv2", operation, key)}
    ours = []
    arns = list(things)
    for start in range(0, len(arns), 20):  # DescribeTags takes 20 at most
        answer = context.client("elbv2").describe_tags(ResourceArns=arns[start : start + 20])
        for described in answer["TagDescriptions"]:
            if {"Key": BALANCER_TAG, "Value": CLUSTER} in described["Tags"]:
                ours.append((described["ResourceArn"], things[described["ResourceArn"]]))
    return tuple(sorted(ours))


def classic_balancers(context: Context) -> tuple[str, ...]:
    """Answer the names of the cluster's classic load balancers."""
    names = [
        each["LoadBalancerName"] for each in context.pages("elb", "describe_load_balancers", "LoadBalancerDescriptions")
    ]
    ours = []
    for start in range(0, len(names), 20):  # DescribeTags takes 20 at most
        answer = context.client("elb").describe_tags(LoadBalancerNames=names[start : start + 20])
        for described in answer["TagDescriptions"]:
            if {"Key": CLUSTER_TAG, "Value": "owned"} in described["Tags"]:
                ours.append(described["LoadBalancerName"])
    return tuple(sorted(ours))


def _delete_exposed(context: Context, each: Exposed) -> None:
    answer = context.run(
        [*KUBECTL, "delete", each.kind, each.name, "--namespace", each.namespace, "--wait=false", "--ignore-not-found"]
    )
    if answer.returncode != 0:
        raise DeployError(f"kubectl cannot delete {each}: {' '.join(answer.stderr.split())[:300]}")


def _delete_balancer(context: Context, arn: str) -> None:
    # The controller protects them if the ingress says so.
    context.client("elbv2").modify_load_balancer_attributes(
        LoadBalancerArn=arn, Attributes=[{"Key": "deletion_protection.enabled", "Value": "false"}]
    )
    context.client("elbv2").delete_load_balancer(LoadBalancerArn=arn)


def _delete_classic(context: Context, name: str) -> None:
    context.client("elb").delete_load_balancer(LoadBalancerName=name)


def _delete_target_group(context: Context, arn: str) -> None:
    context.client("elbv2").delete_target_group(TargetGroupArn=arn)


@dataclass(frozen=True)
class Left:
    """One thing in EC2 that Kubernetes made: its id, its name for people, and whether it is still in use."""

    id: str
    name: str = ""
    in_use: bool = False

    def __str__(self) -> str:
        """Answer the id, with the name where it has one."""
        return f"{self.id} ({self.name})" if self.name else self.id


@dataclass(frozen=True)
class LeftoverFacts:
    """What is left of Kubernetes in EC2."""

    volumes: tuple[Left, ...] = ()
    snapshots: tuple[Left, ...] = ()
    interfaces: tuple[Left, ...] = ()
    groups: tuple[Left, ...] = ()


class Leftovers(Step[LeftoverFacts]):
    """Disks, snapshots, network interfaces and security groups, once the nodes are gone."""

    name = "leftovers"
    about = "disks, snapshots, network interfaces and security groups that Kubernetes made"

    def observe(self, context: Context) -> LeftoverFacts:
        """Ask EC2, by the tags that Kubernetes' drivers put on what they make."""
        volumes = _tagged(context, "describe_volumes", "Volumes")
        snapshots = _tagged(context, "describe_snapshots", "Snapshots", OwnerIds=["self"])
        return LeftoverFacts(
            volumes=tuple(
                Left(each["VolumeId"], _name(each), in_use=each["State"] == "in-use")
                for each in volumes
                if each["State"] not in {"deleting", "deleted"}
            ),
            snapshots=tuple(Left(each["SnapshotId"], _name(each)) for each in snapshots),
            interfaces=_interfaces(context),
            groups=_groups(context),
        )

    def decide(self, settings: Settings, facts: LeftoverFacts) -> list[Change]:  # noqa: ARG002 - nothing is built here
        """Nothing: what Kubernetes makes, Kubernetes keeps."""
        return []

    def decide_removal(self, settings: Settings, facts: LeftoverFacts) -> list[Change]:
        """Delete what is left, but for what is to be kept."""
        keep = settings.destroy.keep
        changes = []
        for left in facts.volumes:
            if "volumes" in keep:
                changes.append(Change(Kind.NOTE, f"volume {left}", "kept"))
            elif left.in_use:
                changes.append(Change(Kind.WAIT, f"volume {left}", "still attached to a node", expected_seconds=60))
            else:
                changes.append(Change(Kind.DELETE, f"volume {left}", do=partial(_delete_volume, id=left.id)))
        for left in facts.snapshots:
            if "snapshots" in keep:
                changes.append(Change(Kind.NOTE, f"snapshot {left}", "kept"))
            else:
                changes.append(Change(Kind.DELETE, f"snapshot {left}", do=partial(_delete_snapshot, id=left.id)))
        changes += [
            Change(Kind.DELETE, f"network interface {left}", do=partial(_delete_interface, id=left.id))
            for left in facts.interfaces
            if not left.in_use
        ]
        changes += [
            Change(Kind.DELETE, f"security group {left}", do=partial(_delete_group, id=left.id))
            for left in facts.groups
        ]
        # What can be done goes before what has to be waited for.
        return sorted(changes, key=lambda change: change.kind is Kind.WAIT)


def _tagged(context: Context, operation: str, key: str, **arguments: Any) -> list[dict[str, Any]]:
    """Answer what carries the driver's tag or ours, each once."""
    found: dict[str, dict[str, Any]] = {}
    for tag, value in ((DISK_TAG, "true"), (TAG, TAG_VALUE)):
        filters = [{"Name": f"tag:{tag}", "Values": [value]}]
        for each in context.pages("ec2", operation, key, Filters=filters, **arguments):
            if _is_ours(each):
                found[each.get("VolumeId") or each["SnapshotId"]] = each
    # The nodes' own disks go with the nodes.
    return [each for each in found.values() if not _is_node_disk(each)]


def _is_ours(thing: dict[str, Any]) -> bool:
    """The driver's tag alone says 'some cluster in this account': another cluster's disk carries its name too."""
    tags = {tag["Key"]: tag["Value"] for tag in thing.get("Tags", [])}
    return tags.get(TAG) == TAG_VALUE or tags.get(CLUSTER_TAG) == "owned"


def _is_node_disk(thing: dict[str, Any]) -> bool:
    return any(attached.get("DeleteOnTermination") for attached in thing.get("Attachments", []))


def _name(thing: dict[str, Any]) -> str:
    tags: dict[str, str] = {tag["Key"]: tag["Value"] for tag in thing.get("Tags", [])}
    return tags.get("kubernetes.io/created-for/pvc/name") or tags.get("Name", "")


def _interfaces(context: Context) -> tuple[Left, ...]:
    """Answer the network interfaces that the VPC's CNI made for pods: nobody else deletes them once a node is gone."""
    networks = known_vpcs(context)
    if not networks:
        return ()
    found = context.pages(
        "ec2",
        "describe_network_interfaces",
        "NetworkInterfaces",
        Filters=[{"Name": "vpc-id", "Values": [networks[0]["VpcId"]]}],
    )
    return tuple(
        Left(each["NetworkInterfaceId"], each.get("Description", ""), in_use=each["Status"] != "available")
        for each in found
        if each.get("Description", "").startswith("aws-K8S-")
        or any(tag["Key"] == "cluster.k8s.amazonaws.com/name" for tag in each.get("TagSet", []))
    )


def _groups(context: Context) -> tuple[Left, ...]:
    filters = [{"Name": f"tag:{BALANCER_TAG}", "Values": [CLUSTER]}]
    found = context.pages("ec2", "describe_security_groups", "SecurityGroups", Filters=filters)
    return tuple(Left(each["GroupId"], each["GroupName"]) for each in found)


def _gone(call: Any, **arguments: str) -> None:
    """Delete, and take 'there is none' for done."""
    try:
        call(**arguments)
    except ClientError as error:
        if not code_of(error).endswith("NotFound"):
            raise


def _delete_volume(context: Context, id: str) -> None:  # noqa: A002 - AWS's word
    _gone(context.client("ec2").delete_volume, VolumeId=id)


def _delete_snapshot(context: Context, id: str) -> None:  # noqa: A002 - AWS's word
    _gone(context.client("ec2").delete_snapshot, SnapshotId=id)


def _delete_interface(context: Context, id: str) -> None:  # noqa: A002 - AWS's word
    _gone(context.client("ec2").delete_network_interface, NetworkInterfaceId=id)


def _delete_group(context: Context, id: str) -> None:  # noqa: A002 - AWS's word
    ec2 = context.client("ec2")
    described = ec2.describe_security_groups(GroupIds=[id])["SecurityGroups"][0]
    # Groups that name each other in their rules cannot be deleted, either of them.
    if rules := described.get("IpPermissions"):
        ec2.revoke_security_group_ingress(GroupId=id, IpPermissions=rules)
    _gone(ec2.delete_security_group, GroupId=id)
