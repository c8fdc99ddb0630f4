"""What the pages tell the operator to do by hand, as comanda-operator: by the AWS CLI, docker, or in a console."""

from collections.abc import Iterator

from comanda_testbed.bed import TestBed
from tests.deployment.recording import Call, requests_of
from tests.deployment.rights import of_eks
from tests.deployment.rights.of_ec2 import of
from tests.deployment.rights.request import Request, arn, carried, request
from tests.deployment.rights.things import Things

GROUP = {"clusterName": "comanda", "nodegroupName": "comanda-general-a"}

COMMANDS: tuple[tuple[str, str, dict[str, str]], ...] = (
    # docs/runbook.md, nodes: a group that could not be made, newer images.
    ("eks", "DeleteNodegroup", GROUP),
    ("eks", "UpdateNodegroupVersion", GROUP),
    # docs/runbook.md, addons: undo.
    ("eks", "DeleteAddon", {"clusterName": "comanda", "addonName": "metrics-server"}),
    # docs/runbook.md, cluster: one that could not be made.
    ("eks", "DeleteCluster", {"name": "comanda"}),
    # The kubeconfig: `aws eks get-token` signs a call of STS, and kubectl sends it.
    ("sts", "GetCallerIdentity", {}),
    # docs/secrets.md, change one by hand: on the command line, and what the console asks beside.
    ("secretsmanager", "GetSecretValue", {"SecretId": "comanda/api"}),
    ("secretsmanager", "PutSecretValue", {"SecretId": "comanda/api"}),
    ("secretsmanager", "DescribeSecret", {"SecretId": "comanda/api"}),
    ("secretsmanager", "ListSecrets", {}),
)

PUSHING = (
    "BatchCheckLayerAvailability",
    "BatchGetImage",
    "CompleteLayerUpload",
    "InitiateLayerUpload",
    "PutImage",
    "UploadLayerPart",
)
"""What `docker push` does (ECR user guide, IAM permissions for pushing an image)."""

PULLING = ("BatchGetImage", "GetDownloadUrlForLayer")
"""What `docker pull` does (ECR user guide): of an image to go back to."""


def by_hand(bed: TestBed) -> Iterator[Call]:
    """Answer what IAM is asked for each, in an account that is built."""
    things = Things(bed)
    for service, operation, parameters in COMMANDS:
        yield Call(f"{service}:{operation} by hand", tuple(requests_of(service, operation, parameters, things)))
    repository = arn("ecr", "repository/comanda-api")
    yield Call("docker login", (request("ecr:GetAuthorizationToken"),))
    yield Call("docker push", tuple(request(f"ecr:{each}", repository) for each in PUSHING))
    yield Call("docker pull", tuple(request(f"ecr:{each}", repository) for each in PULLING))
    yield Call("aws ecr describe-images", (request("ecr:DescribeImages", repository),))
    yield Call("console", tuple(_in_consoles()))


def _in_consoles() -> Iterator[Request]:
    # docs/runbook.md, raising Kubernetes: look at the cluster's upgrade insights in the EKS console.
    cluster = of_eks.cluster("comanda")
    for action in ("AccessKubernetesApi", "DescribeInsight", "ListInsights"):
        yield request(f"eks:{action}", cluster, carried({"Project": "comanda"}))
    # docs/logs.md: a query of Logs Insights.
    for action in ("StartQuery", "GetQueryResults"):
        yield request(f"logs:{action}", arn("logs", "log-group:/comanda/comanda:log-stream:"))
    # docs/runbook.md, network: made twice; delete the empty one in the VPC console.
    yield request("ec2:DeleteVpc", of("vpc", "vpc-made-twice"), carried({"Project": "comanda", "Name": "comanda"}))
    # docs/runbook.md, address: the name is in use already, delete that record in Route 53.
    zone = arn("route53", "hostedzone/Z0123456789", region="", account="")
    for kind in ("A", "AAAA", "CNAME"):
        yield request(
            "route53:ChangeResourceRecordSets",
            zone,
            {
                "route53:ChangeResourceRecordSetsActions": ("DELETE",),
                "route53:ChangeResourceRecordSetsNormalizedRecordNames": ("pedidos.example.com",),
                "route53:ChangeResourceRecordSetsRecordTypes": (kind,),
            },
        )
