"""Node groups: their Auto Scaling groups, launch templates, sizes and versions."""

from typing import Any
from uuid import uuid4

from comanda_testbed.eks.state import Json, State, Thing, fail, now
from comanda_testbed.shapes import Refusal
from comanda_testbed.versions import minor_of


class NodeGroups(State):
    """The operations on node groups, named as in the EKS API reference."""

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
            "createdAt": now(),
            "modifiedAt": now(),
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
            "nodeRepairConfig": more.get("node_repair_config") or {"enabled": False},
            "tags": more.get("tags") or {},
        }
        if template:
            body["launchTemplate"] = template
        group = Thing(body)
        cluster.groups[nodegroup_name] = group
        what = f"nodegroup {nodegroup_name}"
        self._later(group, what, lambda: self._group_ready(group), lambda: fail(group, "CREATE_FAILED"))
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
            if changes.get("node_repair_config"):
                group.body["nodeRepairConfig"] = changes["node_repair_config"]
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
        if minor_of(version) > minor_of(cluster.body["version"]):
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


def _check_scaling(scaling: Json) -> None:
    if not scaling["minSize"] <= scaling["desiredSize"] <= scaling["maxSize"]:
        raise Refusal("InvalidParameterException", "desiredSize must lie between minSize and maxSize")


def _release(version: str) -> str:
    return f"{version}.4-20261101"
