"""Comanda as it runs on the cluster, and what a test says to it from outside."""

import json
import os
import secrets
import subprocess
import sys
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

from comanda.follow_settings import ANNOTATION
from tests.cluster import facts
from tests.cluster.layout import CLONE, layout
from tests.cluster.machine import Failed
from tests.cluster.objects import Json, Kubectl
from tests.cluster.suite.kube import until

PATIENCE_SECONDS = 30


@dataclass(frozen=True)
class Answer:
    """What somebody answered over HTTP: its status, its body read as JSON where it is that."""

    status: int
    body: Any


@dataclass(frozen=True)
class House:
    """A diner on the cluster.

    Args:
        facts: how it is reached, as `make cluster-comanda` wrote it.
    """

    facts: dict[str, str] = field(repr=False)

    @classmethod
    def standing(cls) -> "House":
        """Answer the one that is there.

        Raises:
            Failed: there is none.
        """
        found = facts.read(layout())
        if "api" not in found:
            raise Failed("Comanda is not on the cluster: make cluster-comanda")
        return cls(found)

    @property
    def kube(self) -> Kubectl:
        """kubectl at its cluster."""
        return Kubectl(Path(self.facts["kubectl"]), Path(self.facts["kubeconfig"]))

    def call(self, method: str, path: str, body: object = None, *, role: str = "", at: str = "api") -> Answer:
        """Send a request and answer what came, whatever its status.

        Args:
            role: whose key goes with it: `staff`, `manager`, or nobody's.
            at: through which way: `api` (the load balancer), `ops`, `sandbox`.
        """
        headers = {"Content-Type": "application/json"}
        if role:
            headers["Authorization"] = f"Bearer {self.facts[f'{role}_key']}"
        if at == "sandbox":
            headers["Authorization"] = f"Bearer {self.facts['sandbox_token']}"
        if method == "POST" and path == "/v1/orders":
            headers["Idempotency-Key"] = secrets.token_urlsafe(24)
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.facts[at] + path, data, headers, method=method)  # noqa: S310 - loopback
        try:
            with urllib.request.urlopen(request, timeout=PATIENCE_SECONDS) as came:  # noqa: S310
                return Answer(came.status, _read(came.read()))
        except urllib.error.HTTPError as error:
            with error:
                return Answer(error.code, _read(error.read()))

    def order(self, *, quantity: int = 1, notes: str | None = None) -> Json:
        """Order the first product that is available; answer the order's document."""
        menu = self.call("GET", "/v1/menu").body
        product = next(each for group in menu["categories"] for each in group["products"] if each["available"])
        item = {"product_id": product["id"], "quantity": quantity, "notes": notes}
        answer = self.call("POST", "/v1/orders", {"items": [item]})
        assert answer.status == 201, answer
        document: Json = answer.body
        return document

    def document(self, order: Json) -> Json:
        """Answer an order's document as it is now."""
        answer = self.call("GET", f"/v1/orders/{order['id']}")
        assert answer.status == 200, answer
        document: Json = answer.body
        return document

    def pay(self, order: Json) -> Json:
        """Pay an order's Pix at the provider, as soon as there is one; answer the document that had it."""
        document: Json = until("a Pix to pay", lambda: _with_pix(self.document(order)))
        number = document["payment"]["provider_payment_id"]
        answer = self.call("POST", f"/_sandbox/payments/{number}/pay", at="sandbox")
        assert answer.status == 200, answer
        return document

    def until_status(self, order: Json, status: str, seconds: float = 15) -> Json:
        """Wait until an order has come to a status; answer its document.

        Raises:
            AssertionError: it does not, in time.
        """

        def come() -> Json | None:
            found = self.document(order)
            return found if found["status"] == status else None

        document: Json = until(status, come, seconds)
        return document

    def charges(self, order: str) -> list[Json]:
        """Answer the provider's payments of an order, from its own ledger."""
        found: list[Json] = self.call("GET", f"/v1/payments/search?external_reference={order}", at="sandbox").body[
            "results"
        ]
        return found

    def ledger(self) -> list[Json]:
        """Answer every payment that the provider knows."""
        found: list[Json] = self.call("GET", "/_sandbox/payments", at="sandbox").body["payments"]
        return found

    def pods(self, app: str, namespace: str = "comanda") -> list[Json]:
        """Answer the pods of an app that are not on their way out."""
        found: list[Json] = self.kube.get(
            f"--namespace={namespace}", "pods", f"--selector=app.kubernetes.io/name={app}"
        )
        return [each for each in found if "deletionTimestamp" not in each["metadata"]]

    def key(self, role: str) -> str:
        """Have a key made, which is said once, and answer it."""
        command = ("comanda", "keys", "create", f"cluster-{role}", f"--role={role}")
        return self.kube(
            "--namespace=comanda", "exec", "deployment/comanda-api", "--container=api", "--", *command
        ).strip()

    def opened(self) -> None:
        """Give a new database the sample menu and keys, and note these."""
        for role in ("staff", "manager"):
            self.facts[f"{role}_key"] = self.key(role)
        facts.write(layout(), self.facts)
        self.kube(
            "--namespace=comanda", "exec", "deployment/comanda-api", "--container=api", "--", "comanda", "load-menu"
        )

    def rolled_out(self, what: str, namespace: str = "comanda", seconds: int = 240) -> None:
        """Wait until a workload has all its pods as they should be."""
        self.kube(f"--namespace={namespace}", "rollout", "status", what, f"--timeout={seconds}s")

    def mark(self, deployment: str) -> str:
        """Answer which settings a Deployment's pods were made for, "" if nobody has looked yet."""
        template = self.kube.get("--namespace=comanda", "deployment", deployment)["spec"]["template"]
        return str(template["metadata"].get("annotations", {}).get(ANNOTATION, ""))

    def at_rest(self, seconds: float = 180) -> None:
        """Wait until nothing is rolled out any more.

        A new installation is once more by itself: the job that follows the settings writes down which the pods have
        (docs/decisions/0008).
        """
        for name in ("comanda-api", "comanda-worker"):
            until("the settings are followed", lambda name=name: self.mark(name), seconds)
            self.rolled_out(f"deployment/{name}")
        until("the old pods are gone", lambda: not self._leaving(), seconds)

    def _leaving(self) -> bool:
        return any("deletionTimestamp" in pod["metadata"] for pod in self.kube.get("--namespace=comanda", "pods"))

    def psql(self, statement: str, *, namespace: str = "comanda-db", database: str = "comanda") -> str:
        """Answer what the database says to its superuser, who comes by the socket in its pod alone."""
        psql = ("psql", "--username=postgres", f"--dbname={database}", "--no-align", "--tuples-only", "--no-psqlrc")
        return self.kube(
            f"--namespace={namespace}", "exec", "database-0", "--", *psql, f"--command={statement}"
        ).strip()

    def deploy(self, *arguments: str, codes: tuple[int, ...] = (0,), clone: Path = CLONE, **given: str) -> str:
        """Run `comanda-deploy` as an operator whose shell has what `make cluster-env` prints; answer what it says.

        Args:
            codes: the exit codes that are right. clone: whose tool and manifests.
            given: what else the shell has in its environment.
        """
        environment = {
            "PYTHONPATH": str(clone / "src"),
            "HOME": os.environ.get("HOME", "/"),
            **facts.environment(self.facts),
            **given,
        }
        command = [sys.executable, "-m", "comanda_deploy", *arguments]
        done = subprocess.run(
            command,
            env=environment,
            cwd=clone,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=900,
        )
        assert done.returncode in codes, f"{arguments}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout if done.returncode == 0 else done.stdout + done.stderr

    def verb(self, name: str, *arguments: str, codes: tuple[int, ...] = (0,), clone: Path = CLONE, **given: str) -> str:
        """Run a verb of `eks-cluster-mng.sh` without questions; answer what it says."""
        return self.deploy("verb", "eks-cluster-mng.sh", name, *arguments, "--yes", codes=codes, clone=clone, **given)


def _with_pix(document: Json) -> Json | None:
    return document if document["payment"]["pix"] else None


def _read(body: bytes) -> Any:
    try:
        return json.loads(body, parse_float=Decimal)
    except ValueError:
        return body.decode(errors="replace")
