"""Grafana's own manifests: who comes in, what it brings along, how a changed password comes to count."""

import configparser
from pathlib import Path
from typing import Any

import pytest
import yaml

from comanda_dashboards.every import DASHBOARDS
from comanda_dashboards.manifests import FOLDER
from comanda_deploy.capacity import ANYWHERE
from comanda_deploy.names import GRAFANA_SECRET

Json = dict[str, Any]
BUNDLED = {
    "prometheus", "loki", "jaeger", "elasticsearch", "tempo", "zipkin", "influxdb", "mysql", "mssql", "opentsdb",
    "stackdriver", "cloudwatch", "grafana-postgresql-datasource", "grafana-pyroscope-datasource",
}  # fmt: skip
"""The data sources that Grafana 13.2 has as plugins in its image (pkg/setting/setting_plugins.go)."""


def objects() -> list[Json]:
    """Answer all objects, in the order in which they are applied."""
    files = sorted(FOLDER.glob("*.yaml"))
    return [body for file in files for body in yaml.safe_load_all(file.read_text(encoding="utf-8"))]


def one(kind: str, name: str) -> Json:
    """Answer one of them."""
    [found] = [each for each in objects() if (each["kind"], each["metadata"]["name"]) == (kind, name)]
    return found


@pytest.fixture(scope="module")
def pod() -> Json:
    found: Json = one("Deployment", "grafana")["spec"]["template"]["spec"]
    return found


@pytest.fixture(scope="module")
def settings() -> configparser.ConfigParser:
    parser = configparser.ConfigParser(interpolation=None)
    parser.read_string(one("ConfigMap", "grafana")["data"]["grafana.ini"])
    return parser


def mount(pod: Json, name: str) -> str:
    """Answer where a volume is mounted."""
    [found] = [each["mountPath"] for each in pod["containers"][0]["volumeMounts"] if each["name"] == name]
    return str(found)


def volume(pod: Json, name: str) -> Json:
    """Answer a volume."""
    [found] = [each for each in pod["volumes"] if each["name"] == name]
    return dict(found)


def test_nobody_comes_in_without_the_password(settings: configparser.ConfigParser) -> None:
    assert not settings.getboolean("auth.anonymous", "enabled")
    assert not settings.getboolean("users", "allow_sign_up")
    assert not settings.getboolean("public_dashboards", "enabled")
    assert not settings.getboolean("snapshots", "enabled")


def test_the_password_is_a_file_of_the_secret_and_read_anew_at_each_start(
    pod: Json, settings: configparser.ConfigParser
) -> None:
    secret = one("ExternalSecret", "grafana")["spec"]
    [entry] = secret["data"]
    assert entry["remoteRef"]["key"] == GRAFANA_SECRET
    assert volume(pod, "password")["secret"]["secretName"] == secret["target"]["name"]
    file = f"{mount(pod, 'password')}/{entry['secretKey']}"
    assert settings["security"]["admin_password"] == f"$__file{{{file}}}"
    # Grafana takes it when it makes its database: so that must not outlive the pod.
    assert "emptyDir" in volume(pod, "data")
    assert mount(pod, "data") == "/var/lib/grafana"
    assert "env" not in pod["containers"][0], "GF_SECURITY_ADMIN_PASSWORD would go before"


def test_it_calls_nobody(settings: configparser.ConfigParser) -> None:
    off = {
        "analytics": ("enabled", "reporting_enabled", "check_for_updates", "check_for_plugin_updates"),
        "news": ("news_feed_enabled",),
        "plugins": ("plugin_admin_enabled",),
    }
    assert not [key for section, keys in off.items() for key in keys if settings.getboolean(section, key)]
    assert settings.getboolean("security", "disable_gravatar")
    assert settings.getboolean("plugins", "preinstall_disabled")
    to = one("NetworkPolicy", "from-grafana")["spec"]["egress"]
    ports = {(port["protocol"], port["port"]) for rule in to for port in rule["ports"]}
    assert ports == {("UDP", 53), ("TCP", 53), ("TCP", 9090)}
    assert "ipBlock" not in str(to)


