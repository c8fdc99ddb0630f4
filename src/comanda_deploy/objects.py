"""The objects of Kubernetes that a folder of manifests describes, and how they differ from those in the cluster.

Differences are `kubectl diff`'s: it knows defaults and what was applied before, and needs no knowledge of ours.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml

from comanda_deploy import kubectl
from comanda_deploy.context import Context
from comanda_deploy.errors import DeployError

LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
DIFF = {"KUBECTL_EXTERNAL_DIFF": "diff -N -U1000000"}
"""With all the context there is, both sides of a difference can be read as what they are: YAML."""
NOT_OURS = {
    f"metadata.annotations.{LAST_APPLIED}",
    *(f"metadata.{each}" for each in ("generation", "resourceVersion", "managedFields", "creationTimestamp", "uid")),
}
"""What the API server writes."""
REFUSED = re.compile(r"is invalid:|\((BadRequest|Invalid|Forbidden)\)|validating|denied the request")
"""What kubectl says where the object itself is at fault, and not the way to the cluster."""
PASSING = re.compile(r"\((Conflict|NotFound)\)")
"""What it says where somebody else was at the same object: at the next look it is otherwise."""
LOOKS = 2
"""How often it is looked at such an object."""
KUSTOMIZATION = "kustomization.yaml"
SHOWN = 3
"""How many fields of an object are named before it says how many more there are."""

Json = dict[str, Any]
Kind = tuple[str, str]
"""Group and kind: ("apps", "Deployment")."""
Key = tuple[str, str, str, str]
"""Group, kind, namespace ("" if it has none) and name."""


class _Loader(yaml.SafeLoader):
    """As kubectl reads: a date is text."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, regexp) for tag, regexp in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


@dataclass(frozen=True)
class Object:
    """One object as a manifest describes it.

    Args:
        file: where. body: all of it.
    """

    key: Key
    file: Path
    body: Json = field(compare=False, repr=False)

    @property
    def kind(self) -> Kind:
        """Its group and kind."""
        return self.key[:2]

    def __str__(self) -> str:
        """Answer kind, namespace and name, as people read them."""
        return named(self.key)

    @property
    def resource(self) -> str:
        """Its kind as kubectl takes it: "deployment.apps"."""
        group, kind, *_ = self.key
        return ".".join(part for part in (kind.lower(), group) if part)

    @property
    def pods(self) -> Json:
        """What it says of its pods, {} if it makes none."""
        spec = self.body.get("spec") or {}
        spec = (spec.get("jobTemplate") or {}).get("spec") or spec  # a CronJob's
        found = spec if self.kind == ("", "Pod") else (spec.get("template") or {}).get("spec")
        return found if isinstance(found, dict) else {}

    @property
    def images(self) -> tuple[str, ...]:
        """The images of its containers."""
        return tuple(
            each["image"]
            for those in ("initContainers", "containers")
            for each in self.pods.get(those) or ()
            if isinstance(each, dict) and isinstance(each.get("image"), str)
        )


@dataclass(frozen=True)
class Found:
    """The same object as the cluster has it.

    Args:
        fields: in which the manifest differs from it, by their paths. refused: why the manifest cannot be applied.
        unseen: why it could not be compared, which says nothing of the others.
        by_hand: the manifest is as it was when it was last applied: so what differs was changed in the cluster.
        added: what of its pods stands in no manifest, and is left by applying it.
        deleting: since when it is on its way out, as Kubernetes writes times; "" if it is not.
    """

    body: Json = field(compare=False, repr=False)
    fields: tuple[str, ...] = ()
    refused: str = ""
    unseen: str = ""
    by_hand: bool = False
    added: tuple[str, ...] = ()
    deleting: str = ""

    @property
    def differs(self) -> str:
        """Answer the fields in a few words."""
        more = len(self.fields) - SHOWN
        return ", ".join(self.fields[:SHOWN]) + (f" and {more} more" if more > 0 else "")


@dataclass(frozen=True)
class Look:
    """What the cluster has of some objects, and which of their kinds it does not know."""

    found: Mapping[Key, Found]
    unknown: frozenset[Kind] = frozenset()


def named(key: Key) -> str:
    """Answer what an object is called: "Deployment comanda/api"."""
    _, kind, namespace, name = key
    return f"{kind} {namespace}/{name}" if namespace else f"{kind} {name}"


