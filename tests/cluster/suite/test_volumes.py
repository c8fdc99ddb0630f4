"""Volumes as EBS gives them: in their zone, of their size, growing, full, copied and restored, and kept by name."""

from typing import Any

import boto3
import pytest

from tests.cluster.layout import NODES
from tests.cluster.machine import Failed
from tests.cluster.objects import Json
from tests.cluster.suite.kube import Space, facts, pod, service, until

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.needs("external-snapshotter", "external-provisioner", "external-resizer"),
]
ZONES = {node.name: node.zone for node in NODES}
MIB = 1 << 20


@pytest.fixture
def disks(space: Space) -> Space:
    """A namespace, and the kinds of storage that the tests of it use."""
    kinds: list[Json] = [
        {
            "apiVersion": "storage.k8s.io/v1",
            "kind": "StorageClass",
            "metadata": {"name": "test-gp3"},
            "provisioner": "ebs.csi.aws.com",
            "parameters": {"type": "gp3", "encrypted": "true", "tagSpecification_1": "Project=comanda"},
            "reclaimPolicy": "Delete",
            "allowVolumeExpansion": True,
            "volumeBindingMode": "WaitForFirstConsumer",
        },
        {
            "apiVersion": "snapshot.storage.k8s.io/v1",
            "kind": "VolumeSnapshotClass",
            "metadata": {"name": "test-copies"},
            "driver": "ebs.csi.aws.com",
            "deletionPolicy": "Delete",
            "parameters": {"tagSpecification_1": "Project=comanda"},
        },
    ]
    space.kube.apply(kinds)
    return space


def claim(name: str, size: str = "1Gi", mode: str = "ReadWriteOncePod", **more: Any) -> Json:
    spec = {
        "storageClassName": "test-gp3",
        "accessModes": [mode],
        "resources": {"requests": {"storage": size}},
        **more,
    }
    return {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": name}, "spec": spec}


def user(space: Space, name: str, of: str, **more: Any) -> Json:
    """Answer a pod with a claim at /data, which it may write to as its group."""
    spec = pod(
        space,
        container={"volumeMounts": [{"name": "data", "mountPath": "/data"}]},
        volumes=[{"name": "data", "persistentVolumeClaim": {"claimName": of}}],
        securityContext={"fsGroup": 20001},
        **more,
    )
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec}


def ec2() -> Any:
    make: Any = boto3.Session("AKIATESTBEDADMIN0000", "of-the-test-bed", region_name="sa-east-1").client
    return make("ec2", endpoint_url=facts()["aws"])


def volume_of(space: Space, name: str) -> Json:
    found: Json = space.kube.get("persistentvolume", space.get("pvc", name)["spec"]["volumeName"])
    return found


def test_a_volume_stands_in_the_zone_of_its_pod_and_in_ec2_with_its_tags(disks: Space) -> None:
    zone = NODES[2].zone
    disks.apply(claim("data"), user(disks, "one", "data", nodeSelector={"topology.kubernetes.io/zone": zone}))
    disks.wait("pod/one", "condition=Ready")
    made = volume_of(disks, "data")
    terms = made["spec"]["nodeAffinity"]["required"]["nodeSelectorTerms"]
    assert zone in str(terms)
    (volume,) = ec2().describe_volumes(VolumeIds=[made["spec"]["csi"]["volumeHandle"]])["Volumes"]
    tags = {tag["Key"]: tag["Value"] for tag in volume["Tags"]}
    assert volume["AvailabilityZone"] == zone
    assert volume["Size"] == 1
    assert tags["Project"] == "comanda"
    assert tags["ebs.csi.aws.com/cluster"] == "true"
    assert tags["kubernetes.io/created-for/pvc/name"] == "data"
    disks("delete", "pod/one", "pvc/data")
    until("the volume is gone in EC2 too", lambda: not _exists(volume["VolumeId"]))


def _exists(volume: str) -> bool:
    return bool(ec2().describe_volumes(Filters=[{"Name": "volume-id", "Values": [volume]}])["Volumes"])


def test_a_disk_is_as_large_as_it_says_and_grows(disks: Space) -> None:
    """Linux lets an ext4 grow while it is mounted only with CAP_SYS_RESOURCE; without it, at its next mount."""
    disks.apply(claim("data"), user(disks, "one", "data"))
    disks.wait("pod/one", "condition=Ready")
    with disks.at("pod/one") as call:
        said = call("/fill?path=/data/full&mib=4096", body="")
    assert "no space left on device" in said
    took = int(said.split("after ")[1].split(" ")[0])
    assert 850 < took < 1024
    grow = '--patch={"spec": {"resources": {"requests": {"storage": "2Gi"}}}}'
    disks("patch", "pvc", "data", "--type=merge", grow)
    until("the disk itself", lambda: volume_of(disks, "data")["spec"]["capacity"]["storage"] == "2Gi", 120)
    disks("delete", "pod", "one")
    disks.apply(user(disks, "one", "data"))
    disks.wait("pod/one", "condition=Ready", 120)
    until("its file system", lambda: disks.get("pvc", "data")["status"]["capacity"]["storage"] == "2Gi", 120)
    with disks.at("pod/one") as call:
        assert call("/fill?path=/data/more&mib=700", body="") == "written"


