"""`update-api-image` and `ecr-login`: what each builder is told, and what becomes of the manifests.

No builder is needed here: one that writes down what it is told stands in. The real one is in `tests/image`.
"""

import base64
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from comanda_deploy import builders, image, manifests, verbs
from comanda_deploy.__main__ import main
from comanda_deploy.builders import Build, Push, build_command, push_command
from comanda_deploy.context import Context
from comanda_deploy.errors import DeployError
from comanda_deploy.image import Source, is_loopback, tag_of
from tests.deployment.account import Account

SCRIPT = "eks-cluster-mng.sh"
ROOT = Path(__file__).parents[2]
REGISTRY = "123456789012.dkr.ecr.sa-east-1.amazonaws.com"
DIGEST = "sha256:" + "5e" * 32
COMMIT = "1a2b3c4d5e6f7081920a1b2c3d4e5f6071829304"
SOURCE = Source(COMMIT, (), "0.1.0")
AT = datetime(2026, 11, 25, 14, 30, 5, tzinfo=UTC)

# Writes down what it is told, and answers as the one whose name it has.
STAND_IN = """#!{python} -ES
import json, os, sys
from pathlib import Path
name, arguments = Path(sys.argv[0]).name, sys.argv[1:]
here = Path(sys.argv[0]).parent
if arguments == ["--version"]:
    print("Docker version 28.2.2" if (here / "is-docker").exists() else "podman version 4.3.1")
    raise SystemExit(0)
told = dict(arguments=[name, *arguments], stdin=sys.stdin.read(), folder=os.getcwd())
told["private"] = os.environ.get("MERCADO_PAGO_ACCESS_TOKEN")
if "--authfile" in arguments:
    told["keys"] = arguments[arguments.index("--authfile") + 1]
elif "DOCKER_CONFIG" in os.environ:
    told["keys"] = os.environ["DOCKER_CONFIG"] + "/config.json"
    told["beside"] = sorted(os.listdir(os.environ["DOCKER_CONFIG"]))
if "keys" in told:
    told["content"] = Path(told["keys"]).read_text()
    told["mode"] = oct(os.stat(told["keys"]).st_mode & 0o777)
    told["folder_mode"] = oct(os.stat(os.path.dirname(told["keys"])).st_mode & 0o777)
with (here / "told").open("a") as file:
    file.write(json.dumps(told) + "\\n")
print(f"{{name}} is at {{arguments[0]}}", flush=True)
fails = here / f"{{arguments[0]}}-fails"
if fails.exists():
    print(fails.read_text(), file=sys.stderr)
    raise SystemExit(125)
if arguments[0] == "push" and not (here / "says-no-digest").exists():
    if "--digestfile" in arguments:
        Path(arguments[arguments.index("--digestfile") + 1]).write_text("{digest}")
    else:
        print("20261125-143005-1a2b3c4: digest: {digest} size: 1784")
"""


@dataclass
class Machine:
    """A machine with a clone, its own commands, and whichever builders a test gives it."""

    folder: Path
    clone: Path
    account: Account

    def has(self, *names: str) -> None:
        """Install stand-ins for builders."""
        for name in names:
            command = self.folder / name
            command.write_text(STAND_IN.format(python=sys.executable, digest=DIGEST))
            command.chmod(0o755)
            if name == "docker":
                (self.folder / "is-docker").touch()

    @property
    def told(self) -> list[dict[str, Any]]:
        """What the builders were told, in order."""
        file = self.folder / "told"
        return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []

    def told_to(self, verb: str) -> dict[str, Any]:
        """What the builder was told, once, to do: "push"."""
        (found,) = [each for each in self.told if each["arguments"][1] == verb]
        return found

    def git(self, *arguments: str) -> None:
        """Run git in the clone."""
        who = ("-c", "user.name=Somebody", "-c", "user.email=somebody@example.com", "-c", "commit.gpgsign=false")
        subprocess.run(["git", *who, *arguments], cwd=self.clone, check=True, capture_output=True)


