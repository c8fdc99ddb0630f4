"""Builds the cluster's programs, each once: `python -m tests.cluster.building`.

What is interrupted, by a signal or for lack of time, leaves no half-built part, and goes on where it was when it is run
again. Two at once, of two clones, build each part once between them.
"""

import argparse
import contextlib
import fcntl
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import IO, NoReturn

from tests.cluster import toolchain
from tests.cluster.cache import NotBuilt, binary, file, folder, is_built, missing, root, sources, work
from tests.cluster.machine import Failed
from tests.cluster.parts import CORE, PARTS, Part

__all__ = ["NotAllBuilt", "NotBuilt", "binary", "clean", "ensure", "file", "missing"]

Progress = Callable[[str], None]

SAYS_EVERY_SECONDS = 30
LAST_LINES = 20
USUAL_UNTIL_SECONDS = 60
"""How much a machine is taken to be as fast as usual before its own parts say otherwise."""

LEFT_FOR_TIME = 75
"""Exit code: all that was begun was built, and not all was begun. sysexits' "try again later"."""

MENDS = (
    (r"no space left", "free some of the disk: a build from nothing wants 25 GB, most of it until it is done"),
    (r"SECURITY ERROR|checksum mismatch", "a download is not what go.sum says it is. Do not build it; ask who has it"),
    (r"requires go >=|invalid go version", f"a newer Go is wanted: {toolchain.INSTALL}"),
    (r"missing go\.sum entry|updates to go\.mod needed", "its lock is not whole: run `go mod tidy` in its folder"),
    (
        r"dial tcp|no such host|i/o timeout|TLS handshake|connection refused|403 Forbidden|404 Not Found|410 Gone",
        "the module proxy was not reached, or has not got it: see GOPROXY and HTTPS_PROXY, and run it again",
    ),
    (r"signal: killed|cannot allocate memory", "it ran out of memory: end something else, and run it again"),
)
"""By what stands in the last lines: what to do."""


class NotAllBuilt(Failed):
    """Some parts are not built. The text names them, and why."""

    def __init__(self, failed: dict[str, str], left: list[str]) -> None:
        self.failed = failed
        """By part: what to do."""
        self.left = left
        """Those for which there was no time."""
        said = [f"{name} could not be built: {mend}" for name, mend in failed.items()]
        if left:
            said.append(f"no time was left for {', '.join(left)}")
        super().__init__("; ".join(said))


class _OutOfTime(Exception):
    """The deadline came while a part was being built, or waited for."""


class _BuildFailed(Exception):
    """Go could not build it; the text says what to do."""


@dataclass
class _Clock:
    """When to stop, and how fast this machine is against the parts' usual seconds."""

    until: float | None
    """On time.monotonic()'s scale."""
    spent: float = 0
    usual: float = 0

    @property
    def left(self) -> float | None:
        """Seconds until the deadline, at least 0; None without one."""
        return None if self.until is None else max(0.0, self.until - time.monotonic())

    def is_enough_for(self, part: Part) -> bool:
        """Whether a part would be built before the deadline, as fast as those before it."""
        pace = (self.spent + USUAL_UNTIL_SECONDS) / (self.usual + USUAL_UNTIL_SECONDS)
        return self.left is None or part.seconds * pace <= self.left

    def took(self, part: Part, seconds: float) -> None:
        """Learn from a part that has been built."""
        self.spent += seconds
        self.usual += part.seconds


def ensure(parts: Iterable[Part] = PARTS, progress: Progress = print, *, deadline_seconds: float | None = None) -> None:
    """Build those of the parts that are not there yet, in their order.

    A part that fails does not keep the others from being built. With `deadline_seconds`, nothing is begun that would
    not be done by then, and what is not done by then is stopped.

    Raises:
        NotAllBuilt: Some are not there afterwards.
        NoGo: Some are not there, and nothing to build them with.
        OSError: The cache cannot be written to.
    """
    parts = list(parts)
    if not missing(parts):
        return
    toolchain.check()
    clock = _Clock(None if deadline_seconds is None else time.monotonic() + deadline_seconds)
    failed: dict[str, str] = {}
    left: list[str] = []
    root().mkdir(parents=True, exist_ok=True)
    with _held(root() / "work.lock", fcntl.LOCK_SH):
        work().joinpath("tmp").mkdir(parents=True, exist_ok=True)
        for number, part in enumerate(parts, 1):

            def say(text: str, *, prefix: str = f"[{number} of {len(parts)}] {part.name} {part.version}") -> None:
                progress(f"{prefix}: {text}")

            if is_built(part):
                say("is there")
            elif left or not clock.is_enough_for(part):
                left.append(part.name)
            else:
                began = time.monotonic()
                try:
                    _build_once(part, say, clock)
                    clock.took(part, time.monotonic() - began)
                except _OutOfTime:
                    left.append(part.name)
                except _BuildFailed as why:
                    failed[part.name] = str(why)
    if failed or left:
        raise NotAllBuilt(failed, left)
    _remove_work(progress)


