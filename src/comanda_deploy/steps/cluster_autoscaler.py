"""Step 10: the Cluster Autoscaler: nodes come and go with the pods."""

from dataclasses import dataclass

from botocore.exceptions import ClientError

from comanda_deploy import helm_release
from comanda_deploy.aws_errors import code_of
from comanda_deploy.context import Context
from comanda_deploy.helm_release import Release, ReleaseFacts
from comanda_deploy.names import AUTOSCALER_ROLE, CLUSTER
from comanda_deploy.pod_identity import Identity
from comanda_deploy.settings import Settings
from comanda_deploy.step import Change, Kind, Step
from comanda_deploy.steps.cluster import minor_of

RELEASE = Release(
    "cluster-autoscaler",
    "cluster-autoscaler",
    "https://kubernetes.github.io/autoscaler",
    "9.59.0",
    "kube-system",
    Identity("kube-system", "cluster-autoscaler", AUTOSCALER_ROLE),
)

IMAGES = {"1.34": "v1.34.4", "1.35": "v1.35.1", "1.36": "v1.36.1"}
"""It simulates the scheduler of its own minor, so it must be the cluster's (Cluster Autoscaler, releases)."""


@dataclass(frozen=True)
class AutoscalerFacts:
    """The release as it is, and the minor whose image it is to have: the cluster's, or what is yet to be made."""

    minor: str
    release: ReleaseFacts


class ClusterAutoscaler(Step[AutoscalerFacts]):
    """Finds the node groups by the tags that EKS puts on them."""

    name = "cluster-autoscaler"
    about = "nodes come and go with the pods"

    def observe(self, context: Context) -> AutoscalerFacts:
        """Read the release, and the minor whose image it is to have."""
        try:
            minor = context.client("eks").describe_cluster(name=CLUSTER)["cluster"]["version"]
        except ClientError as error:
            if code_of(error) != "ResourceNotFoundException":
                raise
            minor = context.settings.cluster.kubernetes_version
        told = {
            "awsRegion": context.region,
            "autoDiscovery.clusterName": CLUSTER,
            "image.tag": IMAGES.get(minor, ""),
        }
        return AutoscalerFacts(minor, helm_release.observe(context, RELEASE, told))

    def decide(self, settings: Settings, facts: AutoscalerFacts) -> list[Change]:
        """Install or mend it; refuse a minor for which no image is known before the cluster is raised to it."""
        wanted = settings.cluster.kubernetes_version
        aim = max(facts.minor, wanted, key=minor_of)
        if aim not in IMAGES:
            mend = ["add its row to IMAGES in src/comanda_deploy/steps/cluster_autoscaler.py"]
            if aim == wanted:
                mend.insert(0, f"set cluster.kubernetes_version to one of {', '.join(IMAGES)}, or")
            return [Change(Kind.REFUSED, RELEASE.what, f"no image is known for Kubernetes {aim}", mend=tuple(mend))]
        if facts.minor not in IMAGES:
            detail = f"no image is known for Kubernetes {facts.minor}: once the cluster is raised"
            return [Change(Kind.LATER, RELEASE.what, detail)]
        return list(helm_release.decide(RELEASE, facts.release))

    def decide_removal(self, settings: Settings, facts: AutoscalerFacts) -> list[Change]:  # noqa: ARG002 - none is kept
        """Uninstall it."""
        return list(helm_release.decide_removal(RELEASE, facts.release))
