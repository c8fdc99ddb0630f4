"""The controller service: volumes and snapshots, each here and in EC2, made and removed as a whole."""

import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Any

import grpc
import msgspec

from tests.cluster.ebs.capability import supported
from tests.cluster.ebs.ec2 import Account
from tests.cluster.ebs.names import DRIVERS_ZONE, GIB, ZONE
from tests.cluster.ebs.parameters import Tagging, of_snapshot, of_volume
from tests.cluster.ebs.protocol import csi
from tests.cluster.ebs.server import Refused, given, invalid, not_found, not_now
from tests.cluster.ebs.state import Snapshot, State, Volume
from tests.cluster.ebs.sweep import making, remove_snapshot, remove_volume

USUAL_SIZE = 100 * GIB
"""What the real driver takes if nobody says a size."""
LARGEST = 64 * 1024 * GIB
"""Of a gp3, since 2025."""
EVERYTHING = "account"
"""One call at a time: each takes milliseconds, and a name must not be made twice."""


class Controller:
    """The service.

    Args:
        is_swept: whether what an earlier process left half done is ended; until then nothing is made.
    """

    def __init__(self, state: State, account: Account, tagging: Tagging, is_swept: Callable[[], bool]) -> None:
        self._state = state
        self._account = account
        self._tagging = tagging
        self._is_swept = is_swept

    def controller_get_capabilities(self, request: Any) -> Any:
        """Answer what it can do. SINGLE_NODE_MULTI_WRITER is what ReadWriteOncePod takes."""
        kind = csi.ControllerServiceCapability.RPC
        able = (
            kind.CREATE_DELETE_VOLUME,
            kind.CREATE_DELETE_SNAPSHOT,
            kind.LIST_SNAPSHOTS,
            kind.EXPAND_VOLUME,
            kind.SINGLE_NODE_MULTI_WRITER,
        )
        each = [csi.ControllerServiceCapability(rpc=kind(type=one)) for one in able]
        return csi.ControllerGetCapabilitiesResponse(capabilities=each)

    def create_volume(self, request: Any) -> Any:
        """Make a volume, blank or as a snapshot was; once for a name."""
        name = given(request.name, "Volume name")
        for each in given(request.volume_capabilities, "Volume capabilities"):
            supported(each)
        if request.mutable_parameters:
            raise invalid("Invalid mutable parameter: volumes cannot be modified here")
        asked, source = dict(request.parameters), _source(request)
        wish, zones = of_volume(asked), _zones(request.accessibility_requirements)
        size, limit = _range(request.capacity_range, USUAL_SIZE)
        with self._alone():
            volume = next((each for each in self._state.volumes.all() if each.name == name), None)
            if volume is None:
                if source and size < self._snapshot(source).size:
                    raise Refused(grpc.StatusCode.OUT_OF_RANGE, f"a volume of {source} cannot be smaller than it")
                zone = zones[0] if zones else f"{self._account.region}a"
                with making(self._state, self._account, "volume", name):
                    tags = self._tagging.of_volume(name, wish.tags)
                    made = self._account.make_volume(zone, size // GIB, wish, tags, source)
                    self._state.disks.make(made, size, source=source)
                    volume = Volume(made, name, zone, size, asked, source)
                    self._state.volumes.put(made, volume)
            elif (volume.asked, volume.snapshot) != (asked, source) or not size <= volume.size <= limit:
                raise _already(f"volume {name} is there, and is another: {volume.id}")
            elif zones and volume.zone not in zones:
                raise _already(f"volume {name} is there, in {volume.zone}: {volume.id}")
        return csi.CreateVolumeResponse(volume=_described(volume))

    def delete_volume(self, request: Any) -> Any:
        """Remove a volume that nobody has; that there is none is well."""
        volume = given(request.volume_id, "Volume ID")
        with self._alone():
            if self._state.volumes.get(volume):
                with self._state.alone(volume):
                    if node := self._state.attached(volume):
                        raise not_now(f"VolumeInUse: volume {volume} is at {node}")
                    self._state.volumes.move(volume, self._state.leaving_volumes)
            if self._state.leaving_volumes.get(volume):
                remove_volume(self._state, self._account, volume)
        return csi.DeleteVolumeResponse()

    def controller_expand_volume(self, request: Any) -> Any:
        """Let a volume grow while it is used; kubelet then lets its file system grow."""
        wanted = given(request.volume_id, "Volume ID")
        if not request.HasField("capacity_range"):
            raise invalid("Capacity range not provided")
        size, _ = _range(request.capacity_range, GIB)
        with self._alone():
            volume = self._volume(wanted)
            if size > volume.size:
                self._account.grow(volume.id, size // GIB)
                self._state.disks.grow(volume.id, size)
                volume = msgspec.structs.replace(volume, size=size)
                self._state.volumes.put(volume.id, volume)
        return csi.ControllerExpandVolumeResponse(capacity_bytes=volume.size, node_expansion_required=True)

    def validate_volume_capabilities(self, request: Any) -> Any:
        """Answer whether a volume can be used so."""
        volume = given(request.volume_id, "Volume ID")
        wanted = given(request.volume_capabilities, "Volume capabilities")
        self._volume(volume)
        try:
            for each in wanted:
                supported(each)
        except Refused as refusal:
            return csi.ValidateVolumeCapabilitiesResponse(message=str(refusal))
        confirmed = csi.ValidateVolumeCapabilitiesResponse.Confirmed(volume_capabilities=wanted)
        return csi.ValidateVolumeCapabilitiesResponse(confirmed=confirmed)

    def create_snapshot(self, request: Any) -> Any:
        """Keep a volume as it is at this moment, though somebody writes to it; once for a name. It is ready at once."""
        name = given(request.name, "Snapshot name")
        source = given(request.source_volume_id, "Snapshot volume source ID")
        tags = of_snapshot(request.parameters)
        with self._alone():
            snapshot = next((each for each in self._state.snapshots.all() if each.name == name), None)
            if snapshot is None:
                volume = self._volume(source)
                with making(self._state, self._account, "snapshot", name):
                    made = self._account.make_snapshot(source, self._tagging.of_snapshot(name, tags))
                    self._state.disks.make(made, volume.size, source=source)
                    snapshot = Snapshot(made, name, source, volume.size, time.time())
                    self._state.snapshots.put(made, snapshot)
            elif snapshot.volume != source:
                raise _already(f"Snapshot {name} already exists for different volume ({snapshot.volume})")
        return csi.CreateSnapshotResponse(snapshot=_pictured(snapshot))

    def delete_snapshot(self, request: Any) -> Any:
        """Remove a snapshot; volumes made of it stay. That there is none is well."""
        snapshot = given(request.snapshot_id, "Snapshot ID")
        with self._alone():
            if self._state.snapshots.get(snapshot):
                self._state.snapshots.move(snapshot, self._state.leaving_snapshots)
            if self._state.leaving_snapshots.get(snapshot):
                remove_snapshot(self._state, self._account, snapshot)
        return csi.DeleteSnapshotResponse()

    def list_snapshots(self, request: Any) -> Any:
        """Answer all snapshots, a volume's, or one; in pages by id, so that one that goes does not shift the rest."""
        found = self._state.snapshots.all()
        if request.snapshot_id:
            found = [each for each in found if each.id == request.snapshot_id]
        if request.source_volume_id:
            found = [each for each in found if each.volume == request.source_volume_id]
        if request.starting_token:
            if not request.starting_token.startswith("snap-"):
                raise Refused(grpc.StatusCode.ABORTED, f"{request.starting_token} is no token of ours")
            found = [each for each in found if each.id >= request.starting_token]
        page = found[: request.max_entries or None]
        rest = found[len(page) :]
        entry = csi.ListSnapshotsResponse.Entry
        return csi.ListSnapshotsResponse(
            entries=[entry(snapshot=_pictured(each)) for each in page], next_token=rest[0].id if rest else ""
        )

    def _alone(self) -> AbstractContextManager[None]:
        if not self._is_swept():
            raise Refused(grpc.StatusCode.UNAVAILABLE, "EC2 has not answered yet")
        return self._state.alone(EVERYTHING)

    def _volume(self, wanted: str) -> Volume:
        if volume := self._state.volumes.get(wanted):
            return volume
        raise not_found(f"there is no volume {wanted}")

    def _snapshot(self, wanted: str) -> Snapshot:
        if snapshot := self._state.snapshots.get(wanted):
            return snapshot
        raise not_found(f"there is no snapshot {wanted}")


def _source(request: Any) -> str:
    """Answer the snapshot that a volume is to be made of, "" if it is to be blank."""
    if not request.HasField("volume_content_source"):
        return ""
    if not request.volume_content_source.HasField("snapshot"):
        raise invalid("Unsupported volumeContentSource type")
    source: str = given(request.volume_content_source.snapshot.snapshot_id, "Snapshot ID")
    return source


def _range(wanted: Any, usual: int) -> tuple[int, int]:
    """Answer the size that is wanted, in whole GiB as EBS has it, and the largest that will do."""
    size = -(-(wanted.required_bytes or usual) // GIB) * GIB
    if 0 < wanted.limit_bytes < size:
        raise Refused(grpc.StatusCode.OUT_OF_RANGE, "After round-up, volume size exceeds the limit specified")
    if size > LARGEST:
        raise Refused(grpc.StatusCode.OUT_OF_RANGE, f"a volume has {LARGEST // GIB} GiB at most")
    return size, wanted.limit_bytes or LARGEST


def _zones(wanted: Any) -> list[str]:
    """Answer the zones that a volume may be in, the best first; empty if any will do."""
    topologies = [*wanted.preferred, *wanted.requisite]
    found = [zone for each in topologies if (zone := _zone(each.segments))]
    if topologies and not found:
        raise invalid(f"the topology names no zone ({ZONE} or {DRIVERS_ZONE})")
    return found


def _zone(segments: Mapping[str, str]) -> str:
    return segments.get(ZONE) or segments.get(DRIVERS_ZONE, "")


def _already(text: str) -> Refused:
    return Refused(grpc.StatusCode.ALREADY_EXISTS, text)


def _described(volume: Volume) -> Any:
    answer = csi.Volume(
        volume_id=volume.id,
        capacity_bytes=volume.size,
        accessible_topology=[csi.Topology(segments={ZONE: volume.zone})],
    )
    if volume.snapshot:
        answer.content_source.snapshot.snapshot_id = volume.snapshot
    return answer


def _pictured(snapshot: Snapshot) -> Any:
    answer = csi.Snapshot(
        snapshot_id=snapshot.id, source_volume_id=snapshot.volume, size_bytes=snapshot.size, ready_to_use=True
    )
    answer.creation_time.FromNanoseconds(int(snapshot.made * 1_000_000_000))
    return answer