def clean(progress: Progress = print) -> None:
    """Remove what building left behind, and the programs that another lock than this clone's was for."""
    if not root().is_dir():
        return
    _remove_work(progress)
    current = {folder(part).name for part in PARTS}
    for path in sorted(root().iterdir()):
        is_ours = path.suffix == ".new" or (path / "built.json").is_file()
        if is_ours and path.name.removesuffix(".new") not in current:
            with _held(path.with_name(path.name.removesuffix(".new") + ".lock"), fcntl.LOCK_EX):
                progress(f"removing {path.name}")
                shutil.rmtree(path)
        elif path.suffix == ".log" and path.stem not in current:
            path.unlink()


@contextlib.contextmanager
def _held(
    path: Path, kind: int, seconds: float | None = None, waiting: Callable[[], None] = lambda: None
) -> Iterator[None]:
    """Hold a lock, which the kernel takes back if we are killed. Its file stays: others may be waiting at it.

    Raises:
        _OutOfTime: Others hold it, and still do after `seconds`.
    """
    with path.open("ab") as held:
        try:
            fcntl.flock(held, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            waiting()
            _wait_for(held, kind, seconds)
        yield


def _wait_for(held: IO[bytes], kind: int, seconds: float | None) -> None:
    """flock(2) knows no time limit, flock(1) does; the lock is the open file's, so it is ours afterwards."""
    if seconds is None:
        fcntl.flock(held, kind)
        return
    how = "--shared" if kind == fcntl.LOCK_SH else "--exclusive"
    waits = ["flock", how, "--timeout", f"{seconds:.3f}", str(held.fileno())]
    if subprocess.run(waits, pass_fds=[held.fileno()], check=False).returncode:
        raise _OutOfTime


def _remove_work(progress: Progress) -> None:
    """Remove the modules and what was compiled of them, unless somebody is building with them just now."""
    with (root() / "work.lock").open("ab") as held, contextlib.suppress(BlockingIOError):
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if work().is_dir():
            progress("removing the modules and what was compiled for the build")
            shutil.rmtree(work())


def _build_once(part: Part, say: Callable[[str], None], clock: _Clock) -> None:
    """Build a part, or wait for somebody else who does."""
    done = folder(part)
    lock = done.with_name(f"{done.name}.lock")
    with _held(lock, fcntl.LOCK_EX, clock.left, lambda: say("somebody else is building it; waiting")):
        if is_built(part):
            say("is there")
            return
        began = time.monotonic()
        say(f"building, usually {part.seconds} s")
        new = done.with_name(f"{done.name}.new")
        if new.exists():  # of one that was killed
            shutil.rmtree(new)
        try:
            _build(part, new, done.with_name(f"{done.name}.log"), _Run(part, say, clock, began))
            new.rename(done)
        finally:
            shutil.rmtree(new, ignore_errors=True)
        say(f"built in {time.monotonic() - began:.0f} s")


def _build(part: Part, new: Path, log: Path, run: "_Run") -> None:
    """Build a part into a folder of its own, from a copy: the clone may change meanwhile."""
    source, programs, files = (new / name for name in ("source", "bin", "files"))
    for path in (source, programs, files):
        path.mkdir(parents=True)
    for name, content in sources(part).items():
        (source / name).write_bytes(content)
    with log.open("w+b") as output:
        tags = ["-tags", ",".join(part.tags)] if part.tags else []
        flags = ["-trimpath", *tags, "-ldflags", part.ldflags]
        # All at once: linking one keeps one core, compiling for the next the other.
        run(["build", *flags, "-o", f"{programs}/", *part.binaries.values()], source, output)
        for name, file_ in part.files.items():
            run(["mod", "download", "-json", file_.module], source, output)
            place = re.findall(r'^\t"Dir": "(.+)",?$', log.read_text(encoding="utf-8"), re.MULTILINE)[-1]
            _copy(Path(place) / file_.path, files / name)
    for name, package in part.binaries.items():
        (programs / _name_by_go(package, part)).rename(programs / name)
    built = {"version": part.version, "go": toolchain.check(), "checksum": part.checksum}
    (new / "built.json").write_text(json.dumps(built, indent=2) + "\n", encoding="utf-8")
    shutil.rmtree(source)
    log.unlink()


def _name_by_go(package: str, part: Part) -> str:
    """Answer how Go names a package's program: after its last folder that is not a major version."""
    names = [name for name in package.split("/") if not re.fullmatch(r"v\d+", name)]
    return part.name if package == "." else names[-1]


def _copy(source: Path, target: Path) -> None:
    if source.is_dir():
        shutil.copytree(source, target)
    else:
        shutil.copyfile(source, target)


@dataclass
class _Run:
    """Runs Go for a part, says how it goes, and leaves no process of it behind."""

    part: Part
    say: Callable[[str], None]
    clock: _Clock
    began: float

    def __call__(self, arguments: list[str], source: Path, output: IO[bytes]) -> None:
        """Run Go.

        Raises:
            _BuildFailed: It could not do it.
            _OutOfTime: The deadline came.
        """
        process = subprocess.Popen(
            toolchain.command(*arguments),
            cwd=source,
            env=toolchain.environment(os.environ, work()),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            # Its own session: Ctrl-C is for us, who end it with all that it has started.
            start_new_session=True,
        )
        try:
            code = self._wait(process)
        finally:
            _end(process)
        if code:
            raise _BuildFailed(self._why(output))

    def _wait(self, process: subprocess.Popen[bytes]) -> int:
        while True:
            left = self.clock.left
            if left == 0:
                raise _OutOfTime
            with contextlib.suppress(subprocess.TimeoutExpired):
                return process.wait(min(SAYS_EVERY_SECONDS, SAYS_EVERY_SECONDS if left is None else left))
            self.say(f"{time.monotonic() - self.began:.0f} s of about {self.part.seconds}")

    def _why(self, output: IO[bytes]) -> str:
        output.seek(0)
        lines = output.read().decode(errors="replace").splitlines()[-LAST_LINES:]
        mend = next((mend for sign, mend in MENDS if re.search(sign, "\n".join(lines))), "")
        mend = mend or f"all that Go said is in {output.name}; run it again, it goes on where it stopped"
        for line in lines:
            self.say(f"| {line}")
        self.say(f"could not be built: {mend}")
        return mend


def _end(process: subprocess.Popen[bytes]) -> None:
    """End Go and its compilers. An interrupt lets Go clean up; what does not heed it is killed."""
    if process.poll() is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGINT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(10)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _list(parts: Iterable[Part]) -> None:
    for part in parts:
        where = str(folder(part)) if is_built(part) else f"not built; usually {part.seconds} s"
        core = "core" if part.core else ""
        print(f"{part.name:<22} {part.version:<9} {part.licence:<11} {core:<5} {where}")


def _say(text: str) -> None:
    print(f"comanda: {text}", flush=True)


def _on_terminate(_number: int, _frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt


def main(arguments: list[str] | None = None) -> int:
    """Build what is missing; see --help. Answers 0, 1 if something failed, 75 if there was no time for all of it."""
    parser = argparse.ArgumentParser(prog="python -m tests.cluster.building", description=__doc__)
    parser.add_argument("--core", action="store_true", help="only what the cluster and its first tests need")
    parser.add_argument("--list", action="store_true", help="say what the parts are and where they lie; build nothing")
    parser.add_argument("--clean", action="store_true", help="remove what older locks and broken-off builds left")
    parser.add_argument("--deadline", type=float, metavar="SECONDS", help="stop then, and name what is left")
    wanted = parser.parse_args(arguments)
    parts = CORE if wanted.core else PARTS
    if wanted.list:
        _list(parts)
        return 0
    signal.signal(signal.SIGTERM, _on_terminate)
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        signal.signal(signal.SIGHUP, _on_terminate)
    try:
        if wanted.clean:
            clean(_say)
            return 0
        began = time.monotonic()
        ensure(parts, _say, deadline_seconds=wanted.deadline)
    except NotAllBuilt as why:
        _say(str(why))
        return 1 if why.failed else LEFT_FOR_TIME
    except toolchain.NoGo as why:
        _say(str(why))
        return 1
    except OSError as why:
        _say(f"{why}; COMANDA_CACHE=... names another folder than {root()}")
        return 1
    except KeyboardInterrupt:
        _say("stopped; run again, it goes on where it was")
        return 130
    _say(f"all {len(parts)} parts are there, after {time.monotonic() - began:.0f} s, in {root()}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
