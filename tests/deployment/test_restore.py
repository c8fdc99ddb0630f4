"""`db-restore`: the database comes back, its disk from before is never deleted, and nothing living is lost unasked.

The cluster is `restoring.Cluster`; that a real one does the same is shown by tests/cluster/comanda/test_backups.py.
"""

import json
import sys
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from botocore.exceptions import ClientError

from comanda.backups import back_up
from comanda_deploy import backups, commands, kubectl, lock, restore, rotation
from comanda_deploy.__main__ import main
from comanda_deploy.backups import snapshot_for
from comanda_deploy.database_state import Facts, serves_since
from comanda_deploy.errors import DeployError
from comanda_deploy.kubectl import is_ready
from comanda_deploy.status import restoring_of
from comanda_testbed.bed import TestBed
from tests.deployment.restoring import NOW, SETTLED, Cluster, Disk, Killed, failed, stamp

Said = pytest.CaptureFixture[str]
NEWEST, OLDER = "database-20261126-140000", "database-20261126-120000"
AGAIN = "infra/scripts/eks-cluster-mng.sh db-restore"


@pytest.fixture
def cluster(shared_bed: TestBed, clients: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    made = fresh(shared_bed, clients)
    use(monkeypatch, made)
    monkeypatch.setattr(kubectl, "reach", lambda _: None)
    yield made
    for each in clients["ec2"].describe_snapshots(OwnerIds=["self"])["Snapshots"]:
        clients["ec2"].delete_snapshot(SnapshotId=each["SnapshotId"])
    assert lock.holder_of(made.context()) is None, "the lock is free in every case"


def fresh(shared_bed: TestBed, clients: dict[str, Any]) -> Cluster:
    made = Cluster(shared_bed, clients)
    made.snapshot(OLDER, NOW - timedelta(minutes=125), "snap-older")
    made.begin()
    return made


def use(monkeypatch: pytest.MonkeyPatch, cluster: Cluster) -> None:
    monkeypatch.setattr(commands, "context_of", lambda _: cluster.context())


def lose(cluster: Cluster) -> None:
    """Take the pod and its disk away for good, as a wrong click does."""
    assert cluster.set
    cluster.set["spec"]["replicas"] = 0
    cluster.pod, cluster.claim = None, None
    cluster.disks.clear()
    cluster.move()


def does(*arguments: str) -> int:
    return main(["verb", "eks-cluster-mng.sh", "db-restore", *arguments])


def verbs(cluster: Cluster) -> list[str]:
    """What was changed, in order, in two words each."""
    return [" ".join(each[:2]) for each in cluster.done]


WHOLE = [
    "annotate statefulset",
    "scale statefulset",
    "patch persistentvolume",
    "delete persistentvolumeclaim",
    "apply --filename=-",
    "scale statefulset",
    "exec database-0",
    "rollout restart",
    "exec comanda-worker-1",
    "annotate statefulset",
    "create job",
    "delete job",
    "annotate persistentvolumeclaim",
]


# It comes back.


def test_a_lost_database_comes_back_as_it_was_backed_up(cluster: Cluster, capsys: Said) -> None:
    lose(cluster)
    assert does("--yes") == 0
    assert cluster.content == f"restored {NEWEST}"
    said = capsys.readouterr().out
    assert said.startswith(f"Restore {NEWEST} (snap-newest), 5 min old.\nGuests get 503 until it serves again.")
    for line in ("the database serves", "its users have the passwords of now", "API and worker are at it again"):
        assert f" s  {line}\n" in said
    assert said.endswith(
        "3 payments since: 1 settled, 1 of orders that the backup did not know, 1 cancelled, 0 kept. R$ 0,00 go back, "
        "as the worker asks for it.\n"
        "Next: comanda-deploy status\n"
    )


def test_what_it_does_is_done_in_an_order_in_which_nothing_can_be_lost(cluster: Cluster) -> None:
    assert does("--yes", "--replace-living") == 0
    assert verbs(cluster) == WHOLE, "the disk is to be kept before its claim goes; the note of it goes last of all"
    assert cluster.disks["pv-1"] == Disk("living", "Retain")
    assert cluster.content == cluster.passwords_in == f"restored {NEWEST}"
    assert cluster.claim
    assert cluster.claim["metadata"]["annotations"]["comanda/restored-from"] == NEWEST
    assert "comanda/restore-of" not in cluster.claim["metadata"]["annotations"]
    assert cluster.made == {}


def test_what_was_paid_between_the_backup_and_the_database_s_return_is_settled(cluster: Cluster) -> None:
    assert does("--yes", "--replace-living", "--lost", "keep") == 0
    [command] = [each for each in cluster.done if each[:2] == ["exec", "comanda-worker-1"]]
    assert cluster.pod
    assert command[command.index("--") + 1 :] == [
        *("comanda", "settle-restored", "--since", "2026-11-26T14:00:00+00:00"),
        *("--until", serves_since(cluster.pod), "--lost", "keep"),
    ]
    assert "--namespace comanda --container worker" in " ".join(command)


def test_as_a_document_it_is_one_and_the_rest_is_on_stderr(cluster: Cluster, capsys: Said) -> None:
    assert does("--yes", "--json", "--replace-living") == 0
    said = capsys.readouterr()
    document = json.loads(said.out)
    assert document.pop("seconds") > 0
    assert document == {
        "name": NEWEST,
        "taken": "2026-11-26T14:00:00+00:00",
        "snapshot": "snap-newest",
        "bytes": 20 << 30,
        "old_disk": "pv-1",
        "settled": SETTLED,
    }
    assert "The disk that is there now, pv-1, is kept and let go of." in said.err


@pytest.mark.parametrize(
    "chosen", [(OLDER,), ("snap-older",), ("--before", "2026-11-26T14:00:00Z"), ("--before", "2026-11-26T11:00-03:00")]
)
def test_another_backup_than_the_newest(cluster: Cluster, chosen: tuple[str, ...]) -> None:
    assert does(*chosen, "--yes", "--replace-living") == 0
    assert cluster.content == f"restored {OLDER}"


def test_a_set_at_zero_and_a_claim_that_has_no_disk_yet(cluster: Cluster, capsys: Said) -> None:
    lose(cluster)
    assert cluster.set
    cluster._make_claim({"metadata": {}, "spec": cluster.set["spec"]["volumeClaimTemplates"][0]["spec"]})
    assert does("--yes") == 0
    said = capsys.readouterr().out
    assert "The disk that is there now, not made yet, is kept" in said
    assert "its claim, without a disk, is gone" in said
    assert cluster.content == f"restored {NEWEST}"


def test_a_claim_whose_volume_object_is_gone(cluster: Cluster) -> None:
    cluster.disks.clear()
    assert does("--yes", "--replace-living") == 0
    assert "patch persistentvolume" not in verbs(cluster)


def test_a_snapshot_that_only_ebs_has_is_made_known_first(cluster: Cluster, capsys: Said) -> None:
    volume = cluster.clients["ec2"].create_volume(AvailabilityZone="sa-east-1a", Size=20)["VolumeId"]
    tags = {"Project": "comanda", "comanda/backup": "database", "Name": "comanda-db/database-20260101-120000"}
    specification = {"ResourceType": "snapshot", "Tags": [{"Key": k, "Value": v} for k, v in tags.items()]}
    made = cluster.clients["ec2"].create_snapshot(VolumeId=volume, TagSpecifications=[specification])
    cluster.snapshots.clear()
    cluster.contents.clear()
    assert does("--yes", "--replace-living", "--json") == 0
    said = capsys.readouterr()
    assert json.loads(said.out)["snapshot"] == made["SnapshotId"]
    assert "the cluster knows the snapshot" in said.err
    assert cluster.content == "restored database-20260101-120000"
    [content] = cluster.contents.values()
    assert content["spec"]["source"] == {"snapshotHandle": made["SnapshotId"]}
    assert content["spec"]["deletionPolicy"] == "Retain"


def test_a_snapshot_that_the_driver_does_not_take_is_said_and_no_claim_is_made(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch, capsys: Said
) -> None:
    known = cluster.context()
    [content, snapshot] = snapshot_for(backups.all_of(known)[0])
    assert content["spec"]["volumeSnapshotRef"]["name"] == snapshot["metadata"]["name"] == NEWEST
    from_ebs = backups.Backup("database-x", NOW, "snap-gone", 1, in_cluster=False)
    monkeypatch.setattr(backups, "all_of", lambda _: [from_ebs])
    monkeypatch.setattr(cluster, "_apply", lambda _: "")
    assert does("--yes", "--replace-living") == 1
    assert "waited 60 s for the cluster to know snap-gone, in vain." in capsys.readouterr().err
    assert cluster.claim is None
    assert cluster.disks["pv-1"].content == "living"


# It is refused.


def test_a_living_database_is_not_replaced_unless_that_is_said(cluster: Cluster, capsys: Said) -> None:
    assert does("--yes") == 1
    said = capsys.readouterr().err
    assert said == (
        f"eks-cluster-mng.sh: the database is alive. {NEWEST} is 5 min old: what came since would be on the old disk "
        "alone. If that is what you want, say --replace-living\n"
    )
    assert does(OLDER, "--yes") == 1
    assert f"{OLDER} is 2 h old" in capsys.readouterr().err
    assert cluster.done == []


def test_one_that_only_starts_again_is_waited_for_and_not_replaced(cluster: Cluster, capsys: Said) -> None:
    assert cluster.pod
    cluster.pod["status"] = {}
    cluster.pod["metadata"]["creationTimestamp"] = stamp(cluster.now)
    assert does("--yes") == 1
    said = capsys.readouterr()
    assert "its disk pv-1 is there: it may come back by itself, and lose nothing. Waiting 30 s for it." in said.out
    assert "the database is alive" in said.err
    assert cluster.done == []


def test_one_that_does_not_come_back_is_replaced_without_a_word_more(cluster: Cluster) -> None:
    assert cluster.pod
    cluster.pod["status"], cluster.starts = {}, False
    began = cluster.now
    assert does("--yes") == 1, "nor does the restored one start, here"
    assert cluster.done[0][0] == "annotate"
    assert cluster.now - began >= timedelta(seconds=30)


def test_one_that_lives_while_another_backup_is_half_restored_is_not_replaced_either(
    cluster: Cluster, capsys: Said
) -> None:
    cluster.settles = (1, "", "nobody answers")
    assert does("--yes", "--replace-living") == 1
    capsys.readouterr()
    cluster.done.clear()
    assert does(OLDER, "--yes") == 1
    assert "the database is alive" in capsys.readouterr().err, "guests have ordered since"
    assert cluster.done == []


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("database-x",), f"no backup is called database-x: there are 2, from {OLDER} to {NEWEST} (--list)"),
        (("--before", "2026-01-01T00:00:00Z"), "no backup is older than 2026-01-01 00:00:00+00:00: there are 2"),
    ],
)
def test_a_backup_that_is_not_there_is_said_before_anything_is_touched(
    cluster: Cluster, capsys: Said, arguments: tuple[str, ...], says: str
) -> None:
    assert does(*arguments, "--yes", "--replace-living") == 1
    assert says in capsys.readouterr().err
    cluster.snapshots.clear()
    assert does("--yes", "--replace-living") == 1
    assert (
        "there is no backup: neither a VolumeSnapshot in the cluster nor a snapshot in EBS" in capsys.readouterr().err
    )
    assert cluster.done == []


