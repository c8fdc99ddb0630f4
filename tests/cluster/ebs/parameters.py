"""What a StorageClass or a VolumeSnapshotClass may say, and the tags that come of it, as the real driver has them.

Sources: docs/parameters.md and docs/tagging.md of kubernetes-sigs/aws-ebs-csi-driver.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from tests.cluster.ebs.names import DRIVER
from tests.cluster.ebs.server import invalid

KINDS = ("gp3", "gp2", "io1", "io2", "sc1", "st1", "standard")
TAG = "tagSpecification"
NOT_PLAYED = frozenset(
    {
        "iopspergb",
        "allowautoiopspergbincrease",
        "blockexpress",
        "blocksize",
        "inodesize",
        "bytesperinode",
        "numberofinodes",
        "ext4bigalloc",
        "ext4clustersize",
        "ext4encryptionsupport",
        "volumeinitializationrate",
        "outpostarn",
        "fastsnapshotrestoreavailabilityzones",
        "locksnapshotmode",
    }
)
"""What the real driver takes and this one refuses, rather than to do as if."""

VOLUME_NAME = "CSIVolumeName"
SNAPSHOT_NAME = "CSIVolumeSnapshotName"
DRIVERS = f"{DRIVER}/cluster"
CREATED_FOR = {
    "csi.storage.k8s.io/pvc/name": "kubernetes.io/created-for/pvc/name",
    "csi.storage.k8s.io/pvc/namespace": "kubernetes.io/created-for/pvc/namespace",
    "csi.storage.k8s.io/pv/name": "kubernetes.io/created-for/pv/name",
}
"""Tags by the parameters that the provisioner adds to a class's own (--extra-create-metadata)."""

FIELDS = {
    "csi.storage.k8s.io/pvc/name": "PVCName",
    "csi.storage.k8s.io/pvc/namespace": "PVCNamespace",
    "csi.storage.k8s.io/pv/name": "PVName",
    "csi.storage.k8s.io/volumesnapshot/name": "VolumeSnapshotName",
    "csi.storage.k8s.io/volumesnapshot/namespace": "VolumeSnapshotNamespace",
    "csi.storage.k8s.io/volumesnapshotcontent/name": "VolumeSnapshotContentName",
}
"""What a tag's value may name, as {{ .PVCName }}, by the parameter that it stands for."""


@dataclass(frozen=True)
class Wish:
    """What a volume shall be beside its size, and its tags beside those that the driver gives to all.

    Args:
        iops: 0 for what EC2 chooses; throughput: as well. key: of KMS, "" for the account's own.
    """

    kind: str = "gp3"
    iops: int = 0
    throughput: int = 0
    encrypted: bool = False
    key: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Tagging:
    """The tags of all that the driver makes.

    Args:
        cluster: its --k8s-tag-cluster-id. extra: its --extra-tags.
    """

    cluster: str
    extra: Mapping[str, str]

    def of_volume(self, name: str, own: Mapping[str, str]) -> dict[str, str]:
        """Answer a volume's tags."""
        of_cluster = {"KubernetesCluster": self.cluster}  # snapshots never had it
        return {VOLUME_NAME: name, **self._of_all(name), **of_cluster, **self.extra, **own}

    def of_snapshot(self, name: str, own: Mapping[str, str]) -> dict[str, str]:
        """Answer a snapshot's tags."""
        return {SNAPSHOT_NAME: name, **self._of_all(name), **self.extra, **own}

    def _of_all(self, name: str) -> dict[str, str]:
        return {
            DRIVERS: "true",
            f"kubernetes.io/cluster/{self.cluster}": "owned",
            "Name": f"{self.cluster}-dynamic-{name}",
        }


def of_volume(parameters: Mapping[str, str]) -> Wish:
    """Read a StorageClass's parameters.

    Raises:
        Refused: one is unknown, or has a wrong value.
    """
    kind, iops, throughput, encrypted, key = "gp3", 0, 0, False, ""
    tags = {CREATED_FOR[name]: value for name, value in parameters.items() if name in CREATED_FOR}
    for name, value in parameters.items():
        match name.lower():
            case "type":
                kind = value
            case "iops":
                iops = _number(name, value)
            case "throughput":
                throughput = _number(name, value)
            case "encrypted":
                encrypted = value == "true"
            case "kmskeyid":
                key = value
            case "csi.storage.k8s.io/fstype" | "fstype":
                only_played(value)
            case _ if name in CREATED_FOR or name.startswith(TAG):
                pass
            case _:
                raise _unknown(name, "CreateVolume")
    if kind not in KINDS:
        raise invalid(f"invalid AWS VolumeType {kind!r}: it is one of {', '.join(KINDS)}")
    return Wish(kind, iops, throughput, encrypted, key, tags | own_tags(parameters))


def of_snapshot(parameters: Mapping[str, str]) -> dict[str, str]:
    """Read a VolumeSnapshotClass's parameters: the tags that it asks for.

    Raises:
        Refused: one is unknown, or has a wrong value.
    """
    for name in parameters:
        if name not in FIELDS and not name.startswith(TAG):
            raise _unknown(name, "CreateSnapshot")
    return own_tags(parameters)


def own_tags(parameters: Mapping[str, str]) -> dict[str, str]:
    """Answer the tags that a class asks for: tagSpecification_1: "key=value".

    Raises:
        Refused: one cannot be a tag, or is not the class's to give.
    """
    known = {FIELDS[name]: value for name, value in parameters.items() if name in FIELDS}

    def filled(found: re.Match[str]) -> str:
        word = found[1].strip().removeprefix(".")
        if word not in known:
            raise invalid(f"Error interpolating the tag value: {found[0]} is not known here")
        return known[word]

    tags = {}
    for name, text in parameters.items():
        if name.startswith(TAG):
            key, equals, value = re.sub(r"\{\{(.*?)\}\}", filled, text).partition("=")
            if not equals:
                raise invalid(f"Invalid tag value: {name} is not KEY=VALUE")
            tags[key] = value
    check_tags(tags)
    return tags


def check_tags(tags: Mapping[str, str]) -> None:
    """Look at tags that somebody else than the driver chose.

    Raises:
        Refused: one cannot be a tag, or is the driver's or AWS's own.
    """
    for key, value in tags.items():
        if not 0 < len(key) <= 128 or len(value) > 256:
            raise invalid(f"Invalid tag value: {key} is longer than a tag can be, or empty")
        if key in {VOLUME_NAME, SNAPSHOT_NAME, DRIVERS} or key.startswith(("kubernetes.io", "aws:")):
            raise invalid(f"Invalid tag value: the tag {key} is reserved")


def only_played(kind: str) -> str:
    """Answer a file system's name, ext4 if none is given.

    Raises:
        Refused: it is one that is not played.
    """
    if kind not in {"", "ext4", "xfs"}:
        raise invalid(f"the file system {kind} is not played here, only ext4 and xfs")
    return kind or "ext4"


def _number(name: str, value: str) -> int:
    if not re.fullmatch(r"[0-9]{1,9}", value):
        raise invalid(f"Could not parse invalid {name}: {value!r}")
    return int(value)


def _unknown(name: str, call: str) -> Exception:
    if name.lower() in NOT_PLAYED:
        return invalid(f"the parameter {name} is not played here")
    return invalid(f"Invalid parameter key {name} for {call}")
