"""What the roles of the cluster may not: whoever gets hold of a node or of a pod has the cluster's things, no more."""

import pytest

from comanda_deploy.steps.roles import ROLES
from tests.deployment.rights.of_ec2 import of
from tests.deployment.rights.policies import allowed, of_role
from tests.deployment.rights.request import Request, arn, carried, request, requested, role

DRIVER = {"ebs.csi.aws.com/cluster": "true"}
NODE = {"kubernetes.io/cluster/comanda": "owned"}
CONTROLLER = {"elbv2.k8s.aws/cluster": "comanda"}
SCALED = {"k8s.io/cluster-autoscaler/comanda": "owned"}
THEIRS = {"Project": "somebody"}
OTHER_DRIVER = {"kubernetes.io/cluster/other": "owned"}
OTHER_CONTROLLER = {"elbv2.k8s.aws/cluster": "other"}


def secret(name: str) -> str:
    return arn("secretsmanager", f"secret:{name}-AbCdEf")


def group(name: str) -> str:
    return arn("logs", f"log-group:{name}")


def scaling_group(name: str) -> str:
    return arn("autoscaling", f"autoScalingGroup:1:autoScalingGroupName/{name}")


def of_elb(what: str) -> str:
    return arn("elasticloadbalancing", what)


MAY: list[tuple[str, Request]] = [
    ("ComandaExternalSecrets", request("secretsmanager:GetSecretValue", secret("comanda/api"))),
    ("ComandaExternalSecrets", request("secretsmanager:GetSecretValue", secret("comanda/db"))),
    ("ComandaExternalSecrets", request("secretsmanager:GetSecretValue", secret("comanda/grafana"))),
    ("ComandaEbsCsi", request("ec2:CreateVolume", of("volume", "*"), requested(DRIVER))),
    ("ComandaEbsCsi", request("ec2:CreateTags", of("volume", "*"), {"ec2:CreateAction": "CreateVolume"})),
    ("ComandaEbsCsi", request("ec2:CreateTags", of("snapshot", "*"), {"ec2:CreateAction": "CreateSnapshot"})),
    ("ComandaEbsCsi", request("ec2:CreateVolume", of("snapshot", "1"), carried(DRIVER))),
    ("ComandaEbsCsi", request("ec2:DeleteVolume", of("volume", "1"), carried(DRIVER))),
    ("ComandaEbsCsi", request("ec2:ModifyVolume", of("volume", "1"), carried(DRIVER))),
    ("ComandaEbsCsi", request("ec2:AttachVolume", of("volume", "1"), carried(DRIVER))),
    ("ComandaEbsCsi", request("ec2:AttachVolume", of("instance", "1"), carried(NODE))),
    ("ComandaEbsCsi", request("ec2:DetachVolume", of("instance", "1"), carried(NODE))),
    ("ComandaEbsCsi", request("ec2:CreateSnapshot", of("volume", "1"), carried(DRIVER))),
    ("ComandaEbsCsi", request("ec2:CreateSnapshot", of("snapshot", "*"), requested(DRIVER))),
    ("ComandaEbsCsi", request("ec2:DeleteSnapshot", of("snapshot", "1"), carried(DRIVER))),
    ("ComandaClusterAutoscaler", request("autoscaling:SetDesiredCapacity", scaling_group("eks-1"), carried(SCALED))),
    (
        "ComandaLoadBalancerController",
        request(
            "elasticloadbalancing:AddTags",
            of_elb("loadbalancer/app/k8s-api/*"),
            requested(CONTROLLER),
            {"elasticloadbalancing:CreateAction": "CreateLoadBalancer"},
        ),
    ),
    (
        "ComandaLoadBalancerController",
        request("elasticloadbalancing:AddTags", of_elb("listener/app/k8s-api/1/*"), requested(CONTROLLER)),
    ),
    (
        "ComandaLoadBalancerController",
        request("elasticloadbalancing:DeleteLoadBalancer", of_elb("loadbalancer/app/k8s/1"), carried(CONTROLLER)),
    ),
    ("ComandaBackups", request("ec2:DescribeSnapshots")),
    ("ComandaLogs", request("logs:CreateLogStream", group("/comanda/comanda:log-stream:"))),
    ("ComandaLogs", request("logs:PutLogEvents", group("/comanda/comanda-db:log-stream:node/comanda-db.database-0.x"))),
    ("AWS_EKS_NODE_GROUP_ROLE", request("ecr:BatchGetImage", arn("ecr", "repository/comanda-api"))),
    ("AWS_EKS_NODE_GROUP_ROLE", request("ec2:DescribeVolumes")),
    ("AWS_EKS_ROLE", request("eks:DescribeCluster", arn("eks", "cluster/comanda"))),
]
"""What each is there for, or all that follows would be denied to anybody."""


