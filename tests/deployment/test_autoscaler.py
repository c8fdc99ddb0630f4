"""What the Cluster Autoscaler and the Load Balancer Controller are told of what is there, and what they are refused.

What is decided of a release of helm in general stands in test_releases.
"""

from dataclasses import replace
from typing import Any

import pytest

from comanda_deploy import engine, helm_release
from comanda_deploy.helm_release import Release, ReleaseFacts, values_of
from comanda_deploy.pod_identity import Association, IdentityFacts
from comanda_deploy.runbook import named
from comanda_deploy.steps import cluster_autoscaler, load_balancer_controller
from comanda_deploy.steps.cluster_autoscaler import IMAGES, AutoscalerFacts, ClusterAutoscaler
from comanda_deploy.steps.load_balancer_controller import LoadBalancerController
from tests.deployment.account import USUAL, Account, as_said, changed


def built(release: Release, told: dict[str, Any]) -> ReleaseFacts:
    """Answer the facts of a release that is as it should be."""
    return ReleaseFacts(
        True,
        chart=f"{release.chart}-{release.version}",
        status="deployed",
        values=helm_release.canonical(values_of(release, told)),
        settings=told,
        identities=IdentityFacts(
            True, ((release.identity, Association("a-1", release.identity.role)),), ((release.identity.role, "arn:1"),)
        ),
    )


AUTOSCALER = "helm release kube-system/cluster-autoscaler"
CONTROLLER = "helm release kube-system/aws-load-balancer-controller"
TOLD_AUTOSCALER = {"awsRegion": "sa-east-1", "autoDiscovery.clusterName": "comanda", "image.tag": IMAGES["1.36"]}
TOLD_CONTROLLER = {"clusterName": "comanda", "region": "sa-east-1", "vpcId": "vpc-1"}
BUILT = AutoscalerFacts("1.36", built(cluster_autoscaler.RELEASE, TOLD_AUTOSCALER))
CONTROLLED = built(load_balancer_controller.RELEASE, TOLD_CONTROLLER)
EMPTY = ReleaseFacts(identities=replace(CONTROLLED.identities, cluster=False, associations=()))


def at(minor: str) -> AutoscalerFacts:
    """Answer the facts of a cluster of another minor, whose image is the one that is asked for."""
    return AutoscalerFacts(
        minor, replace(BUILT.release, settings={**TOLD_AUTOSCALER, "image.tag": IMAGES.get(minor, "")})
    )


def said(facts: AutoscalerFacts, version: str = "1.36") -> list[str]:
    return as_said(ClusterAutoscaler().decide(changed(USUAL, cluster={"kubernetes_version": version}), facts))


@pytest.mark.parametrize(
    ("facts", "version", "expected"),
    [
        (BUILT, "1.36", []),
        # The cluster is still to be raised: its image goes with the cluster, not with the setting.
        (at("1.35"), "1.36", [f"change {AUTOSCALER}: its values"]),
        (
            AutoscalerFacts("1.36", replace(EMPTY, identities=BUILT.release.identities)),
            "1.36",
            [f"create {AUTOSCALER}: cluster-autoscaler-9.59.0"],
        ),
        # AWS raises a cluster by itself at the end of a version's support: step cluster says so.
        (BUILT, "1.34", []),
        # Raised to what is known from what no longer is.
        (
            at("1.30"),
            "1.36",
            [f"later {AUTOSCALER}: no image is known for Kubernetes 1.30: once the cluster is raised"],
        ),
    ],
)
def test_the_autoscaler_is_of_the_cluster_s_own_minor(
    facts: AutoscalerFacts, version: str, expected: list[str]
) -> None:
    assert said(facts, version) == expected


@pytest.mark.parametrize(
    ("facts", "version", "mend"),
    [
        # Before the cluster is raised to it: there is no way back.
        (
            BUILT,
            "1.99",
            (
                "set cluster.kubernetes_version to one of 1.34, 1.35, 1.36, or",
                "add its row to IMAGES in src/comanda_deploy/steps/cluster_autoscaler.py",
            ),
        ),
        # AWS has raised it by itself: no setting brings it back.
        (at("1.99"), "1.36", ("add its row to IMAGES in src/comanda_deploy/steps/cluster_autoscaler.py",)),
    ],
)
def test_a_minor_without_an_image_is_refused_with_what_to_do(
    facts: AutoscalerFacts, version: str, mend: tuple[str, ...]
) -> None:
    (change,) = ClusterAutoscaler().decide(changed(USUAL, cluster={"kubernetes_version": version}), facts)
    assert as_said([change]) == [f"refused {AUTOSCALER}: no image is known for Kubernetes 1.99"]
    assert change.mend == mend


