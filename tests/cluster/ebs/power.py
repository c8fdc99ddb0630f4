"""What happens without the driver: a node loses its power, and the end of it all."""

import shutil
import time
from pathlib import Path

from tests.cluster.ebs.disks import Disks
from tests.cluster.ebs.mounts import DELETED, cut_off, loops, loops_of, path_of
from tests.cluster.ebs.state import State

PATIENCE = 10.0
"""Seconds until a loop device whose users are all gone must have been given back."""


def power_off(folder: Path, node: str) -> None:
    """Take a node's volumes from it, as EC2 does with an instance that is lost. They can be used elsewhere at once.

    What its pods had not flushed is lost. Its processes are the caller's to end, before: one that lives on sees errors
    in its open files, and what it writes reaches nobody.

    Args:
        folder: the driver's state.
    """
    state = State(folder)
    for volume in sorted(state.attachments()):
        with state.alone(volume):
            if state.attached(volume) != node:
                continue
            image = state.disks.file(volume)
            for device in loops_of(image):
                cut_off(device)
            if loops_of(image):
                # Somebody still has it. What he flushes must not get onto the disk that another node will mount.
                state.disks.replace(volume)
            state.detach(volume)


def clean(folder: Path) -> None:
    """Take away all that the driver ever mounted and kept, whoever was killed. Its processes are gone already.

    Args:
        folder: the driver's state, which may be gone as well.

    Raises:
        RuntimeError: a loop device is still used by somebody.
    """
    folder = folder.resolve()
    disks = Disks(folder)
    _give_back(disks.place)
    _give_back(disks.store)
    if folder.exists():
        shutil.rmtree(folder)


def _give_back(files: Path) -> None:
    """Have no loop device with this file, or with one in this folder."""
    deadline = time.monotonic() + PATIENCE
    while left := [device for device, file in loops().items() if _named(file).is_relative_to(files)]:
        if time.monotonic() > deadline:
            raise RuntimeError(f"still in use by somebody: {', '.join(str(path_of(each)) for each in left)}")
        for device in left:
            cut_off(device)
        time.sleep(0.02)


def _named(file: Path) -> Path:
    return Path(str(file).removesuffix(DELETED))
