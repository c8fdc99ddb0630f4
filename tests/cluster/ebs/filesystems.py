"""The file systems that a volume can have: ext4, which the real driver makes too if a class asks for none, and XFS."""

import subprocess
from pathlib import Path

from tests.cluster.ebs.mounts import BLOCKS, Mount, loops_of, path_of, run

MAKERS = {"ext4": ("mkfs.ext4", "-q", "-F", "-m0"), "xfs": ("mkfs.xfs", "-q", "-f")}
"""With what kubelet's library (k8s.io/mount-utils) makes them."""

OPTIONS = {"ext4": (), "xfs": ("nouuid",)}
"""A restored XFS has the id of the one that it was, which may be mounted beside it; the real driver says so too."""


class InUse(Exception):
    """A file system cannot grow while it is mounted."""


def make(image: Path, kind: str) -> None:
    """Make a file system on a blank disk. One that was half made is blank: its head comes last.

    Raises:
        RuntimeError: the disk has something else on it.
    """
    found = _what_is_on(image)
    if not found:
        run(*MAKERS[kind], image)
    elif found != kind:
        raise RuntimeError(f"{image.stem} has {found} on it, not {kind}, and is not formatted again")


def fill_unmounted(image: Path, kind: str) -> None:
    """Let an ext4 fill its disk, which has grown or is larger than the snapshot that it was made of.

    Raises:
        RuntimeError: it is damaged beyond what a machine may mend by itself.
    """
    # Whoever still has it mounted would not see what is done to it here.
    if kind != "ext4" or loops_of(image) or _bytes_of_ext4(image) >= image.stat().st_size:
        return
    answer = subprocess.run(["e2fsck", "-f", "-p", image], capture_output=True, text=True, check=False)
    mended = 1  # e2fsck(8)
    if answer.returncode > mended:
        raise RuntimeError(f"e2fsck {image.stem}: {' '.join((answer.stdout + answer.stderr).split())}")
    run("resize2fs", image)


def fill_mounted(mount: Mount) -> None:
    """Let a file system fill its disk, whose file has grown, while pods use it.

    Raises:
        InUse: it is an ext4, and this machine withholds CAP_SYS_RESOURCE, without which Linux lets none grow.
        RuntimeError: it does not grow.
    """
    run("losetup", "--set-capacity", path_of(mount.device))
    if mount.kind == "xfs":
        run("xfs_growfs", mount.place)
        return
    try:
        run("resize2fs", path_of(mount.device))
    except RuntimeError as error:
        if "Permission denied to resize" in str(error):
            raise InUse("this machine lets no ext4 grow while it is mounted (CAP_SYS_RESOURCE)") from error
        raise


def errors_of(mount: Mount) -> int:
    """Answer how many errors a mounted ext4 has met. XFS does not count: it shuts itself down."""
    file = Path("/sys/fs") / mount.kind / path_of(mount.device).name / "errors_count"
    return int(file.read_text(encoding="utf-8")) if file.exists() else 0


def bytes_of(device: str) -> int:
    """Answer the size of a device."""
    return int((BLOCKS / device / "size").read_text(encoding="utf-8")) * 512  # sectors, whatever its own size of them


def _what_is_on(image: Path) -> str:
    command = ["blkid", "--probe", "--output", "value", "--match-tag", "TYPE", str(image)]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    nothing = 2  # blkid(8)
    if answer.returncode not in {0, nothing}:
        raise RuntimeError(f"blkid {image}: {answer.stderr.strip() or 'more than one thing is on it'}")
    return answer.stdout.strip() or ("" if answer.returncode else "something")


def _bytes_of_ext4(image: Path) -> int:
    with image.open("rb") as file:
        file.seek(1024)  # linux/fs/ext4/ext4.h, struct ext4_super_block
        head = file.read(1024)
    low, block, high = (int.from_bytes(head[at : at + 4], "little") for at in (0x4, 0x18, 0x150))
    return (low + (high << 32)) << (10 + block)
