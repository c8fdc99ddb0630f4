"""Our values, given to the charts by helm itself: what the cluster would get is what an operator relies on.

helm takes a misspelt value in silence where a chart has no schema; an update of a chart may drop one. Here the charts'
own files are asked. The Cluster Autoscaler's chart cannot be had here: its values were held against it by reading.
"""

import argparse
import os
import re
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import pytest
import yaml

from comanda_deploy import capacity, helm_release
from comanda_deploy.context import Context
from comanda_deploy.helm_release import Release, ReleaseFacts, values_of
from comanda_deploy.names import NODE_GROUP_LABEL, TAG, TAG_VALUE
from comanda_deploy.pod_identity import IdentityFacts
from comanda_deploy.steps import external_secrets, load_balancer_controller

pytestmark = pytest.mark.go

OPERATOR, CONTROLLER = external_secrets.RELEASE, load_balancer_controller.RELEASE
TOLD: Mapping[str, Mapping[str, str]] = {
    OPERATOR.name: {},
    CONTROLLER.name: {"clusterName": "comanda", "region": "sa-east-1", "vpcId": "vpc-0a1b2c3d"},
}
"""What comanda-deploy tells each chart of what is there; that it does so stands in tests/deployment."""

MINORS = ("1.35", "1.36")

IMAGES = {
    OPERATOR.name: "ghcr.io/external-secrets/external-secrets",
    CONTROLLER.name: "public.ecr.aws/eks/aws-load-balancer-controller",
}

AS_KUBERNETES_HAS_IT = {
    *("affinity", "nodeSelector", "podSecurityContext", "resources", "securityContext", "tolerations"),
    *("annotations", "podAnnotations", "podLabels"),
}
"""Values that a chart hands on to Kubernetes as they are: what stands in them is not of the chart's choosing."""

WAITED_FOR = {"aws-load-balancer-controller", "external-secrets-webhook"}
"""While none of these runs, a new pod gets no guests, or nothing can be applied."""

CAN_BE_AWAY = {
    "external-secrets": "the secrets that it has written stay",
    "external-secrets-cert-controller": "the webhook's certificate is good for years",
}


@dataclass(frozen=True)
class Rendered:
    """What helm would give to the cluster for one release.

    Args:
        chart: the folder of its chart. text: as helm says it; things: the same, one by one.
    """

    release: Release
    chart: Path
    text: str
    things: Sequence[dict[str, Any]]

    def of(self, kind: str) -> list[dict[str, Any]]:
        """Answer the things of a kind."""
        return [thing for thing in self.things if thing["kind"] == kind]


class Listening:
    """A context in which nothing is run: it keeps what would have been."""

    command: Sequence[str] = ()

    def run(self, command: Sequence[str], *, timeout: float) -> subprocess.CompletedProcess[str]:
        """Keep the command."""
        self.command = command
        return subprocess.CompletedProcess(command, 0, "", "")


def told_to_helm(release: Release, told: Mapping[str, str]) -> argparse.Namespace:
    """Answer what comanda-deploy hands to helm to install a release."""
    nothing = ReleaseFacts(settings=told, identities=IdentityFacts())
    (install,) = (each for each in helm_release.decide(release, nothing) if each.what == release.what)
    listening = Listening()
    assert install.do
    install.do(cast("Context", listening))
    parser = argparse.ArgumentParser()
    for option in ("--namespace", "--version", "--values"):
        parser.add_argument(option, required=True)
    parser.add_argument("--set-json", action="append", default=[])
    options, _ = parser.parse_known_args(listening.command)
    return options


def render(helm: Path, chart: Path, release: Release, minor: str, *more: str) -> subprocess.CompletedProcess[str]:
    """Render a chart as comanda-deploy would have it installed, with `more` of helm's options at the end."""
    options = told_to_helm(release, TOLD[release.name])
    assert options.version == release.version
    set_json = [part for each in options.set_json for part in ("--set-json", each)]
    command = [str(helm), "template", release.name, str(chart), "--kube-version", minor]
    command += ["--namespace", options.namespace, "--values", options.values, *set_json, *more]
    # What the operator's own helm has set up is no part of it.
    environment = {
        "PATH": os.environ.get("PATH", ""),
        **{name: str(chart.parent / name) for name in ("HELM_CACHE_HOME", "HELM_CONFIG_HOME", "HELM_DATA_HOME")},
    }
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)


@pytest.fixture(
    scope="module",
    params=[(release, minor) for release in (OPERATOR, CONTROLLER) for minor in MINORS],
    ids=lambda param: f"{param[0].name}-{param[1]}",
)
def rendered(request: pytest.FixtureRequest, helm: Path, charts: Mapping[str, Path]) -> Rendered:
    """Each release, for each minor of Kubernetes that we make clusters of."""
    release, minor = request.param
    answer = render(helm, charts[release.name], release, minor)
    assert answer.returncode == 0, answer.stderr
    documents = [document for document in yaml.safe_load_all(answer.stdout) if document]
    things = [thing for document in documents for thing in document.get("items", [document])]
    return Rendered(release, charts[release.name], answer.stdout, things)


