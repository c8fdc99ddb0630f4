"""`setup-env`: the operator's tools, from a publisher's files over HTTP, and only those whose checksums are pinned."""

import hashlib
import io
import os
import tarfile
import threading
import zipfile
from argparse import Namespace
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from comanda_deploy import tools
from comanda_deploy.errors import DeployError
from comanda_deploy.tools import TOOLS, Package, Tool, set_up

AWS_INSTALLER = """#!/bin/sh
# As AWS's own: a folder of its own, and a link in --bin-dir.
while [ $# -gt 0 ]; do
    case $1 in --install-dir) shift; home=$1 ;; --bin-dir) shift; bin=$1 ;; esac
    shift
done
mkdir -p "$home/v2" && cp "$(dirname "$0")/dist/aws" "$home/v2/aws" && ln -sf "$home/v2/aws" "$bin/aws"
"""


def command(says: str) -> bytes:
    """Answer a command that says its version."""
    return f"#!/bin/sh\ncat <<'END'\n{says}\nEND\n".encode()


def tar_of(name: str, content: bytes) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz") as archive:
        entry = tarfile.TarInfo(name)
        entry.size, entry.mode = len(content), 0o755
        archive.addfile(entry, io.BytesIO(content))
    return file.getvalue()


def zip_of(contents: dict[str, bytes]) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in contents.items():
            entry = zipfile.ZipInfo(name)
            entry.external_attr = 0o755 << 16
            archive.writestr(entry, content)
    return file.getvalue()


FILES = {
    "aws": zip_of({"aws/install": AWS_INSTALLER.encode(), "aws/dist/aws": command("aws-cli/2.36.11 Python/3.14")}),
    "kubectl": command('{"clientVersion": {"gitVersion": "v1.36.4"}}'),
    "helm": tar_of("linux-amd64/helm", command("v4.2.0")),
}


@dataclass
class Mirror:
    """A server of the publishers' files.

    Args:
        url: what COMANDA_TOOLS_MIRROR is to be. files: by path. asked: the paths that were asked for.
    """

    url: str
    files: dict[str, bytes] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)


@pytest.fixture
def mirror(monkeypatch: pytest.MonkeyPatch) -> Iterator[Mirror]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            served.asked.append(self.path)
            content = served.files.get(self.path)
            self.send_response(200 if content else 404)
            self.send_header("Content-Length", str(len(content or b"")))
            self.end_headers()
            self.wfile.write(content or b"")

        def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002 - http.server's name
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    served = Mirror(f"http://127.0.0.1:{server.server_address[1]}/artifacts")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    monkeypatch.setenv(tools.MIRROR, served.url)
    yield served
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The operator's folder, on a machine that has none of the tools."""
    monkeypatch.setenv("HOME", str(tmp_path))
    basics = tmp_path / "basics"
    basics.mkdir()
    for name in ("sh", "cat", "mkdir", "cp", "ln", "dirname"):
        (basics / name).symlink_to(f"/bin/{name}" if Path(f"/bin/{name}").exists() else f"/usr/bin/{name}")
    monkeypatch.setenv("PATH", str(basics))
    return tmp_path


def published(mirror: Mirror) -> tuple[Tool, ...]:
    """Answer the tools, of which the mirror has our own small files."""
    ours = []
    for tool in TOOLS:
        package = next(iter(tool.packages.values()))
        content = FILES[tool.name]
        mirror.files["/artifacts/" + package.url.removeprefix("https://")] = content
        small = Package(package.version, package.url, hashlib.sha256(content).hexdigest())
        ours.append(replace(tool, packages={os.uname().machine: small}))
    return tuple(ours)


def options(*, yes: bool = True, again: bool = False) -> Namespace:
    return Namespace(yes=yes, again=again)


