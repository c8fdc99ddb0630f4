"""A diner in use: a kubectl whose pods run the product itself, on a real PostgreSQL, and have written logs."""

import json
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from comanda_deploy.__main__ import main
from comanda_testbed.bed import TestBed

SCRIPT = f"""#!{sys.executable}
import json, os, signal, sys, time
from pathlib import Path
here = Path(__file__).parent
state = json.loads((here / "state.json").read_text())
assert sys.argv[1:3] == ["--context", "comanda"], sys.argv
command, *arguments = [each for each in sys.argv[3:] if not each.startswith("--request-timeout")]
with (here / "calls").open("a") as calls:
    print(json.dumps([command, *arguments]), file=calls)
def fail(text):
    sys.exit(print(text, file=sys.stderr) or 1)
def value(flag):
    return arguments[arguments.index(flag) + 1] if flag in arguments else next(
        (each.partition("=")[2] for each in arguments if each.startswith(flag + "=")), "")
if state["refuses"]:
    fail(state["refuses"])
if command == "get" and arguments[0] == "pods":
    selected = value("--selector")
    chosen = [each for each in state["pods"] if each["metadata"]["labels"]["app.kubernetes.io/name"] in selected]
    print(json.dumps({{"items": chosen}}))
elif command == "get" and arguments[0] == "events":
    print(json.dumps({{"items": state["events"]}}))
elif command == "get":
    found = state["objects"].get("/".join(arguments[:2]))
    print(json.dumps(found) if found else "", end="")
elif command == "logs":
    name = arguments[0].removeprefix("pod/") + (".previous" if "--previous" in arguments else "")
    file = here / "logs" / name
    if not file.exists():
        fail(f"Error from server (BadRequest): no log of {{name}}")
    with file.open() as lines:
        while True:
            line = lines.readline()
            if line and line[:19] >= value("--since-time")[:19]:
                print(line, end="", flush=True)
            elif not line and ("--follow" not in arguments or (here / "ended").exists()):
                break
            elif not line:
                time.sleep(0.02)
elif command == "exec":
    inner = arguments[arguments.index("--") + 1:]
    environment = {{**os.environ, **state["environment"]}}
    if inner[0] == "comanda":
        inner = [sys.executable, "-m", *inner]
    else:
        instead = {{"psql": state["psql"], "--dbname=comanda": f"--dbname={{state['database']}}"}}
        inner = [instead.get(each, each) for each in inner]
    if "--stdin" not in arguments:
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    code = os.spawnvpe(os.P_WAIT, inner[0], inner, environment)
    if code < 0:
        # A real one writes by itself to a pipe that nobody reads, and ends by the signal.
        signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    if code:
        print(f"command terminated with exit code {{code}}", file=sys.stderr)
    sys.exit(code)
elif command == "port-forward":
    if arguments[0] not in state["forwards"]:
        fail(f"Error from server (NotFound): services \\"{{arguments[0]}}\\" not found")
    asked = arguments[1].partition(":")[0]
    if asked in state["taken"]:
        fail("Unable to listen on port: bind: address already in use")
    # A real one leads there; this one is there already, on the port that it says.
    print(f"Forwarding from 127.0.0.1:{{state['forwards'][arguments[0]] or asked}} -> 3000", flush=True)
    lost = here / "lost"
    while not lost.exists():
        time.sleep(0.02)
    lost.unlink()
    fail("error: lost connection to pod")
else:
    fail(f"unknown command {{command}}")
"""


def pod(name: str, app: str, *, ready: bool = True, created: str = "2026-11-25T12:00:00Z") -> dict[str, Any]:
    """Answer a pod as the API server has it."""
    return {
        "metadata": {"name": name, "labels": {"app.kubernetes.io/name": app}, "creationTimestamp": created},
        "status": {"conditions": [{"type": "Ready", "status": str(ready)}]},
    }


@dataclass
class InUse:
    """What the cluster has.

    Args:
        pods: of all apps. objects: by resource and name, as kubectl is asked for them. environment: of what runs in a
            pod. events: of Kubernetes. refuses: what is said whatever is asked. psql: where the real one is.
        database: which of the server's stands for the diner's.
        forwards: by service, the port of this machine on which it is; 0: the one that is asked for. taken: ports that
            somebody else has.
    """

    folder: Path
    pods: list[dict[str, Any]] = field(default_factory=list)
    objects: dict[str, dict[str, Any]] = field(default_factory=dict)
    environment: dict[str, str] = field(default_factory=dict)
    events: list[dict[str, Any]] = field(default_factory=list)
    refuses: str = ""
    psql: str = ""
    database: str = ""
    forwards: dict[str, int] = field(default_factory=dict)
    taken: list[str] = field(default_factory=list)

    def lose(self) -> None:
        """Let the pod go to which somebody is led."""
        (self.folder / "lost").touch()

    def begin(self, bed: TestBed, setenv: Callable[[str, str], None]) -> None:
        """Let the tool, run in this process or in another, find the cluster and the account."""
        (self.folder / "logs").mkdir(parents=True)
        script = self.folder / "kubectl"
        script.write_text(SCRIPT, encoding="utf-8")
        script.chmod(0o755)
        context = {"name": "comanda", "context": {"cluster": "comanda", "user": "comanda"}}
        kubeconfig = self.folder / "kubeconfig"
        kubeconfig.write_text(json.dumps({"apiVersion": "v1", "kind": "Config", "contexts": [context]}))
        for name, value in bed.environment.items():
            setenv(name, value)
        setenv("KUBECONFIG", str(kubeconfig))
        setenv("PATH", f"{self.folder}{os.pathsep}{os.environ['PATH']}")
        setenv("AWS_ACCESS_KEY_ID", "AKIATESTBEDADMIN0000")
        setenv("AWS_SECRET_ACCESS_KEY", "of-the-test-bed")

    def wrote(self, name: str, *lines: str) -> None:
        """Let a pod, or with `.previous` its container before, write lines, each beginning with its time."""
        with (self.folder / "logs" / name).open("a", encoding="utf-8") as file:
            file.writelines(f"{line}\n" for line in lines)

    def does(self, *arguments: str) -> int:
        """Run a verb, and answer its exit code."""
        self.save()
        return main(["verb", "eks-cluster-mng.sh", *arguments])

    def save(self) -> None:
        """Let kubectl know what there is."""
        state = {name: value for name, value in vars(self).items() if name != "folder"}
        (self.folder / "state.json").write_text(json.dumps(state), encoding="utf-8")

    @property
    def calls(self) -> list[list[str]]:
        """What kubectl was asked."""
        calls = self.folder / "calls"
        return [json.loads(line) for line in calls.read_text().splitlines()] if calls.exists() else []
