"""`comanda drill`: the newest backup, restored beside the living database, started, and compared with it.

A backup that was never restored is a hope. The restored server is a pod made of the PodTemplate `database-restored`
(infra/deployment/db/6-db-backup.yaml): its disk is an ephemeral volume, which Kubernetes makes of the snapshot with the
pod and takes away with it. So there is one thing to make and one to clean up; and it belongs to the pod of the drill:
Kubernetes cleans up even after a drill that was killed.
"""

import copy
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from comanda.backups import report, snapshots
from comanda.backups.report import DrillReport
from comanda.backups.snapshots import CLAIM, Backup
from comanda.clock import Clock
from comanda.cluster import Cluster, ClusterError, Json, Taken

POD = "database-restored"
VOLUME = "data"
RESTORED_CLAIM = f"{POD}-{VOLUME}"
"""What Kubernetes calls the claim of an ephemeral volume: pod's name, dash, volume's name."""
SERVER, JUDGE = "postgresql", "compare"
OLDEST = timedelta(hours=24)
"""A newest backup that is older than that is as bad as one that does not restore."""
ENDS_WITHIN = timedelta(minutes=22)
GONE_WITHIN = timedelta(minutes=3)
LOOKS_EVERY_SECONDS = 2
UNANSWERED = timedelta(minutes=2)
"""As long as that the API server may be away in the middle of a drill."""


class Red(Exception):
    """The drill failed; one line that says why."""


@dataclass(frozen=True)
class Owner:
    """The drill's own pod, to which the restored one belongs: its name and its uid."""

    name: str
    uid: str


@dataclass(frozen=True)
class Drill:
    """What a drill is made with.

    Args:
        pause: waits, in seconds. say: prints a line.
    """

    cluster: Cluster
    owner: Owner
    clock: Clock
    pause: Callable[[float], None]
    say: Callable[[str], None]


def read_owner(environment: Mapping[str, str]) -> Owner:
    """Read POD_NAME and POD_UID, which Kubernetes knows.

    Raises:
        ClusterError: one is missing.
    """
    owner = Owner(environment.get("POD_NAME", ""), environment.get("POD_UID", ""))
    if not owner.name or not owner.uid:
        raise ClusterError("POD_NAME and POD_UID are not set: it runs as the CronJob database-drill alone")
    return owner


def drill(run: Drill) -> Json:
    """Do it, clean up in any case, and report.

    Returns:
        What was found, for people and scripts.

    Raises:
        Red: why the backup does not count as one, or why it could not be found out.
    """
    began, backup, found, failed = run.clock(), None, {}, []
    try:
        _refuse_a_second(run)
    except (Red, ClusterError) as error:
        failed.append(str(error))
    else:
        try:
            _clean(run)
            backup = _choose(run)
            run.say(f"{backup.name} goes back to {backup.taken:%Y-%m-%d %H:%M:%S} UTC")
            _restore(run, backup)
            found = _wait(run)
        except (Red, ClusterError) as error:
            failed.append(str(error))
        finally:
            failed += _cleaned(run)
    reason = "; ".join(failed)
    seconds = round((run.clock() - began).total_seconds())
    name = backup.name if backup else ""
    outcome = DrillReport(at=run.clock(), success=not reason, seconds=seconds, backup=name, reason=reason[:1000])
    if unheard := report.tell(run.cluster, outcome):
        run.say(unheard)
    if reason:
        raise Red(reason)
    return {"outcome": "green", "backup": name, "seconds": seconds, **found}


def _refuse_a_second(run: Drill) -> None:
    """Two at once would take each other's pod away."""
    pod = run.cluster.find(_pods(run, POD))
    for owner in (pod or {}).get("metadata", {}).get("ownerReferences") or ():
        other = run.cluster.find(_pods(run, owner["name"])) if owner["uid"] != run.owner.uid else None
        if other and other["metadata"]["uid"] == owner["uid"] and _phase(other) in {"Pending", "Running"}:
            raise Red(f"another drill is at work: pod {owner['name']}")


def _choose(run: Drill) -> Backup:
    newest = next(reversed(snapshots.restorable(run.cluster)), None)
    if newest is None:
        raise Red("there is no backup that can be restored")
    age = run.clock() - newest.taken
    if age > OLDEST:
        raise Red(
            f"the newest backup, {newest.name}, is {age // timedelta(hours=1)} h old: look at CronJob database-backup"
        )
    return newest


def _restore(run: Drill, backup: Backup) -> None:
    template = run.cluster.ask("GET", run.cluster.here("api/v1", f"podtemplates/{POD}"))["template"]
    claim = run.cluster.find(run.cluster.here("api/v1", f"persistentvolumeclaims/{CLAIM}"))
    asked = claim["spec"]["resources"]["requests"]["storage"] if claim else "0"
    size = max(backup.size, snapshots.in_bytes(asked))
    try:
        run.cluster.ask("POST", _pods(run, ""), _pod_of(template, backup, size, run.owner))
    except Taken:
        raise Red(f"another drill made the pod {POD} in this moment") from None


