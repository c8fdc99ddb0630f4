"""A fault in an object of a kind that Kubernetes has from others would be found before a cluster sees it."""

from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

from tests.manifests import custom_kinds
from tests.manifests.crds import fetch

NEWEST = "1.36"
SECRET: dict[str, Any] = {
    "apiVersion": "external-secrets.io/v1",
    "kind": "ExternalSecret",
    "metadata": {"name": "x", "namespace": "comanda", "labels": {"app": "x"}},
    "spec": {
        "secretStoreRef": {"kind": "SecretStore", "name": "aws"},
        "target": {"name": "x", "creationPolicy": "Owner"},
        "data": [{"secretKey": "A", "remoteRef": {"key": "comanda/x", "property": "A"}}],
    },
}
CLUSTER: dict[str, Any] = {
    "apiVersion": "postgresql.cnpg.io/v1",
    "kind": "Cluster",
    "metadata": {"name": "x", "namespace": "comanda-db"},
    "spec": {
        "instances": 3,
        "minSyncReplicas": 1,
        "storage": {"size": "20Gi"},
        "resources": {"requests": {"cpu": 1, "memory": "1Gi"}},
        "postgresql": {"parameters": {"max_connections": "170"}},
    },
}
CLASS: dict[str, Any] = {
    "apiVersion": "snapshot.storage.k8s.io/v1",
    "kind": "VolumeSnapshotClass",
    "metadata": {"name": "x"},
    "driver": "ebs.csi.aws.com",
    "deletionPolicy": "Retain",
    "parameters": {"anything": "goes"},
}


def changed(body: dict[str, Any], path: str, value: object) -> dict[str, Any]:
    """Answer an object with one field set, or taken away for None."""
    *parents, last = path.split(".")
    copy = at = deepcopy(body)
    for name in parents:
        at = at[int(name)] if isinstance(at, list) else at[name]
    if value is None:
        del at[last]
    else:
        at[last] = value
    return copy


@pytest.mark.parametrize("body", [SECRET, CLUSTER, CLASS], ids=lambda body: body["kind"])
def test_what_is_right_is_taken(body: dict[str, Any]) -> None:
    assert custom_kinds.problems(body, NEWEST) == []


@pytest.mark.parametrize(
    ("body", "path", "value", "said"),
    [
        (SECRET, "spec.refreshIntervall", "1m", "refreshIntervall"),
        (SECRET, "spec.data.0.remoteRef.propertyName", "A", "propertyName"),
        (SECRET, "spec.data.0.secretKey", None, "secretKey"),
        (SECRET, "spec.data.0.secretKey", "with space", "does not match"),
        (SECRET, "spec.target.creationPolicy", "Mine", "'Mine' is not one of"),
        (SECRET, "spec.target.deletionPolicy", 7, "7 is not"),
        (SECRET, "status", {}, "status"),
        (SECRET, "metadata.lables", {}, "lables"),
        (SECRET, "metadata.namespace", None, "namespace"),
        (CLUSTER, "spec.storage.sise", "1Gi", "sise"),
        (CLUSTER, "spec.instances", 0, "minimum"),
        (CLUSTER, "spec.instances", "3", "is not of type"),
        (CLUSTER, "spec.resources.requests.cpu", "much", "does not match"),
        (CLUSTER, "spec.postgresql.parameters.max_connections", 170, "is not of type"),
        (CLASS, "deletionPolicy", "Keep", "'Keep' is not one of"),
        (CLASS, "driver", None, "driver"),
        (CLASS, "metadata.namespace", "comanda", "cluster-wide"),
    ],
)
def test_what_is_wrong_is_found(body: dict[str, Any], path: str, value: object, said: str) -> None:
    found = custom_kinds.problems(changed(body, path, value), NEWEST)
    assert any(said in each for each in found), found


def test_what_stands_twice_in_a_map_is_found() -> None:
    keys = {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]}
    schema = custom_kinds.strict({"type": "array", "items": {"type": "object", "properties": {"name": {}}}, **keys})
    assert list(custom_kinds.validator(schema).iter_errors([{"name": "a"}, {"name": "a"}]))
    assert not list(custom_kinds.validator(schema).iter_errors([{"name": "a"}, {"name": "b"}]))


def test_each_schema_is_of_the_version_that_is_pinned() -> None:
    pinned = {(kind, f"{each.module}@{each.version}", each.licence) for each in fetch.SOURCES for kind in each.kinds}
    assert {(each["kind"], each["source"], each["licence"]) for each in custom_kinds.known().values()} == pinned


def test_where_the_schemas_are_from_is_told() -> None:
    told = (Path(fetch.__file__).parent / "README.md").read_text(encoding="utf-8")
    for each in fetch.SOURCES:
        assert f"| `{each.module}` | {each.version} | {each.licence} | {', '.join(each.kinds)} |" in told


@pytest.mark.go
def test_the_schemas_are_as_they_were_published() -> None:
    """From Go's module proxy, which `make test` does without."""
    assert [path.name for path, text in fetch.schemas() if path.read_text(encoding="utf-8") != text] == []
