"""What the tests of the driver are about: claims, pods at nodes, and what stands in EC2 for them."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from comanda_testbed.bed import TestBed
from tests.cluster.ebs.caller import Caller, Driver
from tests.cluster.ebs.names import DRIVER, GIB
from tests.cluster.ebs.protocol import csi

ONCE = "SINGLE_NODE_MULTI_WRITER"
"""What the provisioner makes of ReadWriteOnce."""
ONCE_POD = "SINGLE_NODE_SINGLE_WRITER"
"""And of ReadWriteOncePod."""


def capability(mode: str = ONCE, **mount: Any) -> dict[str, Any]:
    """Answer how a volume is to be used."""
    return {"mount": {"fs_type": "ext4", **mount}, "access_mode": {"mode": mode}}


def claim(name: str, gib: float = 1, zone: str = "sa-east-1a", **more: Any) -> dict[str, Any]:
    """Answer what the provisioner asks for a claim, with `--strict-topology` and `--extra-create-metadata`."""
    segments = {"topology.ebs.csi.aws.com/zone": zone, "topology.kubernetes.io/zone": zone, "kubernetes.io/os": "linux"}
    metadata = {f"csi.storage.k8s.io/{key}": value for key, value in _metadata(name).items()}
    topology = [{"segments": segments}]
    return {
        "name": name,
        "capacity_range": {"required_bytes": int(gib * GIB)},
        "volume_capabilities": [capability()],
        "accessibility_requirements": {"requisite": topology, "preferred": topology},
        **more,
        "parameters": {"type": "gp3", "encrypted": "true", **metadata, **more.get("parameters", {})},
    }


def _metadata(name: str) -> dict[str, str]:
    return {"pvc/name": f"claim-of-{name}", "pvc/namespace": "comanda", "pv/name": name}


@dataclass
class Pod:
    """A volume at a node, as kubelet has it there for one pod."""

    driver: Driver
    node: str
    volume: str
    name: str = "pod"
    kind: str = "ext4"

    @property
    def staged(self) -> Path:
        """Where the volume is once for all pods of a node."""
        return self.driver.kubelet(self.node) / "plugins" / DRIVER / self.volume / "globalmount"

    @property
    def place(self) -> Path:
        """Where the pod sees it."""
        return self.driver.kubelet(self.node) / "pods" / self.name / self.volume / "mount"

    @property
    def call(self) -> Caller:
        """The driver at this node."""
        return self.driver.node(self.node)

    def stage(self) -> None:
        """Have the volume at the node."""
        self.call("NodeStageVolume", **self.staging())

    def staging(self, **more: Any) -> dict[str, Any]:
        """Answer what kubelet asks for that."""
        how = capability(fs_type=self.kind)
        return {"volume_id": self.volume, "staging_target_path": str(self.staged), "volume_capability": how, **more}

    def publish(self, **more: Any) -> Path:
        """Have the volume in the pod, and answer where."""
        self.call("NodePublishVolume", **self.publishing(**more))
        return self.place

    def publishing(self, **more: Any) -> dict[str, Any]:
        """Answer what kubelet asks for that."""
        return self.staging(target_path=str(self.place), **more)

    def start(self) -> Path:
        """Do both, and answer where the pod sees the volume."""
        self.stage()
        return self.publish()

    def unpublish(self) -> None:
        """Take the volume from the pod."""
        self.call("NodeUnpublishVolume", volume_id=self.volume, target_path=str(self.place))

    def unstage(self) -> None:
        """Take the volume from the node."""
        self.call("NodeUnstageVolume", volume_id=self.volume, staging_target_path=str(self.staged))

    def grow(self) -> Any:
        """Let the file system fill the volume, as kubelet does after the volume has grown."""
        return self.call("NodeExpandVolume", volume_id=self.volume, volume_path=str(self.place))

    def stop(self) -> None:
        """Do both."""
        self.unpublish()
        self.unstage()

    def usage(self) -> dict[str, Any]:
        """Answer how full the volume is: "BYTES" and "INODES"."""
        answer = self.call("NodeGetVolumeStats", volume_id=self.volume, volume_path=str(self.place))
        return {csi.VolumeUsage.Unit.Name(each.unit): each for each in answer.usage}


@dataclass
class Scene:
    """An account, and the driver in it."""

    bed: TestBed
    driver: Driver

    def volumes(self) -> dict[str, Any]:
        """Answer the volumes in EC2, by id."""
        return {each["VolumeId"]: each for each in self.bed.client("ec2").describe_volumes()["Volumes"]}

    def snapshots(self) -> dict[str, Any]:
        """Answer the snapshots in EC2, by id."""
        found = self.bed.client("ec2").describe_snapshots(OwnerIds=["self"])["Snapshots"]
        return {each["SnapshotId"]: each for each in found}

    def everything(self) -> set[str]:
        """Answer what there is, but for what all disks lie on: mounts, loop devices, disks, volumes, snapshots."""
        state = self.driver.state
        disks = {each.name for each in (state / "disks").iterdir()}
        found = {*self.driver.left(), *disks, *self.volumes(), *self.snapshots()}
        return found - {str(state / "disks"), str(state / "disks.xfs")}

    def made(self, name: str, gib: float = 1, **more: Any) -> Any:
        """Make a volume, and answer it as the driver describes it."""
        return self.driver.controller("CreateVolume", **claim(name, gib, **more)).volume

    def restored(self, name: str, snapshot: str, gib: float = 1, **more: Any) -> Any:
        """Make a volume of a snapshot."""
        source = {"snapshot": {"snapshot_id": snapshot}}
        return self.made(name, gib, volume_content_source=source, **more)

    def kept(self, name: str, volume: str, **more: Any) -> str:
        """Make a snapshot, and answer its id."""
        asked = {"name": name, "source_volume_id": volume, **more}
        found: str = self.driver.controller("CreateSnapshot", **asked).snapshot.snapshot_id
        return found

    def grown(self, volume: str, gib: int) -> Any:
        """Let a volume grow, and answer what the driver says of it."""
        return self.driver.controller(
            "ControllerExpandVolume", volume_id=volume, capacity_range={"required_bytes": gib * GIB}
        )

    def gone(self, *ids: str) -> None:
        """Remove volumes and snapshots."""
        for each in ids:
            if each.startswith("vol-"):
                self.driver.controller("DeleteVolume", volume_id=each)
            else:
                self.driver.controller("DeleteSnapshot", snapshot_id=each)

    def pod(self, node: str, volume: str, name: str = "pod", kind: str = "ext4") -> Pod:
        """Answer a pod that has yet to be started."""
        return Pod(self.driver, node, volume, name, kind)


def tags(thing: dict[str, Any]) -> dict[str, str]:
    """Answer a thing's tags in EC2."""
    return {each["Key"]: each["Value"] for each in thing["Tags"]}
