"""`python -m tests.cluster.comanda`: what `make cluster-comanda` calls. Puts Comanda onto the cluster that is up."""

import json
import secrets
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

from comanda_deploy.names import API_SECRET, DATABASE_SECRET
from tests.cluster import images
from tests.cluster.infrastructure import BALANCER_PORT
from tests.cluster.layout import CLONE, layout
from tests.cluster.machine import Failed
from tests.cluster.objects import Json, Kubectl
from tests.cluster.supervisor import ask, free_ports
from tests.manifests.reading import files

SANDBOX = 18001
"""The sandbox's port, in the first node's network."""

PATIENCE = 300


def main() -> int:
    """Bring it up; answer its exit code."""
    try:
        bring_up()
    except (Failed, ConnectionError) as error:
        print(f"cluster-comanda: {error}", file=sys.stderr)
        return 1
    return 0


def bring_up() -> None:
    """Put Comanda onto the cluster, and say in `.comanda/cluster.json` how it is reached once an order can be placed.

    Raises:
        Failed: something does not come; the text says what. ConnectionError: no cluster is up.
    """
    where, began = layout(), time.monotonic()
    ask(where, "status")
    facts = json.loads(where.facts.read_text(encoding="utf-8"))
    kube = Kubectl(Path(facts["kubectl"]), Path(facts["kubeconfig"]))

    def done(what: str) -> None:
        print(f"{time.monotonic() - began:5.1f} s  {what}", flush=True)

    images.push(facts["registry"])
    done("images")
    settings = _secrets(facts["aws"])
    _sandbox(kube, settings)
    done("secrets, sandbox")
    for file in files():
        kube("apply", f"--filename={file}")
    done("manifests")
    _wait(kube, "comanda-db", "statefulset/database")
    done("database")
    for name in ("comanda-api", "comanda-worker"):
        _wait(kube, "comanda", f"deployment/{name}")
    done("API and worker")
    facts |= _ways(kube, settings["MERCADO_PAGO_ACCESS_TOKEN"])
    for role in ("staff", "manager"):
        facts[f"{role}_key"] = _key(kube, role, facts.get(f"{role}_key", ""))
    kube("--namespace=comanda", "exec", "deployment/comanda-api", "--", "comanda", "load-menu")
    _until_orders_can_be_placed(facts["api"])
    new = where.facts.with_suffix(".new")
    new.touch(mode=0o600)
    new.write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
    new.replace(where.facts)
    done(f"an order can be placed at {facts['api']}; {where.facts}")


def _secrets(aws: str) -> dict[str, str]:
    """Fill the entries in Secrets Manager as `create-secrets` does, and answer the API's."""
    environment = {
        **_scripts_environment(),
        "MERCADO_PAGO_ACCESS_TOKEN": f"TEST-{secrets.token_urlsafe(24)}",
        "MERCADO_PAGO_WEBHOOK_SECRET": secrets.token_urlsafe(32),
        "PAYER_EMAIL": "caixa@example.com",
    }
    command = [sys.executable, "-m", "comanda_deploy", "step", "secrets", "--yes"]
    answer = subprocess.run(command, env=environment, cwd=CLONE, capture_output=True, text=True, check=False)
    if answer.returncode:
        raise Failed(f"comanda-deploy step secrets: {(answer.stderr or answer.stdout).strip()[-600:]}")
    client = _client(aws)
    entry: dict[str, str] = json.loads(client.get_secret_value(SecretId=API_SECRET)["SecretString"])
    assert json.loads(client.get_secret_value(SecretId=DATABASE_SECRET)["SecretString"])
    # What differs on this cluster is a setting of the entry, as the contract has it; the manifests stay as they are.
    entry |= {
        "MERCADO_PAGO_BASE_URL": f"http://mercado-pago.sandbox.svc:{SANDBOX}",
        "TRUSTED_PROXIES": "172.30.0.0/24,10.244.0.0/16",
        "RATE_LIMIT_EXEMPT": "127.0.0.0/8",
    }
    client.put_secret_value(SecretId=API_SECRET, SecretString=json.dumps(entry))
    return entry


def _client(aws: str) -> Any:
    import boto3  # noqa: PLC0415 - a second of start, only here

    return boto3.client(
        "secretsmanager",
        endpoint_url=aws,
        region_name="sa-east-1",
        aws_access_key_id="AKIATESTBEDADMIN0000",
        aws_secret_access_key="of-the-test-bed",
    )


