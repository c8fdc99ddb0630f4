"""The variants of `infra/overlays`: each whole by itself, and different from the deployment in what it is for alone."""

import json
from copy import deepcopy

import pytest
import yaml

from tests.cluster.alb import annotations as alb
from tests.manifests.reading import (
    DEPLOYMENT,
    OVERLAYS,
    VOLUME,
    WITH_VOLUME,
    Document,
    beside,
    documents,
    documents_of,
    files,
    files_of,
    kustomization,
    monitoring_with_volume,
    plain_overlays,
)

ALB = alb.PREFIX
POLICIES = {"ELBSecurityPolicy-TLS13-1-2-Res-PQ-2025-09", "ELBSecurityPolicy-TLS13-1-3-PQ-2025-09"}
"""Those with TLS 1.2 at the least, forward secrecy alone, and hybrid key exchange (ELB's guide, security policies)."""

UNKNOWN_TO_THE_STAND_IN = {"listener-attributes.HTTPS-443"}


def of_https(kind: str) -> Document:
    [found] = [each for each in documents_of("https") if each.kind == kind]
    return found


def replaced_by(document: Document) -> Document:
    [found] = [each for each in documents() if document.replaces(each)]
    return found


@pytest.mark.parametrize("overlay", plain_overlays())
def test_kustomize_takes_each_of_its_files_once_and_no_other(overlay: str) -> None:
    """kubectl itself is asked in `tests/cluster`, where it is built."""
    folder = OVERLAYS / overlay
    said = kustomization(folder)
    assert (said["apiVersion"], said["kind"]) == ("kustomize.config.k8s.io/v1beta1", "Kustomization")
    # Nothing that would make of the files anything but what `kubectl apply -f` makes of them.
    assert set(said) == {"apiVersion", "kind", "resources"}
    assert sorted(said["resources"]) == sorted(str(file.relative_to(folder)) for file in files_of(overlay))


def test_prometheus_moves_to_a_disk_by_one_line() -> None:
    """That kustomize makes of it what it shall be is asked in `tests/cluster`."""
    said = kustomization(OVERLAYS / WITH_VOLUME)
    ours = [file for file in files() if file.is_relative_to(DEPLOYMENT / "monitoring")]
    assert [(OVERLAYS / WITH_VOLUME / each).resolve() for each in said["resources"]] == ours
    assert said["components"] == [f"../{VOLUME}"]
    assert set(said) == {"apiVersion", "kind", "resources", "components"}
    component = kustomization(OVERLAYS / VOLUME)
    assert component["kind"] == "Component"
    assert component["resources"] == [file.name for file in files_of(VOLUME)]
    [patch] = component["patches"]
    [data] = yaml.safe_load(patch["patch"])["spec"]["template"]["spec"]["volumes"]
    assert data == {"name": "data", "emptyDir": None, "persistentVolumeClaim": {"claimName": "prometheus"}}


def test_the_disk_is_encrypted_has_room_for_what_is_kept_and_never_two_servers() -> None:
    disk, claim = documents_of(VOLUME)
    assert (disk.body["provisioner"], disk.body["parameters"]["encrypted"]) == ("ebs.csi.aws.com", "true")
    assert (claim.body["spec"]["storageClassName"], claim.body["spec"]["accessModes"]) == (
        disk.name,
        ["ReadWriteOncePod"],
    )
    [config] = [each for each in documents() if (each.kind, each.name) == ("ConfigMap", "prometheus")]
    kept = int(yaml.safe_load(config.body["data"]["prometheus.yml"])["storage"]["tsdb"]["retention"]["size"][:-2])
    made = {(each["kind"], each["metadata"]["name"]): each for each in monitoring_with_volume()}
    assert ("PersistentVolumeClaim", "prometheus") in made
    room = int(claim.body["spec"]["resources"]["requests"]["storage"].removesuffix("Gi"))
    [pod] = [each for each in documents() if (each.kind, each.name) == ("Deployment", "prometheus")]
    [without] = [each["emptyDir"] for each in pod.pod["spec"]["volumes"] if each["name"] == "data"]
    # What is being written, and what is put together: a tenth of all and some more (Prometheus, "Storage").
    assert min(room, int(without["sizeLimit"].removesuffix("Gi"))) >= kept * 1.2


