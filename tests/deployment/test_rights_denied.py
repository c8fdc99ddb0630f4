"""What the operator may not, whatever it is that runs under its name: other things, other roles, rights of its own."""

import pytest

from comanda_deploy.steps.roles import POLICIES, ROLES
from tests.deployment.rights.of_ec2 import of
from tests.deployment.rights.policies import OPERATOR, allowed
from tests.deployment.rights.request import Request, arn, carried, request, requested, role

OURS = {"Project": "comanda"}
THEIRS = {"Project": "somebody", "Name": "somebody"}
UNTAGGED: dict[str, str] = {}


def of_elb(what: str) -> str:
    return arn("elasticloadbalancing", what)


STRANGE: list[tuple[str, str]] = [
    # By our tag, or by the tags of our cluster.
    ("ec2:DeleteVpc", of("vpc", "vpc-1")),
    ("ec2:ModifyVpcAttribute", of("vpc", "vpc-1")),
    ("ec2:AttachInternetGateway", of("vpc", "vpc-1")),
    ("ec2:CreateSubnet", of("vpc", "vpc-1")),
    ("ec2:CreateRouteTable", of("vpc", "vpc-1")),
    ("ec2:DeleteSubnet", of("subnet", "subnet-1")),
    ("ec2:ModifySubnetAttribute", of("subnet", "subnet-1")),
    ("ec2:CreateNatGateway", of("subnet", "subnet-1")),
    ("ec2:CreateNatGateway", of("elastic-ip", "eipalloc-1")),
    ("ec2:ReleaseAddress", of("elastic-ip", "eipalloc-1")),
    ("ec2:DeleteNatGateway", of("natgateway", "nat-1")),
    ("ec2:DeleteInternetGateway", of("internet-gateway", "igw-1")),
    ("ec2:CreateRoute", of("route-table", "rtb-1")),
    ("ec2:ReplaceRoute", of("route-table", "rtb-1")),
    ("ec2:DeleteRoute", of("route-table", "rtb-1")),
    ("ec2:DeleteRouteTable", of("route-table", "rtb-1")),
    ("ec2:DeleteVolume", of("volume", "vol-1")),
    ("ec2:DeleteSnapshot", of("snapshot", "snap-1")),
    ("ec2:DeleteSecurityGroup", of("security-group", "sg-1")),
    ("ec2:DeleteNetworkInterface", of("network-interface", "eni-1")),
    ("ec2:CreateLaunchTemplateVersion", of("launch-template", "lt-1")),
    ("ec2:ModifyLaunchTemplate", of("launch-template", "lt-1")),
    ("ec2:DeleteLaunchTemplate", of("launch-template", "lt-1")),
    ("ec2:RunInstances", of("launch-template", "lt-1")),
    ("elasticloadbalancing:DeleteLoadBalancer", of_elb("loadbalancer/app/somebody/1")),
    ("elasticloadbalancing:DeleteLoadBalancer", of_elb("loadbalancer/somebody")),
    ("elasticloadbalancing:ModifyLoadBalancerAttributes", of_elb("loadbalancer/app/somebody/1")),
    ("elasticloadbalancing:DeleteTargetGroup", of_elb("targetgroup/somebody/1")),
    ("acm:DeleteCertificate", arn("acm", "certificate/1")),
    ("acm:DescribeCertificate", arn("acm", "certificate/1")),
    # By our names.
    ("eks:CreateCluster", arn("eks", "cluster/somebody")),
    ("eks:DeleteCluster", arn("eks", "cluster/somebody")),
    ("eks:DescribeCluster", arn("eks", "cluster/comanda-of-somebody")),
    ("eks:UpdateClusterConfig", arn("eks", "cluster/somebody")),
    ("eks:CreateAccessEntry", arn("eks", "cluster/somebody")),
    ("eks:AccessKubernetesApi", arn("eks", "cluster/somebody")),
    ("eks:DeleteNodegroup", arn("eks", "nodegroup/somebody/comanda-general-a/1")),
    ("eks:UpdateNodegroupConfig", arn("eks", "nodegroup/comanda-of-somebody/general/1")),
    ("eks:DeleteAddon", arn("eks", "addon/somebody/coredns/1")),
    ("eks:AssociateAccessPolicy", arn("eks", "access-entry/somebody/user/123456789012/comanda-operator/1")),
    ("eks:UpdatePodIdentityAssociation", arn("eks", "podidentityassociation/somebody/a-1")),
    ("eks:TagResource", arn("eks", "cluster/somebody")),
    ("ecr:PutImage", arn("ecr", "repository/somebody")),
    ("ecr:PutImage", arn("ecr", "repository/comanda-of-somebody")),
    ("ecr:BatchGetImage", arn("ecr", "repository/somebody")),
    ("ecr:DeleteRepository", arn("ecr", "repository/somebody")),
    ("secretsmanager:GetSecretValue", arn("secretsmanager", "secret:somebody-AbCdEf")),
    ("secretsmanager:GetSecretValue", arn("secretsmanager", "secret:comanda-of-somebody-AbCdEf")),
    ("secretsmanager:PutSecretValue", arn("secretsmanager", "secret:somebody-AbCdEf")),
    ("secretsmanager:DeleteSecret", arn("secretsmanager", "secret:somebody-AbCdEf")),
    ("logs:DeleteLogGroup", arn("logs", "log-group:/aws/eks/somebody/cluster:log-stream:")),
    ("logs:PutRetentionPolicy", arn("logs", "log-group:/aws/lambda/somebody:log-stream:")),
    ("logs:StartQuery", arn("logs", "log-group:/aws/eks/comanda/cluster:log-stream:")),
    ("logs:DeleteLogGroup", arn("logs", "log-group:/comanda-of-somebody:log-stream:")),
    ("ssm:GetParameter", arn("ssm", "parameter/somebody")),
    ("ssm:PutParameter", arn("ssm", "parameter/comanda/lock-of-somebody")),
    ("ssm:DeleteParameter", arn("ssm", "parameter/somebody")),
]