def files_of(folder: Path) -> list[Path]:
    """Answer a folder's manifests as the runbook applies them: those with a number by it, then the rest by name."""
    files = [file for file in folder.glob("*") if file.suffix in {".yaml", ".yml"} and file.is_file()]
    # What `kubectl apply -k` reads is no object.
    return sorted((file for file in files if file.name != KUSTOMIZATION), key=_place)


def _place(file: Path) -> tuple[bool, int, str]:
    number = re.match(r"\d+", file.name)
    return number is None, int(number[0]) if number else 0, file.name


def read(folder: Path) -> tuple[Object, ...]:
    """Answer what a folder's manifests describe, in the order in which it is applied.

    Raises:
        DeployError: a file cannot be read, or holds something else.
    """
    return tuple(each for file in files_of(folder) for each in _read(file))


def _read(file: Path) -> Iterator[Object]:
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DeployError(f"{file} cannot be read ({' '.join(str(error).split())}): mend it") from error
    return parse(file, text)


def parse(file: Path, text: str) -> Iterator[Object]:
    """Answer what a manifest's text describes.

    Raises:
        DeployError: it is no manifest.
    """
    try:
        documents = list(yaml.load_all(text, _Loader))
    except yaml.YAMLError as error:
        raise DeployError(f"{file} cannot be read ({' '.join(str(error).split())}): mend it") from error
    for number, body in enumerate(documents, start=1):
        if body is None:
            continue  # only comments
        try:
            yield Object(key_of(body), file, body)
        except (KeyError, TypeError, AttributeError) as error:
            raise DeployError(
                f"{file}: document {number} is no object of Kubernetes with a kind and a name: mend it"
            ) from error


def key_of(body: Json) -> Key:
    """Answer an object's key.

    Raises:
        KeyError, TypeError, AttributeError: it is no object.
    """
    group = str(body["apiVersion"]).rpartition("/")[0]
    metadata = body["metadata"]
    namespace = str(metadata.get("namespace") or "")
    # What names no namespace is in the context's, and ours has none but this.
    return group, str(body["kind"]), "" if namespace == "default" else namespace, str(metadata["name"])


def look(context: Context, objects: Sequence[Object], *, compare: bool = True) -> Look:
    """Ask the cluster for the objects, and how they differ from their manifests.

    Args:
        compare: False where it matters only which of them are there.

    Raises:
        DeployError: the cluster cannot be asked.
    """
    bodies, unknown = _there(context, objects)
    found = {
        each.key: Found(
            bodies[each.key],
            by_hand=_as_applied(each, bodies[each.key]),
            added=_added(each, bodies[each.key]),
            deleting=bodies[each.key]["metadata"].get("deletionTimestamp", ""),
        )
        for each in objects
        if each.key in bodies
    }
    compared = [each for each in objects if each.key in found and not found[each.key].deleting]
    for key, difference in _differences(context, compared if compare else []).items():
        found[key] = replace(found[key], **difference)
    return Look(found, unknown)


def _there(context: Context, objects: Sequence[Object]) -> tuple[dict[Key, Json], frozenset[Kind]]:
    get = ("get", "--filename", "-", "--ignore-not-found", "--output", "json")
    answer = kubectl.run(context, *get, standard_input=_documents(objects))
    unknown: frozenset[Kind] = frozenset()
    if answer.returncode and "no matches for kind" in answer.stderr:
        unknown = frozenset({each.kind for each in objects} - _kinds(context))
        objects = [each for each in objects if each.kind not in unknown]
        answer = kubectl.run(context, *get, standard_input=_documents(objects))
    if answer.returncode:
        raise DeployError(f"kubectl get failed: {kubectl.said(answer)}")
    return {key_of(each): each for each in items(answer.stdout)}, unknown


def items(text: str) -> list[Json]:
    """Answer the objects of what `kubectl get --output json` printed: a list, a single one, or nothing at all."""
    answer: Json = json.loads(text or "{}")
    found: list[Json] = answer.get("items", [answer] if answer else [])
    return found


def _kinds(context: Context) -> frozenset[Kind]:
    """Answer every kind that the cluster knows."""
    # A broken metrics server, say, makes it fail after it has printed all the rest.
    answer = kubectl.run(context, "api-resources", "--no-headers")
    rows = [line.split() for line in answer.stdout.splitlines()]
    # NAME, SHORTNAMES where it has some, APIVERSION, NAMESPACED, KIND.
    return frozenset((row[-3].rpartition("/")[0], row[-1]) for row in rows if len(row) > 3)