@pytest.fixture
def machine(account: Account, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    commands = tmp_path / "commands"
    commands.mkdir()
    git = shutil.which("git")
    assert git is not None
    (commands / "git").symlink_to(git)
    clone = tmp_path / "clone"
    (clone / "src" / "comanda").mkdir(parents=True)
    (clone / "pyproject.toml").write_text('[project]\nversion = "0.1.0"\n')
    (clone / "src" / "comanda" / "money.py").write_text("CENTAVO = 1\n")
    (clone / "README.md").write_text("A clone.\n")
    found = Machine(commands, clone, account)
    found.git("init", "--quiet")
    found.git("add", "--all")
    found.git("commit", "--quiet", "--message", "All of it")
    account.environment["PATH"] = str(commands)
    account.environment["GIT_CONFIG_GLOBAL"] = os.devnull
    for name, value in account.environment.items():
        monkeypatch.setenv(name, value)
    for name in ("DOCKER_CONFIG", *image.PIP):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(image, "ROOT", clone)
    return found


@pytest.fixture
def with_repository(machine: Machine) -> Machine:
    machine.account.bed.client("ecr").create_repository(repositoryName="comanda-api", imageTagMutability="IMMUTABLE")
    return machine


def verb(*arguments: str) -> int:
    """Run a verb as the script does, and answer its exit code."""
    return main(["verb", SCRIPT, *arguments])


def manifest(clone: Path, content: bytes, name: str = "api/3-api-deployment.yaml") -> Path:
    file = clone / "infra" / "deployment" / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content)
    return file


# What the builders are told.

BUILD = Build(
    f"{REGISTRY}/comanda-api:20261125-143005-1a2b3c4",
    "arm64",
    {"VERSION": "0.1.0", "REVISION": COMMIT},
    {"pip.conf": Path("/etc/pip.conf")},
)
TOLD_TO_ALL = [
    *("--pull", "--platform", "linux/arm64", "--file", "docker/Dockerfile"),
    *("--tag", f"{REGISTRY}/comanda-api:20261125-143005-1a2b3c4"),
    *("--build-arg", "VERSION=0.1.0", "--build-arg", f"REVISION={COMMIT}"),
    *("--secret", "id=pip.conf,src=/etc/pip.conf", "."),
]


@pytest.mark.parametrize(
    ("builder", "expected"),
    [
        ("docker", ["docker", "build", *TOLD_TO_ALL]),
        ("podman", ["podman", "build", "--network", "host", *TOLD_TO_ALL]),
        ("buildah", ["buildah", "bud", "--layers", "--network", "host", *TOLD_TO_ALL]),
    ],
)
def test_how_each_builds(builder: str, expected: list[str]) -> None:
    assert build_command(builder, BUILD) == expected


LOCAL = "127.0.0.1:5000/comanda-api:x"
WITH_KEYS = Push(f"{REGISTRY}/comanda-api:x", keys=Path("/keys/config.json"))


@pytest.mark.parametrize(
    ("builder", "push", "expected"),
    [
        ("docker", WITH_KEYS, ["docker", "push", WITH_KEYS.reference]),
        ("docker", Push(LOCAL, insecure=True), ["docker", "push", LOCAL]),
        (
            "podman",
            WITH_KEYS,
            ["podman", "push", "--digestfile", "/d", "--authfile", "/keys/config.json", WITH_KEYS.reference],
        ),
        (
            "buildah",
            WITH_KEYS,
            ["buildah", "push", "--digestfile", "/d", "--authfile", "/keys/config.json", WITH_KEYS.reference],
        ),
        ("podman", Push(LOCAL), ["podman", "push", "--digestfile", "/d", LOCAL]),
        (
            "buildah",
            Push(LOCAL, insecure=True),
            ["buildah", "push", "--digestfile", "/d", "--tls-verify=false", LOCAL],
        ),
    ],
)
def test_how_each_pushes(builder: str, push: Push, expected: list[str]) -> None:
    assert push_command(builder, push, Path("/d")) == expected


# What it is called.


@pytest.mark.parametrize(
    ("now", "source", "expected"),
    [
        (AT, SOURCE, "20261125-143005-1a2b3c4"),
        (AT.astimezone(timezone(timedelta(hours=-3))), SOURCE, "20261125-143005-1a2b3c4"),
        (AT - timedelta(hours=12), SOURCE, "20261125-023005-1a2b3c4"),
        (AT, replace(SOURCE, changed=("src/comanda/money.py",)), "20261125-143005-1a2b3c4-dirty"),
    ],
)
def test_a_tag_is_the_time_in_utc_and_the_commit(now: datetime, source: Source, expected: str) -> None:
    assert tag_of(now, source) == expected


