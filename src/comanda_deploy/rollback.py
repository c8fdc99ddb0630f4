"""`rollback-api`: the manifests name an earlier image again, and that is rolled out as any other."""

import argparse
import re
from argparse import Namespace
from dataclasses import dataclass

from comanda_deploy import deploy, going_back, image, kubectl, manifests, needs, objects, registry, rollout, watching
from comanda_deploy import lock as locks
from comanda_deploy.arguments import Parser, add_json, confirm
from comanda_deploy.context import Context
from comanda_deploy.deploy import API, DEPLOY, PREVIOUS, PREVIOUS_OF, STATUS
from comanda_deploy.errors import DeployError
from comanda_deploy.manifests import Manifest
from comanda_deploy.outcome import Outcome, Result, ended
from comanda_deploy.registry import Verdict
from comanda_deploy.rollout import Seen
from comanda_deploy.steps import application

REFERENCE = re.compile(r"[\w][\w.:/-]*(:[\w][\w.-]{0,127}|@sha256:[0-9a-f]{64})", re.ASCII)
"""An image with tag or digest, of nothing that would be more than that in a manifest."""


LEFT = "comanda/rolled-back-from"
LEFT_TO = "comanda/rolled-back-to"
"""Annotations of the API's Deployment: the image that was last gone back from, and to which. As long as that one
serves, the one before it is the one that was left."""


@dataclass(frozen=True)
class Running:
    """Which images of ours there are in the cluster.

    Args:
        serves: that whose pods serve. asked: those that the Deployments are to be of. earlier: the one before what
            serves, "" if none is known. left: the one that was gone back from to what serves, "" if none.
    """

    serves: str
    asked: frozenset[str]
    earlier: str
    left: str = ""


@dataclass(frozen=True)
class Way:
    """What is to be done.

    Args:
        to: the image. why: it is this one. rolls: whether anything is rolled out for it.
    """

    to: str
    why: str
    rolls: bool


def add_options(parser: Parser) -> None:
    """Add what rollback-api takes beside --yes."""
    add_json(parser)
    deploy.add_options(parser)
    parser.add_argument(
        "--to",
        type=_image,
        metavar="IMAGE",
        help="this one, with its registry and its tag or digest; otherwise the one before",
    )


def roll_back(options: Namespace) -> int:
    """Go back to an earlier image, or let the manifests name what serves.

    Raises:
        DeployError: there is none to go back to, or it did not come up: which serves now.
    """
    return ended(options, lambda context: _roll_back(context, options))


def _roll_back(context: Context, options: Namespace) -> Result:
    needs.look(context, [application.API])
    kubectl.reach(context)
    naming = manifests.naming(image.ROOT / image.MANIFESTS)
    found = running(context)
    way = decide(found, naming, options.to or "")
    files = [each for each in naming if set(each.images) != {way.to}]
    if not way.rolls and not files:
        said = f"Nothing to do: {way.to} serves, and the manifests name it."
        return Result(Outcome.UNCHANGED, said, STATUS, image=way.to, serves=found.serves)
    if way.rolls:
        _refuse_what_is_not_there(context, way.to)
    print(announced(found, way, files))
    confirm(options, "Go on? [y/N] ")
    with locks.locked(context, options.goes_on_with):
        if running(context) != found:
            raise DeployError("what runs has changed meanwhile: run it again and look")
        for each in files:
            manifests.write(each, way.to)
            print(f"Written into {each.file.relative_to(image.ROOT)}")
        if not way.rolls:
            said = f"Done: the manifests name {way.to}, which serves."
            return Result(Outcome.WRITTEN, said, "comanda-deploy plan", way.to, found.serves, found.serves)
        deploy.plan(context)
        # Whoever goes on with it finds it in the manifests.
        result = deploy.carry_out(context, Namespace(**{**vars(options), "goes_on_with": DEPLOY}))
        # Whoever names an image knows what is to serve, and may want the one before it again.
        if result.outcome is Outcome.DEPLOYED and found.serves != way.to and not options.to:
            deploy.note(context, {LEFT: found.serves, LEFT_TO: way.to})
        return result