def test_an_image_is_known_for_every_minor_that_it_can_be_raised_over() -> None:
    minors = [int(each.split(".")[1]) for each in IMAGES]
    assert minors == list(range(minors[0], minors[-1] + 1))
    assert all(tag.startswith(f"v{minor}.") for minor, tag in IMAGES.items())
    assert USUAL.cluster.kubernetes_version in IMAGES


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        (CONTROLLED, []),
        (
            replace(CONTROLLED, settings={**TOLD_CONTROLLER, "vpcId": "vpc-2"}),
            [f"change {CONTROLLER}: its values"],
        ),
        (
            replace(CONTROLLED, settings={**TOLD_CONTROLLER, "vpcId": ""}),
            [f"refused {CONTROLLER}: there is no VPC of our name and tag"],
        ),
        # A plan of an empty account says what is to come.
        (
            replace(EMPTY, settings={**TOLD_CONTROLLER, "vpcId": ""}),
            [
                "create identity kube-system/aws-load-balancer-controller as ComandaLoadBalancerController",
                f"create {CONTROLLER}: aws-load-balancer-controller-3.5.0",
            ],
        ),
    ],
)
def test_the_load_balancer_controller_is_never_told_of_no_vpc(facts: ReleaseFacts, expected: list[str]) -> None:
    """It would look for one at the metadata service, which pods cannot reach, and not start."""
    changes = LoadBalancerController().decide(USUAL, facts)
    assert as_said(changes) == expected
    back = "put the tags Name=comanda and Project=comanda back on the cluster's VPC in the VPC console"
    assert [change.mend for change in changes if change.kind == "refused"] == [(back,)] * len(
        [each for each in expected if each.startswith("refused")]
    )


def test_they_are_uninstalled_with_their_identities() -> None:
    assert as_said(ClusterAutoscaler().decide_removal(USUAL, at("1.99"))) == [
        f"delete {AUTOSCALER}: cluster-autoscaler-9.59.0",
        "delete identity kube-system/cluster-autoscaler as ComandaClusterAutoscaler",
    ]
    assert as_said(LoadBalancerController().decide_removal(USUAL, CONTROLLED)) == [
        f"delete {CONTROLLER}: aws-load-balancer-controller-3.5.0",
        "delete identity kube-system/aws-load-balancer-controller as ComandaLoadBalancerController",
    ]
    trouble = ReleaseFacts(trouble="no such host")
    assert as_said(LoadBalancerController().decide_removal(USUAL, trouble)) == [
        f"note {CONTROLLER}: goes with the cluster: no such host"
    ]


def test_each_value_of_the_file_stays_beside_what_is_told() -> None:
    for release, told in (
        (cluster_autoscaler.RELEASE, TOLD_AUTOSCALER),
        (load_balancer_controller.RELEASE, TOLD_CONTROLLER),
    ):
        alone, both = values_of(release, {}), values_of(release, told)
        assert all(both[key] == value for key, value in alone.items() if key not in {"image", "autoDiscovery"})
        for path, value in told.items():
            assert value in str(both[path.split(".")[0]])


# By helm.


def test_they_are_told_of_what_is_there_and_told_again_when_it_changes(
    account: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = [
        named(name)
        for name in ("network", "cluster", "nodes", "kubeconfig", "load-balancer-controller", "cluster-autoscaler")
    ]
    old = {"kubernetes_version": "1.35"}
    account.apply(steps, cluster=old)
    releases = account.bed.kubernetes.releases
    body = account.bed.eks.clusters["comanda"].body
    controller = releases["kube-system", "aws-load-balancer-controller"]["values"]
    assert (controller["clusterName"], controller["region"]) == ("comanda", "sa-east-1")
    assert controller["vpcId"] == body["resourcesVpcConfig"]["vpcId"]
    autoscaler = releases["kube-system", "cluster-autoscaler"]["values"]
    assert autoscaler["awsRegion"] == "sa-east-1"
    assert autoscaler["autoDiscovery"] == {"clusterName": "comanda"}
    assert autoscaler["image"] == {"tag": IMAGES["1.35"]}
    assert account.plan(steps, cluster=old) == []

    # A minor that Comanda does not know yet: else the cluster would be raised first, and all the rest refused then.
    with monkeypatch.context() as patch:
        patch.delitem(IMAGES, "1.36")
        with pytest.raises(
            engine.Failure, match=r"no image is known for Kubernetes 1\.36; set cluster\.kubernetes_ver"
        ):
            account.apply(steps)
    assert body["version"] == "1.35"
    body["version"] = "1.36"
    assert account.plan([named("cluster-autoscaler")]) == [f"change {AUTOSCALER}: its values"]
