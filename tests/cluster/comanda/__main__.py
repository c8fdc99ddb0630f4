"""`python -m tests.cluster.comanda`: what `make cluster-comanda` calls. Puts Comanda onto the cluster that is up."""

import argparse
import json
import secrets
import subprocess
import sys
import time
import urllib.request
from collections.abc import Mapping
from pathlib import Path

from comanda_local.ports import free_ports
from tests.cluster import facts, images
from tests.cluster.cache import binary, missing
from tests.cluster.comanda import account
from tests.cluster.comanda.house import House
from tests.cluster.comanda.wanted import PARTS
from tests.cluster.infrastructure import BALANCER_PORT, FIRST, way_in
from tests.cluster.layout import CLONE, NODES, Layout, layout
from tests.cluster.machine import Failed, run
from tests.cluster.node import socket
from tests.cluster.objects import Json, Kubectl, without_pods
from tests.cluster.parts import named
from tests.cluster.process import Process
from tests.cluster.supervisor import ask
from tests.manifests.reading import containers, files, of_kind

SANDBOX = 18001
"""The sandbox's port, in the first node's network."""

PATIENCE = 300


def may_wait() -> frozenset[str]:
    """Answer the images that cannot be had here, since a part of the cluster is not built: their pods wait for them."""
    return frozenset(image.name for image in images.IMAGES if missing(map(named, image.parts)))


NOT_BUILT = 75
"""The exit code where a part of the cluster is missing and nobody wants to wait for it (sysexits.h: EX_TEMPFAIL)."""


def main() -> int:
    """Bring it up; answer its exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.cluster.comanda", description=__doc__)
    parser.add_argument("--if-built", action="store_true", help="end with 75 where the cluster lacks a part for it")
    if parser.parse_args().if_built and (lacking := missing(map(named, PARTS))):
        print(f"cluster-comanda: not built, so not tried: {', '.join(part.name for part in lacking)}")
        return NOT_BUILT
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
    said = facts.read(where)
    kube = Kubectl(Path(said["kubectl"]), Path(said["kubeconfig"]))

    def done(what: str) -> None:
        print(f"{time.monotonic() - began:5.1f} s  {what}", flush=True)

    moved = images.push(said["registry"])
    for name in moved:
        _forget(where, name)
    done("images")
    settings = _secrets(said)
    _sandbox(where, kube, settings)
    done("secrets, sandbox")
    # Where External Secrets' chart is installed; here its controller runs beside the nodes' pods.
    kube.apply([{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "external-secrets"}}])
    for file in files():
        kube("apply", f"--filename={file}")
    kube.apply([to_sandbox(str(where.main))])
    done("manifests")
    if moved:
        for each in of_kind("StatefulSet", "Deployment"):
            kube(f"--namespace={each.namespace}", "rollout", "restart", f"{each.kind.lower()}/{each.name}")
    for each in of_kind("StatefulSet", "Deployment", "DaemonSet"):
        if not may_wait().intersection(container["image"] for container in containers(each)):
            _wait(kube, each.namespace, f"{each.kind.lower()}/{each.name}")
            done(f"{each.kind} {each.name}")
    said["sandbox_token"] = settings["MERCADO_PAGO_ACCESS_TOKEN"]
    _open_ways(where, kube, said)
    facts.write(where, said)
    for role in ("staff", "manager"):
        if f"{role}_key" not in said:
            said[f"{role}_key"] = House(said).key(role)
            # A key is shown once: what fails after it must not lose it.
            facts.write(where, said)
    kube("--namespace=comanda", "exec", "deployment/comanda-api", "--", "comanda", "load-menu")
    _until_orders_can_be_placed(said["api"])
    facts.write(where, said)
    done(f"an order can be placed at {said['api']}; {where.facts}")


def _forget(where: Layout, image: str) -> None:
    """Have the nodes pull an image anew: a tag that was pushed again is another image, and they have the one before.

    In ECR a tag never moves, so no operator meets this; who changes the code and calls this again does.
    """
    for node in NODES:
        command = (str(binary("ctr")), f"--address={socket(where, node)}", "--namespace=k8s.io")
        run(*command, "images", "rm", "--sync", f"docker.io/{image}", check=False)


def _secrets(said: Mapping[str, str]) -> dict[str, str]:
    """Fill the entries in Secrets Manager as `create-secrets` does, and answer the API's."""
    environment = {
        "PYTHONPATH": str(CLONE / "src"),
        **facts.environment(said),
        "MERCADO_PAGO_ACCESS_TOKEN": f"TEST-{secrets.token_urlsafe(24)}",
        "MERCADO_PAGO_WEBHOOK_SECRET": secrets.token_urlsafe(32),
        "PAYER_EMAIL": "caixa@example.com",
    }
    command = [sys.executable, "-m", "comanda_deploy", "step", "secrets", "--yes"]
    answer = subprocess.run(command, env=environment, cwd=CLONE, capture_output=True, text=True, check=False)
    if answer.returncode:
        raise Failed(f"comanda-deploy step secrets: {(answer.stderr or answer.stdout).strip()[-600:]}")
    # What differs on this cluster is a setting of the entry, as the contract has it; the manifests stay as they are.
    return account.change(
        said,
        MERCADO_PAGO_BASE_URL=f"http://mercado-pago.sandbox.svc:{SANDBOX}",
        TRUSTED_PROXIES="172.30.0.0/24,10.244.0.0/16",
        RATE_LIMIT_EXEMPT="127.0.0.0/8",
    )