def test_what_the_image_is_made_of_is_looked_at_and_nothing_else(machine: Machine) -> None:
    def changed() -> tuple[str, ...]:
        return image.source_of(machine.account.context(), machine.clone).changed

    manifest(machine.clone, b"image: comanda-api:0.1.0\n")
    (machine.clone / "README.md").write_text("Another.\n")
    assert changed() == (), "what the last update wrote into the manifests is no other image"
    (machine.clone / "src" / "comanda" / "new.py").write_text("")
    (machine.clone / "src" / "comanda" / "money.py").write_text("CENTAVO = 2\n")
    assert changed() == ("src/comanda/money.py", "src/comanda/new.py")


def test_the_files_of_the_image_are_the_same_to_git_dockerfile_and_dockerignore() -> None:
    copied = {
        words[1].rstrip("/")
        for line in (ROOT / builders.DOCKERFILE).read_text(encoding="utf-8").splitlines()
        if (words := line.split())[:1] == ["COPY"] and not words[1].startswith("--from")
    }
    lines = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    rules = [line for line in lines if line and not line.startswith("#")]
    assert rules[0] == "*", "nothing goes to the builder but what is named"
    assert {rule[1:] for rule in rules if rule.startswith("!")} == copied
    assert set(image.MADE_OF) == {*copied, "docker/Dockerfile", ".dockerignore"}


def test_a_tag_that_is_taken_is_left_to_who_has_it(with_repository: Machine) -> None:
    account = with_repository.account
    ecr = account.bed.client("ecr")
    for number, tag in enumerate(("20261125-143005-1a2b3c4", "20261125-143006-1a2b3c4")):
        content = {"mediaType": "application/vnd.oci.image.manifest.v1+json", "annotations": {"number": str(number)}}
        ecr.put_image(repositoryName="comanda-api", imageTag=tag, imageManifest=json.dumps(content))
    assert image._free_second(account.context(), SOURCE, AT) == AT + timedelta(seconds=2)


# The manifests.

NEW = f"{REGISTRY}/comanda-api:20261125-143005-1a2b3c4@{DIGEST}"
WRITTEN = NEW.encode()


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (b"      image: comanda-api:0.1.0\n", b"      image: " + WRITTEN + b"\n"),
        (b"    - image: comanda-api\n", b"    - image: " + WRITTEN + b"\n"),
        (b"\t-  image:   comanda-api:0.1.0   # ours\n", b"\t-  image:   " + WRITTEN + b"   # ours\n"),
        (b'image: "comanda-api:0.1.0" # ours', b'image: "' + WRITTEN + b'" # ours'),
        (b"image: 'localhost:5000/a/comanda-api'\r\nx: 1\r\n", b"image: '" + WRITTEN + b"'\r\nx: 1\r\n"),
        (
            b"image: 1.dkr.ecr.sa-east-1.amazonaws.com/comanda-api:t@sha256:00\n",
            b"image: " + WRITTEN + b"\n",
        ),
        (
            "nome: à vista  \nimage: comanda-api:0.1.0\n\n---\n  image: comanda-api:0.1.0".encode(),
            "nome: à vista  \nimage: ".encode() + WRITTEN + b"\n\n---\n  image: " + WRITTEN,
        ),
    ],
)
def test_of_a_manifest_only_our_image_s_own_bytes_change(tmp_path: Path, before: bytes, after: bytes) -> None:
    others = b"spec:\n  image: postgres:18.6   # not ours\n"
    file = manifest(tmp_path, others + before)
    file.chmod(0o640)
    (found,) = manifests.naming(tmp_path)
    manifests.write(found, NEW)
    assert file.read_bytes() == others + after
    assert file.stat().st_mode & 0o777 == 0o640
    (again,) = manifests.naming(tmp_path)
    assert set(again.images) == {NEW}


@pytest.mark.parametrize(
    "line",
    [
        b"image: comanda-api-tools:1",
        b"image: my-comanda-api:1",
        b"image: comanda-api/other:1",
        b"# image: comanda-api:0.1.0",
        b"imagePullPolicy: comanda-api",
        b"initialimage: comanda-api:1",
        b"image: comanda-api:1 and more",
        b'image: "comanda-api:1',
        b"image:",
    ],
)
def test_what_is_not_our_image_is_left_alone(tmp_path: Path, line: bytes) -> None:
    manifest(tmp_path, b"image: comanda-api:1\n" + line + b"\n")
    (found,) = manifests.naming(tmp_path)
    assert found.images == ("comanda-api:1",)
    manifests.write(found, NEW)
    assert found.file.read_bytes() == b"image: " + WRITTEN + b"\n" + line + b"\n"


