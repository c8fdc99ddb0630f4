"""What of a cluster the deployment tool sees: helm's releases, nodes, manifests. No Kubernetes: its answers only.

The commands `helm` and `kubectl` in `bin` ask it over HTTP. A real Kubernetes is another test's business.
"""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from comanda_testbed.applied import Applied
from comanda_testbed.eks import Eks
from comanda_testbed.shapes import Refusal

Json = dict[str, Any]


@dataclass
class Kubernetes:
    """The API server's stand-in.

    Args:
        eks: whose cluster it is: without an active one, with nodes, nothing can be installed.
        client: answers a boto3 client, for what controllers do in AWS.
        silent: how many of the next calls it does not answer.
    """

    eks: Eks
    client: Callable[[str], Any]
    releases: dict[tuple[str, str], Json] = field(default_factory=dict)
    ingresses: dict[tuple[str, str], Json] = field(default_factory=dict)
    silent: int = 0
    applied: Applied = field(init=False)
    _lock: threading.RLock = field(default_factory=threading.RLock)
    _cluster: Any = None

    def __post_init__(self) -> None:
        """Begin with nothing applied."""
        self.applied = Applied(self._installed)

    def call(self, method: str, path: str, body: Json) -> Json:
        """Answer one request of the commands, or of a test.

        Raises:
            Refusal: the cluster cannot be reached, or there is no such thing.
        """
        with self._lock:
            self._reachable()
            handler = {
                ("GET", "releases"): self._list,
                ("PUT", "releases"): self._install,
                ("DELETE", "releases"): self._uninstall,
                ("POST", "releases"): self._roll_back,
                ("GET", "objects"): self._objects,
                ("PUT", "ingresses"): self._expose,
                ("DELETE", "ingresses"): self._delete_ingress,
                ("GET", "kinds"): lambda _: {"kinds": self.applied.kinds()},
                ("GET", "events"): lambda _: {"items": self.applied.events},
                ("GET", "pods"): lambda body: {"items": self.applied.pods(body["namespace"])},
                ("GET", "rollouts"): lambda body: {"items": self.applied.rolling(body["namespace"])},
                ("GET", "logs"): self._log,
                ("PUT", "annotations"): self._annotate,
                ("PUT", "scale"): self._scale,
                ("GET", "applied"): self._find,
                ("GET", "named"): lambda body: {"found": self.applied.named(**body)},
                ("POST", "applied"): lambda body: {"sides": self.applied.compare(body["documents"])},
                ("PUT", "applied"): self._apply,
                ("DELETE", "applied"): self._delete,
            }.get((method, path.strip("/")))
            if handler is None:
                raise Refusal("NotFound", f"the test bed has no {method} {path}", 404)
            return handler(body)

    def _reachable(self) -> None:
        if self.silent:
            self.silent -= 1
            raise Refusal(
                "Unreachable", "The connection to the server was refused: did you specify the right host?", 503
            )
        cluster = self.eks.clusters.get("comanda")
        if cluster is None or cluster.body["status"] not in {"ACTIVE", "UPDATING"}:
            raise Refusal("Unreachable", "Kubernetes cluster unreachable: no such host", 503)
        if cluster is not self._cluster:
            # Whatever was in another cluster of that name went with it.
            self._cluster = cluster
            self.applied = Applied(self._installed)

    def _installed(self) -> set[str]:
        cluster = self.eks.clusters["comanda"]
        return {name for _, name in self.releases} | set(cluster.addons)

    def _list(self, body: Json) -> Json:
        del body
        return {"releases": list(self.releases.values())}

    def _install(self, body: Json) -> Json:
        cluster = self.eks.clusters["comanda"]
        if not any(group.body["status"] == "ACTIVE" for group in cluster.groups.values()):
            raise Refusal("Timeout", "timed out waiting for the condition: no node to run on", 500)
        key = (body["namespace"], body["name"])
        if self.releases.get(key, {}).get("status", "").startswith("pending-"):
            raise Refusal("Pending", "another operation (install/upgrade/rollback) is in progress", 409)
        revision = self.releases[key]["revision"] + 1 if key in self.releases else 1
        self.releases[key] = {**body, "revision": revision, "status": "deployed", "updated": _now()}
        return self.releases[key]

    def _roll_back(self, body: Json) -> Json:
        release = self.releases[body["namespace"], body["name"]]
        release["status"] = "deployed"
        return release

    def _uninstall(self, body: Json) -> Json:
        key = (body["namespace"], body["name"])
        if key not in self.releases:
            raise Refusal("NotFound", f"Release not loaded: {body['name']}: release: not found", 404)
        return self.releases.pop(key)

    def _objects(self, body: Json) -> Json:
        del body
        self._reconcile()
        nodes = [
            {
                "kind": "Node",
                "metadata": {"name": f"{name}-{number}", "labels": group.body["labels"]},
                "status": {"nodeInfo": {"kubeletVersion": f"v{group.body['version']}.4"}, "conditions": [READY]},
            }
            for name, group in self.eks.clusters["comanda"].groups.items()
            if group.body["status"] == "ACTIVE"
            for number in range(group.body["scalingConfig"]["desiredSize"])
        ]
        return {"items": [*nodes, *self.ingresses.values()]}

    def _find(self, body: Json) -> Json:
        self._reconcile()
        found = self.applied.find(body["documents"])
        for each in found:
            key = (each["metadata"].get("namespace", ""), each["metadata"]["name"])
            if each["kind"] == "Ingress" and key in self.ingresses:
                each["metadata"].update(self.ingresses[key]["metadata"])
        return {"items": found}

    def _apply(self, body: Json) -> Json:
        said = self.applied.put(body["documents"])
        for each in body["documents"]:
            if each["kind"] == "Ingress":
                self._expose({"namespace": each["metadata"]["namespace"], "name": each["metadata"]["name"]})
        return {"said": said}

    def _log(self, body: Json) -> Json:
        said = self.applied.log(body["namespace"], body["name"], body["container"], before=body["before"])
        return {"log": said}

    def _annotate(self, body: Json) -> Json:
        self.applied.annotate(body["kind"], body["namespace"], body["name"], body["annotations"])
        return {}

    def _scale(self, body: Json) -> Json:
        self.applied.scale(body["kind"], body["namespace"], body["name"], body["replicas"])
        return {}

    def _delete(self, body: Json) -> Json:
        key = (body["namespace"], body["name"])
        if body["kind"].partition(".")[0] == "ingress":
            return self._delete_ingress(body)
        if body["kind"] == "namespace":
            for each in list(self.ingresses):
                if each[0] == body["name"]:
                    self._forget(each)
        return {"deleted": self.applied.delete(body["kind"], *key)}

    def _reconcile(self) -> None:
        for key, ingress in list(self.ingresses.items()):
            if "deletionTimestamp" in ingress["metadata"] and self._controller_runs():
                self._forget(key)

    def _expose(self, body: Json) -> Json:
        """An ingress appears, and its controller makes a load balancer for it."""
        key = (body["namespace"], body["name"])
        if key in self.ingresses:
            return self.ingresses[key]
        self.ingresses[key] = {"kind": "Ingress", "metadata": dict(body), "spec": {}}
        subnets = self.eks.clusters["comanda"].body["resourcesVpcConfig"]["subnetIds"]
        made = self.client("elbv2").create_load_balancer(
            Name=f"k8s-{body['namespace']}-{body['name']}"[:32].rstrip("-"),
            Subnets=subnets,
            Tags=[{"Key": "elbv2.k8s.aws/cluster", "Value": "comanda"}, {"Key": "Project", "Value": "comanda"}],
        )
        self.ingresses[key]["balancer"] = made["LoadBalancers"][0]["LoadBalancerArn"]
        return self.ingresses[key]

    def _delete_ingress(self, body: Json) -> Json:
        key = (body["namespace"], body["name"])
        if key in self.ingresses:
            self.ingresses[key]["metadata"]["deletionTimestamp"] = _now()
        return {}

    def _controller_runs(self) -> bool:
        return any(name == "aws-load-balancer-controller" for _, name in self.releases)

    def _forget(self, key: tuple[str, str]) -> None:
        self.applied.delete("ingress.networking.k8s.io", *key)
        self.client("elbv2").delete_load_balancer(LoadBalancerArn=self.ingresses.pop(key)["balancer"])


READY = {"type": "Ready", "status": "True"}


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
