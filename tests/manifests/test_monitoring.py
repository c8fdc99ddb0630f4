"""Prometheus finds, may see and reaches what it scrapes, and nothing more; what is in the manifests answers to it."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import yaml

from comanda_deploy.helm_release import values_of
from comanda_deploy.steps import cluster_autoscaler, external_secrets
from tests.manifests.reading import DEPLOYMENT, WORKLOADS, Document, Json, containers, documents, matches, of_kind

PROMETHEUS = {"app.kubernetes.io/name": "prometheus"}
OF_PODS = {
    "comanda-worker": ("comanda", "comanda-worker", "ops"),
    "node-exporter": ("monitoring-nodes", "node-exporter", "metrics"),
    "kube-state-metrics": ("monitoring", "kube-state-metrics", "metrics"),
    "postgresql": ("comanda-db", "database", "metrics"),
    "prometheus": ("monitoring", "prometheus", "http"),
    "alertmanager": ("monitoring", "alertmanager", "http"),
    "grafana": ("monitoring", "grafana", "http"),
}
"""By the job: namespace, name and port of the pods that it is for."""

OF_CHARTS = {"cluster-autoscaler": cluster_autoscaler.RELEASE, "external-secrets": external_secrets.RELEASE}
OF_NODES = {"kubelet": 10250, "cadvisor": 10250}
GRAFANA_PORT = 3000
NAME = "__meta_kubernetes_pod_label_app_kubernetes_io_name"
LABELS = {
    "__meta_kubernetes_namespace": "namespace",
    "__meta_kubernetes_pod_name": "pod",
    "__meta_kubernetes_pod_node_name": "node",
}


def named(kind: str, name: str, namespace: str = "") -> Document:
    found = [each for each in of_kind(kind) if each.name == name and namespace in ("", each.namespace)]
    [only] = found
    return only


def configuration() -> Json:
    said: Json = yaml.safe_load(named("ConfigMap", "prometheus").body["data"]["prometheus.yml"])
    return said


JOBS: dict[str, Json] = {each["job_name"]: each for each in configuration()["scrape_configs"]}


def kept(job: Json) -> tuple[dict[str, str], str]:
    """Answer what a job keeps: by the label that is asked for, what it must be, and which of them is the port."""
    [keep] = [each for each in job["relabel_configs"] if each["action"] == "keep"] if job["relabel_configs"] else [{}]
    wanted = dict(zip(keep["source_labels"], keep["regex"].split(";"), strict=True))
    return wanted, keep["source_labels"][-1]


def job_of(name: str) -> Json:
    job = JOBS[name]
    for each in job["relabel_configs"]:
        each.setdefault("action", "replace")
    return job


@dataclass(frozen=True)
class Target:
    """Pods that a job scrapes: where they are, what they are called, and the port's number."""

    namespace: str
    labels: tuple[tuple[str, str], ...]
    port: int


def workload_of(namespace: str, name: str) -> Document:
    [found] = [
        each
        for each in of_kind(*WORKLOADS)
        if each.namespace == namespace and each.pod["metadata"]["labels"].get("app.kubernetes.io/name") == name
    ]
    return found


def port_of(workload: Document, port: str) -> int:
    [number] = [
        each["containerPort"]
        for container in containers(workload)
        for each in container.get("ports", [])
        if each["name"] == port
    ]
    return int(number)


def targets() -> Iterator[Target]:
    api = workload_of("comanda", "comanda-api")
    yield Target("comanda", tuple(api.pod["metadata"]["labels"].items()), port_of(api, "ops"))
    for job, (namespace, name, port) in OF_PODS.items():
        if job == "node-exporter":
            continue  # on the node's network
        if job == "grafana":
            yield Target(namespace, (("app.kubernetes.io/name", name),), GRAFANA_PORT)
            continue
        workload = workload_of(namespace, name)
        yield Target(namespace, tuple(workload.pod["metadata"]["labels"].items()), port_of(workload, port))
    for release, label in (
        (cluster_autoscaler.RELEASE, "app.kubernetes.io/instance"),
        (external_secrets.RELEASE, "app.kubernetes.io/name"),
    ):
        yield Target(release.namespace, ((label, release.name),), annotated_port(release))


def annotated_port(release: Any) -> int:
    values = values_of(release, {})
    annotations = values.get("podAnnotations") or values["global"]["podAnnotations"]
    return int(annotations["prometheus.io/port"])


def lets(rule: Json, way: str, target: Target, other: str) -> bool:
    """Answer whether a rule of a policy is about this target.

    Args:
        way: "to" or "from". other: the namespace in which the policy is.
    """
    if target.port not in {each["port"] for each in rule["ports"]}:
        return False
    for peer in rule[way]:
        spaces = peer.get("namespaceSelector", {}).get("matchLabels", {}).get("kubernetes.io/metadata.name", other)
        if spaces == target.namespace and matches(peer.get("podSelector", {}), dict(target.labels)):
            return True
    return False


def test_each_job_is_there_once_and_no_other() -> None:
    assert sorted(each["job_name"] for each in configuration()["scrape_configs"]) == sorted(
        ["comanda-api", *OF_PODS, *OF_CHARTS, *OF_NODES]
    )


