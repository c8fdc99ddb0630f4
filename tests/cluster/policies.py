"""Who may reach whom, judged from network policies alone: this cluster's network enforces none.

The judge is cyclonus' simulator, which knows the rules of the NetworkPolicy API and nothing of any network. So it
says what the policies mean, not that a network keeps to them: in AWS that is the VPC CNI's part.
"""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tests.cluster.cache import binary
from tests.cluster.machine import Failed, run

SOMEWHERE = "10.244.9.9"
"""An address of a pod; policies choose pods by labels, not by it."""


@dataclass(frozen=True)
class Pod:
    """One end of a way: a pod.

    Args:
        namespace: its namespace's name. labels: the pod's. namespace_labels: without the name, which is always there.
    """

    namespace: str
    labels: Mapping[str, str]
    namespace_labels: Mapping[str, str]

    def shown(self) -> dict[str, Any]:
        """Answer it as cyclonus reads it."""
        of_space = {"kubernetes.io/metadata.name": self.namespace, **self.namespace_labels}
        inside = {"PodLabels": dict(self.labels), "NamespaceLabels": of_space, "Namespace": self.namespace}
        return {"Internal": inside, "IP": SOMEWHERE}


@dataclass(frozen=True)
class Outside:
    """One end of a way: an address that is no pod's."""

    address: str

    def shown(self) -> dict[str, Any]:
        """Answer it as cyclonus reads it."""
        return {"IP": self.address}


@dataclass(frozen=True)
class Way:
    """From whom to whom, and to which port there."""

    source: Pod | Outside
    target: Pod | Outside
    port: int
    port_name: str = ""
    protocol: str = "TCP"


def allowed(policies: Iterable[dict[str, Any]], ways: Sequence[Way]) -> list[bool]:
    """Answer for each way whether the policies leave it open, at both its ends.

    Args:
        policies: NetworkPolicy objects, each with its namespace.

    Raises:
        Failed: the judge does not understand them.
    """
    with TemporaryDirectory(prefix="comanda-policies-") as folder:
        # A file each: of a file with several documents it reads the first alone.
        shelf = Path(folder) / "policies"
        shelf.mkdir()
        for number, policy in enumerate(policies):
            if policy.get("kind") != "NetworkPolicy" or not policy["metadata"].get("namespace"):
                raise Failed(f"no network policy with a namespace: {policy.get('kind')} {policy['metadata']}")
            (shelf / f"{number}.yaml").write_text(json.dumps(policy), encoding="utf-8")
        asked = Path(folder) / "ways.json"
        asked.write_text(json.dumps([_shown(each) for each in ways]), encoding="utf-8")
        said = run(
            *(str(binary("cyclonus")), "analyze", "--mode=query-traffic"),
            *(f"--policy-path={shelf}", f"--traffic-path={asked}"),
        )
    answers = re.findall(r"IS ALLOWED\? +\| +(TRUE|FALSE) ", said)
    if len(answers) != len(ways):
        raise Failed(f"{len(ways)} ways were asked for, {len(answers)} judged:\n{said[-2000:]}")
    return [answer == "TRUE" for answer in answers]


def _shown(way: Way) -> dict[str, Any]:
    return {
        "Source": way.source.shown(),
        "Destination": way.target.shown(),
        "ResolvedPort": way.port,
        "ResolvedPortName": way.port_name,
        "Protocol": way.protocol,
    }
