"""The stand-in for the EBS CSI driver, called on its sockets: real disks and mounts, and an account that knows them."""

import os
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import pytest
import yaml

from comanda_testbed.bed import running_testbed
from tests.cluster.ebs.caller import Caller, running_driver
from tests.cluster.ebs.mounts import mount_at, mounts
from tests.cluster.ebs.names import GIB
from tests.cluster.ebs.scene import ONCE_POD, Scene, capability, claim, tags
from tests.cluster.ebs.sidecars import sidecars

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


def test_a_node_registers_itself_with_its_kubelet(scene: Scene) -> None:
    registry = Caller(scene.driver.kubelet("node3") / "plugins_registry" / "ebs.csi.aws.com-reg.sock")
    service = "pluginregistration.Registration"
    info = registry("GetInfo", service)
    assert (info.type, info.name, list(info.supported_versions)) == ("CSIPlugin", "ebs.csi.aws.com", ["1.0.0"])
    registry("NotifyRegistrationStatus", service, plugin_registered=True)
    registry.close()
    there = Caller(Path(info.endpoint))
    about = there("NodeGetInfo")
    there.close()
    assert (about.node_id, about.max_volumes_per_node) == ("node3", 25)
    assert dict(about.accessible_topology.segments) == {
        "topology.kubernetes.io/zone": "sa-east-1b",
        "topology.ebs.csi.aws.com/zone": "sa-east-1b",
        "kubernetes.io/os": "linux",
    }


def test_the_sidecars_are_told_what_they_need_and_kubernetes_what_the_driver_is() -> None:
    found = {each.program: each for each in sidecars(Path("/s/c.sock"), Path("/s/admin"), "node1")}
    assert set(found) == {"csi-provisioner", "csi-snapshotter", "snapshot-controller", "csi-resizer"}
    for program, each in found.items():
        assert ("--csi-address=unix:///s/c.sock" in each.arguments) == (program != "snapshot-controller")
        assert "--kubeconfig=/s/admin" in each.arguments
    assert found["csi-provisioner"].environment == {"NODE_NAME": "node1"}
    about = yaml.safe_load((Path(__file__).parent / "ebs" / "csidriver.yaml").read_text(encoding="utf-8"))
    assert about["metadata"]["name"] == "ebs.csi.aws.com"
    assert about["spec"]["fsGroupPolicy"] == "File"
    assert about["spec"]["attachRequired"] is False


def test_a_volume_has_its_size_and_every_call_can_come_twice(scene: Scene) -> None:
    volume = scene.made("pvc-1", 1.5)
    assert volume.capacity_bytes == 2 * GIB
    assert scene.made("pvc-1", 1.5) == volume
    assert scene.volumes()[volume.volume_id]["Size"] == 2
    pod = scene.pod("node1", volume.volume_id)
    for _ in range(2):
        pod.stage()
    for _ in range(2):
        pod.publish()
    assert len([each for each in mounts() if each.place == pod.place]) == 1
    seen = os.statvfs(pod.place)
    assert 1.9 * GIB < seen.f_blocks * seen.f_frsize < 2 * GIB
    assert seen.f_bfree - seen.f_bavail <= 4096, "nothing is kept for root but what ext4 needs itself"
    (pod.place / "order").write_text("feijoada", encoding="utf-8")
    for _ in range(2):
        pod.unpublish()
    assert not pod.place.exists()
    for _ in range(2):
        pod.unstage()
    assert not [each for each in scene.driver.left() if pod.volume in each]
    # Another node of the zone finds what the first wrote.
    other = scene.pod("node2", volume.volume_id)
    assert (other.start() / "order").read_text(encoding="utf-8") == "feijoada"
    other.stop()
    for _ in range(2):
        scene.gone(volume.volume_id)


@pytest.mark.parametrize("kind", ["ext4", "xfs"])
def test_a_volume_fills_up_and_says_so(scene: Scene, kind: str) -> None:
    pod = scene.pod("node1", scene.made("pvc-full").volume_id, kind=kind)
    place = pod.start()
    before = pod.usage()
    assert 0.85 * GIB < before["BYTES"].available <= before["BYTES"].total < GIB
    for each in ("BYTES", "INODES"):
        assert 0.9 * before[each].total < before[each].used + before[each].available <= before[each].total
    with (place / "fill").open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, before["BYTES"].available - GIB // 64)
        with pytest.raises(OSError, match="No space left"):
            os.posix_fallocate(file.fileno(), 0, GIB)
    after = pod.usage()
    assert after["BYTES"].available < GIB // 32
    assert after["INODES"].used == before["INODES"].used + 1
    pod.stop()
    scene.gone(pod.volume)


