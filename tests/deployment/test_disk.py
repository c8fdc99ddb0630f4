"""`db-grow`: a larger disk, whether its file system grows at once or at the next start, and the set that names it."""

import json
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from comanda_deploy import commands, disk, kubectl, lock
from comanda_deploy.__main__ import main
from comanda_deploy.disk import has_grown, waits_for_start
from comanda_testbed.bed import TestBed
from tests.deployment.restoring import MANIFEST, Cluster, Killed

Said = pytest.CaptureFixture[str]
AGAIN = "infra/scripts/eks-cluster-mng.sh db-grow 40Gi"
WHOLE = ["patch persistentvolumeclaim", "delete statefulset", "apply --filename"]


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The manifest of a clone."""
    made = tmp_path / MANIFEST.name
    made.write_bytes(MANIFEST.read_bytes())
    monkeypatch.setattr(disk, "FILE", made)
    return made


@pytest.fixture
def cluster(
    shared_bed: TestBed, clients: dict[str, Any], file: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Cluster]:
    made = Cluster(shared_bed, clients)
    made.begin()
    monkeypatch.setattr(commands, "context_of", lambda _: made.context())
    monkeypatch.setattr(kubectl, "reach", lambda _: None)
    yield made
    assert lock.holder_of(made.context()) is None, "the lock is free in every case"


def does(*arguments: str) -> int:
    return main(["verb", "eks-cluster-mng.sh", "db-grow", *arguments])


def verbs(cluster: Cluster) -> list[str]:
    return [" ".join(each[:2]) for each in cluster.done]


def sizes(cluster: Cluster) -> set[str]:
    """Every size that there is: of the claim, its disk, and the set's."""
    assert cluster.claim
    assert cluster.set
    template = cluster.set["spec"]["volumeClaimTemplates"][0]
    return {
        cluster.claim["spec"]["resources"]["requests"]["storage"],
        cluster.claim["status"]["capacity"]["storage"],
        template["spec"]["resources"]["requests"]["storage"],
    }


def assert_grown(cluster: Cluster, file: Path, *, restarted: bool = False) -> None:
    assert sizes(cluster) == {"40Gi"}
    assert file.read_bytes() == MANIFEST.read_bytes().replace(b"storage: 20Gi", b"storage: 40Gi")
    assert cluster.content == "living", "it serves, and what it had is there"
    assert (cluster.pod or {})["metadata"]["creationTimestamp"].endswith("14:05:00Z") is not restarted


def test_it_grows_while_the_database_serves(cluster: Cluster, file: Path, capsys: Said) -> None:
    assert does("40Gi", "--yes") == 0
    assert_grown(cluster, file)
    assert verbs(cluster) == WHOLE
    assert capsys.readouterr().out == (
        "  ~ 4-db-stateful-set.yaml: storage 20Gi -> 40Gi\n"
        "  ~ PersistentVolumeClaim comanda-db/data-database-0: 20Gi -> 40Gi\n"
        "EBS lets a disk be changed once in six hours. PostgreSQL serves meanwhile.\n"
        "The database has 40Gi. Next: git commit 4-db-stateful-set.yaml, which says so now\n"
    )


def test_the_set_that_is_made_anew_remembers_what_a_restore_has_not_settled(cluster: Cluster, file: Path) -> None:
    assert cluster.set
    since = "2026-11-26T14:00:00+00:00"
    cluster.set["metadata"]["annotations"] = {"comanda/unsettled-since": since}
    assert does("40Gi", "--yes") == 0
    assert_grown(cluster, file)
    assert cluster.set["metadata"]["annotations"]["comanda/unsettled-since"] == since


def test_again_there_is_nothing_to_do_and_nothing_is_asked(
    cluster: Cluster, file: Path, monkeypatch: pytest.MonkeyPatch, capsys: Said
) -> None:
    assert does("40Gi", "--yes") == 0
    capsys.readouterr()
    cluster.done.clear()
    monkeypatch.setattr(disk, "confirm", None)
    assert does("40Gi") == 0
    assert capsys.readouterr().out == "Nothing to do: the database has 40Gi. Next: comanda-deploy status\n"
    assert does("40Gi", "--json") == 0
    assert json.loads(capsys.readouterr().out) == {"claim": "data-database-0", "size": "40Gi"}
    assert cluster.done == []


