"""`update-api-image` and `ecr-login`: the image of API and worker, built, pushed, and named in the manifests."""

import argparse
import base64
import ipaddress
import platform
import tomllib
from argparse import Namespace
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import urlsplit

from botocore.exceptions import ClientError

from comanda_deploy import builders, commands, manifests, registry
from comanda_deploy.arguments import Parser, confirm
from comanda_deploy.aws_errors import code_of
from comanda_deploy.builders import Build, Push
from comanda_deploy.context import Context
from comanda_deploy.errors import DeployError
from comanda_deploy.names import REPOSITORY

ROOT = Path(__file__).parents[2]
MANIFESTS = "infra/deployment"
MADE_OF = ("src/comanda", "requirements/base.txt", "docker/sbom.py", builders.DOCKERFILE, ".dockerignore")
"""What the image is made of: what differs here from the commit makes it another image than the commit's."""

ARCHITECTURES = {"x86_64": "amd64", "arm64": "arm64", "aarch64": "arm64"}
"""By what EC2 and `uname -m` call them, how image builders do."""

# How pip itself is told; what they name is mounted while the image is built.
PIP = {"PIP_CONFIG_FILE": "pip.conf", "PIP_CERT": "ca.pem"}


@dataclass(frozen=True)
class Source:
    """What the image is built from.

    Args:
        commit: in full.
        changed: the files that differ from it, as git lists them.
        version: Comanda's.
    """

    commit: str
    changed: tuple[str, ...]
    version: str

    @property
    def revision(self) -> str:
        """The commit, and whether it is only near to it."""
        return self.commit + ("-dirty" if self.changed else "")


def add_options(parser: Parser) -> None:
    """Add what update-api-image takes beside --yes."""
    parser.add_argument(
        "--registry",
        type=_registry,
        metavar="HOST[:PORT]",
        help="push there instead of to ECR, as you are signed in there; AWS is not asked for anything. Over plain "
        "HTTP only if it is on this machine",
    )
    parser.add_argument(
        "--architecture",
        choices=sorted(set(ARCHITECTURES.values())),
        help="of those who will run it. Otherwise what the nodes in the settings are; with --registry: this machine",
    )


def update(options: Namespace) -> int:
    """Build the image, push it, and let the manifests name it by its digest.

    Raises:
        DeployError: it failed: what, and what is there by then.
    """
    context = commands.context_of(options)
    builder = builders.find(context)
    repository = f"{options.registry}/{REPOSITORY}" if options.registry else _repository(context)
    source = source_of(context, ROOT)
    architecture = options.architecture or (_ours() if options.registry else _of_nodes(context))
    now = context.clock()
    if not options.registry:
        now = _free_second(context, source, now)
    reference = f"{repository}:{tag_of(now, source)}"
    naming = manifests.naming(ROOT / MANIFESTS)
    print(_announced(reference, builder, architecture, source, naming))
    confirm(options, "Go on? [y/N] ")

    arguments = {
        "VERSION": source.version,
        "REVISION": source.revision,
        "CREATED": now.astimezone(UTC).isoformat(timespec="seconds"),
    }
    builders.build(context, builder, Build(reference, architecture, arguments, _secrets(context)), ROOT)
    with ExitStack() as stack:
        keys = None
        if not options.registry:
            # Asked for now, and not before a build that may take long.
            keys = stack.enter_context(builders.keys_for(repository.partition("/")[0], _token(context)))
        insecure = bool(options.registry) and is_loopback(options.registry)
        digest = builders.push(context, builder, Push(reference, keys, insecure), ROOT)
    image = f"{reference}@{digest}"
    print(f"Pushed {image}")
    for each in naming:
        manifests.write(each, image)
        print(f"Written into {each.file.relative_to(ROOT)}")
    if not naming:
        print(f"No manifest in {MANIFESTS} names the image {REPOSITORY}: nothing was written.")
    print("Next: eks-cluster-mng.sh deploy-api")
    return 0


def ecr_login(options: Namespace) -> int:
    """Sign the operator's own builder in to ECR.

    Raises:
        DeployError: it did not work.
    """
    context = commands.context_of(options)
    builder = builders.find(context)
    answer = context.client("ecr").get_authorization_token()["authorizationData"][0]
    registry = urlsplit(answer["proxyEndpoint"]).netloc
    user, _, password = base64.b64decode(answer["authorizationToken"]).decode().partition(":")
    builders.sign_in(context, builder, registry, user, password)
    print(f"{builder} is signed in to {registry}, for twelve hours. Next: {builder} pull {registry}/{REPOSITORY}:TAG")
    return 0


