"""Who builds and pushes the image: docker, podman or buildah, each by its own command lines."""

import json
import re
import subprocess
import sys
import tempfile
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from comanda_deploy.context import PRIVATE, Context
from comanda_deploy.errors import DeployError
from comanda_deploy.tools import BUILDERS

DOCKERFILE = "docker/Dockerfile"
# Docker's own network is made by its daemon; the others would need plug-ins to make one, and a build only fetches.
BUILDING = {
    "docker": ("docker", "build"),
    "podman": ("podman", "build", "--network", "host"),
    "buildah": ("buildah", "bud", "--layers", "--network", "host"),
}
ENVIRONMENT = {
    # The Dockerfile mounts secrets, which docker's old builder does not know. Without attestations a digest is that of
    # one image, whoever built it.
    "docker": {"DOCKER_BUILDKIT": "1", "BUILDX_NO_DEFAULT_ATTESTATIONS": "1"},
    "podman": {},
    "buildah": {},
}
PATIENCE = 20
"""Seconds in which a daemon that is there has answered."""
SAID_BY_DOCKER = re.compile(r"digest: (sha256:[0-9a-f]{64})")
DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


@dataclass(frozen=True)
class Build:
    """What is to be built.

    Args:
        reference: its name: registry, repository and tag.
        architecture: of those who will run it, as image builders name it: "amd64".
        arguments: the Dockerfile's.
        secrets: files that are mounted while it is built and no part of it, by what the Dockerfile calls them.
    """

    reference: str
    architecture: str
    arguments: Mapping[str, str] = field(default_factory=dict)
    secrets: Mapping[str, Path] = field(default_factory=dict)


@dataclass(frozen=True)
class Push:
    """What is to be pushed.

    Args:
        keys: the file with the credentials for it, or None for what the operator's own sign-in says.
        insecure: whether plain HTTP will do.
    """

    reference: str
    keys: Path | None = None
    insecure: bool = False


def find(context: Context) -> str:
    """Answer the first builder that is here and can work.

    Raises:
        DeployError: none is, and how to get one.
    """
    silent = ""
    for name in BUILDERS:
        if context.which(name) is None:
            continue
        if name != "docker":
            return name
        if not _is_podman(context):
            silent = _why_it_is_silent(context)
            if not silent:
                return name
    if silent:
        raise DeployError(f"docker does not reach its daemon ({silent}): start it, or apt-get install podman")
    raise DeployError("there is no docker, podman or buildah to build the image: apt-get install podman")


def _is_podman(context: Context) -> bool:
    """Answer whether `docker` is podman under that name, which is found under its own."""
    return "podman" in _asked(context, ["docker", "--version"]).stdout.lower()


def _why_it_is_silent(context: Context) -> str:
    answer = _asked(context, ["docker", "version", "--format", "{{.Server.Version}}"])
    if answer.returncode == 0:
        return ""
    return _last_line(answer.stderr) or f"exit code {answer.returncode}"


def _asked(context: Context, command: Sequence[str]) -> subprocess.CompletedProcess[str]:
    try:
        return context.run(command, timeout=PATIENCE)
    except DeployError:
        return subprocess.CompletedProcess(list(command), 1, "", f"no answer within {PATIENCE} s")


def build_command(builder: str, build: Build) -> list[str]:
    """Answer the command that builds an image, to be run in the root of the clone.

    The base is looked for anew each time: its tag moves with Python's and Debian's patches.
    """
    command = [*BUILDING[builder], "--pull", "--platform", f"linux/{build.architecture}"]
    command += ["--file", DOCKERFILE, "--tag", build.reference]
    for name, value in build.arguments.items():
        command += ["--build-arg", f"{name}={value}"]
    for name, file in build.secrets.items():
        command += ["--secret", f"id={name},src={file}"]
    return [*command, "."]


def push_command(builder: str, push: Push, digest_file: Path) -> list[str]:
    """Answer the command that pushes an image; docker says the digest, the others write it into a file."""
    if builder == "docker":
        return ["docker", "push", push.reference]
    command = [builder, "push", "--digestfile", str(digest_file)]
    if push.keys:
        command += ["--authfile", str(push.keys)]
    if push.insecure:
        command += ["--tls-verify=false"]
    return [*command, push.reference]


