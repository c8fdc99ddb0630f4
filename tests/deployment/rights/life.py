"""A whole life of an account, with everything that the operator ever does in it, recorded once."""

import fcntl
import os
import tempfile
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import boto3
import msgspec
import pytest

from comanda_deploy import backups, engine, inventory, lock
from comanda_deploy.runbook import STEPS, named
from comanda_deploy.status import status_of
from comanda_deploy.step import Step
from comanda_testbed.bed import REGION, running_testbed
from tests.deployment.account import Account, bootstrapped
from tests.deployment.leftovers import CLUSTER_TAGS, leave_behind
from tests.deployment.recording import Recorder, Recording
from tests.deployment.rights.by_hand import by_hand
from tests.deployment.rights.request import ACCOUNT
from tests.deployment.test_life import DRIFT, settle

OLD: dict[str, Any] = {"kubernetes_version": "1.35"}
HOST: dict[str, Any] = {"host": "pedidos.example.com"}
PRIVATE: dict[str, Any] = {"private_nodes": True}
SPOT: dict[str, Any] = {"capacity": "SPOT"}
LOGS: dict[str, Any] = {"retention_days": 30}
LARGER: dict[str, Any] = {"disk_gib": 40}
NETWORK: Sequence[Step[Any]] = [named("network")]
ADDRESS: Sequence[Step[Any]] = [named("address")]
DRIVER = {"Key": "ebs.csi.aws.com/cluster", "Value": "true"}
SIGNED_IN = "aws-reserved/sso.amazonaws.com/sa-east-1/AWSReservedSSO_Comanda_0123456789abcdef"


def recorded(factory: pytest.TempPathFactory) -> Recording:
    """Answer what was asked of IAM in that life: lived by the first who asks, in whichever process of the test run."""
    folder = factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent  # each worker has one of its own in it
    file = folder / "life.json"
    with (folder / "life.lock").open("w") as lock_file:
        fcntl.flock(lock_file, fcntl.LOCK_EX)
        if not file.exists():
            file.write_bytes(msgspec.json.encode(lived()))
    return msgspec.json.decode(file.read_bytes(), type=Recording)


def lived() -> Recording:
    """Go through it, from an empty account back to one."""
    with pytest.MonkeyPatch.context() as environment, tempfile.TemporaryDirectory() as home, running_testbed() as bed:
        account = bootstrapped(bed, Path(home), environment.setenv)
        recorder = Recorder(bed)
        recorder.watch(account.session)
        look_around(account)
        build(account)
        recorder.recording.add(by_hand(bed))
        mend(account)
        change(account)
        name(account)
        sign_in(account, recorder)
        take_down(account)
    return recorder.recording


def look_around(account: Account) -> None:
    """Plan in an empty account, once as published and once for all that has quotas; look for backups; lock, unlock."""
    account.plan()
    account.plan(network=PRIVATE, nodes=SPOT)
    inventory.take(account.context())
    backups.in_aws(account.context())
    context = account.context()
    lock.release(context, lock.take(context, "a look", stays=True))


def build(account: Account) -> None:
    """Build it all at an older minor, logs and all, with an add-on that fails at first; find nothing to do; look at it.

    Later on nobody asks for the logs any more.
    """
    account.bed.eks.failures["addon coredns"] = ("InsufficientNumberOfReplicas", "no node")
    with lock.locked(account.context(), "apply"):
        account.apply(cluster=OLD, logs=LOGS)
    assert account.apply(cluster=OLD, logs=LOGS) == []
    status_of(account.context(cluster=OLD, logs=LOGS))


def mend(account: Account) -> None:
    """Mend everything that a hand may have changed."""
    for meddle in (*(each for each, _ in DRIFT), *MORE_DRIFT):
        meddle(account)
        settle(account)
    account.apply(cluster=OLD)


def change(account: Account) -> None:
    """Raise Kubernetes by a minor, give the nodes larger disks, and private subnets a way out and none again."""
    account.apply(nodes=LARGER)
    account.apply(NETWORK, network=PRIVATE)
    account.apply(NETWORK)
    _forget_interfaces(account)


