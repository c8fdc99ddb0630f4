"""`db-backup`, `db-drill`, and which backups there are: what can be restored is listed, and nothing else."""

import json
import re
from argparse import Namespace
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from comanda_deploy import backing_up, backups, commands, jobs, kubectl, waiting
from comanda_deploy.__main__ import main
from comanda_deploy.backups import Backup, as_json, chosen, claim_for, in_bytes, ready, snapshot_for
from comanda_deploy.errors import DeployError, NotFromHereError
from comanda_testbed.bed import TestBed
from comanda_testbed.faults import Fault
from tests.deployment.restoring import NOW, Cluster, manifest_of_set

Said = pytest.CaptureFixture[str]
GIB = 1 << 30


def backup(name: str, minutes_old: int, handle: str = "snap-0", **more: Any) -> Backup:
    return Backup(name, NOW - timedelta(minutes=minutes_old), handle, more.get("size", 20 * GIB), in_cluster=True)


@pytest.fixture
def cluster(shared_bed: TestBed, clients: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    made = Cluster(shared_bed, clients)
    made.begin()
    monkeypatch.setattr(kubectl, "reach", lambda _: None)
    monkeypatch.setattr(commands, "context_of", lambda _: made.context())
    yield made
    ec2 = clients["ec2"]
    for each in ec2.describe_snapshots(OwnerIds=["self"])["Snapshots"]:
        ec2.delete_snapshot(SnapshotId=each["SnapshotId"])
    shared_bed.faults.armed.clear()


def in_ebs(cluster: Cluster, name: str = "", **tags: str) -> str:
    """Let EBS have a snapshot with the class's tags, and answer its id."""
    ec2 = cluster.clients["ec2"]
    volume = ec2.create_volume(AvailabilityZone="sa-east-1a", Size=20)["VolumeId"]
    tags = {"Project": "comanda", "comanda/backup": "database", **({"Name": name} if name else {}), **tags}
    specification = {"ResourceType": "snapshot", "Tags": [{"Key": k, "Value": v} for k, v in tags.items()]}
    made = ec2.create_snapshot(VolumeId=volume, TagSpecifications=[specification])
    found: str = made["SnapshotId"]
    return found


def does(*arguments: str) -> int:
    return main(["verb", "eks-cluster-mng.sh", *arguments])


# Which can be restored.


def test_only_what_is_ready_and_of_the_database_s_disk_can_be_restored(cluster: Cluster) -> None:
    for name in ("not-ready", "going", "without-content", "of-another-class", "of-another-disk", "by-hand"):
        cluster.snapshot(name, NOW, f"snap-of-{name}", size="30Gi")
    bodies = cluster.snapshots
    bodies["not-ready"]["status"]["readyToUse"] = False
    bodies["going"]["metadata"]["deletionTimestamp"] = "2026-11-26T14:00:00Z"
    bodies["without-content"]["status"]["boundVolumeSnapshotContentName"] = "none"
    bodies["of-another-class"]["spec"]["volumeSnapshotClassName"] = "somebody's"
    bodies["of-another-disk"]["spec"]["source"] = {"persistentVolumeClaimName": "grafana"}
    bodies["without-status"] = {"metadata": {"name": "without-status"}, "spec": bodies["going"]["spec"]}
    found = ready(bodies.values(), cluster.contents.values())
    assert [(each.name, each.handle, each.size) for each in found] == [
        ("database-20261126-140000", "snap-newest", 20 * GIB),
        ("by-hand", "snap-of-by-hand", 30 * GIB),
    ]
    assert found[0].taken == NOW - timedelta(minutes=5)
    assert found[0].taken.tzinfo is UTC
    assert all(each.in_cluster for each in found)


def test_one_of_which_the_driver_says_neither_time_nor_size_is_restored_all_the_same(cluster: Cluster) -> None:
    [body] = cluster.snapshots.values()
    del body["status"]["creationTime"], body["status"]["restoreSize"]
    [found] = ready([body], cluster.contents.values())
    assert (found.taken, found.size) == (NOW - timedelta(minutes=5), 0)
    assert claim_for(found, template())["spec"]["resources"]["requests"]["storage"] == "20Gi"


def test_what_only_ebs_has_is_listed_by_the_name_that_the_cluster_gave_it(cluster: Cluster, capsys: Said) -> None:
    named = in_ebs(cluster, "comanda-db/database-20260101-120000")
    nameless = in_ebs(cluster)
    foreign = in_ebs(cluster, "elsewhere/x")
    in_ebs(cluster, Project="somebody's")
    assert does("db-restore", "--list") == 0
    lines = capsys.readouterr().out.splitlines()
    assert f"  20 GiB  {named}  in EBS alone" in next(each for each in lines if each.startswith("database-20260101-12"))
    for handle in (nameless, foreign):
        [line] = [each for each in lines if handle in each]
        assert line.startswith("database-20"), "its moment, where no name of ours is known"
    assert [each for each in lines if "alone" not in each] == [
        "database-20261126-140000  2026-11-26 14:00:00 UTC  20 GiB  snap-newest"
    ]
    assert len(lines) == 4
    assert does("db-restore", "--list", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    moments = [each["taken"] for each in found]
    assert moments == sorted(moments, reverse=True), "the newest first"
    assert {each["snapshot"] for each in found} == {named, nameless, foreign, "snap-newest"}


def test_one_that_the_cluster_has_is_listed_once_and_one_that_is_not_ready_there_not_at_all(cluster: Cluster) -> None:
    handle = in_ebs(cluster, "comanda-db/database-20261126-140000")
    in_ebs(cluster, "comanda-db/database-20261126-140500")
    cluster.contents["of-database-20261126-140000"]["status"]["snapshotHandle"] = handle
    cluster.snapshot("database-20261126-140500", NOW, "snap-x")
    cluster.snapshots["database-20261126-140500"]["status"]["readyToUse"] = False
    assert [(each.name, each.in_cluster) for each in backups.all_of(cluster.context())] == [
        ("database-20261126-140000", True)
    ]


def test_a_snapshot_of_ebs_that_is_still_being_made_is_none(cluster: Cluster) -> None:
    context = cluster.context()
    found = {"SnapshotId": "snap-1", "StartTime": NOW, "VolumeSize": 20, "Tags": []}
    context.pages = lambda *_, **__: [{**found, "State": "pending"}, {**found, "State": "completed"}]  # type: ignore[method-assign]
    [one] = backups.in_aws(context)
    assert (one.name, one.handle, one.size) == ("database-20261126-140500", "snap-1", 20 * GIB)


def test_where_ebs_cannot_be_asked_the_cluster_s_are_listed_and_that_is_said(cluster: Cluster, capsys: Said) -> None:
    cluster.bed.faults.arm(Fault("ec2:DescribeSnapshots", "UnauthorizedOperation", 403, times=2))
    assert does("db-restore", "--list") == 0
    said = capsys.readouterr()
    assert said.out.startswith("database-20261126-140000  ")
    assert "Only what the cluster knows: EBS cannot be asked (AWS does not allow DescribeSnapshots" in said.err
    cluster.snapshots.clear()
    assert does("db-restore", "--list") == 1, "that there is none nobody knows"
    assert "the cluster knows no backup, and EBS cannot be asked: AWS does not allow" in capsys.readouterr().err


def test_without_any_the_list_says_so(cluster: Cluster, capsys: Said) -> None:
    cluster.snapshots.clear()
    assert does("db-restore", "--list") == 0
    assert capsys.readouterr().out == "There is no backup.\n"
    assert does("db-restore", "--list", "--json") == 0
    assert json.loads(capsys.readouterr().out) == []


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ({}, "c"),
        ({"name": "a"}, "a"),
        ({"name": "snap-of-b"}, "b"),
        ({"before": NOW - timedelta(minutes=10)}, "b"),
        ({"before": NOW - timedelta(minutes=20)}, "a"),
        (
            {"before": (NOW - timedelta(minutes=15)).astimezone(datetime.fromisoformat("2026-01-01T00-03:00").tzinfo)},
            "b",
        ),
    ],
)
def test_the_newest_is_chosen_or_the_named_one_or_the_newest_before(wanted: dict[str, Any], found: str) -> None:
    known = [backup(name, age, f"snap-of-{name}") for name, age in (("c", 10), ("b", 20), ("a", 30))]
    assert chosen(known, **wanted).name == found


