"""What a hand does in AWS's console: the drift of the rehearsal."""

from collections.abc import Callable

from comanda_testbed.bed import TestBed


def _open_the_endpoint(bed: TestBed) -> None:
    bed.client("eks").update_cluster_config(name="comanda", resourcesVpcConfig={"publicAccessCidrs": ["0.0.0.0/0"]})
    bed.client("eks").describe_cluster(name="comanda")


def _remove_the_way_out(bed: TestBed) -> None:
    ec2 = bed.client("ec2")
    filters = [{"Name": "tag:Name", "Values": ["comanda-public"]}]
    table = ec2.describe_route_tables(Filters=filters)["RouteTables"][0]["RouteTableId"]
    ec2.delete_route(RouteTableId=table, DestinationCidrBlock="0.0.0.0/0")


def _make_tags_mutable(bed: TestBed) -> None:
    bed.client("ecr").put_image_tag_mutability(repositoryName="comanda-api", imageTagMutability="MUTABLE")


def _turn_network_policies_off(bed: TestBed) -> None:
    bed.client("eks").update_addon(
        clusterName="comanda", addonName="vpc-cni", configurationValues='{"enableNetworkPolicy": "false"}'
    )
    bed.client("eks").describe_addon(clusterName="comanda", addonName="vpc-cni")


def _delete_a_secret(bed: TestBed) -> None:
    bed.client("secretsmanager").delete_secret(SecretId="comanda/db", RecoveryWindowInDays=7)


DRIFT: tuple[tuple[str, Callable[[TestBed], None]], ...] = (
    ("the cluster's API is opened to the whole internet", _open_the_endpoint),
    ("the route to the internet is deleted", _remove_the_way_out),
    ("image tags are made mutable", _make_tags_mutable),
    ("network policies are turned off", _turn_network_policies_off),
    ("the database's secret is deleted", _delete_a_secret),
)
"""In words, and as it is done."""