def to_sandbox(address: str) -> Json:
    """The one policy of the tests' own: API and worker may reach the sandbox, where Mercado Pago would be."""
    to = {"to": [{"ipBlock": {"cidr": f"{address}/32"}}], "ports": [{"protocol": "TCP", "port": SANDBOX}]}
    names = {"key": "app.kubernetes.io/name", "operator": "In", "values": ["comanda-api", "comanda-worker"]}
    spec = {"podSelector": {"matchExpressions": [names]}, "policyTypes": ["Egress"], "egress": [to]}
    metadata = {"name": "of-the-tests-to-the-sandbox", "namespace": "comanda"}
    return {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": metadata, "spec": spec}


def _sandbox(where: Layout, kube: Kubectl, settings: Mapping[str, str]) -> None:
    """Start the sandbox beside the nodes' pods, and let its name lead to it."""
    command = (
        *(sys.executable, "-m", "comanda_sandbox", f"--host={where.main}", f"--port={SANDBOX}"),
        f"--ledger={where.folder / 'sandbox.sqlite3'}",
        f"--webhook-url=http://127.0.0.1:{BALANCER_PORT}/v1/webhooks/mercado-pago",
        "--operator-from-anywhere",
    )
    environment = {
        "PYTHONPATH": str(CLONE / "src"),
        "SANDBOX_TOKEN": settings["MERCADO_PAGO_ACCESS_TOKEN"],
        "SANDBOX_WEBHOOK_SECRET": settings["MERCADO_PAGO_WEBHOOK_SECRET"],
    }
    _run(where, Process("sandbox", command, FIRST, environment))
    namespace: Json = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "sandbox"}}
    kube.apply([namespace, *without_pods(where, "sandbox", "mercado-pago", {"http": ("TCP", SANDBOX, SANDBOX)})])


def _run(where: Layout, process: Process) -> None:
    """Have the supervisor run one more process."""
    inside, environment = process.node is not None, dict(process.environment)
    ask(where, "run", name=process.name, command=process.command, inside=inside, environment=environment)


def _wait(kube: Kubectl, namespace: str, what: str) -> None:
    """Wait for a workload; where it does not come, say what its pods say."""
    try:
        kube(f"--namespace={namespace}", "rollout", "status", what, f"--timeout={PATIENCE}s")
    except Failed as failure:
        pods = kube(f"--namespace={namespace}", "get", "pods", "--output=wide", check=False)
        events = kube(f"--namespace={namespace}", "get", "events", "--sort-by=.lastTimestamp", check=False)
        raise Failed(f"{what} does not come: {failure}\n{pods}\n{events[-1500:]}") from failure


def _open_ways(where: Layout, kube: Kubectl, said: dict[str, str]) -> None:
    """Open the ways in that are not open yet, and note them."""
    said["api"] = f"http://127.0.0.1:{ask(where, 'ports')['alb']}"
    to_sandbox, to_ops = free_ports(2)
    forward = (
        *(str(kube.command), f"--kubeconfig={kube.kubeconfig}", "--namespace=comanda"),
        *("port-forward", "deployment/comanda-api", f"{to_ops}:9000"),
    )
    for name, port, way in (
        ("sandbox", to_sandbox, way_in(where, "sandbox", to_sandbox, f"{where.main}:{SANDBOX}")),
        ("ops", to_ops, Process("way-to-ops", forward, None)),
    ):
        if name not in said:
            _run(where, way)
            said[name] = f"http://127.0.0.1:{port}"


def _until_orders_can_be_placed(api: str) -> None:
    deadline = time.monotonic() + PATIENCE
    trouble = "the menu is empty"
    while time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(f"{api}/v1/menu", timeout=10) as answer:  # noqa: S310 - loopback
                if json.load(answer)["categories"]:
                    return
        except OSError as error:
            trouble = str(error)
        time.sleep(0.1)
    raise Failed(f"{api}/v1/menu: {trouble}")


if __name__ == "__main__":
    raise SystemExit(main())
