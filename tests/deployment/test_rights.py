"""What the operator does is what the operator may: all of it, and nothing that is not used.

A whole life of an account is recorded with every call's questions to IAM (`rights.life`), and replayed against the
three policies. What the reference of AWS says of those questions is held by `test_rights_reference`.
"""

import pytest

from tests.deployment.recording import Recording
from tests.deployment.rights.foreign import on_somebody_elses, said_otherwise
from tests.deployment.rights.life import recorded
from tests.deployment.rights.of_ec2 import MAKES
from tests.deployment.rights.policies import OPERATOR, STATEMENTS, Statement, allowed
from tests.deployment.rights.request import Request

UNUSED = {
    # Its role is there for backups of the database; no step makes the identity that takes it yet.
    ("PassThePodRoles", "arn:aws:iam::*:role/ComandaBackups"),
}
"""Parts of a statement that nothing needs today."""

ON_ANYTHING = {
    # Looks: they show names, tags and addresses, and change nothing.
    "acm:ListTagsForCertificate",
    "ec2:DescribeVpcAttribute",
    "iam:GetRole",
    "iam:SimulatePrincipalPolicy",
    "route53:ListResourceRecordSets",
    "servicequotas:GetServiceQuota",
    # "Wider than they could be" in infra/infra.md says why.
    "ec2:RevokeSecurityGroupEgress",
    "ec2:RevokeSecurityGroupIngress",
    "ec2:RunInstances",
    "route53:ChangeResourceRecordSets",
}
"""What is allowed on some things that are not ours."""


@pytest.fixture(scope="session")
def life(tmp_path_factory: pytest.TempPathFactory) -> Recording:
    return recorded(tmp_path_factory)


@pytest.fixture(scope="session")
def needs(life: Recording) -> dict[str, list[Request]]:
    """Answer, by statement, the requests that are allowed by that statement alone."""
    found: dict[str, list[Request]] = {str(statement): [] for statement in STATEMENTS}
    for request in life.requests:
        by = [each for each in STATEMENTS if request.action in each.actions and each.allows(request)]
        if len(by) == 1:
            found[str(by[0])].append(request)
    return found


def test_everything_that_the_operator_does_is_allowed(life: Recording) -> None:
    denied = [str(request) for request in life.requests if not allowed(OPERATOR, request)]
    assert denied == []


def test_the_life_has_everything_in_it(life: Recording) -> None:
    """A step that is no longer gone through would let its rights look unused, and its lack of rights well."""
    called = {call.name for call in life.calls}
    assert len(life.requests) > 250
    assert {
        "ssm:PutParameter",
        "eks:CreateCluster",
        "eks:UpdateClusterVersion",
        "eks:UpdateNodegroupVersion",
        "eks:UpdatePodIdentityAssociation",
        "ec2:CreateNatGateway",
        "ec2:ReplaceRoute",
        "ec2:ReplaceRouteTableAssociation",
        "secretsmanager:RestoreSecret",
        "route53:ChangeResourceRecordSets",
        "elb:DeleteLoadBalancer",
        "elbv2:DeleteLoadBalancer",
        "docker push",
    } <= called


def test_without_any_one_statement_something_is_denied(needs: dict[str, list[Request]]) -> None:
    assert [statement for statement, requests in needs.items() if not requests] == []


def test_without_any_one_action_something_is_denied(needs: dict[str, list[Request]]) -> None:
    unneeded = [
        (str(statement), action)
        for statement in STATEMENTS
        for action in statement.actions
        if action not in {request.action for request in needs[str(statement)]}
    ]
    assert unneeded == []


def test_without_any_one_resource_something_is_denied(needs: dict[str, list[Request]]) -> None:
    unneeded = {
        (statement.body["Sid"], pattern)
        for statement in STATEMENTS
        if len(statement.resources) > 1  # a statement of one resource goes with it
        for pattern in statement.resources
        if not _breaks(statement.without_resource(pattern), needs[str(statement)])
    }
    assert unneeded == UNUSED


def test_without_any_one_value_of_a_condition_something_is_denied(needs: dict[str, list[Request]]) -> None:
    unneeded = [
        (str(statement), key, value)
        for statement in STATEMENTS
        for operator, key, values in statement.conditions()
        for value in values
        if not _breaks(statement.without_value(operator, key, value), needs[str(statement)])
    ]
    assert unneeded == []


def test_without_any_one_condition_something_would_be_allowed_that_must_not(life: Recording) -> None:
    strange = [each for each in _strange(life) if not allowed(OPERATOR, each)]
    idle = [
        (str(statement), key)
        for statement in STATEMENTS
        for operator, key, _ in statement.conditions()
        if not _opens(statement, operator, key, strange)
    ]
    assert idle == []


def test_the_same_calls_on_somebody_elses_things_are_denied(life: Recording) -> None:
    strange = [each for request in life.requests if (each := on_somebody_elses(request))]
    assert len({each.action for each in strange}) > 80
    assert {each.action for each in strange if allowed(OPERATOR, each)} == ON_ANYTHING


def test_nothing_is_made_in_ec2_without_our_tag(life: Recording) -> None:
    making = {f"ec2:{operation}" for operation in MAKES}
    made = [each for each in life.requests if each.action in making and each.resource.endswith("/*")]
    assert {each.action for each in made} == making
    bare = [each.but(without=["aws:RequestTag/", "aws:TagKeys"]) for each in made]
    of_others = [each.having({"aws:RequestTag/Project": "somebody"}) for each in made]
    assert [str(each) for each in (*bare, *of_others) if allowed(OPERATOR, each)] == []


def _strange(life: Recording) -> list[Request]:
    found = [each for request in life.requests if (each := on_somebody_elses(request))]
    return found + [each for request in life.requests for each in said_otherwise(request)]


def _breaks(policy: dict[str, object], requests: list[Request]) -> bool:
    return any(not allowed([policy], request) for request in requests)


def _opens(statement: Statement, operator: str, key: str, strange: list[Request]) -> bool:
    wider = statement.without_condition(operator, key)
    return any(request.action in statement.actions and allowed([wider], request) for request in strange)
