"""The image as it ships: the Dockerfile unchanged, built by a real builder, pushed to a real registry, and run.

In place of Docker Hub there is a registry on this machine with a stand-in for Python's image, and of a container
runtime there are a chroot, a read-only bind and the image's own user. What the verb does around it is in
`tests/deployment/test_image.py`.
"""

import ast
import asyncio
import hashlib
import json
import re
import shutil
import signal
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import pytest

from comanda_deploy import manifests
from tests.image import base
from tests.image.buildah import OWN_MOUNTS, Buildah, buildah_in
from tests.image.registry import Registry, running_registry
from tests.image.running import Image
from tests.processes.pods import environment

pytestmark = pytest.mark.root

ROOT = Path(__file__).parents[2]
SECRET = "TEST-must-not-be-in-the-image"
OURS_AT_MOST = 45 << 20
"""Bytes as pushed, without the base: what a node pulls. A new package may need more; then say so here."""

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


@pytest.fixture(scope="module")
def updated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Updated]:
    folder = tmp_path_factory.mktemp("image")
    clone = a_clone(folder / "clone")
    with running_registry(folder) as registry:
        buildah = buildah_in(folder / "buildah", docker_io=registry.host)
        repository, tag = base.name().removeprefix("docker.io/").split(":")
        stand_in = buildah.run("pull", f"oci-archive:{base.archive()}")
        buildah.run("push", "--tls-verify=false", stand_in, f"docker://{registry.host}/{repository}:{tag}")
        of_base = json.loads(registry.manifest(repository, tag))

        update(clone, buildah, registry, folder)
        (first,) = registry.tags("comanda-api")
        with (clone / "src" / "comanda" / "errors.py").open("a") as file:
            file.write("\n# Another version.\n")
        git(clone, "commit", "--quiet", "--all", "--message", "A change of the code")
        said = update(clone, buildah, registry, folder)

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


def update(clone: Path, buildah: Buildah, registry: Registry, folder: Path) -> str:
    """Run update-api-image in a clone, with buildah alone to build."""
    commands = folder / "commands"
    commands.mkdir(exist_ok=True)
    for name in ("buildah", "git"):
        where = shutil.which(name)
        assert where, f"{name} is not here: scripts/tools-for-tests"
        (commands / name).unlink(missing_ok=True)
        (commands / name).symlink_to(where)
    verb = ("verb", "eks-cluster-mng.sh", "update-api-image", "--yes", "--registry", registry.host)
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
    file.write_text("\n".join(["[global]", *wanted]) + "\n")
    return {"PIP_CONFIG_FILE": str(file), **({"PIP_CERT": known["cert"]} if "cert" in known else {})}


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


def in_image(image: Image, code: str) -> str:
    """Run Python in the image, and answer what it said."""
    return ran(image.other_command(["python", "-c", code]))


def ran(command: list[str]) -> str:
    answer = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=120)
    assert answer.returncode == 0, answer.stderr
    return answer.stdout


def test_it_is_pushed_and_every_manifest_names_it_by_its_digest(updated: Updated) -> None:
    image = f"{updated.reference}@{updated.digest}"
    assert re.search(r"comanda-api:\d{8}-\d{6}-[0-9a-f]{7}$", updated.reference), "and it is the commit's own"
    assert f"Pushed {image}\n" in updated.said
    assert hashlib.sha256(updated.registry.manifest("comanda-api", updated.digest)).hexdigest() in updated.digest
    written = updated.clone / "infra" / "deployment" / "of-the-test.yaml"
    assert written.read_text() == f"      # ours\n      image: {image}\n"
    for each in manifests.naming(updated.clone / "infra" / "deployment"):
        assert set(each.images) == {image}, each.file


