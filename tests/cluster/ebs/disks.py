"""The disks themselves: a file each, on a file system of their own that can clone files.

A snapshot in EBS is the disk at one moment, while it is written to. Copying a file takes longer than a moment, and the
copy would have new blocks beside old ones, which no disk ever had. XFS clones a file at once: no write is between its
beginning and its end. So a clone is as a disk whose machine lost its power just then. What its file system had
not flushed is not in it, and the journal is replayed when it is mounted.
"""

import fcntl
import os
from pathlib import Path

from tests.cluster.ebs.mounts import mount_at, mount_image, run

FICLONE = 0x40049409
"""linux/fs.h"""

ROOM = 2**40
"""Bytes that all disks may claim to have. The file is sparse: it takes what is written, and 64 MiB."""


class Disks:
    """The disks of an account, volumes and snapshots alike, by their ids.

    Args:
        folder: of the state. Its file system need not be able to clone anything.
    """

    def __init__(self, folder: Path) -> None:
        self.store = folder / "disks.xfs"
        self.place = folder / "disks"

    def open(self) -> None:
        """Make and mount the disks' file system, unless it is there. One at a time, please.

        Raises:
            RuntimeError: it cannot be made; xfsprogs is missing, or the kernel has no XFS.
        """
        if mount_at(self.place):
            return
        if not self.store.exists():
            new = self.store.with_suffix(".new")
            new.unlink(missing_ok=True)
            with new.open("wb") as file:
                file.truncate(ROOM)
            try:
                run("mkfs.xfs", "-q", "-m", "reflink=1", "-l", "size=64m", new)
            except FileNotFoundError as error:
                raise RuntimeError("mkfs.xfs is missing: install xfsprogs") from error
            new.replace(self.store)
        self.place.mkdir(exist_ok=True)
        mount_image(self.store, self.place, "xfs", ["noatime", "discard"])

    def file(self, disk: str) -> Path:
        """Answer the file of a disk."""
        return self.place / f"{disk}.img"

    def all(self) -> set[str]:
        """Answer the ids of all disks, those too that killed processes were making."""
        return {each.stem for suffix in ("img", "new") for each in self.place.glob(f"*.{suffix}")}

    def make(self, disk: str, size: int, source: str = "") -> None:
        """Make a disk, blank or as another was, whose end is then blank. It is there whole or not at all.

        Args:
            size: in bytes; of a clone at least the source's.
            source: the id of the disk to clone.
        """
        new = self._new(disk)
        with new.open("wb") as file:
            if source:
                with self.file(source).open("rb") as original:
                    fcntl.ioctl(file, FICLONE, original.fileno())
            if os.fstat(file.fileno()).st_size < size:
                file.truncate(size)
        new.replace(self.file(disk))

    def replace(self, disk: str) -> None:
        """Let a disk be another file with the same content, so that who still has the old one writes into the void."""
        self.make(disk, 0, source=disk)

    def grow(self, disk: str, size: int) -> None:
        """Let a disk be larger; smaller it never gets."""
        with self.file(disk).open("rb+") as file:
            if os.fstat(file.fileno()).st_size < size:
                file.truncate(size)

    def remove(self, disk: str) -> None:
        """Remove a disk, and what a killed process left of making it."""
        self._new(disk).unlink(missing_ok=True)
        self.file(disk).unlink(missing_ok=True)

    def _new(self, disk: str) -> Path:
        return self.place / f"{disk}.new"