def test_what_is_on_a_disk_is_counted(disks: Space) -> None:
    disks.apply(claim("data"), user(disks, "one", "data"))
    disks.wait("pod/one", "condition=Ready")
    with disks.at("pod/one") as call:
        assert call("/fill?path=/data/some&mib=300", body="") == "written"

    def used() -> bool:
        stats = disks.kube("get", "--raw", f"/api/v1/nodes/{disks.node_of('one')}/proxy/metrics")
        lines = [line for line in stats.splitlines() if line.startswith("kubelet_volume_stats_used_bytes")]
        return any(f'namespace="{disks.name}"' in line and float(line.split()[-1]) > 300 * MIB for line in lines)

    until("kubelet says 300 MiB", used, 120)


def test_one_pod_alone_has_a_disk(disks: Space) -> None:
    disks.apply(claim("data"), user(disks, "one", "data"))
    disks.wait("pod/one", "condition=Ready")
    disks.apply(user(disks, "two", "data"))
    disks.wait("pod/two", "condition=PodScheduled=False")
    disks("delete", "pod", "one")
    disks.wait("pod/two", "condition=Ready")


def test_a_snapshot_restores_what_was_there_then(disks: Space) -> None:
    disks.apply(claim("data"), user(disks, "one", "data"))
    disks.wait("pod/one", "condition=Ready")
    with disks.at("pod/one") as call:
        assert call("/file?path=/data/order", body="before") == "written"
    disks.apply(
        {
            "apiVersion": "snapshot.storage.k8s.io/v1",
            "kind": "VolumeSnapshot",
            "metadata": {"name": "copy"},
            "spec": {"volumeSnapshotClassName": "test-copies", "source": {"persistentVolumeClaimName": "data"}},
        }
    )
    disks.wait("volumesnapshot/copy", "jsonpath={.status.readyToUse}=true")
    with disks.at("pod/one") as call:
        assert call("/file?path=/data/order", body="after") == "written"
    source = {"apiGroup": "snapshot.storage.k8s.io", "kind": "VolumeSnapshot", "name": "copy"}
    disks.apply(claim("restored", dataSource=source), user(disks, "two", "restored"))
    disks.wait("pod/two", "condition=Ready")
    with disks.at("pod/two") as call:
        assert call("/file?path=/data/order") == "before"
    with disks.at("pod/one") as call:
        assert call("/file?path=/data/order") == "after"


def test_a_stateful_set_s_pod_has_its_name_and_data_again_and_never_leaves_its_zone(disks: Space) -> None:
    template = claim("data")
    spec = pod(
        disks,
        container={"volumeMounts": [{"name": "data", "mountPath": "/data"}]},
        securityContext={"fsGroup": 20001},
    )
    disks.apply(
        service("db", headless=True),
        {
            "apiVersion": "apps/v1",
            "kind": "StatefulSet",
            "metadata": {"name": "db"},
            "spec": {
                "serviceName": "db",
                "replicas": 1,
                "selector": {"matchLabels": {"app": "db"}},
                "template": {"metadata": {"labels": {"app": "db"}}, "spec": spec},
                "volumeClaimTemplates": [template],
            },
        },
    )
    disks.rolled_out("statefulset/db")
    zone = ZONES[disks.node_of("db-0")]
    with disks.at("pod/db-0") as call:
        assert call("/file?path=/data/order", body="kept") == "written"
    inside = [node.name for node in NODES if node.zone == zone]
    try:
        disks.kube("cordon", *inside)
        disks("delete", "pod", "db-0")
        disks.wait("pod/db-0", "condition=PodScheduled=False")
    finally:
        disks.kube("uncordon", *inside)
    disks.wait("pod/db-0", "condition=Ready")
    assert ZONES[disks.node_of("db-0")] == zone
    with disks.at("pod/db-0") as call:
        assert call("/file?path=/data/order") == "kept"


def test_a_claim_cannot_shrink(disks: Space) -> None:
    disks.apply(claim("data", "2Gi"), user(disks, "one", "data"))
    disks.wait("pod/one", "condition=Ready")
    with pytest.raises(Failed, match=r"can not be less than status\.capacity"):
        disks(
            "patch", "pvc", "data", "--type=merge", '--patch={"spec": {"resources": {"requests": {"storage": "1Gi"}}}}'
        )
