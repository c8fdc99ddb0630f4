"""What `kubectl apply -k` would apply of an overlay is what `kubectl apply -f` applies of its files."""

import pytest
import yaml

from tests.cluster.objects import Json, Kubectl
from tests.manifests.reading import OVERLAYS, WITH_VOLUME, documents_of, monitoring_with_volume, plain_overlays

pytestmark = pytest.mark.cluster


def named(body: Json) -> tuple[str, str, str]:
    return body["kind"], body["metadata"].get("namespace", ""), body["metadata"]["name"]


@pytest.mark.parametrize("overlay", plain_overlays())
def test_kustomize_changes_nothing(kube: Kubectl, overlay: str) -> None:
    made = list(yaml.safe_load_all(kube("kustomize", str(OVERLAYS / overlay))))
    ours = [each.body for each in documents_of(overlay)]
    assert sorted(made, key=named) == sorted(ours, key=named)


def test_with_a_disk_for_prometheus_all_else_is_as_without(kube: Kubectl) -> None:
    # Its manifests are not beneath it.
    text = kube("kustomize", "--load-restrictor=LoadRestrictionsNone", str(OVERLAYS / WITH_VOLUME))
    made = list(yaml.safe_load_all(text))
    assert sorted(made, key=named) == sorted(monitoring_with_volume(), key=named)