def test_the_api_is_found_by_the_slices_of_a_service_that_leads_to_its_ops_port() -> None:
    job = job_of("comanda-api")
    assert job["kubernetes_sd_configs"] == [{"role": "endpointslice", "namespaces": {"names": ["comanda"]}}]
    wanted, port = kept(job)
    service = named("Service", wanted["__meta_kubernetes_service_name"], "comanda")
    [found] = [each for each in service.body["spec"]["ports"] if each["name"] == wanted[port]]
    assert port_of(workload_of("comanda", "comanda-api"), found["targetPort"]) == found["port"]
    assert matches(service.body["spec"]["selector"], workload_of("comanda", "comanda-api").pod["metadata"]["labels"])


@pytest.mark.parametrize("name", OF_PODS)
def test_pods_are_found_by_a_label_and_a_port_that_they_have(name: str) -> None:
    job, (namespace, app, port) = job_of(name), OF_PODS[name]
    assert job["kubernetes_sd_configs"] == [{"role": "pod", "namespaces": {"names": [namespace]}}]
    wanted, _ = kept(job)
    assert wanted == {NAME: app, "__meta_kubernetes_pod_container_port_name": port}
    if name != "grafana" or (DEPLOYMENT / "monitoring" / "grafana" / "2-grafana-deployment.yaml").exists():
        assert port_of(workload_of(namespace, app), port) > 0


@pytest.mark.parametrize("name", OF_CHARTS)
def test_what_a_chart_brings_is_found_by_the_port_that_our_values_give_it(name: str) -> None:
    job, release = job_of(name), OF_CHARTS[name]
    assert job["kubernetes_sd_configs"] == [{"role": "pod", "namespaces": {"names": [release.namespace]}}]
    wanted, port = kept(job)
    assert port == "__meta_kubernetes_pod_annotation_prometheus_io_port"
    assert int(wanted[port]) == annotated_port(release)
    assert release.name in wanted.values()


@pytest.mark.parametrize("name", ["comanda-api", *OF_PODS, *OF_CHARTS])
def test_what_a_pod_says_carries_where_it_said_it(name: str) -> None:
    job = job_of(name)
    given = {
        each["source_labels"][0]: each["target_label"]
        for each in job["relabel_configs"]
        if each["action"] == "replace" and len(each["source_labels"]) == 1
    }
    # What is said of other objects has their namespace, pod and node.
    assert given == ({} if name == "kube-state-metrics" else LABELS)
    assert job.get("honor_labels", False) is (name == "kube-state-metrics")


@pytest.mark.parametrize("name", OF_NODES)
def test_nodes_are_asked_by_a_token_and_believed_by_the_cluster_s_own_certificate(name: str) -> None:
    job = job_of(name)
    assert job["kubernetes_sd_configs"] == [{"role": "node"}]
    assert job["scheme"] == "https"
    assert set(job["tls_config"]) == {"ca_file"}, "never insecure_skip_verify"
    assert job["relabel_configs"][0]["target_label"] == "node"


def test_of_the_nodes_only_figures_may_be_read_and_of_the_rest_only_what_is_needed() -> None:
    granted: dict[str, set[tuple[str, str]]] = {}
    for binding in of_kind("RoleBinding", "ClusterRoleBinding"):
        if not any(each["name"] == "prometheus" for each in binding.body["subjects"]):
            continue
        assert binding.body["subjects"] == [
            {"kind": "ServiceAccount", "name": "prometheus", "namespace": "monitoring"},
        ]
        reference = binding.body["roleRef"]
        inside = binding.namespace if reference["kind"] == "Role" else ""
        role = named(reference["kind"], reference["name"], inside)
        granted.setdefault(binding.namespace, set()).update(
            (resource, verb) for rule in role.body["rules"] for resource in rule["resources"] for verb in rule["verbs"]
        )
    looks = {"get", "list", "watch"}
    assert granted.pop("") == {("nodes/metrics", "get"), *(("nodes", verb) for verb in looks)}
    spaces = {
        space
        for job in JOBS.values()
        for each in job["kubernetes_sd_configs"]
        for space in each.get("namespaces", {}).get("names", [])
    }
    assert set(granted) == spaces
    for space, rights in granted.items():
        wanted = {"pods", "services", "endpointslices"} if space == "comanda" else {"pods"}
        assert rights == {(resource, verb) for resource in wanted for verb in looks}, space


@pytest.mark.parametrize("target", list(targets()), ids=str)
def test_the_policies_let_it_out_to_what_it_scrapes_and_in_there(target: Target) -> None:
    out = [
        rule
        for each in of_kind("NetworkPolicy")
        if each.namespace == "monitoring" and matches(each.body["spec"]["podSelector"], PROMETHEUS)
        for rule in each.body["spec"].get("egress", [])
    ]
    assert any(lets(rule, "to", target, "monitoring") for rule in out)
    guarded = [
        each.body["spec"]
        for each in of_kind("NetworkPolicy")
        if each.namespace == target.namespace
        and "Ingress" in each.body["spec"]["policyTypes"]
        and matches(each.body["spec"]["podSelector"], dict(target.labels))
    ]
    if (target.namespace, target.port) == ("monitoring", GRAFANA_PORT):
        return  # Grafana's own manifests say who reaches it
    us = Target("monitoring", tuple(PROMETHEUS.items()), target.port)
    within = [rule for spec in guarded for rule in spec.get("ingress", [])]
    assert any(lets(rule, "from", us, target.namespace) for rule in within) or not guarded