@pytest.mark.parametrize("tags", [THEIRS, UNTAGGED], ids=["theirs", "untagged"])
@pytest.mark.parametrize(("action", "resource"), STRANGE, ids=[f"{a} on {r.split(':', 5)[5]}" for a, r in STRANGE])
def test_somebody_elses_things_are_left_alone(action: str, resource: str, tags: dict[str, str]) -> None:
    """Asked for with our tag in the request, wherever AWS might put that."""
    assert not allowed(OPERATOR, request(action, resource, carried(tags), requested(OURS)))


@pytest.mark.parametrize(
    "resource",
    [
        of(kind, "1")
        for kind in (
            *("vpc", "subnet", "route-table", "internet-gateway", "natgateway", "elastic-ip", "launch-template"),
            *("instance", "volume", "snapshot", "network-interface", "security-group", "image"),
        )
    ],
    ids=lambda resource: resource.split(":")[5],
)
@pytest.mark.parametrize("tags", [THEIRS, UNTAGGED], ids=["theirs", "untagged"])
def test_nothing_is_taken_by_tagging_it_as_ours(resource: str, tags: dict[str, str]) -> None:
    assert not allowed(OPERATOR, request("ec2:CreateTags", resource, carried(tags), requested(OURS)))


@pytest.mark.parametrize(
    ("action", "resource"),
    [
        ("acm:AddTagsToCertificate", arn("acm", "certificate/1")),
        ("ecr:TagResource", arn("ecr", "repository/somebody")),
        ("eks:TagResource", arn("eks", "cluster/somebody")),
        ("elasticloadbalancing:AddTags", of_elb("loadbalancer/app/somebody/1")),
        ("logs:TagResource", arn("logs", "log-group:/aws/lambda/somebody")),
        ("secretsmanager:TagResource", arn("secretsmanager", "secret:somebody-AbCdEf")),
        ("ssm:AddTagsToResource", arn("ssm", "parameter/somebody")),
    ],
)
def test_nothing_of_another_service_is_taken_by_tagging_it_as_ours(action: str, resource: str) -> None:
    assert not allowed(OPERATOR, request(action, resource, requested(OURS)))


def test_our_tag_is_taken_off_nothing() -> None:
    for kind in ("vpc", "subnet", "instance", "volume"):
        assert not allowed(OPERATOR, request("ec2:DeleteTags", of(kind, "1"), carried(OURS)))


WHO = [
    *(role(name) for name in ROLES),
    role("somebody"),
    role("aws-reserved/sso.amazonaws.com/AWSReservedSSO_Comanda_0123456789abcdef"),
    arn("iam", "user/comanda-operator", region=""),
    arn("iam", "user/somebody", region=""),
    arn("iam", "group/administrators", region=""),
    *(arn("iam", f"policy/{name}", region="") for name in POLICIES),
    "*",
]

MAKING_ONESELF_ADMINISTRATOR = [
    "iam:AddRoleToInstanceProfile",
    "iam:AddUserToGroup",
    "iam:AttachGroupPolicy",
    "iam:AttachRolePolicy",
    "iam:AttachUserPolicy",
    "iam:CreateAccessKey",
    "iam:CreateInstanceProfile",
    "iam:CreateLoginProfile",
    "iam:CreateOpenIDConnectProvider",
    "iam:CreatePolicy",
    "iam:CreatePolicyVersion",
    "iam:CreateRole",
    "iam:CreateServiceLinkedRole",
    "iam:CreateUser",
    "iam:DeleteRolePermissionsBoundary",
    "iam:DeleteUserPermissionsBoundary",
    "iam:DetachUserPolicy",
    "iam:PutGroupPolicy",
    "iam:PutRolePolicy",
    "iam:PutUserPolicy",
    "iam:SetDefaultPolicyVersion",
    "iam:TagRole",
    "iam:UpdateAccessKey",
    "iam:UpdateAssumeRolePolicy",
    "iam:UpdateLoginProfile",
    "sts:AssumeRole",
]


