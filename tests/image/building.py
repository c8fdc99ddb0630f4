"""The image built twice, as an operator builds it, pushed to a registry on this machine, and taken out of it again."""

import ast
import hashlib
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.image import base
from tests.image.buildah import OWN_MOUNTS, Buildah, buildah_in
from tests.image.registry import Registry, running_registry
from tests.image.running import Image

ROOT = Path(__file__).parents[2]
SECRET = "TEST-must-not-be-in-the-image"

# What lies about in a clone, and is nobody's business but its owner's.
LIES_ABOUT = (".comanda/keys.json", "src/comanda/.env", "src/comanda/menu/.menu.json.swp", "requirements/.pip.conf")


@dataclass(frozen=True)
class Updated:
    """What became of two updates in a clone, the second after a change of one line of code."""

    said: str
    clone: Path
    reference: str
    digest: str
    image: Image
    first_layers: tuple[str, ...]
    layers: tuple[str, ...]
    base_layers: int
    registry: Registry


@contextmanager
def updated_in(folder: Path) -> Iterator[Updated]:
    """Build, push and take apart in this folder, which goes with the block."""
    clone = a_clone(folder / "clone")
    with running_registry(folder) as registry:
        buildah = buildah_in(folder / "buildah", docker_io=registry.host)
        repository, tag = base.name().removeprefix("docker.io/").split(":")
        stand_in = buildah.run("pull", f"oci-archive:{base.archive()}")
        buildah.run("push", "--tls-verify=false", stand_in, f"docker://{registry.host}/{repository}:{tag}")
        of_base = json.loads(registry.manifest(repository, tag))

        update(clone, buildah, registry.host, folder)
        (first,) = registry.tags("comanda-api")
        with (clone / "src" / "comanda" / "errors.py").open("a") as file:
            file.write("\n# Another version.\n")
        git(clone, "commit", "--quiet", "--all", "--message", "A change of the code")
        said = update(clone, buildah, registry.host, folder)

        (second,) = set(registry.tags("comanda-api")) - {first}
        before = json.loads(registry.manifest("comanda-api", first))
        content = registry.manifest("comanda-api", second)
        manifest = json.loads(content)
        yield Updated(
            said=said,
            clone=clone,
            reference=f"{registry.host}/comanda-api:{second}",
            digest="sha256:" + hashlib.sha256(content).hexdigest(),
            image=unpacked(registry, manifest, folder / "root"),
            first_layers=tuple(each["digest"] for each in before["layers"]),
            layers=tuple(each["digest"] for each in manifest["layers"]),
            base_layers=len(of_base["layers"]),
            registry=registry,
        )
    mounts = Path("/proc/self/mountinfo").read_text(encoding="utf-8")
    shutil.rmtree(folder)
    assert str(folder) not in mounts, "nothing stays mounted"


def a_clone(folder: Path) -> Path:
    """Make a clone with all that may lie about in one, and a manifest."""
    for name in ("src", "docker", "requirements", "infra"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in (".dockerignore", "pyproject.toml"):
        shutil.copy(ROOT / name, folder / name)
    for name in LIES_ABOUT:
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(SECRET)
    stale = folder / "src" / "comanda" / "__pycache__" / "left_over.cpython-313.pyc"
    stale.parent.mkdir()
    stale.write_text(SECRET)
    # A clone made under a strict umask, as root's may be: its modes must not keep the image's user out.
    for each in (folder / "src").rglob("*"):
        each.chmod(0o700 if each.is_dir() else 0o600)
    manifest = folder / "infra" / "deployment" / "of-the-test.yaml"
    manifest.parent.mkdir(parents=True, exist_ok=True)
    manifest.write_text("      # ours\n      image: comanda-api:0.1.0\n")
    git(folder, "init", "--quiet")
    git(folder, "add", "--all", "--force")
    git(folder, "commit", "--quiet", "--message", "All of it")
    return folder


def git(clone: Path, *arguments: str) -> None:
    who = ("-c", "user.name=Somebody", "-c", "user.email=somebody@example.com", "-c", "commit.gpgsign=false")
    subprocess.run(["git", *who, *arguments], cwd=clone, check=True, capture_output=True)


def update(clone: Path, buildah: Buildah, registry: str, folder: Path) -> str:
    """Run update-api-image in a clone, with buildah alone to build.

    Args:
        registry: HOST:PORT of where to push to. folder: for what is made on the way.
    """
    commands = folder / "commands"
    commands.mkdir(exist_ok=True)
    for name in ("buildah", "git"):
        where = shutil.which(name)
        assert where, f"{name} is not here: scripts/tools-for-tests"
        (commands / name).unlink(missing_ok=True)
        (commands / name).symlink_to(where)
    verb = ("verb", "eks-cluster-mng.sh", "update-api-image", "--yes", "--registry", registry)
    answer = subprocess.run(
        [*OWN_MOUNTS, "env", f"PATH={commands}", sys.executable, "-m", "comanda_deploy", *verb],
        cwd="/",
        env={**buildah.environment, **pip_settings(folder), "PYTHONPATH": str(clone / "src")},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert answer.returncode == 0, (answer.stdout + answer.stderr)[-6000:]
    return answer.stdout


def pip_settings(folder: Path) -> dict[str, str]:
    """Answer how pip reaches PyPI from here, as an operator's environment would say it."""
    answer = subprocess.run([sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True, check=True)
    known: dict[str, str] = {}
    for line in sorted(answer.stdout.splitlines()):  # what the environment says begins with a colon, and goes first
        name, _, value = line.partition("=")
        known.setdefault(name.rpartition(".")[2], ast.literal_eval(value))
    wanted = [f"{name} = {known[name]}" for name in ("index-url", "extra-index-url", "trusted-host") if name in known]
    file = folder / "pip.conf"
    # Both can be told from all that belongs in the image, under whatever name they came into it.
    file.write_text("\n".join([f"# {SECRET}", "[global]", *wanted]) + "\n")
    if "cert" not in known:
        return {"PIP_CONFIG_FILE": str(file)}
    authorities = folder / "authorities.pem"
    authorities.write_text(Path(known["cert"]).read_text(encoding="utf-8") + f"\n# {SECRET}\n", encoding="utf-8")
    return {"PIP_CONFIG_FILE": str(file), "PIP_CERT": str(authorities)}


def unpacked(registry: Registry, manifest: dict[str, object], root: Path) -> Image:
    """Take an image out of a registry, as a node does."""
    layers, config = manifest["layers"], manifest["config"]
    assert isinstance(layers, list)
    assert isinstance(config, dict)
    root.mkdir()
    for layer in layers:
        assert layer["mediaType"].endswith("gzip"), layer["mediaType"]
        subprocess.run(
            ["tar", "--extract", "--gzip", "--numeric-owner", "--preserve-permissions", "--directory", str(root)],
            input=registry.blob("comanda-api", layer["digest"]),
            check=True,
        )
    assert not [*root.rglob(".wh.*")], "a layer takes something away, which tar does not know"
    said = json.loads(registry.blob("comanda-api", config["digest"]))
    return Image(root, said, tuple(layer["size"] for layer in layers))
