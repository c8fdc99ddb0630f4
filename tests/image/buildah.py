"""buildah with a storage of its own: no image of this machine's owner is seen, and none is left to them."""

import json
import os
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

# A process that mounts something takes it along when it ends.
OWN_MOUNTS = ("unshare", "--mount", "--propagation", "private", "--")


@dataclass(frozen=True)
class Buildah:
    """A storage, and the environment in which buildah uses it.

    Args:
        folder: of the storage, and of what buildah reads.
    """

    folder: Path

    @property
    def environment(self) -> dict[str, str]:
        """What buildah is to be started with, whoever starts it."""
        return {
            "HOME": str(self.folder),
            "PATH": os.environ["PATH"],
            "CONTAINERS_STORAGE_CONF": str(self.folder / "storage.conf"),
            "CONTAINERS_REGISTRIES_CONF": str(self.folder / "registries.conf"),
            # No container is started for a step, which some machines would not allow within another container.
            "BUILDAH_ISOLATION": "chroot",
        }

    def run(self, *arguments: str) -> str:
        """Run buildah, and answer what it said."""
        command = [*OWN_MOUNTS, "buildah", *arguments]
        answer = subprocess.run(
            command, env=self.environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
        )
        assert answer.returncode == 0, f"buildah {' '.join(arguments)}: {answer.stderr}"
        return answer.stdout.strip()


def buildah_in(folder: Path, *, docker_io: str | None = None) -> Buildah:
    """Answer buildah with a new storage.

    Args:
        docker_io: the registry, HOST:PORT, that stands for Docker Hub; without one nothing stands for it.
    """
    assert shutil.which("buildah"), "buildah is not here: scripts/tools-for-tests"
    folder.mkdir(parents=True)
    registry: dict[str, object] = {"prefix": "docker.io", "location": docker_io or "docker.io", "insecure": True}
    registry["blocked"] = docker_io is None
    (folder / "registries.conf").write_text(_toml("[[registry]]", registry))
    # Overlays want a kernel and a file system that let root make them; plain copies always work, and take minutes.
    for driver in ("overlay", "vfs"):
        storage = {"driver": driver, "graphroot": str(folder / driver), "runroot": str(folder / "run")}
        (folder / "storage.conf").write_text(_toml("[storage]", storage))
        if _is_able(Buildah(folder)):
            break
    return Buildah(folder)


def _is_able(buildah: Buildah) -> bool:
    command = [*OWN_MOUNTS, "buildah", "info"]
    answer = subprocess.run(
        command, env=buildah.environment, stdin=subprocess.DEVNULL, capture_output=True, check=False
    )
    return answer.returncode == 0


def _toml(heading: str, values: dict[str, object] | dict[str, str]) -> str:
    # A string, true and false are the same in TOML and JSON.
    return "\n".join([heading, *(f"{key} = {json.dumps(value)}" for key, value in values.items())]) + "\n"


def ran(command: Sequence[str]) -> str:
    """Run a command that must succeed, with mounts of its own, and answer what it said."""
    answer = subprocess.run(
        [*OWN_MOUNTS, *command], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    assert answer.returncode == 0, f"{' '.join(command)}: {(answer.stdout + answer.stderr)[-2000:]}"
    return answer.stdout
