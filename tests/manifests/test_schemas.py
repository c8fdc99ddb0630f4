"""Each manifest is what Kubernetes knows, field by field, in every version that the tool may create."""

import re
from collections import Counter
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from tests.manifests import custom_kinds
from tests.manifests.reading import (
    CLONE,
    OVERLAYS,
    VOLUME,
    WITH_VOLUME,
    Document,
    everything,
    files,
    files_of,
    overlays,
    read,
)

VERSIONS = ("1.35", "1.36")


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("document", everything(), ids=str)
def test_it_is_valid_to_the_last_field(document: Document, version: str) -> None:
    """A kind that neither Kubernetes nor `crds/` has is refused as well."""
    if (document.body["apiVersion"], document.kind) in custom_kinds.known():
        assert custom_kinds.problems(document.body, version) == []
    else:
        kubernetes_validate.validate(document.body, version, strict=True)


def test_a_field_that_kubernetes_does_not_know_would_be_found() -> None:
    body: dict[str, Any] = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "x"}, "spec": {"port": 1}}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(body, VERSIONS[-1], strict=True)


def test_a_key_that_stands_twice_would_be_found(tmp_path: Path) -> None:
    file = tmp_path / "twice.yaml"
    file.write_text("metadata: {name: a, labels: {x: y}, name: b}\n", encoding="utf-8")
    with pytest.raises(yaml.YAMLError, match="name"):
        read(file)


def test_every_file_is_in_the_runbook_exactly_once() -> None:
    told = (CLONE / "docs" / "runbook.md").read_text(encoding="utf-8").split()
    for file in files():
        assert told.count(str(file.relative_to(CLONE))) == 1, file


@pytest.mark.parametrize("overlay", overlays())
def test_an_overlay_is_told_of_exactly_once(overlay: str) -> None:
    """File by file or as a whole, in the runbook or on the page that the overlay has for itself."""
    told = "\n".join(page.read_text(encoding="utf-8") for page in sorted((CLONE / "docs").glob("*.md")))
    by_file = Counter(re.findall(r"kubectl apply -f (infra/overlays/[^\s`]+)", told))
    as_a_whole = Counter(re.findall(r"kubectl (?:apply -k|kustomize [^|`]*?) ?(infra/overlays/[^\s`]+)", told))
    if overlay == VOLUME:
        overlay = WITH_VOLUME  # by which it is applied
    each = {by_file[str(file.relative_to(CLONE))] for file in files_of(overlay)} or {0}
    assert each == {1} or (each == {0} and as_a_whole[str((OVERLAYS / overlay).relative_to(CLONE))] == 1)


def test_the_runbook_applies_them_in_their_order() -> None:
    ours = [str(file.relative_to(CLONE)) for file in files()]
    told = [each for each in (CLONE / "docs" / "runbook.md").read_text(encoding="utf-8").split() if each in ours]
    assert told == ours
