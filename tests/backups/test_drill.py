"""The drill restores the newest backup beside the database, says what came of it, and leaves nothing behind."""

import json
from datetime import datetime, timedelta
from typing import Any

import pytest

from comanda.__main__ import main
from comanda.backups.drill import Drill, Owner, Red, drill, read_owner
from comanda.cluster import Cluster, ClusterError
from tests.api_server import Json
from tests.backups.scene import CLAIM_PATH, NOW, OPERATIONS, Killed, Scene
from tests.manifests.reading import of_kind

PODS = "/api/v1/namespaces/comanda-db/pods"
POD = f"{PODS}/database-restored"
CLAIM = "/api/v1/namespaces/comanda-db/persistentvolumeclaims/database-restored-data"
TEMPLATE = "/api/v1/namespaces/comanda-db/podtemplates/database-restored"
EVENTS = "/api/v1/namespaces/comanda-db/events"
OWNER = Owner("database-drill-1", "uid-of-drill")
GREEN = {"problems": [], "tables": 90, "rows": {"orders": 4}}
MINUTE = timedelta(minutes=1)


class Restoring:
    """The part of a cluster in which pods with a disk of their own come, run and go.

    Args:
        scene: the cluster.
    """

    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        self.made: list[Json] = []
        """Every pod that was made."""
        self.statuses: list[Json] = [ended(GREEN)]
        """What becomes of the pod, look by look; the last one stays."""
        self.stays = timedelta(seconds=6)
        """How long pod and claim take to be gone."""
        self._deleted = scene.now
        self._gone_at: datetime | None = None
        [template] = of_kind("PodTemplate")
        scene.server.objects[TEMPLATE] = template.body
        scene.server.objects[f"{PODS}/{OWNER.name}"] = {"metadata": {"name": OWNER.name, "uid": OWNER.uid}}
        scene.server.controllers.append(self._control)

    @property
    def run(self) -> Drill:
        """The drill."""
        return Drill(self.scene.cluster, OWNER, self.scene.clock, self.scene.pause, self.scene.said.append)

    @property
    def left(self) -> set[str]:
        """What of a drill is there."""
        return {POD, CLAIM} & self.scene.server.objects.keys()

    def reported(self) -> dict[str, Any]:
        """Answer what metrics are told."""
        found: dict[str, Any] = json.loads(self.scene.server.objects[OPERATIONS]["data"]["drill.json"])
        return found

    def _control(self) -> None:
        objects = self.scene.server.objects
        pod = objects.get(POD)
        if pod is not None and CLAIM not in objects:
            self.made.append(json.loads(json.dumps(pod)))
            pod["metadata"]["finalizers"] = ["its end takes a while"]
            objects[CLAIM] = {"metadata": {"name": "database-restored-data"}}
        if pod is None:
            return
        if "deletionTimestamp" in pod["metadata"]:
            self._gone_at = self._gone_at or self.scene.now + self.stays
            if self._gone_at <= self.scene.now:
                self._gone_at = None
                del objects[POD], objects[CLAIM]
            return
        pod["status"] = self.statuses[0]
        if len(self.statuses) > 1:
            self.statuses.pop(0)


def ended(found: object, code: int = 0) -> Json:
    message = found if isinstance(found, str) else json.dumps(found)
    return {
        "phase": "Running",
        "containerStatuses": [
            {"name": "postgresql", "state": {"running": {}}},
            {"name": "compare", "state": {"terminated": {"exitCode": code, "message": message}}},
        ],
    }


def waits(container: str, reason: str, message: str = "") -> Json:
    state = {"waiting": {"reason": reason, "message": message}}
    return {"phase": "Pending", "containerStatuses": [{"name": container, "state": state}]}


@pytest.fixture
def restoring(scene: Scene) -> Restoring:
    return Restoring(scene)


