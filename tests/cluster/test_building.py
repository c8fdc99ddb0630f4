"""Building the cluster's programs, with a stand-in for Go: each once, whole or not at all, nothing of the user's."""

import io
import json
import os
import re
import select
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from tests.cluster import building, cache, parts, toolchain
from tests.cluster.building import LEFT_FOR_TIME, NotAllBuilt, NotBuilt, ensure
from tests.cluster.parts import File, Part
from tests.tidy.sources import ROOT

STAND_IN = Path(__file__).parent / "stand_in_go.sh"


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a Go that is none on the PATH, a home, a cache and the parts' folder."""
    for name in [each for each in os.environ if each.startswith(("GO", "STAND_IN", "XDG_"))]:
        monkeypatch.delenv(name)
    for name in ("programs", "home", "parts"):
        (tmp_path / name).mkdir()
    shutil.copy(STAND_IN, tmp_path / "programs" / "go")
    monkeypatch.setenv("PATH", f"{tmp_path / 'programs'}:{os.environ['PATH']}")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("COMANDA_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("STAND_IN_LOG", str(tmp_path / "calls"))
    monkeypatch.setattr(parts, "FOLDER", tmp_path / "parts")
    return tmp_path


def a_part(name: str, **given: object) -> Part:
    """Make a part with a lock, and a program of its name."""
    folder = parts.FOLDER / name
    folder.mkdir(exist_ok=True)
    (folder / "go.mod").write_text(f"module parts/{name}\n", encoding="utf-8")
    (folder / "go.sum").write_text(f"example.org/{name} v1.0.0 h1:abc=\n", encoding="utf-8")
    plain = Part(name, f"example.org/{name}", "v1.0.0", "MIT", "A try.", {name: f"example.org/{name}"}, seconds=5)
    return replace(plain, **given)  # type: ignore[arg-type]


def builds(machine: Path) -> list[str]:
    """Answer the calls of Go that build something."""
    calls = machine / "calls"
    return [line for line in calls.read_text().splitlines() if line.startswith("build")] if calls.exists() else []


def in_another_process(machine: Path, **environment: str) -> subprocess.Popen[str]:
    """Build the part "tool" in a process of its own, as the command line does."""
    script = (
        "import signal, sys; from pathlib import Path; from tests.cluster import building, parts;"
        # Whoever runs the tests in the background may have them ignored.
        "signal.signal(signal.SIGINT, signal.default_int_handler); signal.signal(signal.SIGHUP, signal.SIG_DFL);"
        f"parts.FOLDER = Path({str(parts.FOLDER)!r});"
        "tool = parts.Part('tool', 'example.org/tool', 'v1.0.0', 'MIT', 'A try.', {'tool': 'example.org/tool'}, 5);"
        "building.PARTS = (tool,); sys.exit(building.main([]))"
    )
    return subprocess.Popen(
        [sys.executable, "-c", script],
        cwd=ROOT,
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        text=True,
    )


def said_until(process: subprocess.Popen[str], what: str) -> str:
    """Read what a process says until it says this, or ends."""
    said = ""
    for line in process.stdout or io.StringIO():
        said += line
        if what in line:
            return said
    raise AssertionError(said)


def ended(pid: int) -> bool:
    """Wait for the end of a process, whoever's child it is; for no more than ten seconds."""
    try:
        process = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([process], [], [], 10)[0])
    finally:
        os.close(process)


def test_a_part_is_built_once(machine: Path) -> None:
    tool = a_part("tool", tags=("small", "quick"), variables={"main.version": "v1.0.0"})
    said: list[str] = []
    ensure([tool], said.append)
    built = cache.folder(tool)
    assert (built / "bin" / "tool").read_text() == "example.org/tool\n"
    facts = {"version": "v1.0.0", "go": "1.26.8", "checksum": "h1:abc="}
    assert json.loads((built / "built.json").read_text()) == facts
    assert said[0] == "[1 of 1] tool v1.0.0: building, usually 5 s"
    assert re.fullmatch(r"\[1 of 1\] tool v1\.0\.0: built in \d+ s", said[1])
    assert "-trimpath -tags small,quick -ldflags -s -w -X main.version=v1.0.0 -o" in builds(machine)[0]
    ensure([tool], said.append)
    assert len(builds(machine)) == 1