def test_https_replaces_one_file_whole() -> None:
    [file] = files_of("https")
    [base] = {replaced_by(each).file for each in documents_of("https")}
    assert file.name == base.name
    assert [(each.kind, each.name) for each in documents_of("https")] == [
        (each.kind, each.name) for each in documents() if each.file == base
    ]


def test_https_differs_in_what_it_is_for_and_in_nothing_else() -> None:
    service, ingress = of_https("Service"), of_https("Ingress")
    assert service.body == replaced_by(service).body
    expected = deepcopy(replaced_by(ingress).body)
    expected["metadata"]["annotations"] |= {
        f"{ALB}listen-ports": '[{"HTTP": 80}, {"HTTPS": 443}]',
        f"{ALB}ssl-redirect": "443",
        f"{ALB}ssl-policy": "ELBSecurityPolicy-TLS13-1-2-Res-PQ-2025-09",
        f"{ALB}listener-attributes.HTTPS-443": (
            "routing.http.response.strict_transport_security.header_value=max-age=31536000"
        ),
    }
    [rule] = expected["spec"]["rules"]
    rule["host"] = "comanda.example.com"
    assert ingress.body == expected


def test_https_has_a_policy_of_today() -> None:
    assert of_https("Ingress").body["metadata"]["annotations"][f"{ALB}ssl-policy"] in POLICIES


def test_nothing_is_served_without_a_host_and_nothing_by_http() -> None:
    ingress = of_https("Ingress").body
    assert "defaultBackend" not in ingress["spec"]
    assert all("*" not in rule["host"] for rule in ingress["spec"]["rules"])
    # The stand-in finds no certificates: so one is named for it.
    said = {**ingress["metadata"]["annotations"], f"{ALB}certificate-arn": "arn:aws:acm:sa-east-1:1:certificate/x"}
    balancer = alb.read_balancer(said)
    assert balancer.listen == (("HTTP", 80), ("HTTPS", 443))
    assert balancer.redirect_to == 443


def test_no_account_s_certificate_is_named() -> None:
    assert not any("arn:" in value for value in of_https("Ingress").body["metadata"]["annotations"].values())


def test_pods_are_looked_at_as_without_https() -> None:
    ingress = of_https("Ingress")
    before = replaced_by(ingress).body["metadata"]["annotations"]
    assert alb.read_group(ingress.body["metadata"]["annotations"], {}) == alb.read_group(before, {})


@pytest.mark.parametrize("ingress", [replaced_by(of_https("Ingress")), of_https("Ingress")], ids=str)
def test_each_annotation_is_one_that_the_controller_knows(ingress: Document) -> None:
    said = ingress.body["metadata"]["annotations"]
    assert set(alb.unknown(said)) <= UNKNOWN_TO_THE_STAND_IN
    assert all(isinstance(value, str) for value in said.values())
    json.loads(said[f"{ALB}listen-ports"])


def test_the_port_of_the_metrics_is_behind_no_load_balancer() -> None:
    for ingress in (replaced_by(of_https("Ingress")), of_https("Ingress")):
        led_to = {
            (path["backend"]["service"]["name"], path["backend"]["service"]["port"]["name"])
            for rule in ingress.body["spec"]["rules"]
            for path in rule["http"]["paths"]
        }
        assert led_to == {("comanda-api-public", "http")}
        for service in beside(ingress):
            if service.kind == "Service" and service.body["spec"].get("type", "ClusterIP") != "ClusterIP":
                pytest.fail(f"{service} is reached from outside by itself")
        [public] = [each for each in beside(ingress) if (each.kind, each.name) == ("Service", "comanda-api-public")]
        assert [(port["port"], port["targetPort"]) for port in public.body["spec"]["ports"]] == [(80, "http")]
