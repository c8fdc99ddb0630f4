"""docker/compose.yaml means what it promises: the manifests' versions, closed containers, no secret beforehand."""

import ipaddress
import json
import re
import subprocess
from pathlib import Path
from typing import Any

import jsonschema
import msgspec
import pytest
import yaml

from comanda.settings import Settings, read_settings
from comanda_local import containers
from tests.manifests.reading import DEPLOYMENT
from tests.tidy.sources import ROOT

Json = dict[str, Any]
DOCKER = ROOT / "docker"
COMPOSE: Json = yaml.safe_load((DOCKER / "compose.yaml").read_text(encoding="utf-8"))
SERVICES: dict[str, Json] = COMPOSE["services"]
ONCE = {"secrets", "roles", "migrate", "sample"}
OURS = {"migrate", "api", "worker"}
COMPLETED = {"condition": "service_completed_successfully"}
HEALTHY = {"condition": "service_healthy"}

READERS = {
    "kept": {"secrets", "roles", "sample"},
    "of-database": {"secrets", "database"},
    "of-migration": {"secrets", "migrate"},
    "of-pods": {"secrets", "api", "worker"},
    "of-sandbox": {"secrets", "sandbox"},
    "data": {"database"},
    "payments": {"sandbox"},
}
"""Who mounts which volume. All but the last two hold secrets."""


def mounts(name: str) -> dict[str, list[str]]:
    """Answer a service's volumes: the place of each, and its options."""
    parts = [each.split(":") for each in SERVICES[name].get("volumes", [])]
    return {volume: rest for volume, *rest in parts}


def chosen(text: str) -> str:
    """Answer a value as Compose reads it when nobody has set a variable."""
    return re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", text).replace("$$", "$")


def database_container() -> Json:
    """Answer the database's container in the cluster."""
    file = DEPLOYMENT / "db" / "4-db-stateful-set.yaml"
    documents = yaml.safe_load_all(file.read_text(encoding="utf-8"))
    [workload] = [each for each in documents if each["kind"] == "StatefulSet"]
    container: Json = workload["spec"]["template"]["spec"]["containers"][0]
    return container


def test_it_is_valid_by_the_specification_s_own_schema() -> None:
    schema = json.loads((Path(__file__).parent / "compose-spec.json").read_text(encoding="utf-8"))
    validator = jsonschema.Draft7Validator(schema)
    assert [error.message for error in validator.iter_errors(COMPOSE)] == []
    wrong = {**COMPOSE, "services": {**SERVICES, "api": {**SERVICES["api"], "port": []}}}
    assert [*validator.iter_errors(wrong)], "what it does not know it says"


def test_the_database_is_the_one_of_the_manifests() -> None:
    ours, theirs = SERVICES["database"], database_container()
    assert ours["image"] == theirs["image"]
    in_cluster = {each["name"]: each.get("value") for each in theirs["env"]}
    assert ours["environment"]["POSTGRES_INITDB_ARGS"] == in_cluster["POSTGRES_INITDB_ARGS"]
    assert ours["environment"]["POSTGRES_PASSWORD_FILE"] == in_cluster["POSTGRES_PASSWORD_FILE"]
    # What a later mount would cover is lost with the container: since 18 the volume is one folder up.
    assert mounts("database")["data"] == ["/var/lib/postgresql"]


def test_both_images_have_one_base_and_only_ours_runs_the_diner() -> None:
    bases = {
        name: re.findall(r"^FROM (\S+) AS base$", (DOCKER / name).read_text(encoding="utf-8"), re.MULTILINE)
        for name in ("Dockerfile", "sandbox.Dockerfile")
    }
    [(base,)] = {tuple(each) for each in bases.values()}
    assert re.search(r"python:\d+\.\d+\.\d+-slim-", base), "not an exact version of Python"
    for name, service in SERVICES.items():
        if name != "database":
            assert service["image"] == ("comanda-api:compose" if name in OURS else "comanda-sandbox:compose")
    built = {name: service["build"]["dockerfile"] for name, service in SERVICES.items() if "build" in service}
    # The first of each, in the order of their start; the others take what is there, and ask no registry for it.
    assert built == {"secrets": "docker/sandbox.Dockerfile", "migrate": "docker/Dockerfile"}
    assert all(
        service.get("pull_policy") == "never" for name, service in SERVICES.items() if name not in {*built, "database"}
    )


