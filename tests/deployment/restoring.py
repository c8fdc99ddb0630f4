"""A cluster whose database is lost, or about to be: set, pod, claim, disks, snapshots, jobs, as Kubernetes moves them.

What kubectl is asked is answered here, in this process. Time passes only while the tool sleeps, and with it pods end,
start and are ready, claims are bound and disks grow. A process may be killed before any change.
"""

import json
import subprocess
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import yaml

from comanda_deploy.context import Context
from comanda_testbed.bed import TestBed
from tests.deployment.account import MERCADO_PAGO, USUAL
from tests.deployment.in_cluster import InCluster

Json = dict[str, Any]
MANIFEST = Path(__file__).parents[2] / "infra" / "deployment" / "db" / "4-db-stateful-set.yaml"
NOW = datetime(2026, 11, 26, 14, 5, tzinfo=UTC)
SETTLED = {"payments": 3, "settled": 1, "recreated": 1, "cancelled": 1, "open": []}
PASSWORDS = ("API_A_PASSWORD", "API_B_PASSWORD", "OWNER_PASSWORD", "METRICS_PASSWORD", "SUPERUSER_PASSWORD")
STARTS_AFTER = 20
"""Seconds from a pod's making until it serves."""


class Killed(BaseException):
    """The operator's process is no more."""


def manifest_of_set(text: str = "") -> Json:
    """Answer the StatefulSet of a manifest, the published one if no text is given."""
    documents = yaml.safe_load_all(text or MANIFEST.read_text(encoding="utf-8"))
    found: Json = next(each for each in documents if each["kind"] == "StatefulSet")
    return found


def stamp(moment: datetime) -> str:
    """Answer a time as Kubernetes writes it."""
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


@dataclass
class Disk:
    """A volume: what is on it, and what becomes of it with its claim."""

    content: str
    policy: str = "Delete"
    size: str = "20Gi"


