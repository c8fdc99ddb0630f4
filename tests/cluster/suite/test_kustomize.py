"""What `kubectl apply -k` would apply of an overlay is what `kubectl apply -f` applies of its files."""

import pytest
import yaml

from tests.cluster.objects import Json, Kubectl
from tests.manifests.reading import OVERLAYS, documents_of, overlays

pytestmark = pytest.mark.cluster


def named(body: Json) -> tuple[str, str, str]:
    return body["kind"], body["metadata"].get("namespace", ""), body["metadata"]["name"]


@pytest.mark.parametrize("overlay", overlays())
def test_kustomize_changes_nothing(kube: Kubectl, overlay: str) -> None:
    made = list(yaml.safe_load_all(kube("kustomize", str(OVERLAYS / overlay))))
    ours = [each.body for each in documents_of(overlay)]
    assert sorted(made, key=named) == sorted(ours, key=named)
