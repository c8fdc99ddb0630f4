"""What is mounted on this machine, and what the driver mounts: loop devices whose files are disks.

A loop device is made by `mount` itself and goes back by itself with the last mount of it, however its mounter ended.
"""

import fcntl
import os
import re
import struct
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

BLOCKS = Path("/sys/dev/block")
DELETED = " (deleted)"
"""What the kernel puts after the path of a file that has no name any more."""

FS_IOC_SHUTDOWN = 0x8004587D
WITHOUT_A_FLUSH = 2
"""EXT4_IOC_SHUTDOWN and its EXT4_GOING_FLAGS_NOLOGFLUSH, linux/fs/ext4/ext4.h; XFS has the same."""


@dataclass(frozen=True)
class Mount:
    """A line of mountinfo (proc_pid_mountinfo(5)).

    Args:
        device: "7:3". root: what of the file system is seen there, "/" for all of it. options: of this one place.
        state: options of the file system, wherever it is mounted.
    """

    device: str
    root: str
    place: Path
    options: frozenset[str]
    kind: str
    state: frozenset[str]

    @property
    def is_read_only(self) -> bool:
        """Whether nothing can be written through this place."""
        return "ro" in self.options


def run(*command: str | Path) -> str:
    """Run a command and answer what it said.

    Raises:
        RuntimeError: it failed.
    """
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    if answer.returncode:
        said = " ".join((answer.stderr or answer.stdout).split())
        raise RuntimeError(f"{' '.join(map(str, command))}: {said[-400:]}")
    return answer.stdout


def mounts() -> list[Mount]:
    """Answer all mounts, those that lie over others after them."""
    found = []
    for line in Path("/proc/self/mountinfo").read_text(encoding="utf-8").splitlines():
        fields = line.split(" ")
        dash = fields.index("-", 6)
        place, root = (re.sub(r"\\([0-7]{3})", lambda digits: chr(int(digits[1], 8)), fields[at]) for at in (4, 3))
        options, state = (frozenset(text.split(",")) for text in (fields[5], fields[dash + 3]))
        found.append(Mount(fields[2], root, Path(place), options, fields[dash + 1], state))
    return found


def mount_at(place: Path) -> Mount | None:
    """Answer what is mounted at a place and seen there."""
    real = Path(os.path.realpath(place))
    return next((each for each in reversed(mounts()) if each.place == real), None)


def mounts_of(device: str) -> list[Mount]:
    """Answer where a device is mounted, the innermost places last."""
    return [each for each in mounts() if each.device == device]


def file_behind(device: str) -> Path | None:
    """Answer the file that a loop device has, by its number: "7:3"."""
    try:
        text = (BLOCKS / device / "loop" / "backing_file").read_text(encoding="utf-8").removesuffix("\n")
    except OSError:  # no loop device, or one that has just been given back
        return None
    return Path(text)


def loops() -> dict[str, Path]:
    """Answer the loop devices in use, by their number, with their files. A deleted file's name says so."""
    found = {}
    for each in BLOCKS.glob("*/loop"):
        if file := file_behind(each.parent.name):
            found[each.parent.name] = file
    return found


def loops_of(image: Path) -> list[str]:
    """Answer the numbers of the loop devices that have this very file."""
    return [device for device, file in loops().items() if file == image]


def given_back(image: Path, patience: float) -> bool:
    """Wait until no loop device has a file, for some seconds; answer whether it came to that."""
    deadline = time.monotonic() + patience
    while loops_of(image):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


def path_of(device: str) -> Path:
    """Answer a device's file: /dev/loop3."""
    return Path("/dev") / (BLOCKS / device).resolve().name


def mount_image(image: Path, place: Path, kind: str, flags: Sequence[str] = ()) -> None:
    """Mount a file system that is in a file.

    Raises:
        RuntimeError: it cannot be mounted.
    """
    run("mount", "-t", kind, "-o", ",".join(["loop", *flags]), image, place)


def bind(source: Path, place: Path, flags: Sequence[str]) -> None:
    """Let what is mounted at one place be seen at another too.

    Raises:
        RuntimeError: it cannot be mounted.
    """
    run("mount", "--bind", "-o", ",".join(["bind", *flags]), source, place)


def unmount(place: Path) -> None:
    """Unmount all that is mounted at a place.

    Raises:
        RuntimeError: it is in use.
    """
    while mount_at(place):
        run("umount", place)


def cut_off(device: str) -> None:
    """Take a device from whoever has it mounted, as when the machine loses its power.

    What was flushed is on the disk. Nothing more gets there: whoever still has a file open sees errors. Its places are
    unmounted, and the device is given back, now or when the last process lets go of it.
    """
    places = mounts_of(device)
    for each in places:
        _shut_down(each)
    for each in reversed(places):
        subprocess.run(["umount", "--lazy", each.place], capture_output=True, check=False)
    _unmount_elsewhere(device)
    if file_behind(device):
        # One that was never mounted, or not by mount(8).
        subprocess.run(["losetup", "--detach", path_of(device)], capture_output=True, check=False)


_UNMOUNT_ELSEWHERE = """
import ctypes, os, re, sys
libc = ctypes.CDLL(None)
device, *namespaces = sys.argv[1:]
proc = os.open("/proc", os.O_RDONLY)
for space in [os.open(each, os.O_RDONLY) for each in namespaces if os.path.exists(each)]:
    if libc.setns(space, 0x20000):  # CLONE_NEWNS
        continue
    with open(os.open("self/mountinfo", os.O_RDONLY, dir_fd=proc), "rb") as file:
        places = [line.split()[4] for line in file if line.split()[2] == device.encode()]
    for place in reversed(places):
        libc.umount2(re.sub(rb"\\\\([0-7]{3})", lambda digits: bytes([int(digits[1], 8)]), place), 2)  # MNT_DETACH
"""
"""For a process of its own, since threads share what it changes. No umount(8) need be in there."""


def _unmount_elsewhere(device: str) -> None:
    """Unmount a device in all other mount namespaces.

    One begins with all that is mounted on the machine, and keeps it: a container's, or that of a build beside us. What
    a process in it says is mounted is only what is below its own root, so one has to go and look.
    """
    namespaces = {}
    for each in Path("/proc").glob("[0-9]*/ns/mnt"):
        try:
            namespaces[each.readlink()] = str(each)
        except OSError:  # gone meanwhile
            continue
    namespaces.pop(Path("/proc/self/ns/mnt").readlink(), None)
    command = [sys.executable, "-c", _UNMOUNT_ELSEWHERE, device, *namespaces.values()]
    subprocess.run(command, capture_output=True, check=False)


def _shut_down(mount: Mount) -> None:
    try:
        opened = os.open(mount.place, os.O_RDONLY)
    except OSError:  # shut down already, or unmounted meanwhile
        return
    try:
        seen = os.fstat(opened).st_dev
        # Another mount may lie over this place.
        if f"{os.major(seen)}:{os.minor(seen)}" == mount.device:
            fcntl.ioctl(opened, FS_IOC_SHUTDOWN, struct.pack("I", WITHOUT_A_FLUSH))
    except OSError:  # shut down already
        pass
    finally:
        os.close(opened)