def _documents(objects: Sequence[Object]) -> str:
    return "---\n".join(json.dumps(each.body) + "\n" for each in objects)


def _as_applied(each: Object, live: Json) -> bool:
    applied = last_applied(live)
    return bool(applied) and essence(applied) == essence(each.body)


def last_applied(live: Json) -> Json:
    """Answer what `kubectl apply` noted of an object when it was applied last, {} if it never was."""
    try:
        applied = json.loads((live["metadata"].get("annotations") or {}).get(LAST_APPLIED) or "{}")
    except ValueError:
        return {}
    return applied if isinstance(applied, dict) else {}


def _added(each: Object, live: Json) -> tuple[str, ...]:
    """Answer what a hand has added to the pods: applying leaves what it never brought, and so does diff."""
    known = {*_parts(each), *_parts(replace(each, body=last_applied(live)))}
    return tuple(part for part in _parts(replace(each, body=live)) if part not in known)


def _parts(each: Object) -> Iterator[str]:
    """Answer the containers of its pods, and their environment's variables, by name."""
    for those in ("initContainers", "containers"):
        for container in each.pods.get(those) or ():
            yield f"container {container.get('name')}"
            yield from (f"{one.get('name')} in {container.get('name')}'s env" for one in container.get("env") or ())


def essence(body: Json) -> Json:
    """Answer an object without what kubectl adds before it notes what was applied."""
    metadata = {key: value for key, value in body.get("metadata", {}).items() if value not in (None, {}, "default")}
    return {**{key: value for key, value in body.items() if key != "status"}, "metadata": metadata}


def _differences(context: Context, objects: Sequence[Object], looks: int = 1) -> dict[Key, Json]:
    """Answer, by object, what is found of how it differs, as `Found` names it; nothing for one that is equal."""
    if not objects:
        return {}
    answer = kubectl.run(context, "diff", "--filename", "-", standard_input=_documents(objects), environment=DIFF)
    if answer.returncode > 1:
        said, why = kubectl.said(answer), answer.stderr
        passing, unseen = PASSING.search(why), kubectl.NO_WEBHOOK in why
        if not (passing or unseen or REFUSED.search(why)):
            raise DeployError(f"kubectl diff failed: {said}")
        if len(objects) > 1:
            # It ends at the first that fails: each is asked for alone.
            return {key: found for each in objects for key, found in _differences(context, [each]).items()}
        if passing and not unseen and looks < LOOKS:
            context.sleep(looks)
            return _differences(context, objects, looks + 1)
        return {objects[0].key: {"unseen" if passing or unseen else "refused": said}}
    found: dict[Key, Json] = {}
    for live, merged in _sides(answer.stdout):
        fields = tuple(path for path in paths(live, merged) if path not in NOT_OURS)
        if fields:
            found[key_of(merged)] = {"fields": fields}
    return found


def _sides(text: str) -> Iterator[tuple[Json, Json]]:
    """Answer both sides of each object of a diff with full context."""
    for part in re.split(r"^diff .*\n", text, flags=re.MULTILINE)[1:]:
        lines = [line for line in part.splitlines() if not line.startswith(("--- ", "+++ ", "@@ ", "\\"))]
        live = "\n".join(line[1:] for line in lines if line[:1] in {" ", "-"})
        merged = "\n".join(line[1:] for line in lines if line[:1] in {" ", "+"})
        yield yaml.load(live, _Loader) or {}, yaml.load(merged, _Loader) or {}  # noqa: S506 - a SafeLoader


def paths(one: Any, other: Any, at: str = "") -> Iterator[str]:
    """Answer the paths of the fields in which two values differ: "spec.template.spec.containers[api].image"."""
    if isinstance(one, dict) and isinstance(other, dict):
        for key in dict.fromkeys((*one, *other)):
            yield from paths(one.get(key), other.get(key), f"{at}.{key}" if at else str(key))
    elif isinstance(one, list) and isinstance(other, list) and _names(one) == _names(other):
        for name, before, after in zip(_names(one), one, other, strict=True):
            yield from paths(before, after, f"{at}[{name}]")
    elif one != other:
        yield at


def _names(values: list[Any]) -> list[str]:
    return [str(each.get("name", place)) if isinstance(each, dict) else str(place) for place, each in enumerate(values)]