def test_only_manifests_are_looked_into(tmp_path: Path) -> None:
    for name in ("b.yml", "a/deep/c.yaml", "readme.md", "d.yaml.orig"):
        manifest(tmp_path, b"image: comanda-api:1\n", name)
    assert [each.file.name for each in manifests.naming(tmp_path)] == ["c.yaml", "b.yml"]
    assert manifests.naming(tmp_path / "none") == []


def test_a_manifest_that_is_no_text_is_named(tmp_path: Path) -> None:
    manifest(tmp_path, b"image: comanda-api\xff:1\n", "x.yaml")
    with pytest.raises(DeployError, match=r"x\.yaml cannot be read"):
        manifests.naming(tmp_path)


# All of it, with a builder that stands in.


@pytest.mark.parametrize("builder", ["docker", "podman", "buildah"])
def test_it_is_built_pushed_and_written_into_the_manifests(
    builder: str, with_repository: Machine, capfd: pytest.CaptureFixture[str]
) -> None:
    machine = with_repository
    machine.has(builder)
    file = manifest(machine.clone, b"# ours\nimage: comanda-api:0.1.0 # by update-api-image\n")
    other = manifest(machine.clone, b"image: postgres:18.6\n", "db/4-db-stateful-set.yaml")

    assert verb("update-api-image", "--yes") == 0

    said = capfd.readouterr()
    built = machine.told_to("bud" if builder == "buildah" else "build")
    reference = built["arguments"][built["arguments"].index("--tag") + 1]
    assert reference.startswith(f"{REGISTRY}/comanda-api:20")
    assert built["arguments"][built["arguments"].index("--platform") + 1] == "linux/amd64"
    assert built["folder"] == str(machine.clone)
    assert any(each.startswith("REVISION=") and len(each) == 49 for each in built["arguments"])
    assert machine.told_to("push")["arguments"][-1] == reference
    assert file.read_bytes() == f"# ours\nimage: {reference}@{DIGEST} # by update-api-image\n".encode()
    assert other.read_bytes() == b"image: postgres:18.6\n"
    for line in (f"Pushed {reference}@{DIGEST}", "Written into infra/deployment/api/3-api-deployment.yaml"):
        assert line in said.out
    assert said.out.endswith("Next: eks-cluster-mng.sh deploy-api\n")
    assert f"{builder} is at push" in said.err, "the builder's words are shown as they come"


@pytest.mark.parametrize("builder", ["docker", "podman", "buildah"])
def test_the_password_is_in_one_file_and_gone_with_it(
    builder: str, with_repository: Machine, capfd: pytest.CaptureFixture[str]
) -> None:
    machine = with_repository
    machine.has(builder)
    token = machine.account.bed.client("ecr").get_authorization_token()["authorizationData"][0]["authorizationToken"]
    assert verb("update-api-image", "--yes") == 0
    pushed = machine.told_to("push")
    assert json.loads(pushed["content"])["auths"] == {REGISTRY: {"auth": token}}
    assert (pushed["mode"], pushed["folder_mode"]) == ("0o600", "0o700")
    assert not Path(pushed["keys"]).parent.exists()
    said = "".join(capfd.readouterr()) + json.dumps([(each["arguments"], each["stdin"]) for each in machine.told])
    password = base64.b64decode(token).decode().partition(":")[2]
    assert password
    assert password not in said
    assert token not in said
    assert [each["private"] for each in machine.told if each["private"]] == [], "what is Mercado Pago's is not docker's"


def test_docker_keeps_its_daemon_and_plugins_but_not_the_operator_s_credentials(with_repository: Machine) -> None:
    machine = with_repository
    machine.has("docker")
    own = machine.account.home / ".docker"
    (own / "contexts").mkdir(parents=True)
    (own / "cli-plugins").mkdir()
    settings = {"auths": {"x": {}}, "credsStore": "pass", "credHelpers": {"y": "z"}, "currentContext": "desktop"}
    (own / "config.json").write_text(json.dumps(settings))
    assert verb("update-api-image", "--yes") == 0
    pushed = machine.told_to("push")
    assert pushed["beside"] == ["cli-plugins", "config.json", "contexts"]
    content = json.loads(pushed["content"])
    assert content.pop("auths").keys() == {REGISTRY}
    assert content == {"currentContext": "desktop"}
    assert json.loads((own / "config.json").read_text()) == settings
    assert (own / "contexts").is_dir(), "what the folder's links lead to stays"
    assert "keys" not in machine.told_to("build"), "the base is pulled as the operator pulls"