@pytest.mark.parametrize(
    ("text", "says"), [("yesterday", "yesterday is no time"), ("2026-11-26T14:05:00", "says no time zone")]
)
def test_a_time_that_is_none_is_a_wrong_call(cluster: Cluster, capsys: Said, text: str, says: str) -> None:
    with pytest.raises(SystemExit) as ended:
        does("--before", text)
    assert ended.value.code == 2
    assert says in capsys.readouterr().err


def test_without_a_set_the_verb_that_makes_one_is_named(cluster: Cluster, capsys: Said) -> None:
    cluster.set = None
    assert does("--yes") == 1
    said = capsys.readouterr().err
    assert "there is no StatefulSet to restore into: infra/scripts/eks-cluster-mng.sh deploy-database makes" in said
    assert "--replace-living" in said


def test_a_set_that_asks_for_no_disk_is_said_before_anything_is_touched(cluster: Cluster, capsys: Said) -> None:
    assert cluster.set
    del cluster.set["spec"]["volumeClaimTemplates"]
    assert does("--yes", "--replace-living") == 1
    assert "asks for no disk" in capsys.readouterr().err
    assert cluster.done == []


def test_another_operator_s_lock_is_respected(cluster: Cluster, capsys: Said) -> None:
    holder = lock.take(cluster.context(), "a deploy", stays=True)
    assert does("--yes", "--replace-living") == 1
    lock.release(cluster.context(), holder)
    assert "locked by" in capsys.readouterr().err
    assert cluster.done == []