@dataclass
class Cluster:
    """What there is.

    Args:
        clients: of the account, by service, as `clients_of` makes them.
        kill_at: the number of the change before which the process is killed.
        ends_after: seconds until a pod that shall end has, None if its node does not answer.
        held: whether a finalizer that nobody takes away holds the claim. starts: whether a new pod comes to serve.
        grows: "online", "at start" or "never". settles: exit code, standard output and error of `settle-restored`.
        jobs: what became of a CronJob's work and what it said, by its name.
        down_until: as long as that the API server does not answer. passwords_in: what was on the disk whose users had
            their passwords set last.
    """

    bed: TestBed
    clients: dict[str, Any]
    now: datetime = NOW
    set: Json | None = field(default_factory=manifest_of_set)
    pod: Json | None = None
    claim: Json | None = None
    disks: dict[str, Disk] = field(default_factory=dict)
    snapshots: dict[str, Json] = field(default_factory=dict)
    contents: dict[str, Json] = field(default_factory=dict)
    jobs: dict[str, tuple[str, str]] = field(default_factory=dict)
    made: dict[str, str] = field(default_factory=dict)
    deployed: bool = True
    node_ready: bool = True
    ends_after: int | None = 3
    held: bool = False
    starts: bool = True
    grows: str = "online"
    settles: tuple[int, str, str] = (0, json.dumps(SETTLED), "")
    kill_at: int | None = None
    changes: int = 0
    down_until: datetime | None = None
    asked: list[list[str]] = field(default_factory=list)
    done: list[list[str]] = field(default_factory=list)
    number: int = 0
    passwords_in: str = ""

    def begin(self) -> None:
        """A database that serves, with one backup in the cluster, and its passwords in Secrets Manager."""
        self.jobs = {"database-backup": ("Complete", "made"), "database-drill": ("Complete", '{"rows": 7}\n')}
        self.snapshot("database-20261126-140000", NOW - timedelta(minutes=5), "snap-newest")
        self.move()
        self.now += timedelta(seconds=STARTS_AFTER)
        self.move()
        self.disks["pv-1"].content = "living"
        assert self.claim
        self.claim["metadata"]["creationTimestamp"] = stamp(NOW - timedelta(days=30))
        client, entries = self.clients["secretsmanager"], {each: f"of-{each}" for each in PASSWORDS}
        urls = {
            "DATABASE_URL": "postgresql://comanda_api_a:of-url@database.comanda-db.svc:5432/comanda",
            "MIGRATION_DATABASE_URL": "postgresql://comanda_owner:of-owner@database.comanda-db.svc:5432/comanda",
        }
        there = {each["Name"] for each in client.list_secrets()["SecretList"]}
        for name, values in (("comanda/db", entries), ("comanda/api", {**MERCADO_PAGO, **urls})):
            if name not in there:
                client.create_secret(Name=name, SecretString=json.dumps(values))

    def snapshot(self, name: str, taken: datetime, handle: str, *, size: str = "20Gi") -> None:
        """Let there be a backup that the cluster knows."""
        self.contents[f"of-{name}"] = {
            "metadata": {"name": f"of-{name}"},
            "spec": {"volumeSnapshotRef": {"name": name}},
            "status": {"snapshotHandle": handle},
        }
        self.snapshots[name] = {
            "metadata": {"name": name, "creationTimestamp": stamp(taken)},
            "spec": {
                "volumeSnapshotClassName": "comanda-database",
                "source": {"persistentVolumeClaimName": "data-database-0"},
            },
            "status": {
                "readyToUse": True,
                "boundVolumeSnapshotContentName": f"of-{name}",
                "creationTime": stamp(taken),
                "restoreSize": size,
            },
        }

    @property
    def content(self) -> str:
        """What the database serves, "" if it does not."""
        if not self.claim or not self.pod or not self._ready():
            return ""
        return self.disks[self.claim["spec"]["volumeName"]].content

    def context(self) -> Context:
        """Answer what a new run of the tool would have."""
        return InCluster(
            USUAL,
            self.bed.session(),
            clock=lambda: self.now,
            sleep=self.sleep,
            environment={},
            _clients={(name, False): client for name, client in self.clients.items()},
            cluster=self,
        )

    def sleep(self, seconds: float) -> None:
        """Let time pass."""
        self.now += timedelta(seconds=seconds)
        self.move()

    # How Kubernetes moves things

    def move(self) -> None:
        """Bring everything to where it is by now."""
        if self.pod and "deletionTimestamp" in self.pod["metadata"] and self.ends_after is not None:
            began = datetime.fromisoformat(self.pod["metadata"]["deletionTimestamp"])
            if self.now - began >= timedelta(seconds=self.ends_after):
                self.pod = None
        if self.set and self.set["spec"]["replicas"] and self.pod is None:
            self._make_pod()
        if self.set and not self.set["spec"]["replicas"] and self.pod:
            self.pod["metadata"].setdefault("deletionTimestamp", stamp(self.now))
        if self.pod and self.claim and self.starts and not self.pod["status"]:
            born = datetime.fromisoformat(self.pod["metadata"]["creationTimestamp"])
            if self.now - born >= timedelta(seconds=STARTS_AFTER):
                self._serve()
        for name, body in self.snapshots.items():
            content = (body.get("spec") or {}).get("source", {}).get("volumeSnapshotContentName")
            if content in self.contents and "status" not in body:
                handle = self.contents[content]["spec"]["source"]["snapshotHandle"]
                self.contents[content]["status"] = {"snapshotHandle": handle}
                status = {"boundVolumeSnapshotContentName": content, "restoreSize": "20Gi"}
                self.snapshots[name]["status"] = {**status, "readyToUse": True, "creationTime": stamp(self.now)}
        if self.set:
            self.set["status"] = {"readyReplicas": int(self._ready())}

    def _ready(self) -> bool:
        return bool(self.pod and self.pod["status"] and "deletionTimestamp" not in self.pod["metadata"])

    def _make_pod(self) -> None:
        assert self.set
        if self.claim is None:
            template = self.set["spec"]["volumeClaimTemplates"][0]
            self._make_claim({"metadata": {}, "spec": template["spec"]})
        node = {"nodeName": "node-1"}
        self.pod = {
            "metadata": {"name": "database-0", "creationTimestamp": stamp(self.now)},
            "spec": node,
            "status": {},
        }

    def _serve(self) -> None:
        assert self.pod
        assert self.claim
        if "volumeName" not in self.claim["spec"]:
            volume = f"pv-{len(self.disks) + 1}"
            source = self.claim["spec"].get("dataSource")
            self.disks[volume] = Disk(f"restored {source['name']}" if source else "empty")
            self.claim["spec"]["volumeName"] = volume
            self.claim["status"] = {"capacity": dict(self.claim["spec"]["resources"]["requests"])}
        if self._waits_for_start():
            self.claim["status"] = {"capacity": dict(self.claim["spec"]["resources"]["requests"])}
        ready = {"type": "Ready", "status": "True", "lastTransitionTime": stamp(self.now)}
        self.pod["status"] = {"conditions": [ready]}

    def _waits_for_start(self) -> bool:
        assert self.claim
        return bool((self.claim.get("status") or {}).get("conditions"))

    def _make_claim(self, body: Json) -> None:
        self.number += 1
        metadata = {**body["metadata"], "name": "data-database-0", "uid": f"claim-{self.number}"}
        metadata["creationTimestamp"] = stamp(self.now)
        self.claim = {"metadata": metadata, "spec": json.loads(json.dumps(body["spec"])), "status": {}}

    # What the tool asks

    def answer(self, arguments: list[str], standard_input: str | None) -> Any:
        """Answer a call of kubectl."""
        self.asked.append(arguments)
        if self.down_until and self.now < self.down_until:
            return failed("the connection to the server was refused")
        match arguments:
            case ["get", "volumesnapshots.snapshot.storage.k8s.io", "--namespace", *_]:
                return json.dumps({"items": list(self.snapshots.values())})
            case ["get", "volumesnapshotcontents.snapshot.storage.k8s.io", *_]:
                return json.dumps({"items": list(self.contents.values())})
            case ["get", "pods", *_]:
                return json.dumps({"items": self._pods(" ".join(arguments))})
            case ["get", "events", *_]:
                return "1m  Warning  FailedMount  pod/database-0  no such disk\n"
            case ["get", kind, name, *_]:
                found = self._found(kind, name)
                return json.dumps(found) if found else ""
            case ["logs", _, _, job, *_]:
                return self.jobs[self.made[job.removeprefix("job/")]][1]
            case ["rollout", "status", *_]:
                return "successfully rolled out\n"
        self.changes += 1
        if self.changes == self.kill_at:
            raise Killed
        self.done.append(arguments)
        found = self._change(arguments, standard_input or "")
        self.move()
        return found

    def _change(self, arguments: list[str], standard_input: str) -> Any:
        match arguments:
            case ["scale", "statefulset", "database", replicas, *_]:
                assert self.set
                self.set["spec"]["replicas"] = int(replicas.partition("=")[2])
            case ["delete", kind, *_]:
                self._delete(kind, arguments)
            case ["patch", kind, name, *_]:
                [patch] = [each.partition("=")[2] for each in arguments if each.startswith("--patch=")]
                self._patch(kind, name, json.loads(patch))
            case ["annotate", kind, _, note, *_]:
                self._annotate(kind, note)
            case ["apply", "--filename=-"]:
                self._apply(json.loads(standard_input))
            case ["apply", "--filename", file]:
                self.set = {**manifest_of_set(Path(file).read_text(encoding="utf-8")), "status": {}}
            case ["create", "job", name, *_, source]:
                cron = source.removeprefix("--from=cronjob/")
                if cron not in self.jobs:
                    return failed(f'Error from server (NotFound): cronjobs.batch "{cron}" not found')
                self.made[name] = cron
            case ["exec", "database-0", *_]:
                assert "ALTER ROLE comanda_api_a" in standard_input
                self.passwords_in = self.content
            case ["exec", "comanda-worker-1", *_]:
                return subprocess.CompletedProcess([], *self.settles)
            case _:
                assert arguments[:2] == ["rollout", "restart"], arguments
        return ""

    def _annotate(self, kind: str, note: str) -> None:
        body = self.set if kind == "statefulset" else self.claim
        assert body
        noted = body["metadata"].setdefault("annotations", {})
        name, _, value = note.partition("=")
        if note.endswith("-"):
            noted.pop(name.removesuffix("-"), None)
        else:
            noted[name] = value

    def _found(self, kind: str, name: str) -> Json | None:
        node = {"type": "Ready", "status": "True" if self.node_ready else "Unknown"}
        ended = self.jobs[self.made[name]][0] if kind == "job" else ""
        there: dict[str, Json | None] = {
            "statefulset": self.set,
            "pod": self.pod,
            "persistentvolumeclaim": self.claim,
            "node": {"metadata": {"name": "node-1"}, "status": {"conditions": [node]}},
            "persistentvolume": {"metadata": {"name": name}} if name in self.disks else None,
            "deployment": {"kind": "Deployment"} if self.deployed else None,
            "job": {"status": {"conditions": [{"type": ended, "status": "True"}] if ended else []}},
            "volumesnapshots.snapshot.storage.k8s.io": self.snapshots.get(name),
        }
        return there[kind]

    def _pods(self, asked: str) -> list[Json]:
        if "--selector=app.kubernetes.io/name=database " in asked:
            return [self.pod] if self.pod and self._ready() else []
        ready = {"conditions": [{"type": "Ready", "status": "True"}]}
        return [{"metadata": {"name": "comanda-worker-1"}, "status": ready}]

    def _delete(self, kind: str, arguments: list[str]) -> None:
        if kind == "job":
            del self.made[arguments[2]]
        elif kind == "statefulset":
            assert "--cascade=orphan" in arguments, "its pod would go with it"
            self.set = None
        elif kind == "persistentvolumeclaim":
            if not self.held:
                self._lose_claim()
        elif "--force" in arguments:
            self.pod = None
        elif self.pod:
            self.pod["metadata"]["deletionTimestamp"] = stamp(self.now)

    def _patch(self, kind: str, name: str, patch: Json) -> None:
        if kind == "persistentvolume":
            self.disks[name].policy = patch["spec"]["persistentVolumeReclaimPolicy"]
            return
        assert self.claim
        if "finalizers" in patch.get("metadata", {}):
            self._lose_claim()
            return
        requests = patch["spec"]["resources"]["requests"]
        self.claim["spec"]["resources"]["requests"] = requests
        if self.grows == "online":
            self.claim["status"] = {"capacity": dict(requests)}
        elif self.grows == "at start":
            self.claim["status"]["conditions"] = [{"type": "FileSystemResizePending", "status": "True"}]

    def _apply(self, body: Json) -> None:
        kind, name = body["kind"], body["metadata"]["name"]
        if kind == "VolumeSnapshot":
            self.snapshots.setdefault(name, body)
        elif kind == "VolumeSnapshotContent":
            self.contents.setdefault(name, body)
        elif self.claim is None:
            assert kind == "PersistentVolumeClaim"
            self._make_claim(body)

    def _lose_claim(self) -> None:
        volume = ((self.claim or {}).get("spec") or {}).get("volumeName")
        if volume in self.disks and self.disks[volume].policy == "Delete":
            del self.disks[volume]
        self.claim = None


def failed(text: str) -> subprocess.CompletedProcess[str]:
    """Answer what kubectl says of what went wrong."""
    return subprocess.CompletedProcess([], 1, "", f"{text}\n")
