"""Step 6: kubectl knows the cluster: a context `comanda` in the operator's own file."""

import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import yaml
from botocore.exceptions import ClientError

from comanda_deploy.aws_errors import code_of
from comanda_deploy.context import Context
from comanda_deploy.errors import DeployError
from comanda_deploy.names import CLUSTER
from comanda_deploy.settings import Settings
from comanda_deploy.step import Change, Kind, Step

SECTIONS = {"clusters": "cluster", "users": "user", "contexts": "context"}


@dataclass(frozen=True)
class KubeconfigFacts:
    """What the file says of the cluster, and what it should say.

    Args:
        file: where. cluster: whether there is one that is ready.
        there: our three entries as they are, by section; wanted: as they should be.
    """

    file: Path
    cluster: bool
    there: dict[str, Any]
    wanted: dict[str, Any]


class Kubeconfig(Step[KubeconfigFacts]):
    """Access is by AWS's own command, so the file works without this tool, and holds no secret."""

    name = "kubeconfig"
    about = "kubectl knows the cluster"

    def observe(self, context: Context) -> KubeconfigFacts:
        """Read the cluster's address, and the operator's file."""
        file = file_of(context)
        try:
            found = context.client("eks").describe_cluster(name=CLUSTER)["cluster"]
        except ClientError as error:
            if code_of(error) != "ResourceNotFoundException":
                raise
            found = {}
        wanted = _wanted(context, found) if found.get("endpoint") else {}
        return KubeconfigFacts(file, bool(wanted), _entries(_load(file)), wanted)

    def decide(self, settings: Settings, facts: KubeconfigFacts) -> list[Change]:  # noqa: ARG002 - none applies
        """Write our entries where they differ."""
        if not facts.cluster:
            return [Change(Kind.CREATE, f"context {CLUSTER}", f"in {facts.file}", do=_no_cluster)]
        if facts.there == facts.wanted:
            return []
        kind = Kind.CHANGE if facts.there else Kind.CREATE
        return [Change(kind, f"context {CLUSTER}", f"in {facts.file}", do=partial(_write, facts=facts))]

    def decide_removal(self, settings: Settings, facts: KubeconfigFacts) -> list[Change]:  # noqa: ARG002 - none is kept
        """Take our entries out, and nothing else."""
        if not facts.there:
            return []
        return [Change(Kind.DELETE, f"context {CLUSTER}", f"in {facts.file}", do=partial(_remove, facts=facts))]


def file_of(context: Context) -> Path:
    """Answer the operator's file: the first of KUBECONFIG that is not ours, or ~/.kube/config."""
    return _files(context.environment)[0]


def knows_the_cluster(context: Context) -> bool:
    """Answer whether kubectl has our context."""
    return any("contexts" in _entries(_load(file)) for file in _files(context.environment))


def with_our_context(environment: Mapping[str, str]) -> str:
    """Answer KUBECONFIG with a file before the operator's that says no more than which context is the current one.

    The runbook's `kubectl apply` names none: in the scripts' shell it must not land in another cluster. The file is
    written, and the operator's own is not touched. Of several files kubectl takes the first that says it (Kubernetes,
    "Organizing Cluster Access Using kubeconfig Files").

    Raises:
        DeployError: it cannot be written.
    """
    ours = _context_file(environment)
    _save(ours, {"apiVersion": "v1", "kind": "Config", "current-context": CLUSTER})
    return os.pathsep.join(map(str, [ours, *_files(environment)]))


def state_folder(environment: Mapping[str, str]) -> Path:
    """Answer the folder of what is ours and no setting (XDG Base Directory Specification)."""
    state = environment.get("XDG_STATE_HOME") or str(_home(environment) / ".local" / "state")
    return Path(state) / "comanda"


def _context_file(environment: Mapping[str, str]) -> Path:
    return state_folder(environment) / "current-context"


def _home(environment: Mapping[str, str]) -> Path:
    return Path(environment.get("HOME") or Path.home())


