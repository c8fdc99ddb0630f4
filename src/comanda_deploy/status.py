"""How things are: health, drift, versions and the days that are left of them, and who is at work."""

import msgspec

from comanda_deploy import database_state, engine, kubectl, lock, manifests, registry, workloads
from comanda_deploy.context import Context
from comanda_deploy.errors import DeployError, NotFromHereError
from comanda_deploy.helm_release import UNASKED, UNASKED_HERE
from comanda_deploy.names import CLUSTER, REPOSITORY
from comanda_deploy.report import counts, described
from comanda_deploy.runbook import STEPS
from comanda_deploy.step import Kind
from comanda_deploy.steps.application import BY_HAND, DEPLOYMENT
from comanda_deploy.versions import lives


class Part(msgspec.Struct, frozen=True):
    """One part of the cluster: its status in AWS's word, its version, and what is wrong with it."""

    name: str
    status: str
    version: str
    issues: list[str] = []


class Version(msgspec.Struct, frozen=True):
    """How long a version is maintained: until a day, or, where nobody says one, in words."""

    what: str
    ends: str | None
    days_left: int | None
    said: str


class Images(msgspec.Struct, frozen=True):
    """Which image of ours the manifests name, which is the newest in the registry, and which runs.

    Args:
        newest: tag, digest and time, "" if there is none. running: each with its number of pods.
        unseen: why it could not be asked what runs.
    """

    named: list[str]
    newest: str
    running: list[str]
    unseen: str = ""


class Status(msgspec.Struct, frozen=True):
    """All of it.

    Args:
        drift: how many changes `apply` would make, by kind.
        by_hand: the objects in the cluster that somebody changed there, and in which fields.
        unseen: what could not be looked at from here, and why. unanswered: the cluster is why, and not this machine.
        restoring: what is left of a restore of the database that has not come to its end, "" if nothing is.
    """

    account: str
    region: str
    parts: list[Part]
    drift: dict[str, int]
    unseen: list[str]
    versions: list[Version]
    locked_by: str | None
    healthy: bool
    by_hand: list[str] = []
    images: Images | None = None
    unanswered: bool = False
    restoring: str = ""


def status_of(context: Context) -> Status:
    """Answer how things are; nothing is touched."""
    parts = engine.steadily(context, lambda: _parts(context))
    # Whether this machine's kubectl knows the cluster says nothing of the cluster.
    plans = engine.plan(context, [step for step in STEPS if step.name != "kubeconfig"])
    to_do = [change for each in plans for change in each.to_do]
    # Not to be known from here is no drift; to come after something else is.
    unseen = [change for change in to_do if change.kind is Kind.LATER and UNASKED in change.detail]
    drift = {kind: count for kind, count in counts(plans).items() if kind != "unchanged_steps"}
    drift[Kind.LATER] -= len(unseen)
    holder = lock.holder_of(context)
    by_hand = [
        f"{change.what}{change.detail.removeprefix(BY_HAND)}"
        for each in plans
        for change in each.changes
        if change.detail.startswith(BY_HAND)
    ]
    images = engine.steadily(context, lambda: _images(context))
    restoring = engine.steadily(context, lambda: restoring_of(context)) if images and not images.unseen else ""
    # That a tool is missing here says nothing of the cluster; that the cluster does not answer does.
    silent = [each for each in (*(change.detail for change in unseen), images.unseen if images else "") if each]
    unanswered = any(UNASKED_HERE not in each for each in silent)
    well = bool(parts) and all(part.status == "ACTIVE" and not part.issues for part in parts)
    return Status(
        account=context.account_id,
        region=context.region,
        parts=parts,
        drift=drift,
        unseen=[described(change) for change in unseen],
        versions=[
            Version(each.what, each.ends.isoformat() if each.ends else None, each.days_left, str(each))
            for each in lives(context)
        ],
        locked_by=str(holder) if holder else None,
        healthy=well and len(unseen) == len(to_do) and not unanswered and not by_hand and not restoring,
        by_hand=by_hand,
        images=images,
        unanswered=unanswered,
        restoring=restoring,
    )


