"""A cluster with snapshots: what its snapshot controller and the disks' driver do, as far as a backup meets them."""

import itertools
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from comanda.backups.back_up import BEING_DELETED
from comanda.backups.snapshots import CLAIM, CLASS, CONTENTS, DRIVER, GROUP, LABELS
from comanda.cluster import Cluster
from tests.api_server import ApiServer, Json

NOW = datetime(2026, 11, 26, 12, 0, tzinfo=UTC)
SNAPSHOTS = f"/{GROUP}/namespaces/comanda-db/volumesnapshots"
CLAIM_PATH = f"/api/v1/namespaces/comanda-db/persistentvolumeclaims/{CLAIM}"
OPERATIONS = "/api/v1/namespaces/comanda/configmaps/comanda-operations"


class Killed(BaseException):
    """The process is no more."""


class Scene:
    """The cluster, a clock that goes on when somebody waits, and snapshots in EBS.

    Args:
        ready_after: how long EBS takes for a snapshot; None for ever.
    """

    def __init__(self, folder: Path) -> None:
        """Open it, with a database and nothing else."""
        self.server = ApiServer(folder, "comanda-db")
        self.server.objects |= {
            CLAIM_PATH: {
                "metadata": {"name": CLAIM, "creationTimestamp": "2026-09-01T12:00:00Z"},
                "spec": {"volumeName": "pv-1", "resources": {"requests": {"storage": "20Gi"}}},
            },
            OPERATIONS: {"metadata": {"name": "comanda-operations"}},
        }
        self.server.controllers.append(self._control)
        self.now = NOW
        self.said: list[str] = []
        self.ready_after: timedelta | None = timedelta(seconds=20)
        self.error = ""
        self.pace = 1
        """How much more time passes than somebody waits, where it is long."""
        self.in_ebs: set[str] = set()
        """The contents whose snapshot there is."""
        self._uids = itertools.count(1)
        self._known: set[str] = set()

    @property
    def cluster(self) -> Cluster:
        """As a pod of ours sees it."""
        return self.server.cluster

    def clock(self) -> datetime:
        """Answer the time."""
        return self.now

    def pause(self, seconds: float) -> None:
        """Let time pass."""
        self.now += timedelta(seconds=seconds * self.pace)

    def add(self, age: timedelta, **changed: Any) -> str:
        """Have a snapshot of ours that was made a while ago, ready; answer its name.

        Args:
            changed: `name`, `labels`, `cls` (its class), `ready`.
        """
        made = NOW - age
        name = changed.get("name") or f"database-{made:%Y%m%d-%H%M%S}"
        snapshot: Json = {
            "metadata": {
                "name": name,
                "namespace": "comanda-db",
                "labels": changed.get("labels", LABELS),
                "creationTimestamp": f"{made:%Y-%m-%dT%H:%M:%SZ}",
            },
            "spec": {
                "volumeSnapshotClassName": changed.get("cls", CLASS),
                "source": {"persistentVolumeClaimName": CLAIM},
            },
        }
        self._bind(snapshot)
        if changed.get("ready", True):
            self._ready(snapshot)
        self.server.objects[f"{SNAPSHOTS}/{name}"] = snapshot
        self._known.add(str(name))
        return str(name)

    def names(self) -> set[str]:
        """Answer the names of all VolumeSnapshots."""
        return self.server.names(SNAPSHOTS)

    def contents(self) -> set[str]:
        """Answer the names of the snapshots whose contents there are."""
        return {
            each["spec"]["volumeSnapshotRef"]["name"]
            for path, each in self.server.objects.items()
            if path.startswith(f"{CONTENTS}/")
        }

    def content_of(self, name: str) -> Json:
        """Answer the content of a snapshot."""
        [found] = [
            each
            for path, each in self.server.objects.items()
            if path.startswith(f"{CONTENTS}/") and each["spec"]["volumeSnapshotRef"]["name"] == name
        ]
        return found

    def snapshot(self, name: str) -> Json:
        """Answer a VolumeSnapshot."""
        return self.server.objects[f"{SNAPSHOTS}/{name}"]

    def forget_snapshot(self, name: str) -> None:
        """Let a VolumeSnapshot be gone as with its namespace: its content, retained, is told."""
        del self.server.objects[f"{SNAPSHOTS}/{name}"]
        self._control()

    def _bind(self, snapshot: Json) -> None:
        uid = f"uid-{next(self._uids)}"
        snapshot["metadata"].setdefault("creationTimestamp", f"{self.now:%Y-%m-%dT%H:%M:%SZ}")
        snapshot["metadata"]["uid"] = uid
        snapshot["status"] = {"boundVolumeSnapshotContentName": f"snapcontent-{uid}", "readyToUse": False}
        self.in_ebs.add(f"snapcontent-{uid}")
        self.server.objects[f"{CONTENTS}/snapcontent-{uid}"] = {
            "metadata": {
                "name": f"snapcontent-{uid}",
                "creationTimestamp": snapshot["metadata"]["creationTimestamp"],
                "finalizers": ["snapshot.storage.kubernetes.io/volumesnapshotcontent-bound-protection"],
            },
            "spec": {
                "deletionPolicy": "Retain",
                "driver": DRIVER,
                "source": {"volumeHandle": "vol-1"},
                "volumeSnapshotClassName": snapshot["spec"]["volumeSnapshotClassName"],
                "volumeSnapshotRef": {
                    "name": snapshot["metadata"]["name"],
                    "namespace": "comanda-db",
                    "uid": uid,
                },
            },
        }

    def _ready(self, snapshot: Json) -> None:
        made = datetime.fromisoformat(snapshot["metadata"]["creationTimestamp"])
        content = self.server.objects[f"{CONTENTS}/{snapshot['status']['boundVolumeSnapshotContentName']}"]
        snapshot["status"] |= {
            "readyToUse": True,
            "creationTime": snapshot["metadata"]["creationTimestamp"],
            "restoreSize": "20Gi",
        }
        content["status"] = {
            "readyToUse": True,
            "creationTime": int(made.timestamp()) * 10**9,
            "snapshotHandle": f"snap-{content['metadata']['name']}",
        }

    def _control(self) -> None:
        """As the snapshot controller and the driver's sidecar: bind, ready, and take away."""
        objects = self.server.objects
        for path, each in [*objects.items()]:
            if path.startswith(f"{SNAPSHOTS}/"):
                if "status" not in each:
                    self._bind(each)
                age = self.now - datetime.fromisoformat(each["metadata"]["creationTimestamp"])
                if self.error:
                    each["status"]["error"] = {"message": self.error}
                elif self.ready_after is not None and age >= self.ready_after and not each["status"]["readyToUse"]:
                    self._ready(each)
        names = self.names()
        for path, each in [*objects.items()]:
            if not path.startswith(f"{CONTENTS}/") or each["spec"]["volumeSnapshotRef"]["name"] in names:
                continue
            annotations = each["metadata"].setdefault("annotations", {})
            deletes = each["spec"]["deletionPolicy"] == "Delete"
            if each["spec"]["volumeSnapshotRef"]["name"] in self._known:
                annotations[BEING_DELETED] = "yes"
                if deletes:
                    each["metadata"]["deletionTimestamp"] = f"{self.now:%Y-%m-%dT%H:%M:%SZ}"
            if "deletionTimestamp" in each["metadata"]:
                del objects[path]
                if deletes and BEING_DELETED in annotations:
                    self.in_ebs.discard(path.rpartition("/")[2])
        self._known = names
