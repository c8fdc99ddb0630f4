"""The nodes: what is decided of each group's state, as data; and groups made anew one after another, by hand."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from comanda_deploy import engine
from comanda_deploy.engine import LONGEST_WAIT
from comanda_deploy.runbook import named
from comanda_deploy.steps.nodes import Nodes, NodesFacts, Standing, _as_asked, _canonical, template_data
from tests.deployment.account import USUAL, Account, as_said, changed

DATABASE, GENERAL_A, GENERAL_B = "comanda-database", "comanda-general-a", "comanda-general-b"
TYPES = ("t3.large", "t3a.large")
SUBNETS = {
    f"comanda-{kind}-{letter}": f"subnet-{kind}-{letter}" for kind in ("public", "private") for letter in ("a", "b")
}


def standing(name: str, role: str, letter: str, most: int) -> Standing:
    return Standing(
        status="ACTIVE",
        version="1.36",
        subnets=(f"subnet-public-{letter}",),
        types=TYPES,
        capacity="ON_DEMAND",
        ami="AL2023_x86_64_STANDARD",
        minimum=1,
        maximum=most,
        desired=1,
        labels={"comanda/node-group": role, "of": "somebody"},
        template_version="4",
        arn=f"arn:aws:eks:sa-east-1:123456789012:nodegroup/comanda/{name}/1",
    )


BUILT = NodesFacts(
    cluster="1.36",
    role="arn:aws:iam::123456789012:role/AWS_EKS_NODE_GROUP_ROLE",
    subnets=SUBNETS,
    template=_canonical(template_data(USUAL)),
    template_version="4",
    groups={
        DATABASE: standing(DATABASE, "database", "a", 2),
        GENERAL_A: standing(GENERAL_A, "general", "a", 3),
        GENERAL_B: standing(GENERAL_B, "general", "b", 3),
    },
)
NOTHING = replace(BUILT, template="", template_version="", groups={})
TEMPLATE = "launch template comanda-nodes"


def of(name: str, **differs: Any) -> NodesFacts:
    """Answer the facts with one group otherwise."""
    return replace(BUILT, groups={**BUILT.groups, name: replace(BUILT.groups[name], **differs)})


def of_all(**differs: Any) -> NodesFacts:
    return replace(BUILT, groups={name: replace(each, **differs) for name, each in BUILT.groups.items()})


def said(facts: NodesFacts, **nodes: Any) -> list[str]:
    return as_said(Nodes().decide(changed(USUAL, nodes=nodes), facts))


def test_as_they_should_be_there_is_nothing_to_do() -> None:
    assert said(BUILT) == []


def test_where_there_are_none_a_group_is_made_in_each_zone_and_one_for_the_database() -> None:
    assert said(NOTHING) == [
        f"create {TEMPLATE}: IMDSv2, one hop, encrypted disk, no SSH",
        f"create node group {DATABASE}: 1 to 2 of t3.large, t3a.large, ON_DEMAND, zone a",
        f"create node group {GENERAL_A}: 1 to 3 of t3.large, t3a.large, ON_DEMAND, zone a",
        f"create node group {GENERAL_B}: 1 to 3 of t3.large, t3a.large, ON_DEMAND, zone b",
    ]


def test_the_settings_say_what_a_new_group_is_and_the_database_is_never_on_spot() -> None:
    wanted = {
        "capacity": "SPOT",
        "instance_types": ("m7g.large",),
        "database_instance_types": ("r7g.large",),
        "min_per_zone": 2,
        "max_per_zone": 5,
    }
    assert said(replace(NOTHING, architectures=("arm64",)), **wanted)[1:] == [
        f"create node group {DATABASE}: 1 to 2 of r7g.large, ON_DEMAND, zone a",
        f"create node group {GENERAL_A}: 2 to 5 of m7g.large, SPOT, zone a",
        f"create node group {GENERAL_B}: 2 to 5 of m7g.large, SPOT, zone b",
    ]


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        (of(GENERAL_A, minimum=0), [f"change node group {GENERAL_A}: 1 to 3 nodes"]),
        (of(DATABASE, maximum=1), [f"change node group {DATABASE}: 1 to 2 nodes"]),
        # How many there are just now is the autoscaler's business.
        (of(GENERAL_A, desired=3), []),
        (of(DATABASE, labels={}), [f"change node group {DATABASE}: label comanda/node-group=database"]),
        (
            of(GENERAL_B, labels={"comanda/node-group": "database"}),
            [f"change node group {GENERAL_B}: label comanda/node-group=general"],
        ),
        (of(DATABASE, repaired=False), [f"change node group {DATABASE}: silent nodes are replaced"]),
        (of(GENERAL_B, tagged=False), [f"change node group {GENERAL_B}: tag Project"]),
        (
            of(GENERAL_B, template_version="3"),
            [f"change node group {GENERAL_B}: launch template version 4, one node after another"],
        ),
        (replace(BUILT, template='{"KeyName": "mine"}'), [f"change {TEMPLATE}: a new version"]),
        (
            of(GENERAL_A, issues=("AsgInstanceLaunchFailures: no capacity",)),
            [f"note node group {GENERAL_A}: AsgInstanceLaunchFailures: no capacity"],
        ),
        # A degraded group is one that AWS itself works at: what differs of it is mended all the same.
        (of(GENERAL_A, status="DEGRADED", maximum=4), [f"change node group {GENERAL_A}: 1 to 3 nodes"]),
        # What is not one of ours is let alone.
        (replace(BUILT, groups={**BUILT.groups, "mine": standing("mine", "", "a", 9)}), []),
    ],
)
def test_what_a_hand_has_changed_is_put_back(facts: NodesFacts, expected: list[str]) -> None:
    assert said(facts) == expected


@pytest.mark.parametrize(
    ("setting", "expected"),
    [
        ({"min_per_zone": 2}, [f"change node group {name}: 2 to 3 nodes" for name in (GENERAL_A, GENERAL_B)]),
        ({"max_per_zone": 9}, [f"change node group {name}: 1 to 9 nodes" for name in (GENERAL_A, GENERAL_B)]),
        # Nodes are replaced once there is a new version of it, which the next look sees.
        ({"disk_gib": 50}, [f"change {TEMPLATE}: a new version"]),
    ],
)
def test_a_setting_that_was_changed_is_brought_about(setting: dict[str, Any], expected: list[str]) -> None:
    assert said(BUILT, **setting) == expected


def test_how_many_nodes_run_is_moved_only_where_it_would_lie_outside(account: Account) -> None:
    """EKS refuses a number outside the bounds; any other would take nodes from under running pods."""
    account.apply([named("network"), named("cluster"), named("nodes")])
    group = account.bed.eks.clusters["comanda"].groups[GENERAL_A].body
    for desired, expected in ((1, 2), (3, 3), (9, 4)):
        group["scalingConfig"] = {"minSize": 1, "maxSize": 9, "desiredSize": desired}
        account.apply([named("nodes")], nodes={"min_per_zone": 2, "max_per_zone": 4})
        assert group["scalingConfig"] == {"minSize": 2, "maxSize": 4, "desiredSize": expected}


def test_a_node_that_falls_silent_is_replaced_by_eks_in_old_groups_too(account: Account) -> None:
    """Until its instance is gone Kubernetes cannot know that the database's pod is, and starts no second one."""
    steps = [named("network"), named("cluster"), named("nodes")]
    account.apply(steps)
    groups = account.bed.eks.clusters["comanda"].groups
    assert [each.body["nodeRepairConfig"] for each in groups.values()] == 3 * [{"enabled": True}]
    del groups[DATABASE].body["nodeRepairConfig"]
    assert account.apply([named("nodes")]) == [f"change node group {DATABASE}: silent nodes are replaced"]
    assert groups[DATABASE].body["nodeRepairConfig"] == {"enabled": True}
    assert account.plan([named("nodes")]) == []


