"""EKS' add-ons: what is decided of each state that EKS can show, as data; and that a failing one is given up."""

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from comanda_deploy import engine
from comanda_deploy.pod_identity import Association, IdentityFacts
from comanda_deploy.runbook import named
from comanda_deploy.steps.addons import ADDONS, IDENTITIES, Addon, Addons, AddonsFacts
from tests.deployment.account import USUAL, Account, as_said

(IDENTITY,) = IDENTITIES
WHOSE = "identity kube-system/ebs-csi-controller-sa as ComandaEbsCsi"
KNOWN = IdentityFacts(True, ((IDENTITY, Association("a-1", IDENTITY.role)),), ((IDENTITY.role, "arn:1"),))
OFFERED = dict.fromkeys(ADDONS, ("v2", "v1"))
BUILT = AddonsFacts(
    cluster="1.36",
    addons={
        name: Addon("ACTIVE", "v2", json.dumps(configuration, sort_keys=True)) for name, configuration in ADDONS.items()
    },
    offered=OFFERED,
    identities=KNOWN,
)
NOTHING = AddonsFacts(cluster="1.36", offered=OFFERED, identities=IdentityFacts(True, roles=KNOWN.roles))


def of(name: str, **differs: Any) -> AddonsFacts:
    """Answer the facts with one add-on otherwise."""
    return replace(BUILT, addons={**BUILT.addons, name: replace(BUILT.addons[name], **differs)})


def said(facts: AddonsFacts) -> list[str]:
    return as_said(Addons().decide(USUAL, facts))


def test_as_they_should_be_there_is_nothing_to_do() -> None:
    assert said(BUILT) == []


def test_where_there_are_none_the_network_comes_first_and_the_disks_last_with_their_identity_before() -> None:
    assert said(NOTHING) == [
        f"create {WHOSE}",
        "create add-on vpc-cni: v2",
        "create add-on kube-proxy: v2",
        "create add-on eks-pod-identity-agent: v2",
        "create add-on coredns: v2",
        "create add-on metrics-server: v2",
        "create add-on snapshot-controller: v2",
        "create add-on aws-ebs-csi-driver: v2",
    ]


def test_a_plan_without_a_cluster_says_what_is_to_come() -> None:
    changes = said(AddonsFacts(identities=IdentityFacts(roles=KNOWN.roles)))
    assert changes == [f"create {WHOSE}", *(f"create add-on {name}" for name in ADDONS)]


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        # As long as a version fits it is left alone.
        (of("coredns", version="v1"), ["note add-on coredns: v1 fits; EKS' default is v2"]),
        (of("coredns", version="v0"), ["change add-on coredns: v0 to v2"]),
        (
            of("vpc-cni", configuration="{}"),
            ['change add-on vpc-cni: configuration {"enableNetworkPolicy": "true"}'],
        ),
        (
            of("aws-ebs-csi-driver", configuration="{}", version="v1"),
            [
                "change add-on aws-ebs-csi-driver: configuration "
                '{"controller": {"extraVolumeTags": {"Project": "comanda"}}}'
            ],
        ),
        (of("coredns", configuration='{"replicas": 9}'), ["change add-on coredns: configuration {}"]),
        # One change brings both.
        (of("vpc-cni", configuration="{}", version="v0"), ["change add-on vpc-cni: v0 to v2"]),
        (of("coredns", status="CREATING", version="v0"), ["wait add-on coredns: is creating"]),
        (of("coredns", status="UPDATING", version="v0"), ["wait add-on coredns: is updating"]),
        (of("coredns", status="DELETING"), ["wait add-on coredns: is deleting"]),
        (
            of("coredns", status="CREATE_FAILED", issues=("ConfigurationConflict: it is there", "Other: more")),
            [
                "delete add-on coredns: could not be made (ConfigurationConflict: it is there; Other: more): "
                "to be made anew"
            ],
        ),
        (
            of("coredns", status="DELETE_FAILED"),
            ["delete add-on coredns: could not be deleted (EKS does not say why): to be made anew"],
        ),
        # An update that failed is no reason to move to another version.
        (
            of("coredns", status="UPDATE_FAILED", version="v1"),
            ["change add-on coredns: its last update failed: v1 once more"],
        ),
        (of("coredns", status="UPDATE_FAILED", version="v0"), ["change add-on coredns: v0 to v2"]),
        (
            of("coredns", status="DEGRADED", issues=("InsufficientNumberOfReplicas: 0 of 2", "Other: more")),
            ["wait add-on coredns: InsufficientNumberOfReplicas: 0 of 2; Other: more"],
        ),
        (of("coredns", status="DEGRADED"), ["wait add-on coredns: is degraded"]),
        # What a degraded one needs may be the change itself.
        (of("coredns", status="DEGRADED", version="v0"), ["change add-on coredns: v0 to v2"]),
        # What somebody installed beside ours is let alone.
        (replace(BUILT, addons={**BUILT.addons, "mine": Addon("DEGRADED", "v0")}), []),
    ],
)
def test_what_is_decided_of_each_state(facts: AddonsFacts, expected: list[str]) -> None:
    assert said(facts) == expected