def _pod_of(template: Json, backup: Backup, size: int, owner: Owner) -> Json:
    """Answer the pod: the template's, with the snapshot for its disk, and the moment that it is to be judged by.

    Args:
        size: of the disk, in bytes.
    """
    pod = copy.deepcopy(template)
    [claim] = [each["ephemeral"]["volumeClaimTemplate"] for each in pod["spec"]["volumes"] if each["name"] == VOLUME]
    claim["spec"]["resources"] = {"requests": {"storage": str(size)}}
    claim["spec"]["dataSource"] = {
        "apiGroup": "snapshot.storage.k8s.io",
        "kind": "VolumeSnapshot",
        "name": backup.name,
    }
    [judge] = [each for each in pod["spec"]["containers"] if each["name"] == JUDGE]
    judge["env"] = [*(judge.get("env") or []), {"name": "BACKUP_TAKEN", "value": backup.taken.isoformat()}]
    pod["metadata"] = {
        "name": POD,
        "labels": (pod.get("metadata") or {}).get("labels") or {},
        "ownerReferences": [{"apiVersion": "v1", "kind": "Pod", "name": owner.name, "uid": owner.uid}],
    }
    return {"apiVersion": "v1", "kind": "Pod", **pod}


def _wait(run: Drill) -> Json:
    deadline, answered = run.clock() + ENDS_WITHIN, run.clock()
    while True:
        try:
            pod = run.cluster.find(_pods(run, POD))
            answered = run.clock()
        except ClusterError:
            if run.clock() - answered > UNANSWERED:
                raise
        else:
            if pod is None:
                raise Red(f"the pod {POD} was deleted before it had an answer")
            if (found := _answer(pod)) is not None:
                return found
            if run.clock() >= deadline:
                raise Red(f"no answer after {ENDS_WITHIN // timedelta(minutes=1)} min: {_why(run, pod)}")
        run.pause(LOOKS_EVERY_SECONDS)


def _answer(pod: Json) -> Json | None:
    """Answer what the pod has found, None as long as it has not.

    Raises:
        Red: it has ended and found something wrong, or without having found anything.
    """
    ended = {each["name"]: (each.get("state") or {}).get("terminated") for each in _containers(pod)}
    judged = ended.get(JUDGE)
    if judged:
        return _judgement(judged)
    server = ended.get(SERVER)
    if server:
        raise Red(f"PostgreSQL does not run on the restored disk: {_ended(server)}")
    if _phase(pod) in {"Failed", "Succeeded"}:
        status = pod.get("status") or {}
        raise Red(f"the pod {POD} ended: {status.get('reason', '')} {status.get('message', '')}".strip())
    return None


def _judgement(ended: Json) -> Json:
    try:
        found: Json = json.loads(ended.get("message") or "")
        problems = [str(each) for each in found["problems"]]
    except (ValueError, KeyError, TypeError):
        raise Red(f"the comparison ended without a result: {_ended(ended)}") from None
    if problems:
        raise Red("; ".join(problems))
    if ended.get("exitCode") != 0:
        raise Red(f"the comparison failed: {_ended(ended)}")
    return {key: value for key, value in found.items() if key != "problems"}


def _ended(state: Json) -> str:
    said = " ".join(str(state.get("message") or state.get("reason") or "").split())
    return f"exit code {state.get('exitCode')}: {said[-500:]}"


def _why(run: Drill, pod: Json) -> str:
    """Answer what it waits for, as far as Kubernetes says."""
    said = list(_waits(pod))
    for name in (RESTORED_CLAIM, POD):
        selector = f"events?fieldSelector=involvedObject.name%3D{name}%2Ctype%3DWarning"
        events = run.cluster.items(run.cluster.here("api/v1", selector))
        said += [f"{name}: {each.get('message', '')}" for each in events[-1:]]
    return " ".join("; ".join(said).split())[:600] or "nobody says why"


def _waits(pod: Json) -> Iterator[str]:
    for each in (pod.get("status") or {}).get("conditions") or ():
        if each["type"] == "PodScheduled" and each["status"] != "True":
            yield str(each.get("message") or each.get("reason"))
    for each in _containers(pod):
        state: dict[str, Any] = each.get("state") or {}
        waiting = state.get("waiting")
        if waiting:
            yield f"{each['name']} waits: {waiting.get('reason', '')} {waiting.get('message', '')}".strip()
        elif "running" in state:
            yield f"{each['name']} runs"


def _cleaned(run: Drill) -> list[str]:
    """Clean up, and answer why it was in vain."""
    try:
        _clean(run)
    except (Red, ClusterError) as error:
        return [str(error)]
    return []


def _clean(run: Drill) -> None:
    """Take away what a drill leaves: the pod, and with it claim and disk, whose class deletes."""
    deadline = run.clock() + GONE_WITHIN
    paths = {
        POD: _pods(run, POD),
        RESTORED_CLAIM: run.cluster.here("api/v1", f"persistentvolumeclaims/{RESTORED_CLAIM}"),
    }
    while True:
        try:
            run.cluster.delete(_pods(run, POD))
            left = [name for name, path in paths.items() if run.cluster.find(path) is not None]
        except ClusterError:
            if run.clock() >= deadline:
                raise
            left = [*paths]
        if not left:
            return
        if run.clock() >= deadline:
            minutes = GONE_WITHIN // timedelta(minutes=1)
            raise Red(f"{' and '.join(left)} of a drill is still there after {minutes} min, though its pod was deleted")
        run.pause(LOOKS_EVERY_SECONDS)


def _pods(run: Drill, name: str) -> str:
    return run.cluster.here("api/v1", f"pods/{name}" if name else "pods")


def _phase(pod: Json) -> str:
    return str((pod.get("status") or {}).get("phase") or "Pending")


def _containers(pod: Json) -> list[Json]:
    found: list[Json] = (pod.get("status") or {}).get("containerStatuses") or []
    return found
