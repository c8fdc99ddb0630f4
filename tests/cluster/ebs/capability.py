"""How a volume may be used: mounted, at one node."""

from typing import Any

from tests.cluster.ebs.parameters import only_played
from tests.cluster.ebs.protocol import csi
from tests.cluster.ebs.server import invalid


def supported(capability: Any) -> str:
    """Look at what is wanted of a volume, and answer which file system it is to have.

    Raises:
        Refused: an EBS volume cannot do it, or it is not played here.
    """
    mode = csi.VolumeCapability.AccessMode
    # As an EBS volume: at one node. ReadWriteOnce is the second or the third of them, ReadWriteOncePod the first.
    able = {mode.SINGLE_NODE_SINGLE_WRITER, mode.SINGLE_NODE_WRITER, mode.SINGLE_NODE_MULTI_WRITER}
    if capability.access_mode.mode not in able:
        raise invalid(f"Volume capabilities not supported: {mode.Mode.Name(capability.access_mode.mode)}")
    if not capability.HasField("mount"):
        raise invalid("Volume capabilities not supported: raw block volumes are not played here")
    return only_played(capability.mount.fs_type)


def is_for_one_pod(capability: Any) -> bool:
    """Whether a volume is not to be published twice: ReadWriteOncePod."""
    one: int = csi.VolumeCapability.AccessMode.SINGLE_NODE_SINGLE_WRITER
    return bool(capability.access_mode.mode == one)