def test_programs_are_called_as_we_call_them(machine: Path) -> None:
    server = a_part("server", binaries={"etcd": "example.org/server/v3", "ctl": "example.org/server/v3/control"})
    ours = a_part("ours", module="", binaries={"ours": "."})
    ensure([server, ours])
    assert (cache.folder(server) / "bin" / "etcd").read_text() == "example.org/server/v3\n"
    assert sorted(path.name for path in (cache.folder(server) / "bin").iterdir()) == ["ctl", "etcd"]
    assert [path.name for path in (cache.folder(ours) / "bin").iterdir()] == ["ours"]


def test_files_are_taken_out_of_modules(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = machine / "modules" / "example.org" / "api"
    (module / "crd").mkdir(parents=True)
    (module / "crd" / "things.yaml").write_text("kind: Thing\n")
    (module / "api.proto").write_text("syntax\n")
    monkeypatch.setenv("STAND_IN_MODULES", str(machine / "modules"))
    files = {"crds": File("example.org/api", "crd"), "api.proto": File("example.org/api", "api.proto")}
    tool = a_part("tool", files=files)
    with pytest.raises(NotBuilt, match=r"tool v1\.0\.0 is not built"):
        cache.file(tool, "crds")
    ensure([tool])
    assert (cache.file(tool, "crds") / "things.yaml").read_text() == "kind: Thing\n"
    assert cache.file(tool, "api.proto").read_text() == "syntax\n"
    with pytest.raises(KeyError, match="keeps no charts"):
        cache.file(tool, "charts")


def test_another_lock_flag_or_architecture_is_another_folder(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tool = a_part("tool")
    folders = {cache.folder(tool)}
    for given in (
        {"tags": ("x",)},
        {"variables": {"a": "b"}},
        {"binaries": {"a": "b"}},
        {"files": {"a": File("", "")}},
    ):
        folders.add(cache.folder(replace(tool, **given)))
    for name in ("go.sum", "go.mod", "main.go"):
        with (tool.folder / name).open("a") as file:
            file.write("// changed\n")
        folders.add(cache.folder(tool))
    monkeypatch.setattr("platform.machine", lambda: "aarch64")
    folders.add(cache.folder(tool))
    monkeypatch.setattr(cache, "GO", (1, 27, 0))
    folders.add(cache.folder(tool))
    assert len(folders) == 10


def test_a_newer_patch_of_go_is_the_same_folder(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = cache.folder(a_part("tool"))
    monkeypatch.setattr(cache, "GO", (*parts.GO[:2], 99))
    assert cache.folder(a_part("tool")) == before


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({"COMANDA_CACHE": "/c", "XDG_CACHE_HOME": "/x", "HOME": "/h"}, "/c/cluster"),
        ({"XDG_CACHE_HOME": "/x", "HOME": "/h"}, "/x/comanda/cluster"),
        ({"XDG_CACHE_HOME": "relative", "HOME": "/h"}, "/h/.cache/comanda/cluster"),
        ({"HOME": "/h"}, "/h/.cache/comanda/cluster"),
    ],
)
def test_where_the_cache_is(monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], expected: str) -> None:
    for name in ("COMANDA_CACHE", "XDG_CACHE_HOME", "HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert cache.root() == Path(expected)


def test_without_a_home_it_is_the_accounts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "")
    monkeypatch.delenv("COMANDA_CACHE", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert cache.root().is_absolute()


def test_a_program_is_found_by_its_name(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tool = a_part("tool")
    monkeypatch.setattr(cache, "of_binary", {"tool": tool}.__getitem__)
    with pytest.raises(NotBuilt, match=r"tool v1\.0\.0 is not built .*: make it with: .*tests\.cluster\.building"):
        building.binary("tool")
    ensure([tool])
    assert building.binary("tool").is_file()


def test_go_gets_nothing_of_the_users_and_the_user_nothing_of_gos(
    machine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STAND_IN_ENV", str(machine / "environment"))
    users = {
        "GOFLAGS": "-mod=mod",
        "GOMODCACHE": str(machine / "home" / "modules"),
        "GOCACHE": str(machine / "home" / "compiled"),
        "GOPATH": str(machine / "home" / "go"),
        "GONOSUMDB": "*",
        "GONOSUMCHECK": "1",
        "GOPRIVATE": "*",
        "GOINSECURE": "*",
        "GOTOOLCHAIN": "auto",
        "GOAMD64": "v4",
        "CGO_CFLAGS": "-O3",
        "GOPROXY": "https://modules.example.org",
        "HTTPS_PROXY": "http://proxy.example.org:3128",
    }
    for name, value in users.items():
        monkeypatch.setenv(name, value)
    ensure([a_part("tool")])
    lines = (machine / "environment").read_text().splitlines()
    got = dict(line.split("=", 1) for line in lines if "=" in line)
    work = str(cache.work())
    assert all(got[name].startswith(f"{work}/") for name in ("GOMODCACHE", "GOCACHE", "GOPATH", "GOTMPDIR"))
    assert got["GOFLAGS"].split()[0] == "-mod=readonly"
    assert (got["GOTOOLCHAIN"], got["GOENV"], got["CGO_ENABLED"]) == ("local", "off", "0")
    assert got["GOPROXY"] == users["GOPROXY"]
    assert got["HTTPS_PROXY"] == users["HTTPS_PROXY"]
    assert not {"GONOSUMDB", "GONOSUMCHECK", "GOPRIVATE", "GOINSECURE", "GOAMD64", "CGO_CFLAGS"} & set(got)
    assert not list((machine / "home").iterdir())
    assert not cache.work().exists()


def test_modules_stay_until_all_is_built(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STAND_IN_FAILS", "example.org/broken")
    broken = a_part("broken")
    with pytest.raises(NotAllBuilt):
        ensure([broken])
    assert cache.work().is_dir()
    monkeypatch.delenv("STAND_IN_FAILS")
    ensure([broken])
    assert not cache.work().exists()


def test_a_part_that_fails_says_why_and_keeps_no_other_from_being_built(
    machine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STAND_IN_FAILS", "example.org/broken")
    broken, tool = a_part("broken"), a_part("tool")
    said: list[str] = []
    with pytest.raises(NotAllBuilt, match="broken could not be built: free some of the disk") as caught:
        ensure([broken, tool], said.append)
    assert list(caught.value.failed) == ["broken"]
    assert cache.missing([broken, tool]) == [broken]
    output = [line for line in said if ": | " in line]
    assert len(output) == 20
    assert output[0].endswith("| line 12")
    assert "no space left on device" in output[-1]
    assert "[1 of 2] broken v1.0.0: could not be built: " + caught.value.failed["broken"] in said
    assert not list(cache.root().glob("*.new"))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP], ids=lambda number: number.name)
def test_a_build_that_is_stopped_leaves_nothing_half_and_nobody_running(machine: Path, number: signal.Signals) -> None:
    tool = a_part("tool")
    started = machine / "started"
    os.mkfifo(started)
    with in_another_process(machine, STAND_IN_HANGS=str(started)) as process:
        go, compiler = map(int, started.read_text().split())
        process.send_signal(number)
        assert process.wait() == 130
        assert "stopped; run again" in (process.stdout or io.StringIO()).read()
    assert ended(go)
    assert ended(compiler)
    assert cache.missing([tool]) == [tool]
    assert not list(cache.root().glob("*.new"))


def test_a_build_that_is_killed_is_begun_anew(machine: Path) -> None:
    tool = a_part("tool")
    started = machine / "started"
    os.mkfifo(started)
    with in_another_process(machine, STAND_IN_HANGS=str(started)) as process:
        go, compiler = map(int, started.read_text().split())
        process.kill()
        process.wait()
    assert ended(go)
    os.kill(compiler, signal.SIGKILL)
    assert cache.missing([tool]) == [tool]
    (half,) = cache.root().glob("*.new")
    (half / "bin" / "half").touch()
    ensure([tool])
    assert [path.name for path in (cache.folder(tool) / "bin").iterdir()] == ["tool"]
    assert not half.exists()


def test_two_at_once_build_once(machine: Path) -> None:
    a_part("tool")
    goes_on = machine / "goes_on"
    os.mkfifo(goes_on)
    with in_another_process(machine, STAND_IN_WAITS=str(goes_on)) as first:
        said_until(first, "building")
        with in_another_process(machine) as second:
            said_until(second, "somebody else is building it; waiting")
            goes_on.write_text("go\n")
            assert first.wait() == 0
            assert second.wait() == 0
            assert "tool v1.0.0: is there" in (second.stdout or io.StringIO()).read()
    assert len(builds(machine)) == 1


def test_nothing_is_begun_that_would_not_be_done_in_time(machine: Path) -> None:
    quick, slow, last = a_part("quick", seconds=1), a_part("slow", seconds=1000), a_part("last", seconds=1)
    with pytest.raises(NotAllBuilt, match=r"^no time was left for slow, last$") as caught:
        ensure([quick, slow, last], deadline_seconds=60)
    assert caught.value.left == ["slow", "last"]
    assert cache.missing([quick, slow, last]) == [slow, last]


def test_what_is_not_done_at_the_deadline_is_stopped(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started = machine / "started"
    os.mkfifo(started)
    reads = os.open(started, os.O_RDONLY | os.O_NONBLOCK)
    monkeypatch.setenv("STAND_IN_HANGS", str(started))
    hopeful = a_part("hopeful", seconds=0)
    with pytest.raises(NotAllBuilt) as caught:
        ensure([hopeful], deadline_seconds=1)
    go, compiler = map(int, os.read(reads, 100).split())
    os.close(reads)
    assert ended(go)
    assert ended(compiler)
    assert caught.value.left == ["hopeful"]
    assert cache.missing([hopeful]) == [hopeful]


def test_the_command_says_by_its_exit_code_that_time_was_short(
    machine: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(signal, "signal", lambda *_: None)  # pytest's own stay
    monkeypatch.setattr(building, "PARTS", (a_part("slow", seconds=1000),))
    assert building.main(["--deadline", "10"]) == LEFT_FOR_TIME
    assert capsys.readouterr().out == "comanda: no time was left for slow\n"
    assert building.main(["--list"]) == 0
    assert "slow" in capsys.readouterr().out
    assert builds(machine) == []


@pytest.mark.parametrize("version", ["1.25.9", "1.26.6"])
def test_an_old_go_is_refused_before_anything_is_built(
    machine: Path, monkeypatch: pytest.MonkeyPatch, version: str
) -> None:
    monkeypatch.setenv("STAND_IN_VERSION", version)
    with pytest.raises(toolchain.NoGo, match=rf"Go 1\.26\.7 or newer \(this is {version}\)"):
        ensure([a_part("tool")])
    assert builds(machine) == []


def test_without_go_what_was_built_is_found(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tool = a_part("tool")
    ensure([tool])
    monkeypatch.setenv("PATH", "")
    ensure([tool])
    with pytest.raises(toolchain.NoGo, match="there is none"):
        ensure([tool, a_part("another")])


def test_cleaning_keeps_what_the_present_locks_built(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tool = a_part("tool")
    ensure([tool])
    old = cache.folder(tool)
    (tool.folder / "go.sum").write_text("example.org/tool v1.0.0 h1:def=\n")
    ensure([tool])
    cache.work().mkdir()
    foreign, log = cache.root() / "foreign", old.with_name(f"{old.name}.log")
    foreign.mkdir()
    log.touch()
    monkeypatch.setattr(building, "PARTS", (tool,))
    building.clean()
    assert foreign.is_dir()
    assert not log.exists()
    assert cache.is_built(tool)
    assert not old.exists()
    assert not cache.work().exists()
