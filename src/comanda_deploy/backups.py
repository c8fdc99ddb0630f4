"""Which backups of the database there are, in the cluster and in AWS without it, and what Kubernetes is told of one."""

import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from comanda_deploy import kubectl
from comanda_deploy.aws_errors import explain
from comanda_deploy.context import Context
from comanda_deploy.errors import DeployError
from comanda_deploy.names import DATABASE_NAMESPACE, TAG, TAG_VALUE
from comanda_deploy.objects import Json, items

SNAPSHOTS = "volumesnapshots.snapshot.storage.k8s.io"
CONTENTS = "volumesnapshotcontents.snapshot.storage.k8s.io"
SNAPSHOT_CLASS = "comanda-database"
JOB = "database-backup"
"""The CronJob that makes them."""
LABEL = ("app.kubernetes.io/name", JOB)
NAMED = re.compile(r"database-\d{8}-\d{6}")
"""How the cluster's own backups are called: these are pruned by age, others are somebody's to delete."""
OF_KUBERNETES = re.compile(r"[a-z0-9]([-a-z0-9.]{0,200}[a-z0-9])?")
CLAIM = "data-database-0"
"""What the database's disk is asked for by."""
UNDER_WAY = "comanda/restore-of"
"""An annotation of that claim: the backup's name, from the claim's making until the money is settled."""
UNSETTLED = "comanda/unsettled-since"
"""An annotation of the set, which outlives every disk: from when on money is not yet settled with the provider."""
RESTORED_FROM = "comanda/restored-from"
"""The same, for good."""
TAKEN = "comanda/restored-to"
"""The moment of that backup: it may be pruned before the money is settled."""

TAKES_SECONDS = 600
"""How long a backup may take: EBS copies in the background, the first time all that the disk holds."""


@dataclass(frozen=True)
class Backup:
    """One backup of the database that can be restored.

    Args:
        name: of the VolumeSnapshot, or what one for it would be called.
        taken: when, aware, in UTC. handle: EBS's own name of it. size: of the disk that it wants, in bytes.
        in_cluster: whether the cluster has a VolumeSnapshot of it.
    """

    name: str
    taken: datetime
    handle: str
    size: int
    in_cluster: bool


def all_of(context: Context) -> list[Backup]:
    """Answer every backup, the newest first: those that the cluster knows, and those that only EBS still has.

    A cluster that was lost, or a namespace that was deleted, takes no snapshot of EBS with it. Where EBS cannot be
    asked that is said on stderr, and those that the cluster knows are answered.

    Raises:
        DeployError: the cluster cannot be asked; or it knows none, and EBS cannot be asked.
    """
    snapshots, contents = _asked(context)
    known = ready(snapshots, contents)
    try:
        in_ebs = in_aws(context)
    except (ClientError, BotoCoreError) as error:
        if not known:
            raise DeployError(f"the cluster knows no backup, and EBS cannot be asked: {explain(error)}") from error
        print(f"Only what the cluster knows: EBS cannot be asked ({explain(error)})", file=sys.stderr)
        in_ebs = []
    # One that the cluster has and that is not ready yet is so in a moment, and is not to be made known twice.
    names, handles = {each["metadata"]["name"] for each in snapshots}, {each.handle for each in known}
    found = [*known, *(each for each in in_ebs if each.handle not in handles and each.name not in names)]
    return sorted(found, key=lambda each: each.taken, reverse=True)


def in_cluster(context: Context) -> list[Backup]:
    """Answer the backups of which there is a VolumeSnapshot that is ready.

    Raises:
        DeployError: the cluster cannot be asked.
    """
    return ready(*_asked(context))


def ready(snapshots: Iterable[Json], contents: Iterable[Json]) -> list[Backup]:
    """Answer what can be restored of some VolumeSnapshots of the database's namespace.

    Args:
        snapshots: as the API server has them: also one that a person made of the database's disk, under its own name.
        contents: theirs, and maybe others.
    """
    handles = {each["metadata"]["name"]: (each.get("status") or {}).get("snapshotHandle", "") for each in contents}
    found = []
    for each in snapshots:
        status, spec, metadata = each.get("status") or {}, each["spec"], each["metadata"]
        handle = handles.get(status.get("boundVolumeSnapshotContentName", ""), "")
        if not status.get("readyToUse") or not handle or "deletionTimestamp" in metadata:
            continue
        of_disk = spec["source"].get("persistentVolumeClaimName", CLAIM) == CLAIM
        if spec.get("volumeSnapshotClassName") == SNAPSHOT_CLASS and of_disk:
            taken = datetime.fromisoformat(status.get("creationTime") or metadata["creationTimestamp"])
            size = in_bytes(status.get("restoreSize") or "0")
            found.append(Backup(metadata["name"], taken.astimezone(UTC), handle, size, in_cluster=True))
    return found


def in_aws(context: Context) -> list[Backup]:
    """Answer the snapshots of EBS that are complete and carry the tags of SNAPSHOT_CLASS.

    Raises:
        ClientError, BotoCoreError: EBS cannot be asked, or not by who asks.
    """
    wanted = {TAG: TAG_VALUE, "comanda/backup": "database"}
    filters = [{"Name": f"tag:{key}", "Values": [value]} for key, value in wanted.items()]
    found = context.pages("ec2", "describe_snapshots", "Snapshots", OwnerIds=["self"], Filters=filters)
    return [
        Backup(
            _name_in_cluster(each),
            each["StartTime"].astimezone(UTC),
            each["SnapshotId"],
            int(each["VolumeSize"]) << 30,
            in_cluster=False,
        )
        for each in found
        if each["State"] == "completed"
    ]