def test_the_newest_backup_is_restored_and_compared_and_nothing_is_left(scene: Scene, restoring: Restoring) -> None:
    scene.add(MINUTE * 20)
    name = scene.add(MINUTE * 5)
    scene.add(MINUTE, ready=False)
    restoring.statuses = [{"phase": "Pending"}, waits("compare", "ContainerCreating"), ended(GREEN)]
    scene.ready_after = None
    found = drill(restoring.run)
    assert found == {"outcome": "green", "backup": name, "seconds": 8, "tables": 90, "rows": {"orders": 4}}
    assert restoring.left == set()
    assert restoring.reported() == {
        "at": f"{scene.now:%Y-%m-%dT%H:%M:%SZ}",
        "success": True,
        "seconds": 8,
        "backup": name,
        "reason": "",
    }


def test_the_pod_is_the_template_s_with_the_snapshot_and_its_moment(scene: Scene, restoring: Restoring) -> None:
    name = scene.add(MINUTE * 5)
    drill(restoring.run)
    [pod] = restoring.made
    [template] = of_kind("PodTemplate")
    assert pod["metadata"] == {
        "name": "database-restored",
        "labels": template.pod["metadata"]["labels"],
        "ownerReferences": [{"apiVersion": "v1", "kind": "Pod", "name": OWNER.name, "uid": OWNER.uid}],
    }
    [disk] = [each for each in pod["spec"]["volumes"] if each["name"] == "data"]
    claim = disk["ephemeral"]["volumeClaimTemplate"]["spec"]
    assert claim["dataSource"] == {"apiGroup": "snapshot.storage.k8s.io", "kind": "VolumeSnapshot", "name": name}
    assert claim["resources"]["requests"]["storage"] == str(20 << 30)
    [judge] = [each for each in pod["spec"]["containers"] if each["name"] == "compare"]
    assert judge["env"] == [{"name": "BACKUP_TAKEN", "value": "2026-11-26T11:55:00+00:00"}]
    # But for these it is word for word what was reviewed.
    del claim["dataSource"], judge["env"]
    claim["resources"] = {"requests": {"storage": "20Gi"}}
    assert pod["spec"] == template.pod["spec"]


@pytest.mark.parametrize(
    ("asked", "size"), [("20Gi", 20 << 30), ("50Gi", 50 << 30), ("1Gi", 20 << 30), (None, 20 << 30)]
)
def test_the_disk_is_as_large_as_the_living_one_s_and_never_smaller_than_the_snapshot(
    scene: Scene, restoring: Restoring, asked: str | None, size: int
) -> None:
    scene.add(MINUTE)
    if asked is None:
        del scene.server.objects[CLAIM_PATH]
    else:
        scene.server.objects[CLAIM_PATH]["spec"]["resources"]["requests"]["storage"] = asked
    drill(restoring.run)
    [disk] = [each for each in restoring.made[0]["spec"]["volumes"] if each["name"] == "data"]
    assert disk["ephemeral"]["volumeClaimTemplate"]["spec"]["resources"]["requests"]["storage"] == str(size)


def red(restoring: Restoring, said: str) -> None:
    """Hold that it is red, for that reason; that metrics say so; that nothing is left."""
    with pytest.raises(Red, match=said):
        drill(restoring.run)
    assert restoring.reported()["success"] is False
    assert restoring.reported()["reason"]
    assert restoring.left == set()


def test_without_a_backup_it_is_red(restoring: Restoring) -> None:
    red(restoring, "there is no backup that can be restored")
    assert restoring.reported()["backup"] == ""