def build(context: Context, builder: str, what: Build, root: Path) -> None:
    """Build an image, its builder's words going to the terminal.

    Raises:
        DeployError: it failed.
    """
    _stream(context, build_command(builder, what), builder, root, f"{builder} could not build the image")


def push(context: Context, builder: str, what: Push, root: Path) -> str:
    """Push an image, and answer its digest.

    Raises:
        DeployError: it failed.
    """
    with tempfile.TemporaryDirectory(prefix="comanda-") as folder:
        file = Path(folder, "digest")
        if what.keys and builder == "docker":
            own = Path(context.environment.get("DOCKER_CONFIG") or _home(context) / ".docker")
            context = replace(context, environment={**context.environment, "DOCKER_CONFIG": str(what.keys.parent)})
            _take_over(own, what.keys)
        said = _stream(
            context,
            push_command(builder, what, file),
            builder,
            root,
            f"{builder} could not push {what.reference}",
        )
        found = SAID_BY_DOCKER.findall(said) if builder == "docker" else DIGEST.findall(_content(file))
    if not found:
        raise DeployError(f"{builder} pushed {what.reference} and did not say its digest: no manifest was changed")
    return str(found[-1])


@contextmanager
def keys_for(registry: str, token: str) -> Iterator[Path]:
    """Keep a registry's token in a file of its own until the block ends: all three builders read the same form.

    A sign-in by the builder could end in the operator's keyring, and stay there.

    Args:
        token: user and password as registries want them: base64 of "USER:PASSWORD".
    """
    with tempfile.TemporaryDirectory(prefix="comanda-") as folder:
        file = Path(folder, "config.json")
        file.touch(mode=0o600)
        file.write_text(json.dumps({"auths": {registry: {"auth": token}}}), encoding="utf-8")
        yield file


def sign_in(context: Context, builder: str, registry: str, user: str, password: str) -> None:
    """Sign a builder in to a registry for the operator's own use; the password goes by standard input.

    Raises:
        DeployError: it did not work.
    """
    command = [builder, "login", "--username", user, "--password-stdin", registry]
    answer = context.run(command, standard_input=password)
    if answer.returncode:
        raise DeployError(
            f"{builder} could not sign in to {registry} ({_last_line(answer.stderr)}): mend that, then run it again"
        )


def _take_over(own: Path, keys: Path) -> None:
    """Let docker work by these keys as it does by the operator's folder: its daemon and plug-ins are named there.

    Credentials of the operator's, and where they are kept, are left out: docker would ask there and not here.
    """
    try:
        settings: Any = json.loads((own / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        settings = {}
    if not isinstance(settings, dict):
        settings = {}
    kept = {key: value for key, value in settings.items() if key not in {"auths", "credsStore", "credHelpers"}}
    ours = json.loads(keys.read_text(encoding="utf-8"))
    keys.write_text(json.dumps({**kept, **ours}), encoding="utf-8")
    if own.is_dir():
        for each in own.iterdir():
            if each.name != "config.json":
                (keys.parent / each.name).symlink_to(each.absolute())


def _stream(context: Context, command: Sequence[str], builder: str, root: Path, failed: str) -> str:
    """Run a command with its words going to the terminal, and answer the last of them."""
    where = context.which(command[0])
    assert where is not None, "it was found before"
    environment = {name: value for name, value in context.environment.items() if name not in PRIVATE}
    last: deque[str] = deque(maxlen=50)
    with (
        subprocess.Popen(  # noqa: S603 - our own commands, never through a shell
            [str(where), *command[1:]],
            cwd=root,
            env={**environment, **ENVIRONMENT[builder]},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            encoding="utf-8",
            errors="replace",
        ) as process
    ):
        assert process.stdout is not None
        for line in process.stdout:
            print(line, end="", file=sys.stderr, flush=True)
            last.append(line)
    if process.returncode:
        raise DeployError(
            f"{failed} (exit code {process.returncode}): its last lines are above; mend that, run it again"
        )
    return "".join(last)


def _content(file: Path) -> str:
    return file.read_text(encoding="utf-8") if file.exists() else ""


def _last_line(text: str) -> str:
    lines = text.strip().splitlines()
    return lines[-1].strip()[:300] if lines else ""


def _home(context: Context) -> Path:
    return Path(context.environment.get("HOME") or Path.home())