def test_all_are_begun_before_the_first_is_waited_for() -> None:
    facts = of("vpc-cni", status="UPDATING")
    facts = replace(facts, addons={name: each for name, each in facts.addons.items() if name != "coredns"})
    changes = Addons().decide(USUAL, facts)
    assert as_said(changes) == ["create add-on coredns: v2", "wait add-on vpc-cni: is updating"]
    assert all(change.expected_seconds for change in changes), "a wait has its end"


def test_what_eks_has_for_no_such_kubernetes_is_refused_whether_it_stands_or_not() -> None:
    for facts in (BUILT, NOTHING):
        changes = Addons().decide(USUAL, replace(facts, offered={**OFFERED, "coredns": ()}))
        refused = [change for change in changes if change.kind == "refused"]
        assert as_said(refused) == ["refused add-on coredns: EKS has none for Kubernetes 1.36"]
        assert refused[0].mend == ("see the EKS console for another version of Kubernetes that has it",)


@pytest.mark.parametrize(
    ("identities", "expected"),
    [
        (replace(KNOWN, associations=()), f"create {WHOSE}"),
        (
            replace(KNOWN, associations=((IDENTITY, Association("a-1", "Another")),)),
            f"change {WHOSE}: it was Another",
        ),
        (replace(KNOWN, roles=()), f"refused {WHOSE}: there is no role ComandaEbsCsi"),
    ],
)
def test_the_disks_driver_is_who_it_should_be_before_it_starts(identities: IdentityFacts, expected: str) -> None:
    facts = replace(of("aws-ebs-csi-driver", configuration="{}"), identities=identities)
    changes = Addons().decide(USUAL, facts)
    assert as_said(changes)[0] == expected
    assert len(changes) == 2
    assert changes[0].kind != "refused" or changes[0].mend == ("have an administrator run comanda-deploy bootstrap",)


# Taken down.


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        # The network stays until the nodes are gone, and goes with the cluster.
        (
            BUILT,
            [
                "delete add-on aws-ebs-csi-driver",
                "delete add-on snapshot-controller",
                "delete add-on metrics-server",
                "delete add-on coredns",
                "delete add-on eks-pod-identity-agent",
                f"delete {WHOSE}",
            ],
        ),
        (
            replace(
                BUILT,
                addons={
                    "coredns": Addon("DELETING", "v2"),
                    "metrics-server": Addon("CREATE_FAILED", "v2"),
                    "mine": Addon("ACTIVE", "v2"),
                },
            ),
            ["delete add-on metrics-server", f"delete {WHOSE}", "wait add-on coredns: is being deleted"],
        ),
        (NOTHING, []),
        (AddonsFacts(), []),
    ],
)
def test_ours_are_taken_down_and_the_network_goes_with_the_cluster(facts: AddonsFacts, expected: list[str]) -> None:
    assert as_said(Addons().decide_removal(USUAL, facts)) == expected


# By EKS.


def test_an_add_on_that_can_never_be_made_is_tried_twice_and_left_to_be_looked_at(account: Account) -> None:
    """Made, failed, deleted, made: without an end to it, it would go on like that until morning."""
    account.apply([named("network"), named("cluster"), named("nodes")])
    issue = ("InsufficientNumberOfReplicas", "no room")
    eks = account.bed.eks

    def always(*_: Any, **__: Any) -> None:
        eks.failures["addon coredns"] = issue

    account.session.events.register("before-call.eks.CreateAddon", always)
    account.clients = {}
    with pytest.raises(engine.Failure) as raised:
        account.apply([named("addons")])
    assert "delete add-on coredns: could not be made (InsufficientNumberOfReplicas: no room): to be made anew; " in str(
        raised.value
    )
    assert "that was tried once already: look at it in AWS's console" in str(raised.value)
    assert sum(each == "eks:CreateAddon" for each in account.bed.calls) == len(ADDONS) + 1
    assert eks.clusters["comanda"].addons["coredns"].body["status"] == "CREATE_FAILED", "its issues can be read"


def test_a_configuration_is_compared_by_what_it_says_and_not_by_how(account: Account) -> None:
    """EKS keeps it as the text that it was given, by whomever."""
    steps = [named(name) for name in ("network", "cluster", "nodes", "addons")]
    account.apply(steps)
    addons: Mapping[str, Any] = account.bed.eks.clusters["comanda"].addons
    addons["vpc-cni"].body["configurationValues"] = '{ "enableNetworkPolicy" : "true" }'
    addons["coredns"].body["configurationValues"] = ""
    assert account.plan(steps) == []
