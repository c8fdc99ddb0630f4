"""What the cluster's own tests may ask for."""

import os
import secrets
import tarfile
from collections.abc import Iterator

import pytest

from tests.cluster.cache import binary
from tests.cluster.machine import run
from tests.cluster.objects import Kubectl
from tests.cluster.suite.kube import FOREIGN, Space, facts, kubectl


@pytest.fixture(scope="session")
def kube() -> Kubectl:
    """kubectl at the cluster of the tests."""
    return kubectl()


@pytest.fixture(scope="session")
def probe(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """The probe's image under a foreign registry's name: by its tag, and by its digest."""
    layer = tmp_path_factory.mktemp("probe") / "layer.tar"
    with tarfile.open(layer, "w") as archive:
        archive.add(binary("probe"), "probe")
    # Each test process pushes its own: two at once would not have the same digest.
    name = f"probe-{os.environ.get('PYTEST_XDIST_WORKER', 'main')}"
    here = f"{facts()['registry']}/{name}:1"
    crane = str(binary("crane"))
    run(crane, "append", f"--new_layer={layer}", f"--new_tag={here}", "--insecure", "--platform=linux/amd64")
    run(crane, "mutate", here, f"--tag={here}", "--entrypoint=/probe", "--set-platform=linux/amd64", "--insecure")
    digest = run(crane, "digest", here, "--insecure").strip()
    return f"{FOREIGN}/{name}:1", f"{FOREIGN}/{name}@{digest}"


@pytest.fixture
def space(kube: Kubectl, probe: tuple[str, str], request: pytest.FixtureRequest) -> Iterator[Space]:
    """A namespace in which 'restricted' is enforced, gone with the test."""
    # As its test, and never one that an earlier run's namespace still has while it goes.
    stem = request.node.name[5:40].split("[")[0].strip("_").replace("_", "-")
    name = f"test-{stem}-{secrets.token_hex(3)}"
    labels = {"pod-security.kubernetes.io/enforce": "restricted", "comanda-test": "yes"}
    kube.apply([{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}])
    yield Space(kube, name, probe[0])
    kube("delete", "namespace", name, "--wait=false")
