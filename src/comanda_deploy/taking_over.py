"""What was changed in Secrets Manager reaches the cluster, and is waited for: until no pod runs with what was before.

It would come by itself: External Secrets looks once a minute, and so does `comanda-follow-settings`. Both are hurried
as far as Kubernetes lets an operator: by an annotation, and by a Job of that CronJob.
"""

import base64
from collections.abc import Callable, Mapping
from datetime import timedelta

from comanda_deploy import jobs, kubectl, objects, rollout, waiting, watching
from comanda_deploy.context import Context
from comanda_deploy.errors import DeployError, PassingError
from comanda_deploy.names import API_SECRET, NAMESPACE
from comanda_deploy.objects import Json, Key
from comanda_deploy.rollout import Seen
from comanda_deploy.steps.secrets import values_of

Say = Callable[[str], None]

EXTERNAL_SECRETS = "externalsecrets.external-secrets.io"
FORCE_SYNC = "force-sync"
"""An annotation: whatever changes of an ExternalSecret has External Secrets look at once (its documentation, FAQ)."""

FOLLOW = "comanda-follow-settings"
DEPLOYMENTS: tuple[Key, ...] = tuple(
    ("apps", "Deployment", NAMESPACE, each) for each in ("comanda-api", "comanda-worker")
)
LOOKED_AT = (
    "DATABASE_URL",
    "MERCADO_PAGO_ACCESS_TOKEN",
    "MERCADO_PAGO_WEBHOOK_SECRET",
    "MERCADO_PAGO_WEBHOOK_SECRET_PREVIOUS",
)
"""What of the API's entry is rotated: by it one sees whether the cluster's copy is of now."""

SYNC_SECONDS = 180
FOLLOW_SECONDS = 90
PATIENCE = timedelta(seconds=180)
"""How long nothing may move while pods are made anew."""
ENDS_SECONDS = 150
"""How long a pod that was replaced may take to end: its grace is 65 s, and a node may be slow to say so."""


def copied(context: Context, namespace: str, name: str, wanted: Mapping[str, str | None], say: Say) -> bool:
    """Have External Secrets copy an entry now, and wait until the cluster's secret holds what it shall.

    Args:
        name: of the ExternalSecret, and of the secret that it makes. wanted: by key; None: not there.

    Returns:
        Whether there is such an ExternalSecret: without one nobody in the cluster has it.

    Raises:
        DeployError: it does not come.
    """
    if kubectl.one(context, EXTERNAL_SECRETS, name, namespace=namespace) is None:
        return False
    if _holds(context, namespace, name, wanted):
        return True
    note = f"{FORCE_SYNC}={context.clock().timestamp()}"
    kubectl.answer_of(context, "annotate", EXTERNAL_SECRETS, name, note, "--overwrite", "--namespace", namespace)
    if not waiting.until(context, lambda: _holds(context, namespace, name, wanted), SYNC_SECONDS):
        look = f"kubectl describe externalsecret {name} --namespace {namespace}"
        raise DeployError(f"External Secrets has not copied it to {namespace}/{name} within {SYNC_SECONDS} s: {look}")
    say(f"secret {namespace}/{name} has it")
    return True


def by_all_pods(context: Context, say: Say) -> None:
    """Wait until every pod of API and worker runs with what the API's entry holds now, and none is left that does not.

    Raises:
        DeployError: pods do not come up with it, or do not end. Those from before still serve then.
    """
    values = values_of(context, API_SECRET)
    wanted = {key: str(values[key]) if values.get(key) else None for key in LOOKED_AT}
    if not copied(context, NAMESPACE, "comanda-api", wanted, say):
        say("API and worker are not deployed yet: nobody uses it")
        return
    before = watching.look(context, DEPLOYMENTS)
    if not all(seen.deployment for seen in before.values()):
        raise DeployError("API and worker are not deployed in full: run infra/scripts/eks-cluster-mng.sh deploy-api")
    said = jobs.run(context, NAMESPACE, FOLLOW, seconds=FOLLOW_SECONDS)
    say(" ".join(said.split()) or "the pods' settings are looked at")
    stale = {key: rollout.deadline_of(seen.deployment) for key, seen in before.items()}
    failed = watching.watch(context, DEPLOYMENTS, say, patience=PATIENCE, stale=stale)
    if failed:
        for key, verdict in failed.items():
            watching.tell(context, key, verdict.unready)
        why = "; ".join(f"{objects.named(key)}: {verdict.said}" for key, verdict in failed.items())
        raise DeployError(f"pods with the new setting do not come up, those from before serve: {why}")
    _until_none_is_left(context, say)


def _until_none_is_left(context: Context, say: Say) -> None:
    """Wait for the pods that drain: they may still connect anew."""
    if not waiting.until(context, lambda: not _left(context, say), ENDS_SECONDS):
        left = ", ".join(_left(context, say))
        raise DeployError(
            f"pods that were replaced have not ended within {ENDS_SECONDS} s: {left}. If their node is lost, delete it "
            "(kubectl delete node NAME)"
        )
    say("every pod of API and worker runs with it")


def _left(context: Context, say: Say) -> list[str]:
    seen = watching.patiently(context, lambda: watching.look(context, DEPLOYMENTS), say)
    return [name for each in seen.values() for name in of_before(each)]


def of_before(seen: Seen) -> list[str]:
    """Answer the pods of a Deployment that still run and are not of its newest template, draining ones too."""
    new = (seen.new.get("metadata") or {}).get("uid")
    return [
        str(pod["metadata"]["name"])
        for pod in seen.pods
        if (pod.get("status") or {}).get("phase") not in {"Failed", "Succeeded"}
        and all(each.get("uid") != new for each in pod["metadata"].get("ownerReferences") or ())
    ]


def _holds(context: Context, namespace: str, name: str, wanted: Mapping[str, str | None]) -> bool:
    try:
        body: Json = kubectl.one(context, "secret", name, namespace=namespace) or {}
    except PassingError:
        return False
    data = body.get("data") or {}
    there = {key: base64.b64decode(data[key]).decode() if key in data else None for key in wanted}
    return bool(body) and there == dict(wanted)