@pytest.mark.parametrize(
    ("known", "wanted", "says"),
    [
        (
            0,
            {},
            "there is no backup: neither a VolumeSnapshot in the cluster nor a snapshot in EBS that carries Project=",
        ),
        (2, {"name": "x"}, "no backup is called x: there are 2, from b1 to b0"),
        (2, {"before": NOW - timedelta(days=1)}, "no backup is older than 2026-11-25 14:05:00"),
    ],
)
def test_what_cannot_be_chosen_is_said_with_what_there_is(known: int, wanted: dict[str, Any], says: str) -> None:
    with pytest.raises(DeployError, match=re.escape(says)) as raised:
        chosen([backup(f"b{each}", each) for each in range(known)], **wanted)
    assert "\n" not in str(raised.value)


# What it is restored by.


def template() -> dict[str, Any]:
    found: dict[str, Any] = manifest_of_set()["spec"]["volumeClaimTemplates"][0]
    return found


def test_a_claim_is_as_the_set_would_make_it_from_the_snapshot() -> None:
    made, of = claim_for(backup("b", 5), template()), template()
    assert made["metadata"]["name"] == "data-database-0"
    assert made["metadata"]["namespace"] == "comanda-db"
    assert made["metadata"]["labels"] == of["metadata"]["labels"]
    assert made["metadata"]["annotations"] == {
        "comanda/restore-of": "b",
        "comanda/restored-from": "b",
        "comanda/restored-to": "2026-11-26T14:00:00+00:00",
    }
    source = {"apiGroup": "snapshot.storage.k8s.io", "kind": "VolumeSnapshot", "name": "b"}
    assert made["spec"] == {**of["spec"], "dataSource": source}
    assert "dataSource" not in of["spec"], "what was handed in stays as it is"


