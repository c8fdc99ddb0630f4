"""What the tests of the deployment may ask for."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from comanda_testbed.bed import TestBed, running_testbed
from tests.deployment.account import Account, bootstrapped


@pytest.fixture
def bed() -> Iterator[TestBed]:
    """An empty account."""
    with running_testbed() as running:
        yield running


@pytest.fixture
def account(bed: TestBed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Account:
    """An account after bootstrap, and its operator."""
    return bootstrapped(bed, tmp_path, monkeypatch.setenv)
