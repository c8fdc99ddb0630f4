"""A new password for Grafana's admin: it counts from Grafana's next start on, so that is brought about."""

from comanda_deploy import kubectl, taking_over, waiting, workloads
from comanda_deploy.context import Context
from comanda_deploy.errors import DeployError
from comanda_deploy.grafana import KEY
from comanda_deploy.names import GRAFANA_SECRET, MONITORING_NAMESPACE
from comanda_deploy.objects import Json
from comanda_deploy.steps.secrets import change_entry, new_password
from comanda_deploy.taking_over import Say

NAME = "grafana"
COMES_BACK_SECONDS = 180


def rotate(context: Context, say: Say) -> None:
    """Give Grafana's admin a new password, and start Grafana again if it is there.

    Raises:
        DeployError: External Secrets does not bring it, or Grafana does not come back.
    """
    password = new_password()
    change_entry(context, GRAFANA_SECRET, {KEY: password})
    say("Grafana's admin has a new password, from its next start on")
    place = kubectl.where(context)
    if place.trouble:
        say(f"whether it runs cannot be seen from here: {place.trouble}")
        return
    if not place.cluster or not taking_over.copied(context, MONITORING_NAMESPACE, NAME, {KEY: password}, say):
        say("Grafana is not deployed yet: nobody uses it")
        return
    if _deployment(context) is None:
        say("Grafana is not deployed yet: nobody uses it")
        return
    # What load-dashboards loaded is gone with the pod; its users sign in again.
    kubectl.answer_of(context, "rollout", "restart", f"deployment/{NAME}", "--namespace", MONITORING_NAMESPACE)
    if not waiting.until(context, lambda: _is_back(context), COMES_BACK_SECONDS):
        look = f"kubectl describe pods --namespace {MONITORING_NAMESPACE}"
        raise DeployError(f"Grafana has not come back with it within {COMES_BACK_SECONDS} s: {look}")
    say("Grafana was started again and takes it")


def _deployment(context: Context) -> Json | None:
    return kubectl.one(context, "deployment.apps", NAME, namespace=MONITORING_NAMESPACE)


def _is_back(context: Context) -> bool:
    body = _deployment(context)
    return body is not None and workloads.is_ready(body)
