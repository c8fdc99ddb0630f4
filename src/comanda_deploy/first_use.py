"""The first use of what is deployed: `create-manager-key` and `load-menu`, the product's own commands in its pods."""

import json
import re
import sys
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path

from comanda_deploy import commands, kubectl
from comanda_deploy import lock as locks
from comanda_deploy.arguments import Parser, add_json
from comanda_deploy.context import Context
from comanda_deploy.errors import DeployError
from comanda_deploy.names import NAMESPACE

API = "comanda-api"
CONTAINER = "api"
VERB = "infra/scripts/eks-cluster-mng.sh"
MANAGER, STAFF = "manager", "staff"
FOR = {STAFF: "kitchen and counter", MANAGER: "managers"}
LARGEST = 1_048_576
"""Bytes of a menu document, as the product takes it."""
ADDED = re.compile(r"(\d+) products added")


def add_key_options(parser: Parser) -> None:
    """Add what create-manager-key takes beside --yes."""
    add_json(parser)
    parser.add_argument("--name", help="whose or what it is for, as kitchen-tablet-1 (its role)")
    parser.add_argument(
        "--role",
        choices=(MANAGER, STAFF),
        default=MANAGER,
        help="manager, or staff for the kitchen's tablets (manager)",
    )


def add_menu_options(parser: Parser) -> None:
    """Add what load-menu takes beside --yes."""
    add_json(parser)
    parser.add_argument(
        "file",
        nargs="?",
        metavar="FILE",
        help='a JSON document, {"categories": [{"name", "products": [{"name", "price_cents"}]}]}, `-` for standard '
        "input; without one: the sample menu",
    )


def create_key(options: Namespace) -> int:
    """Make a key and print it, for the only time, alone on the standard output.

    Raises:
        DeployError: a living key has that name, or it could not be made.
    """
    context = commands.context_of(options)
    role = options.role
    name = role if options.name is None else options.name
    kubectl.reach(context)
    pod = ready_pod(context)
    with locks.locked(context, options.goes_on_with):
        for line in product(context, pod, "keys", "list").splitlines():
            record = json.loads(line)
            if record["name"] == name and record["revoked_at"] is None:
                raise DeployError(_taken(name, record["role"]))
        key = product(context, pod, "keys", "create", "--role", role, "--", name).strip()
    if not key:
        raise DeployError(f"a key {name!r} was made and did not come: {VERB} rotate-secrets {role} --name {name!r}")
    at = address(context)
    if options.json:
        print(json.dumps({"name": name, "role": role, "key": key, "address": at}))
    else:
        print(key, flush=True)
    where = f"at {at}" if at else "at the diner's address, once there is a load balancer"
    print(
        f"The key {name!r} of {FOR[role]}. It is shown this once; its hash alone is kept. It is typed in where the "
        f"pages of {role} ask for it, {where}; a script sends it as Authorization: Bearer KEY.\nNext: {VERB} load-menu",
        file=sys.stderr,
    )
    return 0


def load_menu(options: Namespace) -> int:
    """Fill an empty menu with the sample menu, or with a document of this machine.

    Raises:
        DeployError: the document cannot be read, or is no menu: where it is wrong. Nothing was changed then.
    """
    context = commands.context_of(options)
    document = None if options.file is None else read_document(options.file)
    kubectl.reach(context)
    pod = ready_pod(context)
    with locks.locked(context, options.goes_on_with):
        said = product(context, pod, "load-menu", *([] if document is None else ["-"]), standard_input=document)
    found = ADDED.match(said)
    if options.json:
        print(json.dumps({"added": int(found[1]) if found else 0, "was_empty": bool(found)}))
    next_ = f"order something at {address(context) or 'the diner'}; {VERB} logs shows what happens"
    if found:
        text = f"Done: {said.strip()}. Next: {next_}"
    else:
        text = f"The menu has something in it already: it is left alone. Managers change it in its pages. Next: {next_}"
    print(text, file=sys.stderr if options.json else sys.stdout)
    return 0


def ready_pod(context: Context) -> str:
    """Answer a pod of the API that works.

    Raises:
        DeployError: there is none; which verb makes one, or looks at those that there are.
    """
    try:
        return kubectl.ready_pod(context, API)
    except DeployError as error:
        if kubectl.one(context, "deployment.apps", API, namespace=NAMESPACE) is None:
            raise DeployError(f"the API is not deployed yet: run {VERB} deploy-api") from error
        raise


def product(context: Context, pod: str, *command: str, standard_input: str | None = None) -> str:
    """Run a command of the product's in a pod of the API, and answer what it printed.

    Raises:
        DeployError: it failed, with what it complained of. Of its output nothing is told: that may be a key.
    """
    answer = kubectl.inside(
        context,
        pod,
        ("comanda", *command),
        namespace=NAMESPACE,
        container=CONTAINER,
        standard_input=standard_input,
        seconds=60,
    )
    if answer.returncode:
        raise DeployError(_complaint(answer.stderr) or f"comanda {command[0]} failed in {pod}, and did not say why")
    return answer.stdout


def read_document(name: str) -> str:
    """Read a menu document of this machine.

    Args:
        name: of the file, `-` for standard input.

    Raises:
        DeployError: it cannot be read, is too large, or is no JSON: in which line.
    """
    where = "standard input" if name == "-" else name
    try:
        if name == "-":
            data = sys.stdin.buffer.read(LARGEST + 1)
        else:
            with Path(name).open("rb") as file:
                data = file.read(LARGEST + 1)
    except OSError as error:
        raise DeployError(f"{where} cannot be read ({error.strerror}): name another file") from error
    if len(data) > LARGEST:
        raise DeployError(f"{where} has more than {LARGEST} bytes: that is no menu")
    try:
        text = data.decode("utf-8-sig")
        json.loads(text)
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise DeployError(f"{where}:{line}: is not UTF-8 text: save it as such") from error
    except json.JSONDecodeError as error:
        raise DeployError(
            f"{where}:{error.lineno}: is not JSON ({error.msg}, column {error.colno}): mend it"
        ) from error
    except (ValueError, RecursionError) as error:
        raise DeployError(f"{where}: is no menu ({error}): mend it") from error
    return text


def address(context: Context) -> str:
    """Answer the address at which guests and staff come in, "" as long as there is none."""
    if host := context.settings.address.host:
        return f"https://{host}"
    ingress = kubectl.one(context, "ingresses.networking.k8s.io", API, namespace=NAMESPACE) or {}
    found: Sequence[dict[str, str]] = ((ingress.get("status") or {}).get("loadBalancer") or {}).get("ingress") or ()
    name = next((each.get("hostname") or each.get("ip") for each in found), "")
    return f"http://{name}" if name else ""


def _taken(name: str, role: str) -> str:
    return (
        f"there is a key named {name!r} of {role} already, and it cannot be shown again: give --name another, or a new "
        f"key to this name, {VERB} rotate-secrets {role} --name {name!r}. Which keys there are: kubectl exec "
        f"--namespace {NAMESPACE} deployment/{API} --container {CONTAINER} -- comanda keys list"
    )


def _complaint(text: str) -> str:
    """Answer what the product said, without what kubectl says of its exit code; else all of it, in one line."""
    lines = text.splitlines()
    ours = [line.removeprefix("comanda: ") for line in lines if line.startswith("comanda: ")]
    return " ".join((" ".join(ours) or text).split())[:400]