def test_it_is_let_out_to_the_nodes_ports_and_to_no_other_addresses() -> None:
    policy = named("NetworkPolicy", "from-prometheus").body["spec"]
    blocks = [
        (peer["ipBlock"]["cidr"], port["port"])
        for rule in policy["egress"]
        for peer in rule["to"]
        if "ipBlock" in peer
        for port in rule["ports"]
    ]
    exporter = port_of(workload_of("monitoring-nodes", "node-exporter"), "metrics")
    assert sorted(blocks) == sorted(
        [
            ("10.20.0.0/16", 443),
            ("172.20.0.0/16", 443),
            *(("10.20.0.0/16", port) for port in {*OF_NODES.values(), exporter}),
        ]
    )


@pytest.mark.parametrize("port", [9000, 9187])
def test_figures_are_for_prometheus_alone(port: int) -> None:
    for each in of_kind("NetworkPolicy"):
        for rule in each.body["spec"].get("ingress", []):
            if port in {one["port"] for one in rule["ports"]}:
                [peer] = rule["from"]
                assert peer["podSelector"] == {"matchLabels": PROMETHEUS}
                assert peer["namespaceSelector"]["matchLabels"] == {"kubernetes.io/metadata.name": "monitoring"}


@pytest.mark.parametrize("space", ["monitoring", "monitoring-nodes"])
def test_what_is_not_opened_is_closed(space: str) -> None:
    nothing = named("NetworkPolicy", "nothing", space).body["spec"]
    assert nothing == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}


def test_alerts_go_to_a_service_that_leads_to_alertmanager() -> None:
    [manager] = configuration()["alerting"]["alertmanagers"]
    [[address]] = [each["targets"] for each in manager["static_configs"]]
    name, namespace, rest = address.split(".", 2)
    service = named("Service", name, namespace)
    [port] = service.body["spec"]["ports"]
    assert rest == f"svc:{port['port']}"
    assert port_of(workload_of(namespace, "alertmanager"), port["targetPort"]) == port["port"]


def test_rules_and_configuration_are_where_they_are_looked_for_and_looked_at_again() -> None:
    prometheus = named("Deployment", "prometheus")
    [container] = prometheus.pod["spec"]["containers"]
    volumes = {each["name"]: each for each in prometheus.pod["spec"]["volumes"]}
    mounted = {
        each["mountPath"]: volumes[each["name"]]["configMap"]["name"]
        for each in container["volumeMounts"]
        if "configMap" in volumes[each["name"]]
    }
    assert mounted == {"/etc/prometheus": "prometheus", "/etc/prometheus/rules": "prometheus-rules"}
    assert configuration()["rule_files"] == ["/etc/prometheus/rules/*.yml"]
    assert all(name.endswith(".yml") for name in named("ConfigMap", "prometheus-rules").body["data"])
    assert {"--config.file=/etc/prometheus/prometheus.yml", "--config.auto-reload"} <= set(container["args"])
    assert set(configuration()["storage"]["tsdb"]["retention"]) == {"time", "size"}


def test_the_rules_are_the_last_of_their_file() -> None:
    file = named("ConfigMap", "prometheus").file
    assert [each.name for each in documents() if each.file == file] == ["prometheus", "prometheus-rules"]


def test_kube_state_metrics_asks_for_what_it_may_list_and_that_is_no_secret() -> None:
    [container] = named("Deployment", "kube-state-metrics").pod["spec"]["containers"]
    [asked] = [each.split("=")[1].split(",") for each in container["args"] if each.startswith("--resources=")]
    rules = named("ClusterRole", "comanda-kube-state-metrics").body["rules"]
    assert sorted(asked) == sorted(resource for rule in rules for resource in rule["resources"])
    assert {verb for rule in rules for verb in rule["verbs"]} == {"list", "watch"}
    assert not {"secrets", "configmaps"} & set(asked)


def test_the_node_exporter_is_on_every_node_and_measures_what_dashboard_1860_draws() -> None:
    exporter = named("DaemonSet", "node-exporter")
    assert exporter.pod["spec"]["tolerations"] == [{"operator": "Exists"}]
    assert "nodeSelector" not in exporter.pod["spec"]
    [container] = exporter.pod["spec"]["containers"]
    mounts = {each["mountPath"] for each in container["volumeMounts"]}
    for path in ("procfs", "sysfs", "rootfs"):
        [where] = [each.split("=")[1] for each in container["args"] if each.startswith(f"--path.{path}=")]
        assert where in mounts
    for collector in ("processes", "tcpstat", "interrupts", "systemd"):
        assert f"--collector.{collector}" in container["args"]
