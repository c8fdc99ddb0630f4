"""A Docker daemon of this test's own: Debian's, unpacked and not installed, in namespaces that end with it.

Its network has no way out and touches none of this machine's: ports that it publishes on 127.0.0.1 are on a loopback of
its own. `docker compose` is built from its module, which `tools/` locks by checksum.
"""

import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.image.cache import CACHE
from tests.tidy.sources import ROOT

TOOLS = Path(__file__).parent / "tools"
MODULE = "github.com/docker/compose/v2/cmd"
PACKAGES = ("docker.io", "containerd", "runc")

DAEMON = """
ip link set lo up
mount -t tmpfs tmpfs /run
mkdir /run/docker
exec dockerd --host="unix://$1/socket" --data-root="$1/data" --exec-root="$1/exec" --pidfile="$1/pid"
"""

# One request, in the daemon's network: what it is comes as JSON, and so goes the answer.
REQUEST = """
import json, sys, urllib.error, urllib.request
method, url, body, headers = json.load(sys.stdin)
data = None if body is None else json.dumps(body).encode()
request = urllib.request.Request(url, data, headers, method=method)
try:
    with urllib.request.urlopen(request, timeout=30) as answer:
        print(json.dumps([answer.status, answer.read().decode()]))
except urllib.error.HTTPError as error:
    print(json.dumps([error.code, error.read().decode()]))
except urllib.error.URLError as error:
    print(json.dumps([0, str(error.reason)]))
"""


@dataclass(frozen=True)
class Docker:
    """A running daemon.

    Args:
        folder: all that is its own. root: where Debian's packages are. first: the number of its first process.
    """

    folder: Path
    root: Path
    first: str

    def docker(self, *arguments: str) -> str:
        """Run docker, and answer what it said."""
        return self._ran([f"{self.root}/usr/bin/docker", *arguments])

    def compose(self, *arguments: str) -> str:
        """Run docker compose on the file that ships, and answer what it said."""
        return self._ran([str(compose()), "--file", str(ROOT / "docker" / "compose.yaml"), *arguments])

    def request(self, method: str, url: str, body: Any = None, key: str = "") -> tuple[int, Any]:
        """Make a request as on the daemon's machine; answer status and document, or 0 and why there is none."""
        headers = {"Content-Type": "application/json", **({"Authorization": f"Bearer {key}"} if key else {})}
        command = ["nsenter", f"--target={self.first}", "--net", sys.executable, "-I", "-c", REQUEST]
        given = json.dumps([method, url, body, headers])
        answer = subprocess.run(command, input=given, check=True, capture_output=True, text=True)
        status, text = json.loads(answer.stdout)
        return status, json.loads(text) if status and text.startswith(("{", "[")) else text

    def _ran(self, command: list[str]) -> str:
        # None of its owner's: neither what they are signed in to nor which ports they have chosen.
        given = {"PATH": os.environ["PATH"], "HOME": str(self.folder), "DOCKER_HOST": f"unix://{self.folder}/socket"}
        answer = subprocess.run(
            command, env=given, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=600
        )
        assert answer.returncode == 0, f"{' '.join(command)}: {(answer.stdout + answer.stderr)[-4000:]}"
        return answer.stdout


@contextmanager
def running_docker(folder: Path) -> Iterator[Docker]:
    """Run a daemon until the block ends; all that is its own lies in `folder`, and goes too."""
    assert shutil.which("iptables"), "iptables is not here: apt-get install iptables"
    root = unpacked()
    path = f"{root}/usr/sbin:{root}/usr/bin:{os.environ['PATH']}"
    namespaces = ("--mount", "--propagation=private", "--net", "--pid", "--mount-proc", "--fork", "--kill-child")
    with (
        (folder / "log").open("wb") as log,
        subprocess.Popen(
            ["unshare", *namespaces, "sh", "-euc", DAEMON, "sh", str(folder)],
            env={"PATH": path},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
        ) as process,
    ):
        try:
            until(lambda: (folder / "socket").exists() or process.poll() is not None, seconds=120)
            assert process.poll() is None, (folder / "log").read_text(encoding="utf-8")[-3000:]
            [first] = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text(encoding="ascii").split()
            yield Docker(folder, root, first)
        finally:
            process.kill()
            process.wait()
    shutil.rmtree(folder)


def until(is_so: Callable[[], object], *, seconds: float) -> None:
    """Wait until something is so."""
    deadline = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < deadline, "it did not come to pass"
        time.sleep(0.1)


def unpacked() -> Path:
    """Answer the folder with Debian's Docker in it, fetched the first time."""
    place = CACHE / "docker"
    with _alone(place):
        if not place.exists():
            new = place.with_name("docker.new")
            shutil.rmtree(new, ignore_errors=True)
            new.mkdir()
            # apt would rather download as a user who may not write here.
            fetch = ["apt-get", "download", "-qq", "-o", "APT::Sandbox::User=root", *PACKAGES]
            subprocess.run(fetch, cwd=new, check=True)
            for package in new.glob("*.deb"):
                subprocess.run(["dpkg-deb", "--extract", str(package), str(new)], check=True)
                package.unlink()
            new.rename(place)
    return place


def compose() -> Path:
    """Answer docker compose, built the first time, in one or two minutes."""
    locked = b"".join((TOOLS / name).read_bytes() for name in ("go.mod", "go.sum"))
    program = CACHE / f"docker-compose-{hashlib.sha256(locked).hexdigest()[:16]}"
    with _alone(program):
        if not program.exists():
            new = program.with_suffix(".new")
            build = ["go", "build", "-mod=readonly", "-trimpath", "-ldflags=-s -w", "-o", str(new), MODULE]
            environment = {**os.environ, "HOME": str(Path.home()), "GOWORK": "off", "CGO_ENABLED": "0"}
            answer = subprocess.run(build, cwd=TOOLS, env=environment, capture_output=True, text=True, check=False)
            assert answer.returncode == 0, answer.stderr[-3000:]
            new.rename(program)
    return program


@contextmanager
def _alone(place: Path) -> Iterator[None]:
    """Let one process at a time make what is to be at this place."""
    place.parent.mkdir(parents=True, exist_ok=True)
    with place.with_name(f"{place.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