@pytest.mark.parametrize("kind", ["ext4", "xfs"])
def test_a_volume_grows_while_it_is_used(scene: Scene, kind: str) -> None:
    pod = scene.pod("node1", scene.made("pvc-grows").volume_id, kind=kind)
    place = pod.start()
    (place / "order").write_text("feijoada", encoding="utf-8")
    for _ in range(2):
        answer = scene.grown(pod.volume, 2)
        assert (answer.capacity_bytes, answer.node_expansion_required) == (2 * GIB, True)
    assert scene.volumes()[pod.volume]["Size"] == 2
    if kind == "ext4" and not may_grow_an_ext4():
        # Kubelet then waits for the pod's next start.
        asked = {"volume_id": pod.volume, "volume_path": str(place)}
        assert pod.call.refused("NodeExpandVolume", **asked) == "FAILED_PRECONDITION"
        pod.stop()
        pod.start()
    for _ in range(2):
        assert pod.grow().capacity_bytes == 2 * GIB
    assert pod.usage()["BYTES"].total > 1.8 * GIB
    assert (place / "order").read_text(encoding="utf-8") == "feijoada"
    # It never gets smaller, and asked for by its name it is still the same volume.
    assert scene.grown(pod.volume, 1).capacity_bytes == 2 * GIB
    assert scene.made("pvc-grows").volume_id == pod.volume
    pod.stop()
    scene.gone(pod.volume)