def test_with_none_but_an_old_one_it_is_red(scene: Scene, restoring: Restoring) -> None:
    scene.add(timedelta(hours=25))
    red(restoring, "the newest backup, database-20261125-110000, is 25 h old: look at CronJob database-backup")
    assert restoring.made == []


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (ended({"problems": ["table orders is damaged: x", "another"]}, 1), "^table orders is damaged: x; another$"),
        (ended("Traceback: no", 1), "the comparison ended without a result: exit code 1: Traceback: no"),
        (ended("", 137), "the comparison ended without a result: exit code 137"),
        (ended("{}", 0), "the comparison ended without a result"),
        (ended("[1]", 0), "the comparison ended without a result"),
        (ended(GREEN, 1), "the comparison failed: exit code 1"),
        (
            {
                "phase": "Running",
                "containerStatuses": [
                    {
                        "name": "postgresql",
                        "state": {"terminated": {"exitCode": 1, "message": "PANIC:\n no checkpoint"}},
                    },
                    {"name": "compare", "state": {"running": {}}},
                ],
            },
            "PostgreSQL does not run on the restored disk: exit code 1: PANIC: no checkpoint",
        ),
        (
            {"phase": "Failed", "reason": "Evicted", "message": "The node was low on memory"},
            "the pod database-restored ended: Evicted The node was low on memory",
        ),
    ],
)
def test_what_ends_ill_is_red_with_what_it_said(scene: Scene, restoring: Restoring, status: Json, said: str) -> None:
    scene.add(MINUTE)
    restoring.statuses = [status]
    red(restoring, said)


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (
            {
                "phase": "Pending",
                "conditions": [{"type": "PodScheduled", "status": "False", "message": "0/3 nodes have room"}],
            },
            "0/3 nodes have room; database-restored-data: snapshot not found",
        ),
        (waits("compare", "ImagePullBackOff", "no such image"), "compare waits: ImagePullBackOff no such image"),
        (
            {"phase": "Running", "containerStatuses": [{"name": "compare", "state": {"running": {}}}]},
            "compare runs; ",
        ),
    ],
)
def test_what_does_not_come_to_an_end_is_red_with_what_it_waits_for(
    scene: Scene, restoring: Restoring, status: Json, said: str
) -> None:
    scene.add(MINUTE)
    scene.pace = 30
    restoring.statuses = [status]
    scene.server.objects[f"{EVENTS}/1"] = {
        "metadata": {"name": "1"},
        "involvedObject": {"name": "database-restored-data"},
        "message": "snapshot not found",
    }
    red(restoring, f"no answer after 22 min: {said}")
    assert scene.now - NOW < timedelta(minutes=25), "within the job's own time"


def test_a_pod_that_somebody_deleted_is_red(scene: Scene, restoring: Restoring) -> None:
    scene.add(MINUTE)
    restoring.statuses = [{"phase": "Running"}]

    def delete() -> None:
        if scene.now > NOW:
            scene.server.objects.pop(POD, None)
            scene.server.objects.pop(CLAIM, None)

    scene.server.controllers.append(delete)
    red(restoring, "was deleted before it had an answer")


def test_what_a_drill_before_left_is_cleaned_up_first(scene: Scene, restoring: Restoring) -> None:
    scene.add(MINUTE)
    gone = {"name": "database-drill-0", "uid": "uid-of-another"}
    scene.server.objects[POD] = {"metadata": {"name": "database-restored", "ownerReferences": [gone]}}
    assert drill(restoring.run)["outcome"] == "green"
    assert len(restoring.made) == 2
    assert restoring.left == set()


@pytest.mark.parametrize("phase", ["Running", "Pending", "Succeeded", "Failed"])
def test_a_drill_that_is_at_work_is_left_alone_and_one_that_has_ended_is_not(
    scene: Scene, restoring: Restoring, phase: str
) -> None:
    scene.add(MINUTE)
    other = {"name": "database-drill-0", "uid": "uid-of-another"}
    scene.server.objects[f"{PODS}/database-drill-0"] = {"metadata": other, "status": {"phase": phase}}
    scene.server.objects[POD] = {"metadata": {"name": "database-restored", "ownerReferences": [other]}}
    if phase in {"Running", "Pending"}:
        with pytest.raises(Red, match="another drill is at work: pod database-drill-0"):
            drill(restoring.run)
        assert restoring.left == {POD, CLAIM}
        assert ("DELETE", POD) not in scene.server.asked
    else:
        assert drill(restoring.run)["outcome"] == "green"


def test_what_does_not_go_away_is_red_though_all_else_was_well(scene: Scene, restoring: Restoring) -> None:
    scene.add(MINUTE)
    scene.pace = 10
    restoring.stays = timedelta(hours=1)
    with pytest.raises(Red, match="database-restored and database-restored-data of a drill is still there after 3 min"):
        drill(restoring.run)
    assert restoring.reported()["success"] is False


