"""What valid manifests can still get wrong: whom they choose, what they name, what they may."""

import re
from collections import Counter
from collections.abc import Iterator

import pytest
import yaml

from comanda import __version__
from comanda.follow_settings import DEPLOYMENTS, SETTINGS
from comanda.settings import read_settings
from comanda_deploy.capacity import ANYWHERE, DATABASE, ON_EVERY_NODE, Load
from comanda_deploy.names import ALERTMANAGER_SECRET, API_SECRET, DATABASE_SECRET, LOGGING_NAMESPACE
from comanda_deploy.steps import external_secrets
from tests.manifests.reading import (
    WORKLOADS,
    Document,
    Json,
    beside,
    containers,
    documents,
    documents_of,
    everything,
    matches,
    of_kind,
)

CLUSTER_WIDE = {
    "Namespace",
    "PriorityClass",
    "StorageClass",
    "VolumeSnapshotClass",
    "ClusterRole",
    "ClusterRoleBinding",
}
MEBIBYTES = {"Mi": 1, "Gi": 1024}
BROUGHT = {"kube-system", external_secrets.RELEASE.namespace}
"""Namespaces that others make, before any manifest is applied."""

OF_NODES = "monitoring-nodes"
"""Where what reads the nodes' own files is, and nothing else."""


def all_of_kind(*kinds: str) -> list[Document]:
    """Answer those of some kinds, in the overlays too."""
    return [each for each in everything() if each.kind in kinds]


workloads = pytest.mark.parametrize("workload", all_of_kind(*WORKLOADS), ids=str)


def named(kind: str, name: str, among: list[Document] | None = None) -> Document:
    [found] = [each for each in (documents() if among is None else among) if (each.kind, each.name) == (kind, name)]
    return found


@pytest.mark.parametrize("document", everything(), ids=str)
def test_nothing_is_defined_twice(document: Document) -> None:
    counted = Counter((each.kind, each.namespace, each.name) for each in beside(document))
    assert {what for what, count in counted.items() if count > 1} == set()


@pytest.mark.parametrize("document", [each for each in everything() if each.kind not in CLUSTER_WIDE], ids=str)
def test_it_names_a_namespace_that_was_made_before_it(document: Document) -> None:
    order = [(each.kind, each.name) for each in beside(document)]
    here = beside(document).index(document)
    assert ("Namespace", document.namespace) in order[:here] or document.namespace in BROUGHT
    if document.namespace in BROUGHT:
        assert document.kind == "RoleBinding", "nothing of ours is in there"