# The values themselves.


@pytest.mark.parametrize(
    ("release", "wrong", "said"),
    [
        (OPERATOR, 'replicaCount="two"', "replicaCount"),
        (OPERATOR, 'webhook.podDisruptionBudget.enabled="yes"', "podDisruptionBudget"),
        (CONTROLLER, 'clusterName=""', "clusterName"),
    ],
)
def test_a_chart_refuses_what_it_cannot_use(
    helm: Path, charts: Mapping[str, Path], release: Release, wrong: str, said: str
) -> None:
    """So that what follows says something: with a wrong value nothing is rendered."""
    answer = render(helm, charts[release.name], release, MINORS[-1], "--set-json", wrong)
    assert answer.returncode != 0
    assert said in answer.stderr


def unknown(ours: Mapping[str, Any], charts_own: Mapping[str, Any], above: str = "") -> Iterator[str]:
    """Answer the paths of our values that a chart does not have.

    Where it has nothing, it says that anything may stand there.
    """
    for key, value in ours.items():
        path, own = f"{above}{key}", charts_own.get(key)
        if key not in charts_own:
            yield path
        elif isinstance(value, dict) and own and key not in AS_KUBERNETES_HAS_IT:
            if isinstance(own, dict):
                yield from unknown(value, own, f"{path}.")
            else:
                yield path


def own_values(chart: Path) -> dict[str, Any]:
    """Answer a chart's own values."""
    values: dict[str, Any] = yaml.safe_load((chart / "values.yaml").read_text(encoding="utf-8"))
    return values


def test_each_of_our_values_is_one_that_the_chart_has(rendered: Rendered) -> None:
    ours = values_of(rendered.release, TOLD[rendered.release.name])
    assert [*unknown(ours, own_values(rendered.chart))] == []


def test_a_misspelt_value_is_found(charts: Mapping[str, Path]) -> None:
    misspelt = {
        "replicaCuont": 1,
        "nodeSelector": {"any": "label"},
        "webhook": {"replicas": 2, "resources": {"requests": {"cpu": "1m"}}},
        "replicaCount": {"webhook": 1},
    }
    found = [*unknown(misspelt, own_values(charts[OPERATOR.name]))]
    assert found == ["replicaCuont", "webhook.replicas", "replicaCount"]


def test_the_controller_knows_the_features_that_are_switched(charts: Mapping[str, Path]) -> None:
    """It does not start with one that it does not know. The chart lists them as comments."""
    said = (charts[CONTROLLER.name] / "values.yaml").read_text(encoding="utf-8")
    for feature in values_of(CONTROLLER, {})["controllerConfig"]["featureGates"]:
        assert re.search(rf"^ +# {feature}: (true|false)$", said, re.MULTILINE), feature


# What the cluster would get.


def pod_of(deployment: Mapping[str, Any]) -> dict[str, Any]:
    """Answer what a deployment's pods are made from."""
    template: dict[str, Any] = deployment["spec"]["template"]
    return template


