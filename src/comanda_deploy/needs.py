"""What a step rests on, and the verb that makes it: looked for before a step that is run alone."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from botocore.exceptions import ClientError

from comanda_deploy.aws_errors import code_of
from comanda_deploy.context import Context
from comanda_deploy.errors import DeployError
from comanda_deploy.names import CLUSTER, CLUSTER_ROLE
from comanda_deploy.pod_identity import role_arn
from comanda_deploy.step import Step
from comanda_deploy.steps import kubeconfig
from comanda_deploy.steps.network import known_vpcs


@dataclass(frozen=True)
class Need:
    """Something that must be there.

    Args:
        made_by: the step that makes it. verb: how a person says that.
        lacking: what is said where it is not there.
        there: looks for it.
    """

    made_by: str
    verb: str
    lacking: str
    there: Callable[[Context], bool]


def _has_roles(context: Context) -> bool:
    return role_arn(context, CLUSTER_ROLE) is not None


def _has_network(context: Context) -> bool:
    return bool(known_vpcs(context))


def _has_cluster(context: Context) -> bool:
    try:
        found = context.client("eks").describe_cluster(name=CLUSTER)["cluster"]
    except ClientError as error:
        if code_of(error) == "ResourceNotFoundException":
            return False
        raise
    return found["status"] in {"ACTIVE", "UPDATING"}


def _has_nodes(context: Context) -> bool:
    return bool(context.pages("eks", "list_nodegroups", "nodegroups", clusterName=CLUSTER))


ROLES = Need("bootstrap", "comanda-deploy bootstrap, by an administrator", "there are no roles yet", _has_roles)
NETWORK = Need("network", "create-eks-cluster", "there is no VPC yet", _has_network)
THE_CLUSTER = Need("cluster", "create-eks-cluster", "no cluster yet", _has_cluster)
NODES = Need("nodes", "create-node-group", "there are no nodes yet", _has_nodes)
KUBECONFIG = Need(
    "kubeconfig", "update-kubeconfig", "kubectl does not know the cluster yet", kubeconfig.knows_the_cluster
)

NEEDS: dict[str, tuple[Need, ...]] = {
    "cluster": (ROLES, NETWORK),
    "nodes": (ROLES, THE_CLUSTER),
    "kubeconfig": (THE_CLUSTER,),
    "addons": (ROLES, THE_CLUSTER, NODES),
    "external-secrets": (ROLES, THE_CLUSTER, NODES, KUBECONFIG),
    "load-balancer-controller": (ROLES, THE_CLUSTER, NODES, KUBECONFIG),
    "cluster-autoscaler": (ROLES, THE_CLUSTER, NODES, KUBECONFIG),
    "logs": (ROLES, THE_CLUSTER, NODES, KUBECONFIG),
    # Whatever else there must be, the cluster itself says: it may be one that EKS did not make.
    "database": (KUBECONFIG,),
    "api": (KUBECONFIG,),
    "monitoring": (KUBECONFIG,),
}
"""By the step's name. What is not here needs credentials alone."""


def look(context: Context, steps: Sequence[Step[Any]]) -> None:
    """Look whether all is there that steps rest on and do not make themselves.

    Raises:
        DeployError: something is not, with the verb that makes it.
    """
    made = {step.name for step in steps}
    for need in dict.fromkeys(need for step in steps for need in NEEDS.get(step.name, ())):
        if need.made_by not in made and not need.there(context):
            raise DeployError(f"{need.lacking}: run {need.verb}")
