"""A kubectl for the tests of what asks it: it knows some objects, and says of some what the API server would say."""

import json
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import boto3
import pytest

from comanda_deploy import kubectl, registry
from comanda_deploy.context import Context
from tests.deployment.account import USUAL, Time

SCRIPT = f"""#!{sys.executable}
import json, sys
from pathlib import Path
here = Path(__file__).parent
state = json.loads((here / "state.json").read_text())
command, arguments = sys.argv[4], sys.argv[5:]
with (here / "calls").open("a") as calls:
    print(command, file=calls)
def fail(text):
    sys.exit(print(text, file=sys.stderr) or 2)
if state["silent"]:
    fail(state["silent"])
if command in {{"get", "diff"}} and "-" in arguments:
    asked = [json.loads(each) for each in sys.stdin.read().split("---\\n")]
    names = [each["metadata"]["name"] for each in asked]
if command == "get" and "-" in arguments:
    print(json.dumps({{"items": [each for each in state["live"] if each["metadata"]["name"] in names]}}))
elif command == "get":
    print(json.dumps({{"items": state[arguments[0]]}}))
elif command == "diff":
    for each in asked:
        name = each["metadata"]["name"]
        seen = here / f"{{name}}.seen"
        if name in state["refusals"] and not (name in state["passing"] and seen.exists()):
            seen.touch()
            fail(state["refusals"][name])
    for each in (each for each in asked if each["metadata"]["name"] in state["differing"]):
        print("diff -N a b\\n--- a\\n+++ b\\n@@ @@")
        print("-" + json.dumps({{**each, "of": "somebody"}}) + "\\n+" + json.dumps(each))
    sys.exit(1 if state["differing"] else 0)
elif command == "apply":
    refused = state["refusals"].get("apply")
    if refused:
        fail(refused)
"""


@dataclass
class FakeKubectl:
    """What it knows.

    Args:
        live: the objects of the cluster. differing: the names of those that are not as their manifest says.
        refusals: what is said of a name, or of `apply`. passing: names of which it is said once.
        silent: what is said whatever is asked.
    """

    folder: Path
    live: list[dict[str, Any]] = field(default_factory=list)
    differing: list[str] = field(default_factory=list)
    refusals: dict[str, str] = field(default_factory=dict)
    passing: list[str] = field(default_factory=list)
    silent: str = ""
    pods: list[dict[str, Any]] = field(default_factory=list)
    events: list[dict[str, Any]] = field(default_factory=list)

    def context(self) -> Context:
        """Answer a context in which it is the kubectl."""
        state = {name: value for name, value in vars(self).items() if name != "folder"}
        (self.folder / "state.json").write_text(json.dumps(state), encoding="utf-8")
        script = self.folder / "kubectl"
        script.write_text(SCRIPT, encoding="utf-8")
        script.chmod(0o755)
        time = Time()
        session = boto3.Session(region_name="sa-east-1")
        return Context(USUAL, session, clock=time, sleep=time.sleep, environment={"PATH": str(self.folder)})

    @property
    def calls(self) -> list[str]:
        """The commands that it was asked."""
        calls = self.folder / "calls"
        return calls.read_text(encoding="utf-8").split() if calls.exists() else []


def faked(folder: Path, monkeypatch: pytest.MonkeyPatch) -> FakeKubectl:
    """Answer one that is asked for a cluster that stands, in an account that has every image."""
    monkeypatch.setattr(kubectl, "where", lambda _: kubectl.Where(True))
    monkeypatch.setattr(registry, "verdicts", lambda _, images: dict.fromkeys(images, registry.Verdict.THERE))
    folder.mkdir()
    return FakeKubectl(folder)