def _scripts_environment() -> dict[str, str]:
    """Answer what `make cluster-env` exports."""
    said = subprocess.run(
        [sys.executable, "-m", "tests.cluster", "env"], cwd=CLONE, capture_output=True, text=True, check=True
    ).stdout
    pairs = (line.removeprefix("export ").partition("=") for line in said.splitlines())
    return {"PYTHONPATH": str(CLONE / "src"), **{name: value.strip("'") for name, _, value in pairs}}


def _sandbox(kube: Kubectl, settings: dict[str, str]) -> None:
    """Start the sandbox beside the nodes' pods, and let its name lead to it."""
    where = layout()
    ask(
        where,
        "run",
        name="sandbox",
        inside=True,
        command=[
            *(sys.executable, "-m", "comanda_sandbox", f"--host={where.main}", f"--port={SANDBOX}"),
            f"--ledger={where.folder / 'sandbox.sqlite3'}",
            f"--webhook-url=http://127.0.0.1:{BALANCER_PORT}/v1/webhooks/mercado-pago",
            "--operator-from-anywhere",
        ],
        environment={
            "PYTHONPATH": str(CLONE / "src"),
            "SANDBOX_TOKEN": settings["MERCADO_PAGO_ACCESS_TOKEN"],
            "SANDBOX_WEBHOOK_SECRET": settings["MERCADO_PAGO_WEBHOOK_SECRET"],
        },
    )
    metadata: Json = {"name": "mercado-pago", "namespace": "sandbox"}
    port = {"name": "http", "port": SANDBOX}
    kube.apply(
        [
            {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "sandbox"}},
            {"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": {"ports": [port]}},
            {
                "apiVersion": "discovery.k8s.io/v1",
                "kind": "EndpointSlice",
                "metadata": metadata | {"labels": {"kubernetes.io/service-name": "mercado-pago"}},
                "addressType": "IPv4",
                "ports": [port],
                "endpoints": [{"addresses": [str(where.main)], "conditions": {"ready": True}}],
            },
        ]
    )


def _wait(kube: Kubectl, namespace: str, what: str) -> None:
    """Wait for a workload; where it does not come, say what its pods say."""
    try:
        kube(f"--namespace={namespace}", "rollout", "status", what, f"--timeout={PATIENCE}s")
    except Failed as failure:
        pods = kube(f"--namespace={namespace}", "get", "pods", "--output=wide", check=False)
        events = kube(f"--namespace={namespace}", "get", "events", "--sort-by=.lastTimestamp", check=False)
        raise Failed(f"{what} does not come: {failure}\n{pods}\n{events[-1500:]}") from failure


def _ways(kube: Kubectl, token: str) -> dict[str, str]:
    """Open the ways in, and answer them."""
    where = layout()
    ports = ask(where, "ports")
    known: dict[str, str] = json.loads(where.facts.read_text(encoding="utf-8"))
    found = {"api": f"http://127.0.0.1:{ports['alb']}", "sandbox_token": token}
    for name, port in zip(("sandbox", "ops"), free_ports(2), strict=True):
        if name not in known:
            inside = f"nsenter --net=/run/netns/{where.namespace_of_main} socat STDIO TCP\\:{where.main}\\:{SANDBOX}"
            command = {
                "sandbox": ["socat", f"TCP-LISTEN:{port},bind=127.0.0.1,fork,reuseaddr", f"EXEC:{inside}"],
                "ops": [
                    *(str(kube.command), f"--kubeconfig={kube.kubeconfig}", "--namespace=comanda"),
                    *("port-forward", "deployment/comanda-api", f"{port}:9000"),
                ],
            }[name]
            ask(where, "run", name=f"way-to-{name}", inside=False, command=command, environment={})
            found[name] = f"http://127.0.0.1:{port}"
    return known | found


def _key(kube: Kubectl, role: str, had: str) -> str:
    """Make a key, once."""
    if had:
        return had
    command = ("comanda", "keys", "create", f"cluster-{role}", f"--role={role}")
    return kube("--namespace=comanda", "exec", "deployment/comanda-api", "--container=api", "--", *command).strip()


def _until_orders_can_be_placed(api: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            with urllib.request.urlopen(f"{api}/v1/menu", timeout=10) as answer:  # noqa: S310 - loopback
                if json.load(answer)["categories"]:
                    return
        except OSError as error:
            if time.monotonic() > deadline:
                raise Failed(f"{api}/v1/menu: {error}") from error
        time.sleep(0.1)


if __name__ == "__main__":
    raise SystemExit(main())
