"""What changed in the settings reaches the pods: API and worker are rolled out anew, by Kubernetes' own rules.

Runs in the cluster once a minute (`infra/deployment/api/3-api-deployment.yaml`). A process reads its settings once, at
its start. So a changed one is taken over by new pods beside the old ones: no request fails, and a value with which the
new ones do not start takes nobody's place. Why not otherwise: docs/decisions/0008-settings-that-change.md.
"""

import hashlib
import http.client
import json
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
"""Where kubelet puts what a pod speaks to the API server with (Kubernetes: service account admission controller)."""

SETTINGS = ("configmaps/comanda-settings", "secrets/comanda-api")
DEPLOYMENTS = ("comanda-api", "comanda-worker")
ANNOTATION = "comanda/settings"
TIMEOUT_SECONDS = 10


class FollowError(Exception):
    """The cluster was not asked, or refused. One line that says what and why; never what a setting holds."""


@dataclass(frozen=True)
class Cluster:
    """The API server, as a pod reaches it.

    Args:
        host: its address. port: its port. token: of the pod's service account. authority: who signed its certificate,
            a file in PEM. namespace: the pod's own.
    """

    host: str
    port: int
    token: str
    authority: Path
    namespace: str

    def ask(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Answer what the API server answers.

        Args:
            path: `GROUP:REST`, as `api/v1:secrets/x`: the namespace goes between them.
            body: a merge patch (RFC 7396).

        Raises:
            FollowError: it does not answer, or not with 200.
        """
        group, _, rest = path.partition(":")
        where = f"/{group}/namespaces/{self.namespace}/{rest}"
        headers = {"Authorization": f"Bearer {self.token}", "Content-Type": "application/merge-patch+json"}
        context = ssl.create_default_context(cafile=str(self.authority))
        # Python 3.13 also wants what RFC 5280 wants of a certificate's extensions; those of clusters lack some.
        context.verify_flags &= ~ssl.VERIFY_X509_STRICT
        connection = http.client.HTTPSConnection(self.host, self.port, timeout=TIMEOUT_SECONDS, context=context)
        try:
            connection.request(method, where, json.dumps(body) if body else None, headers)
            answer = connection.getresponse()
            text = answer.read()
        except (OSError, http.client.HTTPException) as error:
            raise FollowError(f"the API server does not answer ({type(error).__name__})") from None
        finally:
            connection.close()
        if answer.status != http.client.OK:
            raise FollowError(f"{method} {rest}: the API server answered {answer.status} {answer.reason}")
        found: dict[str, Any] = json.loads(text)
        return found


def of_this_pod(environment: Mapping[str, str], account: Path = ACCOUNT) -> Cluster:
    """Answer the cluster that this pod runs in.

    Args:
        environment: as in `os.environ`. account: the folder of the service account's files.

    Raises:
        FollowError: this is no pod, or one without a service account.
    """
    try:
        return Cluster(
            environment["KUBERNETES_SERVICE_HOST"],
            int(environment["KUBERNETES_SERVICE_PORT"]),
            (account / "token").read_text(encoding="ascii").strip(),
            account / "ca.crt",
            (account / "namespace").read_text(encoding="utf-8").strip(),
        )
    except (KeyError, OSError):
        raise FollowError("this is not a pod with a service account: it runs in the cluster alone") from None


def follow(cluster: Cluster) -> list[str]:
    """Roll out those Deployments whose pods were started with other settings than there are now.

    Returns:
        Their names.

    Raises:
        FollowError: something could not be read or written. What could be is rolled out all the same.
    """
    mark = _mark([cluster.ask("GET", f"api/v1:{each}").get("data") or {} for each in SETTINGS])
    rolled, failed = [], []
    for name in DEPLOYMENTS:
        try:
            if _roll_out(cluster, name, mark):
                rolled.append(name)
        except FollowError as error:
            failed.append(str(error))  # that one is not there is no reason for the other to go on with old settings
    if failed:
        raise FollowError("; ".join(failed))
    return rolled


def _roll_out(cluster: Cluster, name: str, mark: str) -> bool:
    """Have a Deployment's pods made anew, if they were made for another mark; answer whether they were."""
    path = f"apis/apps/v1:deployments/{name}"
    metadata = cluster.ask("GET", path)["spec"]["template"].get("metadata") or {}
    if (metadata.get("annotations") or {}).get(ANNOTATION) == mark:
        return False
    cluster.ask("PATCH", path, {"spec": {"template": {"metadata": {"annotations": {ANNOTATION: mark}}}}})
    return True


def _mark(settings: list[dict[str, str]]) -> str:
    """Answer what is another text for other settings, and from which none of them can be had."""
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:32]
