"""The runbook: every step, in order. `docs/runbook.md` has a heading for each."""

import difflib
from typing import Any

from comanda_deploy.errors import DeployError
from comanda_deploy.step import Step
from comanda_deploy.steps import application
from comanda_deploy.steps.addons import Addons
from comanda_deploy.steps.address import Address
from comanda_deploy.steps.cluster import Cluster
from comanda_deploy.steps.cluster_autoscaler import ClusterAutoscaler
from comanda_deploy.steps.drain import Drain, Leftovers
from comanda_deploy.steps.ecr import Ecr
from comanda_deploy.steps.external_secrets import ExternalSecrets
from comanda_deploy.steps.kubeconfig import Kubeconfig
from comanda_deploy.steps.load_balancer_controller import LoadBalancerController
from comanda_deploy.steps.logs import Logs
from comanda_deploy.steps.network import Network
from comanda_deploy.steps.nodes import Nodes
from comanda_deploy.steps.preflight import Preflight
from comanda_deploy.steps.roles import Roles
from comanda_deploy.steps.secrets import Secrets

BOOTSTRAP: tuple[Step[Any], ...] = (Roles(),)
"""What an administrator does once."""

STEPS: tuple[Step[Any], ...] = (
    Preflight(),
    Network(),
    Ecr(),
    Cluster(),
    Nodes(),
    Kubeconfig(),
    Addons(),
    ExternalSecrets(),
    LoadBalancerController(),
    ClusterAutoscaler(),
    Secrets(),
    Address(),
    # Before what writes them; taken away after it, so that the last lines are taken too.
    Logs(),
    application.DATABASE,
    application.API,
    application.MONITORING,
)

_before_network = STEPS.index(next(step for step in STEPS if step.name == "network")) + 1
REMOVAL: tuple[Step[Any], ...] = (*STEPS[:_before_network], Leftovers(), *STEPS[_before_network:], Drain())
"""The steps as `destroy` goes through them, from the last to the first: what Kubernetes made goes while its
controllers still live, and what they left behind goes once the nodes are gone.
"""


def named(name: str) -> Step[Any]:
    """Answer the step of that name.

    Raises:
        DeployError: there is none.
    """
    for step in STEPS:
        if step.name == name:
            return step
    names = [step.name for step in STEPS]
    near = difflib.get_close_matches(name, names, n=1)
    meant = f": did you mean {near[0]}?" if near else f": there are {', '.join(names)}"
    raise DeployError(f"there is no step {name}{meant}")
