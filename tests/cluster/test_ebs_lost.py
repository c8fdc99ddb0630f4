"""The driver when something is lost: a process in the middle of a call, EC2's answer, a node, everything."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import grpc
import pytest

from comanda_testbed.bed import running_testbed
from tests.cluster.ebs import clean, power_off
from tests.cluster.ebs.caller import NODES, PATIENCE, running_driver
from tests.cluster.ebs.mounts import loops, mount_image, mounts
from tests.cluster.ebs.scene import Scene, claim
from tests.cluster.ebs.sidecars import CLONE
from tests.cluster.ebs.state import State

pytestmark = [pytest.mark.cluster, pytest.mark.apart]


@pytest.fixture(scope="module")
def running() -> Iterator[Scene]:
    with running_testbed() as bed, running_driver(bed.url) as driver:
        yield Scene(bed, driver)


@pytest.fixture
def scene(running: Scene) -> Iterator[Scene]:
    """All of the driver running. Every test takes away what it made; then nothing of it is left."""
    for name in {"controller", *NODES} - set(running.driver.processes):
        running.driver.start(name)
    before = running.everything()
    yield running
    assert running.everything() - before == set()


@contextmanager
def namespace_of_its_own(root: str) -> Iterator[None]:
    """Let somebody have all that is mounted now in a mount namespace of his own, as a container or a build has it.

    Args:
        root: below which he sees anything.
    """
    stay = f"import os, sys; os.chroot({root!r}); print('there', flush=True); sys.stdin.read()"
    command = ["unshare", "--mount", "--propagation", "private", sys.executable, "-c", stay]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout
        assert other.stdout.readline() == b"there\n"
        yield
        assert other.stdin
        other.stdin.close()


@contextmanager
def killed_during(scene: Scene, action: str, seen: Callable[[], object]) -> Iterator[None]:
    """Let the controller be killed when EC2 has got its call. EC2 carries it out, and the controller starts again.

    Args:
        seen: what will then be another in EC2.
    """
    before, killed = seen(), threading.Event()

    def kill() -> None:
        scene.driver.kill("controller")
        killed.set()

    scene.bed.arm(action, hook=kill)
    with pytest.raises(grpc.RpcError):
        yield
    assert killed.wait(PATIENCE)
    deadline = time.monotonic() + PATIENCE
    while seen() == before:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    scene.driver.start("controller")


def create_volume(scene: Scene) -> None:
    scene.made("pvc-1")


def restore(scene: Scene) -> None:
    (snapshot,) = scene.snapshots()
    scene.restored("pvc-2", snapshot)


@pytest.mark.parametrize("create", [create_volume, restore])
def test_a_volume_that_was_being_made_leaves_nothing(scene: Scene, create: Callable[[Scene], None]) -> None:
    first = scene.made("pvc-0").volume_id
    scene.kept("snapshot-0", first)
    before = scene.everything()
    with killed_during(scene, "ec2:CreateVolume", scene.volumes):
        create(scene)
    assert scene.everything() == before
    create(scene)
    assert len(scene.volumes()) == 2
    scene.gone(*scene.volumes(), *scene.snapshots())
    assert scene.everything() == set()


def test_a_snapshot_that_was_being_made_leaves_nothing(scene: Scene) -> None:
    volume = scene.made("pvc-b1").volume_id
    before = scene.everything()
    with killed_during(scene, "ec2:CreateSnapshot", scene.snapshots):
        scene.kept("snapshot-1", volume)
    assert scene.everything() == before
    snapshot = scene.kept("snapshot-1", volume)
    assert set(scene.snapshots()) == {snapshot}
    scene.gone(volume, snapshot)


def test_what_was_being_removed_is_removed(scene: Scene) -> None:
    volume = scene.made("pvc-c1").volume_id
    snapshot = scene.kept("snapshot-1", volume)
    with killed_during(scene, "ec2:DeleteVolume", scene.volumes):
        scene.gone(volume)
    assert set(scene.volumes()) == set()
    with killed_during(scene, "ec2:DeleteSnapshot", scene.snapshots):
        scene.gone(snapshot)
    assert scene.everything() == set()
    scene.gone(volume, snapshot)


def test_what_was_growing_grows_when_it_is_asked_again(scene: Scene) -> None:
    volume = scene.made("pvc-d1").volume_id
    with killed_during(scene, "ec2:ModifyVolume", scene.volumes):
        scene.grown(volume, 2)
    assert scene.grown(volume, 2).capacity_bytes == 2 * 1024**3
    assert scene.volumes()[volume]["Size"] == 2
    assert (scene.driver.state / "disks" / f"{volume}.img").stat().st_size == 2 * 1024**3
    scene.gone(volume)


@pytest.mark.parametrize("done_first", [True, False])
def test_an_answer_of_ec2_that_is_lost_leaves_nothing_and_is_not_the_last_word(scene: Scene, done_first: bool) -> None:
    def refused_and_repeated(method: str, **fields: Any) -> Any:
        scene.bed.arm(f"ec2:{method}", code="InternalError", status=500, done_first=done_first)
        before = scene.everything()
        assert scene.driver.controller.refused(method, **fields) == "INTERNAL"
        if method.startswith("Create"):
            assert scene.everything() == before
        return scene.driver.controller(method, **fields)

    volume = refused_and_repeated("CreateVolume", **claim("pvc-e1")).volume.volume_id
    asked = {"name": "snapshot-1", "source_volume_id": volume}
    snapshot = refused_and_repeated("CreateSnapshot", **asked).snapshot.snapshot_id
    assert (set(scene.volumes()), set(scene.snapshots())) == ({volume}, {snapshot})
    refused_and_repeated("DeleteVolume", volume_id=volume)
    refused_and_repeated("DeleteSnapshot", snapshot_id=snapshot)
    assert scene.everything() == set()


def test_what_others_made_in_ec2_is_left_alone(scene: Scene) -> None:
    """Another driver in the same account, or a test that makes by hand what a destroy is to find."""
    own = scene.made("pvc-f1").volume_id
    ec2 = scene.bed.client("ec2")
    tags = [{"Key": "ebs.csi.aws.com/cluster", "Value": "true"}, {"Key": "CSIVolumeName", "Value": "pvc-other"}]
    specification = [{"ResourceType": "volume", "Tags": tags}]
    other = ec2.create_volume(AvailabilityZone="sa-east-1a", Size=1, TagSpecifications=specification)["VolumeId"]
    scene.driver.kill("controller")
    scene.driver.start("controller")
    assert set(scene.volumes()) == {own, other}
    ec2.delete_volume(VolumeId=other)
    # What somebody removed there, a destroy for instance, can be removed here.
    ec2.delete_volume(VolumeId=own)
    scene.driver.kill("controller")
    scene.driver.start("controller")
    assert f"{own} stands no longer in EC2" in scene.driver.log("controller").read_text(encoding="utf-8")
    scene.gone(own)
    assert scene.everything() == set()


def test_a_node_goes_on_where_its_driver_was_killed(scene: Scene) -> None:
    pod = scene.pod("node1", scene.made("pvc-g1").volume_id)
    steps: list[Callable[[], Any]] = [pod.stage, pod.publish, pod.usage, pod.unpublish, pod.unstage]
    for step in steps:
        step()
        scene.driver.kill("node1")
        scene.driver.start("node1")
        if step != pod.usage:
            step()
    assert not [each for each in scene.driver.left() if pod.volume in each]
    # Killed between having the volume and mounting it: to be had by others it must be given back, and it can be.
    State(scene.driver.state).attach(pod.volume, "node1")
    other = scene.pod("node2", pod.volume)
    assert other.call.refused("NodeStageVolume", **other.staging()) == "FAILED_PRECONDITION"
    pod.unstage()
    other.start()
    other.stop()
    scene.gone(pod.volume)


def test_a_driver_that_is_told_to_end_takes_itself_from_its_kubelet(scene: Scene) -> None:
    registry = scene.driver.kubelet("node2") / "plugins_registry" / "ebs.csi.aws.com-reg.sock"
    assert registry.is_socket()
    for name in ("node2", "controller"):
        scene.driver.processes[name].terminate()
        assert scene.driver.processes[name].wait(PATIENCE) == 0
        scene.driver.kill(name)
    assert not registry.exists()


def test_nothing_is_made_before_ec2_has_answered(scene: Scene) -> None:
    aws = scene.driver.aws
    scene.driver.kill("controller")
    scene.driver.aws = "http://127.0.0.1:9"
    scene.driver.start("controller", until_ready=False)
    assert not scene.driver.controller("Probe").ready.value
    assert scene.driver.controller.refused("CreateVolume", **claim("pvc-i1")) == "UNAVAILABLE"
    scene.driver.kill("controller")
    scene.driver.aws = aws
    scene.driver.start("controller")
    scene.gone(scene.made("pvc-i1").volume_id)


def test_a_file_system_that_was_being_made_is_made(scene: Scene) -> None:
    pod = scene.pod("node1", scene.made("pvc-j1").volume_id)
    image = scene.driver.state / "disks" / f"{pod.volume}.img"
    with image.open("rb+") as file:  # mkfs writes the head at the end
        file.seek(4096)
        file.write(os.urandom(4096))
    assert (pod.start() / "lost+found").is_dir()
    pod.stop()
    scene.gone(pod.volume)
    # But what has something on it is not formatted.
    pod = scene.pod("node1", scene.made("pvc-j2").volume_id)
    subprocess.run(["mkswap", scene.driver.state / "disks" / f"{pod.volume}.img"], check=True, capture_output=True)
    assert pod.call.refused("NodeStageVolume", **pod.staging()) == "INTERNAL"
    # And a node that cannot mount a volume does not keep it.
    scene.gone(pod.volume)
    assert scene.everything() == set()


@pytest.mark.parametrize("kind", ["ext4", "xfs"])
def test_a_node_without_power_loses_what_was_not_flushed_and_its_volumes(scene: Scene, kind: str) -> None:
    pod = scene.pod("node1", scene.made("pvc-k1").volume_id, kind=kind)
    bystander = scene.pod("node2", scene.made("pvc-k2").volume_id)
    safe = bystander.start()
    place = pod.start()
    with (place / "flushed").open("w", encoding="utf-8") as file:
        file.write("here")
        file.flush()
        os.fsync(file.fileno())
    (place / "hoped").write_text("for the best", encoding="utf-8")
    command = [sys.executable, "-m", "tests.cluster.ebs", "power-off", "--state", str(scene.driver.state)]
    with namespace_of_its_own("/"):
        for _ in range(2):
            subprocess.run([*command, "--node", "node1"], cwd=CLONE, check=True)
        assert not [each for each in loops().values() if pod.volume in each.name]
    assert not [each for each in mounts() if each.place in {place, pod.staged}]
    other = scene.pod("node2", pod.volume, kind=kind)
    seen = other.start()
    assert (seen / "flushed").read_text(encoding="utf-8") == "here"
    assert not (seen / "hoped").exists() or (seen / "hoped").read_text(encoding="utf-8") == ""
    # The lost node comes back, and its kubelet takes away what it remembers. That is not the other's.
    pod.stop()
    (seen / "more").write_text("still here", encoding="utf-8")
    (safe / "more").write_text("always here", encoding="utf-8")
    for each in (other, bystander):
        each.stop()
        scene.gone(each.volume)
    assert scene.everything() == set()


def test_who_outlives_his_node_writes_to_nobody(scene: Scene) -> None:
    pod = scene.pod("node1", scene.made("pvc-l1").volume_id)
    place = pod.start()
    with (place / "file").open("wb", 0) as held:
        held.write(b"before")
        os.fsync(held.fileno())
        power_off(scene.driver.state, "node1")
        with pytest.raises(OSError, match="Input/output error"):
            held.write(b"after")
        other = scene.pod("node2", pod.volume)
        seen = other.start()
        assert (seen / "file").read_bytes() == b"before"
        (seen / "file").write_bytes(b"the other's")
    other.stop()
    other.start()
    assert (seen / "file").read_bytes() == b"the other's"
    other.stop()
    scene.gone(pod.volume)
    assert scene.everything() == set()


def test_everything_is_taken_away_whoever_was_killed(scene: Scene) -> None:
    pods = [scene.pod("node1", scene.made(f"pvc-m{number}").volume_id) for number in range(3)]
    for each in pods:
        each.start()
    snapshot = scene.kept("snapshot-1", pods[0].volume)
    # Mounted by hand, by somebody who looks into a snapshot.
    by_hand = scene.driver.folder / "by-hand"
    by_hand.mkdir()
    mount_image(scene.driver.state / "disks" / f"{snapshot}.img", by_hand, "ext4")
    for name in list(scene.driver.processes):
        scene.driver.kill(name)
    with namespace_of_its_own(str(scene.driver.kubelet("node1") / "plugins_registry")):
        for _ in range(2):
            clean(scene.driver.state)
        assert scene.driver.left() == []
    assert not scene.driver.state.exists()
    # EC2's part goes with the account.
    for volume in scene.volumes():
        scene.bed.client("ec2").delete_volume(VolumeId=volume)
    scene.bed.client("ec2").delete_snapshot(SnapshotId=snapshot)
    scene.driver.start("controller")