@pytest.mark.parametrize("name", SERVICES)
def test_it_is_closed(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert not {"privileged", "cap_add", "pid", "ipc", "devices", "userns_mode", "group_add"} & set(service)
    assert "docker.sock" not in json.dumps(service)
    assert not any(volume.startswith(("/", ".", "~")) for volume in mounts(name)), "nothing of this machine is inside"
    # Who says no user is the image's, and neither of ours is root.
    assert service.get("user") == ("999:999" if name == "database" else None)
    for dockerfile in ("Dockerfile", "sandbox.Dockerfile"):
        assert re.findall(r"^USER (.*)$", (DOCKER / dockerfile).read_text(), re.MULTILINE) == ["10001:10001"]


def test_only_this_machine_gets_in_and_only_to_guests_and_sandbox() -> None:
    published = {name: service["ports"] for name, service in SERVICES.items() if "ports" in service}
    assert {name: [chosen(port) for port in ports] for name, ports in published.items()} == {
        "api": ["127.0.0.1:8000:8000"],
        "sandbox": ["127.0.0.1:8001:8001"],
    }
    assert COMPOSE["networks"]["inside"] == {"internal": True}
    outside = {name for name, service in SERVICES.items() if "outside" in service.get("networks", [])}
    assert outside == set(published), "Docker publishes no port of who is inside alone"
    assert SERVICES["secrets"]["network_mode"] == "none"
    assert all(SERVICES[name]["networks"] for name in set(SERVICES) - {"secrets"}), "the default one leads outside"


def test_each_secret_is_mounted_by_its_readers_alone() -> None:
    assert set(COMPOSE["volumes"]) == set(READERS)
    for volume, readers in READERS.items():
        assert {name for name in SERVICES if volume in mounts(name)} == readers, volume
    for name in SERVICES:
        for volume, (_, *options) in mounts(name).items():
            writes = name == "secrets" or volume in {"data", "payments"}
            assert options == ([] if writes else ["ro"]), (name, volume)


def test_no_secret_stands_in_it() -> None:
    text = (DOCKER / "compose.yaml").read_text(encoding="utf-8")
    defaults = dict(re.findall(r"\$\{(\w+)(?::-([^}]*))?\}", text))
    assert defaults == {
        "PORT": "8000",
        "SANDBOX_PORT": "8001",
        "PIP_CONFIG_FILE": "/dev/null",
        "PIP_CERT": "/dev/null",
    }
    for name, service in SERVICES.items():
        assert "env_file" not in service
        for variable in service.get("environment", {}):
            assert not re.search(r"PASSWORD$|TOKEN|SECRET|KEY|DATABASE_URL", variable), (name, variable)


def test_api_and_worker_are_set_up_to_the_last_variable(tmp_path: Path) -> None:
    for folder in ("kept", "database", "migration", "pods", "sandbox"):
        (tmp_path / folder).mkdir()
    containers.share(tmp_path)
    known = {field.encode_name for field in msgspec.structs.fields(Settings)}
    for name in ("api", "worker"):
        given = {key: chosen(value) for key, value in SERVICES[name]["environment"].items()}
        assert set(given) <= known
        command = [chosen(word) for word in SERVICES[name]["entrypoint"]]
        # The file is read to the program by the same words; `env` is in the program's place.
        script = command[2].replace("/run/comanda", str(tmp_path / "pods"))
        command[2] = re.sub(r"exec comanda .*", "exec /usr/bin/env -0", script)
        answer = subprocess.run(command, env=given, check=True, capture_output=True, text=True)
        variables = dict(each.split("=", 1) for each in answer.stdout.split("\0") if each)
        settings = read_settings(variables)
        assert set(variables) - set(given) - {"PWD", "_", "SHLVL", "OLDPWD"} <= known
        assert settings.database_url.startswith("postgresql://comanda_api:")
        assert not settings.live_mode
        assert settings.notification_url is None, "the sandbox sends to where it is told: it cannot reach 127.0.0.1"
        grace = int(SERVICES[name]["stop_grace_period"].removesuffix("s"))
        assert settings.drain_seconds + settings.shutdown_timeout + 5 < grace
        assert all(network.is_private for network in settings.exempt)
        assert any(ipaddress.ip_address("172.18.0.1") in network for network in settings.exempt), "Docker's own"


def test_what_waits_for_what() -> None:
    waits = {name: service.get("depends_on", {}) for name, service in SERVICES.items()}
    prepared = {"sample": COMPLETED, "migrate": COMPLETED, "sandbox": HEALTHY}
    assert waits == {
        "secrets": {},
        "database": {"secrets": COMPLETED},
        "roles": {"database": HEALTHY},
        "migrate": {"roles": COMPLETED},
        "sample": {"migrate": COMPLETED},
        "sandbox": {"secrets": COMPLETED},
        "api": prepared,
        "worker": prepared,
    }


@pytest.mark.parametrize("name", SERVICES)
def test_who_ends_is_started_again_unless_it_was_done(name: str) -> None:
    service = SERVICES[name]
    if name in ONCE:
        assert service["restart"] == "no"
        assert "healthcheck" not in service
    else:
        assert service["restart"] == "unless-stopped"
        check = " ".join(service["healthcheck"]["test"])
        assert {"database": "pg_isready", "sandbox": "8001/"}.get(name, "9000/readyz") in check


def test_the_sandbox_sends_its_webhooks_to_the_api() -> None:
    assert "--webhook-url=http://api:8000/v1/webhooks/mercado-pago" in SERVICES["sandbox"]["command"]
    assert SERVICES["api"]["environment"]["MERCADO_PAGO_BASE_URL"] == "http://sandbox:8001"


def test_the_sandbox_s_image_takes_from_the_clone_what_it_names() -> None:
    lines = (DOCKER / "sandbox.Dockerfile.dockerignore").read_text(encoding="utf-8").splitlines()
    rules = [line for line in lines if line and not line.startswith("#")]
    assert rules[0] == "*"
    assert {rule for rule in rules if rule.startswith("!")} == {
        "!requirements/local.txt",
        "!src/comanda",
        "!src/comanda_local",
        "!src/comanda_sandbox",
    }
