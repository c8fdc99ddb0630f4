"""The inventory that destroy ends with: what in an account is ours, what of it was to be kept, and what is LEFT."""

import os
from pathlib import Path
from typing import Any

import pytest

from comanda_deploy.context import Context
from comanda_deploy.inventory import KEPT_AS, PRICES, Thing, as_text, take
from comanda_deploy.runbook import named
from comanda_deploy.settings import KEEPABLE
from comanda_testbed.bed import TestBed
from tests.deployment.account import USUAL, Account, changed

OURS = [{"Key": "Project", "Value": "comanda"}]
OF_ANOTHER = [
    {"Key": "Project", "Value": "another"},
    {"Key": "kubernetes.io/cluster/another", "Value": "owned"},
    {"Key": "elbv2.k8s.aws/cluster", "Value": "another"},
]
HOST = "pedidos.example.com"


@pytest.fixture
def context(bed: TestBed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Context:
    """A run in an account without anything, as its administrator."""
    for name, value in bed.environment.items():
        monkeypatch.setenv(name, value)
    return Context(USUAL, bed.session(), environment={**os.environ, "HOME": str(tmp_path)})


def test_nothing_of_ours_is_said_in_so_many_words(context: Context) -> None:
    assert take(context) == []
    assert as_text([]) == (
        "Inventory: nothing of Comanda is left in this account and region (IAM roles and policies are free)."
    )


def test_what_is_kept_and_what_is_left_are_told_apart_with_what_it_costs() -> None:
    things = [
        Thing("NAT gateway", "nat-1"),
        Thing("image repository", "comanda-api", kept=True),
        Thing("volume", "vol-1", kept=True),
        Thing("volume", "vol-2"),
    ]
    assert as_text(things).splitlines() == [
        "Inventory of what is left:",
        "  LEFT  NAT gateway nat-1",
        "  kept  image repository comanda-api, priced at https://aws.amazon.com/ecr/pricing/",
        "  kept  volume vol-1, priced at https://aws.amazon.com/ebs/pricing/",
        "  LEFT  volume vol-2, priced at https://aws.amazon.com/ebs/pricing/",
    ]


def test_whatever_can_be_kept_has_its_word_in_the_settings_and_its_price() -> None:
    assert set(KEPT_AS.values()) == set(KEEPABLE)
    assert set(KEPT_AS) == set(PRICES)


def furnished(bed: TestBed, tags: list[dict[str, str]], name: str) -> None:
    """Make one of everything that the inventory asks for, with these tags."""

    def given(kind: str) -> dict[str, Any]:
        return {"TagSpecifications": [{"ResourceType": kind, "Tags": tags}]}

    ec2, elb = bed.client("ec2"), bed.client("elbv2")
    vpc = ec2.create_vpc(CidrBlock="10.20.0.0/16", **given("vpc"))["Vpc"]["VpcId"]
    subnets = [
        ec2.create_subnet(
            VpcId=vpc, CidrBlock=f"10.20.{number}.0/24", AvailabilityZone=f"sa-east-1{zone}", **given("subnet")
        )["Subnet"]["SubnetId"]
        for number, zone in enumerate("ab")
    ]
    ec2.create_internet_gateway(**given("internet-gateway"))
    ec2.create_route_table(VpcId=vpc, **given("route-table"))
    address = ec2.allocate_address(Domain="vpc", **given("elastic-ip"))["AllocationId"]
    if tags == OURS:  # moto does not look at the tags of others'
        ec2.create_nat_gateway(SubnetId=subnets[0], AllocationId=address, **given("natgateway"))
    ec2.create_network_interface(SubnetId=subnets[0], **given("network-interface"))
    ec2.create_security_group(GroupName=name, Description="of a test", VpcId=vpc, **given("security-group"))
    volume = ec2.create_volume(AvailabilityZone="sa-east-1a", Size=1, **given("volume"))["VolumeId"]
    ec2.create_snapshot(VolumeId=volume, **given("snapshot"))
    data = {"InstanceType": "t3.large", "ImageId": ec2.register_image(Name=name)["ImageId"]}
    ec2.create_launch_template(LaunchTemplateName=name, LaunchTemplateData=data, **given("launch-template"))
    ec2.run_instances(
        ImageId=data["ImageId"],
        MinCount=1,
        MaxCount=1,
        InstanceType="t3.large",
        SubnetId=subnets[0],
        **given("instance"),
    )
    elb.create_load_balancer(Name=name, Subnets=subnets, Tags=tags)
    elb.create_target_group(Name=name, Protocol="HTTP", Port=80, VpcId=vpc, Tags=tags)
    cluster = tags[0]["Value"]
    bed.client("elb").create_load_balancer(
        LoadBalancerName=f"{name}-classic",
        Listeners=[{"Protocol": "tcp", "LoadBalancerPort": 80, "InstancePort": 80}],
        Subnets=subnets[:1],
        Tags=[{"Key": f"kubernetes.io/cluster/{cluster}", "Value": "owned"}],
    )
    bed.client("autoscaling").create_auto_scaling_group(
        AutoScalingGroupName=name,
        LaunchTemplate={"LaunchTemplateName": name},
        MinSize=0,
        MaxSize=0,
        VPCZoneIdentifier=subnets[0],
        Tags=[{"Key": "eks:cluster-name", "Value": cluster, "PropagateAtLaunch": True}],
    )
    bed.client("ecr").create_repository(repositoryName=f"{cluster}-api", tags=tags)
    bed.client("secretsmanager").create_secret(Name=f"{cluster}/api", SecretString="{}")
    bed.client("secretsmanager").create_secret(Name=f"by-hand-{cluster}", SecretString="{}", Tags=tags)
    bed.client("logs").create_log_group(logGroupName=f"/aws/eks/{cluster}/cluster")
    bed.client("acm").request_certificate(DomainName=f"{cluster}.example.com", ValidationMethod="DNS", Tags=tags)


ALL_KINDS = {
    "Auto Scaling group": 1,
    "NAT gateway": 1,
    "VPC": 1,
    "certificate": 1,
    "elastic address": 1,
    "image repository": 1,
    "instance": 1,
    "internet gateway": 1,
    "launch template": 1,
    "load balancer": 2,
    "log group": 1,
    "network interface": 1,
    "route table": 1,
    "secret": 2,
    "security group": 1,
    "snapshot": 1,
    "subnet": 2,
    "target group": 1,
    "volume": 1,
}


def test_one_of_everything_is_found_once_and_another_project_s_is_not(bed: TestBed, context: Context) -> None:
    furnished(bed, OF_ANOTHER, "another")
    assert take(context) == []
    furnished(bed, OURS, "ours")
    found = take(context)
    kinds = [thing.kind for thing in found]
    assert {kind: kinds.count(kind) for kind in kinds} == ALL_KINDS
    assert len({(thing.kind, thing.id) for thing in found}) == len(found)
    assert not any(thing.kept for thing in found), "nothing was to be kept"
    for keep in KEEPABLE:
        context.settings = changed(USUAL, destroy={"keep": (keep,)})
        kept = {thing.kind for thing in take(context) if thing.kept}
        assert [KEPT_AS[kind] for kind in kept] == [keep]


@pytest.mark.parametrize(
    "tag",
    [
        {"Key": "Project", "Value": "comanda"},
        {"Key": "kubernetes.io/cluster/comanda", "Value": "owned"},
        {"Key": "elbv2.k8s.aws/cluster", "Value": "comanda"},
    ],
)
def test_what_kubernetes_made_is_found_by_the_tags_of_its_controllers(
    bed: TestBed, context: Context, tag: dict[str, str]
) -> None:
    ec2 = bed.client("ec2")
    vpc = ec2.describe_vpcs()["Vpcs"][0]["VpcId"]
    group = ec2.create_security_group(
        GroupName="k8s",
        Description="k8s",
        VpcId=vpc,
        TagSpecifications=[{"ResourceType": "security-group", "Tags": [tag]}],
    )["GroupId"]
    assert take(context) == [Thing("security group", group)]


def test_what_aws_still_shows_of_what_is_gone_is_not_left(bed: TestBed, context: Context) -> None:
    """A terminated instance is shown for an hour, and costs nothing."""
    ec2 = bed.client("ec2")
    given = {"TagSpecifications": [{"ResourceType": "instance", "Tags": OURS}]}
    image = ec2.register_image(Name="any")["ImageId"]
    made = ec2.run_instances(ImageId=image, MinCount=1, MaxCount=1, InstanceType="t3.large", **given)["Instances"]
    assert take(context) == [Thing("instance", made[0]["InstanceId"])]
    ec2.terminate_instances(InstanceIds=[made[0]["InstanceId"]])
    assert ec2.describe_instances()["Reservations"][0]["Instances"][0]["State"]["Name"] == "terminated"
    assert take(context) == []


def test_a_cluster_and_its_groups_are_left_if_they_are_there(account: Account) -> None:
    account.apply([named("network"), named("cluster"), named("nodes")])
    found = take(account.context())
    assert [thing.id for thing in found if thing.kind == "EKS cluster"] == ["comanda"]
    assert [thing.id for thing in found if thing.kind == "node group"] == [
        "comanda-database",
        "comanda-general-a",
        "comanda-general-b",
    ]
    assert sum(thing.kind == "Auto Scaling group" for thing in found) == 3
    assert sum(thing.kind == "instance" for thing in found) == 3


@pytest.mark.parametrize("host", [HOST, "example.com"])
def test_of_the_host_s_records_only_ours_are_left(bed: TestBed, context: Context, host: str) -> None:
    """Else destroy would end with LEFT for ever, for a mail server or the zone's own records that it never touches."""
    route53 = bed.client("route53")
    zone = route53.create_hosted_zone(Name="example.com", CallerReference="1")["HostedZone"]["Id"]

    def put(record: dict[str, Any]) -> None:
        change = {"Action": "UPSERT", "ResourceRecordSet": {"Name": host, **record}}
        route53.change_resource_record_sets(HostedZoneId=zone, ChangeBatch={"Changes": [change]})

    context.settings = changed(USUAL, address={"host": host})
    put({"Type": "MX", "TTL": 300, "ResourceRecords": [{"Value": "10 mail.example.com"}]})
    put({"Type": "A", "TTL": 300, "ResourceRecords": [{"Value": "203.0.113.9"}]})
    assert take(context) == []
    target = {
        "HostedZoneId": "Z2P70J7HTTTPLU",
        "DNSName": "k8s-1.sa-east-1.elb.amazonaws.com",
        "EvaluateTargetHealth": True,
    }
    put({"Type": "A", "AliasTarget": target})
    assert take(context) == [Thing("DNS record", f"{host} A")]


def test_destroy_ends_well_with_what_was_to_be_kept_and_badly_with_what_was_not(account: Account) -> None:
    account.bed.client("secretsmanager").create_secret(Name="comanda/api", SecretString="{}")
    answer = account.command("destroy", "--yes", "--keep", "secrets")
    assert answer.returncode == 0, answer.stderr
    assert "  kept  secret comanda/api, priced at https://aws.amazon.com/secrets-manager/pricing/" in answer.stdout
    ec2 = account.bed.client("ec2")
    image = ec2.register_image(Name="any")["ImageId"]
    given = {"TagSpecifications": [{"ResourceType": "instance", "Tags": OURS}]}
    ec2.run_instances(ImageId=image, MinCount=1, MaxCount=1, InstanceType="t3.large", **given)
    answer = account.command("destroy", "--yes", "--keep", "secrets")
    assert answer.returncode == 1
    assert "  LEFT  instance i-" in answer.stdout
    assert "1 things are left that were not to be kept: run comanda-deploy destroy again" in answer.stderr
