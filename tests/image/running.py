"""The image run without a container runtime: its files read-only, its user and its environment, no rights of root."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.image.buildah import OWN_MOUNTS

# All of it is read-only, /tmp too; what is mounted goes with the process.
IN_THE_IMAGE = """
root=$1 user=$2
shift 2
mount --bind "$root" "$root"
mount --rbind /dev "$root/dev"
mount -t proc proc "$root/proc"
mount -o remount,bind,ro "$root"
exec chroot --userspec="$user" --groups= "$root" env -i "$@"
"""


@dataclass(frozen=True)
class Image:
    """An image as it was taken back out of the registry.

    Args:
        root: its files. described: all that it says of itself, its history too.
        layers: their sizes as pushed, in bytes; the base's come first.
    """

    root: Path
    described: Mapping[str, Any]
    layers: tuple[int, ...]

    @property
    def config(self) -> Mapping[str, Any]:
        """What a container of it is started with."""
        config: Mapping[str, Any] = self.described["config"]
        return config

    @property
    def environment(self) -> dict[str, str]:
        """The environment that it is started with."""
        return dict(each.split("=", 1) for each in self.config["Env"])

    def command(self, *arguments: str, **environment: str) -> list[str]:
        """Answer the command that starts it as a container would be, with these arguments."""
        return self.other_command([*self.config["Entrypoint"], *arguments], **environment)

    def other_command(self, command: Sequence[str], **environment: str) -> list[str]:
        """Answer the command that starts another program in its place."""
        variables = [f"{name}={value}" for name, value in {**self.environment, **environment}.items()]
        script = ["sh", "-euc", IN_THE_IMAGE, "sh", str(self.root), self.config["User"]]
        return [*OWN_MOUNTS, *script, *variables, *command]
