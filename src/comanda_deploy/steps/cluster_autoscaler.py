"""Step 10: the Cluster Autoscaler: nodes come and go with the pods."""

from comanda_deploy import helm_release
from comanda_deploy.context import Context
from comanda_deploy.helm_release import Release, ReleaseFacts
from comanda_deploy.names import AUTOSCALER_ROLE, CLUSTER
from comanda_deploy.pod_identity import Identity
from comanda_deploy.settings import Settings
from comanda_deploy.step import Change, Kind, Step

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


class ClusterAutoscaler(Step[ReleaseFacts]):
    """Finds the node groups by the tags that EKS puts on them."""

    name = "cluster-autoscaler"
    about = "nodes come and go with the pods"
    verbs = ("install-cluster-autoscale", "cretae-service-account-autoscaler", "create-service-account-autoscaler")

    def observe(self, context: Context) -> ReleaseFacts:
        """Read the release, and the minor whose image it is to have."""
        minor = context.settings.cluster.kubernetes_version
        if CLUSTER in context.pages("eks", "list_clusters", "clusters"):
            minor = context.client("eks").describe_cluster(name=CLUSTER)["cluster"]["version"]
        told = {
            "awsRegion": context.region,
            "autoDiscovery.clusterName": CLUSTER,
            "image.tag": IMAGES.get(minor, ""),
        }
        return helm_release.observe(context, RELEASE, told)

    def decide(self, settings: Settings, facts: ReleaseFacts) -> list[Change]:
        """Install or mend it; refuse a minor for which no image is known."""
        if not facts.settings.get("image.tag"):
            mend = ("add its row to IMAGES in src/comanda_deploy/steps/cluster_autoscaler.py",)
            detail = f"no image is known for Kubernetes {settings.cluster.kubernetes_version}"
            return [Change(Kind.REFUSED, RELEASE.what, detail, mend=mend)]
        return list(helm_release.decide(RELEASE, facts))

    def decide_removal(self, settings: Settings, facts: ReleaseFacts) -> list[Change]:  # noqa: ARG002 - none is kept
        """Uninstall it."""
        return list(helm_release.decide_removal(RELEASE, facts))
