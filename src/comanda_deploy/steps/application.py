"""Steps 14 to 16: database, API, monitoring, by the manifests of `infra/deployment`, applied as one does by hand."""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path

from comanda_deploy import agreement, kubectl, objects, registry, workloads
from comanda_deploy.context import Context
from comanda_deploy.errors import DeployError, NotFromHereError
from comanda_deploy.helm_release import UNASKED, UNASKED_HERE
from comanda_deploy.manifests import is_ours
from comanda_deploy.names import CLUSTER
from comanda_deploy.objects import Found, Key, Object
from comanda_deploy.registry import Verdict
from comanda_deploy.settings import Settings
from comanda_deploy.step import Change, Kind, Step

DEPLOYMENT = Path(__file__).parents[3] / "infra" / "deployment"
BY_HAND = "changed by hand"
"""What a change's detail begins with where the cluster's object is not as it was applied last."""
BROUGHT_BY = {
    "external-secrets.io": "external-secrets",
    "generators.external-secrets.io": "external-secrets",
    "snapshot.storage.k8s.io": "addons",
    "elbv2.k8s.aws": "load-balancer-controller",
}
"""Which step brings a kind that Kubernetes itself does not have, by its group."""
KEPT_AS = {
    ("", "PersistentVolumeClaim"): "volumes",
    ("snapshot.storage.k8s.io", "VolumeSnapshot"): "snapshots",
}
"""Under which word of `destroy.keep` an object stays."""
NEVER_DELETED = {("", "Namespace"), ("", "PersistentVolume"), *KEPT_AS}
"""What no command is named for to delete it: too much would go with it."""
IN_PLACE = re.compile(r"immutable|updates to .* (are forbidden|for fields other than)|may not change")
"""What the API server says of a field that only a new object can have otherwise."""
LACKS = re.compile(r'User "(?P<who>[^"]*)" cannot (?P<verb>\S+) resource "(?P<what>[^"]*)"')
"""What it says of a right that somebody does not have."""
GOES_WITHIN = timedelta(minutes=5)
"""How long a deleted object may wait for whoever sees to its end, before it is left to go with the cluster."""
UPDATE = "infra/scripts/eks-cluster-mng.sh update-api-image"


@dataclass(frozen=True)
class ApplicationFacts:
    """A folder of manifests, and what the cluster has of it.

    Args:
        wanted: the objects, in the order in which they are applied.
        cluster: whether there is one. trouble: why it could not be asked. here: whether this machine is why.
        unknown: kinds that it does not have.
        late: workloads that are not ready yet, and why. stuck: what should be gone by now.
        images: those of ours that the manifests name.
    """

    wanted: tuple[Object, ...] = ()
    cluster: bool = False
    trouble: str = ""
    found: Mapping[Key, Found] = field(default_factory=dict)
    unknown: frozenset[objects.Kind] = frozenset()
    late: Mapping[Key, str] = field(default_factory=dict)
    stuck: frozenset[Key] = frozenset()
    images: Mapping[str, Verdict] = field(default_factory=dict)
    here: bool = False


