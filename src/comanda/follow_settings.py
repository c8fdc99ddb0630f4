"""What changed in the settings reaches the pods: API and worker are rolled out anew, by Kubernetes' own rules.

Runs in the cluster once a minute (`infra/deployment/api/3-api-deployment.yaml`). A process reads its settings once, at
its start. So a changed one is taken over by new pods beside the old ones: no request fails, and a value with which the
new ones do not start takes nobody's place. Why not otherwise: docs/decisions/0008-settings-that-change.md.
"""

import hashlib
import json

from comanda.cluster import Cluster, ClusterError

SETTINGS = ("configmaps/comanda-settings", "secrets/comanda-api")
DEPLOYMENTS = ("comanda-api", "comanda-worker")
ANNOTATION = "comanda/settings"


def follow(cluster: Cluster) -> list[str]:
    """Roll out those Deployments whose pods were started with other settings than there are now.

    Returns:
        Their names.

    Raises:
        ClusterError: something could not be read or written. What could be is rolled out all the same.
    """
    mark = _mark([cluster.ask("GET", cluster.here("api/v1", each)).get("data") or {} for each in SETTINGS])
    rolled, failed = [], []
    for name in DEPLOYMENTS:
        try:
            if _roll_out(cluster, name, mark):
                rolled.append(name)
        except ClusterError as error:
            failed.append(str(error))  # that one is not there is no reason for the other to go on with old settings
    if failed:
        raise ClusterError("; ".join(failed))
    return rolled


def _roll_out(cluster: Cluster, name: str, mark: str) -> bool:
    """Have a Deployment's pods made anew, if they were made for another mark; answer whether they were."""
    path = cluster.here("apis/apps/v1", f"deployments/{name}")
    metadata = cluster.ask("GET", path)["spec"]["template"].get("metadata") or {}
    if (metadata.get("annotations") or {}).get(ANNOTATION) == mark:
        return False
    cluster.ask("PATCH", path, {"spec": {"template": {"metadata": {"annotations": {ANNOTATION: mark}}}}})
    return True


def _mark(settings: list[dict[str, str]]) -> str:
    """Answer what is another text for other settings, and from which none of them can be had."""
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:32]
