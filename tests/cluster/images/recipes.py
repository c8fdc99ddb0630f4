"""Which images there are, and how each is made."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from comanda import __version__
from comanda_deploy.image import PIP
from tests.cluster.images import monitoring, postgres
from tests.image import base
from tests.image.buildah import Buildah

CLONE = Path(__file__).parents[3]


@dataclass(frozen=True)
class Image:
    """One image.

    Args:
        name: as a registry has it, with its tag; Docker Hub's official ones are in `library/`.
        made_of: what decides what is in it, files and folders. build: makes it, and answers its name in the storage.
        lacks: what the original has, and this has not; none where it is the original.
        parts: the parts of the cluster whose programs are in it (tests/cluster/parts.py).
    """

    name: str
    made_of: tuple[Path, ...]
    build: Callable[[Buildah], str]
    lacks: tuple[str, ...] = ()
    parts: tuple[str, ...] = ()


def _ours(buildah: Buildah) -> str:
    buildah.run("pull", f"oci-archive:{base.archive()}")
    [identity] = set(buildah.run("images", "--quiet", "--no-trunc").split())
    buildah.run("tag", identity, base.name())
    given = {name: Path(os.environ[variable]) for variable, name in PIP.items() if os.environ.get(variable)}
    options = [f"--secret=id={name},src={file}" for name, file in given.items() if file.is_file()]
    buildah.run(
        *("build", "--pull=never", "--network=host", f"--file={base.DOCKERFILE}"),
        *(*options, "--tag=comanda-api", f"--build-arg=VERSION={__version__}", str(CLONE)),
    )
    return "comanda-api"


IMAGES = (
    Image(
        f"library/comanda-api:{__version__}",
        (
            *(CLONE / "docker", CLONE / "src" / "comanda", CLONE / "requirements" / "base.txt"),
            *(CLONE / ".dockerignore", *base.MADE_BY),
        ),
        _ours,
        ("Python as python.org releases it: this one is Debian's, of the same minor version",),
    ),
    Image(postgres.NAME, postgres.MADE_OF, postgres.build, postgres.LACKS),
    Image(
        "prom/prometheus:v3.16.0",
        monitoring.MADE_OF,
        monitoring.prometheus,
        monitoring.OTHERS_LACK,
        ("prometheus",),
    ),
    Image(
        "prom/node-exporter:v1.12.1",
        monitoring.MADE_OF,
        monitoring.node_exporter,
        monitoring.OTHERS_LACK,
        ("node-exporter",),
    ),
    Image("prom/alertmanager:v0.33.1", monitoring.MADE_OF, monitoring.alertmanager, monitoring.ALERTMANAGER_LACKS),
    Image(
        "prometheuscommunity/postgres-exporter:v0.19.1",
        monitoring.MADE_OF,
        monitoring.postgres_exporter,
        monitoring.POSTGRES_EXPORTER_LACKS,
    ),
    Image(
        "kube-state-metrics/kube-state-metrics:v2.19.1",
        monitoring.MADE_OF,
        monitoring.placeholder("65534", 8080, 8081),
        monitoring.PLACEHOLDERS_LACK,
    ),
    Image(
        "grafana/grafana:13.2.3", monitoring.MADE_OF, monitoring.placeholder("472", 3000), monitoring.PLACEHOLDERS_LACK
    ),
)
