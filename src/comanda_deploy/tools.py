"""`setup-env`: the commands that an operator needs beside this tool, at pinned versions, checked by their checksums.

What is there already and fits is left alone. The rest goes to ~/.local/bin, so that no root is needed.
"""

import hashlib
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
import urllib.error
import urllib.request
import zipfile
from argparse import Namespace
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO
from urllib.parse import urlsplit

from comanda_deploy.arguments import Parser, confirm
from comanda_deploy.errors import DeployError

MIRROR = "COMANDA_TOOLS_MIRROR"
"""Where the publishers' files stand instead, for those whom a firewall keeps from them: its address comes before the
publisher's host, as in MIRROR/dl.k8s.io/release/... The checksums stay the same."""


@dataclass(frozen=True)
class Package:
    """What is downloaded for one kind of processor.

    Args:
        version: which. sha256: of the file, in hexadecimal.
    """

    version: str
    url: str
    sha256: str


@dataclass(frozen=True)
class Tool:
    """A command.

    Args:
        asks: how it is asked for its version. oldest: what is new enough, as "2.15".
        packages: by the processor, as `uname -m` names it.
        by_hand: where a person finds how to install it.
    """

    name: str
    asks: tuple[str, ...]
    oldest: str
    packages: Mapping[str, Package]
    by_hand: str


# The checksums of kubectl and helm are those that their publishers put beside them. AWS publishes a signature instead:
# those of its CLI are what others have recorded of the same files.
TOOLS = (
    Tool(
        "aws",
        ("aws", "--version"),
        "2.15",
        {
            "x86_64": Package(
                "2.36.11",
                "https://awscli.amazonaws.com/awscli-exe-linux-x86_64-2.36.11.zip",
                "50fbb7a2f44a78eab4a210088040e8f0bc4b9937cac8043c2354269d58614df6",
            ),
            "aarch64": Package(
                "2.36.5",
                "https://awscli.amazonaws.com/awscli-exe-linux-aarch64-2.36.5.zip",
                "2662774cf3e70e2203ca1e6b85b84ff8438f6638523ea9d474f9731472740d85",
            ),
        },
        "https://docs.aws.amazon.com/cli/latest/userguide/getting-started-install.html",
    ),
    Tool(
        # One minor more or less than the cluster's API server (Kubernetes, version skew policy).
        "kubectl",
        ("kubectl", "version", "--client", "--output=json"),
        "1.35",
        {
            "x86_64": Package(
                "1.36.4",
                "https://dl.k8s.io/release/v1.36.4/bin/linux/amd64/kubectl",
                "8b8f088da2dab964f853b38464033b1be15ede2839eca751482357c45abdd05a",
            ),
            "aarch64": Package(
                "1.36.4",
                "https://dl.k8s.io/release/v1.36.4/bin/linux/arm64/kubectl",
                "0ecf44450ee6063bf19dd166a103ee6df4a9034455c2abce626e6eea657d73fb",
            ),
        },
        "https://kubernetes.io/docs/tasks/tools/",
    ),
    Tool(
        "helm",
        ("helm", "version", "--template={{.Version}}"),
        "3.19",
        {
            "x86_64": Package(
                "4.2.0",
                "https://get.helm.sh/helm-v4.2.0-linux-amd64.tar.gz",
                "97dbeb971be4ac4b27e3839976d9564c0fb35c6f3b1da89dd1e292d236af4096",
            ),
            "aarch64": Package(
                "4.2.0",
                "https://get.helm.sh/helm-v4.2.0-linux-arm64.tar.gz",
                "1f8de130dfbd04de64978e7b852a7a547be1404956a366608276d2520b678670",
            ),
        },
        "https://helm.sh/docs/intro/install/",
    ),
)
BUILDERS = ("docker", "podman", "buildah")
"""One of them builds the API's image. They want root to be installed, so that is a person's own doing."""


def add_options(parser: Parser) -> None:
    """Add what setup-env takes beside --yes."""
    parser.add_argument("--again", action="store_true", help="install ours even where another is there already")


def bin_folder(environment: Mapping[str, str]) -> Path:
    """Answer where commands of a user's own are (XDG base directory specification)."""
    return Path(environment.get("HOME") or Path.home()) / ".local" / "bin"


def set_up(options: Namespace, tools: Sequence[Tool] = TOOLS) -> int:
    """Install what is missing, and say every version.

    Raises:
        DeployError: nobody agreed, or something cannot be had.
    """
    folder = bin_folder(os.environ)
    path = os.pathsep.join([os.environ.get("PATH", os.defpath), str(folder)])
    there = {tool.name: None if options.again else _version(tool, path) for tool in tools}
    missing = [tool for tool in tools if not _is_new_enough(there[tool.name], tool)]
    if missing:
        for tool in missing:
            package, found = _package(tool), there[tool.name]
            instead = f" ({found} is too old, {tool.oldest} is the least)" if found else ""
            print(f"  + {tool.name} {package.version} into {folder}{instead}, from {_address(package)}")
        confirm(options, "Go on? [y/N] ")
        for tool in missing:
            _install(tool, _package(tool), folder)
    for tool in tools:
        where = shutil.which(tool.name, path=path if not options.again else str(folder))
        print(f"{tool.name} {_version(tool, path if not options.again else str(folder))}: {where}")
    print(f"comanda-deploy runs on Python {platform.python_version()}")
    builders = [name for name in BUILDERS if shutil.which(name, path=path)]
    print(
        f"images are built by {builders[0]}"
        if builders
        else "no docker, podman or buildah: update-api-image will want one, as by apt-get install podman"
    )
    if str(folder) not in os.environ.get("PATH", "").split(os.pathsep):
        print(f"{folder} is not in your PATH: infra/scripts/infra-shell.sh puts it there")
    print("Next: infra/scripts/eks-cluster-deploy.sh setup-aws-auth")
    return 0


