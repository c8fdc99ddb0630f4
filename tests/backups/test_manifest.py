"""The manifest gives the jobs what the code asks for, and nothing more."""

from comanda.backups import drill, snapshots
from comanda.backups.back_up import READY_WITHIN
from comanda.backups.drill import ENDS_WITHIN, GONE_WITHIN
from comanda_deploy import backups as operators
from comanda_deploy.backing_up import DRILL_SECONDS
from tests.manifests.reading import Document, Json, everything, matches, of_kind


def named(kind: str, name: str) -> Document:
    [found] = [each for each in of_kind(kind) if each.name == name]
    return found


def rules(kind: str, name: str) -> set[tuple[str, str, str]]:
    """Answer a role's verbs, resources and names ("" for all)."""
    return {
        (verb, resource, each)
        for rule in named(kind, name).body["rules"]
        for verb in rule["verbs"]
        for resource in rule["resources"]
        for each in rule.get("resourceNames") or [""]
    }


def test_the_class_is_the_one_that_is_asked_for_and_its_tags_are_what_others_look_for() -> None:
    [found] = of_kind("VolumeSnapshotClass")
    assert (found.name, found.body["driver"]) == (snapshots.CLASS, snapshots.DRIVER)
    assert found.body["deletionPolicy"] == "Retain"
    tags = dict(each.split("=", 1) for each in found.body["parameters"].values())
    assert tags["Project"] == "comanda", "inventory and destroy"
    assert tags["comanda/backup"] == "database", "db-restore without a cluster"
    assert tags["Name"] == "{{ .VolumeSnapshotNamespace }}/{{ .VolumeSnapshotName }}"
    others = [each for each in everything() if each.kind == found.kind and each != found]
    assert found.name not in {each.name for each in others}


def test_the_operator_s_verbs_mean_the_same_backups() -> None:
    assert (operators.SNAPSHOT_CLASS, operators.CLAIM) == (snapshots.CLASS, snapshots.CLAIM)
    assert operators.LABEL in snapshots.LABELS.items()
    claims = named("StatefulSet", "database").body["spec"]["volumeClaimTemplates"]
    assert [f"{each['metadata']['name']}-database-0" for each in claims] == [snapshots.CLAIM]


def test_the_drill_s_disk_is_as_the_database_s_but_goes_with_its_claim() -> None:
    ours, theirs = (named("StorageClass", name).body for name in ("comanda-database-drill", "comanda-database"))
    for field in ("provisioner", "parameters", "volumeBindingMode", "mountOptions"):
        assert ours[field] == theirs[field]
    assert (ours["reclaimPolicy"], theirs["reclaimPolicy"]) == ("Delete", "Retain")


def test_the_drill_s_server_is_the_database_s_and_reached_by_nobody() -> None:
    pod = named("PodTemplate", drill.POD).pod
    [ours] = [each for each in pod["spec"]["containers"] if each["name"] == drill.SERVER]
    [theirs] = [
        each for each in named("StatefulSet", "database").pod["spec"]["containers"] if each["name"] == drill.SERVER
    ]
    assert ours["image"] == theirs["image"]
    assert ours["args"][: len(theirs["args"])] == theirs["args"]
    assert "--listen_addresses=" in ours["args"]
    assert "ports" not in ours
    assert not [each for each in ours.get("env") or [] if "PASSWORD" in each["name"]], "it would make a new database"
    where = {each["name"]: each["mountPath"] for each in ours["volumeMounts"]}
    assert where[drill.VOLUME] == {each["name"]: each["mountPath"] for each in theirs["volumeMounts"]}["data"]
    assert "secrets" not in where
    labels = pod["metadata"]["labels"]
    services = [each.body["spec"]["selector"] for each in of_kind("Service") if each.namespace == "comanda-db"]
    assert not [each for each in services if matches(each, labels)], "nobody takes it for the living one"
    policies = [each.body["spec"] for each in of_kind("NetworkPolicy") if each.namespace == "comanda-db"]
    let_in = [each for each in policies if matches(each["podSelector"], labels) and each.get("ingress")]
    assert let_in == []


def test_what_compares_has_the_passwords_of_the_api_s_users_alone() -> None:
    pod = named("PodTemplate", drill.POD).pod
    [secret] = [each["secret"] for each in pod["spec"]["volumes"] if "secret" in each]
    assert {each["key"] for each in secret["items"]} == {"API_A_PASSWORD", "API_B_PASSWORD"}


def test_each_may_what_it_does_and_no_more() -> None:
    assert rules("Role", "database-backup") == {
        ("list", "volumesnapshots", ""),
        ("create", "volumesnapshots", ""),
        ("delete", "volumesnapshots", ""),
        ("get", "persistentvolumeclaims", snapshots.CLAIM),
    }
    assert rules("ClusterRole", "comanda-database-backup") == {
        ("list", "volumesnapshotcontents", ""),
        ("patch", "volumesnapshotcontents", ""),
        ("delete", "volumesnapshotcontents", ""),
    }
    assert rules("Role", "database-drill") == {
        ("list", "volumesnapshots", ""),
        ("get", "persistentvolumeclaims", snapshots.CLAIM),
        ("get", "persistentvolumeclaims", drill.RESTORED_CLAIM),
        ("get", "podtemplates", drill.POD),
        ("get", "pods", ""),
        ("create", "pods", ""),
        ("delete", "pods", drill.POD),
        ("list", "events", ""),
    }
    assert rules("Role", "comanda-operations") == {("patch", "configmaps", "comanda-operations")}
    ours = [each.name for each in of_kind("ClusterRole") if each.file.parent.name == "db"]
    assert ours == ["comanda-database-backup"]


def test_a_job_has_more_time_than_what_it_waits_for() -> None:
    def job(name: str) -> Json:
        spec: Json = named("CronJob", name).body["spec"]["jobTemplate"]["spec"]
        return spec

    assert job("database-backup")["activeDeadlineSeconds"] >= READY_WITHIN.total_seconds() + 120
    assert job("database-backup")["activeDeadlineSeconds"] < 15 * 60, "or the next one would be left out"
    needed = (ENDS_WITHIN + 2 * GONE_WITHIN).total_seconds()
    assert job("database-drill")["activeDeadlineSeconds"] > needed
    # What the operator's verbs wait for is not given up before.
    assert READY_WITHIN.total_seconds() < operators.TAKES_SECONDS
    assert job("database-drill")["activeDeadlineSeconds"] < DRILL_SECONDS
    assert ENDS_WITHIN.total_seconds() < named("PodTemplate", drill.POD).pod["spec"]["activeDeadlineSeconds"]