@pytest.mark.parametrize(
    ("size", "asks"), [(GIB, "20Gi"), (20 * GIB, "20Gi"), (20 * GIB + 1, "21Gi"), (64 * GIB, "64Gi"), (0, "20Gi")]
)
def test_a_claim_is_as_large_as_the_set_asks_and_as_the_backup_needs(size: int, asks: str) -> None:
    made = claim_for(backup("b", 5, size=size), {"spec": template()["spec"]})
    assert made["spec"]["resources"]["requests"] == {"storage": asks}
    assert made["metadata"]["labels"] == {}


def test_a_snapshot_that_only_ebs_has_is_made_known_in_two_halves_that_name_each_other() -> None:
    content, snapshot = snapshot_for(backup("database-20261126-140000", 5, "snap-1"))
    assert content["spec"]["source"] == {"snapshotHandle": "snap-1"}
    assert content["spec"]["deletionPolicy"] == "Retain"
    assert content["spec"]["volumeSnapshotRef"] == {"name": snapshot["metadata"]["name"], "namespace": "comanda-db"}
    assert snapshot["spec"]["source"] == {"volumeSnapshotContentName": content["metadata"]["name"]}
    assert snapshot["metadata"]["labels"]["app.kubernetes.io/name"] == "database-backup", "and is pruned in its time"


def test_one_that_a_person_made_is_never_pruned_for_having_been_restored() -> None:
    assert [each["metadata"]["labels"] for each in snapshot_for(backup("before-upgrade", 5))] == [{}, {}]


