"""`comanda back-up`: one more backup, those that are too old pruned, and both reported.

With Kubernetes' rights alone. Each step looks at how things are first, so that a run goes on where a killed one ended:
a backup that is not usable yet is waited for and not made again, one that was half pruned is pruned or taken back.
"""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import timedelta

from comanda.backups import report, snapshots
from comanda.backups.report import BackupReport
from comanda.backups.retention import Rule, Verdict, judge
from comanda.backups.snapshots import CLAIM, CLASS, CONTENTS, GROUP, LABELS, Backup
from comanda.clock import Clock
from comanda.cluster import Cluster, ClusterError, Json, NotThere, Taken

READY_WITHIN = timedelta(minutes=8)
"""How long one run waits. EBS copies in the background, the first time all of the disk; the next run goes on."""
LOOKS_EVERY_SECONDS = 2
ON_ITS_WAY = timedelta(hours=1)
"""As long as that one that is not usable yet is waited for. Later it is given up, and another is made beside it."""
BEING_DELETED = "snapshot.storage.kubernetes.io/volumesnapshot-being-deleted"
"""Without it the driver does not delete what a content stands for (external-snapshotter, shouldDelete)."""

RESTORE_OF = "comanda/restore-of"
"""An annotation of the claim, until all of a restore is done: the backup that `db-restore` makes the disk from."""


@dataclass(frozen=True)
class Job:
    """What a backup is made with.

    Args:
        pause: waits, in seconds. say: prints a line.
    """

    cluster: Cluster
    rule: Rule
    clock: Clock
    pause: Callable[[float], None]
    say: Callable[[str], None]


class BackupFailed(Exception):
    """The backup was not made, or pruning failed; one line that says why."""


def back_up(job: Job) -> Backup:
    """Make a backup, wait until it can be restored, prune, and report. Pruned is also when there is no new backup.

    Returns:
        The backup.

    Raises:
        BackupFailed: what failed, and why.
    """
    failed, made = [], None
    try:
        made = _make(job)
        job.say(f"{made.name} goes back to {made.taken:%Y-%m-%d %H:%M:%S} UTC")
    except (ClusterError, BackupFailed) as error:
        failed.append(str(error))
    try:
        failed += _prune(job)
        newest = next(reversed(snapshots.restorable(job.cluster)), None)
    except ClusterError as error:
        failed.append(f"pruning: {error}")
        newest = made
    reason = "; ".join(failed)
    outcome = BackupReport(
        at=job.clock(), success=not failed, newest=newest.taken if newest else None, reason=reason[:1000]
    )
    if unheard := report.tell(job.cluster, outcome):
        job.say(unheard)
    if made is None or failed:
        raise BackupFailed(reason)
    return made


def foretell(job: Job) -> list[str]:
    """Answer what `back_up` would do, a line each. Changes nothing.

    Raises:
        ClusterError: the cluster cannot be asked.
    """
    backups = snapshots.read(job.cluster)
    on_its_way = _on_its_way(job, backups, _claim(job))
    first = f"wait for {on_its_way.name}" if on_its_way else f"make {snapshots.name_at(job.clock())}"
    return [first, *(_in_words(each) for each in _judged(job, backups))]


def _in_words(verdict: Verdict) -> str:
    backup = verdict.backup
    alone = f" (only {backup.content} is left of it)" if backup.alone else ""
    return f"{'keep' if verdict.keep else 'prune'} {backup.name}: {verdict.why}{alone}"


def _claim(job: Job) -> Json | None:
    return job.cluster.find(job.cluster.here("api/v1", f"persistentvolumeclaims/{CLAIM}"))


def _on_its_way(job: Job, backups: list[Backup], claim: Json | None) -> Backup | None:
    waiting = [each for each in backups if not each.usable and not each.alone]
    waiting = [each for each in waiting if job.clock() - each.taken < ON_ITS_WAY]
    if claim is not None:
        # One that is older than the claim is of the disk before: after a restore it may never be done.
        made = snapshots.moment(claim["metadata"]["creationTimestamp"])
        waiting = [each for each in waiting if each.taken >= made]
    return waiting[-1] if waiting else None


