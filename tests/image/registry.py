"""A registry on this machine: docker-registry, as Debian has it, unpacked by `scripts/tools-for-tests`."""

import json
import re
import subprocess
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.image.cache import CACHE

COMMAND = CACHE / "docker-registry" / "usr" / "bin" / "docker-registry"
LISTENS = re.compile(r"listening on 127\.0\.0\.1:(\d+)")
MANIFESTS = ("application/vnd.oci.image.manifest.v1+json", "application/vnd.docker.distribution.manifest.v2+json")


@dataclass(frozen=True)
class Registry:
    """A running registry.

    Args:
        host: as image references begin: HOST:PORT.
    """

    host: str

    def tags(self, repository: str) -> list[str]:
        """Answer a repository's tags."""
        found: list[str] = json.loads(self._get(f"{repository}/tags/list"))["tags"]
        return found

    def manifest(self, repository: str, reference: str) -> bytes:
        """Answer a manifest by its tag or digest, as it was pushed."""
        return self._get(f"{repository}/manifests/{reference}")

    def blob(self, repository: str, digest: str) -> bytes:
        """Answer a layer or a configuration."""
        return self._get(f"{repository}/blobs/{digest}")

    def _get(self, path: str) -> bytes:
        request = urllib.request.Request(f"http://{self.host}/v2/{path}", headers={"Accept": ", ".join(MANIFESTS)})
        with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310 - ours, on loopback
            content: bytes = answer.read()
        return content


@contextmanager
def running_registry(folder: Path) -> Iterator[Registry]:
    """Run a registry until the block ends; what it is given lies in `folder`."""
    assert COMMAND.exists(), "docker-registry is not here: scripts/tools-for-tests"
    settings: dict[str, Any] = {
        "version": 0.1,
        "log": {"accesslog": {"disabled": True}},
        "storage": {"filesystem": {"rootdirectory": str(folder / "registry")}},
        "http": {"addr": "127.0.0.1:0"},
    }
    file = folder / "registry.yml"
    file.write_text(json.dumps(settings), encoding="utf-8")  # YAML reads JSON
    log = folder / "registry.log"
    with (
        log.open("wb") as written,
        subprocess.Popen(
            [str(COMMAND), "serve", str(file)],
            env={"OTEL_TRACES_EXPORTER": "none"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        ) as process,
    ):
        assert process.stderr is not None
        try:
            for line in process.stderr:
                written.write(line)
                if found := LISTENS.search(line.decode()):
                    break
            else:
                raise AssertionError(f"docker-registry ended: {log.read_text(encoding='utf-8')}")
            yield Registry(f"127.0.0.1:{found[1]}")
        finally:
            process.terminate()
            process.communicate(timeout=20)