def chosen(backups: Sequence[Backup], *, name: str | None = None, before: datetime | None = None) -> Backup:
    """Answer the newest backup, or the one of a name, or the newest that is older than a moment.

    Args:
        backups: the newest first. name: of the VolumeSnapshot, or EBS's. before: aware.

    Raises:
        DeployError: there is none such; what there is.
    """
    if not backups:
        raise DeployError(
            "there is no backup: neither a VolumeSnapshot in the cluster nor a snapshot in EBS that carries "
            f"{TAG}={TAG_VALUE} and comanda/backup=database"
        )
    found = [
        each
        for each in backups
        if name in {None, each.name, each.handle} and (before is None or each.taken < before.astimezone(UTC))
    ]
    if found:
        return found[0]
    which = f"no backup is called {name}" if name else f"no backup is older than {before}"
    raise DeployError(f"{which}: there are {len(backups)}, from {backups[-1].name} to {backups[0].name} (--list)")


def as_json(backup: Backup) -> Mapping[str, Any]:
    """Answer a backup for scripts."""
    return {"name": backup.name, "taken": backup.taken.isoformat(), "snapshot": backup.handle, "bytes": backup.size}


def in_bytes(quantity: str) -> int:
    """Answer a quantity of Kubernetes in bytes, as "20Gi" (Kubernetes: resource.Quantity, without its fractions).

    Raises:
        ValueError: it is none of those that disks have.
    """
    for unit, factor in UNITS.items():
        if quantity.endswith(unit):
            return int(quantity.removesuffix(unit)) * factor
    return int(quantity)


def claim_for(backup: Backup, template: Json) -> Json:
    """Answer the claim that a backup is restored by: as the set would make it, from the snapshot, and large enough.

    Args:
        template: the set's volumeClaimTemplate.
    """
    spec = {**template["spec"]}
    asked = spec["resources"]["requests"]["storage"]
    if in_bytes(asked) < backup.size:
        asked = f"{-(-backup.size // (1 << 30))}Gi"
    spec["resources"] = {"requests": {"storage": asked}}
    spec["dataSource"] = {"apiGroup": "snapshot.storage.k8s.io", "kind": "VolumeSnapshot", "name": backup.name}
    metadata = {
        "name": CLAIM,
        "namespace": DATABASE_NAMESPACE,
        "labels": (template.get("metadata") or {}).get("labels") or {},
        "annotations": {UNDER_WAY: backup.name, RESTORED_FROM: backup.name, TAKEN: backup.taken.isoformat()},
    }
    return {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": metadata, "spec": spec}


def snapshot_for(backup: Backup) -> list[Json]:
    """Answer what a cluster comes to know a snapshot by that only EBS has (Kubernetes: pre-provisioned snapshots)."""
    label, value = LABEL
    # What carries the label is pruned by its age, with what is behind it.
    labels = {label: value, "app.kubernetes.io/part-of": "comanda"} if NAMED.fullmatch(backup.name) else {}
    metadata = {"name": backup.name, "labels": labels}
    content: Json = {
        "apiVersion": "snapshot.storage.k8s.io/v1",
        "kind": "VolumeSnapshotContent",
        "metadata": {**metadata, "name": f"{backup.name}-{backup.handle}"},
        "spec": {
            "deletionPolicy": "Retain",
            "driver": "ebs.csi.aws.com",
            "source": {"snapshotHandle": backup.handle},
            "volumeSnapshotClassName": SNAPSHOT_CLASS,
            "volumeSnapshotRef": {"name": backup.name, "namespace": DATABASE_NAMESPACE},
        },
    }
    snapshot: Json = {
        "apiVersion": "snapshot.storage.k8s.io/v1",
        "kind": "VolumeSnapshot",
        "metadata": {**metadata, "namespace": DATABASE_NAMESPACE},
        "spec": {
            "volumeSnapshotClassName": SNAPSHOT_CLASS,
            "source": {"volumeSnapshotContentName": content["metadata"]["name"]},
        },
    }
    return [content, snapshot]


UNITS = {"Ki": 1 << 10, "Mi": 1 << 20, "Gi": 1 << 30, "Ti": 1 << 40, "k": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}


def _asked(context: Context) -> tuple[list[Json], list[Json]]:
    # In this order, so that what is made in between is known with what stands behind it.
    found = kubectl.answer_of(context, "get", SNAPSHOTS, "--namespace", DATABASE_NAMESPACE, "--output", "json")
    return items(found), items(kubectl.answer_of(context, "get", CONTENTS, "--output", "json"))


def _name_in_cluster(snapshot: Json) -> str:
    """Answer what the cluster calls, or called, a snapshot of EBS: the class writes it into its tag Name."""
    name = next((each["Value"] for each in snapshot.get("Tags") or () if each["Key"] == "Name"), "")
    namespace, _, own = str(name).rpartition("/")
    if namespace == DATABASE_NAMESPACE and OF_KUBERNETES.fullmatch(own):
        return own
    return f"database-{snapshot['StartTime'].astimezone(UTC):%Y%m%d-%H%M%S}"
