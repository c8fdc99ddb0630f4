"""Which requests a call to EKS is for IAM: its own, and those that it makes of others in the operator's name.

By the Service Authorization Reference's page on EKS, and by AWS's own policies for services that make clusters
(`AWSBackupServiceRolePolicyForRestores`), which name what stands in no reference.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from tests.deployment.rights.of_ec2 import instances_run
from tests.deployment.rights.request import Request, Value, arn, carried, request, requested, role
from tests.deployment.rights.things import Things

Parameters = Mapping[str, Any]

LOOKS = {"DescribeAddonVersions", "DescribeClusterVersions", "ListClusters"}
"""Those that have no narrower resource."""

ON_CLUSTER = {
    "DeleteCluster": "name",
    "DescribeCluster": "name",
    "ListAccessEntries": "clusterName",
    "ListAddons": "clusterName",
    "ListInsights": "clusterName",
    "ListNodegroups": "clusterName",
    "ListPodIdentityAssociations": "clusterName",
    "UpdateClusterConfig": "name",
    "UpdateClusterVersion": "name",
}
"""Which parameter names the cluster."""

KINDS = {
    "nodegroupName": "nodegroup",
    "addonName": "addon",
    "principalArn": "access-entry",
    "associationId": "podidentityassociation",
}

ON = {
    "AssociateAccessPolicy": "principalArn",
    "DeleteAccessEntry": "principalArn",
    "DeleteAddon": "addonName",
    "DeleteNodegroup": "nodegroupName",
    "DeletePodIdentityAssociation": "associationId",
    "DescribeAccessEntry": "principalArn",
    "DescribeAddon": "addonName",
    "DescribeNodegroup": "nodegroupName",
    "DescribePodIdentityAssociation": "associationId",
    "ListAssociatedAccessPolicies": "principalArn",
    "UpdateAddon": "addonName",
    "UpdateNodegroupConfig": "nodegroupName",
    "UpdateNodegroupVersion": "nodegroupName",
    "UpdatePodIdentityAssociation": "associationId",
}
"""Which parameter names the thing of the cluster that a call is carried out on."""

MAKES = {
    "CreateAccessEntry": "principalArn",
    "CreateAddon": "addonName",
    "CreateNodegroup": "nodegroupName",
    "CreatePodIdentityAssociation": "associationId",
}
"""Which parameter names the thing of the cluster that a call makes: it is asked for on the cluster."""


def requests(operation: str, parameters: Parameters, things: Things) -> Iterator[Request]:
    """Answer what IAM is asked."""
    action, tags = f"eks:{operation}", requested(parameters.get("tags") or {})
    if operation in LOOKS:
        yield request(action)
    elif operation == "CreateCluster":
        # The reference names no resource; the EKS user guide's examples and AWS's refusals name the cluster.
        yield request(action, cluster(parameters["name"]), tags)
        yield request("eks:TagResource", cluster(parameters["name"]), tags)
    elif operation in ON_CLUSTER:
        name = parameters[ON_CLUSTER[operation]]
        yield request(action, cluster(name), carried(things.tags_of_cluster(name)))
    elif operation == "TagResource":
        yield request(action, parameters["resourceArn"], tags)
    elif operation in MAKES:
        name, kind = parameters["clusterName"], KINDS[MAKES[operation]]
        yield request(action, cluster(name), tags, carried(things.tags_of_cluster(name)))
        if tags:
            made, _ = things.of_eks(kind, name, parameters.get(MAKES[operation], ""))
            yield request("eks:TagResource", made, tags)
    else:
        word = ON[operation]
        found, has = things.of_eks(KINDS[word], parameters["clusterName"], parameters[word])
        yield request(action, found, carried(has), _said_of_access(parameters))
    yield from _in_the_operator_s_name(operation, parameters, things)


def cluster(name: str) -> str:
    """Answer a cluster's ARN."""
    return arn("eks", f"cluster/{name}")


def passed(role_arn: str, *services: str) -> Iterator[Request]:
    """Answer that a role is passed on to services."""
    for service in services:
        yield request("iam:PassRole", role_arn, {"iam:PassedToService": f"{service}.amazonaws.com"})


def _said_of_access(parameters: Parameters) -> dict[str, Value]:
    if "policyArn" not in parameters:
        return {}
    return {"eks:policyArn": parameters["policyArn"], "eks:accessScope": parameters["accessScope"]["type"]}


def _in_the_operator_s_name(operation: str, parameters: Parameters, things: Things) -> Iterator[Request]:
    """Answer what EKS asks of others as the caller: its service-linked roles would be made, roles are passed on."""
    if operation == "CreateCluster":
        yield from passed(parameters["roleArn"], "eks")
        yield request("iam:GetRole", role("aws-service-role/eks.amazonaws.com/AWSServiceRoleForAmazonEKS"))
    if operation == "CreateNodegroup":
        # To EKS, says the Step Functions guide; to EC2, where the nodes are: no page says that one alone is enough.
        yield from passed(parameters["nodeRole"], "eks", "ec2")
        linked = "aws-service-role/eks-nodegroup.amazonaws.com/AWSServiceRoleForAmazonEKSNodegroup"
        yield request("iam:GetRole", role(linked))
        yield request("iam:GetRole", parameters["nodeRole"])
        yield request("iam:ListAttachedRolePolicies", parameters["nodeRole"])
        yield request("ec2:DescribeSubnets")
    if operation in {"CreateNodegroup", "UpdateNodegroupVersion"} and "launchTemplate" in parameters:
        yield request("ec2:DescribeLaunchTemplateVersions")
        subnets = parameters.get("subnets") or things.subnets(parameters["clusterName"], parameters["nodegroupName"])
        group = things.group(parameters["clusterName"])
        yield from instances_run(parameters["launchTemplate"]["name"], subnets, group, things)
    if operation in {"CreatePodIdentityAssociation", "UpdatePodIdentityAssociation"}:
        yield from passed(parameters["roleArn"], "pods.eks")