def test_a_build_that_fails_is_one_line_and_nothing_is_pushed(
    with_repository: Machine, capfd: pytest.CaptureFixture[str]
) -> None:
    with_repository.has("podman")
    (with_repository.folder / "build-fails").write_text("no space left on device")
    file = manifest(with_repository.clone, b"image: comanda-api:0.1.0\n")
    assert verb("update-api-image", "--yes") == 1
    lines = capfd.readouterr().err.splitlines()
    assert lines[-2:] == [
        "no space left on device",
        f"{SCRIPT}: podman could not build the image (exit code 125): its last lines are above; mend that, run it "
        "again",
    ]
    assert [each["arguments"][1] for each in with_repository.told] == ["build"]
    assert file.read_bytes() == b"image: comanda-api:0.1.0\n"


@pytest.mark.parametrize("builder", ["docker", "podman"])
def test_a_push_that_fails_leaves_manifests_and_no_password(
    builder: str, with_repository: Machine, capfd: pytest.CaptureFixture[str]
) -> None:
    with_repository.has(builder)
    (with_repository.folder / "push-fails").write_text("the tag is there and cannot be overwritten")
    file = manifest(with_repository.clone, b"image: comanda-api:0.1.0\n")
    assert verb("update-api-image", "--yes") == 1
    lines = capfd.readouterr().err.splitlines()
    assert lines[-2] == "the tag is there and cannot be overwritten"
    assert lines[-1].startswith(f"{SCRIPT}: {builder} could not push {REGISTRY}/comanda-api:20")
    assert not Path(with_repository.told_to("push")["keys"]).exists()
    assert file.read_bytes() == b"image: comanda-api:0.1.0\n"


@pytest.mark.parametrize("builder", ["docker", "buildah"])
def test_without_a_digest_no_manifest_is_changed(
    builder: str, with_repository: Machine, capfd: pytest.CaptureFixture[str]
) -> None:
    with_repository.has(builder)
    (with_repository.folder / "says-no-digest").touch()
    file = manifest(with_repository.clone, b"image: comanda-api:0.1.0\n")
    assert verb("update-api-image", "--yes") == 1
    assert "did not say its digest: no manifest was changed" in capfd.readouterr().err
    assert file.read_bytes() == b"image: comanda-api:0.1.0\n"


def test_what_differs_from_the_commit_is_said_and_in_the_tag(
    with_repository: Machine, capfd: pytest.CaptureFixture[str]
) -> None:
    with_repository.has("podman")
    (with_repository.clone / "src" / "comanda" / "money.py").write_text("CENTAVO = 2\n")
    assert verb("update-api-image", "--yes") == 0
    said = capfd.readouterr().out
    assert "and its tag says so too: src/comanda/money.py\n" in said
    arguments = with_repository.told_to("build")["arguments"]
    assert arguments[arguments.index("--tag") + 1].endswith("-dirty")
    assert any(each.startswith("REVISION=") and each.endswith("-dirty") for each in arguments)
    assert "No manifest in infra/deployment names the image comanda-api: nothing was written." in said


