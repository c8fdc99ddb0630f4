"""Until when each version is maintained: asked of EKS where it knows, from a dated table where nobody can be asked."""

from dataclasses import dataclass
from datetime import UTC, date, datetime

from botocore.exceptions import ClientError

from comanda_deploy.aws_errors import DENIED, code_of
from comanda_deploy.context import Context

TABLE_OF = date(2026, 11, 23)
"""When the dates below were looked up."""

KUBERNETES_ENDS = {
    "1.34": date(2026, 12, 2),
    "1.35": date(2027, 3, 27),
    "1.36": date(2027, 8, 2),
}
"""End of EKS' standard support (EKS user guide, Kubernetes release calendar)."""

COMPONENT_ENDS = {
    "PostgreSQL 18": date(2030, 11, 14),
    "Amazon Linux 2023": date(2029, 6, 30),
}
"""What else has a date that is known (PostgreSQL's versioning policy; Amazon Linux 2023 release cadence)."""


AS_KUBERNETES = "as its Kubernetes"
"""Who says so of what ends with its Kubernetes, and need not be said beside it."""

UNDATED = {
    "External Secrets 2.9": "only its newest minor is (its page on stability and support)",
    "AWS Load Balancer Controller 3.5": "only its newest minor is (its releases)",
}
"""What nobody gives a date for: a newer one is looked for at every release of ours."""


@dataclass(frozen=True)
class Life:
    """How long a version is maintained.

    Args:
        what: "Kubernetes 1.36". ends: the first day without, None where nobody says one. days_left: may be negative.
        source: who says so, or what is said instead of a day.
    """

    what: str
    ends: date | None
    days_left: int | None
    source: str

    def __str__(self) -> str:
        """Answer one phrase."""
        if self.days_left is None:
            return f"maintained until no day that is known: {self.source}"
        if self.days_left < 0:
            return f"maintained until {self.ends}, that is {-self.days_left} days past ({self.source})"
        return f"maintained until {self.ends}, {self.days_left} days ({self.source})"


def kubernetes_ends(context: Context) -> tuple[dict[str, date], str]:
    """Answer the end of standard support of each minor that EKS offers, and who says so."""
    try:
        found = context.catalogue("eks", "describe_cluster_versions", "clusterVersions")
    except ClientError as error:
        if code_of(error) in DENIED:
            return dict(KUBERNETES_ENDS), f"a table of {TABLE_OF}"
        raise
    ends = {
        each["clusterVersion"]: each["endOfStandardSupportDate"].astimezone(UTC).date()
        for each in found
        if isinstance(each.get("endOfStandardSupportDate"), datetime)
    }
    return ends, "EKS"


def lives(context: Context) -> list[Life]:
    """Answer how long each component is maintained, Kubernetes as the settings want it first."""
    today = context.clock().date()
    ends, source = kubernetes_ends(context)
    wanted = context.settings.cluster.kubernetes_version
    found = []
    if wanted in ends:
        found.append(Life(f"Kubernetes {wanted}", ends[wanted], (ends[wanted] - today).days, source))
        # Upstream maintains it as long as its Kubernetes, which EKS does a little longer.
        found.append(Life(f"Cluster Autoscaler {wanted}", ends[wanted], (ends[wanted] - today).days, AS_KUBERNETES))
    table = f"a table of {TABLE_OF}"
    found += [Life(what, end, (end - today).days, table) for what, end in COMPONENT_ENDS.items()]
    return found + [Life(what, None, None, instead) for what, instead in UNDATED.items()]