def running(context: Context) -> Running:
    """Answer which images there are in the cluster.

    Raises:
        DeployError: the cluster cannot be asked, or nothing of ours serves in it.
    """
    keys = going_back.deployments(objects.read(application.API.folder))
    seen = watching.look(context, keys)
    api = seen.get(API, Seen(API))
    serves = rollout.image_of(api.serving)
    if not serves:
        raise DeployError(f"no image of ours serves yet, so there is none to go back from: {DEPLOY}")
    asked = frozenset(filter(None, (rollout.image_of(each.deployment) for each in seen.values())))
    return Running(serves, asked, earlier(api), _noted(api, LEFT, LEFT_TO))


def earlier(api: Seen) -> str:
    """Answer the image before the one that serves, "" if none is known.

    It is noted with each deploy; where it came by another way the ReplicaSets, of which Kubernetes keeps ten, know it.
    """
    serves = rollout.image_of(api.serving)
    known = [_noted(api, PREVIOUS, PREVIOUS_OF), *(rollout.image_of(each) for each in api.older)]
    return next((each for each in known if each and each != serves), "")


def _noted(api: Seen, what: str, of: str) -> str:
    """Answer what is noted at the API's Deployment, "" if it was noted of another image than the one that serves."""
    notes = api.deployment["metadata"].get("annotations") or {}
    return str(notes.get(what, "")) if notes.get(of) == rollout.image_of(api.serving) else ""


def decide(found: Running, naming: list[Manifest], to: str = "") -> Way:
    """Answer what is to be done.

    Args:
        to: the image that was asked for, "" for the one before.

    Raises:
        DeployError: there is none before.
    """
    named = {name for each in naming for name in each.images}
    is_whole = found.asked == {found.serves}
    if to:
        return Way(to, "as you said", rolls=not (is_whole and to == found.serves))
    if not is_whole:
        return Way(found.serves, "it serves, and the rollout of another is under way", rolls=True)
    if named != {found.serves}:
        return Way(found.serves, "it serves, and the manifests name another", rolls=False)
    if not found.earlier:
        raise DeployError(f"no image before {found.serves} is known: name one, {deploy.ROLL_BACK} --to IMAGE")
    if found.earlier == found.left:
        # Said twice, by a script or in the night, it would undo itself.
        raise DeployError(
            f"{found.left} is what was gone back from to {found.serves}: if you want it again, say --to {found.left}"
        )
    return Way(found.earlier, "the one before", rolls=True)


def announced(found: Running, way: Way, files: list[Manifest]) -> str:
    """Answer what is about to be done, as a person reads it."""
    lines = [f"  ~ from {found.serves}", f"      to {way.to}: {way.why}"]
    lines += [
        f"  ~ {each.file.relative_to(image.ROOT)}: image {', '.join(dict.fromkeys(each.images))}" for each in files
    ]
    if way.rolls:
        lines.append("    The database's schema stays as it is: the version before works with it (decision 0003).")
    else:
        lines.append("    Nothing is rolled out: it serves already.")
    return "\n".join(lines)


def _refuse_what_is_not_there(context: Context, to: str) -> None:
    (verdict,) = registry.verdicts(context, [to]).values()
    if verdict.is_lacking or verdict is Verdict.NO_REPOSITORY:
        raise DeployError(f"image {to}: {verdict}: name another with --to, or make one: {deploy.UPDATE}")
    if verdict is not Verdict.THERE:
        print(f"    image {to}: {verdict}")


def _image(text: str) -> str:
    if not REFERENCE.fullmatch(text) or not manifests.is_ours(text):
        raise argparse.ArgumentTypeError(f"{text} is no image of Comanda: give REGISTRY/comanda-api:TAG, or @sha256:…")
    return text
