"""What IAM is asked when AWS is called: an action, on a resource, with what the request and the resource carry."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from comanda_testbed.bed import REGION

Value = str | tuple[str, ...]
Tags = Mapping[str, str]

ACCOUNT = "123456789012"
"""The emulated account."""

EVERYTHING = "*"
"""The resource of what has no narrower one."""


@dataclass(frozen=True)
class Request:
    """One question to IAM.

    Args:
        action: "ec2:CreateSubnet". resource: its ARN; `*` at the end of one stands for what is yet to be made.
        context: condition keys and what the request has for them, in order.
    """

    action: str
    resource: str
    context: tuple[tuple[str, Value], ...] = ()

    def __str__(self) -> str:
        """Answer what a person needs to see of it."""
        return f"{self.action} on {self.resource} with {dict(self.context)}"

    @property
    def asked(self) -> dict[str, str | list[str]]:
        """The context as the evaluator wants it."""
        return {key: list(value) if isinstance(value, tuple) else value for key, value in self.context}

    def but(self, without: Iterable[str] = (), **changed: Any) -> "Request":
        """Answer the same request with another action or resource, and `without` keys that begin so."""
        kept = tuple((key, value) for key, value in self.context if not key.startswith(tuple(without)))
        return replace(self, context=kept, **changed)

    def having(self, more: Mapping[str, Value]) -> "Request":
        """Answer the same request with more in its context, in place of what it had under those keys."""
        return replace(self, context=tuple(sorted({**dict(self.context), **more}.items())))


def request(action: str, resource: str = EVERYTHING, *contexts: Mapping[str, Value]) -> Request:
    """Answer a request with all of the contexts."""
    return Request(action, resource).having({key: value for context in contexts for key, value in context.items()})


def arn(service: str, what: str, *, region: str = REGION, account: str = ACCOUNT) -> str:
    """Answer the ARN of a thing of the account: `arn("eks", "cluster/comanda")`."""
    return f"arn:aws:{service}:{region}:{account}:{what}"


def role(name: str) -> str:
    """Answer the ARN of a role, its path before its name."""
    return arn("iam", f"role/{name}", region="")


def requested(tags: Tags) -> dict[str, Value]:
    """Answer what a request has in its context that asks for tags."""
    if not tags:
        return {}
    return {**{f"aws:RequestTag/{key}": value for key, value in tags.items()}, "aws:TagKeys": tuple(sorted(tags))}


def carried(tags: Tags) -> dict[str, Value]:
    """Answer what is in the context of a request on a thing that carries tags."""
    return {f"aws:ResourceTag/{key}": value for key, value in tags.items()}


def as_mapping(tags: Iterable[Mapping[str, str]]) -> dict[str, str]:
    """Answer a list of Key and Value as what it means."""
    return {each["Key"]: each["Value"] for each in tags}