def test_what_only_the_manifest_or_the_set_lacks_is_put_right(cluster: Cluster, file: Path) -> None:
    assert does("40Gi", "--yes") == 0
    file.write_bytes(MANIFEST.read_bytes())
    assert does("40Gi", "--yes") == 0
    assert_grown(cluster, file)


def test_as_a_document_it_is_one_and_the_rest_is_on_stderr(cluster: Cluster, capsys: Said) -> None:
    assert does("40Gi", "--yes", "--json", "--restart") == 0
    said = capsys.readouterr()
    assert json.loads(said.out) == {"claim": "data-database-0", "size": "40Gi"}
    assert "20Gi -> 40Gi" in said.err
    assert "The database is restarted if its file system needs that." in said.err


# A file system that only grows at a start.


def test_without_leave_to_restart_it_is_said_that_a_start_is_wanted(cluster: Cluster, file: Path, capsys: Said) -> None:
    cluster.grows = "at start"
    began = cluster.now
    assert does("40Gi", "--yes") == 1
    said = capsys.readouterr().err
    assert (
        f"the disk has grown, its file system does at the database's next start: {AGAIN} --restart (guests get" in said
    )
    assert cluster.now - began == timedelta(seconds=disk.GROWS_SECONDS), "kubelet had its time"
    assert "delete pod" not in verbs(cluster)
    assert does("40Gi", "--yes", "--restart") == 0
    assert_grown(cluster, file, restarted=True)


def test_with_leave_it_is_restarted_as_soon_as_the_disk_is_there(cluster: Cluster, file: Path) -> None:
    cluster.grows, cluster.ends_after = "at start", 110
    began = cluster.now
    assert does("40Gi", "--yes", "--restart") == 0
    assert_grown(cluster, file, restarted=True)
    assert verbs(cluster) == [WHOLE[0], "delete pod", *WHOLE[1:]]
    assert "--wait=false" in cluster.done[1], "PostgreSQL may take longer to end than kubectl waits"
    assert cluster.now - began < timedelta(seconds=200)


def test_with_leave_one_that_grows_by_itself_is_not_restarted(cluster: Cluster, file: Path) -> None:
    assert does("40Gi", "--yes", "--restart") == 0
    assert_grown(cluster, file)


def test_one_that_does_not_grow_at_its_start_either_is_said(cluster: Cluster, capsys: Said) -> None:
    cluster.grows, cluster.starts = "at start", False
    assert does("40Gi", "--yes", "--restart") == 1
    said = capsys.readouterr().err
    assert f"the file system has not grown at the start: kubectl describe pvc data-database-0; then {AGAIN}\n" in said


@pytest.mark.parametrize("restart", [[], ["--restart"]])
def test_a_disk_that_does_not_grow_is_said_with_kubernetes_s_reason(
    cluster: Cluster, file: Path, capsys: Said, restart: list[str]
) -> None:
    cluster.grows = "never"
    assert does("40Gi", "--yes", *restart) == 1
    said = capsys.readouterr().err
    assert (
        "the disk has not grown yet (1m Warning FailedMount pod/database-0 no such disk): it goes on by itself" in said
    )
    assert said.endswith(" ".join([f"then again: {AGAIN}", *restart]) + "\n")
    assert verbs(cluster) == ["patch persistentvolumeclaim"]
    cluster.grows = "online"
    assert does("40Gi", "--yes") == 0
    assert_grown(cluster, file)


def test_a_set_that_does_not_come_back_is_said(cluster: Cluster, monkeypatch: pytest.MonkeyPatch, capsys: Said) -> None:
    monkeypatch.setattr(cluster, "_ready", lambda: False)
    assert does("40Gi", "--yes") == 1
    assert "the database does not serve: kubectl describe pod database-0" in capsys.readouterr().err


# It is refused.


@pytest.mark.parametrize("size", ["40", "40G", "0Gi", "-1Gi", "4.5Gi", "040Gi", "100000Gi", "x", "40Gi "])
def test_what_is_no_size_is_a_wrong_call(cluster: Cluster, capsys: Said, size: str) -> None:
    with pytest.raises(SystemExit) as ended:
        does("--yes", f"--settings={MANIFEST}", "--", size)
    assert ended.value.code == 2
    assert "is no size: give whole GiB, as 40Gi" in capsys.readouterr().err


