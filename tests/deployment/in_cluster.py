"""A context whose kubectl is a stand-in's: what the fake clusters share."""

import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from comanda_deploy import kubectl
from comanda_deploy.context import Context


class Answers(Protocol):
    """A cluster that is asked by kubectl's arguments."""

    def answer(self, arguments: list[str], standard_input: str | None) -> Any:
        """Answer what is printed, or the whole of how the command ended."""


@dataclass
class InCluster(Context):
    """A context whose kubectl is the cluster's."""

    cluster: Answers = field(kw_only=True)

    def run(
        self, command: Sequence[str], *, standard_input: str | None = None, timeout: float = 120
    ) -> subprocess.CompletedProcess[str]:
        del timeout
        assert tuple(command[:3]) == kubectl.KUBECTL
        arguments = [each for each in command[3:] if not each.startswith("--request-timeout")]
        found = self.cluster.answer(arguments, standard_input)
        if isinstance(found, subprocess.CompletedProcess):
            return found
        return subprocess.CompletedProcess(list(command), 0, found or "", "")