def test_what_it_says_of_itself(updated: Updated) -> None:
    config = updated.image.config
    assert config["User"] == "10001:10001"
    assert config["Entrypoint"] == ["comanda"]
    assert not config.get("Cmd"), "the base's own command is none of ours"
    assert not config.get("Healthcheck")
    assert "StopSignal" not in config
    commit = subprocess.run(["git", "rev-parse", "HEAD"], cwd=updated.clone, check=True, capture_output=True, text=True)
    labels = {
        name.removeprefix("org.opencontainers.image."): value
        for name, value in config["Labels"].items()
        if name.startswith("org.opencontainers.image.")
    }
    created = labels.pop("created")
    assert re.fullmatch(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00", created)
    assert re.sub(r"\D", "", created)[:14] == re.sub(r"\D", "", updated.reference.rpartition(":")[2])[:14]
    assert labels == {
        "title": "comanda-api",
        "description": "Self-service ordering for a diner, paid by Pix: API, worker, migrations",
        "licenses": "Apache-2.0",
        "version": "0.1.0",
        "revision": commit.stdout.strip(),
    }


def test_its_commands_work_for_its_user_where_nothing_can_be_written(updated: Updated) -> None:
    image = updated.image
    assert ran(image.command("--help")).startswith("usage: comanda [-h] COMMAND")
    document = json.loads(ran(image.command("openapi")))
    assert document["openapi"].startswith("3.")
    assert "/v1/menu" in document["paths"]
    code = "import os; print(os.getuid(), os.getgid(), os.getgroups(), os.statvfs('/tmp').f_flag & os.ST_RDONLY)"
    assert in_image(image, code) == "10001 10001 [] 1\n", "nor did this test help it"


async def test_it_migrates_and_serves_and_ends_when_told_to(updated: Updated, empty_database: str) -> None:
    image = updated.image
    assert re.fullmatch(r"\d+ migrations applied\n", ran(image.command("migrate", DATABASE_URL=empty_database)))
    assert ran(image.command("migrate", MIGRATION_DATABASE_URL=empty_database)) == "nothing to migrate\n"
    for verb in ("serve", "worker"):
        settings = environment(empty_database)
        del settings["PATH"]
        process = await asyncio.create_subprocess_exec(
            *image.command(verb, **settings),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        assert process.stdout is not None
        said = b""
        try:
            async with asyncio.timeout(60):
                while b'"message":"ready"' not in said:
                    line = await process.stdout.readline()
                    assert line, f"{verb} ended: {said.decode()}"
                    said += line
                if verb == "serve":
                    url = f"http://127.0.0.1:{settings['PORT']}/v1/menu"
                    async with aiohttp.ClientSession() as session, session.get(url) as answer:
                        assert answer.status == 200
                process.send_signal(signal.SIGTERM)
                said += await process.stdout.read()
                assert await process.wait() == 0, said.decode()
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        assert b"Traceback" not in said, said.decode()


@pytest.mark.parametrize("package", ["comanda_sandbox", "comanda_local", "comanda_deploy", "comanda_testbed", "pip"])
def test_what_does_not_run_in_a_pod_is_not_in_it(updated: Updated, package: str) -> None:
    answer = subprocess.run(
        updated.image.other_command(["python", "-c", f"import {package}"]), capture_output=True, text=True, check=False
    )
    assert answer.returncode == 1
    assert f"No module named '{package}'" in answer.stderr
    ours = updated.image.root / "opt"
    assert not [*ours.rglob(package), *ours.rglob(f"{package}-*")]


def test_of_the_clone_only_the_package_is_inside(updated: Updated) -> None:
    image, source = updated.image, ROOT / "src" / "comanda"
    (package,) = image.root.joinpath("opt/comanda/lib").glob("python3.*/site-packages/comanda")
    shipped = {
        str(file.relative_to(source))
        for file in source.rglob("*")
        if file.is_file() and file.suffix in {".py", ".sql", ".json", ".typed"}
    }
    inside = {str(file.relative_to(package)) for file in package.rglob("*") if file.is_file() and file.suffix != ".pyc"}
    assert inside == shipped
    names = {each.name for each in image.root.rglob("*")}
    assert not names & {".git", ".venv", ".comanda", ".env", "pip.conf", "ca.pem", "base.txt", "Dockerfile"}
    assert not image.root.joinpath("run/secrets").exists()
    assert not image.root.joinpath("build").exists()
    assert {each.name for each in image.root.joinpath("root").iterdir()} <= {".bashrc", ".profile"}, "no cache of pip's"
    assert [path.name for path in image.root.joinpath("opt/comanda/bin").iterdir() if not path.is_symlink()] == [
        "comanda"
    ]


def test_no_secret_is_inside_nor_in_its_history(updated: Updated) -> None:
    image = updated.image
    assert SECRET not in json.dumps(dict(image.described))
    found = [
        str(file)
        for file in image.root.rglob("*")
        if file.is_file() and not file.is_symlink() and SECRET.encode() in file.read_bytes()
    ]
    assert not found


def test_its_user_owns_nothing_and_can_change_nothing(updated: Updated) -> None:
    wrong = []
    for path in updated.image.root.rglob("*"):
        found = path.lstat()
        if stat.S_ISLNK(found.st_mode):
            continue
        is_scratch = stat.S_ISDIR(found.st_mode) and found.st_mode & stat.S_ISVTX
        if found.st_uid == 10001 or found.st_gid == 10001 or (found.st_mode & stat.S_IWOTH and not is_scratch):
            wrong.append(str(path))
        if stat.S_ISREG(found.st_mode) and found.st_mode & (stat.S_ISUID | stat.S_ISGID):
            wrong.append(f"{path} makes root")
    assert not [path for path in wrong if "/dev/" not in path]


def test_nothing_is_left_to_be_compiled_at_a_start(updated: Updated) -> None:
    code = """
import os, sys
import comanda.__main__, comanda.app, comanda.worker, comanda.database.migrate, comanda.menu.sample
found = [module.__spec__ for module in list(sys.modules.values()) if getattr(module, "__spec__", None)]
compiled = [spec.cached for spec in found if spec.has_location and spec.cached and spec.origin.endswith(".py")]
print(len(compiled), [each for each in compiled if not os.path.exists(each)])
"""
    count, _, missing = in_image(updated.image, code).partition(" ")
    assert int(count) > 300
    assert missing == "[]\n"
    for file in updated.image.root.joinpath("opt/comanda").rglob("*.pyc"):
        assert file.read_bytes()[4:8] == b"\x01\0\0\0", f"{file} is thrown away when its source has another date"


def test_a_change_of_the_code_is_a_small_layer(updated: Updated) -> None:
    assert updated.layers[:-1] == updated.first_layers[:-1]
    assert updated.layers[-1] != updated.first_layers[-1]
    assert updated.image.layers[-1] < 1 << 20


def test_it_is_no_larger_than_it_need_be(updated: Updated, record_property: Callable[[str, object], None]) -> None:
    sizes = updated.image.layers[updated.base_layers :]
    record_property("bytes_pushed_beside_the_base", sum(sizes))
    print(f"the image beside its base: {sum(sizes) / (1 << 20):.1f} MiB as pushed, by layer {sizes}")
    assert sum(sizes) < OURS_AT_MOST
