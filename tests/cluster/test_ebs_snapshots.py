"""Snapshots of the driver: the disk at one moment, with what had been flushed by then, and nothing else."""

import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from comanda_testbed.bed import running_testbed
from tests.cluster.ebs.caller import running_driver
from tests.cluster.ebs.names import GIB
from tests.cluster.ebs.scene import Scene, claim, tags

pytestmark = [pytest.mark.cluster, pytest.mark.apart]


@pytest.fixture(scope="module")
def scene() -> Iterator[Scene]:
    with running_testbed() as bed, running_driver(bed.url) as driver:
        yield Scene(bed, driver)


@pytest.fixture(autouse=True)
def nothing_is_left(scene: Scene) -> Iterator[None]:
    """Every test takes away what it made; then nothing of it is mounted, on a disk, or in EC2."""
    before = scene.everything()
    yield
    assert scene.everything() - before == set()


@pytest.mark.parametrize("kind", ["ext4", "xfs"])
def test_a_snapshot_is_restored_with_equal_data_into_a_larger_volume_too(scene: Scene, kind: str) -> None:
    pod = scene.pod("node1", scene.made("pvc-source").volume_id, kind=kind)
    place = pod.start()
    content = os.urandom(5_000_000)
    flushed(place / "data", content)
    snapshot = scene.kept("nightly", pod.volume)
    flushed(place / "data", b"later")
    same, larger = (scene.restored(f"pvc-of-{gib}", snapshot, gib) for gib in (1, 2))
    assert larger.content_source.snapshot.snapshot_id == snapshot
    assert larger.capacity_bytes == 2 * GIB
    for each, node in ((same, "node1"), (larger, "node2")):
        # Beside the volume that it was, at the same node.
        copy = scene.pod(node, each.volume_id, kind=kind)
        assert (copy.start() / "data").read_bytes() == content
        assert copy.usage()["BYTES"].total > 0.85 * each.capacity_bytes
        copy.stop()
        scene.gone(each.volume_id)
    scene.grown(pod.volume, 2)
    after = scene.kept("weekly", pod.volume)
    smaller = claim("pvc-small", volume_content_source={"snapshot": {"snapshot_id": after}})
    assert scene.driver.controller.refused("CreateVolume", **smaller) == "OUT_OF_RANGE"
    pod.stop()
    # It outlives what it was made of, and what was made of it outlives it.
    scene.gone(pod.volume)
    last = scene.pod("node1", scene.restored("pvc-last", snapshot).volume_id, kind=kind)
    scene.gone(snapshot, snapshot, after)
    assert (last.start() / "data").read_bytes() == content
    last.stop()
    scene.gone(last.volume)


def flushed(file: Path, content: bytes) -> None:
    """Write a file, and wait until it is on the disk."""
    with file.open("wb") as opened:
        opened.write(content)
        opened.flush()
        os.fsync(opened.fileno())


def test_a_snapshot_stands_in_ec2_with_the_tags_of_its_class(scene: Scene) -> None:
    volume = scene.made("pvc-tagged").volume_id
    own = {"tagSpecification_1": "Tier=gold", "tagSpecification_2": "of={{ .VolumeSnapshotName }}"}
    metadata = {"csi.storage.k8s.io/volumesnapshot/name": "nightly"}
    asked = {"name": "snapshot-1", "source_volume_id": volume, "parameters": own | metadata}
    snapshot = scene.driver.controller("CreateSnapshot", **asked).snapshot
    assert scene.driver.controller("CreateSnapshot", **asked).snapshot == snapshot
    assert (snapshot.size_bytes, snapshot.ready_to_use, snapshot.source_volume_id) == (GIB, True, volume)
    assert list(scene.snapshots()) == [snapshot.snapshot_id]
    found = scene.snapshots()[snapshot.snapshot_id]
    assert abs(snapshot.creation_time.ToSeconds() - found["StartTime"].timestamp()) < 5
    assert found["VolumeId"] == volume
    assert tags(found) == {
        "CSIVolumeSnapshotName": "snapshot-1",
        "Name": "comanda-dynamic-snapshot-1",
        "Project": "comanda",
        "Tier": "gold",
        "ebs.csi.aws.com/cluster": "true",
        "kubernetes.io/cluster/comanda": "owned",
        "of": "nightly",
    }
    wrong = {"name": "snapshot-2", "source_volume_id": volume, "parameters": {"colour": "green"}}
    assert scene.driver.controller.refused("CreateSnapshot", **wrong) == "INVALID_ARGUMENT"
    scene.gone(snapshot.snapshot_id, volume)


