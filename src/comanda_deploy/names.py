"""What things are called in AWS and Kubernetes.

One Comanda stands in an account and region (several environments are several accounts, as AWS advises), so the names
are constants: the IAM policies in `infra/iam` can name them as they stand, and AWS can be asked for them without any
state of our own.
"""

TAG = "Project"
TAG_VALUE = "comanda"
"""Every AWS resource that is made here carries this tag: the policies and the inventory go by it."""

CLUSTER = "comanda"
VPC = "comanda"
REPOSITORY = "comanda-api"
LOCK_PARAMETER = "/comanda/lock"
LOG_GROUP = f"/aws/eks/{CLUSTER}/cluster"
"""Of the control plane."""
POD_LOG_GROUPS = "/comanda/"
"""What those of the pods begin with: one for each namespace, `/comanda/comanda`."""

OPERATOR_USER = "comanda-operator"
CLUSTER_ROLE = "AWS_EKS_ROLE"
NODE_ROLE = "AWS_EKS_NODE_GROUP_ROLE"
EBS_CSI_ROLE = "ComandaEbsCsi"
EXTERNAL_SECRETS_ROLE = "ComandaExternalSecrets"
LOAD_BALANCER_ROLE = "ComandaLoadBalancerController"
AUTOSCALER_ROLE = "ComandaClusterAutoscaler"
BACKUPS_ROLE = "ComandaBackups"
LOGS_ROLE = "ComandaLogs"

DATABASE_GROUP = "comanda-database"
GENERAL_GROUP = "comanda-general"
"""One group a zone: the zone's letter follows, as in `comanda-general-a`."""
NODE_GROUP_LABEL = "comanda/node-group"
"""`database` or `general`: where the manifests ask for a node."""
LAUNCH_TEMPLATE = "comanda-nodes"

NAMESPACE = "comanda"
DATABASE_NAMESPACE = "comanda-db"
MONITORING_NAMESPACE = "monitoring"
LOGGING_NAMESPACE = "logging"
API_SECRET = "comanda/api"  # noqa: S105 - the entry's name
DATABASE_SECRET = "comanda/db"  # noqa: S105 - the entry's name
GRAFANA_SECRET = "comanda/grafana"  # noqa: S105 - the entry's name
ALERTMANAGER_SECRET = "comanda/alertmanager"  # noqa: S105 - the entry's name


def tags(**more: str) -> dict[str, str]:
    """Answer the tags of a thing of ours, with `more` beside them."""
    return {TAG: TAG_VALUE, **more}


def tag_list(**more: str) -> list[dict[str, str]]:
    """Answer the same as AWS's older services want them: a list of Key and Value."""
    return [{"Key": key, "Value": value} for key, value in tags(**more).items()]


def tag_specification(kind: str, name: str, **more: str) -> list[dict[str, object]]:
    """Answer EC2's TagSpecifications for one new thing of `kind` ("subnet"), called `name`.

    Tags given at creation leave no moment in which the thing is there and nobody's.
    """
    return [{"ResourceType": kind, "Tags": tag_list(Name=name, **more)}]