def _make(job: Job) -> Backup:
    claim = _claim(job)
    if claim is None:
        raise BackupFailed(f"there is no claim {CLAIM}: no database to make a backup of")
    waiting = _on_its_way(job, snapshots.read(job.cluster), claim)
    if waiting is None:
        name = snapshots.name_at(job.clock())
        try:
            job.cluster.ask("POST", job.cluster.here(GROUP, "volumesnapshots"), _asked_for(name))
        except Taken:
            job.say(f"{name} was asked for by somebody else in this second: that one will do")
    else:
        name = waiting.name
        job.say(f"{name} was asked for before and is not usable yet: no other beside it")
    return _wait(job, name)


def _asked_for(name: str) -> dict[str, object]:
    return {
        "apiVersion": "snapshot.storage.k8s.io/v1",
        "kind": "VolumeSnapshot",
        "metadata": {"name": name, "labels": LABELS},
        "spec": {"volumeSnapshotClassName": CLASS, "source": {"persistentVolumeClaimName": CLAIM}},
    }


def _wait(job: Job, name: str) -> Backup:
    deadline, trouble = job.clock() + READY_WITHIN, ""
    while True:
        try:
            found = next((each for each in snapshots.read(job.cluster) if each.name == name and not each.alone), None)
        except ClusterError as error:
            trouble = str(error)  # a minute without an API server is no reason to give up
        else:
            if found is None:
                raise BackupFailed(f"{name} was deleted before it was usable")
            if found.usable:
                return found
            trouble = found.error
        if job.clock() >= deadline:
            minutes = READY_WITHIN // timedelta(minutes=1)
            raise BackupFailed(f"{name} is not usable after {minutes} min: {trouble or 'the driver says nothing'}")
        job.pause(LOOKS_EVERY_SECONDS)


def _prune(job: Job) -> list[str]:
    """Prune what the rule does not keep; answer what failed. What could be pruned is."""
    failed, gone = [], 0
    for each in _judged(job, snapshots.read(job.cluster)):
        try:
            if not each.keep:
                _delete(job.cluster, each.backup)
                gone += 1
                job.say(_in_words(each))
            elif each.backup.doomed:
                # Somebody was killed between the two steps of a deletion, and it is wanted after all.
                _patch(job.cluster, each.backup, {"spec": {"deletionPolicy": "Retain"}})
                job.say(f"{each.backup.name} is kept after all")
        except ClusterError as error:
            failed.append(f"pruning {each.backup.name}: {error}")
    job.say(f"{gone} pruned")
    return failed


def _judged(job: Job, backups: list[Backup]) -> list[Verdict]:
    """Judge by the rule, but for the backup that is just being restored: a disk is not made of one that goes."""
    claim = _claim(job) or {}
    restored = (claim.get("metadata", {}).get("annotations") or {}).get(RESTORE_OF, "")
    return [
        replace(each, keep=True, why="it is being restored") if each.backup.name == restored else each
        for each in judge(backups, job.clock(), job.rule)
    ]


def _delete(cluster: Cluster, backup: Backup) -> None:
    """Delete a backup and what stands for it in EBS.

    Its class retains, so that no deleted namespace takes backups away: first the content is told to take the snapshot
    with it. Killed after that, the next run finds it as old as before and says the same once more.
    """
    if backup.alone:
        metadata = {"annotations": {BEING_DELETED: "yes"}}
        _patch(cluster, backup, {"metadata": metadata, "spec": {"deletionPolicy": "Delete"}})
        cluster.delete(f"{CONTENTS}/{backup.content}")
        return
    if backup.content:
        _patch(cluster, backup, {"spec": {"deletionPolicy": "Delete"}})
    cluster.delete(snapshots.path_of(cluster, backup.name))


def _patch(cluster: Cluster, backup: Backup, patch: dict[str, object]) -> None:
    # One that somebody else has deleted meanwhile needs none.
    with suppress(NotThere):
        cluster.ask("PATCH", f"{CONTENTS}/{backup.content}", patch)