def name(account: Account) -> None:
    """Give it a host: certificate and records, and a certificate that failed made anew."""
    account.bed.client("route53").create_hosted_zone(Name="example.com", CallerReference="1")
    account.apply(ADDRESS, address=HOST)
    _fail_certificates()
    assert f"delete certificate {HOST['host']}: it is failed: to be made anew" in account.plan(ADDRESS, address=HOST)
    account.apply(ADDRESS, address=HOST)


def sign_in(account: Account, recorder: Recorder) -> None:
    """Plan once more as somebody who comes by single sign-on: it is a role then, that must be looked up."""
    path, _, role = SIGNED_IN.rpartition("/")
    iam = account.bed.client("iam")
    arn = iam.create_role(RoleName=role, Path=f"/{path}/", AssumeRolePolicyDocument="{}")["Role"]["Arn"]
    keys = account.bed.client("sts").assume_role(RoleArn=arn, RoleSessionName="maria")["Credentials"]
    session = boto3.Session(keys["AccessKeyId"], keys["SecretAccessKey"], keys["SessionToken"], region_name=REGION)
    recorder.watch(session)
    context = account.context(cluster={"admins": (arn,)})
    context.session, context._clients = session, {}
    engine.plan(context, STEPS)


def take_down(account: Account) -> None:
    """Destroy it with all that Kubernetes left, and search the account."""
    leave_behind(account)
    leave_more_behind(account)
    # The load balancer is there now: its name, too.
    account.apply(ADDRESS, address=HOST)
    inventory.take(account.context(address=HOST))
    with lock.locked(account.context(), "destroy"):
        account.destroy(address=HOST)
    assert inventory.take(account.context(address=HOST)) == []


# What a hand changes beside what test_life has.


def _subnet_led_elsewhere(account: Account) -> None:
    ec2 = account.bed.client("ec2")
    (table,) = ec2.describe_route_tables(Filters=[{"Name": "tag:Name", "Values": ["comanda-private-a"]}])["RouteTables"]
    (association,) = table["Associations"]
    (other,) = ec2.describe_route_tables(Filters=[{"Name": "tag:Name", "Values": ["comanda-private-b"]}])["RouteTables"]
    ec2.replace_route_table_association(
        AssociationId=association["RouteTableAssociationId"], RouteTableId=other["RouteTableId"]
    )


def _world_led_elsewhere(account: Account) -> None:
    ec2 = account.bed.client("ec2")
    (table,) = ec2.describe_route_tables(Filters=[{"Name": "tag:Name", "Values": ["comanda-public"]}])["RouteTables"]
    other = ec2.create_internet_gateway()["InternetGateway"]["InternetGatewayId"]
    ec2.create_route(RouteTableId=table["RouteTableId"], DestinationCidrBlock="0.0.0.0/0", GatewayId=other)


