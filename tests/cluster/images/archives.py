"""The images as archives in the cache, and on their way to a registry."""

import fcntl
import hashlib
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.cluster.cache import binary, folder, missing, root
from tests.cluster.images.recipes import IMAGES, Image
from tests.cluster.machine import run
from tests.cluster.parts import named
from tests.image.buildah import Buildah, buildah_in


def push(registry: str) -> list[str]:
    """Push all of them, building those that are not in the cache yet: a few minutes the first time.

    One whose part of the cluster is not built is left out.

    Args:
        registry: HOST:PORT, over plain HTTP.

    Returns:
        The names under which the registry had something else before: nodes may still have that.

    Raises:
        Failed: it does not take them, or crane, which pushes, is not built.
    """
    crane = str(binary("crane"))
    moved = []
    for image in IMAGES:
        if missing(map(named, image.parts)):
            continue
        name = f"{registry}/{image.name}"
        before = run(crane, "digest", name, "--insecure", check=False).strip()
        run(crane, "push", str(archive(image)), name, "--insecure")
        if before and before != run(crane, "digest", name, "--insecure").strip():
            moved.append(image.name)
    return moved


def archive(image: Image) -> Path:
    """Answer an image's archive, built if it is not in the cache, by one process at a time."""
    file = place(image)
    if file.exists():  # and whoever builds another is not waited for
        return file
    file.parent.mkdir(parents=True, exist_ok=True)
    with (file.parent / "lock").open("w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not file.exists():
            for older in file.parent.glob(f"{_label(image)}-*.tar"):
                older.unlink()
            with _builder(file.parent) as buildah:
                new = file.with_name(f"new-{file.name}")
                new.unlink(missing_ok=True)
                built = image.build(buildah)
                buildah.run("push", built, f"docker-archive:{new}:{image.name}")
                new.rename(file)
    return file


def place(image: Image) -> Path:
    """Answer where an image's archive is, or will be: what it is made of decides its name."""
    return root().parent / "images" / f"{_label(image)}-{_digest(image)}.tar"


def _label(image: Image) -> str:
    return image.name.rpartition("/")[2].replace(":", "-")


@contextmanager
def _builder(folder: Path) -> Iterator[Buildah]:
    for left in folder.glob("build-*"):
        shutil.rmtree(left, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix="build-", dir=folder, ignore_cleanup_errors=True) as within:
        yield buildah_in(Path(within) / "buildah")


def _digest(image: Image) -> str:
    hashed = hashlib.sha256()
    for part in image.parts:
        hashed.update(folder(named(part)).name.encode())
    for each in image.made_of:
        for file in [each] if each.is_file() else sorted(each.rglob("*")):
            if file.is_file() and "__pycache__" not in file.parts:
                hashed.update(str(file.relative_to(each.parent)).encode() + b"\0" + file.read_bytes())
    return hashed.hexdigest()[:16]