def test_nobody_there_to_be_asked_is_no_yes(cluster: Cluster, monkeypatch: pytest.MonkeyPatch, capsys: Said) -> None:
    monkeypatch.setattr(sys.stdin, "isatty", lambda: False, raising=False)
    assert does("--replace-living", "--json") == 1
    said = capsys.readouterr()
    assert (said.out, cluster.done) == ("", [])
    assert "nobody is there to be asked: say --yes" in said.err


@pytest.mark.parametrize("change", ["it recovers", "another operator restores", "its claim is another"])
def test_what_has_changed_since_the_question_is_not_done_over(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch, capsys: Said, change: str
) -> None:
    assert cluster.pod
    assert cluster.claim
    status, cluster.pod["status"], cluster.starts = cluster.pod["status"], {}, False
    claim, pod = cluster.claim, cluster.pod

    def asked(*_: object) -> None:
        if change == "it recovers":
            pod["status"] = status
        elif change == "another operator restores":
            claim["metadata"]["annotations"] = {"comanda/restore-of": OLDER}
        else:
            claim["metadata"]["uid"] = "another"

    monkeypatch.setattr(restore, "confirm", asked)
    assert does() == 1
    assert "what there is of the database has changed meanwhile: say it again" in capsys.readouterr().err
    assert cluster.done == []


