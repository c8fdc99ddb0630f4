"""An image's archive taken apart, and run as the strict pod of a manifest without a container runtime.

What a pod has of its own this has too: processes, network, mounts, the kubelet's volumes, no capability, a root that
nobody can write to. It has no seccomp profile and no limits of memory.
"""

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tests.image.running import Image

Json = dict[str, Any]

# By the kernel's name of the process, before another /proc is there: nsenter wants the machine's number of it.
BEGINNING = """
read -r number _ </proc/self/stat
echo "$number" >"$2.new"
mv "$2.new" "$2"
root=$1
mount --bind "$root" "$root"
mount -t proc proc "$root/proc"
mount -t tmpfs -o mode=0755,nosuid tmpfs "$root/dev"
for device in null zero full random urandom tty; do
    : >"$root/dev/$device"
    mount --bind "/dev/$device" "$root/dev/$device"
done
ln -s /proc/self/fd "$root/dev/fd"
ln -s fd/0 "$root/dev/stdin"
ln -s fd/1 "$root/dev/stdout"
ln -s fd/2 "$root/dev/stderr"
mkdir "$root/dev/shm"
mount -t tmpfs -o mode=1777,size=64m tmpfs "$root/dev/shm"
ip link set lo up
"""


def unpacked(archive: Path, folder: Path) -> Image:
    """Take an archive apart as a node does.

    Args:
        folder: a new one.
    """
    root = folder / "root"
    root.mkdir(parents=True)
    packed = folder / "packed"
    packed.mkdir()
    _untar(archive, packed)
    [manifest] = json.loads((packed / "manifest.json").read_text(encoding="utf-8"))
    for layer in manifest["Layers"]:
        _untar(packed / layer, root)
    assert not [*root.rglob(".wh.*")], "a layer takes something away, which tar does not know"
    sizes = tuple((packed / layer).stat().st_size for layer in manifest["Layers"])
    return Image(root, json.loads((packed / manifest["Config"]).read_text(encoding="utf-8")), sizes)


def _untar(file: Path, folder: Path) -> None:
    command = ["tar", "--extract", "--numeric-owner", "--preserve-permissions"]
    subprocess.run([*command, f"--file={file}", f"--directory={folder}"], check=True)


@dataclass(frozen=True)
class Mount:
    """A folder of this machine that a container sees.

    Args:
        source: the folder, or None for memory. place: where the container sees it. size: of memory, as mount has it.
    """

    source: Path | None
    place: str
    is_read_only: bool = False
    size: str = ""


