"""Step 13: what the pods write, taken off the nodes to CloudWatch; where nobody asked for it, left there.

The log groups are made here and not by Fluent Bit: with our tag, with a retention that follows the setting, and without
a right of a pod on every node to make groups or to say how long they keep.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from comanda_deploy import pod_identity
from comanda_deploy.context import Context
from comanda_deploy.names import (
    DATABASE_NAMESPACE,
    LOGGING_NAMESPACE,
    LOGS_ROLE,
    MONITORING_NAMESPACE,
    NAMESPACE,
    POD_LOG_GROUPS,
    tags,
)
from comanda_deploy.pod_identity import Identity, IdentityFacts
from comanda_deploy.settings import Settings
from comanda_deploy.step import Change, Kind, Step
from comanda_deploy.steps.application import Application, ApplicationFacts

FOLDER = Path(__file__).parents[3] / "infra" / "overlays" / "logs"
GROUPS = tuple(f"{POD_LOG_GROUPS}{each}" for each in (NAMESPACE, DATABASE_NAMESPACE, MONITORING_NAMESPACE))
IDENTITY = Identity(LOGGING_NAMESPACE, "fluent-bit", LOGS_ROLE)
FLUENT_BIT = Application("logs", "Fluent Bit", FOLDER)


@dataclass(frozen=True)
class LogsFacts:
    """What there is.

    Args:
        groups: for how many days each keeps its lines, None for ever.
    """

    identity: IdentityFacts = field(default_factory=IdentityFacts)
    groups: Mapping[str, int | None] = field(default_factory=dict)
    manifests: ApplicationFacts = field(default_factory=ApplicationFacts)


class Logs(Step[LogsFacts]):
    """Fluent Bit on every node, its identity, and a log group for each namespace."""

    name = "logs"
    about = "what the pods write: to CloudWatch, or nowhere"

    def observe(self, context: Context) -> LogsFacts:
        """Read identity, groups and manifests."""
        if not context.settings.logs.retention_days:
            return self.observe_removal(context)
        return LogsFacts(pod_identity.observe(context, [IDENTITY]), _groups(context), FLUENT_BIT.observe(context))

    def observe_removal(self, context: Context) -> LogsFacts:
        """Read the same, without comparing anything."""
        identity = pod_identity.observe_removal(context, [IDENTITY])
        return LogsFacts(identity, _groups(context), FLUENT_BIT.observe_removal(context))

    def decide(self, settings: Settings, facts: LogsFacts) -> list[Change]:
        """Make it, or take away what is left of it; the identity goes before the pods that need it."""
        if settings.logs.retention_days:
            changes = [*pod_identity.decide([IDENTITY], facts.identity), *_group_changes(settings, facts)]
            return [*changes, *FLUENT_BIT.decide(settings, facts.manifests)]
        # What was written stays readable: CloudWatch lets go of it by itself.
        changes = [each for each in _without_fluent_bit(settings, facts) if each.to_do]
        detail = "go with their pods: logs.retention_days is 0"
        return [*changes, Change(Kind.NOTE, "logs of the pods", detail)]

    def decide_removal(self, settings: Settings, facts: LogsFacts) -> list[Change]:
        """Take Fluent Bit away, then its identity, then the groups, which nobody writes into any more."""
        changes = [*_without_fluent_bit(settings, facts)]
        for group in facts.groups:
            if "logs" in settings.destroy.keep:
                changes.append(Change(Kind.NOTE, f"log group {group}", "kept"))
            else:
                changes.append(Change(Kind.DELETE, f"log group {group}", do=partial(_delete_group, group=group)))
        return changes


def _without_fluent_bit(settings: Settings, facts: LogsFacts) -> Iterator[Change]:
    yield from FLUENT_BIT.decide_removal(settings, facts.manifests)
    yield from pod_identity.decide_removal(facts.identity)


def _group_changes(settings: Settings, facts: LogsFacts) -> Iterator[Change]:
    days = settings.logs.retention_days
    for group in GROUPS:
        if group not in facts.groups:
            yield Change(Kind.CREATE, f"log group {group}", do=partial(_create_group, group=group))
        if facts.groups.get(group) != days:
            do = partial(_keep, group=group, days=days)
            yield Change(Kind.CHANGE, f"log group {group}", f"kept for {days} days", do=do)


def _groups(context: Context) -> dict[str, int | None]:
    found = context.pages("logs", "describe_log_groups", "logGroups", logGroupNamePrefix=POD_LOG_GROUPS)
    return {each["logGroupName"]: each.get("retentionInDays") for each in found}


def _create_group(context: Context, group: str) -> None:
    context.client("logs").create_log_group(logGroupName=group, tags=tags())


def _keep(context: Context, group: str, days: int) -> None:
    context.client("logs").put_retention_policy(logGroupName=group, retentionInDays=days)


def _delete_group(context: Context, group: str) -> None:
    context.client("logs").delete_log_group(logGroupName=group)
