"""Has a CronJob's work done now, and waits for its end."""

from contextlib import suppress

from comanda_deploy import kubectl, waiting
from comanda_deploy.context import Context
from comanda_deploy.errors import DeployError
from comanda_deploy.names import DATABASE_NAMESPACE
from comanda_deploy.objects import Json


def run(context: Context, namespace: str, name: str, *, seconds: int) -> str:
    """Make a Job of a CronJob, wait for it, and answer what it said.

    What became of it is deleted: what it said is known then. One that fails stays, for who looks.

    Args:
        namespace: of the CronJob. name: its. seconds: how long it may take.

    Raises:
        DeployError: there is no such CronJob, the Job failed, or it is not over yet.
    """
    job = f"{name}-by-hand-{context.clock():%Y%m%d%H%M%S}"
    made = kubectl.run(context, "create", "job", job, "--namespace", namespace, f"--from=cronjob/{name}")
    if made.returncode and "(NotFound)" in made.stderr:
        verb = "deploy-database" if namespace == DATABASE_NAMESPACE else "deploy-api"
        raise DeployError(f"there is no CronJob {namespace}/{name} yet: run infra/scripts/eks-cluster-mng.sh {verb}")
    if made.returncode:
        raise kubectl.failed(made, f"kubectl create failed: {kubectl.said(made)}")
    look = f"kubectl --namespace {namespace} logs job/{job}"
    if not waiting.until(context, lambda: bool(_ended(context, namespace, job)), seconds):
        raise DeployError(f"job {job} is not over after {seconds} s; it goes on: {look} --follow")
    ended, said = _ended(context, namespace, job), _said(context, namespace, job)
    if ended != "Complete":
        tail = "\n".join(f"    {line}" for line in said.strip().splitlines()[-10:])
        raise DeployError(f"job {job} failed:\n{tail}\n  all of it: {look}")
    # It is done, whether what is left of it goes or not.
    with suppress(DeployError):
        kubectl.answer_of(context, "delete", "job", job, "--namespace", namespace, "--wait=false")
    return said


def _ended(context: Context, namespace: str, job: str) -> str:
    body: Json = kubectl.one(context, "job", job, namespace=namespace) or {}
    for each in (body.get("status") or {}).get("conditions") or ():
        if each["status"] == "True" and each["type"] in {"Complete", "Failed"}:
            return str(each["type"])
    return ""


def _said(context: Context, namespace: str, job: str) -> str:
    answer = kubectl.run(context, "logs", "--namespace", namespace, f"job/{job}", "--all-containers")
    return answer.stdout or kubectl.said(answer)