def test_what_is_missing_is_installed_and_every_version_said(
    mirror: Mirror, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert set_up(options(), published(mirror)) == 0
    said = capsys.readouterr().out
    folder = home / ".local" / "bin"
    for line in (
        f"aws 2.36.11: {folder / 'aws'}",
        f"kubectl 1.36.4: {folder / 'kubectl'}",
        f"helm 4.2.0: {folder / 'helm'}",
        "no docker, podman or buildah",
        f"{folder} is not in your PATH: infra/scripts/infra-shell.sh puts it there",
        "Next: infra/scripts/eks-cluster-deploy.sh setup-aws-auth",
    ):
        assert line in said
    assert sorted(each.name for each in folder.iterdir()) == ["aws", "helm", "kubectl"], "nothing half is left"


def test_again_it_finds_them_and_asks_nobody(mirror: Mirror, home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ours = published(mirror)
    set_up(options(), ours)
    mirror.asked.clear()
    assert set_up(options(yes=False), ours) == 0
    assert mirror.asked == []
    assert set_up(options(again=True), ours) == 0
    assert len(mirror.asked) == 3


def test_what_the_operator_has_is_left_alone_unless_it_is_too_old(
    mirror: Mirror, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, says in (("helm", "v3.19.1"), ("aws", "aws-cli/1.46.3 Python/3.11")):
        own = home / "basics" / name
        own.write_bytes(command(says))
        own.chmod(0o755)
    set_up(options(), published(mirror))
    said = capsys.readouterr().out
    assert f"helm 3.19.1: {home / 'basics' / 'helm'}" in said
    assert "+ aws 2.36.11" in said
    assert "(1.46.3 is too old, 2.15 is the least)" in said
    assert not (home / ".local" / "bin" / "helm").exists()


def test_a_file_that_is_not_the_one_pinned_is_never_installed(mirror: Mirror, home: Path) -> None:
    ours = published(mirror)
    for path in mirror.files:
        if "kubectl" in path:
            mirror.files[path] = command("changed on the way")
    with pytest.raises(DeployError, match=r"kubectl from 127\.0\.0\.1 is not the file that was pinned"):
        set_up(options(), ours)
    folder = home / ".local" / "bin"
    assert sorted(each.name for each in folder.iterdir()) == ["aws"], "what came before it stays, nothing of it does"


def test_what_cannot_be_had_is_one_line_with_the_ways_out(mirror: Mirror, home: Path) -> None:
    ours = published(mirror)
    mirror.files.clear()
    with pytest.raises(DeployError) as raised:
        set_up(options(), ours)
    said = str(raised.value)
    assert said.startswith("aws cannot be had from 127.0.0.1 (Not Found): look at the network, name a mirror in")
    assert "https://docs.aws.amazon.com/cli/" in said
    assert "\n" not in said


def test_a_folder_that_cannot_be_written_to_is_one_line(mirror: Mirror, home: Path) -> None:
    (home / ".local").write_text("a file, not a folder")
    with pytest.raises(DeployError, match=r"aws cannot be installed into .*: mend that, or https://"):
        set_up(options(), published(mirror))


def test_nothing_is_fetched_before_somebody_agrees(mirror: Mirror, home: Path) -> None:
    with pytest.raises(DeployError, match="nobody is there to be asked: say --yes"):
        set_up(options(yes=False), published(mirror))
    assert mirror.asked == []


def test_another_kind_of_machine_is_told_where_to_look(mirror: Mirror, home: Path) -> None:
    others = tuple(replace(tool, packages={"riscv64": next(iter(tool.packages.values()))}) for tool in TOOLS)
    with pytest.raises(DeployError, match=r"no aws is known for linux on \w+: install it by https://"):
        set_up(options(), others)


def test_what_is_pinned_is_pinned_whole() -> None:
    for tool in TOOLS:
        assert set(tool.packages) == {"x86_64", "aarch64"}
        for package in tool.packages.values():
            assert package.version in package.url
            assert package.url.startswith("https://")
            assert len(bytes.fromhex(package.sha256)) == 32
            assert tools._is_new_enough(package.version, tool)
