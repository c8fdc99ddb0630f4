"""Clusters: versions, endpoint, logs, and the network interfaces and group that EKS makes for them."""

import copy
from collections.abc import Callable
from typing import Any
from uuid import uuid4

from comanda_testbed.eks.state import Cluster, Json, State, fail, now
from comanda_testbed.shapes import Refusal
from comanda_testbed.versions import CLUSTER_VERSIONS, KUBERNETES, minor_of


class Clusters(State):
    """The operations on clusters, named as in the EKS API reference."""

    def create_cluster(self, name: str, role_arn: str, resources_vpc_config: Json, **more: Any) -> Json:
        if name in self.clusters:
            same = self.clusters[name].body.get("clientRequestToken") == more.get("client_request_token")
            if same and more.get("client_request_token"):
                return {"cluster": self._public(self.clusters[name])}
            raise Refusal("ResourceInUseException", f"Cluster already exists with name: {name}", 409)
        version = more.get("version") or "1.36"
        if version not in KUBERNETES:
            raise Refusal("InvalidParameterException", f"unsupported Kubernetes version {version}")
        self._role(role_arn, "eks.amazonaws.com")
        network = self._network(resources_vpc_config)
        access = {"authenticationMode": "CONFIG_MAP", "bootstrapClusterCreatorAdminPermissions": True}
        access.update(more.get("access_config") or {})
        on = [
            each
            for one in (more.get("logging") or {}).get("clusterLogging", [])
            if one.get("enabled")
            for each in one["types"]
        ]
        body: Json = {
            "name": name,
            "arn": self._arn(f"cluster/{name}"),
            "createdAt": now(),
            "version": version,
            "platformVersion": "eks.1",
            "roleArn": role_arn,
            "resourcesVpcConfig": network,
            "kubernetesNetworkConfig": {"serviceIpv4Cidr": "172.20.0.0/16", "ipFamily": "ipv4"},
            "logging": _logging(on),
            "status": "CREATING",
            "health": {"issues": []},
            "tags": more.get("tags") or {},
            "accessConfig": access,
            "upgradePolicy": more.get("upgrade_policy") or {"supportType": "EXTENDED"},
            "deletionProtection": more.get("deletion_protection", False),
        }
        cluster = Cluster(body)
        cluster.body["clientRequestToken"] = more.get("client_request_token")
        self.clusters[name] = cluster
        self._later(
            cluster, f"cluster {name}", lambda: self._cluster_ready(cluster), lambda: fail(cluster, "CREATE_FAILED")
        )
        return {"cluster": self._public(cluster)}

    def _cluster_ready(self, cluster: Cluster) -> None:
        body, network = cluster.body, cluster.body["resourcesVpcConfig"]
        ec2 = self._client("ec2")
        group = ec2.create_security_group(
            GroupName=f"eks-cluster-sg-{body['name']}-{uuid4().hex[:8]}",
            Description="EKS created security group applied to ENI that is attached to EKS Control Plane master nodes",
            VpcId=network["vpcId"],
            TagSpecifications=[
                {
                    "ResourceType": "security-group",
                    "Tags": [{"Key": f"kubernetes.io/cluster/{body['name']}", "Value": "owned"}],
                }
            ],
        )
        network["clusterSecurityGroupId"] = group["GroupId"]
        for subnet in network["subnetIds"]:
            ec2.create_network_interface(
                SubnetId=subnet, Description=f"Amazon EKS {body['name']}", Groups=[group["GroupId"]]
            )
        body["status"] = "ACTIVE"
        body["endpoint"] = f"https://{uuid4().hex.upper()}.gr7.{self._region}.eks.amazonaws.com"
        body["certificateAuthority"] = {"data": "LS0tLS1CRUdJTiBDRVJUSUZJQ0FURS0tLS0tCg=="}
        body["identity"] = {
            "oidc": {"issuer": f"https://oidc.eks.{self._region}.amazonaws.com/id/{uuid4().hex.upper()}"}
        }

    def describe_cluster(self, name: str) -> Json:
        cluster = self._cluster(name)
        cluster.turn()
        return {"cluster": self._public(self._cluster(name))}

    def list_clusters(self, **_: Any) -> Json:
        return {"clusters": sorted(self.clusters)}

    def delete_cluster(self, name: str) -> Json:
        cluster = self._cluster(name)
        if cluster.groups:
            raise Refusal("ResourceInUseException", "Cluster has nodegroups attached", 409)
        if cluster.body["deletionProtection"]:
            raise Refusal("InvalidRequestException", "Cluster has deletion protection enabled")
        cluster.body["status"] = "DELETING"
        self._later(cluster, "", lambda: self._cluster_gone(name))
        return {"cluster": self._public(cluster)}

    def _cluster_gone(self, name: str) -> None:
        network = self.clusters.pop(name).body["resourcesVpcConfig"]
        ec2 = self._client("ec2")
        found = ec2.describe_network_interfaces(Filters=[{"Name": "vpc-id", "Values": [network["vpcId"]]}])
        for each in found["NetworkInterfaces"]:
            if each.get("Description") == f"Amazon EKS {name}":
                ec2.delete_network_interface(NetworkInterfaceId=each["NetworkInterfaceId"])
        if group := network.get("clusterSecurityGroupId"):
            ec2.delete_security_group(GroupId=group)

    def update_cluster_config(self, name: str, **changes: Any) -> Json:
        cluster = self._active(name)
        changes.pop("client_request_token", None)
        asked = {key: value for key, value in changes.items() if value is not None}
        if len(asked) != 1:
            raise Refusal("InvalidParameterException", "Only one type of update can be allowed.")
        ((kind, value),) = asked.items()
        body = cluster.body
        before = copy.deepcopy(body)
        apply: dict[str, tuple[str, Callable[[], Any]]] = {
            "logging": ("LoggingUpdate", lambda: body.update(logging=_changed_logging(before["logging"], value))),
            "resources_vpc_config": ("EndpointAccessUpdate", lambda: body["resourcesVpcConfig"].update(value)),
            "access_config": ("AccessConfigUpdate", lambda: body["accessConfig"].update(value)),
            "upgrade_policy": ("UpgradePolicyUpdate", lambda: body["upgradePolicy"].update(value)),
            "deletion_protection": ("DeletionProtectionUpdate", lambda: body.update(deletionProtection=value)),
        }
        if kind not in apply:
            raise Refusal("InvalidParameterException", f"the test bed cannot change {kind}")
        word, change = apply[kind]
        # The kinds that EKS would have nothing to change for, it refuses.
        probe = copy.deepcopy(body)
        change()
        same, cluster.body = body == probe, body
        body.clear()
        body.update(probe)
        if same:
            raise Refusal("InvalidParameterException", "No changes needed for the cluster")
        return {"update": self._update(cluster, cluster, word, change, f"cluster {name}")}

    def update_cluster_version(self, name: str, version: str, force: bool = False, **_: Any) -> Json:
        cluster = self._active(name)
        if version not in KUBERNETES:
            raise Refusal("InvalidParameterException", f"unsupported Kubernetes version {version}")
        at = minor_of(cluster.body["version"])
        if minor_of(version) != at + 1:
            raise Refusal(
                "InvalidParameterException", f"Unsupported Kubernetes minor version update from 1.{at} to {version}"
            )
        if any(at - minor_of(group.body["version"]) >= 3 for group in cluster.groups.values()):
            raise Refusal("InvalidRequestException", "Nodes are too far behind")
        if not force and any(each["insightStatus"]["status"] == "ERROR" for each in self.insights):
            raise Refusal("InvalidRequestException", "Upgrade insights have errors")
        return {
            "update": self._update(
                cluster, cluster, "VersionUpdate", lambda: cluster.body.update(version=version), f"cluster {name}"
            )
        }

    def describe_cluster_versions(self, **_: Any) -> Json:
        return {"clusterVersions": CLUSTER_VERSIONS}

    def list_insights(self, cluster_name: str, **_: Any) -> Json:
        self._cluster(cluster_name)
        return {"insights": self.insights}

    def list_updates(self, name: str, **_: Any) -> Json:
        return {"updateIds": list(self._cluster(name).updates)}

    def describe_update(self, name: str, update_id: str, **_: Any) -> Json:
        cluster = self._cluster(name)
        if update_id not in cluster.updates:
            raise Refusal("ResourceNotFoundException", f"No update found for ID: {update_id}", 404)
        return {"update": cluster.updates[update_id].body}

    def _network(self, asked: Json) -> Json:
        subnets = asked.get("subnetIds") or []
        known = {each["SubnetId"]: each for each in self._client("ec2").describe_subnets()["Subnets"]}
        if any(each not in known for each in subnets):
            raise Refusal("InvalidParameterException", "The subnet ID does not exist")
        if len({known[each]["AvailabilityZone"] for each in subnets}) < 2:
            raise Refusal("InvalidParameterException", "Subnets specified must be in at least two different AZs")
        return {
            "subnetIds": subnets,
            "securityGroupIds": asked.get("securityGroupIds") or [],
            "vpcId": known[subnets[0]]["VpcId"],
            "endpointPublicAccess": asked.get("endpointPublicAccess", True),
            "endpointPrivateAccess": asked.get("endpointPrivateAccess", False),
            "publicAccessCidrs": asked.get("publicAccessCidrs") or ["0.0.0.0/0"],
        }


def _logging(on: list[str]) -> Json:
    every = ["api", "audit", "authenticator", "controllerManager", "scheduler"]
    sets = [{"types": [each for each in every if each in on], "enabled": True}]
    sets.append({"types": [each for each in every if each not in on], "enabled": False})
    return {"clusterLogging": [each for each in sets if each["types"]]}


def _changed_logging(before: Json, asked: Json) -> Json:
    on = {each for one in before["clusterLogging"] if one["enabled"] for each in one["types"]}
    for one in asked["clusterLogging"]:
        on = on | set(one["types"]) if one["enabled"] else on - set(one["types"])
    return _logging(sorted(on))