def test_no_disk_is_made_smaller(cluster: Cluster, file: Path, capsys: Said) -> None:
    assert does("19Gi", "--yes") == 1
    assert "it has 20Gi, and EBS makes no disk smaller: name that size, or a larger one" in capsys.readouterr().err
    assert (cluster.done, file.read_bytes()) == ([], MANIFEST.read_bytes())


def test_without_a_disk_the_verb_that_makes_one_is_named(cluster: Cluster, capsys: Said) -> None:
    cluster.claim = None
    assert does("40Gi", "--yes") == 1
    assert (
        "the database has no disk yet: run infra/scripts/eks-cluster-mng.sh deploy-database" in capsys.readouterr().err
    )


@pytest.mark.parametrize(("text", "count"), [(b"kind: None\n", 0), (b"  storage: 1Gi\n  storage: 2Gi\n", 2)])
def test_a_manifest_that_does_not_name_one_size_is_not_written(
    cluster: Cluster, file: Path, capsys: Said, text: bytes, count: int
) -> None:
    file.write_bytes(text)
    assert does("40Gi", "--yes") == 1
    assert f"names {count} sizes, not one: put it back as it was published" in capsys.readouterr().err
    assert (cluster.done, file.read_bytes()) == ([], text)


def test_another_operator_s_lock_is_respected(cluster: Cluster, file: Path, capsys: Said) -> None:
    holder = lock.take(cluster.context(), "a restore", stays=True)
    assert does("40Gi", "--yes") == 1
    lock.release(cluster.context(), holder)
    assert "locked by" in capsys.readouterr().err
    assert (cluster.done, file.read_bytes()) == ([], MANIFEST.read_bytes())


@pytest.mark.parametrize("as_json", [[], ["--json"]])
def test_nobody_there_to_be_asked_is_no_yes(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch, capsys: Said, as_json: list[str]
) -> None:
    monkeypatch.setattr(sys.stdin, "isatty", lambda: False, raising=False)
    assert does("40Gi", *as_json) == 1
    said = capsys.readouterr()
    assert "nobody is there to be asked: say --yes" in said.err
    assert bool(said.out) is not bool(as_json)
    assert cluster.done == []


# Killed.


@pytest.mark.parametrize("grows", ["online", "at start"])
def test_killed_before_each_change_it_goes_on_and_ends_well(cluster: Cluster, file: Path, grows: str) -> None:
    cluster.grows = grows
    assert does("40Gi", "--yes", "--restart") == 0
    changes, size = cluster.changes, 40
    assert changes == {"online": 3, "at start": 4}[grows]
    for number in range(1, changes + 1):
        size += 1
        cluster.changes, cluster.kill_at = 0, number
        with pytest.raises(Killed):
            does(f"{size}Gi", "--yes", "--restart")
        cluster.kill_at = None
        assert does(f"{size}Gi", "--yes", "--restart") == 0
        assert sizes(cluster) == {f"{size}Gi"}
        assert f"storage: {size}Gi".encode() in file.read_bytes()
        assert cluster.content == "living"


# What is looked at.


@pytest.mark.parametrize(
    ("claim", "grown"),
    [
        ({}, False),
        ({"status": {}}, False),
        ({"status": {"capacity": {"storage": "39Gi"}}}, False),
        ({"status": {"capacity": {"storage": "40Gi"}}}, True),
        ({"status": {"capacity": {"storage": "42949672960"}}}, True),
        ({"status": {"capacity": {"storage": "1Ti"}}}, True),
    ],
)
def test_a_claim_has_grown_that_says_so_of_its_file_system(claim: dict[str, Any], grown: bool) -> None:
    assert has_grown(claim, "40Gi") is grown


@pytest.mark.parametrize(
    ("conditions", "waits"),
    [
        (None, False),
        ([], False),
        ([{"type": "Resizing", "status": "True"}], False),
        ([{"type": "FileSystemResizePending", "status": "False"}], False),
        ([{"type": "Resizing", "status": "True"}, {"type": "FileSystemResizePending", "status": "True"}], True),
    ],
)
def test_a_file_system_waits_for_a_start_where_kubernetes_says_so(conditions: Any, waits: bool) -> None:
    assert waits_for_start({"status": {"conditions": conditions}}) is waits
    assert waits_for_start({}) is False