def containers_of(deployment: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Answer all containers of a deployment's pods."""
    spec = pod_of(deployment)["spec"]
    return [*spec.get("initContainers", []), *spec["containers"]]


def name_of(thing: Mapping[str, Any]) -> str:
    """Answer what a thing is called."""
    name: str = thing["metadata"]["name"]
    return name


def test_no_container_can_take_more_than_it_says(rendered: Rendered) -> None:
    for deployment in rendered.of("Deployment"):
        for container in containers_of(deployment):
            resources = container["resources"]
            assert set(resources["requests"]) == {"cpu", "memory"}, container["name"]
            # A limit of CPU would only make it slow; one of memory keeps its neighbours alive.
            assert set(resources["limits"]) == {"memory"}, container["name"]


def test_the_room_for_each_pod_is_counted_in_the_capacity(rendered: Rendered) -> None:
    counted = {load.name: (load.pods, load.millicores, load.memory) for load in capacity.ANYWHERE}
    for deployment in rendered.of("Deployment"):
        requests = [container["resources"]["requests"] for container in containers_of(deployment)]
        asked = (
            deployment["spec"]["replicas"],
            sum(int(each["cpu"].removesuffix("m")) for each in requests),
            sum(int(each["memory"].removesuffix("Mi")) for each in requests),
        )
        assert counted[name_of(deployment)] == asked


def test_every_container_is_locked_in(rendered: Rendered) -> None:
    for deployment in rendered.of("Deployment"):
        spec = pod_of(deployment)["spec"]
        assert not spec.get("hostNetwork")
        for container in containers_of(deployment):
            context = {**spec.get("securityContext", {}), **container["securityContext"]}
            assert context["runAsNonRoot"] is True
            assert context.get("runAsUser") != 0
            assert context["allowPrivilegeEscalation"] is False
            assert context["readOnlyRootFilesystem"] is True
            assert context["capabilities"] == {"drop": ["ALL"]}
            assert context["seccompProfile"] == {"type": "RuntimeDefault"}
            assert "privileged" not in context


def test_only_the_pods_meant_take_the_role_in_aws(rendered: Rendered) -> None:
    """The identity's service account is there under its name, and the release's main pods alone run as it."""
    identity = rendered.release.identity
    accounts = [(thing["metadata"]["namespace"], name_of(thing)) for thing in rendered.of("ServiceAccount")]
    assert (identity.namespace, identity.service_account) in accounts
    meant = {
        (thing["metadata"]["namespace"], name_of(thing))
        for thing in rendered.of("Deployment")
        if pod_of(thing)["spec"]["serviceAccountName"] == identity.service_account
    }
    assert meant == {(identity.namespace, rendered.release.name)}


def test_it_is_the_same_in_every_account(rendered: Rendered) -> None:
    assert "arn:aws" not in rendered.text
    for thing in (*rendered.of("Deployment"), *rendered.of("ServiceAccount")):
        assert not re.search(r"\b[0-9]{12}\b", yaml.safe_dump(thing))


def test_images_are_the_publishers_own_of_the_chart_s_version(rendered: Rendered) -> None:
    version = yaml.safe_load((rendered.chart / "Chart.yaml").read_text(encoding="utf-8"))["appVersion"]
    images = {container["image"] for thing in rendered.of("Deployment") for container in containers_of(thing)}
    assert images == {f"{IMAGES[rendered.release.name]}:{version}"}


def test_what_is_waited_for_has_a_second_pod_in_the_other_zone(rendered: Rendered) -> None:
    for deployment in rendered.of("Deployment"):
        replicas = deployment["spec"]["replicas"]
        if name_of(deployment) in CAN_BE_AWAY:
            assert replicas == 1
            continue
        assert name_of(deployment) in WAITED_FOR
        assert replicas == 2
        labels = pod_of(deployment)["metadata"]["labels"].items()
        (spread,) = pod_of(deployment)["spec"]["topologySpreadConstraints"]
        assert spread["topologyKey"] == "topology.kubernetes.io/zone"
        assert spread["maxSkew"] == 1
        # With one zone lost both must run in the other.
        assert spread["whenUnsatisfiable"] == "ScheduleAnyway"
        assert spread["labelSelector"]["matchLabels"].items() <= labels
        (budget,) = (
            thing["spec"]
            for thing in rendered.of("PodDisruptionBudget")
            if thing["spec"]["selector"]["matchLabels"].items() <= labels
        )
        # One may be away, so that a node can be emptied; never both.
        assert budget.get("maxUnavailable", replicas - budget.get("minAvailable", 0)) == 1


def test_the_database_s_node_is_left_to_the_database(rendered: Rendered) -> None:
    for deployment in rendered.of("Deployment"):
        assert pod_of(deployment)["spec"]["nodeSelector"] == {NODE_GROUP_LABEL: "general"}


def test_prometheus_finds_every_pod(rendered: Rendered) -> None:
    for deployment in rendered.of("Deployment"):
        annotations = pod_of(deployment)["metadata"]["annotations"]
        assert annotations["prometheus.io/scrape"] == "true"
        ports = [port["containerPort"] for each in containers_of(deployment) for port in each.get("ports", [])]
        assert int(annotations["prometheus.io/port"]) in ports


# Of one chart only.


@pytest.mark.parametrize("minor", MINORS)
def test_the_controller_is_told_what_it_cannot_find_out_with_one_hop(
    helm: Path, charts: Mapping[str, Path], minor: str
) -> None:
    answer = render(helm, charts[CONTROLLER.name], CONTROLLER, minor)
    (deployment,) = (each for each in yaml.safe_load_all(answer.stdout) if each and each["kind"] == "Deployment")
    (container,) = containers_of(deployment)
    assert {
        "--cluster-name=comanda",
        "--aws-region=sa-east-1",
        "--aws-vpc-id=vpc-0a1b2c3d",
        f"--default-tags={TAG}={TAG_VALUE}",
        "--default-target-type=ip",
        "--enable-shield=false",
        "--enable-waf=false",
        "--enable-wafv2=false",
        "--feature-gates=EnableServiceController=false",
    } <= set(container["args"])


def test_no_service_waits_for_a_webhook(rendered: Rendered) -> None:
    """One that does not answer would stop every new service in the cluster."""
    for kind in ("MutatingWebhookConfiguration", "ValidatingWebhookConfiguration"):
        for configuration in rendered.of(kind):
            for webhook in configuration["webhooks"]:
                assert not [rule for rule in webhook["rules"] if {"services", "*"} & set(rule["resources"])]


def test_the_operator_has_no_rights_for_what_is_not_in_use(helm: Path, charts: Mapping[str, Path]) -> None:
    answer = render(helm, charts[OPERATOR.name], OPERATOR, MINORS[-1])
    roles = [each for each in yaml.safe_load_all(answer.stdout) if each and each["kind"] == "ClusterRole"]
    (role,) = (each for each in roles if name_of(each) == "external-secrets-controller")
    writing = {"create", "delete", "patch", "update"}
    written = {what for rule in role["rules"] if writing & set(rule["verbs"]) for what in rule["resources"]}
    assert "secrets" in written
    assert not written & {"namespaces", "pushsecrets", "clusterpushsecrets", "clustergenerators", "configmaps"}