def as_text(status: Status) -> str:
    """Answer it as a person reads it."""
    lines = [_in_words(status), f"Account {status.account}, region {status.region}"]
    if not status.parts:
        lines.append("There is no cluster. Next: comanda-deploy plan")
    for part in status.parts:
        lines.append(f"  {part.status:10} {part.name} {part.version}")
        lines += [f"             {issue}" for issue in part.issues]
    to_do = _to_do(status)
    made = {Kind.CREATE, Kind.CHANGE, Kind.DELETE}
    said = ", ".join(f"{count} to {kind}" if kind in made else f"{count} {kind}" for kind, count in to_do.items())
    lines.append(f"Drift: {said}. Next: comanda-deploy plan" if to_do else "Drift: none")
    if status.restoring:
        lines.append(f"Restore: {status.restoring}. Next: infra/scripts/eks-cluster-mng.sh db-restore")
    lines += [f"Changed by hand: {each}" for each in status.by_hand]
    lines += [f"Not looked at: {each}" for each in status.unseen]
    if status.images:
        lines += [f"Image named: {each}" for each in status.images.named]
        lines.append(f"Image newest: {status.images.newest or 'none was pushed yet'}")
        lines += [f"Image running: {each}" for each in status.images.running or [status.images.unseen or "none"]]
    lines += [f"{each.what}: {each.said}" for each in status.versions]
    lines.append(f"Locked by {status.locked_by}" if status.locked_by else "Not locked")
    return "\n".join(lines)


def restoring_of(context: Context) -> str:
    """Answer what is left of a restore, "" where nothing is."""
    if not kubectl.where(context).cluster:
        return ""
    try:
        facts = database_state.look(context)
    except DeployError as error:
        return f"whether one has not come to its end cannot be asked: {error}"
    if facts.unsettled:
        return f"money that came since {facts.unsettled:%Y-%m-%d %H:%M:%S} UTC is not settled"
    return f"{facts.under_way} is not restored to its end" if facts.under_way else ""


def _in_words(status: Status) -> str:
    """Answer the first line: whether all is well, or what is not."""
    wrong = [
        said
        for said, so in (
            ("there is no cluster", not status.parts),
            ("AWS says so", any(part.status != "ACTIVE" or part.issues for part in status.parts)),
            ("the cluster does not answer, or not all", status.unanswered),
            ("apply has something to do", bool(_to_do(status))),
            ("it was changed by hand", bool(status.by_hand)),
            ("a restore of the database has not come to its end", bool(status.restoring)),
        )
        if so
    ]
    if wrong:
        return f"Not well: {', '.join(wrong)}"
    return "Well, as far as can be seen from this machine" if status.unseen else "Well"


def _to_do(status: Status) -> dict[str, int]:
    return {kind: count for kind, count in status.drift.items() if count and kind != Kind.NOTE}


def _images(context: Context) -> Images | None:
    """Answer what is known of the images, None where no manifest names one."""
    named = list(dict.fromkeys(image for each in manifests.naming(DEPLOYMENT) for image in each.images))
    if not named:
        return None
    last = registry.newest(context)
    newest = f"{REPOSITORY}:{last.tag}@{last.digest}, pushed {last.pushed} UTC" if last else ""
    place, running, unseen = kubectl.where(context), [], ""
    try:
        if place.trouble:
            raise NotFromHereError(place.trouble)
        if place.cluster:
            for each in workloads.running(context):
                digest = f"@{each.digest}" if each.digest and "@" not in each.image else ""
                running.append(f"{each.image}{digest} in {each.pods} pods")
    except DeployError as error:
        unseen = f"{UNASKED_HERE if isinstance(error, NotFromHereError) else UNASKED}: {error}"
    return Images(named, newest, running, unseen)


def _parts(context: Context) -> list[Part]:
    if CLUSTER not in context.pages("eks", "list_clusters", "clusters"):
        return []
    eks = context.client("eks")
    cluster = eks.describe_cluster(name=CLUSTER)["cluster"]
    parts = [Part(f"cluster {CLUSTER}", cluster["status"], cluster["version"], _issues(cluster))]
    for name in context.pages("eks", "list_nodegroups", "nodegroups", clusterName=CLUSTER):
        group = eks.describe_nodegroup(clusterName=CLUSTER, nodegroupName=name)["nodegroup"]
        parts.append(Part(f"node group {name}", group["status"], group["version"], _issues(group)))
    for name in context.pages("eks", "list_addons", "addons", clusterName=CLUSTER):
        addon = eks.describe_addon(clusterName=CLUSTER, addonName=name)["addon"]
        parts.append(Part(f"add-on {name}", addon["status"], addon["addonVersion"], _issues(addon)))
    return parts


def _issues(thing: dict[str, dict[str, list[dict[str, str]]]]) -> list[str]:
    return [f"{each['code']}: {each['message']}" for each in thing.get("health", {}).get("issues", [])]