class Application(Step[ApplicationFacts]):
    """A folder of `infra/deployment`, or several, one after the other."""

    in_one_go = True

    def __init__(self, name: str, about: str, folder: Path, *more: Path, waits: bool = True) -> None:
        """Keep the folders.

        Args:
            name: of the step. about: what the folders bring, for people.
            folder: the first. more: those that follow; one that does not exist brings nothing.
            waits: whether it is done only once all of it runs; False for who watches that otherwise.
        """
        self.name = name
        self.about = about
        self.folders = (folder, *more)
        self.waits = waits

    @property
    def folder(self) -> Path:
        """The first of them, which has to be there."""
        return self.folders[0]

    def observe(self, context: Context) -> ApplicationFacts:
        """Read the manifests, and ask registry and cluster for what they name.

        Raises:
            DeployError: a manifest cannot be read.
        """
        wanted = self._read()
        images = registry.verdicts(context, dict.fromkeys(image for each in wanted for image in _images(each)))
        return replace(_seen(context, wanted, compare=True), images=images)

    def observe_removal(self, context: Context) -> ApplicationFacts:
        """Read which objects are there: whatever hinders a comparison hinders no removal."""
        return _seen(context, self._read(), compare=False)

    def decide(self, settings: Settings, facts: ApplicationFacts) -> list[Change]:
        """Apply file by file where an object of it is missing or differs, then wait until all of it runs."""
        if not facts.wanted:
            return [Change(Kind.NOTE, self._what, "there are none")]
        if facts.trouble:
            why = UNASKED_HERE if facts.here else UNASKED
            changes = [Change(Kind.LATER, self._what, f"{why}: {facts.trouble}")]
            return [*_image_changes(facts, []), *_disagreements(settings, facts, []), *changes]
        changes = list(_object_changes(facts))
        waits = [_wait(key, why, facts.found.get(key)) for key, why in facts.late.items()]
        later = any(change.kind is Kind.LATER and UNASKED not in change.detail for change in changes)
        if later or not self.waits:
            # What is yet to come may be what they wait for.
            waits = [change for change in waits if change.kind is not Kind.WAIT]
        return [*_image_changes(facts, changes), *_disagreements(settings, facts, changes), *changes, *waits]

    def decide_removal(self, settings: Settings, facts: ApplicationFacts) -> list[Change]:
        """Delete the objects, last first, so that pods end in order and let go of their disks.

        Of a cluster that does not answer they go with the cluster.
        """
        if facts.trouble:
            return [Change(Kind.NOTE, self._what, f"go with the cluster: {facts.trouble}")] if facts.wanted else []
        keep = set(settings.destroy.keep)
        changes = [_removal(each, facts, keep) for each in reversed(facts.wanted) if each.key in facts.found]
        # What can be done goes before what has to be waited for.
        return sorted(changes, key=lambda change: change.kind is Kind.WAIT)

    def _read(self) -> tuple[Object, ...]:
        return tuple(each for folder in self.folders for each in objects.read(folder))

    @property
    def _what(self) -> str:
        named = [f"{each.parent.name}/{each.name}" for each in self.folders if each == self.folder or each.is_dir()]
        return f"manifests of {' and '.join(named)}"


def _seen(context: Context, wanted: tuple[Object, ...], *, compare: bool) -> ApplicationFacts:
    if not wanted:
        return ApplicationFacts()
    place = kubectl.where(context)
    if place.trouble or not place.cluster:
        return ApplicationFacts(wanted, place.cluster, place.trouble, here=True)
    try:
        seen = objects.look(context, wanted, compare=compare)
        late = workloads.unready(context, seen.found) if compare else {}
    except DeployError as error:
        return ApplicationFacts(wanted, True, str(error), here=isinstance(error, NotFromHereError))
    stuck = frozenset(key for key, each in seen.found.items() if _is_stuck(each, context.clock()))
    return ApplicationFacts(wanted, True, "", seen.found, seen.unknown, late, stuck)


def _images(each: Object) -> tuple[str, ...]:
    return tuple(image for image in each.images if is_ours(image))


def _is_stuck(found: Found, now: datetime) -> bool:
    return bool(found.deleting) and now - datetime.fromisoformat(found.deleting) > GOES_WITHIN


def _image_changes(facts: ApplicationFacts, changes: list[Change]) -> Iterator[Change]:
    """Refuse to apply what names an image that is not there; the rest that is known of images is only said."""
    applied = {change.what for change in changes if change.to_do}
    for image, verdict in facts.images.items():
        naming = [each for each in facts.wanted if image in _images(each)]
        if verdict.is_lacking and any(str(each) in applied for each in naming):
            mend = (f"{UPDATE} makes one and writes it into the manifests",)
            yield Change(Kind.REFUSED, f"image {image}", str(verdict), mend=mend)
        elif verdict.is_lacking:
            yield Change(Kind.NOTE, f"image {image}", f"{verdict}: no new pod of it can start: {UPDATE}")
        elif verdict is Verdict.NO_REPOSITORY:
            detail = f"{verdict}: create-ecr-repo and {UPDATE} go first, or apply stops before it"
            yield Change(Kind.NOTE, f"image {image}", detail)
        elif verdict is not Verdict.THERE:
            yield Change(Kind.NOTE, f"image {image}", str(verdict))