@pytest.mark.parametrize("status", ["CREATING", "UPDATING", "DELETING"])
def test_eks_at_work_is_waited_for_once_all_else_is_begun_and_not_without_end(status: str) -> None:
    facts = replace(of(DATABASE, status=status, minimum=9), template="")
    facts = replace(facts, groups={name: each for name, each in facts.groups.items() if name != GENERAL_B})
    changes = Nodes().decide(USUAL, facts)
    assert as_said(changes) == [
        f"create {TEMPLATE}: IMDSv2, one hop, encrypted disk, no SSH",
        f"create node group {GENERAL_B}: 1 to 3 of t3.large, t3a.large, ON_DEMAND, zone b",
        f"wait node group {DATABASE}: is {status.lower()}",
    ]
    assert 0 < 3 * changes[-1].expected_seconds <= 3 * LONGEST_WAIT.total_seconds()


@pytest.mark.parametrize(
    ("behind", "expected"),
    [
        ((), "change node group {}: Kubernetes 1.35 to 1.36, one node after another"),
        (
            ("kube-proxy", "coredns"),
            "later node group {}: Kubernetes 1.35 to 1.36, one node after another, after kube-proxy, coredns",
        ),
    ],
)
def test_nodes_are_raised_after_the_add_ons(behind: tuple[str, ...], expected: str) -> None:
    facts = replace(of_all(version="1.35", template_version="3"), addons_behind=behind)
    assert said(facts) == [expected.format(name) for name in (DATABASE, GENERAL_A, GENERAL_B)]


