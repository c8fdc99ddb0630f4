"""`db-grow`: a larger disk for the database, while it serves. EBS makes a disk larger, and never smaller."""

import json
import re
import sys
from argparse import ArgumentTypeError, Namespace
from pathlib import Path

from comanda_deploy import commands, kubectl, waiting
from comanda_deploy import lock as locks
from comanda_deploy.arguments import Parser, add_json, confirm
from comanda_deploy.backups import CLAIM, UNSETTLED, in_bytes
from comanda_deploy.context import Context
from comanda_deploy.database_state import POD, SET, claim_of, look
from comanda_deploy.errors import DeployError
from comanda_deploy.names import DATABASE_NAMESPACE
from comanda_deploy.objects import Json

FILE = Path(__file__).parents[2] / "infra" / "deployment" / "db" / "4-db-stateful-set.yaml"
STORAGE = re.compile(rb"^([ \t]+storage:[ \t]+)(\S+)(?=[ \t]*\r?$)", re.MULTILINE)
GROWS_SECONDS = 300
KUBELET_SECONDS = 30
"""How long kubelet may take to make the file system larger, before the database is restarted for it."""
STARTS_SECONDS = 450
"""How long it may take to end, its grace is 120 s, and to serve again."""


def add_options(parser: Parser) -> None:
    """Add what db-grow takes beside --yes."""
    add_json(parser)
    parser.add_argument("size", type=_size, metavar="SIZE", help="how large it shall be, in whole GiB, as 40Gi")
    parser.add_argument(
        "--restart",
        action="store_true",
        help="restart the database where its file system only grows at the next start: guests get 503 for some seconds",
    )


def grow(options: Namespace) -> int:
    """Make the database's disk larger: the manifest, the disk, the file system on it, and the set that names it.

    Raises:
        DeployError: it cannot grow so, or has not: how far it is, and that the same command goes on.
    """
    context = commands.context_of(options)
    kubectl.reach(context)
    claim = claim_of(context)
    if claim is None:
        raise DeployError("the database has no disk yet: run infra/scripts/eks-cluster-mng.sh deploy-database")
    text = FILE.read_bytes()
    named = STORAGE.findall(text)
    if len(named) != 1:
        raise DeployError(f"{FILE} names {len(named)} sizes, not one: put it back as it was published")
    asked = claim["spec"]["resources"]["requests"]["storage"]
    if in_bytes(options.size) < in_bytes(asked):
        raise DeployError(f"it has {asked}, and EBS makes no disk smaller: name that size, or a larger one")
    to = sys.stderr if options.json else sys.stdout
    done = in_bytes(asked) == in_bytes(options.size) and has_grown(claim, options.size)
    if done and named[0][1].decode() == options.size == _of_set(context):
        print(f"Nothing to do: the database has {options.size}. Next: comanda-deploy status", file=to)
    else:
        print(f"  ~ {FILE.name}: storage {named[0][1].decode()} -> {options.size}", file=to)
        print(f"  ~ PersistentVolumeClaim {DATABASE_NAMESPACE}/{CLAIM}: {asked} -> {options.size}", file=to)
        restart = "The database is restarted if its file system needs that." if options.restart else ""
        print(f"EBS lets a disk be changed once in six hours. PostgreSQL serves meanwhile. {restart}".strip(), file=to)
        if options.json and not options.yes:
            print("Go on? [y/N] ", end="", file=to, flush=True)
        confirm(options, "" if options.json else "Go on? [y/N] ")
        with locks.locked(context, "db-grow"):
            _carry_out(context, options)
        print(f"The database has {options.size}. Next: git commit {FILE.name}, which says so now", file=to)
    if options.json:
        print(json.dumps({"claim": CLAIM, "size": options.size}))
    return 0


def has_grown(claim: Json, size: str) -> bool:
    """Answer whether disk and file system of a claim are as large as that."""
    now = ((claim.get("status") or {}).get("capacity") or {}).get("storage", "0")
    return in_bytes(now) >= in_bytes(size)


