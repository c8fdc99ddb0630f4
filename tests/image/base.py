"""The base image's stand-in, for machines that reach Debian's packages and no image registry.

It is like the official image in what ours rests on: Debian and Python of the same versions, `python` in /usr/local/bin
and that first in the PATH, venv and certificates, no bytecode of Python's own modules, a CMD of its own. Who compiled
Python is another matter, and that it lies in /usr.
"""

import fcntl
import hashlib
import re
import shutil
import tempfile
from pathlib import Path

from tests.image import debian
from tests.image.buildah import Buildah, buildah_in
from tests.image.cache import CACHE

DOCKERFILE = Path(__file__).parents[2] / "docker" / "Dockerfile"
NAME = re.compile(r"^FROM (docker\.io/library/python:3\.13\.\d+-slim-(trixie))\S* AS base$", re.MULTILINE)
PACKAGES = ("python3", "python3-venv", "ca-certificates", "netbase", "tzdata")
MADE_BY = (Path(__file__), Path(debian.__file__))


def name() -> str:
    """Answer the base's name, as the Dockerfile has it."""
    return _found()[1]


def archive() -> Path:
    """Answer the archive of the stand-in; made the first time, in about a minute, and by one process."""
    made_by = hashlib.sha256(b"".join(file.read_bytes() for file in MADE_BY) + name().encode()).hexdigest()[:16]
    CACHE.mkdir(parents=True, exist_ok=True)
    file = CACHE / f"image-base-{made_by}.tar"
    with (CACHE / "image-base.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not file.exists():
            for half_made in CACHE.glob("image-base-*/"):  # by who was killed: nobody else is at it now
                shutil.rmtree(half_made)
            with tempfile.TemporaryDirectory(prefix="image-base-", dir=CACHE) as folder:
                _make(Path(folder), suite=_found()[2]).rename(file)
    return file


def _found() -> re.Match[str]:
    found = NAME.search(DOCKERFILE.read_text(encoding="utf-8"))
    assert found, "the Dockerfile has another base than this stands in for"
    return found


def _make(folder: Path, suite: str) -> Path:
    root = folder / "root"
    debian.installed(root, suite, PACKAGES)
    for bytecode in (root / "usr" / "lib").rglob("*.pyc"):
        bytecode.unlink()
    (root / "usr/local/bin/python3").symlink_to("/usr/bin/python3")
    (root / "usr/local/bin/python").symlink_to("python3")
    return _pack(buildah_in(folder / "buildah"), root, folder / "base.tar")


def _pack(buildah: Buildah, root: Path, file: Path) -> Path:
    container = buildah.run("from", "scratch")
    buildah.run("add", container, str(root), "/")
    path = "/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin"
    buildah.run("config", "--env", f"PATH={path}", "--cmd", '["python3"]', container)
    buildah.run("commit", container, f"oci-archive:{file}")
    return file