@pytest.mark.parametrize("space", all_of_kind("Namespace"), ids=str)
def test_a_namespace_enforces_what_is_strictest(space: Document) -> None:
    """Only `privileged` lets a pod mount a path of its node: that is where such a pod is, and nothing else."""
    inside = [each for each in beside(space) if each.kind in WORKLOADS and each.namespace == space.name]
    of_node = ["hostPath" in str(each.pod["spec"].get("volumes", [])) for each in inside]
    assert all(of_node) or not any(of_node)
    level = "privileged" if any(of_node) else "restricted"
    assert space.body["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == level


def test_nothing_but_the_node_exporter_is_where_less_is_enforced() -> None:
    there = [each for each in everything() if each.namespace == OF_NODES and each.kind in WORKLOADS]
    assert [(each.kind, each.name) for each in there] == [("DaemonSet", "node-exporter")]
    mounts = there[0].pod["spec"]["containers"][0]["volumeMounts"]
    assert all(mount["readOnly"] is True for mount in mounts)
    assert {"privileged", "hostPID", "hostIPC"} & set(str(there[0].pod).replace("'", " ").split()) == set()


def test_no_other_pod_has_anything_of_its_node() -> None:
    for workload in all_of_kind(*WORKLOADS):
        if workload.namespace not in {OF_NODES, LOGGING_NAMESPACE}:
            spec = workload.pod["spec"]
            assert not {"hostNetwork", "hostPID", "hostIPC"} & set(spec), workload
            assert not [volume for volume in spec.get("volumes", []) if "hostPath" in volume], workload
            ports = [port for each in containers(workload) for port in each.get("ports", [])]
            assert not [port for port in ports if "hostPort" in port], workload


@workloads
def test_its_selector_chooses_its_pods_and_no_other_s(workload: Document) -> None:
    if workload.kind in {"CronJob", "PodTemplate"}:
        return
    selector = workload.body["spec"]["selector"]
    assert matches(selector, workload.pod["metadata"]["labels"])
    others = [each for each in beside(workload) if each.kind in WORKLOADS and each != workload]
    others = [each for each in others if each.namespace == workload.namespace]
    assert not [each for each in others if matches(selector, each.pod["metadata"]["labels"])]


@workloads
def test_its_pods_may_nothing_that_they_need_not(workload: Document) -> None:
    spec = workload.pod["spec"]
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["runAsUser"] > 0
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    for container in containers(workload):
        security = container["securityContext"]
        assert security["allowPrivilegeEscalation"] is False
        assert security["capabilities"] == {"drop": ["ALL"]}
        assert security["readOnlyRootFilesystem"] is True


@workloads
def test_a_token_is_had_by_whom_a_role_is_bound_to_and_by_no_other(workload: Document) -> None:
    spec, among = workload.pod["spec"], beside(workload)
    bound = {
        (subject["namespace"], subject["name"])
        for each in among
        if each.kind in {"RoleBinding", "ClusterRoleBinding"}
        for subject in each.body["subjects"]
    }
    assert spec["automountServiceAccountToken"] is ((workload.namespace, spec["serviceAccountName"]) in bound)
    account = named("ServiceAccount", spec["serviceAccountName"], among)
    assert account.namespace == workload.namespace
    assert account.body["automountServiceAccountToken"] is False


@workloads
def test_each_container_says_what_it_takes_and_no_more(workload: Document) -> None:
    for container in containers(workload):
        resources = container["resources"]
        assert set(resources["requests"]) == {"cpu", "memory"}
        assert mebibytes(resources["limits"]["memory"]) >= mebibytes(resources["requests"]["memory"])


@pytest.mark.parametrize("workload", all_of_kind("DaemonSet", "Deployment", "StatefulSet"), ids=str)
def test_it_is_watched_by_three_probes(workload: Document) -> None:
    for container in workload.pod["spec"]["containers"]:
        if (workload.name, container["name"]) == ("database", "metrics"):
            continue
        probes = [container[kind] for kind in ("startupProbe", "readinessProbe", "livenessProbe")]
        ports = {port["name"] for port in container["ports"]}
        asked = [probe["httpGet"] for probe in probes if "httpGet" in probe]
        assert {each["port"] for each in asked} <= ports
        # node exporter has one path, and nobody is sent to it by how it answers.
        if asked and workload.name != "node-exporter":
            paths = [each["path"] for each in asked]
            assert paths[2] not in paths[:2], "who is only not ready yet is not killed for it"
            # Others' programs have two such paths, not three.
            assert len(set(paths)) == 3 or workload.namespace == "monitoring"


def test_guests_do_not_notice_when_what_measures_the_database_fails() -> None:
    database = named("StatefulSet", "database")
    assert [each["name"] for each in database.pod["spec"]["containers"]] == ["postgresql", "metrics"]
    assert "initContainers" not in database.pod["spec"], "the server would wait for it"
    metrics = database.pod["spec"]["containers"][1]
    assert not {"readinessProbe", "startupProbe"} & set(metrics)
    # A container that is not there makes the pod not ready, whatever its probes: then the way must not hang on that.
    assert named("Service", "database").body["spec"]["publishNotReadyAddresses"] is True


def test_what_measures_the_database_knows_its_own_password_alone() -> None:
    database = named("StatefulSet", "database")
    metrics = database.pod["spec"]["containers"][1]
    [mount] = metrics["volumeMounts"]
    [volume] = [each for each in database.pod["spec"]["volumes"] if each["name"] == mount["name"]]
    assert [item["key"] for item in volume["secret"]["items"]] == ["METRICS_PASSWORD"]
    environment = {each["name"]: each["value"] for each in metrics["env"]}
    assert environment["DATA_SOURCE_PASS_FILE"] == f"{mount['mountPath']}/METRICS_PASSWORD"
    assert environment["DATA_SOURCE_USER"] == "comanda_metrics"
    assert environment["DATA_SOURCE_URI"].startswith("127.0.0.1:5432/comanda?"), "as pg_hba.conf lets it in"


@pytest.mark.parametrize("document", everything(), ids=str)
def test_an_image_has_an_exact_version(document: Document) -> None:
    if document.kind in WORKLOADS:
        assert all("image" in container for container in containers(document))
    for image in images(document.body):
        if image.startswith("comanda-api:"):
            assert image == f"comanda-api:{__version__}"
        else:
            assert re.fullmatch(r"[a-z0-9./-]+:v?\d+(\.\d+)+(-[a-z0-9-]+@sha256:[0-9a-f]{64})?", image), image


@pytest.mark.parametrize("service", all_of_kind("Service"), ids=str)
def test_a_service_leads_to_ports_that_some_pods_have(service: Document) -> None:
    chosen = [
        each
        for each in beside(service)
        if each.kind in WORKLOADS
        and each.namespace == service.namespace
        and matches(service.body["spec"]["selector"], each.pod["metadata"]["labels"])
    ]
    [workload] = chosen
    ports = {port["name"] for container in containers(workload) for port in container.get("ports", [])}
    assert {port["targetPort"] for port in service.body["spec"]["ports"]} <= ports


def test_the_set_is_named_by_a_headless_service_that_exists() -> None:
    stateful = named("StatefulSet", "database")
    headless = named("Service", stateful.body["spec"]["serviceName"])
    assert headless.body["spec"]["clusterIP"] == "None"


@pytest.mark.parametrize("ingress", all_of_kind("Ingress"), ids=str)
def test_the_ingress_leads_to_a_service_that_has_the_port_and_not_to_metrics(ingress: Document) -> None:
    for rule in ingress.body["spec"]["rules"]:
        for path in rule["http"]["paths"]:
            backend = path["backend"]["service"]
            ports = named("Service", backend["name"], beside(ingress)).body["spec"]["ports"]
            assert [port["name"] for port in ports] == [backend["port"]["name"]] == ["http"]


def test_the_number_of_api_pods_is_the_autoscaler_s_alone() -> None:
    [scaler] = of_kind("HorizontalPodAutoscaler")
    target = scaler.body["spec"]["scaleTargetRef"]
    assert "replicas" not in named(target["kind"], target["name"]).body["spec"]
    assert (scaler.body["spec"]["minReplicas"], scaler.body["spec"]["maxReplicas"]) == (2, 10)
    assert [each["resource"]["name"] for each in scaler.body["spec"]["metrics"]] == ["cpu"]


@pytest.mark.parametrize("budget", all_of_kind("PodDisruptionBudget"), ids=str)
def test_a_budget_keeps_the_pods_of_one_deployment(budget: Document) -> None:
    kept = [
        each
        for each in beside(budget)
        if each.kind == "Deployment" and matches(budget.body["spec"]["selector"], each.pod["metadata"]["labels"])
    ]
    assert [each.name for each in kept] == [budget.name]


@pytest.mark.parametrize("name", ["comanda-api", "comanda-worker"])
def test_a_pod_has_time_for_its_whole_end(name: str) -> None:
    settings = named("ConfigMap", "comanda-settings").body["data"]
    needed = int(settings["DRAIN_SECONDS"]) + int(settings["SHUTDOWN_TIMEOUT"]) + 5
    assert named("Deployment", name).pod["spec"]["terminationGracePeriodSeconds"] > needed
    # The load balancer goes on sending for some ten seconds.
    assert int(settings["DRAIN_SECONDS"]) > 10


def test_the_settings_are_ones_that_the_process_takes() -> None:
    config = named("ConfigMap", "comanda-settings").body["data"]
    secret = {
        "DATABASE_URL": "postgresql://comanda_api_a:x@database.comanda-db.svc:5432/comanda",
        "MERCADO_PAGO_ACCESS_TOKEN": "TEST-12345678",
        "MERCADO_PAGO_WEBHOOK_SECRET": "x" * 16,
        "PAYER_EMAIL": "caixa@example.com",
    }
    settings = read_settings({**config, **secret})
    assert settings.drain_seconds == int(config["DRAIN_SECONDS"])
    known = {name.upper() for name in settings.__struct_fields__}
    assert set(config) <= known


def test_what_every_pod_may_connect_fits_into_the_database() -> None:
    config = named("ConfigMap", "database").body["data"]["postgresql.conf"]
    [room] = [int(each) for each in re.findall(r"^max_connections = (\d+)$", config, re.MULTILINE)]
    pool = int(named("ConfigMap", "comanda-settings").body["data"]["DATABASE_POOL_SIZE"])
    # The API at its most, its surge of a quarter, and twice as many that drain: a Deployment does not count them
    # (KEP-3973). Then the workers, theirs, one that drains.
    processes = 10 + 3 + 6 + 2 + 1 + 1
    for_others = 3 + 5 + 10  # the superuser, the metrics, migrations
    assert processes * (pool + 1) + for_others <= room


def test_secrets_hold_the_keys_that_pods_read() -> None:
    held: dict[str, set[str]] = {}
    for each in of_kind("ExternalSecret"):
        spec = each.body["spec"]
        held[each.body["spec"]["target"]["name"]] = {entry["secretKey"] for entry in spec.get("data", [])}
    for workload in of_kind(*WORKLOADS):
        spec = workload.pod["spec"]
        for volume in spec.get("volumes", []):
            if "secret" in volume:
                assert volume["secret"]["secretName"] in held
        for container in containers(workload):
            for variable in container.get("env", []):
                if reference := variable.get("valueFrom", {}).get("secretKeyRef"):
                    assert reference["key"] in held[reference["name"]]
            for source in container.get("envFrom", []):
                if "secretRef" in source:
                    assert source["secretRef"]["name"] in held
    read = set(re.findall(r"/run/secrets/database/([A-Z_]+)", str([each.body for each in documents()])))
    assert read == held["database"]


def test_no_entry_is_read_from_both_folders() -> None:
    read: dict[str, set[str]] = {}
    for each in of_kind("ExternalSecret"):
        spec = each.body["spec"]
        entries = {entry["remoteRef"]["key"] for entry in spec.get("data", [])}
        entries |= {entry["extract"]["key"] for entry in spec.get("dataFrom", [])}
        read.setdefault(each.file.parent.name, set()).update(entries)
    read.pop("grafana", None)
    assert read == {"db": {DATABASE_SECRET}, "api": {API_SECRET}, "prometheus": {ALERTMANAGER_SECRET}}


def test_the_owner_s_password_is_had_by_the_migration_alone() -> None:
    having = [
        (workload.name, container["name"])
        for workload in of_kind(*WORKLOADS)
        if workload.namespace == "comanda"
        for container in containers(workload)
        if "comanda-migration" in str(container)
    ]
    assert having == [("comanda-api", "migrate")]


def test_what_follows_the_settings_may_do_just_that() -> None:
    role = named("Role", "comanda-follow-settings")
    may = {
        (f"{resource}/{name}", verb)
        for rule in role.body["rules"]
        for resource in rule["resources"]
        for name in rule["resourceNames"]
        for verb in rule["verbs"]
    }
    needs = {(each, "get") for each in SETTINGS}
    needs |= {(f"deployments/{name}", verb) for name in DEPLOYMENTS for verb in ("get", "patch")}
    assert may == needs


def test_the_disk_is_what_a_database_wants() -> None:
    disk = named("StorageClass", "comanda-database")
    assert disk.body["provisioner"] == "ebs.csi.aws.com"
    assert disk.body["parameters"]["encrypted"] == "true"
    assert (disk.body["reclaimPolicy"], disk.body["allowVolumeExpansion"]) == ("Retain", True)
    assert disk.body["volumeBindingMode"] == "WaitForFirstConsumer"
    [claim] = named("StatefulSet", "database").body["spec"]["volumeClaimTemplates"]
    assert claim["spec"]["storageClassName"] == disk.name
    assert claim["spec"]["accessModes"] == ["ReadWriteOncePod"]


def test_the_nodes_were_reckoned_for_what_the_pods_ask() -> None:
    loads = {load.name: load for load in (*ANYWHERE, *ON_EVERY_NODE, DATABASE)}
    for name, workload in (
        ("api", named("Deployment", "comanda-api")),
        ("worker", named("Deployment", "comanda-worker")),
        ("database", named("StatefulSet", "database")),
        ("backup", named("CronJob", "database-backup")),
        ("drill", named("CronJob", "database-drill")),
        ("restored", named("PodTemplate", "database-restored")),
        ("node-exporter", named("DaemonSet", "node-exporter")),
        ("prometheus", named("Deployment", "prometheus")),
        ("alertmanager", named("Deployment", "alertmanager")),
        ("kube-state-metrics", named("Deployment", "kube-state-metrics")),
        ("fluent-bit", named("DaemonSet", "fluent-bit", documents_of("logs"))),
    ):
        asked = asked_by(name, workload.pod["spec"]["containers"])
        assert (asked.millicores, asked.memory) == (loads[name].millicores, loads[name].memory)
    assert loads["worker"].pods == named("Deployment", "comanda-worker").body["spec"]["replicas"]


def test_each_file_says_first_what_it_is_for() -> None:
    for file in {each.file for each in everything()}:
        text = file.read_text(encoding="utf-8")
        assert text.startswith("# "), file
        assert list(yaml.safe_load_all(text)), file


def asked_by(name: str, of: list[Json]) -> Load:
    requests = [container["resources"]["requests"] for container in of]
    millicores = sum(int(each["cpu"].removesuffix("m")) for each in requests)
    return Load(name, 1, millicores, sum(mebibytes(each["memory"]) for each in requests))


def images(of: object) -> Iterator[str]:
    """Answer what is named as an image anywhere in an object."""
    if isinstance(of, list):
        for each in of:
            yield from images(each)
    elif isinstance(of, dict):
        for name, value in of.items():
            if name in {"image", "imageName"} and isinstance(value, str):
                yield value
            else:
                yield from images(value)


def mebibytes(quantity: str) -> int:
    return int(quantity[:-2]) * MEBIBYTES[quantity[-2:]]
