"""The image that the manifests name: where it stands in them, and how another is written there.

A manifest is a person's file: of all its bytes only the image's own are replaced.
"""

import re
from dataclasses import dataclass
from pathlib import Path

from comanda_deploy.errors import DeployError
from comanda_deploy.names import REPOSITORY

NAMES_AN_IMAGE = re.compile(
    rb"""^([ \t]*(?:-[ \t]+)?image:[ \t]+(["']?))([^\s"'#]+)(?=\2[ \t]*(?:#.*)?\r?$)""", re.MULTILINE
)
HAS_A_HOST = re.compile(r"(localhost|[\w-]+(\.[\w-]+)+|[\w-]+(?=:)|\[[0-9a-fA-F:]+\])(:[0-9]+)?")
"""As image references tell a registry from a user of Docker Hub."""


@dataclass(frozen=True)
class Manifest:
    """A file that names our image.

    Args:
        images: how it names it, line by line.
    """

    file: Path
    images: tuple[str, ...]


def naming(folder: Path) -> list[Manifest]:
    """Answer the manifests below a folder that name our image, in the order of their names.

    Raises:
        DeployError: one cannot be read.
    """
    found = []
    for file in sorted(folder.rglob("*")):
        if file.suffix not in {".yaml", ".yml"} or not file.is_file():
            continue
        try:
            named = [match[3].decode() for match in NAMES_AN_IMAGE.finditer(file.read_bytes())]
        except (OSError, UnicodeDecodeError) as error:
            raise DeployError(f"{file} cannot be read ({error}): mend that, then run it again") from error
        if ours := tuple(image for image in named if is_ours(image)):
            found.append(Manifest(file, ours))
    return found


def write(manifest: Manifest, image: str) -> None:
    """Let a manifest name another image wherever it names ours; nothing else of it changes.

    Raises:
        DeployError: it cannot be written.
    """

    def other(match: re.Match[bytes]) -> bytes:
        return match[1] + image.encode() if is_ours(match[3].decode()) else match[0]

    try:
        manifest.file.write_bytes(NAMES_AN_IMAGE.sub(other, manifest.file.read_bytes()))
    except OSError as error:
        raise DeployError(f"{manifest.file} cannot be written ({error.strerror}): let it say image: {image}") from error


def is_ours(image: str) -> bool:
    """Answer whether an image is Comanda's, whatever registry, tag and digest are named with it."""
    return image.partition("@")[0].rpartition("/")[2].partition(":")[0] == REPOSITORY