@dataclass(frozen=True)
class Pod:
    """A pod of one container, which can be started again and again on the same volumes.

    Args:
        spec: the pod's, of a manifest. folder: of its own, for its log. mounts: what stands for its volumes.
        environment: the container's, beside the image's. arguments: the container's; None for the image's.
    """

    image: Image
    spec: Json
    folder: Path
    mounts: tuple[Mount, ...]
    environment: Mapping[str, str]
    arguments: Sequence[str] | None

    @property
    def log(self) -> Path:
        """All that its containers have said so far."""
        return self.folder / "log"

    def said(self) -> str:
        """Answer all that its containers have said so far."""
        return self.log.read_text(encoding="utf-8")

    def start(self) -> "Container":
        """Start its container, and answer it; whether it runs on is another matter."""
        number = self.folder / "number"
        number.unlink(missing_ok=True)
        arguments = self.image.config["Cmd"] if self.arguments is None else self.arguments
        command = self.command([*self.image.config["Entrypoint"], *arguments])
        lines = [BEGINNING, *self._mounting(), 'mount -o remount,bind,ro "$root"']
        lines.append(shlex.join(["exec", "chroot", str(self.image.root), *command]))
        with self.log.open("ab") as log:
            process = subprocess.Popen(
                [
                    *("unshare", "--mount", "--propagation=private", "--net", "--ipc", "--uts", "--pid"),
                    *("--fork", "--kill-child", "sh", "-euc", "\n".join(lines), "sh", self.image.root, number),
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        container = Container(self, process, number)
        container.until(number.exists)
        return container

    def run_to_its_end(self) -> int:
        """Start a container that ends by itself, and answer its exit code."""
        with self.start() as container:
            return container.process.wait(timeout=60)

    def source_of(self, place: str) -> Path:
        """Answer the folder that its containers see at a place."""
        [found] = [mount.source for mount in self.mounts if mount.place == place]
        assert found, f"{place} is memory"
        return found

    def without(self, place: str, *others: Mount) -> "Pod":
        """Answer the pod with nothing mounted at a place, and with other mounts in its stead."""
        return replace(self, mounts=(*(mount for mount in self.mounts if mount.place != place), *others))

    def command(self, command: Iterable[str]) -> list[str]:
        """Answer a command with the rights and the environment that the manifest gives it."""
        rights = {**self.spec["securityContext"], **self.spec["containers"][0]["securityContext"]}
        assert rights["capabilities"] == {"drop": ["ALL"]}, "others are not known here"
        assert rights["readOnlyRootFilesystem"], "and no other root"
        assert not rights["allowPrivilegeEscalation"], "and no way up"
        user, group = rights["runAsUser"], rights["runAsGroup"]
        return [
            *("/usr/bin/setpriv", f"--reuid={user}", f"--regid={group}", f"--groups={rights['fsGroup']}"),
            *("--bounding-set=-all", "--inh-caps=-all", "--no-new-privs", "--"),
            *("/usr/bin/env", "-i", f"HOME={self._home(user)}", "HOSTNAME=pod-0"),
            *(f"{name}={value}" for name, value in {**self.image.environment, **self.environment}.items()),
            *command,
        ]

    def _home(self, user: int) -> str:
        users = (self.image.root / "etc" / "passwd").read_text(encoding="utf-8")
        found = re.search(rf"^[^:]*:[^:]*:{user}:(?:[^:]*:){{2}}([^:]*):", users, re.MULTILINE)
        return found[1] if found else "/"

    def _mounting(self) -> Iterable[str]:
        for mount in sorted((*self.mounts, *self._volumes_of_image()), key=lambda mount: mount.place):
            place = str(_within(self.image.root, mount.place))
            yield shlex.join(["mkdir", "-p", place])  # as a runtime does
            if mount.source is None:
                group = self.spec["securityContext"]["fsGroup"]
                how = ["-t", "tmpfs", "-o", f"mode=2777,gid={group},size={mount.size}", "tmpfs"]
            else:
                how = ["--bind", str(mount.source)]
            yield shlex.join(["mount", *how, place])
            if mount.is_read_only:
                yield shlex.join(["mount", "-o", "remount,bind,ro", place])

    def _volumes_of_image(self) -> Iterable[Mount]:
        """Answer a new folder for each of the image's own volumes that the manifest has nothing for."""
        for place in self.image.config.get("Volumes") or {}:
            if place not in {mount.place for mount in self.mounts}:
                folder = self.folder / "of-image" / place.strip("/").replace("/", "-")
                shutil.rmtree(folder, ignore_errors=True)
                folder.parent.mkdir(exist_ok=True)
                subprocess.run(["cp", "--archive", str(_within(self.image.root, place)), str(folder)], check=True)
                yield Mount(folder, place)


@dataclass(frozen=True)
class Container:
    """A started container.

    Args:
        number: where its first process's number stands, once it has one.
    """

    pod: Pod
    process: "subprocess.Popen[bytes]"
    number: Path

    def __enter__(self) -> "Container":
        """Nothing: it runs already."""
        return self

    def __exit__(self, *_: object) -> None:
        """End it, if it still runs."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()

    def until(self, what: Callable[[], bool], *, seconds: float = 60) -> None:
        """Wait until something is so, as long as the container runs."""
        deadline = time.monotonic() + seconds
        while not what():
            assert self.process.poll() is None, f"it ended with {self.process.returncode}: {self.pod.said()[-3000:]}"
            assert time.monotonic() < deadline, self.pod.said()[-3000:]
            time.sleep(0.05)

    def exec(
        self, command: Sequence[str], *, stdin: str = "", **environment: str
    ) -> "subprocess.CompletedProcess[str]":
        """Run a command in it as `kubectl exec` and probes do; answer how it ended."""
        variables = (f"{name}={value}" for name, value in environment.items())
        extra = ["/usr/bin/env", *variables] if environment else []
        whole = self._within([*extra, *command])
        return subprocess.run(whole, input=stdin, capture_output=True, text=True, check=False, timeout=60)

    def background(self, command: Sequence[str]) -> "subprocess.Popen[bytes]":
        """Start a command in it, as `exec` does, and leave it running."""
        pipe = subprocess.PIPE
        return subprocess.Popen(self._within(command), stdin=subprocess.DEVNULL, stdout=pipe, stderr=pipe)

    def stop(self, how: signal.Signals) -> int:
        """Send its first process a signal that must end it, and answer its exit code."""
        self.send(how)
        return self.process.wait(timeout=30)

    def send(self, signal_: signal.Signals) -> None:
        """Send its first process a signal."""
        os.kill(self._first(), signal_)

    def environment(self) -> dict[str, str]:
        """Answer the environment that its first process was started with."""
        content = Path(f"/proc/{self._first()}/environ").read_text(encoding="utf-8")
        return dict(each.split("=", 1) for each in content.split("\0") if each)

    def _within(self, command: Sequence[str]) -> list[str]:
        spaces = ("--mount", "--net", "--ipc", "--uts", "--pid", "--root", "--wd")
        return ["nsenter", f"--target={self._first()}", *spaces, "--", *self.pod.command(command)]

    def _first(self) -> int:
        return int(self.number.read_text(encoding="utf-8"))


def _within(root: Path, place: str) -> Path:
    """Answer a place within a root, whose links lead nowhere but into it."""
    found, left = root, [part for part in place.split("/") if part]
    while left:
        part = left.pop(0)
        if (found / part).is_symlink():
            target = str((found / part).readlink())
            left[:0] = [each for each in target.split("/") if each]
            found = root if target.startswith("/") else found
        else:
            found /= part
    return found


SCRIPTS = "/docker-entrypoint-initdb.d"


def with_scripts(pod: Pod, folder: Path, scripts: dict[str, bytes], *, arguments: list[str]) -> Pod:
    """Answer the pod with other scripts and arguments."""
    for name, content in scripts.items():
        (folder / name).write_bytes(content)
    folder.chmod(0o755)
    return replace(pod.without(SCRIPTS, Mount(folder, SCRIPTS, True)), arguments=arguments)


def zst(content: bytes) -> bytes:
    """Answer a Zstandard frame of one block that is not compressed, which Python 3.11 knows nothing of (RFC 8878)."""
    assert len(content) < 256
    return b"\x28\xb5\x2f\xfd\x20" + bytes([len(content)]) + (len(content) << 3 | 1).to_bytes(3, "little") + content
