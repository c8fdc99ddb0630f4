"""Add-ons: which version fits which minor of Kubernetes, and their configuration."""

from functools import partial
from typing import Any
from uuid import uuid4

from comanda_testbed.eks.access import Access
from comanda_testbed.eks.state import Cluster, Json, Thing, fail, now, snake
from comanda_testbed.shapes import Refusal
from comanda_testbed.versions import ADDONS, KUBERNETES, addon_versions


class Addons(Access):
    """The operations on add-ons, named as in the EKS API reference."""

    def describe_addon_versions(
        self, addon_name: str | None = None, kubernetes_version: str | None = None, **_: Any
    ) -> Json:
        minors = [kubernetes_version] if kubernetes_version else list(KUBERNETES)
        addons = []
        for name in [addon_name] if addon_name else ADDONS:
            if name not in ADDONS:
                continue
            found: dict[str, list[Json]] = {}
            for minor in minors:
                for position, version in enumerate(addon_versions(name, minor)):
                    found.setdefault(version, []).append(
                        {"clusterVersion": minor, "platformVersions": ["*"], "defaultVersion": position == 0}
                    )
            addons.append(
                {
                    "addonName": name,
                    "type": "networking",
                    "owner": "aws",
                    "publisher": "eks",
                    "addonVersions": [
                        {"addonVersion": version, "architecture": ["amd64", "arm64"], "compatibilities": fits}
                        for version, fits in found.items()
                    ],
                }
            )
        return {"addons": addons}

    def create_addon(self, cluster_name: str, addon_name: str, **more: Any) -> Json:
        cluster = self._active(cluster_name)
        if addon_name not in ADDONS:
            raise Refusal("InvalidParameterException", f"Addon {addon_name} specified is not supported")
        if addon_name in cluster.addons:
            raise Refusal("ResourceInUseException", "Addon already exists.", 409)
        version = more.get("addon_version") or addon_versions(addon_name, cluster.body["version"])[0]
        self._fits(cluster, addon_name, version)
        body: Json = {
            "addonName": addon_name,
            "clusterName": cluster_name,
            "status": "CREATING",
            "addonVersion": version,
            "health": {"issues": []},
            "addonArn": self._arn(f"addon/{cluster_name}/{addon_name}/{uuid4()}"),
            "createdAt": now(),
            "modifiedAt": now(),
            "tags": more.get("tags") or {},
        }
        if more.get("configuration_values"):
            body["configurationValues"] = more["configuration_values"]
        addon = Thing(body)
        cluster.addons[addon_name] = addon
        # What needs nodes stays DEGRADED as long as there are none; the tool makes them first.
        ready = "ACTIVE" if cluster.groups or addon_name in {"vpc-cni", "kube-proxy"} else "DEGRADED"
        for each in more.get("pod_identity_associations") or []:
            made = self.create_pod_identity_association(
                cluster_name, namespace="kube-system", **{snake(k): v for k, v in each.items()}
            )
            body.setdefault("podIdentityAssociations", []).append(made["association"]["associationArn"])
        self._later(
            addon, f"addon {addon_name}", lambda: body.update(status=ready), lambda: fail(addon, "CREATE_FAILED")
        )
        return {"addon": body}

    def describe_addon(self, cluster_name: str, addon_name: str) -> Json:
        self._addon(cluster_name, addon_name).turn()
        return {"addon": self._addon(cluster_name, addon_name).body}

    def list_addons(self, cluster_name: str, **_: Any) -> Json:
        return {"addons": sorted(self._cluster(cluster_name).addons)}

    def delete_addon(self, cluster_name: str, addon_name: str, **_: Any) -> Json:
        addon = self._addon(cluster_name, addon_name)
        addon.body["status"] = "DELETING"
        self._later(addon, "", partial(self._forget_addon, cluster_name, addon_name))
        return {"addon": addon.body}

    def _forget_addon(self, cluster_name: str, addon_name: str) -> None:
        del self.clusters[cluster_name].addons[addon_name]

    def update_addon(self, cluster_name: str, addon_name: str, **changes: Any) -> Json:
        cluster, addon = self._cluster(cluster_name), self._addon(cluster_name, addon_name)
        if addon.body["status"] in {"CREATING", "UPDATING", "DELETING"}:
            raise Refusal("ResourceInUseException", "Addon is at work", 409)
        version = changes.get("addon_version") or addon.body["addonVersion"]
        self._fits(cluster, addon_name, version)
        addon.body["status"] = "UPDATING"

        def change() -> None:
            addon.body.update(status="ACTIVE", addonVersion=version, health={"issues": []})
            if changes.get("configuration_values") is not None:
                addon.body["configurationValues"] = changes["configuration_values"]

        return {"update": self._update(cluster, addon, "AddonUpdate", change, f"addon {addon_name}", mark=False)}

    def _fits(self, cluster: Cluster, addon: str, version: str) -> None:
        if version not in addon_versions(addon, cluster.body["version"]):
            words = (
                f"Addon version {version} specified is not supported in {cluster.body['version']} kubernetes version"
            )
            raise Refusal("InvalidParameterException", words)