def test_a_backup_for_scripts() -> None:
    assert as_json(backup("b", 5, "snap-1")) == {
        "name": "b",
        "taken": "2026-11-26T14:00:00+00:00",
        "snapshot": "snap-1",
        "bytes": 20 * GIB,
    }


@pytest.mark.parametrize(
    ("text", "size"),
    [
        *(("0", 0), ("17", 17), ("1Ki", 1024), ("3Mi", 3 << 20), ("20Gi", 20 * GIB), ("2Ti", 2 << 40)),
        *(("5k", 5000), ("5M", 5 * 10**6), ("5G", 5 * 10**9), ("5T", 5 * 10**12)),
    ],
)
def test_a_size_of_kubernetes_in_bytes(text: str, size: int) -> None:
    assert in_bytes(text) == size


@pytest.mark.parametrize("text", ["", "Gi", "x", "100m", "1.5Gi", "5Pi"])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="invalid literal"):
        in_bytes(text)


# Now, instead of in a quarter of an hour, or on Sunday.


def test_a_backup_now_is_said_when_it_can_be_restored(cluster: Cluster, capsys: Said) -> None:
    assert does("db-backup") == 0
    assert capsys.readouterr().out == (
        "database-20261126-140000 of 2026-11-26 14:00:00 UTC, snap-newest\n"
        "Next: eks-cluster-mng.sh db-drill proves that it can be restored\n"
    )
    assert cluster.done[0][:2] == ["create", "job"]
    assert cluster.made == {}, "nothing of the job is left"
    assert does("db-backup", "--json") == 0
    assert json.loads(capsys.readouterr().out)["name"] == "database-20261126-140000"


def test_a_job_that_ends_well_without_a_backup_is_no_success(cluster: Cluster, capsys: Said) -> None:
    cluster.snapshots.clear()
    assert does("db-backup") == 1
    assert "the job ended well and there is no backup" in capsys.readouterr().err


def test_a_job_that_fails_is_shown_with_its_last_lines_and_stays(cluster: Cluster, capsys: Said) -> None:
    cluster.jobs["database-backup"] = ("Failed", "".join(f"line {each}\n" for each in range(12)))
    assert does("db-backup") == 1
    said = capsys.readouterr().err
    assert "job database-backup-by-hand-20261126140520 failed:\n    line 2\n" in said
    assert said.endswith("all of it: kubectl --namespace comanda-db logs job/database-backup-by-hand-20261126140520\n")
    assert len(cluster.made) == 1


def test_a_job_that_is_not_over_in_time_goes_on(cluster: Cluster, capsys: Said) -> None:
    cluster.jobs["database-backup"] = ("", "")
    assert does("db-backup") == 1
    assert "is not over after 600 s; it goes on: kubectl --namespace comanda-db logs" in capsys.readouterr().err


@pytest.mark.parametrize(("namespace", "verb"), [("comanda-db", "deploy-database"), ("comanda", "deploy-api")])
def test_without_the_cronjob_the_verb_that_makes_it_is_named(cluster: Cluster, namespace: str, verb: str) -> None:
    cluster.jobs.clear()
    with pytest.raises(DeployError, match=f"there is no CronJob {namespace}/x yet: run .*eks-cluster-mng.sh {verb}"):
        jobs.run(cluster.context(), namespace, "x", seconds=5)


def test_a_cluster_that_is_away_for_less_than_a_minute_ends_no_wait(cluster: Cluster, capsys: Said) -> None:
    cluster.jobs["database-backup"] = ("", "")
    ended = cluster.sleep

    def sleep(seconds: float) -> None:
        ended(seconds)
        if cluster.down_until is None:
            cluster.down_until = cluster.now + timedelta(seconds=50)
            cluster.jobs["database-backup"] = ("Complete", "made")

    cluster.sleep = sleep  # type: ignore[method-assign]
    assert does("db-backup") == 0
    assert "snap-newest" in capsys.readouterr().out


