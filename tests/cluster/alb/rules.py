"""A listener's rules: which request is whose, and what is done with one that is nobody's."""

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

from tests.cluster.alb.annotations import Wrong
from tests.cluster.alb.kubernetes import Json

LONGEST_PATTERN = 128
_PATTERN = re.compile(r"[A-Za-z0-9_\-.$/~\"'@:+&*?]+")
"""What AWS takes in a path pattern (guide to Application Load Balancers, path conditions)."""


class GroupKey(NamedTuple):
    """A target group's name for us: namespace, service, and port as the Ingress says it."""

    namespace: str
    service: str
    port: str

    def __str__(self) -> str:
        return "/".join(self)


@dataclass(frozen=True)
class Fixed:
    """The load balancer's own answer, in plain text."""

    status: int
    body: str = ""


@dataclass(frozen=True)
class Redirect:
    """The same by HTTPS, at a port."""

    port: int
    status: int = 301


@dataclass(frozen=True)
class Forward:
    """To a target of a group."""

    group: GroupKey


Action = Fixed | Redirect | Forward
NOBODY = Fixed(404)
"""What the controller gives every listener to do with what no rule matches."""


@dataclass(frozen=True)
class Rule:
    """One rule; without hosts or paths every one matches."""

    priority: int
    hosts: tuple[str, ...]
    paths: tuple[str, ...]
    action: Action

    def matches(self, host: str, path: str) -> bool:
        """Answer whether it is for a request.

        Args:
            host: without a port. path: as it was sent, without its query.
        """
        return (not self.hosts or any(_expression(each.lower()).fullmatch(host.lower()) for each in self.hosts)) and (
            not self.paths or any(_expression(each).fullmatch(path) for each in self.paths)
        )


@lru_cache(maxsize=1024)
def _expression(pattern: str) -> re.Pattern[str]:
    """Answer a pattern, in which * is any number of characters and ? is one."""
    return re.compile("".join({"*": ".*", "?": "."}.get(each, re.escape(each)) for each in pattern), re.DOTALL)


def path_patterns(path: str, kind: str) -> tuple[str, ...]:
    """Answer the load balancer's patterns for a path of an Ingress.

    Raises:
        Wrong: the controller would refuse it.
    """
    if kind == "Prefix" and path == "/":
        return ("/*",)
    if kind in {"Exact", "Prefix"} and set(path) & {"*", "?"}:
        raise Wrong(f"path {path}: no wildcards in a path of type {kind}")
    found: tuple[str, ...] = (path,)
    if kind == "Prefix":
        stem = path.removesuffix("/")
        found = (stem, f"{stem}/*")
    for pattern in found:
        if len(pattern) > LONGEST_PATTERN or not _PATTERN.fullmatch(pattern):
            raise Wrong(f"path {path}: AWS takes no such pattern")
    return found


def in_order(paths: list[Json]) -> list[Json]:
    """Answer an Ingress rule's paths in the order of their priority: exact ones, longer prefixes first, the rest."""
    exact = [path for path in paths if path.get("pathType") == "Exact"]
    prefixes = [path for path in paths if path.get("pathType") == "Prefix"]
    rest = [path for path in paths if path.get("pathType") not in {"Exact", "Prefix"}]
    return [*exact, *sorted(prefixes, key=lambda path: -len(path.get("path", ""))), *rest]


def choose(rules: tuple[Rule, ...], host: str, path: str, default: Action) -> tuple[Action, int]:
    """Answer what is to be done with a request, and the priority of the rule that says so; 0 for the default's."""
    for rule in rules:
        if rule.matches(host, path):
            return rule.action, rule.priority
    return default, 0
