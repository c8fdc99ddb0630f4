"""EKS as it behaves, which neither emulator does: things take time, are refused, fail, and depend on one another.

Every answer is held to botocore's model of EKS by `shapes`. Rules are those of the EKS API reference and user guide.
"""

import copy
import itertools
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import Any
from uuid import uuid4

from botocore.exceptions import ClientError

from comanda_testbed.shapes import Refusal, RestJson
from comanda_testbed.versions import ADDONS, CLUSTER_VERSIONS, KUBERNETES, addon_versions

ACCOUNT = "123456789012"
Json = dict[str, Any]


def _now() -> datetime:
    return datetime.now(UTC)


@dataclass
class Thing:
    """A resource on its way: what it is, and what becomes of it after some more looks."""

    body: Json
    looks: int = 0
    then: Callable[[], None] | None = None

    def turn(self) -> None:
        """Somebody looks: AWS has got a little further."""
        if self.then is None:
            return
        self.looks -= 1
        if self.looks < 0:
            then, self.then = self.then, None
            then()


@dataclass
class Cluster(Thing):
    """A cluster and all that belongs to it."""

    groups: dict[str, Thing] = field(default_factory=dict)
    addons: dict[str, Thing] = field(default_factory=dict)
    access: dict[str, Json] = field(default_factory=dict)
    policies: dict[str, dict[str, Json]] = field(default_factory=dict)
    identities: dict[str, Json] = field(default_factory=dict)
    updates: dict[str, Thing] = field(default_factory=dict)


