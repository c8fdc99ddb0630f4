"""Go, as the cluster's parts are built with it: caches of its own, nothing of the user's, every download verified."""

import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

from tests.cluster.cache import architecture
from tests.cluster.machine import Failed
from tests.cluster.parts import GO

KEPT = ("GOROOT", "GOPROXY", "GOSUMDB", "GOAUTH")
"""What of Go's own environment is the user's to say: where it is, and from where modules come."""

_LOWEST = ["nice", "-n", "19"]
"""Whoever waits for something else goes first."""


class NoGo(Failed):
    """There is no Go that the parts can be built with. The text says what to do."""


def environment(given: Mapping[str, str], work: Path) -> dict[str, str]:
    """Answer the environment that Go runs in, made of the caller's.

    The caller's settings of Go do not reach it, neither from the environment nor from `go env -w`: the same lock gives
    the same programs. A module that go.sum does not name, or names with another checksum, is refused.
    """
    kept = {name: value for name, value in given.items() if not name.startswith(("GO", "CGO_")) or name in KEPT}
    return kept | {
        "GOENV": "off",
        "GOWORK": "off",
        "GOTOOLCHAIN": "local",
        "GOFLAGS": "-mod=readonly -modcacherw -buildvcs=false",
        "GOOS": "linux",
        "GOARCH": architecture(),
        "CGO_ENABLED": "0",
        "GOPATH": str(work / "path"),
        "GOMODCACHE": str(work / "modules"),
        "GOCACHE": str(work / "compiled"),
        "GOTMPDIR": str(work / "tmp"),
        "GOTELEMETRY": "off",
    }


def version(given: Mapping[str, str] = os.environ) -> tuple[int, ...] | None:
    """Answer the version of the Go on the PATH, (1, 26, 8), or None where there is none."""
    if shutil.which("go", path=given.get("PATH")) is None:
        return None
    asked = {**given, "GOTOOLCHAIN": "local", "GOENV": "off"}
    said = subprocess.run(["go", "version"], env=asked, capture_output=True, text=True, check=False).stdout
    found = re.search(r"\bgo(\d+)\.(\d+)(?:\.(\d+))?", said)
    return tuple(int(number or 0) for number in found.groups()) if found else None


def too_old(found: tuple[int, ...] | None) -> str:
    """Answer what lacks if this is the Go that there is; nothing, if it will do."""
    if found is not None and found >= GO:
        return ""
    here = "there is none" if found is None else f"this is {_dotted(found)}"
    return f"Go {_dotted(GO)} or newer ({here})"


INSTALL = "unpack it from https://go.dev/dl/ into /usr/local and put /usr/local/go/bin on the PATH"


def check() -> str:
    """Answer the version of the Go that there is: "1.26.8".

    Raises:
        NoGo: It will not do.
    """
    found = version()
    if found is None or too_old(found):
        raise NoGo(f"building needs {too_old(found)}: {INSTALL}")
    return _dotted(found)


def _dotted(numbers: tuple[int, ...]) -> str:
    return ".".join(map(str, numbers))


def command(*arguments: str) -> list[str]:
    """Answer how Go is called: after everybody else, and not outliving us."""
    guard = ["setpriv", "--pdeathsig", "KILL"] if shutil.which("setpriv") else []
    return [*guard, *_LOWEST, "go", *arguments]
