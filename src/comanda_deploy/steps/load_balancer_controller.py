"""Step 9: the AWS Load Balancer Controller: an Ingress becomes a load balancer."""

from comanda_deploy import helm_release
from comanda_deploy.context import Context
from comanda_deploy.helm_release import Release, ReleaseFacts
from comanda_deploy.names import CLUSTER, LOAD_BALANCER_ROLE, TAG, TAG_VALUE, VPC
from comanda_deploy.pod_identity import Identity
from comanda_deploy.settings import Settings
from comanda_deploy.step import Change, Kind, Step
from comanda_deploy.steps.network import known_vpcs

RELEASE = Release(
    "aws-load-balancer-controller",
    "aws-load-balancer-controller",
    "https://aws.github.io/eks-charts",
    "3.5.0",
    "kube-system",
    Identity("kube-system", "aws-load-balancer-controller", LOAD_BALANCER_ROLE),
)


class LoadBalancerController(Step[ReleaseFacts]):
    """With one hop to the metadata service it cannot find region and VPC out by itself: it is told."""

    name = "load-balancer-controller"
    about = "an Ingress becomes a load balancer"

    def observe(self, context: Context) -> ReleaseFacts:
        """Read the release, and the VPC it is to be told of."""
        networks = known_vpcs(context)
        told = {"clusterName": CLUSTER, "region": context.region, "vpcId": networks[0]["VpcId"] if networks else ""}
        return helm_release.observe(context, RELEASE, told)

    def decide(self, settings: Settings, facts: ReleaseFacts) -> list[Change]:  # noqa: ARG002 - none applies
        """Install or mend it; a cluster's VPC that is not known as ours any more would be told to it as none."""
        if facts.identities.cluster and not facts.settings.get("vpcId"):
            mend = (f"put the tags Name={VPC} and {TAG}={TAG_VALUE} back on the cluster's VPC in the VPC console",)
            return [Change(Kind.REFUSED, RELEASE.what, "there is no VPC of our name and tag", mend=mend)]
        return list(helm_release.decide(RELEASE, facts))

    def decide_removal(self, settings: Settings, facts: ReleaseFacts) -> list[Change]:  # noqa: ARG002 - none is kept
        """Uninstall it, once no load balancer is left for it to remove."""
        return list(helm_release.decide_removal(RELEASE, facts))
