"""What there is of the database in the cluster: its set, its pod, and the claim of its disk."""

from dataclasses import dataclass
from datetime import UTC, datetime

from comanda_deploy import kubectl
from comanda_deploy.backups import CLAIM, RESTORED_FROM, TAKEN, UNDER_WAY, UNSETTLED, Backup
from comanda_deploy.context import Context
from comanda_deploy.errors import DeployError
from comanda_deploy.names import DATABASE_NAMESPACE
from comanda_deploy.objects import Json

SET = "database"
POD = "database-0"


@dataclass(frozen=True)
class Facts:
    """What there is of the database now.

    Args:
        exists: whether there is a StatefulSet. template: of its claim, {} if it has none.
        alive: whether its pod serves. claim: its claim, None if there is none.
        unsettled: from when on an earlier restore has not settled money, aware; None if none is open.
        wanted: how many servers the set is to have.
    """

    exists: bool
    template: Json
    alive: bool
    claim: Json | None
    unsettled: datetime | None = None
    wanted: int = 1

    @property
    def may_come_back(self) -> bool:
        """Whether it does not serve and has a disk, so that waiting may bring it back and lose nothing."""
        return not self.alive and self.wanted > 0 and bool(self.disk) and not self._is_lost

    @property
    def under_way(self) -> str:
        """Which backup is being restored already, "" if none, or if the disk that it was restored to is lost too."""
        return "" if self._is_lost else str(self._annotations.get(UNDER_WAY, ""))

    @property
    def begun_empty(self) -> datetime | None:
        """When the disk was made, if it was made empty; None if it came from a backup, or there is none yet."""
        if self.claim is None or not self.disk or RESTORED_FROM in self._annotations:
            return None
        return datetime.fromisoformat(str(self.claim["metadata"]["creationTimestamp"])).astimezone(UTC)

    @property
    def restored(self) -> Backup | None:
        """That backup, as the claim remembers it: it may be pruned meanwhile. None if none is being restored."""
        if not self.under_way or TAKEN not in self._annotations:
            return None
        return Backup(self.under_way, datetime.fromisoformat(self._annotations[TAKEN]).astimezone(UTC), "", 0, True)

    @property
    def disk(self) -> str:
        """The name of the volume that the claim has, "" if none."""
        return str(((self.claim or {}).get("spec") or {}).get("volumeName", ""))

    @property
    def identity(self) -> tuple[str, str]:
        """What tells these remains from others: the claim's uid, and the backup that is being restored to it."""
        return str(((self.claim or {}).get("metadata") or {}).get("uid", "")), self.under_way

    @property
    def _is_lost(self) -> bool:
        """Whether the volume that the claim had is no more (Kubernetes: phase Lost)."""
        return bool(((self.claim or {}).get("status") or {}).get("phase") == "Lost")

    @property
    def _annotations(self) -> Json:
        return ((self.claim or {}).get("metadata") or {}).get("annotations") or {}


def look(context: Context) -> Facts:
    """Answer what there is of the database.

    Raises:
        DeployError: the cluster cannot be asked.
    """
    body = kubectl.one(context, "statefulset", SET, namespace=DATABASE_NAMESPACE)
    pod = pod_of(context)
    templates = ((body or {}).get("spec") or {}).get("volumeClaimTemplates") or [{}]
    since = (((body or {}).get("metadata") or {}).get("annotations") or {}).get(UNSETTLED)
    unsettled = datetime.fromisoformat(since).astimezone(UTC) if since else None
    return Facts(
        exists=body is not None,
        template=templates[0],
        alive=pod is not None and kubectl.is_ready(pod),
        claim=claim_of(context),
        unsettled=unsettled,
        wanted=((body or {}).get("spec") or {}).get("replicas", 1),
    )


def pod_of(context: Context) -> Json | None:
    """Answer the database's pod, None if there is none."""
    return kubectl.one(context, "pod", POD, namespace=DATABASE_NAMESPACE)


def claim_of(context: Context) -> Json | None:
    """Answer the claim of its disk, None if there is none."""
    return kubectl.one(context, "persistentvolumeclaim", CLAIM, namespace=DATABASE_NAMESPACE)


def serves_since(pod: Json | None) -> str:
    """Answer since when the database's pod is ready, as Kubernetes writes times.

    Raises:
        DeployError: there is no such pod any more.
    """
    conditions = ((pod or {}).get("status") or {}).get("conditions") or ()
    for each in conditions:
        if each["type"] == "Ready":
            return str(each["lastTransitionTime"])
    raise DeployError(f"pod {POD} is gone again: kubectl get pods --namespace {DATABASE_NAMESPACE}")


def node_answers(context: Context) -> bool:
    """Answer whether the pod's node is known to answer, so that the pod can be ended."""
    pod = pod_of(context)
    node = kubectl.one(context, "node", pod["spec"]["nodeName"]) if pod and pod["spec"].get("nodeName") else None
    return node is not None and kubectl.is_ready(node)
