"""Who may do what: the policies that stand in moto, judged by ministack's evaluator.

Moto knows policies and does not weigh resources or conditions; ministack's evaluator does both, and its own HTTP
simulator drops the request's context. So the evaluator is called as a library, on moto's policies.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any
from xml.sax.saxutils import escape

from ministack.core.iam_evaluator import EvalContext, ParsedStatement, evaluate, parse_policy_document

from comanda_testbed.answer import Answer

DECISIONS = {"Allow": "allowed", "Deny": "explicitDeny", "ImplicitDeny": "implicitDeny"}


def judge(
    documents: Sequence[Mapping[str, Any]], action: str, resource: str, context: Mapping[str, str | list[str]]
) -> str:
    """Answer what IAM would decide, as its simulator words it: "allowed", "explicitDeny" or "implicitDeny".

    Args:
        documents: the caller's policies.
        action: "ec2:CreateVpc". resource: its ARN, or "*".
        context: condition keys and what the request has for them.
    """
    policies: list[list[ParsedStatement]] = [parse_policy_document(dict(document)) for document in documents]
    asked = EvalContext(
        principal_arn="",
        principal_type="User",
        principal_account="123456789012",
        action=action,
        resource_arn=resource,
        region="sa-east-1",
        source_ip="127.0.0.1",
        secure_transport=True,
        service_context={key.lower(): value for key, value in context.items()},
    )
    return DECISIONS[evaluate(asked, policies).decision]


class Simulator:
    """SimulatePrincipalPolicy, which moto has not.

    Args:
        client: answers a boto3 client of the account, to read policies with.
    """

    def __init__(self, client: Callable[[str], Any]) -> None:
        """Read nothing yet."""
        self._client = client
        self._documents: dict[str, list[dict[str, Any]]] = {}

    def forget(self) -> None:
        """Read policies anew at the next question: something in IAM was changed."""
        self._documents.clear()

    def answer(self, asked: Mapping[str, list[str]]) -> Answer:
        """Answer a request in IAM's query protocol.

        Raises:
            ClientError: moto's, where the principal does not exist.
        """
        source = asked["PolicySourceArn"][0]
        if source not in self._documents:
            self._documents[source] = list(self.policies(source))
        documents = self._documents[source]
        context = {
            asked[f"{entry}.ContextKeyName"][0]: _members(asked, f"{entry}.ContextKeyValues")
            for entry in _indices(asked, "ContextEntries", ".ContextKeyName")
        }
        results = [
            f"<member><EvalActionName>{escape(action)}</EvalActionName>"
            f"<EvalResourceName>{escape(resource)}</EvalResourceName>"
            f"<EvalDecision>{judge(documents, action, resource, _single(context))}</EvalDecision></member>"
            for action in _members(asked, "ActionNames")
            for resource in _members(asked, "ResourceArns") or ["*"]
        ]
        text = (
            '<SimulatePrincipalPolicyResponse xmlns="https://iam.amazonaws.com/doc/2010-05-08/">'
            f"<SimulatePrincipalPolicyResult><EvaluationResults>{''.join(results)}</EvaluationResults>"
            "<IsTruncated>false</IsTruncated></SimulatePrincipalPolicyResult></SimulatePrincipalPolicyResponse>"
        )
        return Answer(200, text.encode(), {"Content-Type": "text/xml"})

    def policies(self, arn: str) -> Iterator[dict[str, Any]]:
        """Answer the documents of a user's or role's policies, inline and attached."""
        kind, name = arn.split(":")[5].split("/", maxsplit=1)[0], arn.rsplit("/", maxsplit=1)[-1]
        iam = self._client("iam")
        if kind not in {"user", "role"}:
            return
        owner = {"UserName" if kind == "user" else "RoleName": name}
        inline = getattr(iam, f"list_{kind}_policies")(**owner)["PolicyNames"]
        for each in inline:
            yield getattr(iam, f"get_{kind}_policy")(**owner, PolicyName=each)["PolicyDocument"]
        for each in getattr(iam, f"list_attached_{kind}_policies")(**owner)["AttachedPolicies"]:
            policy = iam.get_policy(PolicyArn=each["PolicyArn"])["Policy"]
            version = iam.get_policy_version(PolicyArn=each["PolicyArn"], VersionId=policy["DefaultVersionId"])
            found = version["PolicyVersion"]["Document"]
            yield json.loads(found) if isinstance(found, str) else found


def _indices(asked: Mapping[str, list[str]], name: str, suffix: str) -> Iterator[str]:
    number = 1
    while f"{name}.member.{number}{suffix}" in asked:
        yield f"{name}.member.{number}"
        number += 1


def _members(asked: Mapping[str, list[str]], name: str) -> list[str]:
    return [asked[entry][0] for entry in _indices(asked, name, "")]


def _single(context: Mapping[str, list[str]]) -> dict[str, str | list[str]]:
    return {key: values[0] if len(values) == 1 else values for key, values in context.items()}
