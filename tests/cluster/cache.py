"""Where the cluster's programs lie once they are built: outside the clone, under a name that their lock decides.

Nothing here needs Go. So a machine without it finds what another run, or another clone, has built. Which Go that was
stands in `built.json` beside the programs and is no part of the name; the oldest Go that will do is.
"""

import hashlib
import json
import os
import platform
import pwd
from collections.abc import Iterable
from pathlib import Path

from tests.cluster.machine import Failed
from tests.cluster.parts import GO, PARTS, Part, of_binary

ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
"""By the kernel's name: Go's. Others have not been tried."""

HOW_TO_BUILD = "make it with: .venv/bin/python -m tests.cluster.building"


class NotBuilt(Failed):
    """A program is wanted that has not been built here. The text says how to build it."""


def root() -> Path:
    """Answer the folder of all that is built: COMANDA_CACHE, or comanda in the user's cache."""
    if chosen := os.environ.get("COMANDA_CACHE"):
        return Path(chosen).absolute() / "cluster"
    caches = Path(os.environ.get("XDG_CACHE_HOME", ""))
    if not caches.is_absolute():  # as the XDG specification has it
        home = os.environ.get("HOME") or pwd.getpwuid(os.getuid()).pw_dir
        caches = Path(home).absolute() / ".cache"
    return caches / "comanda" / "cluster"


def work() -> Path:
    """Answer where modules are unpacked and compiled into while something is built, and only then."""
    return root() / "work"


def architecture() -> str:
    """Answer Go's name of this machine's architecture."""
    return ARCHITECTURES.get(platform.machine(), platform.machine())


def sources(part: Part) -> dict[str, bytes]:
    """Answer what a part is built from, by file: go.mod, go.sum, and a program if it is ours."""
    return {path.name: path.read_bytes() for path in sorted(part.folder.iterdir()) if path.is_file()}


def folder(part: Part) -> Path:
    """Answer where a part's programs are, or will be: another lock, flag or architecture is another folder."""
    covered = {
        "sources": {name: hashlib.sha256(content).hexdigest() for name, content in sources(part).items()},
        "binaries": dict(part.binaries),
        "tags": part.tags,
        "ldflags": part.ldflags,
        "files": {name: (file.module, file.path) for name, file in part.files.items()},
        "go": GO[:2],
        "architecture": architecture(),
    }
    digest = hashlib.sha256(json.dumps(covered, sort_keys=True).encode()).hexdigest()
    return root() / f"{part.name}-{digest[:16]}"


def is_built(part: Part) -> bool:
    """Whether a part's programs are there. They come by one rename, so they are there whole or not at all."""
    return folder(part).is_dir()


def missing(parts: Iterable[Part] = PARTS) -> list[Part]:
    """Answer the parts that must still be built."""
    return [part for part in parts if not is_built(part)]


def binary(name: str) -> Path:
    """Answer a program of the cluster's: "kubelet", "etcd". What it starts itself lies in the same folder.

    Raises:
        NotBuilt: It has not been built here.
        KeyError: There is none of this name.
    """
    return _found(of_binary(name), "bin", name)


def file(part: Part, name: str) -> Path:
    """Answer a file or folder that was taken from a part's modules: "crds".

    Raises:
        NotBuilt: The part has not been built here.
        KeyError: The part has none of this name.
    """
    if name not in part.files:
        raise KeyError(f"{part.name} keeps no {name}: see tests/cluster/parts.py")
    return _found(part, "files", name)


def _found(part: Part, kind: str, name: str) -> Path:
    if not is_built(part):
        raise NotBuilt(f"{part.name} {part.version} is not built ({folder(part)}): {HOW_TO_BUILD}")
    return folder(part) / kind / name
