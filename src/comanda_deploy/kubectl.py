"""kubectl, always in the context of Comanda's own cluster, and whether there is one that can be asked."""

import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, replace

from comanda_deploy.context import Context
from comanda_deploy.errors import DeployError, PassingError
from comanda_deploy.names import CLUSTER
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


def failed(answer: subprocess.CompletedProcess[str], text: str) -> DeployError:
    """Answer what is to be raised of a command that failed, kubectl or helm: a webhook is often only just starting."""
    return PassingError(text) if NO_WEBHOOK in answer.stderr else DeployError(text)


def said(answer: subprocess.CompletedProcess[str]) -> str:
    """Answer what kubectl complained of, in one line."""
    return " ".join((answer.stderr or answer.stdout).split())[:400]
