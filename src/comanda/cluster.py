"""The API server of the cluster that a pod of ours runs in, for the few jobs of ours that speak with it.

A hundred lines without a library: what they ask for are a handful of objects, by name (docs/decisions/0008, 0010).
"""

import http.client
import json
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Json = dict[str, Any]
ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
"""Where kubelet puts what a pod speaks to the API server with (Kubernetes: service account admission controller)."""

TIMEOUT_SECONDS = 10
SAID_LENGTH = 200
"""Of what the API server says of a refusal, as many characters are passed on."""
CONTENT_TYPES = {"PATCH": "application/merge-patch+json", "POST": "application/json"}


class ClusterError(Exception):
    """The cluster was not asked, or refused. One line that says what and why; never what a setting holds."""


class NotThere(ClusterError):
    """There is no such object, or no such kind."""


class Taken(ClusterError):
    """There is one of that name already, or somebody else was at it at the same moment."""


REFUSALS: dict[int, type[ClusterError]] = {http.client.NOT_FOUND: NotThere, http.client.CONFLICT: Taken}


def within(namespace: str, group: str, rest: str) -> str:
    """Answer the path of something in a namespace.

    Args:
        group: with its version, as `api/v1` or `apis/apps/v1`. rest: resource and name, as `secrets/x`.
    """
    return f"/{group}/namespaces/{namespace}/{rest}"


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

    def here(self, group: str, rest: str) -> str:
        """Answer the path of something in the pod's own namespace, as `within` does."""
        return within(self.namespace, group, rest)

    def ask(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Json:
        """Answer what the API server answers.

        Args:
            path: the whole of it, as `here` and `within` make it. body: of a PATCH a merge patch (RFC 7396).

        Raises:
            NotThere: it answers 404. Taken: 409. ClusterError: it does not answer, or refuses otherwise.
        """
        headers = {"Authorization": f"Bearer {self.token}", "Accept": "application/json"}
        if body is not None:
            headers["Content-Type"] = CONTENT_TYPES[method]
        context = ssl.create_default_context(cafile=str(self.authority))
        # Python 3.13 also wants what RFC 5280 wants of a certificate's extensions; those of clusters lack some.
        context.verify_flags &= ~ssl.VERIFY_X509_STRICT
        connection = http.client.HTTPSConnection(self.host, self.port, timeout=TIMEOUT_SECONDS, context=context)
        try:
            connection.request(method, path, json.dumps(body) if body is not None else None, headers)
            answer = connection.getresponse()
            text = answer.read()
        except (OSError, http.client.HTTPException) as error:
            raise ClusterError(f"the API server does not answer ({type(error).__name__})") from None
        finally:
            connection.close()
        if answer.status // 100 != 2:
            refusal = REFUSALS.get(answer.status, ClusterError)
            said = f"{method} {_short(path)}: the API server answered {answer.status} {answer.reason}{_said(text)}"
            raise refusal(said)
        try:
            found: Json = json.loads(text)
        except ValueError:
            raise ClusterError(f"{method} {_short(path)}: what the API server answers is no JSON") from None
        return found

    def find(self, path: str) -> Json | None:
        """Answer an object, None if there is none.

        Raises:
            ClusterError: it does not answer, or refuses.
        """
        try:
            return self.ask("GET", path)
        except NotThere:
            return None

    def items(self, path: str) -> list[Json]:
        """Answer all objects of a kind.

        Raises:
            ClusterError: it does not answer, or refuses.
        """
        found: list[Json] = self.ask("GET", path).get("items") or []
        return found

    def delete(self, path: str) -> bool:
        """Delete an object; answer whether there was one. It may stay for a while, until those who see to its end did.

        Raises:
            ClusterError: it does not answer, or refuses.
        """
        try:
            self.ask("DELETE", path)
        except NotThere:
            return False
        return True


def of_this_pod(environment: Mapping[str, str], account: Path = ACCOUNT) -> Cluster:
    """Answer the cluster that this pod runs in.

    Args:
        environment: as in `os.environ`. account: the folder of the service account's files.

    Raises:
        ClusterError: this is no pod, or one without a service account.
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
        raise ClusterError("this is not a pod with a service account: it runs in the cluster alone") from None


def _short(path: str) -> str:
    """Answer what a person needs of a path: resource and name."""
    _, among, rest = path.partition("?")[0].partition("/namespaces/")
    return rest.partition("/")[2] if among else "/".join(path.partition("?")[0].split("/")[-2:])


def _said(text: bytes) -> str:
    """Answer what it says of why (Kubernetes: Status), if it is short and says anything."""
    try:
        said = json.loads(text).get("message") or ""
    except (ValueError, AttributeError):
        return ""
    return f": {' '.join(str(said).split())[:SAID_LENGTH]}" if said else ""
