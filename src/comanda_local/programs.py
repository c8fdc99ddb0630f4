"""The programs that `make run MONITORING=1` does not bring along: Prometheus, and exporters if they are there."""

import re
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from comanda_local.errors import LocalError

OLDEST = 3
"""Prometheus' major version: rules and metrics' names are written for it, and 2 has no UTF-8 in names."""
MEND = "unpack one of https://prometheus.io/download/ and name it, as in PROMETHEUS=/opt/prometheus/prometheus"
ANSWER_SECONDS = 20.0

# By variable: how the program is called on the PATH, by its makers and by Debian.
NAMES = {
    "PROMETHEUS": ("prometheus",),
    "NODE_EXPORTER": ("node_exporter", "prometheus-node-exporter"),
    "POSTGRES_EXPORTER": ("postgres_exporter", "prometheus-postgres-exporter"),
}


@dataclass(frozen=True)
class Programs:
    """Where each of them is. What is None is not here."""

    prometheus: Path
    node_exporter: Path | None
    postgres_exporter: Path | None


def find_programs(environment: Mapping[str, str]) -> Programs:
    """Find them: the one that a variable names, otherwise the first on the PATH.

    Raises:
        LocalError: a named one cannot be run, or there is no Prometheus, or it is too old.
    """
    prometheus = _find("PROMETHEUS", environment)
    if prometheus is None:
        raise LocalError(f"MONITORING=1 wants Prometheus {OLDEST}, and there is none on the PATH: {MEND}")
    _check_version(prometheus)
    return Programs(prometheus, _find("NODE_EXPORTER", environment), _find("POSTGRES_EXPORTER", environment))


def known_flags(program: Path, wanted: tuple[str, ...]) -> list[str]:
    """Answer those of the wanted flags that this version of a program knows: one that it does not know would end it.

    Raises:
        LocalError: it cannot be asked.
    """
    names = set(re.findall(r"--(?:\[no-\])?([a-z][\w.-]*)", _ask(program, "--help")))
    return [flag for flag in wanted if flag.removeprefix("--").removeprefix("no-").partition("=")[0] in names]


def _find(variable: str, environment: Mapping[str, str]) -> Path | None:
    given, path = environment.get(variable, "").strip(), environment.get("PATH")
    for name in [given] if given else NAMES[variable]:
        if found := shutil.which(name, path=path):
            return Path(found).absolute()
    if given:
        raise LocalError(f"{variable} names no program that can be run ({given}): correct it, or leave it out")
    return None


def _check_version(prometheus: Path) -> None:
    said = _ask(prometheus, "--version")
    version = re.search(r"\bversion v?(\d+)(?:\.\d+)*", said)
    if version is None:
        raise LocalError(f"{prometheus} does not say its version, so it is no Prometheus: {MEND}")
    if int(version[1]) < OLDEST:
        number = version[0].removeprefix("version ")
        raise LocalError(f"{prometheus} is Prometheus {number}, and {OLDEST} is the oldest that will do: {MEND}")


def _ask(program: Path, flag: str) -> str:
    try:
        done = subprocess.run(  # noqa: S603
            [str(program), flag],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,  # where older ones say it
            timeout=ANSWER_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        reason = error.strerror if isinstance(error, OSError) else f"no answer within {ANSWER_SECONDS:.0f} s"
        raise LocalError(f"{program} cannot be run ({reason}): {MEND}") from None
    return done.stdout.decode(errors="replace")