# What is in the way.


def test_a_pod_on_a_node_that_does_not_answer_is_not_waited_for(cluster: Cluster) -> None:
    cluster.ends_after, cluster.node_ready = None, False
    assert cluster.pod
    cluster.pod["status"] = {}
    began = cluster.now
    assert does("--yes", "--replace-living") == 0
    assert verbs(cluster)[1:4] == ["scale statefulset", "delete pod", "patch persistentvolume"]
    assert "--force" in cluster.done[2]
    assert cluster.now - began < timedelta(seconds=60)
    assert cluster.content == f"restored {NEWEST}"


def test_a_pod_that_ends_in_its_own_time_is_left_to_write_all_down(cluster: Cluster) -> None:
    cluster.ends_after = 119
    assert does("--yes", "--replace-living") == 0
    assert verbs(cluster) == WHOLE


def test_a_pod_that_outlives_its_grace_is_forced(cluster: Cluster) -> None:
    cluster.ends_after = 1000
    assert does("--yes", "--replace-living") == 0
    assert verbs(cluster)[2] == "delete pod"


def test_a_claim_that_a_finalizer_holds_is_freed_once_its_disk_is_kept(cluster: Cluster) -> None:
    cluster.held = True
    assert does("--yes", "--replace-living") == 0
    assert verbs(cluster)[2:5] == [
        "patch persistentvolume",
        "delete persistentvolumeclaim",
        "patch persistentvolumeclaim",
    ]
    assert cluster.disks["pv-1"] == Disk("living", "Retain")
    assert cluster.content == f"restored {NEWEST}"


def test_a_disk_on_which_the_database_does_not_start_is_said_with_why(cluster: Cluster, capsys: Said) -> None:
    cluster.starts = False
    assert does("--yes", "--replace-living") == 1
    said = capsys.readouterr().err
    assert "waited 600 s for the database to serve, in vain. 1m  Warning  FailedMount  pod/database-0" in said
    assert "\n  The disk from before is kept: pv-1.\n" in said
    assert said.endswith(f"go on with: {AGAIN} {NEWEST} --lost refund --yes\n")
    cluster.starts = True
    assert does(OLDER, "--yes") == 0, "another backup, then, and nobody must say that it lives: it does not"
    assert cluster.content == f"restored {OLDER}"


def test_without_the_api_it_is_said_which_verb_brings_it_and_again_it_goes_on(cluster: Cluster, capsys: Said) -> None:
    cluster.deployed = False
    assert does("--yes", "--replace-living", "--lost", "keep") == 1
    said = capsys.readouterr().err
    assert "the API is not deployed, and with it what settles payments: eks-cluster-mng.sh deploy-api" in said
    again = f"db-restore {NEWEST} --lost keep --yes"
    assert said.endswith(f" {again}\n")
    cluster.deployed = True
    cluster.done.clear()
    assert does(*again.split()[1:]) == 0
    assert verbs(cluster) == [WHOLE[0], *WHOLE[5:]]
    cluster.done.clear()
    assert does(*again.split()[1:]) == 1, "said once too often it restores nothing a second time"
    assert "the database is alive" in capsys.readouterr().err
    assert verbs(cluster) == []


