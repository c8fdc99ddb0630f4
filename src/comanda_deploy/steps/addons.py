"""Step 7: EKS' own add-ons: network, DNS, disks, snapshots, identities, metrics."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from comanda_deploy import pod_identity
from comanda_deploy.context import Context
from comanda_deploy.names import CLUSTER, EBS_CSI_ROLE, TAG, TAG_VALUE, tags
from comanda_deploy.pod_identity import Identity, IdentityFacts
from comanda_deploy.settings import Settings
from comanda_deploy.step import Change, Kind, Step
from comanda_deploy.steps.cluster import offered

USUAL = 60
IDENTITIES = (Identity("kube-system", "ebs-csi-controller-sa", EBS_CSI_ROLE),)

ADDONS: dict[str, dict[str, Any]] = {
    # Without this NetworkPolicies are accepted and do nothing.
    "vpc-cni": {"enableNetworkPolicy": "true"},
    "kube-proxy": {},
    "eks-pod-identity-agent": {},
    "coredns": {},
    "metrics-server": {},
    "snapshot-controller": {},
    # By our tag the inventory finds the disks, and the driver's role may touch no others.
    "aws-ebs-csi-driver": {"controller": {"extraVolumeTags": {TAG: TAG_VALUE}}},
}
"""In the order in which they are installed, each with its configuration."""


@dataclass(frozen=True)
class Addon:
    """An add-on as it is."""

    status: str
    version: str
    configuration: str = ""
    issues: tuple[str, ...] = ()


@dataclass(frozen=True)
class AddonsFacts:
    """The add-ons as they are.

    Args:
        cluster: the control plane's minor; "" if there is none.
        offered: the versions that fit it, the default first.
    """

    cluster: str = ""
    addons: Mapping[str, Addon] = field(default_factory=dict)
    offered: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    identities: IdentityFacts = field(default_factory=IdentityFacts)


class Addons(Step[AddonsFacts]):
    """Each at EKS' default version for the cluster's minor; left alone as long as it fits."""

    name = "addons"
    about = "EKS add-ons: network with policies, DNS, disks, snapshots, Pod Identity, metrics"
    side_by_side = True

    def observe(self, context: Context) -> AddonsFacts:
        """Read the add-ons, and which versions fit."""
        identities = pod_identity.observe(context, IDENTITIES)
        if not identities.cluster:
            return AddonsFacts(identities=identities)
        eks = context.client("eks")
        minor = eks.describe_cluster(name=CLUSTER)["cluster"]["version"]
        found = {}
        for name in context.pages("eks", "list_addons", "addons", clusterName=CLUSTER):
            addon = eks.describe_addon(clusterName=CLUSTER, addonName=name)["addon"]
            configuration = addon.get("configurationValues", "")
            found[name] = Addon(
                addon["status"],
                addon["addonVersion"],
                _canonical(json.loads(configuration)) if configuration else _canonical({}),
                tuple(f"{each['code']}: {each['message']}" for each in addon.get("health", {}).get("issues", [])),
            )
        fits = {name: tuple(offered(context, name, minor)) for name in ADDONS}
        return AddonsFacts(minor, found, fits, identities)

    def decide(self, settings: Settings, facts: AddonsFacts) -> list[Change]:  # noqa: ARG002 - none applies
        """Install what is missing, bring up what no longer fits."""
        # The identity goes first: the disks' driver asks for it as it starts.
        changes = list(pod_identity.decide(IDENTITIES, facts.identities))
        for name, configuration in ADDONS.items():
            fits = facts.offered.get(name, ())
            if facts.cluster and not fits:
                mend = ("see the EKS console for another version of Kubernetes that has it",)
                detail = f"EKS has none for Kubernetes {facts.cluster}"
                changes.append(Change(Kind.REFUSED, f"add-on {name}", detail, mend=mend))
            else:
                changes += _addon(name, configuration, facts.addons.get(name), fits)
        # All are begun before the first is waited for.
        return sorted(changes, key=lambda change: change.kind is Kind.WAIT)

    def decide_removal(self, settings: Settings, facts: AddonsFacts) -> list[Change]:  # noqa: ARG002 - none is kept
        """Delete ours; the network stays until the nodes are gone, and goes with the cluster."""
        changes = []
        for name in reversed(ADDONS):
            addon = facts.addons.get(name)
            if addon is None or name in {"vpc-cni", "kube-proxy"}:
                continue
            if addon.status == "DELETING":
                changes.append(Change(Kind.WAIT, f"add-on {name}", "is being deleted", expected_seconds=USUAL))
            else:
                do = partial(_delete, name=name)
                changes.append(Change(Kind.DELETE, f"add-on {name}", expected_seconds=USUAL, do=do))
        changes += pod_identity.decide_removal(facts.identities)
        return sorted(changes, key=lambda change: change.kind is Kind.WAIT)


def _addon(name: str, configuration: dict[str, Any], addon: Addon | None, fits: tuple[str, ...]) -> Iterator[Change]:
    what, wanted = f"add-on {name}", _canonical(configuration)
    if addon is None:
        version = fits[0] if fits else ""
        do = partial(_create, name=name, version=version, configuration=wanted)
        yield Change(Kind.CREATE, what, version, expected_seconds=USUAL, do=do)
        return
    if addon.status in {"CREATING", "UPDATING", "DELETING"}:
        yield Change(Kind.WAIT, what, f"is {addon.status.lower()}", expected_seconds=USUAL)
        return
    if addon.status in {"CREATE_FAILED", "DELETE_FAILED"}:
        done = "made" if addon.status == "CREATE_FAILED" else "deleted"
        why = "; ".join(addon.issues) or "EKS does not say why"
        do = partial(_delete, name=name)
        yield Change(Kind.DELETE, what, f"could not be {done} ({why}): to be made anew", do=do)
        return
    if fits and addon.version not in fits:
        do = partial(_update, name=name, version=fits[0], configuration=wanted)
        yield Change(Kind.CHANGE, what, f"{addon.version} to {fits[0]}", expected_seconds=USUAL, do=do)
    elif addon.configuration != wanted:
        do = partial(_update, name=name, version=addon.version, configuration=wanted)
        yield Change(Kind.CHANGE, what, f"configuration {wanted}", expected_seconds=USUAL, do=do)
    elif addon.status == "UPDATE_FAILED":
        do = partial(_update, name=name, version=addon.version, configuration=wanted)
        detail = f"its last update failed: {addon.version} once more"
        yield Change(Kind.CHANGE, what, detail, expected_seconds=USUAL, do=do)
    elif addon.status == "DEGRADED":
        # AWS calls it so while its pods are not ready, as after a change of nodes; that passes, or says why not.
        yield Change(Kind.WAIT, what, "; ".join(addon.issues) or "is degraded", expected_seconds=USUAL)
    elif fits and addon.version != fits[0]:
        yield Change(Kind.NOTE, what, f"{addon.version} fits; EKS' default is {fits[0]}")


def _canonical(configuration: dict[str, Any]) -> str:
    return json.dumps(configuration, sort_keys=True)


def _create(context: Context, name: str, version: str, configuration: str) -> None:
    context.client("eks").create_addon(
        clusterName=CLUSTER,
        addonName=name,
        addonVersion=version,
        configurationValues=configuration,
        # A new cluster comes with its own vpc-cni, coredns and kube-proxy: the add-on takes them over.
        resolveConflicts="OVERWRITE",
        tags=tags(),
    )


def _update(context: Context, name: str, version: str, configuration: str) -> None:
    context.client("eks").update_addon(
        clusterName=CLUSTER,
        addonName=name,
        addonVersion=version,
        configurationValues=configuration,
        resolveConflicts="OVERWRITE",
    )


def _delete(context: Context, name: str) -> None:
    context.client("eks").delete_addon(clusterName=CLUSTER, addonName=name)