# What cannot be.


@pytest.mark.parametrize(
    ("facts", "expected", "mend"),
    [
        (
            replace(BUILT, role=None),
            "refused node groups: there is no role AWS_EKS_NODE_GROUP_ROLE",
            ("have an administrator run comanda-deploy bootstrap",),
        ),
        (
            replace(NOTHING, architectures=("arm64", "x86_64")),
            "refused node groups: types of arm64 and x86_64 at once",
            ("name types of one architecture in nodes of infra/settings.toml",),
        ),
        (
            of(GENERAL_B, status="CREATE_FAILED", issues=("AsgInstanceLaunchFailures: no capacity", "Other: more")),
            f"refused node group {GENERAL_B}: could not be made: AsgInstanceLaunchFailures: no capacity; Other: more",
            (
                f"aws eks delete-nodegroup --cluster-name comanda --nodegroup-name {GENERAL_B}",
                "then comanda-deploy step nodes: it waits and makes it anew; what ran there moves to the other zone",
            ),
        ),
        (
            of(DATABASE, status="DELETE_FAILED"),
            f"refused node group {DATABASE}: could not be deleted: EKS does not say why",
            (
                f"aws eks delete-nodegroup --cluster-name comanda --nodegroup-name {DATABASE}",
                "then comanda-deploy step nodes: it waits and makes it anew; the database is away until then",
            ),
        ),
    ],
)
def test_what_cannot_be_is_refused_with_what_to_do_and_nothing_is_planned_beside(
    facts: NodesFacts, expected: str, mend: tuple[str, ...]
) -> None:
    changes = Nodes().decide(USUAL, facts)
    assert as_said(changes) == [expected]
    assert changes[0].mend == mend


@pytest.mark.parametrize(
    ("facts", "setting", "groups", "detail"),
    [
        (
            BUILT,
            {"instance_types": ("m7i.large",)},
            (GENERAL_A, GENERAL_B),
            "instance types cannot be changed: t3.large, t3a.large, the settings say m7i.large",
        ),
        # AWS takes the first that it has: the order is part of it.
        (
            BUILT,
            {"instance_types": ("t3a.large", "t3.large")},
            (GENERAL_A, GENERAL_B),
            "instance types cannot be changed: t3.large, t3a.large, the settings say t3a.large, t3.large",
        ),
        (
            BUILT,
            {"database_instance_types": ("r7i.large",)},
            (DATABASE,),
            "instance types cannot be changed: t3.large, t3a.large, the settings say r7i.large",
        ),
        (
            BUILT,
            {"capacity": "SPOT"},
            (GENERAL_A, GENERAL_B),
            "capacity cannot be changed: ON_DEMAND, the settings say SPOT",
        ),
        (
            replace(BUILT, architectures=("arm64",)),
            {},
            (DATABASE, GENERAL_A, GENERAL_B),
            "image cannot be changed: AL2023_x86_64_STANDARD, the settings say AL2023_ARM_64_STANDARD",
        ),
        (
            of(GENERAL_B, subnets=("subnet-public-a", "subnet-public-b")),
            {},
            (GENERAL_B,),
            "subnet cannot be changed: subnet-public-a, subnet-public-b, the settings say subnet-public-b",
        ),
    ],
)
def test_what_would_replace_a_group_is_refused_group_by_group(
    facts: NodesFacts, setting: dict[str, Any], groups: tuple[str, ...], detail: str
) -> None:
    changes = Nodes().decide(changed(USUAL, nodes=setting), facts)
    assert as_said(changes) == [f"refused node group {name}: {detail}" for name in groups]
    for name, change in zip(groups, changes, strict=True):
        assert f"--nodegroup-name {name}" in " ".join(change.mend)


def test_types_that_nobody_knows_are_refused_by_preflight_and_no_image_is_changed_for_them() -> None:
    assert said(replace(BUILT, architectures=())) == []


def test_private_nodes_are_refused_until_their_way_out_is_made_and_their_groups_are_moved() -> None:
    """Without their NAT gateway, nodes that were made in a private subnet would never join the cluster."""
    changes = Nodes().decide(changed(USUAL, network={"private_nodes": True}), BUILT)
    assert as_said(changes) == [
        f"refused node group {name}: subnet cannot be changed: subnet-public-{letter}, "
        f"the settings say subnet-private-{letter}"
        for name, letter in ((DATABASE, "a"), (GENERAL_A, "a"), (GENERAL_B, "b"))
    ]
    assert {change.mend[0] for change in changes} == {"comanda-deploy step network"}


