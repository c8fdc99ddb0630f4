"""What stands in the account just now, looked at behind the tool's back: tags, and ids of what is called by a name."""

from typing import Any

from botocore.exceptions import ClientError

from comanda_testbed.bed import TestBed
from tests.deployment.rights.request import arn, as_mapping

NAMES_ITSELF = {
    "nodegroup": "nodegroupArn",
    "addon": "addonArn",
    "access-entry": "accessEntryArn",
    "podidentityassociation": "associationArn",
}
"""Under what a thing of EKS has its own ARN."""


class Things:
    """Answers of the emulated account's administrator; nothing that is asked here moves anything on."""

    def __init__(self, bed: TestBed) -> None:
        self.bed = bed
        self._clients: dict[str, Any] = {}

    def client(self, service: str) -> Any:
        if service not in self._clients:
            self._clients[service] = self.bed.client(service)
        return self._clients[service]

    def tags_in_ec2(self, id_: str) -> dict[str, str]:
        filters = [{"Name": "resource-id", "Values": [id_]}]
        return as_mapping(self.client("ec2").describe_tags(Filters=filters)["Tags"])

    def template(self, name: str) -> dict[str, Any]:
        """Answer the default version of a launch template."""
        found = self.client("ec2").describe_launch_template_versions(LaunchTemplateName=name, Versions=["$Default"])
        template: dict[str, Any] = found["LaunchTemplateVersions"][0]
        return template

    def association(self, id_: str) -> dict[str, str]:
        """Answer which subnet a route table's association is of, and which table."""
        filters = [{"Name": "association.route-table-association-id", "Values": [id_]}]
        for table in self.client("ec2").describe_route_tables(Filters=filters)["RouteTables"]:
            for each in table["Associations"]:
                if each["RouteTableAssociationId"] == id_:
                    return {"RouteTableId": table["RouteTableId"], "SubnetId": each["SubnetId"]}
        raise AssertionError(f"no association {id_}")

    def of_eks(self, kind: str, cluster: str, name: str) -> tuple[str, dict[str, str]]:
        """Answer ARN and tags of a node group, an add-on, an access entry or an identity of a cluster.

        One that is not there ends in `*`, as all do that are yet to be made.
        """
        body = self._body(kind, cluster, name)
        between = [name]
        if kind == "access-entry":
            between = [_principal(name)]
        elif kind == "podidentityassociation":
            between = []
        end = body[NAMES_ITSELF[kind]].rsplit("/", maxsplit=1)[-1] if body else "*"
        return arn("eks", "/".join([kind, cluster, *between, end])), (body["tags"] if body else {})

    def _body(self, kind: str, cluster: str, name: str) -> dict[str, Any] | None:
        found = self.bed.eks.clusters.get(cluster)
        if found is None:
            return None
        if kind in {"nodegroup", "addon"}:
            thing = (found.groups if kind == "nodegroup" else found.addons).get(name)
            return thing.body if thing else None
        return (found.access if kind == "access-entry" else found.identities).get(name)

    def tags_of_cluster(self, name: str) -> dict[str, str]:
        found = self.bed.eks.clusters.get(name)
        return found.body["tags"] if found else {}

    def group(self, cluster: str) -> str:
        """Answer the security group that EKS made for a cluster."""
        found: str = self.bed.eks.clusters[cluster].body["resourcesVpcConfig"]["clusterSecurityGroupId"]
        return found

    def subnets(self, cluster: str, group: str) -> list[str]:
        """Answer the subnets of a node group."""
        found: list[str] = self.bed.eks.clusters[cluster].groups[group].body["subnets"]
        return found

    def tags_of_balancer(self, arn_: str) -> dict[str, str]:
        """Answer the tags of a load balancer or target group of the newer kind."""
        return as_mapping(self.client("elbv2").describe_tags(ResourceArns=[arn_])["TagDescriptions"][0]["Tags"])

    def tags_of_classic(self, name: str) -> dict[str, str]:
        return as_mapping(self.client("elb").describe_tags(LoadBalancerNames=[name])["TagDescriptions"][0]["Tags"])

    def tags_of_certificate(self, arn_: str) -> dict[str, str]:
        return as_mapping(self.client("acm").list_tags_for_certificate(CertificateArn=arn_)["Tags"])

    def secret(self, name: str) -> str:
        """Answer the ARN of a secret, which ends in six letters that AWS chooses."""
        try:
            found: str = self.client("secretsmanager").describe_secret(SecretId=name)["ARN"]
        except ClientError:
            return arn("secretsmanager", f"secret:{name}")
        return found

    def role(self, name: str) -> str:
        """Answer the ARN of a role, with the path that only IAM knows."""
        try:
            found: str = self.client("iam").get_role(RoleName=name)["Role"]["Arn"]
        except ClientError:
            return arn("iam", f"role/{name}", region="")
        return found


def _principal(arn_: str) -> str:
    """Answer what an access entry is named after, in its principal's own ARN: user/123456789012/comanda-operator."""
    account, what = arn_.split(":")[4:6]
    kind, name = what.split("/", maxsplit=1)
    return f"{kind}/{account}/{name}"
