"""The policies, a statement at a time: what each allows, and what would be allowed without a part of it."""

import json
from collections.abc import Iterable, Iterator
from copy import deepcopy
from dataclasses import dataclass
from functools import cache
from typing import Any

from moto.iam.aws_managed_policies import aws_managed_policies_data

from comanda_deploy.steps.roles import OPERATOR_POLICIES, ROLES, document
from comanda_testbed.authorization import judge
from tests.deployment.rights.request import Request

Body = dict[str, Any]


@dataclass(frozen=True)
class Statement:
    """A statement of one of the operator's policies."""

    policy: str
    body: Body

    def __str__(self) -> str:
        return f"{self.policy}: {self.body['Sid']}"

    @property
    def actions(self) -> list[str]:
        return listed(self.body["Action"])

    @property
    def resources(self) -> list[str]:
        return listed(self.body["Resource"])

    def allows(self, request: Request) -> bool:
        return allowed([alone(self.body)], request)

    def without_resource(self, pattern: str) -> Body:
        """Answer a policy of this statement alone, without one of its patterns."""
        return alone({**self.body, "Resource": [each for each in self.resources if each != pattern]})

    def conditions(self) -> Iterator[tuple[str, str, list[str]]]:
        """Answer each condition: its operator, its key, and the values that it takes."""
        for operator, keys in self.body.get("Condition", {}).items():
            for key, values in keys.items():
                yield operator, key, listed(values)

    def without_condition(self, operator: str, key: str) -> Body:
        """Answer a policy of this statement alone, without one of its conditions."""
        body = deepcopy(self.body)
        del body["Condition"][operator][key]
        return alone(body)

    def without_value(self, operator: str, key: str, value: str) -> Body:
        """Answer a policy of this statement alone, with one value less in a condition."""
        body = deepcopy(self.body)
        body["Condition"][operator][key] = [each for each in listed(body["Condition"][operator][key]) if each != value]
        return alone(body)


def listed(value: str | list[str]) -> list[str]:
    """Answer what may stand alone in a policy as a list."""
    return [value] if isinstance(value, str) else value


def alone(body: Body) -> Body:
    """Answer a policy of one statement."""
    return {"Version": "2012-10-17", "Statement": [body]}


def allowed(documents: Iterable[Body], request: Request) -> bool:
    """Answer whether IAM would allow a request by these policies."""
    return judge(list(documents), request.action, request.resource, request.asked) == "allowed"


OPERATOR: tuple[Body, ...] = tuple(document(name) for name in OPERATOR_POLICIES)
STATEMENTS = tuple(Statement(name, body) for name in OPERATOR_POLICIES for body in document(name)["Statement"])


@cache
def of_role(name: str) -> tuple[Body, ...]:
    """Answer the policies of a role, AWS's own among them."""
    _, policies = ROLES[name]
    return tuple(_of_aws()[each[4:]]["Document"] if each.startswith("aws:") else document(each) for each in policies)


@cache
def _of_aws() -> dict[str, Body]:
    found: dict[str, Body] = json.loads(aws_managed_policies_data)
    return found
