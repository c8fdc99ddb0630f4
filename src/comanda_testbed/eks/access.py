"""Who may do what in a cluster, and which service account is which role: access entries and Pod Identity."""

from typing import Any
from uuid import uuid4

from comanda_testbed.eks.state import Json, State, now
from comanda_testbed.shapes import Refusal


class Access(State):
    """The operations on access entries and Pod Identity associations, named as in the EKS API reference."""

    # Access entries

    def create_access_entry(self, cluster_name: str, principal_arn: str, **more: Any) -> Json:
        cluster = self._cluster(cluster_name)
        if cluster.body["accessConfig"]["authenticationMode"] == "CONFIG_MAP":
            raise Refusal("InvalidRequestException", "The cluster's authentication mode must allow access entries")
        if principal_arn in cluster.access:
            raise Refusal("ResourceInUseException", "The specified access entry resource is already in use", 409)
        entry: Json = {
            "clusterName": cluster_name,
            "principalArn": principal_arn,
            "kubernetesGroups": more.get("kubernetes_groups") or [],
            "accessEntryArn": self._arn(f"access-entry/{cluster_name}/{uuid4()}"),
            "createdAt": now(),
            "modifiedAt": now(),
            "tags": more.get("tags") or {},
            "username": more.get("username") or principal_arn,
            "type": more.get("type") or "STANDARD",
        }
        cluster.access[principal_arn] = entry
        cluster.policies[principal_arn] = {}
        return {"accessEntry": entry}

    def describe_access_entry(self, cluster_name: str, principal_arn: str) -> Json:
        return {"accessEntry": self._entry(cluster_name, principal_arn)}

    def list_access_entries(self, cluster_name: str, **_: Any) -> Json:
        return {"accessEntries": sorted(self._cluster(cluster_name).access)}

    def delete_access_entry(self, cluster_name: str, principal_arn: str) -> Json:
        self._entry(cluster_name, principal_arn)
        del self.clusters[cluster_name].access[principal_arn]
        return {}

    def associate_access_policy(
        self, cluster_name: str, principal_arn: str, policy_arn: str, access_scope: Json
    ) -> Json:
        self._entry(cluster_name, principal_arn)
        if ":cluster-access-policy/" not in policy_arn:
            raise Refusal("InvalidParameterException", f"The policyArn {policy_arn} is not valid")
        found = {"policyArn": policy_arn, "accessScope": access_scope, "associatedAt": now(), "modifiedAt": now()}
        self.clusters[cluster_name].policies[principal_arn][policy_arn] = found
        return {"clusterName": cluster_name, "principalArn": principal_arn, "associatedAccessPolicy": found}

    def disassociate_access_policy(self, cluster_name: str, principal_arn: str, policy_arn: str) -> Json:
        self._entry(cluster_name, principal_arn)
        self.clusters[cluster_name].policies[principal_arn].pop(policy_arn, None)
        return {}

    def list_associated_access_policies(self, cluster_name: str, principal_arn: str, **_: Any) -> Json:
        self._entry(cluster_name, principal_arn)
        found = list(self.clusters[cluster_name].policies[principal_arn].values())
        return {"clusterName": cluster_name, "principalArn": principal_arn, "associatedAccessPolicies": found}

    # Pod Identity

    def create_pod_identity_association(
        self, cluster_name: str, namespace: str, service_account: str, role_arn: str, **more: Any
    ) -> Json:
        cluster = self._cluster(cluster_name)
        self._role(role_arn, "pods.eks.amazonaws.com")
        for each in cluster.identities.values():
            if (each["namespace"], each["serviceAccount"]) == (namespace, service_account):
                raise Refusal("ResourceInUseException", "Association already exists", 409)
        identity = f"a-{uuid4().hex[:16]}"
        cluster.identities[identity] = {
            "clusterName": cluster_name,
            "namespace": namespace,
            "serviceAccount": service_account,
            "roleArn": role_arn,
            "associationArn": self._arn(f"podidentityassociation/{cluster_name}/{identity}"),
            "associationId": identity,
            "tags": more.get("tags") or {},
            "createdAt": now(),
            "modifiedAt": now(),
        }
        return {"association": cluster.identities[identity]}

    def list_pod_identity_associations(
        self, cluster_name: str, namespace: str | None = None, service_account: str | None = None, **_: Any
    ) -> Json:
        keys = ("clusterName", "namespace", "serviceAccount", "associationArn", "associationId")
        found = [
            {key: each[key] for key in keys}
            for each in self._cluster(cluster_name).identities.values()
            if namespace in {None, each["namespace"]} and service_account in {None, each["serviceAccount"]}
        ]
        return {"associations": found}

    def describe_pod_identity_association(self, cluster_name: str, association_id: str) -> Json:
        return {"association": self._identity(cluster_name, association_id)}

    def update_pod_identity_association(self, cluster_name: str, association_id: str, **more: Any) -> Json:
        found = self._identity(cluster_name, association_id)
        if more.get("role_arn"):
            self._role(more["role_arn"], "pods.eks.amazonaws.com")
            found["roleArn"] = more["role_arn"]
        return {"association": found}

    def delete_pod_identity_association(self, cluster_name: str, association_id: str) -> Json:
        found = self._identity(cluster_name, association_id)
        del self.clusters[cluster_name].identities[association_id]
        return {"association": found}