def test_a_cluster_that_stays_away_is_said_after_a_minute(cluster: Cluster) -> None:
    cluster.down_until = cluster.now + timedelta(hours=1)
    context, began = cluster.context(), cluster.now
    with pytest.raises(DeployError, match="connection to the server was refused"):
        waiting.until(context, lambda: bool(kubectl.one(context, "pod", "x")), 600)
    assert cluster.now - began == timedelta(seconds=60)
    with pytest.raises(DeployError, match="connection to the server was refused"):
        waiting.until(context, lambda: bool(kubectl.one(context, "pod", "x")), 10)
    assert cluster.now - began == timedelta(seconds=70), "nor longer than the wait itself"


def test_a_machine_without_kubectl_is_not_waited_for(cluster: Cluster) -> None:
    def missing() -> bool:
        raise NotFromHereError("kubectl is not installed")

    began = cluster.now
    with pytest.raises(NotFromHereError):
        waiting.until(cluster.context(), missing, 600)
    assert cluster.now == began


def test_what_is_left_of_a_job_that_cannot_be_deleted_is_no_failure(cluster: Cluster) -> None:
    change = cluster._change

    def refusing(arguments: list[str], standard_input: str) -> Any:
        if arguments[:2] == ["delete", "job"]:
            raise DeployError("kubectl delete failed: no")
        return change(arguments, standard_input)

    cluster._change = refusing  # type: ignore[method-assign]
    assert jobs.run(cluster.context(), "comanda-db", "database-backup", seconds=5) == "made"


def test_a_drill_says_its_last_line(cluster: Cluster, capsys: Said) -> None:
    cluster.jobs["database-drill"] = ("Complete", 'restored\n{"rows": 7}\n')
    assert does("db-drill") == 0
    assert capsys.readouterr().out == (
        '{"rows": 7}\nGreen, after 0 s. Next: nothing; it comes by itself every week (docs/backups.md)\n'
    )
    assert does("db-drill", "--json") == 0
    assert json.loads(capsys.readouterr().out) == {"outcome": "green", "seconds": 0, "said": {"rows": 7}}


@pytest.mark.parametrize(("log", "said"), [("green\n", "green"), ("", "")])
def test_a_drill_whose_log_is_no_document_is_green_all_the_same(
    cluster: Cluster, capsys: Said, log: str, said: str
) -> None:
    cluster.jobs["database-drill"] = ("Complete", log)
    assert does("db-drill", "--json") == 0
    assert json.loads(capsys.readouterr().out)["said"] == said


def test_a_red_drill_is_exit_code_1_with_the_reason(cluster: Cluster, capsys: Said) -> None:
    cluster.jobs["database-drill"] = ("Failed", "red: the newest backup is 30 h old\n")
    assert does("db-drill", "--json") == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert "    red: the newest backup is 30 h old\n" in said.err


@pytest.mark.parametrize("verb", ["db-backup", "db-restore", "db-drill", "db-grow 40Gi"])
def test_without_a_cluster_each_verb_names_the_one_that_makes_it(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch, capsys: Said, verb: str
) -> None:
    monkeypatch.undo()
    context = cluster.context()
    monkeypatch.setattr(commands, "context_of", lambda _: context)
    context.environment = {"KUBECONFIG": "/none"}
    monkeypatch.setattr(kubectl, "where", lambda _: kubectl.Where(False))
    assert does(*verb.split(), "--yes") == 1
    assert "there is no cluster yet: run infra/scripts/eks-cluster-deploy.sh create-eks-cluster" in (
        capsys.readouterr().err
    )
    assert cluster.asked == []


def test_the_verbs_options_are_taken_as_the_tool_hands_them_over(cluster: Cluster, capsys: Said) -> None:
    assert backing_up.back_up(Namespace(json=True, yes=True, settings=None)) == 0
    assert json.loads(capsys.readouterr().out)["snapshot"] == "snap-newest"