class Eks:
    """The emulated service.

    Args:
        client: answers a boto3 client of the account's other services, for what EKS does there itself.
        region: where it stands.
        looks: how often a thing is looked at before it is done.
    """

    def __init__(self, client: Callable[[str], Any], region: str, looks: int = 1) -> None:
        """Begin with no cluster."""
        self.wire = RestJson("eks")
        self.clusters: dict[str, Cluster] = {}
        self.looks = looks
        self.failures: dict[str, tuple[str, str]] = {}
        """What fails the next time it is made or changed: "nodegroup comanda-database" to an issue's code and words."""
        self.insights: list[Json] = []
        self._client = client
        self._region = region
        self._lock = threading.RLock()

    def call(self, operation: str, parameters: Json) -> Json:
        """Carry out one operation of EKS.

        Raises:
            Refusal: as EKS would.
        """
        handler = getattr(self, _snake(operation), None)
        if handler is None:
            raise Refusal("InvalidRequestException", f"the test bed has no {operation}")
        with self._lock:
            result: Json = copy.deepcopy(handler(**{_snake(name): value for name, value in parameters.items()}))
            return result

    # Clusters

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
            "createdAt": _now(),
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
            cluster, f"cluster {name}", lambda: self._cluster_ready(cluster), lambda: _fail(cluster, "CREATE_FAILED")
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
        now = _minor(cluster.body["version"])
        if _minor(version) != now + 1:
            raise Refusal(
                "InvalidParameterException", f"Unsupported Kubernetes minor version update from 1.{now} to {version}"
            )
        if any(now - _minor(group.body["version"]) >= 3 for group in cluster.groups.values()):
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

    # Node groups

    def create_nodegroup(
        self, cluster_name: str, nodegroup_name: str, subnets: list[str], node_role: str, **more: Any
    ) -> Json:
        cluster = self._active(cluster_name)
        if nodegroup_name in cluster.groups:
            raise Refusal("ResourceInUseException", f"NodeGroup already exists with name {nodegroup_name}", 409)
        self._role(node_role, "ec2.amazonaws.com")
        known = {each["SubnetId"] for each in self._client("ec2").describe_subnets()["Subnets"]}
        if unknown := set(subnets) - known:
            raise Refusal("InvalidParameterException", f"Subnets are not tagged or do not exist: {sorted(unknown)}")
        template = more.get("launch_template")
        if template and (more.get("disk_size") or more.get("remote_access")):
            raise Refusal("InvalidParameterException", "Disk size and remote access go into the launch template")
        scaling = more.get("scaling_config") or {"minSize": 1, "maxSize": 2, "desiredSize": 2}
        _check_scaling(scaling)
        if template:
            template = self._template(template)
        body: Json = {
            "nodegroupName": nodegroup_name,
            "nodegroupArn": self._arn(f"nodegroup/{cluster_name}/{nodegroup_name}/{uuid4()}"),
            "clusterName": cluster_name,
            "version": more.get("version") or cluster.body["version"],
            "releaseVersion": more.get("release_version") or _release(more.get("version") or cluster.body["version"]),
            "createdAt": _now(),
            "modifiedAt": _now(),
            "status": "CREATING",
            "capacityType": more.get("capacity_type") or "ON_DEMAND",
            "scalingConfig": scaling,
            "instanceTypes": more.get("instance_types") or ["t3.medium"],
            "subnets": subnets,
            "amiType": more.get("ami_type") or "AL2023_x86_64_STANDARD",
            "nodeRole": node_role,
            "labels": more.get("labels") or {},
            "taints": more.get("taints") or [],
            "health": {"issues": []},
            "updateConfig": more.get("update_config") or {"maxUnavailable": 1},
            "tags": more.get("tags") or {},
        }
        if template:
            body["launchTemplate"] = template
        group = Thing(body)
        cluster.groups[nodegroup_name] = group
        what = f"nodegroup {nodegroup_name}"
        self._later(group, what, lambda: self._group_ready(group), lambda: _fail(group, "CREATE_FAILED"))
        return {"nodegroup": body}

    def _group_ready(self, group: Thing) -> None:
        body = group.body
        name = f"eks-{body['nodegroupName']}-{uuid4()}"
        marks = {
            "eks:cluster-name": body["clusterName"],
            "eks:nodegroup-name": body["nodegroupName"],
            "k8s.io/cluster-autoscaler/enabled": "true",
            f"k8s.io/cluster-autoscaler/{body['clusterName']}": "owned",
        }
        template = body.get("launchTemplate")
        if template is None:
            made = self._client("ec2").create_launch_template(
                LaunchTemplateName=name, LaunchTemplateData={"InstanceType": body["instanceTypes"][0]}
            )["LaunchTemplate"]
            template = {"id": made["LaunchTemplateId"], "version": "1"}
        scaling = body["scalingConfig"]
        self._client("autoscaling").create_auto_scaling_group(
            AutoScalingGroupName=name,
            MinSize=scaling["minSize"],
            MaxSize=scaling["maxSize"],
            DesiredCapacity=scaling["desiredSize"],
            VPCZoneIdentifier=",".join(body["subnets"]),
            MixedInstancesPolicy={
                "LaunchTemplate": {
                    "LaunchTemplateSpecification": {"LaunchTemplateId": template["id"], "Version": template["version"]},
                    "Overrides": [{"InstanceType": each} for each in body["instanceTypes"]],
                }
            },
            Tags=[{"Key": key, "Value": marks[key], "PropagateAtLaunch": True} for key in marks],
        )
        body["resources"] = {"autoScalingGroups": [{"name": name}]}
        body["status"] = "ACTIVE"

    def describe_nodegroup(self, cluster_name: str, nodegroup_name: str) -> Json:
        self._group(cluster_name, nodegroup_name).turn()
        return {"nodegroup": self._group(cluster_name, nodegroup_name).body}

    def list_nodegroups(self, cluster_name: str, **_: Any) -> Json:
        return {"nodegroups": sorted(self._cluster(cluster_name).groups)}

    def delete_nodegroup(self, cluster_name: str, nodegroup_name: str) -> Json:
        group = self._group(cluster_name, nodegroup_name)
        group.body["status"] = "DELETING"

        def gone() -> None:
            for each in group.body.get("resources", {}).get("autoScalingGroups", []):
                self._delete_scaling_group(each["name"])
            self.clusters[cluster_name].groups.pop(nodegroup_name)

        self._later(group, "", gone)
        return {"nodegroup": group.body}

    def _delete_scaling_group(self, name: str) -> None:
        """Delete it with its instances, and their network interfaces, which moto leaves behind."""
        scaling, ec2 = self._client("autoscaling"), self._client("ec2")
        found = scaling.describe_auto_scaling_groups(AutoScalingGroupNames=[name])["AutoScalingGroups"]
        instances = [instance["InstanceId"] for each in found for instance in each["Instances"]]
        filters = [{"Name": "attachment.instance-id", "Values": instances}]
        interfaces = ec2.describe_network_interfaces(Filters=filters)["NetworkInterfaces"] if instances else []
        scaling.delete_auto_scaling_group(AutoScalingGroupName=name, ForceDelete=True)
        for each in interfaces:
            if each.get("Attachment", {}).get("InstanceId") in instances:
                ec2.delete_network_interface(NetworkInterfaceId=each["NetworkInterfaceId"])

    def update_nodegroup_config(self, cluster_name: str, nodegroup_name: str, **changes: Any) -> Json:
        cluster, group = self._cluster(cluster_name), self._active_group(cluster_name, nodegroup_name)
        scaling = {**group.body["scalingConfig"], **(changes.get("scaling_config") or {})}
        _check_scaling(scaling)

        def change() -> None:
            group.body["scalingConfig"] = scaling
            if changes.get("update_config"):
                group.body["updateConfig"] = changes["update_config"]
            labels = changes.get("labels") or {}
            group.body["labels"].update(labels.get("addOrUpdateLabels") or {})
            for label in labels.get("removeLabels") or []:
                group.body["labels"].pop(label, None)
            for each in group.body["resources"]["autoScalingGroups"]:
                self._client("autoscaling").update_auto_scaling_group(
                    AutoScalingGroupName=each["name"],
                    MinSize=scaling["minSize"],
                    MaxSize=scaling["maxSize"],
                    DesiredCapacity=scaling["desiredSize"],
                )

        return {"update": self._update(cluster, group, "ConfigUpdate", change, f"nodegroup {nodegroup_name}")}

    def update_nodegroup_version(self, cluster_name: str, nodegroup_name: str, **changes: Any) -> Json:
        cluster, group = self._cluster(cluster_name), self._active_group(cluster_name, nodegroup_name)
        version = changes.get("version") or group.body["version"]
        if _minor(version) > _minor(cluster.body["version"]):
            raise Refusal("InvalidParameterException", "Nodegroup version is newer than the cluster's")
        template = changes.get("launch_template")
        if template:
            template = self._template(template)

        def change() -> None:
            group.body["version"] = version
            group.body["releaseVersion"] = changes.get("release_version") or _release(version)
            if template:
                group.body["launchTemplate"] = template

        return {"update": self._update(cluster, group, "VersionUpdate", change, f"nodegroup {nodegroup_name}")}

    # Add-ons

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
            "createdAt": _now(),
            "modifiedAt": _now(),
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
                cluster_name, namespace="kube-system", **{_snake(k): v for k, v in each.items()}
            )
            body.setdefault("podIdentityAssociations", []).append(made["association"]["associationArn"])
        self._later(
            addon, f"addon {addon_name}", lambda: body.update(status=ready), lambda: _fail(addon, "CREATE_FAILED")
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
            "createdAt": _now(),
            "modifiedAt": _now(),
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
        found = {"policyArn": policy_arn, "accessScope": access_scope, "associatedAt": _now(), "modifiedAt": _now()}
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
            "createdAt": _now(),
            "modifiedAt": _now(),
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

    # Tags

    def tag_resource(self, resource_arn: str, tags: dict[str, str]) -> Json:
        self._tagged(resource_arn)["tags"].update(tags)
        return {}

    def untag_resource(self, resource_arn: str, tag_keys: list[str]) -> Json:
        for key in tag_keys:
            self._tagged(resource_arn)["tags"].pop(key, None)
        return {}

    def list_tags_for_resource(self, resource_arn: str) -> Json:
        return {"tags": self._tagged(resource_arn)["tags"]}

    # What they share

    def _later(self, thing: Thing, what: str, then: Callable[[], None], fail: Callable[[], None] | None = None) -> None:
        issue = self.failures.pop(what, None)
        if issue and fail:
            code, words = issue

            def failed() -> None:
                fail()
                thing.body["health"] = {"issues": [_issue(thing, code, words)]}

            thing.looks, thing.then = self.looks, failed
        else:
            thing.looks, thing.then = self.looks, then

    def _update(
        self, cluster: Cluster, thing: Thing, kind: str, change: Callable[[], Any], what: str, *, mark: bool = True
    ) -> Json:
        update: Json = {
            "id": str(uuid4()),
            "status": "InProgress",
            "type": kind,
            "params": [],
            "createdAt": _now(),
            "errors": [],
        }
        cluster.updates[update["id"]] = Thing(update)
        issue = self.failures.pop(what, None)
        if mark:
            thing.body["status"] = "UPDATING"

        def ended() -> None:
            if mark:
                thing.body["status"] = "ACTIVE"
            if issue:
                update["status"] = "Failed"
                update["errors"] = [{"errorCode": issue[0], "errorMessage": issue[1], "resourceIds": []}]
                if not mark:
                    thing.body["status"] = "UPDATE_FAILED"
            else:
                change()
                update["status"] = "Successful"

        thing.looks, thing.then = self.looks, ended
        return update

    def _public(self, cluster: Cluster) -> Json:
        return {key: value for key, value in cluster.body.items() if key != "clientRequestToken"}

    def _cluster(self, name: str) -> Cluster:
        if name not in self.clusters:
            raise Refusal("ResourceNotFoundException", f"No cluster found for name: {name}.", 404)
        return self.clusters[name]

    def _active(self, name: str) -> Cluster:
        cluster = self._cluster(name)
        if cluster.body["status"] != "ACTIVE":
            raise Refusal("ResourceInUseException", f"Cluster is {cluster.body['status']}", 409)
        return cluster

    def _group(self, cluster: str, name: str) -> Thing:
        if name not in self._cluster(cluster).groups:
            raise Refusal("ResourceNotFoundException", f"No node group found for name: {name}.", 404)
        return self.clusters[cluster].groups[name]

    def _active_group(self, cluster: str, name: str) -> Thing:
        group = self._group(cluster, name)
        if group.body["status"] not in {"ACTIVE", "DEGRADED"}:
            raise Refusal("ResourceInUseException", f"Nodegroup is {group.body['status']}", 409)
        return group

    def _addon(self, cluster: str, name: str) -> Thing:
        if name not in self._cluster(cluster).addons:
            raise Refusal("ResourceNotFoundException", f"No addon: {name} found in cluster: {cluster}", 404)
        return self.clusters[cluster].addons[name]

    def _entry(self, cluster: str, principal: str) -> Json:
        if principal not in self._cluster(cluster).access:
            raise Refusal("ResourceNotFoundException", "The specified principalArn could not be found", 404)
        return self.clusters[cluster].access[principal]

    def _identity(self, cluster: str, association: str) -> Json:
        if association not in self._cluster(cluster).identities:
            raise Refusal("ResourceNotFoundException", f"No association found for ID: {association}", 404)
        found: Json = self.clusters[cluster].identities[association]
        return found

    def _tagged(self, arn: str) -> Json:
        for cluster in self.clusters.values():
            things = itertools.chain(
                [cluster.body],
                (each.body for each in cluster.groups.values()),
                (each.body for each in cluster.addons.values()),
                cluster.access.values(),
                cluster.identities.values(),
            )
            for body in things:
                if arn in body.values():
                    return body
        raise Refusal("NotFoundException", f"no resource {arn}", 404)

    def _role(self, arn: str, service: str) -> None:
        name = arn.rsplit("/", maxsplit=1)[-1]
        try:
            role = self._client("iam").get_role(RoleName=name)["Role"]
        except ClientError as error:
            raise Refusal(
                "InvalidParameterException", f"Role with arn: {arn} could not be assumed because it does not exist"
            ) from error
        if service not in str(role["AssumeRolePolicyDocument"]):
            raise Refusal("InvalidParameterException", f"Role with arn: {arn} does not trust {service}")

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

    def _template(self, asked: Json) -> Json:
        key = {"LaunchTemplateId": asked["id"]} if asked.get("id") else {"LaunchTemplateName": asked["name"]}
        version = asked.get("version") or "$Default"
        found = self._client("ec2").describe_launch_template_versions(**key, Versions=[version])[
            "LaunchTemplateVersions"
        ]
        if not found:
            raise Refusal("InvalidParameterException", f"Launch template version {version} does not exist")
        template = found[0]
        return {
            "id": template["LaunchTemplateId"],
            "name": template["LaunchTemplateName"],
            "version": str(template["VersionNumber"]),
        }

    def _fits(self, cluster: Cluster, addon: str, version: str) -> None:
        if version not in addon_versions(addon, cluster.body["version"]):
            words = (
                f"Addon version {version} specified is not supported in {cluster.body['version']} kubernetes version"
            )
            raise Refusal("InvalidParameterException", words)

    def _arn(self, what: str) -> str:
        return f"arn:aws:eks:{self._region}:{ACCOUNT}:{what}"


def _snake(name: str) -> str:
    return "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in name).lstrip("_")


def _minor(version: str) -> int:
    return int(version.split(".")[1])


def _release(version: str) -> str:
    return f"{version}.4-20261101"


def _check_scaling(scaling: Json) -> None:
    if not scaling["minSize"] <= scaling["desiredSize"] <= scaling["maxSize"]:
        raise Refusal("InvalidParameterException", "desiredSize must lie between minSize and maxSize")


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


def _fail(thing: Thing, status: str) -> None:
    thing.body["status"] = (
        {"CREATE_FAILED": "FAILED"}.get(status, status) if "platformVersion" in thing.body else status
    )


def _issue(thing: Thing, code: str, words: str) -> Json:
    return {"code": code, "message": words, "resourceIds": [thing.body.get("nodegroupName", "")]}