@pytest.mark.parametrize("status", [None, "CREATING", "DELETING"])
def test_a_group_is_made_anew_before_the_next_is_asked_for(status: str | None) -> None:
    """Else all of them would have to be deleted before the first is made again, and nothing would run."""
    facts = of_all(types=("m7i.large",))
    others = {name: each for name, each in facts.groups.items() if name != GENERAL_A}
    there = {} if status is None else {GENERAL_A: replace(BUILT.groups[GENERAL_A], status=status)}
    changes = Nodes().decide(USUAL, replace(facts, groups={**others, **there}))
    later = "instance types cannot be changed: m7i.large, the settings say t3.large, t3a.large: once the others stand"
    first = (
        f"wait node group {GENERAL_A}: is {status.lower()}"
        if status
        else f"create node group {GENERAL_A}: 1 to 3 of {', '.join(TYPES)}, ON_DEMAND, zone a"
    )
    expected = [first, f"later node group {DATABASE}: {later}", f"later node group {GENERAL_B}: {later}"]
    assert sorted(as_said(changes)) == sorted(expected)
    assert not any(change.mend for change in changes)


# Taken down.


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        (
            BUILT,
            [
                f"delete node group {DATABASE}",
                f"delete node group {GENERAL_A}",
                f"delete node group {GENERAL_B}",
                f"delete {TEMPLATE}",
            ],
        ),
        # All are begun before the first is waited for, and the template goes after the last.
        (
            of(DATABASE, status="DELETING"),
            [
                f"delete node group {GENERAL_A}",
                f"delete node group {GENERAL_B}",
                f"wait node group {DATABASE}: is being deleted",
                f"delete {TEMPLATE}",
            ],
        ),
        # A cluster cannot go before its last group, whoever made it.
        (
            replace(NOTHING, groups={"mine": standing("mine", "", "a", 9)}),
            ["delete node group mine"],
        ),
        (
            replace(of_all(status="CREATE_FAILED"), template="", role=None),
            [f"delete node group {name}" for name in (DATABASE, GENERAL_A, GENERAL_B)],
        ),
        (NOTHING, []),
    ],
)
def test_they_are_taken_down_side_by_side(facts: NodesFacts, expected: list[str]) -> None:
    assert as_said(Nodes().decide_removal(USUAL, facts)) == expected


# By hand, and by the tool.


def test_nodes_are_moved_to_private_subnets_and_back_one_group_after_another(account: Account) -> None:
    """As the refusal's lines say; at no time are two groups away, or a node without its way out."""
    steps = [named("network"), named("cluster"), named("nodes")]
    account.apply(steps)
    assert move_all(account, {"private_nodes": True}) == {"comanda-private-a", "comanda-private-b"}
    assert account.plan(steps, network={"private_nodes": True}) == []

    shown = account.plan([named("network")], network={"private_nodes": False})
    assert [each.split(": ")[1] for each in shown] == ["public addresses for what starts in it"] * 2, (
        "as long as nodes go out by a NAT gateway, it stays"
    )
    assert move_all(account, {"private_nodes": False}) == {"comanda-public-a", "comanda-public-b"}
    account.apply(steps)
    assert account.plan(steps) == []
    assert not account.bed.client("ec2").describe_addresses()["Addresses"]


def move_all(account: Account, setting: Mapping[str, Any]) -> set[str]:
    """Do what the refusals say until nothing is refused any more, and answer the subnets that the groups are in."""
    network, nodes, eks = [named("network")], [named("nodes")], account.bed.client("eks")
    for moved in range(4):
        refused = [each for each in account.plan(nodes, network=dict(setting)) if each.startswith("refused")]
        assert len(refused) == 3 - moved
        if not refused:
            break
        account.apply(network, network=dict(setting))
        name = refused[0].split(":")[0].removeprefix("refused node group ")
        eks.delete_nodegroup(clusterName="comanda", nodegroupName=name)
        if len(refused) > 1:
            with pytest.raises(engine.Failure, match="subnet cannot be changed") as raised:
                account.apply(nodes, network=dict(setting))
            assert f"create node group {name}" in [each.split(":")[0] for each in as_said(raised.value.done)]
        else:
            account.apply(nodes, network=dict(setting))
    ids = {subnet for group in account.bed.eks.clusters["comanda"].groups.values() for subnet in group.body["subnets"]}
    found = account.bed.client("ec2").describe_subnets(SubnetIds=sorted(ids))["Subnets"]
    return {tag["Value"] for each in found for tag in each["Tags"] if tag["Key"] == "Name"}


def test_a_template_whose_tags_come_back_in_another_order_is_the_same() -> None:
    asked = template_data(USUAL)
    back = {
        **asked,
        "TagSpecifications": [
            {**each, "Tags": list(reversed(each["Tags"]))} for each in reversed(asked["TagSpecifications"])
        ],
    }
    assert back != asked
    assert _canonical(_as_asked(back)) == _canonical(asked)