def test_both_what_was_found_and_what_is_left_are_said(scene: Scene, restoring: Restoring) -> None:
    scene.add(MINUTE)
    scene.pace = 10
    restoring.stays = timedelta(hours=1)
    restoring.statuses = [ended({"problems": ["damaged"]}, 1)]
    with pytest.raises(Red, match=r"^damaged; database-restored and .* is still there"):
        drill(restoring.run)


@pytest.mark.parametrize("seconds", [60, 3600])
def test_an_api_server_that_is_away_for_a_minute_is_waited_for(
    scene: Scene, restoring: Restoring, seconds: int
) -> None:
    scene.add(MINUTE)
    restoring.statuses = [{"phase": "Running"}, {"phase": "Running"}, ended(GREEN)]
    pause = scene.pause

    def waiting(each: float) -> None:
        pause(each)
        away = 2 <= (scene.now - NOW).total_seconds() < seconds
        (scene.server.forbidden.add if away else scene.server.forbidden.discard)(POD)

    run = Drill(scene.cluster, OWNER, scene.clock, waiting, scene.said.append)
    if seconds == 60:
        assert drill(run)["outcome"] == "green"
    else:
        with pytest.raises(Red, match="answered 403"):
            drill(run)


@pytest.mark.parametrize("at", range(1, 22))
def test_killed_after_any_request_the_next_drill_leaves_nothing(
    scene: Scene, restoring: Restoring, monkeypatch: pytest.MonkeyPatch, at: int
) -> None:
    name = scene.add(MINUTE)
    with monkeypatch.context() as patched:
        _killed_after(at, patched)
        with pytest.raises(Killed):
            drill(restoring.run)
    restoring.statuses = [ended(GREEN)]
    run = Drill(scene.cluster, Owner("database-drill-2", "uid-2"), scene.clock, scene.pause, scene.said.append)
    # Kubernetes knows that the first one is no more.
    scene.server.objects[f"{PODS}/{OWNER.name}"]["status"] = {"phase": "Failed"}
    assert drill(run)["backup"] == name
    assert restoring.left == set()


def _killed_after(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let this process die at its n-th request, so that nothing that it would still do is done."""
    ask, left = Cluster.ask, [number]

    def dying(self: Cluster, *arguments: Any) -> Any:
        left[0] -= 1
        if left[0] < 0:
            raise Killed
        answer = ask(self, *arguments)
        if left[0] == 0:
            raise Killed
        return answer

    monkeypatch.setattr(Cluster, "ask", dying)


def test_without_the_namespace_of_the_api_it_counts_and_that_is_said(scene: Scene, restoring: Restoring) -> None:
    scene.add(MINUTE)
    del scene.server.objects[OPERATIONS]
    assert drill(restoring.run)["outcome"] == "green"
    assert any("metrics do not learn of it" in line for line in scene.said)


@pytest.mark.parametrize("environment", [{}, {"POD_NAME": "a"}, {"POD_UID": "a"}])
def test_elsewhere_than_as_its_job_it_says_so(environment: dict[str, str]) -> None:
    with pytest.raises(ClusterError, match="POD_NAME and POD_UID are not set"):
        read_owner(environment)


def test_it_prints_a_line_for_scripts_and_ends_as_it_went(
    scene: Scene, restoring: Restoring, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("POD_NAME", OWNER.name)
    monkeypatch.setenv("POD_UID", OWNER.uid)
    monkeypatch.setattr("comanda.cluster.of_this_pod", lambda _: scene.cluster)
    monkeypatch.setattr("comanda.__main__.utc_now", scene.clock)
    monkeypatch.setattr("time.sleep", scene.pause)
    monkeypatch.setattr("signal.signal", lambda *_: None)
    name = scene.add(MINUTE)
    assert main(["drill"]) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["backup"] == name
    restoring.statuses = [ended({"problems": ["damaged"]}, 1)]
    assert main(["drill"]) == 1
    assert capsys.readouterr().err == "comanda: red: damaged\n"