def waits_for_start(claim: Json) -> bool:
    """Answer whether the disk has grown and its file system has not yet (Kubernetes: FileSystemResizePending)."""
    conditions = (claim.get("status") or {}).get("conditions") or ()
    return any(each["type"] == "FileSystemResizePending" and each["status"] == "True" for each in conditions)


def _carry_out(context: Context, options: Namespace) -> None:
    FILE.write_bytes(STORAGE.sub(rb"\g<1>" + options.size.encode(), FILE.read_bytes()))
    patch = json.dumps({"spec": {"resources": {"requests": {"storage": options.size}}}})
    kubectl.answer_of(
        context, "patch", "persistentvolumeclaim", CLAIM, "--namespace", DATABASE_NAMESPACE, f"--patch={patch}"
    )
    again = f"infra/scripts/eks-cluster-mng.sh db-grow {options.size}"
    if not _grows_alone(context, options):
        if not waits_for_start(claim_of(context) or {}):
            raise DeployError(
                f"the disk has not grown yet ({_why(context)}): it goes on by itself; then again: {again}"
                f"{' --restart' if options.restart else ''}"
            )
        if not options.restart:
            raise DeployError(
                f"the disk has grown, its file system does at the database's next start: {again} --restart (guests get "
                "503 for some seconds)"
            )
        of = ("--namespace", DATABASE_NAMESPACE)
        kubectl.answer_of(context, "delete", "pod", POD, *of, "--ignore-not-found", "--wait=false")
        if not waiting.until(context, lambda: has_grown(claim_of(context) or {}, options.size), STARTS_SECONDS):
            raise DeployError(f"the file system has not grown at the start: kubectl describe pvc {CLAIM}; then {again}")
    _renew_set(context, options.size)


def _grows_alone(context: Context, options: Namespace) -> bool:
    """Answer whether disk and file system have come to a size, with the database serving."""

    def grown() -> bool:
        return has_grown(claim_of(context) or {}, options.size)

    def grown_or_waits() -> bool:
        return grown() or waits_for_start(claim_of(context) or {})

    if not options.restart:
        return waiting.until(context, grown, GROWS_SECONDS)
    return waiting.until(context, grown_or_waits, GROWS_SECONDS) and waiting.until(context, grown, KUBELET_SECONDS)


def _why(context: Context) -> str:
    of_claim = f"involvedObject.name={CLAIM}"
    said = kubectl.last_event(context, of_claim, namespace=DATABASE_NAMESPACE)
    return " ".join(said.split()) or "Kubernetes does not say why"


def _renew_set(context: Context, size: str) -> None:
    """Have the set name the new size: of a set that cannot be changed, so it is made anew around its pod."""
    if _of_set(context) != size:
        of = ("--namespace", DATABASE_NAMESPACE)
        unsettled = look(context).unsettled
        kubectl.answer_of(context, "delete", "statefulset", SET, *of, "--cascade=orphan", "--ignore-not-found")
        kubectl.answer_of(context, "apply", "--filename", str(FILE))
        if unsettled:
            # What a restore still owes outlives every disk, and this set.
            note = f"{UNSETTLED}={unsettled.isoformat()}"
            kubectl.answer_of(context, "annotate", "statefulset", SET, note, "--overwrite", *of)

    def whole() -> bool:
        body = kubectl.one(context, "statefulset", SET, namespace=DATABASE_NAMESPACE) or {}
        return int((body.get("status") or {}).get("readyReplicas", 0)) == 1

    if not waiting.until(context, whole, STARTS_SECONDS):
        raise DeployError(f"the database does not serve: kubectl describe pod {POD} --namespace {DATABASE_NAMESPACE}")


def _of_set(context: Context) -> str:
    """Answer which size the set asks for, "" if there is no set."""
    found = kubectl.one(context, "statefulset", SET, namespace=DATABASE_NAMESPACE)
    templates = ((found or {}).get("spec") or {}).get("volumeClaimTemplates") or [{}]
    requests = ((templates[0].get("spec") or {}).get("resources") or {}).get("requests") or {}
    return str(requests.get("storage", ""))


def _size(text: str) -> str:
    if not re.fullmatch(r"[1-9][0-9]{0,4}Gi", text):
        raise ArgumentTypeError(f"{text} is no size: give whole GiB, as 40Gi")
    return text
