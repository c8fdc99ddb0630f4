"""What of Kubernetes' own objects the cluster needs before anything of the product comes."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tests.cluster.infrastructure import METRICS_PORT
from tests.cluster.layout import Layout
from tests.cluster.machine import run

Json = dict[str, Any]
MARKER = "comanda-test-cluster"
"""A config map of this name in kube-system says that tests may do here as they like."""


class Kubectl:
    """kubectl, at one cluster and no other.

    Args:
        command: where it is. kubeconfig: which cluster.
    """

    def __init__(self, command: Path, kubeconfig: Path) -> None:
        """Keep both."""
        self.command = command
        self.kubeconfig = kubeconfig

    def __call__(self, *arguments: str, stdin: str | None = None, check: bool = True) -> str:
        """Run it and answer what it said.

        Raises:
            Failed: it refuses.
        """
        return run(str(self.command), f"--kubeconfig={self.kubeconfig}", *arguments, stdin=stdin, check=check)

    def apply(self, objects: Iterable[Json]) -> None:
        """Apply objects, on the server's side: some are too big for kubectl's note of the last time."""
        listed = json.dumps({"apiVersion": "v1", "kind": "List", "items": list(objects)})
        self("apply", "--server-side", "--force-conflicts", "--filename=-", stdin=listed)

    def apply_files(self, folder: Path) -> None:
        """Apply all YAML files of a folder, but for kustomize's own."""
        files = [file for file in sorted(folder.glob("*.yaml")) if file.name != "kustomization.yaml"]
        self("apply", "--server-side", "--force-conflicts", *(f"--filename={file}" for file in files))

    def get(self, *arguments: str) -> Any:
        """Answer an object, or a list's items."""
        found = json.loads(self("get", *arguments, "--output=json"))
        return found["items"] if found["kind"].endswith("List") else found


def beginning(layout: Layout) -> list[Json]:
    """Answer the marker, and the service of DNS."""
    return [
        marker(layout),
        *without_pods(
            layout, "kube-system", "kube-dns", {"dns": ("UDP", 53, 53), "dns-tcp": ("TCP", 53, 53)}, str(layout.dns)
        ),
    ]


def of_metrics(layout: Layout) -> list[Json]:
    """Answer what leads the API server to metrics-server. Where none runs it must not be: namespaces would not go."""
    return [
        *without_pods(layout, "kube-system", "metrics-server", {"https": ("TCP", 443, METRICS_PORT)}),
        {
            "apiVersion": "apiregistration.k8s.io/v1",
            "kind": "APIService",
            "metadata": {"name": "v1beta1.metrics.k8s.io"},
            "spec": {
                "group": "metrics.k8s.io",
                "version": "v1beta1",
                "groupPriorityMinimum": 100,
                "versionPriority": 100,
                "insecureSkipTLSVerify": True,
                "service": {"name": "metrics-server", "namespace": "kube-system"},
            },
        },
    ]


def marker(layout: Layout) -> Json:
    """Answer what says that tests may do in a cluster as they like."""
    metadata = {"name": MARKER, "namespace": "kube-system"}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"clone": str(layout.clone)}}


def without_pods(
    layout: Layout, namespace: str, name: str, ports: dict[str, tuple[str, int, int]], address: str = ""
) -> list[Json]:
    """Answer a service without a selector, whose endpoint is in the first node's network.

    Args:
        ports: by name, protocol, port and the endpoint's port. address: its cluster address, "" for any.
    """
    metadata = {"name": name, "namespace": namespace}
    listed = [
        {"name": each, "protocol": protocol, "port": port, "targetPort": target}
        for each, (protocol, port, target) in ports.items()
    ]
    spec: Json = {"ports": listed} | ({"clusterIP": address} if address else {})
    return [
        {"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": spec},
        {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": metadata | {"labels": {"kubernetes.io/service-name": name}},
            "addressType": "IPv4",
            "ports": [
                {"name": each, "protocol": protocol, "port": target} for each, (protocol, _, target) in ports.items()
            ],
            "endpoints": [{"addresses": [str(layout.main)], "conditions": {"ready": True}}],
        },
    ]
