"""A new key of staff or managers under the same name, the one before valid for a while: made in a worker's pod."""

import json
from collections.abc import Sequence

from comanda_deploy import kubectl
from comanda_deploy.context import Context
from comanda_deploy.errors import DeployError
from comanda_deploy.names import NAMESPACE
from comanda_deploy.objects import Json

MAKE = "infra/scripts/eks-cluster-mng.sh create-manager-key"


def rotate(context: Context, role: str, *, name: str | None, keep: int) -> tuple[str, str]:
    """Answer the name of the key that was rotated, and the new key.

    Args:
        role: "staff" or "manager". name: which; the only one of that role if not given.
        keep: how many minutes the one before stays valid.

    Raises:
        DeployError: there is none, or several; or it was not done.
    """
    pod = kubectl.ready_pod(context, "comanda-worker")
    name = chosen(_in(context, pod, ("list",)), role, name)
    key = _in(context, pod, ("rotate", "--keep", str(keep), "--", name)).strip()
    if not key:
        raise DeployError(f"the key {name} was rotated and the new one did not come: run it again for another")
    return name, key


def chosen(listed: str, role: str, name: str | None) -> str:
    """Answer which key is meant.

    Args:
        listed: `comanda keys list`, a line of JSON each.

    Raises:
        DeployError: none, or more than one.
    """
    records: list[Json] = [json.loads(line) for line in listed.splitlines() if line.strip()]
    names = [str(each["name"]) for each in records if each["role"] == role and each["revoked_at"] is None]
    if not names:
        raise DeployError(
            f"there is no key of {role} yet: {MAKE}{' --role staff' if role == 'staff' else ''} makes one"
        )
    if name is None and len(names) > 1:
        raise DeployError(f"there are several keys of {role}, say which: --name {' | --name '.join(map(repr, names))}")
    if name is not None and name not in names:
        raise DeployError(f"there is no key of {role} named {name!r}: there is {', '.join(map(repr, names))}")
    return name or names[0]


def _in(context: Context, pod: str, command: Sequence[str]) -> str:
    answer = kubectl.inside(
        context, pod, ("comanda", "keys", *command), namespace=NAMESPACE, container="worker", seconds=60
    )
    if answer.returncode:
        # Its output may be a key.
        raise DeployError(f"comanda keys {command[0]} failed in {pod}: {' '.join(answer.stderr.split())[:400]}")
    return answer.stdout