def test_prometheus_data_source_comes_out_of_the_image(pod: Json, settings: configparser.ConfigParser) -> None:
    """It is a plugin there since 13.2; a volume over its folder, as charts have it, would take it away."""
    container = pod["containers"][0]
    assert "slim" not in container["image"]
    assert not [each for each in container["volumeMounts"] if each["mountPath"].startswith("/usr/share/grafana")]
    left_out = set(settings["plugins"]["disable_plugins"].split(","))
    assert left_out == BUNDLED - {"prometheus"}


def test_what_it_writes_to_it_can_write_to(pod: Json) -> None:
    writable = {mount(pod, each["name"]) for each in pod["volumes"] if "emptyDir" in each}
    assert writable == {"/var/lib/grafana", "/tmp"}  # noqa: S108 - in the pod
    assert all("sizeLimit" in each["emptyDir"] for each in pod["volumes"] if "emptyDir" in each)
    assert pod["containers"][0]["securityContext"]["readOnlyRootFilesystem"] is True
    assert pod["securityContext"]["runAsNonRoot"] is True


def test_every_dashboard_is_mounted_where_grafana_looks_for_them(
    pod: Json, settings: configparser.ConfigParser
) -> None:
    mounted = {each["configMap"]["name"] for each in volume(pod, "dashboards")["projected"]["sources"]}
    assert mounted == {f"dashboard-{each.slug}" for each in DASHBOARDS}
    files = {key for each in objects() if each["metadata"]["name"] in mounted for key in each["data"]}
    assert len(files) == len(DASHBOARDS)
    [provider] = yaml.safe_load(one("ConfigMap", "grafana")["data"]["dashboards.yaml"])["providers"]
    assert provider["options"]["path"] == mount(pod, "dashboards")
    assert provider["allowUiUpdates"] is False
    home = Path(settings["dashboards"]["default_home_dashboard_path"])
    assert str(home.parent) == mount(pod, "dashboards")
    assert home.name in files


def test_the_configuration_lies_where_the_image_expects_it(pod: Json) -> None:
    config, body = volume(pod, "configuration")["configMap"], one("ConfigMap", "grafana")
    assert {item["key"] for item in config["items"]} == set(body["data"])
    assert mount(pod, "configuration") == "/etc/grafana"
    paths = {item["path"] for item in config["items"]}
    assert {"grafana.ini", "provisioning/datasources/prometheus.yaml", "provisioning/dashboards/comanda.yaml"} <= paths


def test_it_is_asked_by_prometheus_alone_and_led_to_by_its_service(pod: Json) -> None:
    [rule] = one("NetworkPolicy", "to-grafana")["spec"]["ingress"]
    assert rule == {
        "from": [{"podSelector": {"matchLabels": {"app.kubernetes.io/name": "prometheus"}}}],
        "ports": [{"protocol": "TCP", "port": 3000}],
    }
    service = one("Service", "grafana")["spec"]
    labels = one("Deployment", "grafana")["spec"]["template"]["metadata"]["labels"]
    assert service["selector"].items() <= labels.items()
    assert service["type"] == "ClusterIP"
    assert service["ports"][0]["targetPort"] in {port["name"] for port in pod["containers"][0]["ports"]}


def test_the_nodes_were_reckoned_for_it(pod: Json) -> None:
    requests = pod["containers"][0]["resources"]["requests"]
    [load] = [each for each in ANYWHERE if each.name == "grafana"]
    assert requests == {"cpu": f"{load.millicores}m", "memory": f"{load.memory}Mi"}


def test_all_of_it_is_in_the_namespace_of_monitoring() -> None:
    assert {each["metadata"]["namespace"] for each in objects()} == {"monitoring"}
