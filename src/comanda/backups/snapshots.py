"""The backups that there are: VolumeSnapshots of the database's disk, and what stands behind each in the cluster."""

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from comanda.cluster import Cluster, Json

GROUP = "apis/snapshot.storage.k8s.io/v1"
CONTENTS = f"/{GROUP}/volumesnapshotcontents"
CLAIM = "data-database-0"
"""What the database's disk is asked for by: Kubernetes' name for it, of the set `database`."""
CLASS = "comanda-database"
DRIVER = "ebs.csi.aws.com"
LABELS = {"app.kubernetes.io/name": "database-backup", "app.kubernetes.io/part-of": "comanda"}
NAMED = re.compile(r"database-\d{8}-\d{6}")
UNITS = {"": 1, "Ki": 1 << 10, "Mi": 1 << 20, "Gi": 1 << 30, "Ti": 1 << 40, "k": 10**3, "M": 10**6, "G": 10**9}
QUANTITY = re.compile(r"(\d+)(Ki|Mi|Gi|Ti|k|M|G|)")


@dataclass(frozen=True)
class Backup:
    """One backup, as the cluster knows it.

    Args:
        name: of its VolumeSnapshot. taken: the moment to which it goes back, or as long as nobody says, when it was
            asked for; aware, in UTC. usable: whether it can be restored.
        content: the VolumeSnapshotContent behind it, which stands for the snapshot in EBS; "" as long as there is none.
        doomed: whether what is behind it would go with it. disk: EBS's name of the disk, "" if unknown.
        alone: whether its VolumeSnapshot is gone, as after its namespace was deleted, and only the content is left.
        error: what the driver last complained of, "" if of nothing. size: of the disk that it wants, in bytes.
    """

    name: str
    taken: datetime
    usable: bool = True
    content: str = ""
    doomed: bool = False
    disk: str = ""
    alone: bool = False
    error: str = ""
    size: int = 0


def name_at(moment: datetime) -> str:
    """Answer what a backup that is asked for at a moment is called."""
    return f"database-{moment.astimezone(UTC):%Y%m%d-%H%M%S}"


def path_of(cluster: Cluster, name: str) -> str:
    """Answer where the API server has a backup's VolumeSnapshot."""
    return cluster.here(GROUP, f"volumesnapshots/{name}")


def restorable(cluster: Cluster) -> list[Backup]:
    """Answer the backups that can be restored by their names, the oldest first; nothing of what stands behind them.

    Raises:
        ClusterError: the cluster cannot be asked.
    """
    snapshots = cluster.items(cluster.here(GROUP, "volumesnapshots"))
    found = [_of_snapshot(each, {}) for each in snapshots if _is_ours(each) and not _goes(each)]
    return sorted((each for each in found if each.usable), key=lambda each: (each.taken, each.name))


def read(cluster: Cluster) -> list[Backup]:
    """Answer the backups, the oldest first. Snapshots that are not ours are none, nor is what is on its way out.

    Raises:
        ClusterError: the cluster cannot be asked.
    """
    # In this order: a snapshot that is made in between has a content that was not seen. The other way round its content
    # would be one whose snapshot is gone.
    contents = {each["metadata"]["name"]: each for each in cluster.items(CONTENTS)}
    snapshots = {each["metadata"]["name"]: each for each in cluster.items(cluster.here(GROUP, "volumesnapshots"))}
    ours = [each for each in snapshots.values() if _is_ours(each) and not _goes(each)]
    found = [_of_snapshot(each, contents) for each in ours]
    # What `db-restore` has made known again after its namespace was deleted stands behind two contents. The one that is
    # left over is no backup of its own: to prune it would be to take the snapshot from the other.
    behind = {_handle(contents.get(_bound(each)) or {}) for each in ours}
    found += [
        _of_content(each)
        for each in contents.values()
        if _was_ours(cluster, each)
        and not _goes(each)
        and each["spec"]["volumeSnapshotRef"]["name"] not in snapshots
        and _handle(each) not in behind - {""}
    ]
    return sorted(found, key=lambda each: (each.taken, each.name))


def in_bytes(quantity: str) -> int:
    """Answer a size as Kubernetes writes it, as "20Gi", in bytes (Kubernetes: resource.Quantity, whole numbers).

    Raises:
        ValueError: it is none.
    """
    parts = QUANTITY.fullmatch(quantity)
    if not parts:
        raise ValueError(f"{quantity} is no size of a disk")
    return int(parts[1]) * UNITS[parts[2]]


def moment(text: str) -> datetime:
    """Answer a time as Kubernetes writes it, aware, in UTC.

    Raises:
        ValueError: it is none.
    """
    return datetime.fromisoformat(text).astimezone(UTC)


def _is_ours(snapshot: Json) -> bool:
    labels = snapshot["metadata"].get("labels") or {}
    return LABELS.items() <= labels.items() and snapshot["spec"].get("volumeSnapshotClassName") == CLASS


def _was_ours(cluster: Cluster, content: Json) -> bool:
    """Answer whether a content was one of ours once: it has no labels, but says of which snapshot it was.

    One without an uid never was: somebody is just making it known, as `db-restore` does with a snapshot of EBS.
    """
    spec = content["spec"]
    of = spec["volumeSnapshotRef"]
    return bool(
        spec.get("driver") == DRIVER
        and spec.get("volumeSnapshotClassName") == CLASS
        and of.get("namespace") == cluster.namespace
        and NAMED.fullmatch(of.get("name", ""))
        and of.get("uid")
    )


def _goes(each: Json) -> bool:
    return "deletionTimestamp" in each["metadata"]


def _bound(snapshot: Json) -> str:
    return str((snapshot.get("status") or {}).get("boundVolumeSnapshotContentName") or "")


def _handle(content: Json) -> str:
    """Answer EBS's name of the snapshot that a content stands for, "" as long as there is none."""
    return str((content.get("status") or {}).get("snapshotHandle") or "")


def _of_snapshot(snapshot: Json, contents: dict[str, Json]) -> Backup:
    status = snapshot.get("status") or {}
    content = _bound(snapshot)
    behind = (contents.get(content) or {}).get("spec") or {}
    return Backup(
        name=snapshot["metadata"]["name"],
        taken=moment(status.get("creationTime") or snapshot["metadata"]["creationTimestamp"]),
        usable=status.get("readyToUse") is True and bool(content),
        content=content if behind else "",
        doomed=behind.get("deletionPolicy") == "Delete",
        disk=(behind.get("source") or {}).get("volumeHandle") or "",
        error=" ".join(str((status.get("error") or {}).get("message") or "").split()),
        size=in_bytes(status.get("restoreSize") or "0"),
    )


def _of_content(content: Json) -> Backup:
    status, spec = content.get("status") or {}, content["spec"]
    made = status.get("creationTime")
    # Nanoseconds since 1970 here, and a text in a VolumeSnapshot (external-snapshotter, types.go).
    taken = (
        datetime.fromtimestamp(0, UTC) + timedelta(microseconds=int(made) // 1000)
        if made
        else moment(content["metadata"]["creationTimestamp"])
    )
    return Backup(
        name=spec["volumeSnapshotRef"]["name"],
        taken=taken,
        usable=status.get("readyToUse") is True,
        content=content["metadata"]["name"],
        doomed=spec.get("deletionPolicy") == "Delete",
        disk=(spec.get("source") or {}).get("volumeHandle") or "",
        alone=True,
    )