@pytest.mark.parametrize(("name", "asked"), MAY, ids=[f"{name} {asked.action}" for name, asked in MAY])
def test_a_role_may_what_it_is_there_for(name: str, asked: Request) -> None:
    assert allowed(of_role(name), asked)


MAY_NOT: list[tuple[str, Request]] = [
    # External Secrets reads comanda/*, and writes nothing.
    ("ComandaExternalSecrets", request("secretsmanager:GetSecretValue", secret("somebody"))),
    ("ComandaExternalSecrets", request("secretsmanager:GetSecretValue", secret("comanda-of-somebody"))),
    ("ComandaExternalSecrets", request("secretsmanager:PutSecretValue", secret("comanda/api"))),
    ("ComandaExternalSecrets", request("secretsmanager:DeleteSecret", secret("comanda/api"))),
    ("ComandaExternalSecrets", request("secretsmanager:ListSecrets")),
    ("ComandaExternalSecrets", request("ssm:GetParameter", arn("ssm", "parameter/comanda/lock"))),
    # The driver of disks has those with its tag, and puts that on none that is there already.
    *(
        ("ComandaEbsCsi", request(f"ec2:{action}", of("volume", "1"), carried(tags), requested(DRIVER)))
        for action in ("DeleteVolume", "ModifyVolume", "AttachVolume", "DetachVolume", "CreateSnapshot", "CreateTags")
        for tags in ({}, THEIRS, OTHER_DRIVER)
    ),
    *(
        ("ComandaEbsCsi", request(f"ec2:{action}", of("snapshot", "1"), carried(tags)))
        for action in ("DeleteSnapshot", "CreateVolume", "ModifySnapshotAttribute", "CreateTags")
        for tags in ({}, THEIRS)
    ),
    ("ComandaEbsCsi", request("ec2:CreateVolume", of("volume", "*"))),
    ("ComandaEbsCsi", request("ec2:CreateSnapshot", of("snapshot", "*"))),
    ("ComandaEbsCsi", request("ec2:AttachVolume", of("instance", "1"), carried(THEIRS))),
    ("ComandaEbsCsi", request("ec2:AttachVolume", of("instance", "1"), carried(OTHER_DRIVER))),
    # The autoscaler sizes the cluster's own groups.
    *(
        ("ComandaClusterAutoscaler", request(f"autoscaling:{action}", scaling_group("somebody"), carried(tags)))
        for action in ("SetDesiredCapacity", "TerminateInstanceInAutoScalingGroup")
        for tags in ({}, THEIRS, {"k8s.io/cluster-autoscaler/other": "owned"})
    ),
    *(
        ("ComandaClusterAutoscaler", request(f"autoscaling:{action}", scaling_group("eks-1"), carried(SCALED)))
        for action in ("UpdateAutoScalingGroup", "DeleteAutoScalingGroup", "CreateOrUpdateTags")
    ),
    ("ComandaClusterAutoscaler", request("eks:DescribeNodegroup", arn("eks", "nodegroup/somebody/general/1"))),
    # The load balancer controller has what it made for this cluster, and takes no other by tagging it.
    *(
        ("ComandaLoadBalancerController", request(f"elasticloadbalancing:{action}", of_elb(what), carried(tags)))
        for tags in ({}, THEIRS, OTHER_CONTROLLER)
        for action, what in (
            ("DeleteLoadBalancer", "loadbalancer/app/somebody/1"),
            ("ModifyLoadBalancerAttributes", "loadbalancer/app/somebody/1"),
            ("SetSecurityGroups", "loadbalancer/app/somebody/1"),
            ("CreateListener", "loadbalancer/app/somebody/1"),
            ("ModifyListener", "listener/app/somebody/1/1"),
            ("DeleteRule", "listener-rule/app/somebody/1/1/1"),
            ("RegisterTargets", "targetgroup/somebody/1"),
            ("DeleteTargetGroup", "targetgroup/somebody/1"),
        )
    ),
    *(
        (
            "ComandaLoadBalancerController",
            request("elasticloadbalancing:AddTags", of_elb(what), requested(CONTROLLER), carried(THEIRS)),
        )
        for what in ("loadbalancer/app/somebody/1", "targetgroup/somebody/1")
    ),
    *(
        ("ComandaLoadBalancerController", request(f"ec2:{action}", of("security-group", "sg-1"), carried(tags)))
        for action in ("AuthorizeSecurityGroupIngress", "RevokeSecurityGroupIngress", "DeleteSecurityGroup")
        for tags in ({}, THEIRS, OTHER_CONTROLLER)
    ),
    (
        "ComandaLoadBalancerController",
        request("ec2:CreateTags", of("security-group", "sg-1"), requested(CONTROLLER), carried(THEIRS)),
    ),
    ("ComandaLoadBalancerController", request("ec2:CreateSecurityGroup", of("vpc", "vpc-1"), carried(THEIRS))),
    # Backups look.
    *(
        ("ComandaBackups", request(f"ec2:{action}", of("volume", "1"), carried({**DRIVER, "Project": "comanda"})))
        for action in ("CreateSnapshot", "DeleteVolume", "AttachVolume")
    ),
    ("ComandaBackups", request("ec2:DeleteSnapshot", of("snapshot", "1"), carried({**DRIVER, "Project": "comanda"}))),
    ("ComandaBackups", request("secretsmanager:GetSecretValue", secret("comanda/db"))),
    # Fluent Bit is on every node: it adds lines to our groups. It reads none, makes no group, shortens no retention.
    *(
        ("ComandaLogs", request(f"logs:{action}", group(f"{name}:log-stream:x")))
        for action in ("CreateLogStream", "PutLogEvents")
        for name in ("/aws/eks/comanda/cluster", "/aws/lambda/somebody", "/comanda-of-somebody")
    ),
    *(
        ("ComandaLogs", request(f"logs:{action}", group("/comanda/comanda:log-stream:")))
        for action in ("CreateLogGroup", "DeleteLogGroup", "DeleteLogStream", "FilterLogEvents", "GetLogEvents")
    ),
    ("ComandaLogs", request("logs:PutRetentionPolicy", group("/comanda/comanda:log-stream:"))),
    ("ComandaLogs", request("logs:StartQuery", group("/comanda/comanda:log-stream:"))),
    # Nodes, and with them every pod on the host's network.
    ("AWS_EKS_NODE_GROUP_ROLE", request("secretsmanager:GetSecretValue", secret("comanda/db"))),
    ("AWS_EKS_NODE_GROUP_ROLE", request("secretsmanager:ListSecrets")),
    *(
        ("AWS_EKS_NODE_GROUP_ROLE", request(f"ec2:{action}", of("volume", "1"), carried({**DRIVER, **NODE})))
        for action in ("DeleteVolume", "ModifyVolume", "AttachVolume", "DetachVolume", "CreateSnapshot", "CreateVolume")
    ),
    ("AWS_EKS_NODE_GROUP_ROLE", request("ec2:DeleteSnapshot", of("snapshot", "1"), carried(DRIVER))),
    ("AWS_EKS_NODE_GROUP_ROLE", request("ecr:PutImage", arn("ecr", "repository/comanda-api"))),
    ("AWS_EKS_NODE_GROUP_ROLE", request("autoscaling:SetDesiredCapacity", scaling_group("eks-1"), carried(SCALED))),
    ("AWS_EKS_NODE_GROUP_ROLE", request("eks:CreateAccessEntry", arn("eks", "cluster/comanda"))),
    # The control plane changes neither itself nor its nodes by its role, and reads no secret.
    ("AWS_EKS_ROLE", request("secretsmanager:GetSecretValue", secret("comanda/db"))),
    ("AWS_EKS_ROLE", request("eks:UpdateClusterConfig", arn("eks", "cluster/comanda"))),
    ("AWS_EKS_ROLE", request("eks:DeleteNodegroup", arn("eks", "nodegroup/comanda/comanda-general-a/1"))),
    ("AWS_EKS_ROLE", request("eks:DescribeCluster", arn("eks", "cluster/somebody"))),
]


@pytest.mark.parametrize(
    ("name", "asked"), MAY_NOT, ids=[f"{number} {name} {asked.action}" for number, (name, asked) in enumerate(MAY_NOT)]
)
def test_a_role_may_not_reach_beyond_that(name: str, asked: Request) -> None:
    assert not allowed(of_role(name), asked), str(asked)


@pytest.mark.parametrize("name", ROLES)
def test_no_role_of_the_cluster_makes_itself_more_than_it_is(name: str) -> None:
    on = [*(role(each) for each in ROLES), arn("iam", "user/comanda-operator", region=""), "*"]
    actions = ("AttachRolePolicy", "CreateAccessKey", "CreatePolicyVersion", "CreateRole", "PassRole", "PutRolePolicy")
    for action in (*(f"iam:{each}" for each in (*actions, "UpdateAssumeRolePolicy")), "sts:AssumeRole"):
        assert [who for who in on if allowed(of_role(name), request(action, who))] == [], action
