"""Who a child process runs as, and what ends it when we are gone.

PostgreSQL refuses to run as root. Started as root, we run it as another user, who may not be able to walk
to the project at all (a clone below `/root`, which is closed to everybody else). Opening those folders
would change rights that are not ours, so that user keeps one capability instead: to read and search past
them.
"""

import os
import pwd
import shutil
from dataclasses import dataclass
from pathlib import Path

# Bits of the kernel's capability sets (linux/capability.h), least mighty first. Containers often withhold
# the first.
_WALKING_CAPABILITIES = {"dac_read_search": 2, "dac_override": 1}
_SETPCAP = 8


@dataclass(frozen=True)
class Account:
    """A user and group that a process may run as."""

    name: str
    uid: int
    gid: int


def database_account(data_dir: Path) -> Account | None:
    """The account PostgreSQL must run as, or None for our own.

    Only root needs another one: the owner of the existing data, so that a folder made by an ordinary user
    goes on working under root, otherwise `nobody`, whom every system has.
    """
    if os.geteuid() != 0:
        return None
    try:
        owner = data_dir.stat().st_uid
    except FileNotFoundError:
        owner = 0
    try:
        entry = pwd.getpwuid(owner) if owner else pwd.getpwnam("nobody")
    except KeyError:
        entry = pwd.getpwnam("nobody")
    return Account(entry.pw_name, entry.pw_uid, entry.pw_gid)


def run_as(account: Account | None, *, death_signal: str | None = None) -> list[str]:
    """The words to put before a command so that it runs as `account`, and gets `death_signal` when we die.

    `setpriv` belongs to util-linux, which Debian and Ubuntu always have. Without it nothing is put before:
    the command then runs as we do, which for root is refused by PostgreSQL with a clear line.
    """
    setpriv = shutil.which("setpriv")
    if setpriv is None:
        return []
    words = [setpriv]
    if account is not None:
        words += [f"--reuid={account.uid}", f"--regid={account.gid}", "--clear-groups"]
        held = _effective_capabilities()
        capability = next((name for name, bit in _WALKING_CAPABILITIES.items() if held >> bit & 1), None)
        if capability is not None:
            words += [f"--inh-caps=+{capability}", f"--ambient-caps=+{capability}"]
            if held >> _SETPCAP & 1:
                # PostgreSQL looks for its own parts with access(2), which would otherwise ignore
                # capabilities.
                words += ["--securebits=+no_setuid_fixup"]
    if death_signal is not None:
        words += [f"--pdeathsig={death_signal}"]
    return [*words, "--"] if len(words) > 1 else []


def _effective_capabilities() -> int:
    """The capabilities that we hold, as the kernel's bit set."""
    status = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
    return next((int(line.split()[1], 16) for line in status.splitlines() if line.startswith("CapEff:")), 0)
