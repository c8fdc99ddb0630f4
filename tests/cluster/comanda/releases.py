"""Other images of Comanda, and a clone of the tree in which an operator names them: no test edits this one."""

import io
import shutil
import subprocess
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from comanda_deploy import manifests
from tests.cluster.cache import binary
from tests.cluster.comanda.house import House
from tests.cluster.layout import CLONE
from tests.cluster.machine import run
from tests.image import base
from tests.image.buildah import buildah_in
from tests.image.building import git, pip_settings, update

ELSEWHERE = "registry.example.com/comanda-api"
"""A registry that the tool does not know: whether an image is in it is known to the nodes alone."""

SITE = "opt/comanda/lib/python3.13/site-packages/comanda"


@dataclass(frozen=True)
class Clone:
    """An operator's clone.

    Args:
        folder: where. house: what its verbs are for.
    """

    folder: Path
    house: House

    def verb(self, name: str, *arguments: str, codes: tuple[int, ...] = (0,)) -> str:
        """Run a verb of `eks-cluster-mng.sh` in it, without questions."""
        return self.house.verb(name, *arguments, codes=codes, clone=self.folder)

    @property
    def manifests(self) -> Path:
        """The manifests of API and worker."""
        return self.folder / "infra" / "deployment" / "api"

    def named(self) -> str:
        """Answer the one image that they name."""
        [image] = {image for each in manifests.naming(self.manifests) for image in each.images}
        return image

    def name(self, image: str) -> None:
        """Let them name another."""
        for each in manifests.naming(self.manifests):
            manifests.write(each, image)

    def update(self, house: House) -> None:
        """Change a line of the code, and have `update-api-image` build, push and name it, in the cluster's registry."""
        with (self.folder / "src" / "comanda" / "errors.py").open("a") as file:
            file.write("\n# Another version.\n")
        git(self.folder, "commit", "--quiet", "--all", "--message", "A change of the code")
        with TemporaryDirectory() as folder:
            buildah = buildah_in(Path(folder) / "buildah", docker_io=house.facts["registry"])
            repository, tag = base.name().removeprefix("docker.io/").split(":")
            stand_in = buildah.run("pull", f"oci-archive:{base.archive()}")
            buildah.run(
                "push", "--tls-verify=false", stand_in, f"docker://{house.facts['registry']}/{repository}:{tag}"
            )
            update(self.folder, buildah, house.facts["registry"], Path(folder))


def clone_in(folder: Path, house: House) -> Clone:
    """Make a clone of this tree as it is, committed."""
    for name in ("src", "docker", "requirements", "infra"):
        shutil.copytree(CLONE / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in (".dockerignore", "pyproject.toml"):
        shutil.copy(CLONE / name, folder / name)
    git(folder, "init", "--quiet")
    git(folder, "add", "--all", "--force")
    git(folder, "commit", "--quiet", "--message", "All of it")
    return Clone(folder, house)


def image_before(house: House, commit: str) -> str:
    """Build the image of a commit, push it, and answer its name.

    Raises:
        AssertionError: this clone does not have that commit.
    """
    registry, tag = house.facts["registry"], f"before-{commit[:12]}"
    with TemporaryDirectory() as folder, context_of(Path(folder), commit) as tree:
        buildah = buildah_in(Path(folder) / "buildah")
        buildah.run("pull", f"oci-archive:{base.archive()}")
        [identity] = set(buildah.run("images", "--quiet", "--no-trunc").split())
        dockerfile = tree / "docker" / "Dockerfile"
        [name] = {line.split()[1] for line in dockerfile.read_text().splitlines() if line.startswith("FROM docker.io/")}
        buildah.run("tag", identity, name)
        pip = pip_settings(Path(folder))
        secrets = [f"--secret=id=pip.conf,src={pip['PIP_CONFIG_FILE']}"]
        secrets += [f"--secret=id=ca.pem,src={pip['PIP_CERT']}"] if "PIP_CERT" in pip else []
        buildah.run(
            *("build", "--pull=never", "--network=host", f"--file={dockerfile}", *secrets, "--tag=before"), str(tree)
        )
        buildah.run("push", "--tls-verify=false", "before", f"docker://{registry}/comanda-api:{tag}")
    return f"{ELSEWHERE}:{tag}@{_digest(registry, tag)}"


@contextmanager
def context_of(folder: Path, commit: str) -> Iterator[Path]:
    """Lay a commit's tree out."""
    packed = subprocess.run(["git", "-C", str(CLONE), "archive", commit], capture_output=True, check=False)
    assert packed.returncode == 0, f"this clone has no {commit}: {packed.stderr.decode()}"
    tree = folder / "tree"
    with tarfile.open(fileobj=io.BytesIO(packed.stdout)) as archive:
        archive.extractall(tree, filter="data")
    yield tree


def with_file(house: House, tag: str, name: str, content: str) -> str:
    """Push our image with one more file in its package, and answer its name.

    Args:
        name: the file's, below the package.
    """
    registry = house.facts["registry"]
    with TemporaryDirectory() as folder:
        layer = Path(folder) / "layer.tar"
        with tarfile.open(layer, "w") as archive:
            entry = tarfile.TarInfo(f"{SITE}/{name}")
            entry.size, entry.mode = len(content.encode()), 0o644
            archive.addfile(entry, io.BytesIO(content.encode()))
        run(
            *_crane("append"),
            f"--base={_ours(registry)}",
            f"--new_layer={layer}",
            f"--new_tag={registry}/comanda-api:{tag}",
        )
    return f"{ELSEWHERE}:{tag}@{_digest(registry, tag)}"


def changed(house: House, tag: str, *options: str) -> str:
    """Push our image with something else in its configuration, and answer its name.

    Args:
        options: of `crane mutate`, as "--entrypoint=sleep,3600".
    """
    registry = house.facts["registry"]
    run(*_crane("mutate"), _ours(registry), f"--tag={registry}/comanda-api:{tag}", *options)
    return f"{ELSEWHERE}:{tag}@{_digest(registry, tag)}"


def _ours(registry: str) -> str:
    return f"{registry}/library/comanda-api:0.1.0"


def _crane(command: str) -> tuple[str, ...]:
    return (str(binary("crane")), command, "--insecure")


def _digest(registry: str, tag: str) -> str:
    return run(*_crane("digest"), f"{registry}/comanda-api:{tag}").strip()