def test_a_snapshot_is_the_disk_at_one_moment_though_somebody_writes(scene: Scene) -> None:
    """Two files are written in turn, each flushed before the other: never is the second ahead, in no snapshot."""
    pod = scene.pod("node1", scene.made("pvc-busy").volume_id)
    place = pod.start()
    ended, written = threading.Event(), threading.Semaphore(0)

    def write() -> None:
        with (place / "first").open("wb", 0) as first, (place / "second").open("wb", 0) as second:
            number = 0
            while not ended.is_set():
                number += 1
                for file in (first, second):
                    os.pwrite(file.fileno(), number.to_bytes(8), 0)
                    os.pwrite(file.fileno(), os.urandom(65536), 4096 + number % 64 * 65536)
                    os.fsync(file.fileno())
                written.release()

    writer = threading.Thread(target=write)
    writer.start()
    kept = []
    for number in range(5):
        for _ in range(3):
            written.acquire()
        kept.append(scene.kept(f"busy-{number}", pod.volume))
    ended.set()
    writer.join()
    pod.stop()
    for number, each in enumerate(kept, 1):
        seen = scene.pod("node1", scene.restored(f"pvc-{each}", each).volume_id)
        place = seen.start()
        first, second = (int.from_bytes((place / name).read_bytes()[:8]) for name in ("first", "second"))
        assert first - 1 <= second <= first
        assert second >= 3 * number, "what was flushed before is in it"
        seen.stop()
        scene.gone(seen.volume, each)
    scene.gone(pod.volume)


def test_what_was_not_flushed_is_in_no_snapshot(scene: Scene) -> None:
    pod = scene.pod("node1", scene.made("pvc-careless").volume_id)
    place = pod.start()
    flushed(place / "flushed", b"here")
    (place / "hoped").write_bytes(b"for the best")
    snapshot = scene.kept("careless", pod.volume)
    copy = scene.pod("node2", scene.restored("pvc-copy", snapshot).volume_id)
    seen = copy.start()
    assert (seen / "flushed").read_bytes() == b"here"
    assert not (seen / "hoped").exists() or (seen / "hoped").read_bytes() == b""
    for each in (pod, copy):
        each.stop()
    scene.gone(pod.volume, copy.volume, snapshot)


def test_snapshots_are_listed_by_volume_by_id_and_in_pages(scene: Scene) -> None:
    one, two = (scene.made(f"pvc-{name}").volume_id for name in ("one", "two"))
    kept = [scene.kept(name, volume) for name, volume in (("a", one), ("b", two), ("c", one))]

    def listed(**only: Any) -> list[str]:
        return [each.snapshot.snapshot_id for each in scene.driver.controller("ListSnapshots", **only).entries]

    assert listed() == sorted(kept)
    assert listed(source_volume_id=one) == sorted([kept[0], kept[2]])
    assert listed(snapshot_id=kept[1]) == [kept[1]]
    assert listed(snapshot_id="snap-00000000") == []
    page = scene.driver.controller("ListSnapshots", max_entries=2)
    assert [each.snapshot.snapshot_id for each in page.entries] == sorted(kept)[:2]
    # One that goes meanwhile does not shift the rest.
    scene.gone(sorted(kept)[0])
    assert listed(starting_token=page.next_token) == sorted(kept)[2:]
    assert scene.driver.controller.refused("ListSnapshots", starting_token="2") == "ABORTED"
    scene.gone(*kept, one, two)
