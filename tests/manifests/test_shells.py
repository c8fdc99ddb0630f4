"""The two scripts that stand in manifests, carried out: what they start is a stand-in, which says what it was given."""

import os
import re
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.manifests.reading import Json, of_kind

STAND_IN = """\
#!/bin/sh
trap 'echo "told $(cat {file})"' HUP
trap 'echo ended; exit 0' TERM
echo "started $(cat {file}) with $*"
while :; do /bin/sleep 0.02; done
"""


def container(kind: str, name: str, which: str) -> Json:
    [workload] = [each for each in of_kind(kind) if each.name == name]
    [found] = [each for each in workload.pod["spec"]["containers"] if each["name"] == which]
    return dict(found)


class Shell:
    """A script at work, in a folder that stands for the container's own.

    Args:
        folder: with `bin`, what is found by name.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "bin").mkdir()
        self.program("sleep", "#!/bin/sh\nexec /bin/sleep 0.02\n")
        self.process: subprocess.Popen[str] | None = None

    def program(self, name: str, text: str) -> None:
        file = self.folder / "bin" / name
        file.write_text(text, encoding="utf-8")
        file.chmod(0o755)

    def begin(self, *words: str, **environment: str) -> None:
        path = f"{self.folder / 'bin'}:/usr/bin:/bin"
        self.process = subprocess.Popen(
            words,
            stdout=subprocess.PIPE,
            text=True,
            cwd=self.folder,
            env={"PATH": path, **environment},
            start_new_session=True,
        )

    def line(self) -> str:
        assert self.process is not None
        assert self.process.stdout is not None
        return self.process.stdout.readline().rstrip("\n")

    def end(self) -> list[str]:
        """Tell it to end, as Kubernetes does, and answer what was still said."""
        assert self.process is not None
        self.process.terminate()
        rest, _ = self.process.communicate(timeout=30)
        return rest.splitlines()


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[Shell]:
    made = Shell(tmp_path)
    yield made
    if made.process is not None and made.process.poll() is None:
        # What it has started too.
        os.killpg(made.process.pid, signal.SIGKILL)
        made.process.communicate()


def put(file: Path, text: str) -> None:
    """Write a file that is there whole or not at all, as a secret's is."""
    new = file.with_suffix(".new")
    new.write_text(text, encoding="utf-8")
    new.rename(file)


def test_the_exporter_gets_a_password_that_was_rotated_and_starts_again_when_it_dies(shell: Shell) -> None:
    password = shell.folder / "METRICS_PASSWORD"
    put(password, "first")
    stand_in = STAND_IN.format(file=password)
    shell.program("postgres_exporter", stand_in)
    metrics = container("StatefulSet", "database", "metrics")
    shell.begin(*metrics["command"], *metrics["args"], DATA_SOURCE_PASS_FILE=str(password))
    assert shell.line() == f"started first with {' '.join(metrics['args'])}"
    put(password, "second")
    assert shell.line() == "ended"
    assert shell.line().startswith("started second")
    shell.program("postgres_exporter", "#!/bin/sh\necho crashed\nexit 1\n")
    put(password, "third")
    assert [shell.line() for _ in range(3)] == ["ended", "crashed", "crashed"]
    shell.program("postgres_exporter", stand_in)
    said = shell.line()
    while said == "crashed":
        said = shell.line()
    assert said.startswith("started third")
    assert shell.end() == ["ended"], "the database's pod does not wait for it"


def receivers(folder: Path, text: str) -> None:
    """Write what External Secrets would make of the entry, at once."""
    put(folder / "secrets" / "receivers.yml", text)


def alertmanager(shell: Shell, amtool: str = "true") -> str:
    """Start it; answer what it says first, the last line of its configuration."""
    folder = shell.folder
    for name in ("etc", "secrets", "tmp"):
        (folder / name).mkdir(exist_ok=True)
    [found] = [each for each in of_kind("ConfigMap") if each.name == "alertmanager"]
    places = {"/etc/alertmanager": "etc", "/run/secrets/alertmanager": "secrets", "/tmp/": "tmp/"}  # noqa: S108
    within = re.compile("|".join(places))
    for name, text in found.body["data"].items():
        ours = within.sub(lambda match: f"{folder}/{places[match[0]]}", text)
        (folder / "etc" / name).write_text(ours, encoding="utf-8")
    (folder / "etc" / "alertmanager.yml").write_text("routes\n")
    (folder / "etc" / "nobody.yml").write_text("nobody\n")
    shell.program("amtool", f"#!/bin/sh\n{amtool}\n")
    shell.program("alertmanager", STAND_IN.format(file="tmp/alertmanager.yml").replace("cat", "tail -n 1"))
    main = container("Deployment", "alertmanager", "alertmanager")
    assert main["command"] == ["sh", "/etc/alertmanager/run.sh"]
    shell.begin("sh", str(folder / "etc" / "run.sh"), *main["args"])
    return shell.line()


def test_alertmanager_runs_without_an_entry_and_takes_up_one_that_comes_and_goes(shell: Shell) -> None:
    assert alertmanager(shell).startswith("started nobody with --config.file=/tmp/alertmanager.yml")
    receivers(shell.folder, "slack\n")
    assert shell.line() == "told slack"
    receivers(shell.folder, "slack and mail\n")
    assert shell.line() == "told slack and mail"
    (shell.folder / "secrets" / "receivers.yml").unlink()
    assert shell.line() == "told nobody"
    assert shell.end() == ["ended"]


def test_receivers_that_cannot_be_read_do_not_keep_it_from_starting(shell: Shell) -> None:
    (shell.folder / "secrets").mkdir()
    receivers(shell.folder, "nonsense\n")
    assert alertmanager(shell, amtool="! grep -q nonsense $2").startswith("started nobody")
    receivers(shell.folder, "slack\n")
    assert shell.line() == "told slack"
