"""`helm` and `kubectl` in an emulated account: as much of them as the deployment tool uses, and no Kubernetes."""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import yaml


def ask(method: str, path: str, **body: Any) -> Any:
    """Answer what the stand-in of the API server says.

    Raises:
        SystemExit: what it refuses, as the command would say it.
    """
    request = urllib.request.Request(  # noqa: S310 - loopback
        f"{os.environ['AWS_ENDPOINT_URL']}/_kubernetes/{path}", json.dumps(body).encode(), method=method
    )
    try:
        with urllib.request.urlopen(request, timeout=30) as response:  # noqa: S310 - loopback
            return json.load(response)
    except urllib.error.HTTPError as error:
        raise SystemExit(f"Error: {json.load(error)['message']}") from error


def helm(arguments: list[str]) -> int:
    """Answer `helm version`, `list`, `get values`, `upgrade --install`, `rollback` and `uninstall`."""
    parser = argparse.ArgumentParser(prog="helm")
    parser.add_argument("--kube-context")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("version").add_argument("--template")
    listing = commands.add_parser("list")
    for flag in ("--all-namespaces", "--deployed", "--failed", "--pending", "--uninstalling"):
        listing.add_argument(flag, action="store_true")
    listing.add_argument("--output")
    get = commands.add_parser("get")
    get.add_argument("what", choices=["values"])
    get.add_argument("name")
    get.add_argument("--namespace", required=True)
    get.add_argument("--output")
    upgrade = commands.add_parser("upgrade")
    upgrade.add_argument("name")
    upgrade.add_argument("chart")
    for flag in ("--repo", "--version", "--namespace", "--values"):
        upgrade.add_argument(flag, required=True)
    for flag in ("--install", "--create-namespace", "--wait", "--rollback-on-failure", "--atomic"):
        upgrade.add_argument(flag, action="store_true")
    upgrade.add_argument("--set-json", action="append", default=[])
    upgrade.add_argument("--timeout")
    rollback = commands.add_parser("rollback")
    rollback.add_argument("name")
    rollback.add_argument("--namespace", required=True)
    uninstall = commands.add_parser("uninstall")
    uninstall.add_argument("name")
    uninstall.add_argument("--namespace", required=True)
    uninstall.add_argument("--wait", action="store_true")
    uninstall.add_argument("--timeout")
    options = parser.parse_args(arguments)
    if options.command == "version":
        print("v4.3.1", end="")
    elif options.command == "list":
        fields = ("name", "namespace", "revision", "updated", "status", "chart", "app_version")
        found = ask("GET", "releases")["releases"]
        print(json.dumps([{field: str(each.get(field, "")) for field in fields} for each in found]))
    elif options.command == "get":
        for each in ask("GET", "releases")["releases"]:
            if (each["name"], each["namespace"]) == (options.name, options.namespace):
                print(json.dumps(each["values"]))
                return 0
        raise SystemExit("Error: release: not found")
    elif options.command == "upgrade":
        values = yaml.safe_load(Path(options.values).read_text(encoding="utf-8")) or {}
        for each in options.set_json:
            key, _, text = each.partition("=")
            _put(values, key.split("."), json.loads(text))
        chart = f"{options.chart}-{options.version.removeprefix('v')}"
        ask("PUT", "releases", name=options.name, namespace=options.namespace, chart=chart, values=values)
    else:
        method = "POST" if options.command == "rollback" else "DELETE"
        ask(method, "releases", name=options.name, namespace=options.namespace)
    return 0


def _put(values: dict[str, Any], path: list[str], value: Any) -> None:
    for key in path[:-1]:
        values = values.setdefault(key, {})
    values[path[-1]] = value


def kubectl(arguments: list[str]) -> int:
    """Answer those of kubectl's commands that the deployment tool uses, as far as it does."""
    options = _kubectl_options(arguments)
    if options.command == "api-resources":
        for group, kind in ask("GET", "kinds")["kinds"]:
            print(f"{kind.lower()}s  {group + '/' if group else ''}v1  true  {kind}")
    elif options.command == "get" and options.name:
        found = ask("GET", "named", kind=options.kinds, namespace=options.namespace or "", name=options.name)["found"]
        print(json.dumps(found) if found else "")
    elif options.command == "get":
        print(json.dumps({"apiVersion": "v1", "kind": "List", "items": _got(options)}))
    elif options.command == "apply":
        documents = _documents(options.filename)
        for each, said in zip(documents, ask("PUT", "applied", documents=documents)["said"], strict=True):
            print(f"{each['kind'].lower()}/{each['metadata']['name']} {said}")
    elif options.command == "diff":
        return _diff(_documents(options.filename))
    elif options.command == "annotate":
        notes = dict(each.split("=", 1) for each in options.annotations)
        ask("PUT", "annotations", kind=options.kind, namespace=options.namespace, name=options.name, annotations=notes)
    elif options.command == "scale":
        asked = {name: getattr(options, name) for name in ("kind", "namespace", "name", "replicas")}
        ask("PUT", "scale", **asked)
    elif options.command == "logs":
        asked = {name: getattr(options, name) for name in ("namespace", "name", "container")}
        lines = ask("GET", "logs", **asked, before=options.previous)["log"].splitlines()
        print("\n".join(lines[-options.tail :]))
    else:
        ask("DELETE", "applied", kind=options.kind, namespace=options.namespace, name=options.name)
    return 0