def _default_group_opened_outwards(account: Account) -> None:
    ec2 = account.bed.client("ec2")
    (vpc,) = ec2.describe_vpcs(Filters=[{"Name": "tag:Project", "Values": ["comanda"]}])["Vpcs"]
    filters = [{"Name": "vpc-id", "Values": [vpc["VpcId"]]}, {"Name": "group-name", "Values": ["default"]}]
    (group,) = ec2.describe_security_groups(Filters=filters)["SecurityGroups"]
    rule = {"IpProtocol": "-1", "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}
    ec2.authorize_security_group_egress(GroupId=group["GroupId"], IpPermissions=[rule])


def _images_not_scanned(account: Account) -> None:
    account.bed.client("ecr").put_image_scanning_configuration(
        repositoryName="comanda-api", imageScanningConfiguration={"scanOnPush": False}
    )


def _repository_untagged(account: Account) -> None:
    ecr = account.bed.client("ecr")
    (found,) = ecr.describe_repositories(repositoryNames=["comanda-api"])["repositories"]
    ecr.untag_resource(resourceArn=found["repositoryArn"], tagKeys=["Project"])


def _cluster_and_group_untagged(account: Account) -> None:
    cluster = account.bed.eks.clusters["comanda"]
    for arn in (cluster.body["arn"], cluster.groups["comanda-database"].body["nodegroupArn"]):
        account.bed.client("eks").untag_resource(resourceArn=arn, tagKeys=["Project"])


def _identity_of_another_role(account: Account) -> None:
    eks = account.bed.client("eks")
    (found,) = eks.list_pod_identity_associations(clusterName="comanda", serviceAccount="cluster-autoscaler")[
        "associations"
    ]
    eks.update_pod_identity_association(
        clusterName="comanda",
        associationId=found["associationId"],
        roleArn=f"arn:aws:iam::{ACCOUNT}:role/ComandaExternalSecrets",
    )


MORE_DRIFT: tuple[Callable[[Account], None], ...] = (
    _subnet_led_elsewhere,
    _world_led_elsewhere,
    _default_group_opened_outwards,
    _images_not_scanned,
    _repository_untagged,
    _cluster_and_group_untagged,
    _identity_of_another_role,
)


# What is left in the account beside what leftovers has.


def leave_more_behind(account: Account) -> None:
    """Leave what destroy must take away itself: load balancers of both kinds, a group with rules, an older disk."""
    ec2 = account.bed.client("ec2")
    filters = [{"Name": "tag:Name", "Values": ["comanda-public-*"]}]
    subnets = ec2.describe_subnets(Filters=filters)["Subnets"]
    controller = [{"Key": "elbv2.k8s.aws/cluster", "Value": "comanda"}]
    account.bed.client("elbv2").create_load_balancer(
        Name="k8s-comanda-orphan", Subnets=[each["SubnetId"] for each in subnets], Tags=controller
    )
    account.bed.client("elb").create_load_balancer(
        LoadBalancerName="a0123456789abcdef",
        Listeners=[{"Protocol": "TCP", "LoadBalancerPort": 80, "InstanceProtocol": "TCP", "InstancePort": 30080}],
        Subnets=[subnets[0]["SubnetId"]],
        Tags=[CLUSTER_TAGS[0]],
    )
    group = ec2.create_security_group(
        GroupName="k8s-comanda-api",
        Description="[k8s] Managed SecurityGroup for LoadBalancer",
        VpcId=subnets[0]["VpcId"],
        TagSpecifications=[{"ResourceType": "security-group", "Tags": controller}],
    )["GroupId"]
    rule = {"IpProtocol": "tcp", "FromPort": 80, "ToPort": 80, "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}
    ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=[rule])
    # Made while the driver was not told our tag, and by a person who was.
    for tag in CLUSTER_TAGS:
        volume = ec2.create_volume(
            AvailabilityZone=subnets[0]["AvailabilityZone"],
            Size=1,
            TagSpecifications=[{"ResourceType": "volume", "Tags": [tag, DRIVER]}],
        )
        ec2.create_snapshot(
            VolumeId=volume["VolumeId"], TagSpecifications=[{"ResourceType": "snapshot", "Tags": [tag, DRIVER]}]
        )


def _fail_certificates() -> None:
    """Let AWS not believe the name; that it was asked for once it forgets after an hour, moto only like this."""
    # Imported here: moto reads how long a certificate takes when it is imported, and the test bed says so before.
    acm = import_module("moto.acm.models").acm_backends[ACCOUNT][REGION]
    acm._idempotency_tokens.clear()
    for certificate in acm._certificates.values():
        certificate.status = "FAILED"


def _forget_interfaces(account: Account) -> None:
    """The interfaces of NAT gateways and of nodes that came and went go with them; moto leaves them behind."""
    ec2 = account.bed.client("ec2")
    found = ec2.describe_nat_gateways()["NatGateways"]
    left = [held["NetworkInterfaceId"] for gateway in found for held in gateway["NatGatewayAddresses"]]
    running = [{"Name": "instance-state-name", "Values": ["running"]}]
    reservations = ec2.describe_instances(Filters=running)["Reservations"]
    alive = {instance["InstanceId"] for each in reservations for instance in each["Instances"]}
    for interface in ec2.describe_network_interfaces()["NetworkInterfaces"]:
        instance = interface.get("Attachment", {}).get("InstanceId")
        if instance and instance not in alive:
            left.append(interface["NetworkInterfaceId"])
    for id_ in left:
        ec2.delete_network_interface(NetworkInterfaceId=id_)
