"""One release of helm: a pinned chart with our values, and the identity that its pods take."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import yaml

from comanda_deploy import kubectl, pod_identity
from comanda_deploy.context import Context
from comanda_deploy.errors import DeployError, NotFromHereError
from comanda_deploy.names import CLUSTER
from comanda_deploy.pod_identity import Identity, IdentityFacts
from comanda_deploy.step import Change, Kind

VALUES = Path(__file__).parents[2] / "infra" / "helm"
WAIT_SECONDS = 300
UNASKED = "the cluster could not be asked"
"""What is said of a release where nobody knows whether it is as it should be."""
UNASKED_HERE = f"{UNASKED} from this machine"
"""The same where the machine is at fault, and nothing speaks against the cluster."""


@dataclass(frozen=True)
class Release:
    """A release as it should be.

    Args:
        chart: its name in the repository; version: of the chart, exact.
        namespace: where it stands. identity: what its pods are in AWS.
    """

    name: str
    chart: str
    repository: str
    version: str
    namespace: str
    identity: Identity

    @property
    def values_file(self) -> Path:
        """Our values, as helm reads them."""
        return VALUES / f"{self.name}.yaml"

    @property
    def what(self) -> str:
        """How people are told of it."""
        return f"helm release {self.namespace}/{self.name}"


@dataclass(frozen=True)
class ReleaseFacts:
    """A release as it is.

    Args:
        asked: whether the cluster could be asked; trouble: why not; here: whether this machine is why.
        chart: name and version, "" if it is not installed. values: as canonical JSON.
        settings: values that depend on what is there, by their path in the chart.
    """

    asked: bool = False
    trouble: str = ""
    here: bool = False
    chart: str = ""
    status: str = ""
    values: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict)
    identities: IdentityFacts = field(default_factory=IdentityFacts)


def observe(context: Context, release: Release, settings: Mapping[str, Any]) -> ReleaseFacts:
    """Read the release from the cluster, if there is one that answers."""
    identities = pod_identity.observe(context, [release.identity])
    if not identities.cluster:
        return ReleaseFacts(settings=settings, identities=identities)
    try:
        states = ("--deployed", "--failed", "--pending", "--uninstalling")
        listed = _helm(context, "list", "--all-namespaces", *states, "--output", "json")
        found = [
            each
            for each in json.loads(listed)
            if (each["name"], each["namespace"]) == (release.name, release.namespace)
        ]
        if not found:
            return ReleaseFacts(True, settings=settings, identities=identities)
        values = _helm(context, "get", "values", release.name, "--namespace", release.namespace, "--output", "json")
    except DeployError as error:
        here = isinstance(error, NotFromHereError) or bool(kubectl.where(context).trouble)
        return ReleaseFacts(False, str(error), here, settings=settings, identities=identities)
    return ReleaseFacts(
        True,
        chart=found[0]["chart"],
        status=found[0]["status"],
        values=canonical(json.loads(values) or {}),
        settings=settings,
        identities=identities,
    )


def decide(release: Release, facts: ReleaseFacts) -> Iterator[Change]:
    """Answer what is to be done for the release; its identity goes first."""
    yield from pod_identity.decide([release.identity], facts.identities)
    do = partial(_install, release=release, settings=facts.settings)
    version = f"{release.chart}-{release.version}"
    if facts.trouble:
        why = UNASKED_HERE if facts.here else UNASKED
        yield Change(Kind.LATER, release.what, f"{version}: {why}: {facts.trouble}")
    elif not facts.chart:
        # A plan needs no cluster: without one, what is to come is said all the same.
        yield Change(Kind.CREATE, release.what, version, expected_seconds=60, do=do)
    elif facts.status in {"pending-install", "uninstalling"}:
        # helm was killed in it, and refuses all else until that is cleared away.
        away = partial(_uninstall, release=release)
        yield Change(Kind.DELETE, release.what, f"it is {facts.status}: to be made anew", do=away)
    elif facts.status.startswith("pending-"):
        back = partial(_roll_back, release=release)
        yield Change(Kind.CHANGE, release.what, f"it is {facts.status}: back to what it was", do=back)
    elif facts.chart != version:
        yield Change(Kind.CHANGE, release.what, f"{facts.chart} to {version}", expected_seconds=60, do=do)
    elif facts.values != canonical(values_of(release, facts.settings)):
        yield Change(Kind.CHANGE, release.what, "its values", expected_seconds=60, do=do)
    elif facts.status != "deployed":
        yield Change(Kind.CHANGE, release.what, f"it is {facts.status}: once more", expected_seconds=60, do=do)


def decide_removal(release: Release, facts: ReleaseFacts) -> Iterator[Change]:
    """Answer what is to be removed. Of a cluster that does not answer it goes with the cluster."""
    if facts.chart:
        yield Change(Kind.DELETE, release.what, facts.chart, do=partial(_uninstall, release=release))
    elif facts.trouble:
        yield Change(Kind.NOTE, release.what, f"goes with the cluster: {facts.trouble}")
    yield from pod_identity.decide_removal(facts.identities)


def values_of(release: Release, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Answer all values: those of the file, and those that depend on what is there."""
    values: dict[str, Any] = yaml.safe_load(release.values_file.read_text(encoding="utf-8")) or {}
    for path, value in settings.items():
        inner = values
        *above, last = path.split(".")
        for key in above:
            inner = inner.setdefault(key, {})
        inner[last] = value
    return values


def canonical(values: Mapping[str, Any]) -> str:
    """Answer values so that the same values are the same text."""
    return json.dumps(values, sort_keys=True)


def _helm(context: Context, *arguments: str) -> str:
    answer = context.run(["helm", "--kube-context", CLUSTER, *arguments], timeout=WAIT_SECONDS + 30)
    if answer.returncode:
        said = " ".join((answer.stderr or answer.stdout).split())[:400]
        raise kubectl.failed(answer, f"helm {arguments[0]} failed: {said}: see kubectl get pods --all-namespaces")
    return answer.stdout


def _install(context: Context, release: Release, settings: Mapping[str, Any]) -> None:
    set_json = [part for path, value in settings.items() for part in ("--set-json", f"{path}={json.dumps(value)}")]
    _helm(
        context,
        *("upgrade", "--install", release.name, release.chart),
        *("--repo", release.repository, "--version", release.version),
        *("--namespace", release.namespace, "--create-namespace"),
        *("--values", str(release.values_file), *set_json),
        *("--wait", "--timeout", f"{WAIT_SECONDS}s"),
    )


def _roll_back(context: Context, release: Release) -> None:
    _helm(context, "rollback", release.name, "--namespace", release.namespace)


def _uninstall(context: Context, release: Release) -> None:
    _helm(context, "uninstall", release.name, "--namespace", release.namespace, "--wait")