def may_grow_an_ext4() -> bool:
    """Whether this machine lets an ext4 grow while it is mounted, which Linux couples to CAP_SYS_RESOURCE."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    effective = next(line.split()[1] for line in lines if line.startswith("CapEff:"))
    return bool(int(effective, 16) >> 24 & 1)


@pytest.mark.parametrize("kind", ["ext4", "xfs"])
def test_what_grew_while_nobody_had_it_is_as_large_at_the_next_node(scene: Scene, kind: str) -> None:
    volume = scene.made("pvc-later").volume_id
    pod = scene.pod("node1", volume, kind=kind)
    pod.start()
    pod.stop()
    scene.grown(volume, 3)
    pod = scene.pod("node2", volume, kind=kind)
    pod.start()
    assert pod.usage()["BYTES"].total > 2.7 * GIB
    assert pod.grow().capacity_bytes == 3 * GIB
    pod.stop()
    scene.gone(volume)


@pytest.mark.parametrize("key", ["topology.kubernetes.io/zone", "topology.ebs.csi.aws.com/zone"])
def test_a_volume_is_in_its_zone_and_stays_there(scene: Scene, key: str) -> None:
    there, here = ({"segments": {key: f"sa-east-1{letter}"}} for letter in "ab")
    zones = {"requisite": [there, here], "preferred": [here, there]}
    volume = scene.made("pvc-there", accessibility_requirements=zones)
    assert [dict(each.segments) for each in volume.accessible_topology] == [
        {"topology.kubernetes.io/zone": "sa-east-1b"}
    ]
    assert scene.volumes()[volume.volume_id]["AvailabilityZone"] == "sa-east-1b"
    pod = scene.pod("node1", volume.volume_id)
    assert pod.call.refused("NodeStageVolume", **pod.staging()) == "FAILED_PRECONDITION"
    pod = scene.pod("node3", volume.volume_id)
    pod.start()
    pod.stop()
    assert scene.driver.controller.refused("CreateVolume", **claim("pvc-there", zone="sa-east-1a")) == "ALREADY_EXISTS"
    scene.gone(volume.volume_id)
    without = claim("pvc-anywhere")
    del without["accessibility_requirements"]
    anywhere = scene.driver.controller("CreateVolume", **without).volume
    assert anywhere.accessible_topology[0].segments["topology.kubernetes.io/zone"] == "sa-east-1a"
    scene.gone(anywhere.volume_id)


def test_a_volume_stands_in_ec2_with_the_tags_that_inventories_look_for(scene: Scene) -> None:
    own = {"tagSpecification_1": "of={{ .PVCNamespace }}/{{ .PVCName }}", "iops": "4000", "throughput": "250"}
    volume = scene.made("pvc-tagged", 4, parameters=own)
    found = scene.volumes()[volume.volume_id]
    assert tags(found) == {
        "CSIVolumeName": "pvc-tagged",
        "KubernetesCluster": "comanda",
        "Name": "comanda-dynamic-pvc-tagged",
        "Project": "comanda",
        "ebs.csi.aws.com/cluster": "true",
        "kubernetes.io/cluster/comanda": "owned",
        "kubernetes.io/created-for/pv/name": "pvc-tagged",
        "kubernetes.io/created-for/pvc/name": "claim-of-pvc-tagged",
        "kubernetes.io/created-for/pvc/namespace": "comanda",
        "of": "comanda/claim-of-pvc-tagged",
    }
    assert (found["Size"], found["VolumeType"], found["Iops"], found["Throughput"]) == (4, "gp3", 4000, 250)
    assert found["Encrypted"] is True
    scene.gone(volume.volume_id)


REFUSED: list[tuple[str, dict[str, Any]]] = [
    ("INVALID_ARGUMENT", {"parameters": {"colour": "green"}}),
    ("INVALID_ARGUMENT", {"parameters": {"blockSize": "4096"}}),
    ("INVALID_ARGUMENT", {"parameters": {"type": "gp9"}}),
    ("INVALID_ARGUMENT", {"parameters": {"iops": "many"}}),
    ("INVALID_ARGUMENT", {"parameters": {"csi.storage.k8s.io/fstype": "btrfs"}}),
    ("INVALID_ARGUMENT", {"parameters": {"tagSpecification_1": "no value"}}),
    ("INVALID_ARGUMENT", {"parameters": {"tagSpecification_1": "ebs.csi.aws.com/cluster=false"}}),
    ("INVALID_ARGUMENT", {"parameters": {"tagSpecification_1": "a={{ .Nothing }}"}}),
    ("INVALID_ARGUMENT", {"mutable_parameters": {"type": "io2"}}),
    ("INVALID_ARGUMENT", {"volume_capabilities": []}),
    ("INVALID_ARGUMENT", {"volume_capabilities": [capability("MULTI_NODE_MULTI_WRITER")]}),
    ("INVALID_ARGUMENT", {"volume_capabilities": [capability("MULTI_NODE_READER_ONLY")]}),
    ("INVALID_ARGUMENT", {"volume_capabilities": [capability(fs_type="ext3")]}),
    ("INVALID_ARGUMENT", {"volume_capabilities": [{"block": {}, "access_mode": {"mode": "SINGLE_NODE_WRITER"}}]}),
    ("INVALID_ARGUMENT", {"accessibility_requirements": {"requisite": [{"segments": {"rack": "7"}}]}}),
    ("INVALID_ARGUMENT", {"volume_content_source": {"volume": {"volume_id": "vol-00000000"}}}),
    (
        "INTERNAL",
        {"accessibility_requirements": {"requisite": [{"segments": {"topology.kubernetes.io/zone": "mars"}}]}},
    ),
    ("INTERNAL", {"parameters": {"encrypted": "false", "kmsKeyId": "a-key"}}),
    ("NOT_FOUND", {"volume_content_source": {"snapshot": {"snapshot_id": "snap-00000000"}}}),
    ("NOT_FOUND", {"volume_content_source": {"snapshot": {"snapshot_id": "../../etc/passwd"}}}),
    ("OUT_OF_RANGE", {"capacity_range": {"required_bytes": GIB + 1, "limit_bytes": 2 * GIB - 1}}),
    ("OUT_OF_RANGE", {"capacity_range": {"required_bytes": 65 * 1024 * GIB}}),
]


@pytest.mark.parametrize(("how", "wrong"), REFUSED, ids=[f"{how}-{next(iter(wrong))}" for how, wrong in REFUSED])
def test_what_ebs_cannot_do_is_refused_and_leaves_nothing(scene: Scene, how: str, wrong: dict[str, Any]) -> None:
    assert scene.driver.controller.refused("CreateVolume", **claim("pvc-wrong", **wrong)) == how


def test_a_name_means_one_volume_and_one_snapshot(scene: Scene) -> None:
    with ThreadPoolExecutor(8) as many:
        found = set(many.map(lambda _: scene.made("pvc-many").volume_id, range(8)))
    (volume,) = found
    assert set(scene.volumes()) == found
    for other in ({"gib": 2}, {"parameters": {"type": "gp2"}}):
        assert scene.driver.controller.refused("CreateVolume", **claim("pvc-many", **other)) == "ALREADY_EXISTS"
    other = scene.made("pvc-other").volume_id
    snapshot = scene.kept("one", volume)
    assert scene.driver.controller.refused("CreateSnapshot", name="one", source_volume_id=other) == "ALREADY_EXISTS"
    asked = claim("pvc-small", volume_content_source={"snapshot": {"snapshot_id": snapshot}})
    scene.gone(volume, other, snapshot)
    assert scene.driver.controller.refused("CreateVolume", **asked) == "NOT_FOUND"


def test_a_volume_is_at_one_node_at_a_time(scene: Scene) -> None:
    volume = scene.made("pvc-here").volume_id
    here, there = scene.pod("node1", volume), scene.pod("node2", volume)
    here.start()
    assert there.call.refused("NodeStageVolume", **there.staging()) == "FAILED_PRECONDITION"
    assert scene.driver.controller.refused("DeleteVolume", volume_id=volume) == "FAILED_PRECONDITION"
    unstaging = {"volume_id": volume, "staging_target_path": str(here.staged)}
    assert here.call.refused("NodeUnstageVolume", **unstaging) == "FAILED_PRECONDITION", "a pod still has it"
    # The other node's giving back what it never had takes nothing away.
    there.unstage()
    here.stop()
    there.start()
    there.stop()
    scene.gone(volume)


def test_read_write_once_pod_is_one_pods_and_read_write_once_one_nodes(scene: Scene) -> None:
    volume = scene.made("pvc-pods").volume_id
    one, two = (scene.pod("node1", volume, name) for name in ("one", "two"))
    one.stage()
    for_one = {"volume_capability": capability(ONCE_POD)}
    one.publish(**for_one)
    assert two.call.refused("NodePublishVolume", **two.publishing(**for_one)) == "FAILED_PRECONDITION"
    one.unpublish()
    (one.publish() / "file").write_text("x", encoding="utf-8")
    two.publish(readonly=True)
    assert (two.place / "file").read_text(encoding="utf-8") == "x"
    with pytest.raises(OSError, match="Read-only"):
        (two.place / "file").write_text("y", encoding="utf-8")
    assert two.call.refused("NodePublishVolume", **two.publishing()) == "ALREADY_EXISTS"
    for each in (one, two):
        each.unpublish()
    two.unstage()
    scene.gone(volume)


def test_mount_options_of_the_class_are_the_mounts(scene: Scene) -> None:
    volume = scene.made("pvc-options").volume_id
    pod = scene.pod("node1", volume)
    options = {"volume_capability": capability(mount_flags=["noatime", "nodev"])}
    pod.call("NodeStageVolume", **pod.staging(**options))
    mount = mount_at(pod.staged)
    assert mount is not None
    assert {"noatime", "nodev"} <= mount.options
    pod.unstage()
    scene.gone(volume)


def test_a_sick_file_system_is_said_to_be_sick(scene: Scene) -> None:
    volume = scene.made("pvc-sick").volume_id
    pod = scene.pod("node1", volume)
    pod.start()
    asked = {"volume_id": volume, "volume_publish_path": str(pod.place)}
    assert not pod.call("NodeGetVolumeHealth", **asked).volume_health.health_statuses
    mount = mount_at(pod.place)
    assert mount is not None
    device = (Path("/sys/dev/block") / mount.device).resolve().name
    (Path("/sys/fs/ext4") / device / "trigger_fs_error").write_text("a test's", encoding="utf-8")
    deadline = time.monotonic() + 10  # ext4 counts later
    while not (found := pod.call("NodeGetVolumeHealth", **asked).volume_health.health_statuses):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert [each.reason for each in found] == ["FileSystemErrors"]
    pod.stop()
    scene.gone(volume)


def test_what_is_asked_about_no_volume_is_answered_so(scene: Scene) -> None:
    pod = scene.pod("node1", "vol-00000000")
    assert pod.call.refused("NodeStageVolume", **pod.staging()) == "NOT_FOUND"
    assert pod.call.refused("NodePublishVolume", **pod.publishing()) == "NOT_FOUND"
    assert pod.call.refused("NodeGetVolumeStats", volume_id=pod.volume, volume_path="/") == "NOT_FOUND"
    assert pod.call.refused("NodeStageVolume", **pod.staging(volume_id="../volumes/x")) == "NOT_FOUND"
    pod.stop()
    asked = {"volume_id": pod.volume, "volume_capabilities": [capability()]}
    assert scene.driver.controller.refused("ValidateVolumeCapabilities", **asked) == "NOT_FOUND"
    assert scene.driver.controller.refused("CreateSnapshot", name="x", source_volume_id=pod.volume) == "NOT_FOUND"
    volume = scene.made("pvc-there").volume_id
    pod = scene.pod("node1", volume)
    assert pod.call.refused("NodePublishVolume", **pod.publishing()) == "FAILED_PRECONDITION"
    assert pod.call.refused("NodeGetVolumeStats", volume_id=volume, volume_path="/") == "NOT_FOUND"
    scene.gone(volume)


def test_a_line_for_each_call_and_no_secret_in_it(scene: Scene) -> None:
    volume = scene.made("pvc-secret", secrets={"password": "hush-hush"}).volume_id
    scene.gone(volume)
    said = scene.driver.log("controller").read_text(encoding="utf-8")
    assert "CreateVolume pvc-secret: OK" in said
    assert f"DeleteVolume {volume}: OK" in said
    assert "hush-hush" not in said


def test_a_refusal_says_why(scene: Scene) -> None:
    with pytest.raises(grpc.RpcError, match="Invalid parameter key colour for CreateVolume"):
        scene.made("pvc-why", parameters={"colour": "green"})
