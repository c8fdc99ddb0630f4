"""Each manifest is what Kubernetes knows, field by field, in every version that the tool may create."""

from typing import Any

import kubernetes_validate
import pytest

from tests.manifests.reading import CLONE, Document, documents, files

VERSIONS = ("1.35", "1.36")
BUILT_IN = [each for each in documents() if "external-secrets.io" not in each.body["apiVersion"]]


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("document", BUILT_IN, ids=str)
def test_it_is_valid_to_the_last_field(document: Document, version: str) -> None:
    kubernetes_validate.validate(document.body, version, strict=True)


def test_a_field_that_kubernetes_does_not_know_would_be_found() -> None:
    body: dict[str, Any] = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "x"}, "spec": {"port": 1}}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(body, VERSIONS[-1], strict=True)


def test_every_file_is_in_the_runbook_exactly_once() -> None:
    told = (CLONE / "docs" / "runbook.md").read_text(encoding="utf-8").split()
    for file in files():
        assert told.count(str(file.relative_to(CLONE))) == 1, file


def test_the_runbook_applies_them_in_their_order() -> None:
    ours = [str(file.relative_to(CLONE)) for file in files()]
    told = [each for each in (CLONE / "docs" / "runbook.md").read_text(encoding="utf-8").split() if each in ours]
    assert told == ours
