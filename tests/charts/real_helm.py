"""helm and the charts' own files, both from Go's module proxy.

`tools/` locks helm by checksum; `CHARTS` does so for the charts. To take another helm: `go get -tool
helm.sh/helm/v4/cmd/helm@VERSION` in `tools`. To take another chart: change its line here; a wrong checksum is refused
with the one that it is.
"""

import fcntl
import hashlib
import json
import os
import pwd
import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import yaml

TOOLS = Path(__file__).parent / "tools"
HELM = "helm.sh/helm/v4/cmd/helm"
LONGEST_BUILD = 2400
"""Seconds: helm and all that it is made of, on a slow machine that has nothing of it yet."""


class CannotBeHad(Exception):
    """Go, or what it should bring, is not to be had; the message says what to do."""


@dataclass(frozen=True)
class Source:
    """Where a chart lies in a Go module.

    Not in go.mod: what the module itself requires would choose among helm's packages.

    Args:
        checksum: of the module, as go.sum has it.
    """

    module: str
    version: str
    checksum: str
    folder: str


CHARTS = {
    # The newest that the proxy has; comanda-deploy installs 2.9.0.
    "external-secrets": Source(
        "github.com/external-secrets/external-secrets",
        "v1.3.2",
        "h1:u2J8RjlHIeF0oZCqtl92adI/uZWUwOesJIDkfql6LqQ=",
        "deploy/charts/external-secrets",
    ),
    # 3.2.2, the newest that the proxy has; comanda-deploy installs 3.5.0.
    "aws-load-balancer-controller": Source(
        "github.com/kubernetes-sigs/aws-load-balancer-controller",
        "v0.0.0-20260423195125-93ff3b5fdaad",
        "h1:sttxR+rS5X6cS1ldieB5JKVucs61EHq8XO7VKySyU5w=",
        "helm/aws-load-balancer-controller",
    ),
}
"""By the name of the release. The Cluster Autoscaler's chart is in no module that the proxy has."""


@cache
def helm() -> Path:
    """Answer where helm is, built if this machine has not built it yet.

    Raises:
        CannotBeHad: there is no Go, or it cannot build it.
    """
    locked = b"".join((TOOLS / name).read_bytes() for name in ("go.mod", "go.sum"))
    program = _cache() / f"helm-{hashlib.sha256(locked).hexdigest()[:16]}" / "helm"
    program.parent.mkdir(parents=True, exist_ok=True)
    with (program.parent / "lock").open("w") as lock:
        # Several test processes begin at once; one of them builds.
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not program.exists():
            _check_go()
            unfinished = program.with_suffix(".unfinished")
            _go(["build", "-mod=readonly", "-trimpath", "-ldflags=-s -w", "-o", str(unfinished), HELM], TOOLS)
            unfinished.replace(program)
    return program


def chart(name: str, into: Path) -> Path:
    """Copy a chart to where it can be rendered, and answer its folder.

    Raises:
        CannotBeHad: the proxy does not have it, or what it has is something else.
    """
    source = CHARTS[name]
    _check_go()
    answer = json.loads(_go(["mod", "download", "-json", f"{source.module}@{source.version}"], into))
    if answer["Sum"] != source.checksum:
        raise CannotBeHad(f"{source.module}@{source.version} has the checksum {answer['Sum']}, not {source.checksum}")
    folder = into / name
    # Files of the module cache cannot be written to; copies of their content can.
    shutil.copytree(Path(answer["Dir"]) / source.folder, folder, copy_function=shutil.copyfile)
    for each in (folder, *(path for path in folder.rglob("*") if path.is_dir())):
        each.chmod(0o755)
    # A chart's dependencies come with its release, not with its source: ours has one, which is off.
    about = yaml.safe_load((folder / "Chart.yaml").read_text(encoding="utf-8"))
    about.pop("dependencies", None)
    (folder / "Chart.yaml").write_text(yaml.safe_dump(about), encoding="utf-8")
    (folder / "Chart.lock").unlink(missing_ok=True)
    return folder


def _cache() -> Path:
    given = os.environ.get("XDG_CACHE_HOME")
    return (Path(given) if given else _home() / ".cache") / "comanda"


def _home() -> Path:
    return Path(os.environ.get("HOME") or pwd.getpwuid(os.getuid()).pw_dir)


@cache
def _check_go() -> None:
    wanted = re.search(r"^go (\d+)\.(\d+)", (TOOLS / "go.mod").read_text(encoding="utf-8"), re.MULTILINE)
    assert wanted, "go.mod says which Go it is for"
    need = f"Go {wanted[1]}.{wanted[2]} or newer"
    instead = f"install {need}, or leave these tests out: pytest -m 'not go'"
    if shutil.which("go") is None:
        raise CannotBeHad(f"Go is not installed, and helm is built by it: {instead}")
    said = _go(["env", "GOVERSION"], TOOLS).strip()
    found = re.match(r"go(\d+)\.(\d+)", said)
    if not found or (int(found[1]), int(found[2])) < (int(wanted[1]), int(wanted[2])):
        raise CannotBeHad(f"Go is {said or 'of an unknown version'}, too old to build helm: {instead}")


def _go(arguments: Sequence[str], folder: Path) -> str:
    environment = {**os.environ, "HOME": str(_home()), "GOWORK": "off"}
    answer = subprocess.run(
        ["go", *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=LONGEST_BUILD,
        check=False,
    )
    if answer.returncode:
        said = " ".join((answer.stderr or answer.stdout).split())[-400:]
        raise CannotBeHad(f"go {arguments[0]} failed: {said}")
    return answer.stdout