def _kubectl_options(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="kubectl")
    parser.add_argument("--context")
    parser.add_argument("--request-timeout")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("api-resources").add_argument("--no-headers", action="store_true", required=True)
    get = commands.add_parser("get")
    get.add_argument("kinds", nargs="?")
    get.add_argument("name", nargs="?")
    get.add_argument("--all-namespaces", action="store_true")
    get.add_argument("--namespace")
    get.add_argument("--field-selector")
    get.add_argument("--ignore-not-found", action="store_true")
    get.add_argument("--output", required=True)
    for command in (get, commands.add_parser("apply"), commands.add_parser("diff")):
        command.add_argument("--filename", required=command is not get)
    delete = commands.add_parser("delete")
    delete.add_argument("kind")
    delete.add_argument("name")
    delete.add_argument("--namespace", default="")
    delete.add_argument("--wait")
    delete.add_argument("--cascade")
    delete.add_argument("--ignore-not-found", action="store_true")
    annotate = commands.add_parser("annotate")
    annotate.add_argument("kind")
    annotate.add_argument("name")
    annotate.add_argument("annotations", nargs="+")
    annotate.add_argument("--overwrite", action="store_true", required=True)
    annotate.add_argument("--namespace", required=True)
    scale = commands.add_parser("scale")
    scale.add_argument("kind")
    scale.add_argument("name")
    scale.add_argument("--namespace", required=True)
    scale.add_argument("--replicas", type=int, required=True)
    logs = commands.add_parser("logs")
    logs.add_argument("name")
    logs.add_argument("--namespace", required=True)
    logs.add_argument("--container", required=True)
    logs.add_argument("--tail", type=int)
    logs.add_argument("--previous", action="store_true")
    return parser.parse_args(arguments)


def _got(options: argparse.Namespace) -> list[dict[str, Any]]:
    if options.filename:
        found: list[dict[str, Any]] = ask("GET", "applied", documents=_documents(options.filename))["items"]
        return found
    kinds = {"ingress" if kind == "ingresses" else kind.removesuffix("s") for kind in options.kinds.split(",")}
    if kinds == {"deployments.app", "replicasets.app", "pod"}:
        found = ask("GET", "rollouts", namespace=options.namespace)["items"]
        return found
    if kinds == {"pod"}:
        found = ask("GET", "pods", namespace=options.namespace)["items"]
        return found
    if kinds == {"event"}:
        of, kind = (each.partition("=")[2] for each in options.field_selector.split(","))
        found = ask("GET", "events")["items"]
        return [each for each in found if (each["involvedObject"]["name"], each["type"]) == (of, kind)]
    return [each for each in ask("GET", "objects")["items"] if each["kind"].lower() in kinds]


def _documents(name: str) -> list[dict[str, Any]]:
    text = sys.stdin.read() if name == "-" else Path(name).read_text(encoding="utf-8")
    documents = [each for each in yaml.safe_load_all(text) if each]
    return [one for each in documents for one in (each["items"] if each["kind"] == "List" else [each])]


def _diff(documents: list[dict[str, Any]]) -> int:
    """Compare as kubectl does: both sides as files in two folders, by the command that KUBECTL_EXTERNAL_DIFF names."""
    try:
        sides = ask("POST", "applied", documents=documents)["sides"]
    except SystemExit as refused:
        print(refused.code, file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory(prefix="LIVE-") as live, tempfile.TemporaryDirectory(prefix="MERGED-") as merged:
        for each, (there, then) in zip(documents, sides, strict=True):
            version, metadata = each["apiVersion"].replace("/", "."), each["metadata"]
            name = f"{version}.{each['kind']}.{metadata.get('namespace', '')}.{metadata['name']}"
            for folder, body in ((live, there), (merged, then)):
                Path(folder, name).write_text(yaml.safe_dump(body) if body else "", encoding="utf-8")
        command = os.environ.get("KUBECTL_EXTERNAL_DIFF", "diff -u -N").split()
        answer = subprocess.run([*command, live, merged], check=False, stdout=subprocess.PIPE, text=True)  # noqa: S603
        print(answer.stdout, end="")
        return answer.returncode


if __name__ == "__main__":
    command = {"helm": helm, "kubectl": kubectl}[sys.argv[1]]
    raise SystemExit(command(sys.argv[2:]))
