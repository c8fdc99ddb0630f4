"""The node service: what a volume is at one node, where kubelet wants it, as long as the node has it.

Each call may come twice, or once more after the driver was killed in the middle: it looks at what is mounted, and does
what is missing.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc

from tests.cluster.ebs import filesystems, mounts
from tests.cluster.ebs.capability import is_for_one_pod, supported
from tests.cluster.ebs.names import DRIVERS_ZONE, SYSTEM, ZONE
from tests.cluster.ebs.protocol import csi
from tests.cluster.ebs.server import Refused, given, invalid, not_found, not_now
from tests.cluster.ebs.state import State, Volume

MOST = 25
"""Volumes at one node, as on a Nitro instance whose other slots its network interfaces have."""

SOON = 5.0
"""Seconds that a loop device may take to be given back. One that is used in a pod's own mounts takes longer."""


class Node:
    """The service at one node.

    Args:
        name: as Kubernetes calls the node.
    """

    def __init__(self, state: State, name: str, zone: str) -> None:
        self._state = state
        self._name = name
        self._zone = zone

    def node_get_capabilities(self, request: Any) -> Any:
        """Answer what it can do."""
        kind = csi.NodeServiceCapability.RPC
        able = (
            kind.STAGE_UNSTAGE_VOLUME,
            kind.EXPAND_VOLUME,
            kind.GET_VOLUME_STATS,
            kind.GET_VOLUME_HEALTH,
            kind.SINGLE_NODE_MULTI_WRITER,
        )
        each = [csi.NodeServiceCapability(rpc=kind(type=one)) for one in able]
        return csi.NodeGetCapabilitiesResponse(capabilities=each)

    def node_get_info(self, request: Any) -> Any:
        """Answer which node this is, and where. Kubelet makes labels of it, which the node has already."""
        segments = {DRIVERS_ZONE: self._zone, ZONE: self._zone, SYSTEM: "linux"}
        return csi.NodeGetInfoResponse(
            node_id=self._name, max_volumes_per_node=MOST, accessible_topology=csi.Topology(segments=segments)
        )

    def node_stage_volume(self, request: Any) -> Any:
        """Have the volume here, and mount it; format it if it is blank, and let its file system fill it."""
        wanted = given(request.volume_id, "Volume ID")
        place = _path(request.staging_target_path, "Staging target")
        kind = supported(_capability(request))
        flags = [*filesystems.OPTIONS[kind], *request.volume_capability.mount.mount_flags]
        with self._alone(wanted) as volume:
            if volume.zone != self._zone:
                raise not_now(f"InvalidVolume.ZoneMismatch: {volume.id} is in {volume.zone}, {self._name} is not")
            if self._state.attached(volume.id) not in {"", self._name}:
                raise not_now(f"VolumeInUse: {volume.id} is at {self._state.attached(volume.id)}")
            self._state.attach(volume.id, self._name)
            try:
                self._mount(volume, place, kind, flags)
            except BaseException:
                self._give_back(volume)
                raise
        return csi.NodeStageVolumeResponse()

    def node_unstage_volume(self, request: Any) -> Any:
        """Unmount the volume, and let other nodes have it."""
        wanted = given(request.volume_id, "Volume ID")
        place = _path(request.staging_target_path, "Staging target")
        if self._state.volumes.get(wanted) is None:
            return csi.NodeUnstageVolumeResponse()  # a volume that somebody has is not removed
        with self._alone(wanted) as volume:
            if self._is_at(volume, place):
                if published := self._places(volume) - {_real(place)}:
                    raise not_now(f"{volume.id} is still published at {', '.join(sorted(map(str, published)))}")
                mounts.unmount(place)
            self._give_back(volume)
        return csi.NodeUnstageVolumeResponse()

    def node_publish_volume(self, request: Any) -> Any:
        """Let a pod see the volume where kubelet says."""
        wanted = given(request.volume_id, "Volume ID")
        staged = _path(request.staging_target_path, "Staging target")
        place = _path(request.target_path, "Target path")
        supported(_capability(request))
        flags = [*request.volume_capability.mount.mount_flags, "ro" if request.readonly else "rw"]
        with self._alone(wanted) as volume:
            if not self._is_at(volume, staged):
                raise not_now(f"{volume.id} is not staged at {staged}")
            others = self._places(volume) - {_real(staged), _real(place)}
            if others and is_for_one_pod(request.volume_capability):
                raise not_now(f"{volume.id} is for one pod, and published at {', '.join(sorted(map(str, others)))}")
            there = mounts.mount_at(place)
            if there is None:
                place.mkdir(parents=True, exist_ok=True)
                mounts.bind(staged, place, flags)
            elif not self._is_at(volume, place) or there.is_read_only != request.readonly:
                raise Refused(grpc.StatusCode.ALREADY_EXISTS, f"something else than {volume.id} is at {place}")
        return csi.NodePublishVolumeResponse()

    def node_unpublish_volume(self, request: Any) -> Any:
        """Take the volume from a pod's sight."""
        given(request.volume_id, "Volume ID")
        place = _path(request.target_path, "Target path")
        mounts.unmount(place)
        if place.is_dir():
            place.rmdir()
        return csi.NodeUnpublishVolumeResponse()

    def node_expand_volume(self, request: Any) -> Any:
        """Let the file system fill the volume, which has grown, while pods use it."""
        wanted = given(request.volume_id, "Volume ID")
        place = _path(request.volume_path, "Volume path")
        with self._alone(wanted) as volume:
            mount = self._mounted(volume, place)
            try:
                filesystems.fill_mounted(mount)
            except filesystems.InUse as refusal:
                # Kubelet then waits for the pod's next start, at which the file system grows before it is mounted.
                raise not_now(str(refusal)) from refusal
            return csi.NodeExpandVolumeResponse(capacity_bytes=filesystems.bytes_of(mount.device))

    def node_get_volume_stats(self, request: Any) -> Any:
        """Answer how full the volume is, in bytes and in files."""
        wanted = given(request.volume_id, "Volume ID")
        place = _path(request.volume_path, "Volume path")
        self._mounted(self._volume(wanted), place)
        seen, usage = os.statvfs(place), csi.VolumeUsage
        block = seen.f_frsize
        of_bytes = usage(
            unit=usage.BYTES,
            total=seen.f_blocks * block,
            used=(seen.f_blocks - seen.f_bfree) * block,
            available=seen.f_bavail * block,
        )
        files = seen.f_files - seen.f_ffree
        of_files = usage(unit=usage.INODES, total=seen.f_files, used=files, available=seen.f_favail)
        return csi.NodeGetVolumeStatsResponse(usage=[of_bytes, of_files])

    def node_get_volume_health(self, request: Any) -> Any:
        """Answer what is wrong with the volume at this node: CSI 1.13's word for what was its condition."""
        volume = self._volume(given(request.volume_id, "Volume ID"))
        place = request.volume_publish_path or request.staging_target_path
        health, kind = csi.VolumeHealth, csi.VolumeHealth.VolumeHealthEntry
        answer = csi.NodeGetVolumeHealthResponse(volume_health=health(volume_id=volume.id))
        mount = mounts.mount_at(Path(place)) if place else None
        if mount is None or not self._is_at(volume, Path(place)):
            return answer
        degraded, inaccessible = 1, 2  # VolumeHealthErrorType
        errors = filesystems.errors_of(mount)
        if "shutdown" in mount.state:
            found = kind(status=inaccessible, reason="ShutDown", message="the file system is shut down")
        elif errors:
            found = kind(status=degraded, reason="FileSystemErrors", message=f"ext4 has met {errors} errors")
        elif {"ro", "emergency_ro"} & mount.state and not mount.is_read_only:
            found = kind(status=degraded, reason="ReadOnly", message="the file system has become read-only")
        else:
            return answer
        answer.volume_health.health_statuses.append(found)
        return answer

    @contextmanager
    def _alone(self, wanted: str) -> Iterator[Volume]:
        """Have a volume to oneself."""
        self._volume(wanted)
        with self._state.alone(wanted):
            yield self._volume(wanted)

    def _volume(self, wanted: str) -> Volume:
        if volume := self._state.volumes.get(wanted):
            return volume
        raise not_found(f"there is no volume {wanted}")

    def _is_at(self, volume: Volume, place: Path) -> bool:
        mount = mounts.mount_at(place)
        return mount is not None and mounts.file_behind(mount.device) == self._state.disks.file(volume.id)

    def _mounted(self, volume: Volume, place: Path) -> mounts.Mount:
        mount = mounts.mount_at(place)
        if mount is None or not self._is_at(volume, place):
            raise not_found(f"{volume.id} is not at {place}")
        return mount

    def _places(self, volume: Volume) -> set[Path]:
        """Answer where the whole of a volume is mounted. What kubelet mounts of it below is its own (subPath)."""
        devices = mounts.loops_of(self._state.disks.file(volume.id))
        return {each.place for device in devices for each in mounts.mounts_of(device) if each.root == "/"}

    def _mount(self, volume: Volume, place: Path, kind: str, flags: list[str]) -> None:
        image = self._state.disks.file(volume.id)
        if not self._is_at(volume, place):
            filesystems.make(image, kind)
            filesystems.fill_unmounted(image, kind)
            place.mkdir(parents=True, exist_ok=True)
            mounts.mount_image(image, place, kind, flags)
        mount = self._mounted(volume, place)
        if kind == "xfs" and not mount.is_read_only:
            filesystems.fill_mounted(mount)  # it grows in no other way

    def _give_back(self, volume: Volume) -> None:
        if self._state.attached(volume.id) == self._name and not self._places(volume):
            # The kernel may take a moment, or a process that looks at all loop devices.
            mounts.given_back(self._state.disks.file(volume.id), SOON)
            self._state.detach(volume.id)


def _path(value: str, what: str) -> Path:
    return Path(given(value, what))


def _real(place: Path) -> Path:
    return Path(os.path.realpath(place))


def _capability(request: Any) -> Any:
    if not request.HasField("volume_capability"):
        raise invalid("Volume capability not provided")
    return request.volume_capability
