"""kubectl, always in the context of Comanda's own cluster, and whether there is one that can be asked."""

import json
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from comanda_deploy.context import Context
from comanda_deploy.errors import DeployError, PassingError
from comanda_deploy.names import CLUSTER, NAMESPACE
from comanda_deploy.steps.kubeconfig import Kubeconfig, knows_the_cluster

KUBECTL = ("kubectl", "--context", CLUSTER)
PATIENCE = 60
"""Seconds in which a whole folder of manifests has been looked at or applied."""
NO_WEBHOOK = "failed calling webhook"
"""What the API server says where somebody who must look at an object first does not answer."""


@dataclass(frozen=True)
class Where:
    """The cluster, as far as one can tell before it is asked.

    Args:
        cluster: whether there is one. trouble: why it cannot be asked from here, "" if it can.
    """

    cluster: bool
    trouble: str = ""


def where(context: Context) -> Where:
    """Answer whether there is a cluster to be asked.

    A context of our name may be left from another account's cluster: it is believed only where it leads to the cluster
    that EKS has. Where AWS is emulated the cluster may be somebody's own, beside it.
    """
    try:
        facts = Kubeconfig().observe(context)
    except DeployError as error:
        return Where(True, str(error))
    if not facts.cluster:
        return Where(not context.in_aws and knows_the_cluster(context))
    there = facts.there.get("clusters")
    if not isinstance(there, dict) or there.get("server") != facts.wanted["clusters"]["server"]:
        return Where(True, f"kubectl's context {CLUSTER} is none, or another cluster's: run update-kubeconfig")
    return Where(True)


def reach(context: Context) -> None:
    """See that the cluster can be asked, before a verb that works in it alone begins.

    Raises:
        DeployError: there is none, or it cannot be asked from here; which verb mends that.
    """
    place = where(context)
    if place.trouble:
        raise DeployError(place.trouble)
    if not place.cluster:
        raise DeployError("there is no cluster yet: run infra/scripts/eks-cluster-deploy.sh create-eks-cluster")


def run(
    context: Context, *arguments: str, standard_input: str | None = None, environment: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run kubectl and answer what it said, whatever its exit code.

    Args:
        environment: variables beside those of the context.

    Raises:
        DeployError: it is not installed, or the cluster did not answer in time.
    """
    if environment:
        context = replace(context, environment={**context.environment, **environment})
    command = [*KUBECTL, "--request-timeout=15s", *arguments]
    return context.run(command, standard_input=standard_input, timeout=PATIENCE)


def answer_of(context: Context, *arguments: str, standard_input: str | None = None) -> str:
    """Run kubectl and answer what it printed.

    Raises:
        DeployError: it failed, with what it said.
    """
    answer = run(context, *arguments, standard_input=standard_input)
    if answer.returncode:
        raise failed(answer, f"kubectl {arguments[0]} failed: {said(answer)}")
    return answer.stdout


def one(context: Context, resource: str, name: str, *, namespace: str = "") -> dict[str, Any] | None:
    """Answer one object as the API server has it, None if there is none.

    Args:
        resource: as kubectl takes it. namespace: "" for what has none.

    Raises:
        DeployError: it cannot be asked.
    """
    of = ("--namespace", namespace) if namespace else ()
    text = answer_of(context, "get", resource, name, *of, "--ignore-not-found", "--output=json")
    found: dict[str, Any] | None = json.loads(text) if text.strip() else None
    return found


def ready_pod(context: Context, app: str, *, namespace: str = NAMESPACE) -> str:
    """Answer the name of a pod of an app that works and is not on its way out, the newest of them.

    Raises:
        DeployError: there is none.
    """
    arguments = ("get", "pods", "--namespace", namespace, f"--selector=app.kubernetes.io/name={app}", "--output=json")
    pods = json.loads(answer_of(context, *arguments))["items"]
    found = [each for each in pods if is_ready(each)]
    if not found:
        raise DeployError(f"no pod of {app} is ready: kubectl get pods --namespace {namespace}")
    newest = max(found, key=lambda each: str(each["metadata"].get("creationTimestamp", "")))
    return str(newest["metadata"]["name"])


def is_ready(body: dict[str, Any]) -> bool:
    """Answer whether a pod serves, or a node answers, and is not on its way out."""
    conditions = (body.get("status") or {}).get("conditions") or ()
    ready = any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)
    return ready and "deletionTimestamp" not in body["metadata"]


def last_event(context: Context, selector: str, *, namespace: str) -> str:
    """Answer the line in which Kubernetes last said something, with its columns, "" if there is none.

    Args:
        selector: of which events, by their fields.
    """
    which = (f"--field-selector={selector}", "--sort-by=.lastTimestamp")
    answer = run(context, "get", "events", "--namespace", namespace, *which)
    return " ".join(answer.stdout.strip().splitlines()[-1:])[:300]


def inside(
    context: Context,
    pod: str,
    command: Sequence[str],
    *,
    namespace: str,
    container: str,
    standard_input: str | None = None,
    seconds: float = 60,
) -> subprocess.CompletedProcess[str]:
    """Run a command in a pod and answer what it said, whatever its exit code.

    Args:
        pod: its name, or `deployment/NAME` for any of its pods. seconds: how long it may take.

    Raises:
        DeployError: it did not end in time.
    """
    with_input = ("--stdin",) if standard_input is not None else ()
    arguments = ("exec", pod, "--namespace", namespace, "--container", container, *with_input, "--", *command)
    # No time-out of the request: it would end the command.
    return context.run([*KUBECTL, *arguments], standard_input=standard_input, timeout=seconds)


def failed(answer: subprocess.CompletedProcess[str], text: str) -> DeployError:
    """Answer what is to be raised of a command that failed, kubectl or helm: a webhook is often only just starting."""
    return PassingError(text) if NO_WEBHOOK in answer.stderr else DeployError(text)


def said(answer: subprocess.CompletedProcess[str]) -> str:
    """Answer what kubectl complained of, in one line."""
    return " ".join((answer.stderr or answer.stdout).split())[:400]
