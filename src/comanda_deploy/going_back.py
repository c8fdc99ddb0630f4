"""What was applied before a deploy, and how that is brought back."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from comanda_deploy import kubectl, objects, rollout, watching
from comanda_deploy.context import Context
from comanda_deploy.objects import Json, Key, Object
from comanda_deploy.rollout import Seen
from comanda_deploy.steps.kubeconfig import state_folder

DEPLOYMENT = ("apps", "Deployment")
KEPT_AS = "before-deploy-api.json"
BY_THE_CLUSTER = {
    *("uid", "resourceVersion", "generation", "creationTimestamp", "managedFields", "selfLink"),
    *("ownerReferences", "annotations"),
}
"""What of an object's metadata is not to be applied again."""


@dataclass(frozen=True)
class Before:
    """How the objects of a folder were.

    Args:
        documents: of those that were there, what brings them back when it is applied.
        served: of each Deployment whose pods served, of which image.
        deadlines: of the Deployments, as `rollout.deadline_of` says.
    """

    documents: Mapping[Key, Json] = field(default_factory=dict)
    served: Mapping[Key, str] = field(default_factory=dict)
    deadlines: Mapping[Key, str] = field(default_factory=dict)


def deployments(wanted: Sequence[Object]) -> list[Key]:
    """Answer the keys of those objects that are Deployments."""
    return [each.key for each in wanted if each.kind == DEPLOYMENT]


def remember(context: Context, wanted: Sequence[Object]) -> Before:
    """Answer how the objects are, before they are changed.

    Raises:
        DeployError: the cluster cannot be asked.
    """
    found = objects.look(context, wanted, compare=False).found
    seen = watching.look(context, deployments(wanted))
    return Before(
        documents={key: as_it_was(each.body, seen.get(key)) for key, each in found.items()},
        served={key: rollout.image_of(each.serving) for key, each in seen.items() if each.serving},
        deadlines={key: rollout.deadline_of(each.deployment) for key, each in seen.items()},
    )


def as_it_was(live: Json, seen: Seen | None = None) -> Json:
    """Answer what brings an object back when it is applied: what was applied last, so that nothing is by hand then.

    Where what serves is of another image than what was applied last, as after `kubectl rollout undo`, or after a deploy
    that was broken off, the pods are those that serve.
    """
    body = objects.last_applied(live) or _plain(live)
    serving = seen.serving if seen else {}
    if not serving or _images(body) == _images(serving):
        return body
    template = {**body["spec"]["template"], "spec": serving["spec"]["template"]["spec"]}
    return {**body, "spec": {**body["spec"], "template": template}}


def undone(context: Context, wanted: Sequence[Object], before: Before) -> tuple[list[Json], list[str]]:
    """Answer what is to be applied to have all as before, and which objects were not there then.

    Raises:
        DeployError: the cluster cannot be asked.
    """
    found = objects.look(context, wanted, compare=False).found
    return list(_differing(found, before)), [str(each) for each in wanted if _is_new(each, found, before)]


def _differing(found: Mapping[Key, objects.Found], before: Before) -> Iterator[Json]:
    for key, document in before.documents.items():
        now = objects.last_applied(found[key].body) if key in found else {}
        # What nobody has applied nobody has changed; what is gone is made anew.
        if key not in found or (now and objects.essence(now) != objects.essence(document)):
            yield document


def _is_new(each: Object, found: Mapping[Key, objects.Found], before: Before) -> bool:
    return each.key in found and each.key not in before.documents


def bring_back(context: Context, documents: Sequence[Json]) -> None:
    """Apply what was applied before.

    Raises:
        DeployError: not all of it was; again is no harm.
    """
    kubectl.answer_of(context, "apply", "--filename", "-", standard_input=_text(documents))


def keep(context: Context, documents: Sequence[Json]) -> str:
    """Write down what brings all back, and answer the command that does it by hand."""
    file = state_folder(context.environment) / KEPT_AS
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        beside = file.with_suffix(".new")
        beside.unlink(missing_ok=True)
        beside.touch(0o600, exist_ok=False)
        beside.write_text(_text(documents), encoding="utf-8")
        beside.replace(file)
    except OSError as error:
        return f"infra/scripts/eks-cluster-mng.sh rollback-api ({file} cannot be written: {error.strerror})"
    return f"{' '.join(kubectl.KUBECTL)} apply --filename {file}"


def _text(documents: Sequence[Json]) -> str:
    # A list, and not documents one after another: JSON has no other way for it in a file of that name.
    return json.dumps({"apiVersion": "v1", "kind": "List", "items": list(documents)}, indent=2) + "\n"


def _plain(live: Json) -> Json:
    """Answer an object that nobody has applied, as one would."""
    metadata = {name: value for name, value in live["metadata"].items() if name not in BY_THE_CLUSTER}
    body = {name: value for name, value in live.items() if name != "status"} | {"metadata": metadata}
    if objects.key_of(live)[:2] == DEPLOYMENT:
        # Their number is the autoscaler's: applied once it would be ours for good.
        body["spec"] = {name: value for name, value in live["spec"].items() if name != "replicas"}
    return body


def _images(body: Json) -> tuple[str, ...]:
    return Object(objects.key_of(body), Path(), body).images