def tag_of(now: datetime, source: Source) -> str:
    """Answer an image's tag: the time in UTC, so that tags are in their order, and the commit."""
    return f"{now.astimezone(UTC):%Y%m%d-%H%M%S}-{source.commit[:7]}" + ("-dirty" if source.changed else "")


def source_of(context: Context, root: Path) -> Source:
    """Answer what the image would be built from.

    Raises:
        DeployError: git does not say.
    """
    commit = _git(context, root, "rev-parse", "HEAD").strip()
    status = _git(context, root, "status", "--porcelain", "--untracked-files=all", "--", *MADE_OF)
    version = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    return Source(commit, tuple(line[3:] for line in status.splitlines()), version)


def is_loopback(registry: str) -> bool:
    """Answer whether a registry is on this machine, where nobody listens in between."""
    host = urlsplit(f"//{registry}").hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _registry(text: str) -> str:
    if not manifests.HAS_A_HOST.fullmatch(text):
        raise argparse.ArgumentTypeError(f"{text} is no registry: give HOST:PORT, or a name with a dot in it")
    return text


def _git(context: Context, root: Path, *arguments: str) -> str:
    if context.which("git") is None:
        raise DeployError("git is not installed, and the image is named after its commit: apt-get install git")
    # No locks: looking at a clone must not disturb who works in it.
    answer = context.run(["git", "--no-optional-locks", "-C", str(root), *arguments])
    if answer.returncode:
        said = " ".join(answer.stderr.split())[:300]
        raise DeployError(f"git does not say from which commit this is ({said}): run it in a clone of Comanda")
    return answer.stdout


def _repository(context: Context) -> str:
    """Answer the name of the repository in ECR, with its registry."""
    try:
        found = context.client("ecr").describe_repositories(repositoryNames=[REPOSITORY])["repositories"][0]
    except ClientError as error:
        if code_of(error) == "RepositoryNotFoundException":
            raise DeployError(
                "there is no image repository yet: run infra/scripts/eks-cluster-deploy.sh create-ecr-repo"
            ) from error
        raise
    name: str = found["repositoryUri"]
    return name


def _of_nodes(context: Context) -> str:
    """Answer the architecture of the nodes that the API runs on."""
    types = sorted(context.settings.nodes.instance_types)
    found = context.catalogue(
        "ec2", "describe_instance_types", "InstanceTypes", Filters=[{"Name": "instance-type", "Values": types}]
    )
    kinds = {
        ARCHITECTURES[kind]
        for each in found
        for kind in each["ProcessorInfo"]["SupportedArchitectures"]
        if kind in ARCHITECTURES
    }
    if len(kinds) != 1:
        of = " and ".join(sorted(kinds)) or "no kind that EC2 has here"
        raise DeployError(f"nodes.instance_types ({', '.join(types)}) are of {of}: mend that, or say --architecture")
    return kinds.pop()


def _ours() -> str:
    return ARCHITECTURES.get(platform.machine(), "amd64")


def _free_second(context: Context, source: Source, now: datetime) -> datetime:
    """Answer the first second from now on whose tag is nobody's: in ECR a tag never moves."""
    while registry.has(context, imageTag=tag_of(now, source)):
        now += timedelta(seconds=1)
    return now


def _token(context: Context) -> str:
    token: str = context.client("ecr").get_authorization_token()["authorizationData"][0]["authorizationToken"]
    return token


def _secrets(context: Context) -> dict[str, Path]:
    """Answer pip's own files, where the operator's environment names them."""
    named = {name: Path(context.environment.get(variable, "")) for variable, name in PIP.items()}
    return {name: file.absolute() for name, file in named.items() if file.is_file()}


def _announced(
    reference: str, builder: str, architecture: str, source: Source, naming: Sequence[manifests.Manifest]
) -> str:
    lines = [f"  + image {reference}, built by {builder} for {architecture}"]
    if architecture != _ours():
        lines.append(
            f"    This machine is {_ours()}: it needs QEMU for that (apt-get install qemu-user-static), and time."
        )
    if source.changed:
        shown = ", ".join(source.changed[:5]) + (", ..." if len(source.changed) > 5 else "")
        lines.append(f"    It is not what commit {source.commit[:7]} says, and its tag says so too: {shown}")
    lines += [f"  ~ {each.file.relative_to(ROOT)}: image {each.images[0]}" for each in naming]
    return "\n".join(lines)
