"""The image as it ships: the Dockerfile unchanged, built by a real builder, pushed to a real registry, and run.

In place of Docker Hub there is a registry on this machine with a stand-in for Python's image, and of a container
runtime there are a chroot, a read-only bind and the image's own user. What the verb does around it is in
`tests/deployment/test_image.py`.
"""

import asyncio
import hashlib
import json
import re
import signal
import stat
import subprocess
from collections.abc import Callable

import aiohttp
import pytest

from comanda_deploy import manifests
from tests.image.building import ROOT, SECRET, Updated
from tests.image.running import Image
from tests.processes.pods import environment

pytestmark = pytest.mark.root

OURS_AT_MOST = 45 << 20
"""Bytes as pushed, without the base: what a node pulls. A new package may need more; then say so here."""


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


def test_there_is_no_compiler_in_it(updated: Updated) -> None:
    names = {file.name for folder in updated.image.root.rglob("bin") for file in folder.iterdir()}
    assert "sh" in names
    assert not names & {"gcc", "cc", "g++", "c++", "clang", "as", "ld", "make"}


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