def test_what_failed_before_the_old_disk_was_let_go_of_still_wants_to_be_told_so(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch, capsys: Said
) -> None:
    answer = cluster.answer

    def answered(arguments: list[str], standard_input: str | None) -> Any:
        return failed("error: no") if arguments[0] == "scale" else answer(arguments, standard_input)

    monkeypatch.setattr(cluster, "answer", answered)
    assert does("--yes", "--replace-living") == 1
    assert f"{AGAIN} {NEWEST} --lost refund --replace-living --yes" in capsys.readouterr().err


def test_pods_that_do_not_come_back_are_said(cluster: Cluster, monkeypatch: pytest.MonkeyPatch, capsys: Said) -> None:
    answer = cluster.answer

    def answered(arguments: list[str], standard_input: str | None) -> Any:
        if arguments[:3] == ["rollout", "status", "deployment/comanda-worker"]:
            return failed("error: timed out waiting")
        return answer(arguments, standard_input)

    monkeypatch.setattr(cluster, "answer", answered)
    assert does("--yes", "--replace-living") == 1
    assert "deployment/comanda-worker does not come back: error: timed out waiting" in capsys.readouterr().err


def test_secrets_manager_that_cannot_be_asked_is_said_with_how_it_goes_on(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch, capsys: Said
) -> None:
    def refused(_: object) -> None:
        raise ClientError({"Error": {"Code": "AccessDenied", "Message": "no"}}, "GetSecretValue")

    monkeypatch.setattr(rotation, "passwords_into_database", refused)
    assert does("--yes", "--replace-living") == 1
    said = capsys.readouterr().err
    assert "AWS does not allow GetSecretValue" in said
    assert "The disk from before is kept: pv-1.\n  Mend the cause, then go on with: " in said


# Money.


def test_what_is_not_settled_is_shown_and_the_same_command_goes_on(cluster: Cluster, capsys: Said) -> None:
    found = {**SETTLED, "open": [{"payment": "77", "why": "nobody answers"}]}
    cluster.settles = (1, json.dumps(found), "log\ncomanda: one is open\n")
    assert does("--yes", "--replace-living") == 1
    said = capsys.readouterr().err
    assert "payments since the backup are not all settled (comanda: one is open); open: " in said
    assert '[{"payment": "77", "why": "nobody answers"}]' in said
    cluster.settles = (0, json.dumps(SETTLED), "")
    cluster.done.clear()
    assert does("--yes") == 0
    said = capsys.readouterr().out
    assert "It was begun already: what is left of it is done.\n" in said
    assert "is kept and let go of" not in said
    assert verbs(cluster) == [WHOLE[0], *WHOLE[5:]], (
        "the disk that was restored is not restored again: guests have ordered since"
    )
    assert cluster.content == f"restored {NEWEST}"


def test_a_settling_that_says_nothing_is_not_believed(cluster: Cluster, capsys: Said) -> None:
    cluster.settles = (0, "", "command terminated")
    assert does("--yes", "--replace-living") == 1
    assert "payments since the backup are not all settled (command terminated)" in capsys.readouterr().err


def test_a_pod_that_is_lost_before_the_money_is_settled_is_said(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch, capsys: Said
) -> None:
    def lost(*_: object) -> None:
        cluster.pod = None

    monkeypatch.setattr(restore, "_restart", lost)
    assert does("--yes", "--replace-living") == 1
    said = capsys.readouterr().err
    assert "pod database-0 is gone again" in said
    assert "Mend the cause, then go on with" in said


def test_a_backup_that_is_not_made_at_the_end_is_made_by_the_same_command(cluster: Cluster, capsys: Said) -> None:
    cluster.jobs["database-backup"] = ("Failed", "EBS is slow\n")
    assert does("--yes", "--replace-living") == 1
    assert "EBS is slow" in capsys.readouterr().err
    cluster.jobs["database-backup"] = ("Complete", "made")
    assert does("--yes") == 0, "without a word of --replace-living, which would restore it anew"
    assert cluster.content == f"restored {NEWEST}"
    assert len(cluster.disks) == 2


