"""Stand-ins for the images of the monitoring: the originals' programs, where they can be had, in images like theirs.

Prometheus and node exporter are built from their modules, at the originals' versions; Alertmanager and the exporter of
PostgreSQL are Debian's, and older. Grafana and kube-state-metrics can be had in no way: theirs say nothing.
"""

import hashlib
from collections.abc import Callable
from pathlib import Path

from tests.cluster.cache import binary, root
from tests.image import debian
from tests.image.buildah import Buildah, ran

PLACEHOLDER = Path(__file__).with_name("placeholder.py")
MADE_OF = (Path(__file__), PLACEHOLDER, Path(debian.__file__))
NOBODY = "65534"
SUITE = "trixie"
PACKAGES = ("ca-certificates", "prometheus-alertmanager", "prometheus-postgres-exporter", "python3")

ALERTMANAGER_LACKS = ("0.28, Debian's: what came after is not there",)
POSTGRES_EXPORTER_LACKS = ("0.17, Debian's: what came after is not there",)
PLACEHOLDERS_LACK = ("all of it: a program that answers everything with nothing",)
OTHERS_LACK = ("busybox: there is no shell in it",)


def prometheus(buildah: Buildah) -> str:
    """Make Prometheus' image and answer its name in the storage."""
    container = _with_programs(buildah, "prometheus", "promtool")
    # As the original has it: both are the server's own to write.
    folder = buildah.folder.with_name("data")
    (folder / "prometheus").mkdir(parents=True)
    buildah.run("add", f"--chown={NOBODY}:{NOBODY}", container, str(folder), "/")
    buildah.run(
        "config",
        f"--user={NOBODY}",
        "--workingdir=/prometheus",
        "--volume=/prometheus",
        "--port=9090/tcp",
        '--entrypoint=["/bin/prometheus"]',
        '--cmd=["--config.file=/etc/prometheus/prometheus.yml", "--storage.tsdb.path=/prometheus"]',
        container,
    )
    return buildah.run("commit", container, "prometheus")


def node_exporter(buildah: Buildah) -> str:
    """Make node exporter's image and answer its name in the storage."""
    container = _with_programs(buildah, "node_exporter")
    buildah.run("config", f"--user={NOBODY}", "--port=9100/tcp", '--entrypoint=["/bin/node_exporter"]', container)
    return buildah.run("commit", container, "node-exporter")


def alertmanager(buildah: Buildah) -> str:
    """Make Alertmanager's image and answer its name in the storage."""
    container = _of_debian(buildah, "/usr/bin/prometheus-alertmanager", "/bin/alertmanager")
    buildah.run("config", f"--user={NOBODY}", '--entrypoint=["/bin/alertmanager"]', container)
    buildah.run(
        "config",
        "--workingdir=/alertmanager",
        '--cmd=["--config.file=/etc/alertmanager/alertmanager.yml", "--storage.path=/alertmanager"]',
        container,
    )
    return buildah.run("commit", container, "alertmanager")


def postgres_exporter(buildah: Buildah) -> str:
    """Make the image of PostgreSQL's exporter and answer its name in the storage."""
    container = _of_debian(buildah, "/usr/bin/prometheus-postgres-exporter", "/bin/postgres_exporter")
    buildah.run("config", f"--user={NOBODY}", '--entrypoint=["/bin/postgres_exporter"]', container)
    return buildah.run("commit", container, "postgres-exporter")


def placeholder(user: str, *ports: int) -> Callable[[Buildah], str]:
    """Answer what makes an image that listens and says nothing.

    Args:
        user: whose number the original runs as.
    """

    def build(buildah: Buildah) -> str:
        container = _of_debian(buildah)
        buildah.run("add", "--chmod=0644", container, str(PLACEHOLDER), "/placeholder.py")
        buildah.run(
            "config",
            f"--user={user}",
            f"--env=PLACEHOLDER_PORTS={' '.join(map(str, ports))}",
            '--entrypoint=["/usr/bin/python3", "/placeholder.py"]',
            container,
        )
        return buildah.run("commit", container, "placeholder")

    return build


def _with_programs(buildah: Buildah, *names: str) -> str:
    container = buildah.run("from", "scratch")
    for name in names:
        buildah.run("add", "--chmod=0755", container, str(binary(name)), f"/bin/{name}")
    buildah.run("config", "--env=PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", container)
    return container


def _of_debian(buildah: Buildah, *program: str) -> str:
    """Answer a container of what all of them take from Debian, which is fetched once.

    Args:
        program: where it is, and where the original has it.
    """
    made_by = hashlib.sha256(b"".join(file.read_bytes() for file in MADE_OF)).hexdigest()[:16]
    file = root().parent / "images" / f"debian-{made_by}.tar"
    if not file.exists():  # under the lock of the one who builds
        for older in file.parent.glob("debian-*.tar"):
            older.unlink()
        folder = buildah.folder.with_name("debian")
        debian.installed(folder, SUITE, PACKAGES)
        new = file.with_suffix(".new")
        ran(["tar", "--create", f"--file={new}", f"--directory={folder}", "."])
        new.rename(file)
    container = buildah.run("from", "scratch")
    buildah.run("add", container, str(file), "/")
    if program:
        buildah.run("run", container, "--", "ln", "-s", *program)
    return container
