"""One run makes one backup, waits for it, prunes what is old, reports; a killed one is made up for by the next."""

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from comanda.__main__ import main
from comanda.backups.back_up import BEING_DELETED, BackupFailed, Job, back_up, foretell
from comanda.backups.retention import Rule
from comanda.backups.snapshots import CLASS, CONTENTS, LABELS
from comanda.cluster import Cluster, ClusterError
from tests.backups.scene import CLAIM_PATH, NOW, OPERATIONS, SNAPSHOTS, Killed, Scene
from tests.tidy.sources import ROOT

RULE = Rule(timedelta(hours=24), timedelta(days=14))
TODAY = f"database-{NOW:%Y%m%d-%H%M%S}"
HOUR, DAY = timedelta(hours=1), timedelta(days=1)


def job(scene: Scene) -> Job:
    return Job(scene.cluster, RULE, scene.clock, scene.pause, scene.said.append)


def reported(scene: Scene) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(scene.server.objects[OPERATIONS]["data"]["backup.json"])
    return found


def killed_after(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let this process die as soon as its n-th request that changes something was carried out."""
    ask, left = Cluster.ask, [number]

    def dying(self: Cluster, method: str, *arguments: Any) -> Any:
        if method == "GET":
            return ask(self, method, *arguments)
        left[0] -= 1
        answer = ask(self, method, *arguments)
        if left[0] == 0:
            raise Killed
        return answer

    monkeypatch.setattr(Cluster, "ask", dying)


def test_a_backup_is_made_of_the_database_s_disk_and_waited_for(scene: Scene) -> None:
    made = back_up(job(scene))
    assert (made.name, made.taken, made.usable) == (TODAY, NOW, True)
    body = scene.snapshot(TODAY)
    assert body["spec"]["source"] == {"persistentVolumeClaimName": "data-database-0"}
    assert body["spec"]["volumeSnapshotClassName"] == CLASS
    assert body["metadata"]["labels"] == LABELS
    assert scene.now - NOW >= timedelta(seconds=20)
    assert reported(scene) == {
        "at": f"{scene.now:%Y-%m-%dT%H:%M:%SZ}",
        "success": True,
        "newest": "2026-11-26T12:00:00Z",
        "reason": "",
    }


def test_one_that_is_not_usable_yet_is_waited_for_and_no_other_made(scene: Scene) -> None:
    name = scene.add(timedelta(minutes=15), ready=False)
    scene.ready_after = timedelta(minutes=16)
    assert back_up(job(scene)).name == name
    assert scene.names() == {name}


def test_one_that_hangs_for_an_hour_is_given_up_and_another_made(scene: Scene) -> None:
    hung = scene.add(timedelta(minutes=61), ready=False)
    scene.ready_after = None
    scene.server.controllers.append(lambda: scene._ready(scene.snapshot(TODAY)) if TODAY in scene.names() else None)
    assert back_up(job(scene)).name == TODAY
    assert scene.names() == {hung, TODAY}


def test_one_of_the_disk_before_a_restore_is_not_waited_for(scene: Scene) -> None:
    """The disk was lost while it was copied: it is never done."""
    of_before = scene.add(timedelta(minutes=10), ready=False)
    scene.server.objects[CLAIM_PATH]["metadata"]["creationTimestamp"] = (
        f"{NOW - timedelta(minutes=5):%Y-%m-%dT%H:%M:%SZ}"
    )
    scene.ready_after = None
    scene.server.controllers.append(lambda: scene._ready(scene.snapshot(TODAY)) if TODAY in scene.names() else None)
    assert back_up(job(scene)).name == TODAY
    assert scene.names() == {of_before, TODAY}


def test_one_that_does_not_become_usable_is_said_with_the_driver_s_reason(scene: Scene) -> None:
    scene.pace = 20
    scene.ready_after, scene.error = None, "SnapshotLimitExceeded:\n too many"
    newest = scene.add(HOUR * 2)
    with pytest.raises(BackupFailed, match=f"{TODAY} is not usable after 8 min: SnapshotLimitExceeded: too many"):
        back_up(job(scene))
    assert scene.now - NOW < timedelta(minutes=9)
    assert reported(scene)["success"] is False
    assert reported(scene)["newest"] == scene.snapshot(newest)["status"]["creationTime"]
    assert "SnapshotLimitExceeded" in reported(scene)["reason"]


def test_what_is_old_is_pruned_although_no_new_one_could_be_made(scene: Scene) -> None:
    del scene.server.objects[CLAIM_PATH]
    old, newest = scene.add(DAY * 20), scene.add(DAY * 2)
    with pytest.raises(BackupFailed, match="there is no claim data-database-0"):
        back_up(job(scene))
    assert scene.names() == {newest}
    assert old not in scene.contents()


def test_one_that_is_deleted_while_it_is_waited_for_is_no_backup(scene: Scene) -> None:
    scene.ready_after = None

    def delete() -> None:
        if scene.now > NOW:
            scene.server.objects.pop(f"{SNAPSHOTS}/{TODAY}", None)

    scene.server.controllers.append(delete)
    with pytest.raises(BackupFailed, match=f"{TODAY} was deleted before it was usable"):
        back_up(job(scene))


def test_what_is_pruned_is_gone_in_ebs_too_and_nothing_else_is(scene: Scene) -> None:
    days = [scene.add(DAY * number + HOUR) for number in (1, 5, 13, 14, 15, 40)]
    second = scene.add(DAY * 5)
    others = [
        scene.add(DAY * 40, name="by-hand", labels={}),
        scene.add(DAY * 40, name="database-20260101-000000", cls="another-class"),
        scene.add(DAY * 41, name="before-an-upgrade"[:20], labels={"app.kubernetes.io/name": "x"}),
    ]
    back_up(job(scene))
    left = {*days[:3], *others, TODAY}
    assert scene.names() == left
    assert second not in left
    assert scene.contents() == left
    assert scene.in_ebs == {scene.content_of(name)["metadata"]["name"] for name in left}
    assert all(scene.content_of(name)["spec"]["deletionPolicy"] == "Retain" for name in left)


def test_the_one_that_is_being_restored_is_not_pruned_under_the_new_disk(scene: Scene) -> None:
    restored, other = scene.add(DAY * 40), scene.add(DAY * 41)
    claim = scene.server.objects[CLAIM_PATH]["metadata"]
    claim["annotations"] = {"comanda/restore-of": restored}
    assert f"keep {restored}: it is being restored" in foretell(job(scene))
    back_up(job(scene))
    assert scene.names() == {restored, TODAY}
    assert other not in scene.names()
    del claim["annotations"]["comanda/restore-of"]
    scene.now += DAY
    back_up(job(scene))
    assert restored not in scene.names(), "afterwards it goes by its age"


def test_a_second_run_at_once_changes_nothing_more(scene: Scene) -> None:
    scene.add(DAY * 40)
    back_up(job(scene))
    before = json.dumps(scene.server.objects[f"{SNAPSHOTS}/{TODAY}"])
    scene.now = NOW
    back_up(job(scene))
    assert scene.names() == {TODAY}
    assert json.dumps(scene.server.objects[f"{SNAPSHOTS}/{TODAY}"]) == before
    assert any("somebody else" in line for line in scene.said)


@pytest.mark.parametrize("at", range(1, 9))
def test_killed_after_any_of_its_changes_the_next_run_makes_up_for_it(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, at: int
) -> None:
    for number in (20, 30):
        scene.add(DAY * number)
    orphan = scene.add(DAY * 50)
    scene.forget_snapshot(orphan)
    with monkeypatch.context() as patched:
        killed_after(at, patched)
        with pytest.raises(Killed):
            back_up(job(scene))
    scene.pause(900)
    made = back_up(job(scene))
    assert scene.names() <= {TODAY, made.name}
    assert made.name in scene.names()
    assert scene.contents() == scene.names()
    assert len(scene.in_ebs) == len(scene.names())
    assert all(scene.content_of(name)["spec"]["deletionPolicy"] == "Retain" for name in scene.names())


def test_one_that_was_half_pruned_and_is_wanted_after_all_is_retained_again(scene: Scene) -> None:
    """The rule was made longer meanwhile, or what was newer is gone."""
    name = scene.add(DAY * 3)
    scene.content_of(name)["spec"]["deletionPolicy"] = "Delete"
    back_up(job(scene))
    assert scene.content_of(name)["spec"]["deletionPolicy"] == "Retain"


def test_contents_of_a_namespace_that_is_gone_go_by_age_also_if_nobody_told_them(scene: Scene) -> None:
    old, young, first = scene.add(DAY * 50), scene.add(HOUR), scene.add(DAY * 2)
    for name in (old, young, first):
        scene.forget_snapshot(name)
    # Its snapshot's finalizer was taken off by hand: the controller never saw it go.
    scene.content_of(old)["metadata"]["annotations"].pop(BEING_DELETED, None)
    back_up(job(scene))
    assert scene.contents() == {young, first, TODAY}
    assert len(scene.in_ebs) == 3


def test_a_content_that_is_just_being_made_known_is_nobody_s_left_over(scene: Scene) -> None:
    """`db-restore` makes the content first, of a snapshot of EBS that may be old, and then what names it."""
    name = scene.add(DAY * 50)
    content = scene.content_of(name)
    scene.forget_snapshot(name)
    del content["spec"]["volumeSnapshotRef"]["uid"]
    back_up(job(scene))
    assert name in scene.contents()


def test_what_is_left_of_one_that_was_made_known_again_does_not_take_its_snapshot_away(scene: Scene) -> None:
    """The namespace was deleted, and `db-restore` found the snapshot in EBS: two contents stand for it."""
    left_over = scene.add(DAY * 2, name="database-20261124-120001")
    content = scene.content_of(left_over)
    scene.forget_snapshot(left_over)
    again = scene.add(DAY * 2)
    scene.content_of(again)["status"]["snapshotHandle"] = content["status"]["snapshotHandle"]
    back_up(job(scene))
    assert {again, left_over} <= scene.contents()
    assert content["spec"]["deletionPolicy"] == "Retain"
    # Once it is pruned itself, nothing is left of either.
    scene.now += DAY * 13
    back_up(job(scene))
    scene.pause(900)
    back_up(job(scene))
    assert not {again, left_over} & scene.contents()


@pytest.mark.parametrize(
    ("field", "value"),
    [("driver", "other.csi"), ("volumeSnapshotClassName", "another"), ("volumeSnapshotRef", {"namespace": "x"})],
)
def test_contents_that_are_not_ours_are_not_touched(scene: Scene, field: str, value: Any) -> None:
    name = scene.add(DAY * 50)
    content = scene.content_of(name)
    scene.forget_snapshot(name)
    content["spec"][field] = {**content["spec"][field], **value} if isinstance(value, dict) else value
    back_up(job(scene))
    assert f"{CONTENTS}/{content['metadata']['name']}" in scene.server.objects


def test_what_cannot_be_pruned_is_named_and_the_rest_is_pruned(scene: Scene) -> None:
    stuck, gone = scene.add(DAY * 40), scene.add(DAY * 50)
    scene.server.forbidden.add(f"DELETE {SNAPSHOTS}/{stuck}")
    with pytest.raises(BackupFailed, match=f"pruning {stuck}: .* answered 403 Forbidden: not for you"):
        back_up(job(scene))
    assert scene.names() == {stuck, TODAY}
    assert gone not in scene.contents()
    assert reported(scene)["success"] is False
    assert reported(scene)["newest"] == "2026-11-26T12:00:00Z"


def test_without_the_namespace_of_the_api_the_backup_counts_and_that_is_said(scene: Scene) -> None:
    del scene.server.objects[OPERATIONS]
    assert back_up(job(scene)).name == TODAY
    assert any(line.startswith("metrics do not learn of it: ") and "404" in line for line in scene.said)


def test_an_api_server_that_is_away_for_a_moment_is_waited_for(scene: Scene) -> None:
    def away() -> None:
        waited = (scene.now - NOW).total_seconds()
        (scene.server.forbidden.add if 2 <= waited < 60 else scene.server.forbidden.discard)(CONTENTS)

    scene.server.controllers.append(away)
    pause = scene.pause

    def waiting(seconds: float) -> None:
        pause(seconds)
        away()

    assert back_up(Job(scene.cluster, RULE, scene.clock, waiting, scene.said.append)).name == TODAY
    assert scene.now - NOW >= timedelta(seconds=60)


def test_a_dry_run_says_it_all_and_does_none_of_it(scene: Scene) -> None:
    kept, old = scene.add(HOUR), scene.add(DAY * 40)
    orphan = scene.add(DAY * 41)
    scene.forget_snapshot(orphan)
    before = json.dumps(scene.server.objects)
    said = foretell(job(scene))
    assert said[0] == f"make {TODAY}"
    assert f"keep {kept}: younger than all are kept" in said
    assert f"prune {old}: old enough" in said
    assert any(line.startswith(f"prune {orphan}: old enough (only snapcontent-") for line in said)
    assert json.dumps(scene.server.objects) == before
    assert {method for method, _ in scene.server.asked} == {"GET"}
    scene.add(timedelta(minutes=5), ready=False)
    scene.ready_after = None
    assert foretell(job(scene))[0] == "wait for database-20261126-115500"


def test_a_cluster_that_answers_nonsense_is_a_line_and_no_traceback(scene: Scene) -> None:
    scene.server.broken.add(SNAPSHOTS)
    with pytest.raises(ClusterError, match="volumesnapshots: what the API server answers is no JSON"):
        foretell(job(scene))


@pytest.mark.parametrize("command", [["back-up"], ["back-up", "--dry-run"], ["drill"]])
def test_elsewhere_than_in_the_cluster_a_command_says_so(
    command: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(command) == 1
    assert "this is not a pod with a service account" in capsys.readouterr().err


def test_a_wrong_rule_stops_it_before_anything(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("KEEP_ALL_HOURS", "0")
    assert main(["back-up"]) == 2
    assert "KEEP_ALL_HOURS is not valid" in capsys.readouterr().err


def test_the_page_says_the_rule_that_the_manifest_has() -> None:
    manifest = Path(ROOT / "infra/deployment/db/6-db-backup.yaml").read_text(encoding="utf-8")
    page = Path(ROOT / "docs/backups.md").read_text(encoding="utf-8")
    assert 'value: "24"' in manifest
    assert 'value: "14"' in manifest
    assert "24 hours" in page
    assert "14 days" in page