def _version(tool: Tool, path: str) -> str | None:
    """Answer the version of what is installed, None if nothing is or it does not run."""
    where = shutil.which(tool.name, path=path)
    if where is None:
        return None
    try:
        said = subprocess.run(  # noqa: S603 - found by its name, as the shell would
            [where, *tool.asks[1:]], capture_output=True, text=True, timeout=60, check=False, stdin=subprocess.DEVNULL
        ).stdout
    except (OSError, subprocess.TimeoutExpired):
        return None
    if tool.name == "kubectl":
        try:
            said = json.loads(said)["clientVersion"]["gitVersion"]
        except (ValueError, KeyError):
            return None
    found = re.search(r"\d+\.\d+\.\d+", said)
    return found[0] if found else None


def _is_new_enough(version: str | None, tool: Tool) -> bool:
    return version is not None and _numbers(version) >= _numbers(tool.oldest)


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(map(int, version.split(".")))


def _package(tool: Tool) -> Package:
    machine = platform.machine()
    if sys.platform != "linux" or machine not in tool.packages:
        raise DeployError(f"no {tool.name} is known for {sys.platform} on {machine}: install it by {tool.by_hand}")
    return tool.packages[machine]


def _address(package: Package) -> str:
    mirror = os.environ.get(MIRROR)
    return package.url if not mirror else mirror.rstrip("/") + "/" + package.url.removeprefix("https://")


def _install(tool: Tool, package: Package, folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with _downloaded(tool, package, folder) as file:
            if package.url.endswith(".zip"):
                _run_installer(file, folder)
            elif package.url.endswith(".tar.gz"):
                with tarfile.open(file) as archive:
                    member = next(each for each in archive.getnames() if each.endswith(f"/{tool.name}"))
                    inside = archive.extractfile(member)
                    assert inside is not None, f"{member} is a file in the archive whose checksum is pinned"
                    _put(inside, folder / tool.name)
            else:
                with file.open("rb") as binary:
                    _put(binary, folder / tool.name)
    except OSError as error:
        raise DeployError(
            f"{tool.name} cannot be installed into {folder} ({error}): mend that, or {tool.by_hand}"
        ) from error


@contextmanager
def _downloaded(tool: Tool, package: Package, folder: Path) -> Iterator[Path]:
    """Download a package for the block; what is not the file that was pinned never gets a name."""
    url = _address(package)
    host = urlsplit(url).hostname
    digest, said = hashlib.sha256(), time.monotonic()
    with tempfile.NamedTemporaryFile(dir=folder, prefix=".comanda-") as file:
        try:
            with urllib.request.urlopen(url, timeout=30) as answer:  # noqa: S310 - ours, or the operator's mirror
                total, had = int(answer.headers.get("Content-Length") or 0), 0
                while part := answer.read(1 << 20):
                    file.write(part)
                    digest.update(part)
                    had += len(part)
                    if time.monotonic() - said > 5:
                        said = time.monotonic()
                        print(f"  {tool.name}: {had >> 20} of {total >> 20} MiB", file=sys.stderr)
        except (urllib.error.URLError, TimeoutError, ConnectionError) as error:
            if isinstance(error, urllib.error.HTTPError):
                error.close()
            raise DeployError(
                f"{tool.name} cannot be had from {host} ({getattr(error, 'reason', error)}): look at the network, "
                f"name a mirror in {MIRROR}, or install it by {tool.by_hand}"
            ) from error
        if digest.hexdigest() != package.sha256:
            raise DeployError(
                f"{tool.name} from {host} is not the file that was pinned (its checksum differs): run it again, or "
                f"install it by {tool.by_hand}"
            )
        file.flush()
        yield Path(file.name)


def _put(source: IO[bytes], place: Path) -> None:
    """Give a command its name by rename: whoever runs the old one goes on."""
    new = place.with_name(f".{place.name}.new")
    with new.open("wb") as file:
        shutil.copyfileobj(source, file)
    new.chmod(0o755)
    new.replace(place)


def _run_installer(archive: Path, folder: Path) -> None:
    """AWS's CLI brings its own installer: a whole folder, and links in `folder`."""
    with tempfile.TemporaryDirectory(dir=folder, prefix=".comanda-") as unpacked:
        with zipfile.ZipFile(archive) as files:
            for entry in files.infolist():
                where = files.extract(entry, unpacked)
                if mode := entry.external_attr >> 16:  # zipfile forgets what may be run
                    Path(where).chmod(mode & 0o777)
        home = folder.parent / "share" / "comanda" / "aws-cli"
        command = [f"{unpacked}/aws/install", "--update", "--install-dir", str(home), "--bin-dir", str(folder)]
        answer = subprocess.run(  # noqa: S603 - of the archive whose checksum is pinned
            command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL
        )
        if answer.returncode:
            raise DeployError(f"AWS's installer failed: {' '.join((answer.stderr or answer.stdout).split())[:300]}")