@pytest.mark.parametrize("named", [(), (NEWEST,)])
def test_a_backup_that_is_pruned_meanwhile_does_not_keep_the_money_from_being_settled(
    cluster: Cluster, capsys: Said, named: tuple[str, ...]
) -> None:
    cluster.settles = (1, "", "")
    assert does("--yes", "--replace-living") == 1
    del cluster.snapshots[NEWEST]
    cluster.settles = (0, json.dumps(SETTLED), "")
    assert does(*named, "--yes") == 0
    assert f"Restore {NEWEST} (on the disk by now), " in capsys.readouterr().out
    [*_, command] = [each for each in cluster.done if each[:2] == ["exec", "comanda-worker-1"]]
    assert command[command.index("--since") + 1] == "2026-11-26T14:00:00+00:00"


# Killed.


@pytest.mark.parametrize("kind", ["living", "lost", "silent", "held"])
def test_killed_before_each_change_it_ends_well_and_no_old_disk_is_deleted(
    shared_bed: TestBed, clients: dict[str, Any], monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setattr(kubectl, "reach", lambda _: None)

    def begun() -> Cluster:
        made = fresh(shared_bed, clients)
        if kind == "lost":
            lose(made)
        made.held = kind == "held"
        made.ends_after = None if kind == "silent" else made.ends_after
        made.node_ready = kind != "silent"
        use(monkeypatch, made)
        return made

    cluster, kills = begun(), 0
    assert does("--yes", "--replace-living") == 0
    for number in range(1, cluster.changes + 1):
        cluster = begun()
        cluster.kill_at = number
        with pytest.raises(Killed):
            does("--yes", "--replace-living")
        cluster.kill_at, kills = None, kills + 1
        assert kind == "lost" or cluster.disks["pv-1"].content == "living"
        assert does("--yes", "--replace-living") == 0
        assert cluster.content == cluster.passwords_in == f"restored {NEWEST}"
        assert kind == "lost" or cluster.disks["pv-1"] == Disk("living", "Retain"), f"killed before change {number}"
        assert cluster.claim
        assert "comanda/restore-of" not in cluster.claim["metadata"]["annotations"]
        assert [each for each in verbs(cluster) if each == "exec comanda-worker-1"] != []
    assert kills > 8


# What is looked at.


@pytest.mark.parametrize(
    ("status", "metadata", "ready"),
    [
        ([("Ready", "True")], {}, True),
        ([("Initialized", "True"), ("Ready", "True")], {}, True),
        ([("Ready", "False")], {}, False),
        ([("Initialized", "True")], {}, False),
        ([], {}, False),
        (None, {}, False),
        ([("Ready", "True")], {"deletionTimestamp": stamp(NOW)}, False),
    ],
)
def test_a_pod_serves_that_is_ready_and_stays(
    status: list[tuple[str, str]] | None, metadata: dict[str, str], ready: bool
) -> None:
    body: dict[str, Any] = {"metadata": metadata}
    if status is not None:
        body["status"] = {"conditions": [{"type": kind, "status": value} for kind, value in status]}
    assert is_ready(body) is ready


def test_since_when_a_pod_serves() -> None:
    conditions = [{"type": "Initialized", "lastTransitionTime": "a"}, {"type": "Ready", "lastTransitionTime": "b"}]
    assert serves_since({"status": {"conditions": conditions}}) == "b"
    lacking: list[dict[str, Any] | None] = [None, {}, {"status": {}}, {"status": {"conditions": conditions[:1]}}]
    for without in lacking:
        with pytest.raises(DeployError, match="pod database-0 is gone again: kubectl get pods --namespace comanda-db"):
            serves_since(without)


def test_what_a_claim_says_of_a_restore() -> None:
    assert Facts(True, {}, False, None).under_way == ""
    assert Facts(True, {}, False, None).disk == ""
    assert Facts(True, {}, False, None).restored is None
    older = {"metadata": {"annotations": {"comanda/restore-of": "b"}}, "spec": {"volumeName": "pv-7"}}
    assert Facts(True, {}, False, older).under_way == "b"
    assert Facts(True, {}, False, older).disk == "pv-7"
    assert Facts(True, {}, False, older).restored is None, "it does not say of when"


@pytest.mark.parametrize(
    ("minutes", "said"), [(0, "0 min"), (119, "119 min"), (120, "2 h"), (47 * 60, "47 h"), (48 * 60, "2 days")]
)
def test_how_old_a_backup_is(minutes: int, said: str) -> None:
    of = backups.Backup("b", NOW - timedelta(minutes=minutes), "snap", 1, in_cluster=True)
    assert restore._age(NOW, of) == said


# What must not be guessed, nor forgotten.


def test_the_newest_of_an_empty_disk_is_not_taken_for_the_database(cluster: Cluster, capsys: Said) -> None:
    lose(cluster)
    assert cluster.set
    cluster.set["spec"]["replicas"] = 1
    cluster.move()
    cluster.snapshot("database-20261126-141500", cluster.now + timedelta(minutes=1), "snap-empty")
    cluster.sleep(600)
    assert does("--yes", "--replace-living") == 1
    said = capsys.readouterr().err
    assert "was begun empty" in said
    assert "database-20261126-141500, is of that disk" in said
    assert f"db-restore {NEWEST}" in said
    assert does(NEWEST, "--yes", "--replace-living") == 0
    assert cluster.content == f"restored {NEWEST}"


def test_what_an_earlier_restore_did_not_settle_the_next_one_does(cluster: Cluster) -> None:
    lose(cluster)
    cluster.settles = (1, json.dumps({"open": ["1"]}), "Mercado Pago is away")
    assert does(OLDER, "--yes") == 1
    lose(cluster)
    cluster.settles = (0, json.dumps(SETTLED), "")
    assert does(NEWEST, "--yes") == 0
    commands_ = [each for each in cluster.done if each[:2] == ["exec", "comanda-worker-1"]]
    moments = [each[each.index("--since") + 1] for each in commands_]
    assert len(set(moments)) == 1, "from the moment of the first, though the second backup is younger"
    assert does(NEWEST, "--yes", "--replace-living") == 0
    [*_, last] = [each for each in cluster.done if each[:2] == ["exec", "comanda-worker-1"]]
    assert last[last.index("--since") + 1] > moments[0], "it is settled now"


def test_a_disk_that_is_lost_while_it_is_restored_to_is_let_go_of(cluster: Cluster) -> None:
    lose(cluster)
    cluster.settles = (1, json.dumps({"open": ["1"]}), "Mercado Pago is away")
    assert does("--yes") == 1
    assert cluster.claim
    cluster.claim["status"] = {"phase": "Lost"}
    cluster.pod = None
    assert cluster.set
    cluster.set["spec"]["replicas"] = 0
    cluster.settles = (0, json.dumps(SETTLED), "")
    assert does("--yes") == 0
    assert cluster.content == f"restored {NEWEST}"


def test_what_is_left_of_a_restore_is_seen_by_whoever_comes_next(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch, capsys: Said
) -> None:
    monkeypatch.setattr(kubectl, "where", lambda _: kubectl.Where(True))
    assert restoring_of(cluster.context()) == ""
    lose(cluster)
    as_ever = cluster.settles
    cluster.settles = (1, "", "no answer")
    assert does("--yes") == 1
    assert restoring_of(cluster.context()) == "money that came since 2026-11-26 14:00:00 UTC is not settled"
    cluster.settles = as_ever
    cluster.jobs["database-backup"] = ("Failed", "EBS says no")
    assert does("--yes") == 1
    assert restoring_of(cluster.context()) == f"{NEWEST} is not restored to its end"
    cluster.jobs["database-backup"] = ("Complete", "")
    assert does("--yes") == 0
    assert restoring_of(cluster.context()) == ""
    cluster.down_until = cluster.now + timedelta(hours=1)
    assert restoring_of(cluster.context()).startswith("whether one has not come to its end cannot be asked: ")
    monkeypatch.setattr(kubectl, "where", lambda _: kubectl.Where(False))
    assert restoring_of(cluster.context()) == ""


def test_money_that_was_not_touched_is_shown() -> None:
    said = restore.in_words({"payments": 2, "refunds_owed_cents": 2590, "not_ours": [{"id": 7, "why": "another's"}]})
    assert "R$ 25,90 go back, as the worker asks for it." in said
    assert '"id": 7' in said
    assert "Mercado Pago's panel" in said


def test_the_job_of_the_backups_keeps_what_the_restore_marks() -> None:
    assert back_up.RESTORE_OF == backups.UNDER_WAY, "it prunes nothing that a disk is being made from"