def _disagreements(settings: Settings, facts: ApplicationFacts, changes: list[Change]) -> Iterator[Change]:
    """Refuse to apply what would shut guests or secrets out; of what stands already, and may be meant, it is only said.

    Applied it is no error to Kubernetes: pods would wait for their secrets, or for a load balancer that may not reach
    them, and an address that is in no subnet would stay so for good.
    """
    applied = {change.what for change in changes if change.to_do}
    for each in facts.wanted:
        for said in agreement.disagreements(settings, each):
            kind = Kind.REFUSED if str(each) in applied else Kind.NOTE
            mend = (f"run infra/scripts/eks-cluster-mng.sh configure, or mend {each.file}, or put the setting back",)
            yield Change(kind, str(each), f"{each.file.name}: {said}", mend=mend)


def _wait(key: Key, why: str, found: Found | None) -> Change:
    if found and workloads.is_paused(found.body):
        resume = f"kubectl --context {CLUSTER} rollout resume deployment {key[3]} --namespace {key[2]}"
        return Change(Kind.REFUSED, objects.named(key), f"it is paused: {why}", mend=(resume,))
    mend = (f"kubectl --context {CLUSTER} describe pods --namespace {key[2]}",)
    return Change(Kind.WAIT, objects.named(key), why, expected_seconds=60, mend=mend)


def _object_changes(facts: ApplicationFacts) -> Iterator[Change]:
    held_up, files = "", set[Path]()
    unknown = {each.file: each for each in reversed(facts.wanted) if each.kind in facts.unknown}
    for each in facts.wanted:
        found = facts.found.get(each.key)
        if found and found.deleting:
            yield Change(Kind.WAIT, str(each), "it is being deleted", expected_seconds=30)
            continue
        if each.file in unknown and not held_up:
            held_up = _held_up(unknown[each.file])
        change = _change(each, found, _with_its_file if each.file in files else partial(_apply, file=each.file))
        if change and held_up:
            # The order is there for a reason: what follows waits too.
            yield Change(Kind.LATER, str(each), held_up)
        elif change:
            if change.do:
                files.add(each.file)
            yield change
        if found and _is_put_to_sleep(each, found):
            detail = f"{BY_HAND}: spec.replicas is 0, from where no autoscaler wakes it up"
            yield Change(Kind.CHANGE, str(each), detail, do=partial(_wake, each=each))
        if found and found.added:
            yield _left(each, found)


def _change(each: Object, found: Found | None, do: Callable[[Context], None]) -> Change | None:
    look = (f"{' '.join(kubectl.KUBECTL)} diff --filename {each.file}",)
    if found is None:
        return Change(Kind.CREATE, str(each), each.file.name, mend=look, do=do)
    if found.unseen:
        # The others are applied all the same: what does not answer may be no business of theirs.
        return Change(Kind.LATER, str(each), f"{UNASKED} about it: {found.unseen}")
    if found.refused:
        return Change(Kind.REFUSED, str(each), found.refused, mend=tuple(_mends(each, found.refused)))
    if found.fields:
        why = BY_HAND if found.by_hand else each.file.name
        return Change(Kind.CHANGE, str(each), f"{why}: {found.differs}", mend=look, do=do)
    return None


def _is_put_to_sleep(each: Object, found: Found) -> bool:
    """Answer whether there is nothing of a workload whose manifest leaves it to an autoscaler how much there is.

    Of one that says how many, it is a field that differs. (Kubernetes, Horizontal Pod Autoscaling: at 0 it is off.)
    """
    if not each.pods or "replicas" in each.body["spec"]:
        return False
    return bool((found.body.get("spec") or {}).get("replicas") == 0)


