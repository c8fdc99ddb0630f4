"""Debian's packages in a folder, for images that are made on machines which reach no image registry."""

import shutil
from collections.abc import Iterable
from pathlib import Path

from tests.image.buildah import ran

# What the official images leave out too.
OF_NO_USE = ("usr/share/doc", "usr/share/man", "usr/share/locale", "var/cache/apt", "var/lib/apt/lists", "var/log")
OF_THIS_MACHINE = ("etc/resolv.conf", "etc/hostname")


def installed(root: Path, suite: str, packages: Iterable[str]) -> None:
    """Install a minimal Debian and these packages into a folder, in about a minute; their documentation stays out.

    Args:
        suite: Debian's name of its release.
    """
    assert shutil.which("debootstrap"), "debootstrap is not here: scripts/tools-for-tests"
    ran(["debootstrap", "--variant=minbase", f"--include={','.join(packages)}", suite, str(root)])
    for place in OF_NO_USE:
        for each in (root / place).iterdir():
            shutil.rmtree(each) if each.is_dir() and not each.is_symlink() else each.unlink()
    for place in OF_THIS_MACHINE:
        (root / place).unlink(missing_ok=True)