@pytest.mark.parametrize("action", MAKING_ONESELF_ADMINISTRATOR)
def test_nobody_makes_oneself_more_than_the_operator(action: str) -> None:
    assert [who for who in WHO if allowed(OPERATOR, request(action, who, requested(OURS), carried(OURS)))] == []


SERVICES = (
    *("eks", "ec2", "pods.eks", "lambda", "ecs-tasks", "ecs", "cloudformation", "codebuild", "glue", "sagemaker"),
    *("ssm", "states", "scheduler", "batch", "datapipeline", "eks-fargate-pods"),
)

PASSED_ON = {
    "AWS_EKS_ROLE": {"eks"},
    "AWS_EKS_NODE_GROUP_ROLE": {"eks", "ec2"},
    "ComandaBackups": {"pods.eks"},
    "ComandaClusterAutoscaler": {"pods.eks"},
    "ComandaEbsCsi": {"pods.eks"},
    "ComandaExternalSecrets": {"pods.eks"},
    "ComandaLoadBalancerController": {"pods.eks"},
    "ComandaLogs": {"pods.eks"},
}
"""Which role may be passed on to which services: each to its own."""


def passing(name: str, service: str) -> Request:
    return request("iam:PassRole", role(name), {"iam:PassedToService": f"{service}.amazonaws.com"})


@pytest.mark.parametrize("name", ROLES)
def test_a_role_is_passed_on_to_its_own_service_only(name: str) -> None:
    assert {service for service in SERVICES if allowed(OPERATOR, passing(name, service))} == PASSED_ON[name]
    assert not allowed(OPERATOR, request("iam:PassRole", role(name))), "to whom must be said"


@pytest.mark.parametrize(
    "name",
    [
        *("Administrator", "OrganizationAccountAccessRole", "AWS_EKS_ROLE_2", "ComandaAdministrator", "path/Comanda"),
        "aws-service-role/eks.amazonaws.com/AWSServiceRoleForAmazonEKS",
        "aws-reserved/sso.amazonaws.com/AWSReservedSSO_AdministratorAccess_0123456789abcdef",
    ],
)
def test_no_other_role_is_passed_on(name: str) -> None:
    assert [service for service in SERVICES if allowed(OPERATOR, passing(name, service))] == []


def test_no_instance_is_started_but_from_a_template() -> None:
    for kind in ("instance", "volume", "network-interface", "subnet", "security-group", "image"):
        assert not allowed(OPERATOR, request("ec2:RunInstances", of(kind, "*"), requested(OURS), carried(OURS)))


def test_no_instance_is_started_from_somebody_elses_disk() -> None:
    by_template = {"ec2:LaunchTemplate": of("launch-template", "lt-1")}
    for kind in ("snapshot", "key-pair"):
        assert not allowed(OPERATOR, request("ec2:RunInstances", of(kind, "1"), by_template, carried(OURS)))


def test_a_security_group_can_be_closed_and_never_opened() -> None:
    for tags in (OURS, THEIRS, UNTAGGED, {"elbv2.k8s.aws/cluster": "comanda"}):
        for action in ("AuthorizeSecurityGroupIngress", "AuthorizeSecurityGroupEgress", "ModifySecurityGroupRules"):
            assert not allowed(OPERATOR, request(f"ec2:{action}", of("security-group", "sg-1"), carried(tags)))


def records(action: str, kind: str, *more: str) -> Request:
    return request(
        "route53:ChangeResourceRecordSets",
        arn("route53", "hostedzone/Z1", region="", account=""),
        {
            "route53:ChangeResourceRecordSetsActions": (action,),
            "route53:ChangeResourceRecordSetsRecordTypes": (kind, *more),
            "route53:ChangeResourceRecordSetsNormalizedRecordNames": ("example.com",),
        },
    )


@pytest.mark.parametrize("kind", ["CAA", "DS", "MX", "NS", "SOA", "SRV", "TXT"])
def test_mail_and_name_servers_of_a_zone_are_left_alone(kind: str) -> None:
    for action in ("CREATE", "UPSERT", "DELETE"):
        assert not allowed(OPERATOR, records(action, kind))
        assert not allowed(OPERATOR, records(action, "A", kind)), "not beside one that may be changed either"


def test_a_zone_itself_is_left_alone() -> None:
    zone = arn("route53", "hostedzone/Z1", region="", account="")
    for action in ("CreateHostedZone", "DeleteHostedZone", "ChangeTagsForResource", "AssociateVPCWithHostedZone"):
        assert not allowed(OPERATOR, request(f"route53:{action}", zone))


def test_a_certificate_is_asked_for_with_our_tag_only() -> None:
    assert not allowed(OPERATOR, request("acm:RequestCertificate"))
    assert not allowed(OPERATOR, request("acm:RequestCertificate", "*", requested(THEIRS)))


def test_a_cluster_is_made_with_our_tag_only() -> None:
    assert not allowed(OPERATOR, request("eks:CreateCluster", arn("eks", "cluster/comanda")))
    assert not allowed(OPERATOR, request("eks:CreateCluster", arn("eks", "cluster/comanda"), requested(THEIRS)))