def _mends(each: Object, why: str) -> Iterator[str]:
    if lacking := LACKS.search(why):
        yield f"{lacking['who']} may not {lacking['verb']} {lacking['what']}: be one of cluster.admins of the settings"
        return
    yield f"mend {each.file}"
    if IN_PLACE.search(why) and each.kind not in NEVER_DELETED:
        delete = [*kubectl.KUBECTL, "delete", each.resource, each.key[3]]
        delete += ["--namespace", each.key[2]] if each.key[2] else []
        # Its pods run on, and its successor takes them over.
        delete += ["--cascade=orphan"] if each.key[1] == "StatefulSet" else []
        yield f"or, as it cannot be changed in place, delete it first: {' '.join(delete)}"


def _left(each: Object, found: Found) -> Change:
    edit = [*kubectl.KUBECTL, "edit", each.resource, each.key[3]]
    edit += ["--namespace", each.key[2]] if each.key[2] else []
    detail = f"{BY_HAND}: {', '.join(found.added)}: in no manifest, so apply leaves it"
    return Change(Kind.NOTE, str(each), detail, mend=(f"take it out, or into {each.file}: {' '.join(edit)}",))


def _held_up(by: Object) -> str:
    group = by.key[0]
    brought = f"comes with step {BROUGHT_BY[group]}" if group in BROUGHT_BY else "is unknown to the cluster"
    return f"{by.file.name} goes first, and its kind {by.key[1]} {brought}"


def _removal(each: Object, facts: ApplicationFacts, keep: set[str]) -> Change:
    found = facts.found[each.key]
    if each.key in facts.stuck:
        return Change(Kind.NOTE, str(each), "nobody sees to its end: it goes with the cluster")
    if found.deleting:
        return Change(Kind.WAIT, str(each), "it is being deleted", expected_seconds=60)
    if KEPT_AS.get(each.kind) in keep:
        return Change(Kind.NOTE, str(each), "kept, and what it stands for")
    # A namespace takes its claims and snapshots with it.
    if each.kind == ("", "Namespace") and keep & set(KEPT_AS.values()) and each.key[3] in _with_claims(facts):
        return Change(Kind.NOTE, str(each), "kept, for its volumes and snapshots")
    return Change(Kind.DELETE, str(each), do=partial(_delete, each=each))


def _with_claims(facts: ApplicationFacts) -> set[str]:
    return {
        each.key[2]
        for each in facts.wanted
        if each.kind in KEPT_AS or (each.body.get("spec") or {}).get("volumeClaimTemplates")
    }


def _apply(context: Context, file: Path) -> None:
    # Not one object of it but all, client-side: by hand it is done so too, and both ways may follow each other.
    kubectl.answer_of(context, "apply", "--filename", str(file))


def _wake(context: Context, each: Object) -> None:
    # From one on the autoscaler sees to the rest.
    kubectl.answer_of(context, "scale", each.resource, each.key[3], "--namespace", each.key[2], "--replicas=1")


def _with_its_file(context: Context) -> None:
    """The change of an object whose file was just applied for another one in it."""


def _delete(context: Context, each: Object) -> None:
    _, _, namespace, name = each.key
    arguments = ["delete", each.resource, name, "--ignore-not-found", "--wait=false"]
    if namespace:
        arguments += ["--namespace", namespace]
    if each.pods:
        # It is there until its pods have ended: so it shows when their disks are free.
        arguments += ["--cascade=foreground"]
    kubectl.answer_of(context, *arguments)


DATABASE = Application("database", "PostgreSQL and its backups", DEPLOYMENT / "db")
API = Application("api", "API and worker, and the way to them from outside", DEPLOYMENT / "api")
MONITORING = Application(
    "monitoring",
    "Prometheus and what it scrapes, Alertmanager, Grafana",
    DEPLOYMENT / "monitoring" / "prometheus",
    DEPLOYMENT / "monitoring" / "grafana",
)
