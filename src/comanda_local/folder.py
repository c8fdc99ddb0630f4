"""`.comanda/`: the folder that holds everything of this clone, and who may work in it."""

import fcntl
import json
import os
import secrets
import string
from dataclasses import dataclass
from pathlib import Path

from comanda_local.errors import LocalError
from comanda_local.private_file import write_private


@dataclass(frozen=True, repr=False)
class Secrets:
    """What is made once and stays the same from start to start. No repr: it would show them."""

    owner_password: str
    api_password: str
    staff_key: str
    manager_key: str
    webhook_secret: str
    sandbox_token: str


class DataFolder:
    """The data folder, made when missing, with its lock. Everything in it is reachable by its owner alone."""

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()
        self.postgres = self.path / "postgresql"
        self.prometheus = self.path / "prometheus"
        self.logs = self.path / "logs"
        self.sandbox_ledger = self.path / "sandbox.sqlite3"
        self._local = self.path / "local.json"
        self._lock: int | None = None

    def take(self) -> None:
        """Make the folder and lock it for this process; the lock goes with the process, however it ends.

        Raises:
            LocalError: it cannot be made or written to, or another `make run` holds it.
        """
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            if self.path.stat().st_uid == os.geteuid():
                self.path.chmod(0o700)
            self.logs.mkdir(mode=0o700, exist_ok=True)
            lock = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            probe = self.logs / ".probe"  # that the lock could be opened says nothing about new files
            probe.touch()
            probe.unlink()
        except OSError as error:
            raise LocalError(
                f"the data folder {self.path} cannot be written to ({error.strerror}): give it to this user "
                "and make it writable, or keep the clone elsewhere"
            ) from None
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise LocalError(self._who_runs(os.pread(lock, 32, 0))) from None
        os.ftruncate(lock, 0)
        os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
        self._lock = lock
        self.withdraw()  # of a run that was killed

    def secrets(self) -> Secrets:
        """Answer the kept secrets; those that are missing are made and kept first."""
        file = self.path / "secrets.json"
        try:
            kept = json.loads(file.read_text(encoding="utf-8"))
        except FileNotFoundError:
            kept = {}
        except (OSError, ValueError) as error:
            raise LocalError(f"{file} cannot be read ({error}): mend it, or remove it for new keys") from None
        if not isinstance(kept, dict):
            raise LocalError(f"{file} is no JSON object: mend it, or remove it for new keys")
        made = {
            "owner_password": secrets.token_urlsafe(24),
            "api_password": secrets.token_urlsafe(24),
            "staff_key": f"comanda_staff_{secrets.token_urlsafe(32)}",
            "manager_key": f"comanda_manager_{secrets.token_urlsafe(32)}",
            "webhook_secret": secrets.token_hex(32),
            "sandbox_token": _sandbox_token(),
        }
        whole = {name: str(kept.get(name) or value) for name, value in made.items()}
        if whole != kept:
            write_private(file, json.dumps(whole, indent=2) + "\n")
        return Secrets(**whole)

    def log_of(self, name: str) -> Path:
        """Where a program's output goes."""
        return self.logs / f"{name.lower()}.log"

    def publish(self, document: dict[str, str | None]) -> None:
        """Write `local.json`: by rename, mode 0600. Who finds it finds everything ready."""
        write_private(self._local, json.dumps(document, indent=2) + "\n")

    def withdraw(self) -> None:
        """Remove `local.json`, if it is there and ours: not that of another run that kept us out."""
        if self._lock is not None:
            self._local.unlink(missing_ok=True)

    def _who_runs(self, pid: bytes) -> str:
        who = f"pid {pid.decode(errors='replace').strip()}"
        try:
            document = json.loads(self._local.read_text(encoding="utf-8"))
            where = f"at {document['api']}" + (f", sandbox {document['sandbox']}" if document["sandbox"] else "")
        except (OSError, ValueError, KeyError, TypeError):
            where = "and is starting or stopping"
        return f"Comanda already runs in this folder ({who}) {where}: use it, or end it there with Ctrl-C"


def _sandbox_token() -> str:
    """A token in the form of Mercado Pago's test credentials: application, time, hex digits, user."""
    digits = "".join(secrets.choice(string.digits) for _ in range(16))
    return f"TEST-{digits}-010100-{secrets.token_hex(16)}-{secrets.randbelow(9 * 10**8) + 10**8}"
