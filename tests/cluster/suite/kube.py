"""A cluster for tests, its namespaces and pods, and how a test speaks with what runs there."""

import contextlib
import os
import re
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.cluster.facts import read
from tests.cluster.layout import layout
from tests.cluster.objects import MARKER, Json, Kubectl

GIVEN = "COMANDA_TEST_KUBECONFIG"
FOREIGN = "123456789012.dkr.ecr.sa-east-1.amazonaws.com"
RESTRICTED: Json = {
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "readOnlyRootFilesystem": True,
    "runAsNonRoot": True,
    "runAsUser": 10001,
    "seccompProfile": {"type": "RuntimeDefault"},
}


def facts() -> dict[str, str]:
    """Answer what `make cluster` wrote.

    Raises:
        Failed: no cluster is running.
    """
    return read(layout())


def kubectl() -> Kubectl:
    """Answer kubectl at the cluster of the tests, or at the one that COMANDA_TEST_KUBECONFIG names, if it is marked.

    Raises:
        AssertionError: nobody has said that tests may run there.
    """
    named = os.environ.get(GIVEN)
    found = facts() if not named else {"kubectl": "kubectl", "kubeconfig": named}
    kube = Kubectl(Path(found["kubectl"]), Path(found["kubeconfig"]))
    marked = kube("get", "configmap", MARKER, "--namespace=kube-system", "--output=name", check=False)
    assert marked.strip() == f"configmap/{MARKER}", f"{found['kubeconfig']}: no tests there: make cluster-mark says so"
    return kube


class Space:
    """A namespace of one test.

    Args:
        image: of the probe, as a pod names it.
    """

    def __init__(self, kube: Kubectl, name: str, image: str) -> None:
        """Keep them."""
        self.kube = kube
        self.name = name
        self.image = image

    def __call__(self, *arguments: str, **more: Any) -> str:
        """Run kubectl in the namespace."""
        return self.kube(f"--namespace={self.name}", *arguments, **more)

    def get(self, *arguments: str) -> Any:
        """Answer an object of the namespace, or a list's items."""
        return self.kube.get(f"--namespace={self.name}", *arguments)

    def apply(self, *objects: Json) -> None:
        """Apply objects in the namespace."""
        for each in objects:
            each["metadata"]["namespace"] = self.name
        self.kube.apply(objects)

    def wait(self, what: str, condition: str, seconds: int = 60) -> None:
        """Wait until something is so, as `kubectl wait --for` says it."""
        self("wait", what, f"--for={condition}", f"--timeout={seconds}s")

    def rolled_out(self, what: str, seconds: int = 60) -> None:
        """Wait until a workload has all its pods ready."""
        self("rollout", "status", what, f"--timeout={seconds}s")

    def pods(self, app: str) -> list[Json]:
        """Answer the pods of an app that are not on their way out."""
        found: list[Json] = self.get("pods", f"--selector=app={app}")
        return [each for each in found if "deletionTimestamp" not in each["metadata"]]

    def node_of(self, pod: str) -> str:
        """Answer the node that a pod runs on."""
        return str(self.get("pod", pod)["spec"]["nodeName"])

    def exec(self, pod: str, *command: str) -> str:
        """Run the probe's own commands in a pod: there is no shell in it."""
        return self("exec", pod, "--", "/probe", *command)

    @contextlib.contextmanager
    def at(self, what: str) -> Iterator["Caller"]:
        """Answer HTTP to a pod or service, by port-forward."""
        forward = subprocess.Popen(
            [
                str(self.kube.command),
                f"--kubeconfig={self.kube.kubeconfig}",
                f"--namespace={self.name}",
                "port-forward",
                what,
                ":8080",
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        with forward:
            try:
                assert forward.stdout is not None
                line = forward.stdout.readline()
                found = re.search(r"127\.0\.0\.1:(\d+)", line)
                assert found, line
                yield Caller(f"http://127.0.0.1:{found[1]}")
            finally:
                forward.terminate()


class Caller:
    """HTTP to one address."""

    def __init__(self, url: str) -> None:
        """Keep it."""
        self.url = url

    def __call__(self, path: str, body: str | None = None) -> str:
        """Answer what it says, errors too: their text says why."""
        request = urllib.request.Request(self.url + path, body.encode() if body is not None else None)  # noqa: S310
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310 - loopback
                text: bytes = answer.read()
        except urllib.error.HTTPError as error:
            with error:
                text = error.read()
        return text.decode().strip()


def until(what: str, check: Any, seconds: float = 60) -> Any:
    """Look until something is so, and answer it: for what Kubernetes has no event of.

    Raises:
        AssertionError: it does not become so in time.
    """
    deadline = time.monotonic() + seconds
    while not (found := check()):
        assert time.monotonic() < deadline, f"{what}: not so after {seconds} s"
        time.sleep(0.1)
    return found


def pod(space: Space, **more: Any) -> Json:
    """Answer a pod's spec: one probe, restricted."""
    container: Json = {
        "name": "probe",
        "image": space.image,
        "ports": [{"containerPort": 8080}],
        "securityContext": RESTRICTED,
        "readinessProbe": {"httpGet": {"path": "/", "port": 8080}, "periodSeconds": 1},
        "resources": {"requests": {"cpu": "20m", "memory": "16Mi"}, "limits": {"memory": "64Mi"}},
        "env": [{"name": "NODE", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}}],
    }
    container.update(more.pop("container", {}))
    return {
        "automountServiceAccountToken": False,
        "terminationGracePeriodSeconds": 5,
        "containers": [container],
        **more,
    }


def deployment(space: Space, name: str, replicas: int | None = 1, **more: Any) -> Json:
    """Answer a deployment of the probe."""
    spec: Json = {
        "selector": {"matchLabels": {"app": name}},
        "template": {"metadata": {"labels": {"app": name}}, "spec": pod(space, **more)},
    }
    if replicas is not None:
        spec["replicas"] = replicas
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name}, "spec": spec}


def service(name: str, *, headless: bool = False) -> Json:
    """Answer a service of an app."""
    spec: Json = {"selector": {"app": name}, "ports": [{"port": 80, "targetPort": 8080}]}
    if headless:
        spec["clusterIP"] = "None"
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": spec}
