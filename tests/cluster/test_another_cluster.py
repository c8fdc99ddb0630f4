"""Tests touch no cluster that somebody uses: another than their own only where that was said of it."""

from pathlib import Path

import pytest

from tests.cluster.objects import MARKER
from tests.cluster.suite.kube import GIVEN, kubectl


@pytest.mark.parametrize("there", ["", "configmap/something-else"])
def test_a_cluster_that_is_not_marked_is_refused(there: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _kubectl_that_says(there, tmp_path, monkeypatch)
    with pytest.raises(AssertionError, match="no tests there: make cluster-mark says so"):
        kubectl()


def test_one_that_is_marked_is_taken_and_no_other_than_the_one_that_was_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _kubectl_that_says(f"configmap/{MARKER}", tmp_path, monkeypatch)
    monkeypatch.setenv("KUBECONFIG", "/somebody/s/own")
    kubectl()
    [asked] = (tmp_path / "asked").read_text().splitlines()
    assert asked.startswith(f"--kubeconfig={tmp_path}/named ")


def _kubectl_that_says(answer: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = folder / "bin" / "kubectl"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\necho "$@" >>{folder}/asked\necho {answer}\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:/usr/bin:/bin")
    monkeypatch.setenv(GIVEN, str(folder / "named"))
