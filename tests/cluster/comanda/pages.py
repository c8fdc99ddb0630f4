"""An alert's page as whoever is woken reads it: what to ask Prometheus, what to type, and what mends it."""

import re
from dataclasses import dataclass

from tests.monitoring.reading import PAGES

COMMANDS = ("kubectl ", "eks-cluster-mng.sh ", "comanda-deploy ", "curl ")


@dataclass(frozen=True)
class Page:
    """A page.

    Args:
        alert: whose it is.
        queries: of its first look, for Prometheus, in order. commands: likewise, for a shell.
        fix: how it is mended, as it stands there.
    """

    alert: str
    queries: tuple[str, ...]
    commands: tuple[str, ...]
    fix: str

    @classmethod
    def of(cls, alert: str) -> "Page":
        """Read the page of an alert."""
        text = (PAGES / f"{alert}.md").read_text(encoding="utf-8")
        sections = dict(re.findall(r"^## (.*?)\n(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL))
        look = sections["First look"]
        # What is to be pasted is a block of its own, or stands in the text.
        lines = re.findall(r"^    (\S.*)$", look, re.MULTILINE) + re.findall(r"`(eks-cluster-mng\.sh [^`]+)`", look)
        commands = [line for line in lines if line.startswith(COMMANDS) and "prometheus-connect" not in line]
        queries = [line for line in lines if not line.startswith(COMMANDS)]
        return cls(alert, tuple(queries), tuple(dict.fromkeys(commands)), sections["Fix"])

    def mend(self, command: str, **put: str) -> str:
        """Answer a command of its Fix, word by word as it stands there, with what the reader has put for its words.

        Args:
            put: what stands for a word in capitals.

        Raises:
            AssertionError: the page does not say it.
        """
        said = " ".join(self.fix.split())
        assert f"`{command}`" in said or f"`{command} " in said, f"{self.alert} does not say {command}"
        return filled(command, put)


def filled(command: str, put: dict[str, str]) -> str:
    """Answer a command with what the reader puts for its words in capitals."""
    for word, value in put.items():
        command = re.sub(rf"\b{word}\b", value, command)
    return command