def _files(environment: Mapping[str, str]) -> list[Path]:
    named = [Path(each) for each in environment.get("KUBECONFIG", "").split(os.pathsep) if each]
    theirs = [each for each in named if each != _context_file(environment)]
    return theirs or [_home(environment) / ".kube" / "config"]


def _wanted(context: Context, cluster: dict[str, Any]) -> dict[str, Any]:
    profile = context.session.profile_name
    execute: dict[str, Any] = {
        "apiVersion": "client.authentication.k8s.io/v1",
        "command": "aws",
        "args": ["eks", "get-token", "--cluster-name", CLUSTER, "--region", context.region, "--output", "json"],
        "interactiveMode": "IfAvailable",
        "installHint": "run infra/scripts/eks-cluster-deploy.sh setup-env",
    }
    if profile and profile != "default":
        execute["env"] = [{"name": "AWS_PROFILE", "value": profile}]
    authority = cluster["certificateAuthority"]["data"]
    return {
        "clusters": {"server": cluster["endpoint"], "certificate-authority-data": authority},
        "users": {"exec": execute},
        "contexts": {"cluster": CLUSTER, "user": CLUSTER},
    }


def _load(file: Path) -> dict[str, Any]:
    try:
        text = file.read_text(encoding="utf-8")
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError) as error:
        raise DeployError(f"{file} cannot be read ({error}): name another with KUBECONFIG") from error
    try:
        config = yaml.safe_load(text) or {}
    except yaml.YAMLError as error:
        mark = error.problem_mark if isinstance(error, yaml.MarkedYAMLError) else None
        where = f"{file}:{mark.line + 1}" if mark else str(file)
        raise DeployError(f"{where} is not valid YAML: mend it, or name another with KUBECONFIG") from error
    if not isinstance(config, dict) or not all(_is_section(config.get(section)) for section in SECTIONS):
        raise DeployError(f"{file} is no kubeconfig: name another with KUBECONFIG")
    return config


def _is_section(value: Any) -> bool:
    return value is None or (isinstance(value, list) and all(isinstance(entry, dict) for entry in value))


def _entries(config: dict[str, Any]) -> dict[str, Any]:
    return {
        section: entry.get(key)
        for section, key in SECTIONS.items()
        for entry in config.get(section) or []
        if entry.get("name") == CLUSTER
    }


def _no_cluster(context: Context) -> None:  # noqa: ARG001 - as every change
    raise DeployError("no cluster yet: run create-eks-cluster")


def _write(context: Context, facts: KubeconfigFacts) -> None:  # noqa: ARG001 - as every change
    config = _without_ours(facts.file)
    for section, key in SECTIONS.items():
        config.setdefault(section, []).append({"name": CLUSTER, key: facts.wanted[section]})
    if not config.get("current-context"):
        config["current-context"] = CLUSTER
    _save(facts.file, config)


def _remove(context: Context, facts: KubeconfigFacts) -> None:  # noqa: ARG001 - as every change
    config = _without_ours(facts.file)
    if config.get("current-context") == CLUSTER:
        config["current-context"] = ""
    _save(facts.file, config)


def _without_ours(file: Path) -> dict[str, Any]:
    config = {"apiVersion": "v1", "kind": "Config", **_load(file)}
    for section in SECTIONS:
        config[section] = [entry for entry in config.get(section) or [] if entry.get("name") != CLUSTER]
    return config


def _save(file: Path, config: dict[str, Any]) -> None:
    """Write by rename: whoever is interrupted loses no other cluster's context."""
    file = file.resolve()  # a link stays a link
    try:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(dir=file.parent, prefix=".kubeconfig-")  # made with mode 0600
        with os.fdopen(descriptor, "w", encoding="utf-8") as new:
            yaml.safe_dump(config, new, sort_keys=False)
        Path(name).replace(file)
    except OSError as error:
        raise DeployError(f"{file} cannot be written ({error.strerror}): name another with KUBECONFIG") from error
