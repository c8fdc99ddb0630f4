"""docker/compose.yaml run by a real Docker, from its first start to its second, with an order in between.

Our image is built from its Dockerfile, as is the sandbox's; PostgreSQL's is the stand-in of the tests' cluster.
"""

import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from comanda_deploy.image import PIP
from tests.cluster.images import IMAGES, archive
from tests.compose.docker import Docker, running_docker, until
from tests.image import base
from tests.image.buildah import buildah_in
from tests.tidy.sources import ROOT

pytestmark = [pytest.mark.root, pytest.mark.go]

API, SANDBOX = "http://127.0.0.1:8000", "http://127.0.0.1:8001"


def sandbox_image(folder: Path) -> Path:
    """Build the sandbox's image, and answer its archive."""
    buildah = buildah_in(folder / "buildah")
    buildah.run("pull", f"oci-archive:{base.archive()}")
    [identity] = set(buildah.run("images", "--quiet", "--no-trunc").split())
    buildah.run("tag", identity, base.name())
    given = {name: Path(os.environ[variable]) for variable, name in PIP.items() if os.environ.get(variable)}
    file = ROOT / "docker" / "sandbox.Dockerfile"
    buildah.run(
        *("build", "--pull=never", "--network=host", f"--file={file}", f"--ignorefile={file}.dockerignore"),
        *(f"--secret=id={name},src={path}" for name, path in given.items() if path.is_file()),
        *("--tag=comanda-sandbox:compose", str(ROOT)),
    )
    built = folder / "sandbox.tar"
    buildah.run("push", "comanda-sandbox:compose", f"docker-archive:{built}:comanda-sandbox:compose")
    return built


@pytest.fixture(scope="module")
def docker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Docker]:
    """Answer a Docker that has the three images."""
    archives = [archive(image) for image in IMAGES if re.search("comanda-api|postgres:", image.name)]
    archives.append(sandbox_image(tmp_path_factory.mktemp("sandbox")))
    with running_docker(tmp_path_factory.mktemp("docker")) as docker:
        for each in archives:
            docker.docker("load", "--quiet", "--input", str(each))
        [ours] = re.findall(r"^comanda-api:\S+", docker.docker("images", "--format", "{{.Repository}}:{{.Tag}}"), re.M)
        docker.docker("tag", ours, "comanda-api:compose")
        yield docker
        docker.compose("down", "--volumes", "--timeout", "20")


def keys(docker: Docker) -> dict[str, str]:
    """Answer the keys that the last start printed, by role."""
    return dict(re.findall(r"(staff|manager) key +(\S+)", docker.compose("logs", "sample")))


def test_one_command_makes_a_diner_that_takes_an_order_and_is_the_same_after_a_rest(docker: Docker) -> None:
    docker.compose("up", "--wait", "--pull", "never", "--no-build")
    first = keys(docker)

    status, menu = docker.request("GET", f"{API}/v1/menu")
    assert status == 200
    product = menu["categories"][0]["products"][0]["id"]
    status, order = docker.request("POST", f"{API}/v1/orders", {"items": [{"product_id": product, "quantity": 2}]})
    assert status == 201, order
    where = f"{API}/v1/orders/{order['id']}"
    payment = re.search(r"'provider_payment_id': '?(\d+)", str(order))
    assert payment, order
    assert docker.request("POST", f"{SANDBOX}/_sandbox/payments/{payment[1]}/pay")[0] == 200
    until(lambda: docker.request("GET", where)[1]["status"] == "paid", seconds=60)
    assert "/v1/webhooks/mercado-pago" in docker.compose("logs", "api"), "the sandbox reaches the API too"
    assert docker.request("PATCH", where, {"status": "preparing"})[0] == 401
    for wanted in ("preparing", "ready", "picked_up"):
        assert docker.request("PATCH", where, {"status": wanted}, first["staff"])[1]["status"] == wanted

    docker.compose("down", "--timeout", "20")
    docker.compose("up", "--wait", "--pull", "never", "--no-build")
    assert keys(docker) == first
    assert docker.request("GET", where)[1]["status"] == "picked_up"
    assert docker.request("GET", f"{API}/v1/menu")[1] == menu


def test_nothing_else_is_reached_and_nobody_can_do_more_than_they_need(docker: Docker) -> None:
    docker.compose("up", "--wait", "--pull", "never", "--no-build")
    for port in (9000, 5432):
        assert docker.request("GET", f"http://127.0.0.1:{port}/")[0] == 0
    running = docker.compose("ps", "--services", "--status", "running").split()
    assert sorted(running) == ["api", "database", "sandbox", "worker"]
    for service in running:
        said = docker.compose("exec", "--no-TTY", service, "cat", "/proc/1/status")
        rights = dict(re.findall(r"^(\w+):\s*(.*)$", said, re.MULTILINE))
        assert rights["NoNewPrivs"] == "1"
        assert {rights[name] for name in ("CapEff", "CapPrm", "CapBnd", "CapInh", "CapAmb")} == {"0" * 16}
        user = "999" if service == "database" else "10001"
        assert rights["Uid"].split() == [user] * 4
        script = "touch /it /opt/it /usr/it 2>/dev/null; ls -d /it /opt/it /usr/it 2>/dev/null || true"
        assert docker.compose("exec", "--no-TTY", service, "sh", "-c", script) == ""
    for service in ("api", "worker"):
        assert "OWNER" not in docker.compose("exec", "--no-TTY", service, "sh", "-c", "cat /run/comanda/*").upper()