@pytest.mark.parametrize(
    ("types", "architecture", "said"),
    [
        ('["t3.large", "t3a.large"]', "amd64", ""),
        ('["t4g.large", "m7g.large"]', "arm64", ""),
        ('["t3.large", "t4g.large"]', None, "(t3.large, t4g.large) are of amd64 and arm64: mend that, or say --arch"),
        ('["t9z.large"]', None, "(t9z.large) are of no kind that EC2 has here: mend that, or say --architecture"),
    ],
)
def test_it_is_built_for_the_nodes(
    types: str,
    architecture: str | None,
    said: str,
    with_repository: Machine,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    machine = with_repository
    machine.has("podman")
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    settings = Path(machine.account.environment["COMANDA_SETTINGS"])
    settings.write_text(f"[nodes]\ninstance_types = {types}\n")
    assert verb("update-api-image", "--yes") == (0 if architecture else 1)
    shown = capfd.readouterr()
    assert said in shown.err
    assert ("This machine is amd64: it needs QEMU for that" in shown.out) == (architecture == "arm64")
    if architecture:
        assert f"linux/{architecture}" in machine.told_to("build")["arguments"]
    assert verb("update-api-image", "--yes", "--architecture", "arm64") == 0


def test_pip_s_own_settings_are_mounted(with_repository: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    with_repository.has("podman")
    settings = with_repository.account.home / "pip.conf"
    settings.write_text("[global]\n")
    monkeypatch.setenv("PIP_CONFIG_FILE", str(settings))
    monkeypatch.setenv("PIP_CERT", str(settings.with_name("none.pem")))
    assert verb("update-api-image", "--yes") == 0
    arguments = with_repository.told_to("build")["arguments"]
    assert [each for each in arguments if each.startswith("id=")] == [f"id=pip.conf,src={settings}"]


def test_it_asks_before_anything_is_built(with_repository: Machine, capfd: pytest.CaptureFixture[str]) -> None:
    with_repository.has("podman")
    assert verb("update-api-image") == 1
    said = capfd.readouterr()
    assert said.err == f"{SCRIPT}: nobody is there to be asked: say --yes\n"
    assert f"+ image {REGISTRY}/comanda-api:20" in said.out
    assert with_repository.told == []


# To another registry.


def test_to_another_registry_aws_is_not_asked(machine: Machine, capfd: pytest.CaptureFixture[str]) -> None:
    machine.has("buildah")
    file = manifest(machine.clone, b"image: comanda-api:0.1.0\n")
    calls = len(machine.account.bed.calls)
    assert verb("update-api-image", "--yes", "--registry", "127.0.0.1:5000") == 0
    assert machine.account.bed.calls[calls:] == []
    pushed = machine.told_to("push")
    assert "--tls-verify=false" in pushed["arguments"]
    assert "keys" not in pushed, "the operator's own sign-in holds"
    assert file.read_text() == f"image: {pushed['arguments'][-1]}@{DIGEST}\n"
    assert pushed["arguments"][-1].startswith("127.0.0.1:5000/comanda-api:20")


def test_over_the_network_it_is_tls(machine: Machine) -> None:
    machine.has("podman")
    assert verb("update-api-image", "--yes", "--registry", "mirror.example.com:5000") == 0
    assert "--tls-verify=false" not in machine.told_to("push")["arguments"]


@pytest.mark.parametrize(
    ("registry", "expected"),
    [
        ("127.0.0.1:5000", True),
        ("127.1.2.3", True),
        ("localhost:5000", True),
        ("[::1]:5000", True),
        ("10.0.0.1:5000", False),
        ("localhost.example.com", False),
        ("127.0.0.1.example.com:80", False),
    ],
)
def test_what_is_on_this_machine(registry: str, expected: bool) -> None:
    assert is_loopback(registry) is expected
    assert image._registry(registry) == registry


@pytest.mark.parametrize("registry", ["somebody", "http://127.0.0.1:5000", "127.0.0.1:5000/x", "a.b:", ""])
def test_what_builders_would_take_for_a_user_of_docker_hub_is_refused(
    registry: str, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        verb("update-api-image", "--registry", registry)
    assert ended.value.code == 2
    assert "is no registry: give HOST:PORT, or a name with a dot in it" in capfd.readouterr().err


# Who builds.


@pytest.mark.parametrize(
    ("there", "found"),
    [
        (("buildah", "podman", "docker"), "docker"),
        (("buildah", "podman"), "podman"),
        (("buildah",), "buildah"),
    ],
)
def test_the_first_builder_that_is_here_builds(there: tuple[str, ...], found: str, machine: Machine) -> None:
    machine.has(*there)
    assert builders.find(machine.account.context()) == found


def test_docker_without_its_daemon_is_passed_over(machine: Machine) -> None:
    machine.has("docker")
    (machine.folder / "version-fails").write_text("Cannot connect to the Docker daemon at unix:///x.sock.")
    with pytest.raises(DeployError) as raised:
        builders.find(machine.account.context())
    assert str(raised.value) == (
        "docker does not reach its daemon (Cannot connect to the Docker daemon at unix:///x.sock.): start it, or "
        "apt-get install podman"
    )
    machine.has("buildah")
    assert builders.find(machine.account.context()) == "buildah"


def test_podman_under_docker_s_name_is_used_under_its_own(machine: Machine) -> None:
    machine.has("docker", "podman")
    (machine.folder / "is-docker").unlink()
    assert builders.find(machine.account.context()) == "podman"


def test_a_daemon_that_never_answers_is_not_waited_for(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    machine.has("docker", "podman")
    run = Context.run

    def slow(self: Context, command: list[str], **options: Any) -> subprocess.CompletedProcess[str]:
        if command[1] == "version":
            assert options["timeout"] == builders.PATIENCE
            raise DeployError("docker version did not end within 20 s: run it by hand")
        return run(self, command, **options)

    monkeypatch.setattr(Context, "run", slow)
    assert builders.find(machine.account.context()) == "podman"


# What is lacking.


def without_builder(machine: Machine) -> None:
    machine.account.bed.client("ecr").create_repository(repositoryName="comanda-api")


def without_repository(machine: Machine) -> None:
    machine.has("podman")


def without_git(machine: Machine) -> None:
    without_builder(machine)
    machine.has("podman")
    (machine.folder / "git").unlink()


def without_clone(machine: Machine) -> None:
    without_builder(machine)
    machine.has("podman")
    shutil.rmtree(machine.clone / ".git")


@pytest.mark.parametrize(
    ("lacking", "said"),
    [
        (without_builder, "there is no docker, podman or buildah to build the image: apt-get install podman"),
        (
            without_repository,
            "there is no image repository yet: run infra/scripts/eks-cluster-deploy.sh create-ecr-repo",
        ),
        (without_git, "git is not installed, and the image is named after its commit: apt-get install git"),
        (without_clone, "git does not say from which commit this is (fatal: not a git repository"),
    ],
)
def test_what_is_lacking_is_one_line_with_the_mend(
    lacking: Callable[[Machine], None], said: str, machine: Machine, capfd: pytest.CaptureFixture[str]
) -> None:
    lacking(machine)
    assert verb("update-api-image", "--yes") == 1
    shown = capfd.readouterr()
    assert shown.err.startswith(f"{SCRIPT}: {said}")
    assert len(shown.err.splitlines()) == 1
    assert shown.out == ""
    assert machine.told == []


# ecr-login.


@pytest.mark.parametrize("builder", ["docker", "podman", "buildah"])
def test_ecr_login_gives_the_password_by_standard_input(
    builder: str, machine: Machine, capfd: pytest.CaptureFixture[str]
) -> None:
    machine.has(builder)
    token = machine.account.bed.client("ecr").get_authorization_token()["authorizationData"][0]["authorizationToken"]
    assert verb("ecr-login") == 0
    told = machine.told_to("login")
    assert told["arguments"] == [builder, "login", "--username", "AWS", "--password-stdin", REGISTRY]
    assert f"AWS:{told['stdin']}" == base64.b64decode(token).decode()
    said = capfd.readouterr()
    assert f"{builder} is signed in to {REGISTRY}, for twelve hours. Next: " in said.out
    assert told["stdin"] not in said.out + said.err


def test_ecr_login_that_is_refused_says_why(machine: Machine, capfd: pytest.CaptureFixture[str]) -> None:
    machine.has("podman")
    (machine.folder / "login-fails").write_text("Error: permission denied")
    assert verb("ecr-login") == 1
    assert capfd.readouterr().err == (
        f"{SCRIPT}: podman could not sign in to {REGISTRY} (Error: permission denied): mend that, then run it again\n"
    )


@pytest.mark.parametrize("name", ["update-api-image", "ecr-login"])
def test_each_verb_says_what_it_will_do(name: str) -> None:
    answer = subprocess.run(
        [str(ROOT / "infra" / "scripts" / SCRIPT), name, "--help"], cwd="/", capture_output=True, text=True, check=False
    )
    assert answer.returncode == 0, answer.stderr
    assert f"usage: {SCRIPT} {name}" in answer.stdout
    does = next(each.does for each in verbs.MANAGE if each.name == name)
    assert " ".join(does.split()) in " ".join(answer.stdout.split())
    for option in ("--yes", "--settings"):
        assert option in answer.stdout


def test_the_script_lists_its_verbs(capfd: pytest.CaptureFixture[str]) -> None:
    assert verb("--help") == 0
    listed = capfd.readouterr().out
    assert listed.startswith(f"usage: {SCRIPT} VERB [options]. What one does")
    for each in verbs.MANAGE:
        assert f"\n  {each.name} " in listed
