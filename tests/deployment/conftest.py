"""What the tests of the deployment may ask for."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from comanda_testbed.bed import TestBed, running_testbed
from tests.deployment.account import Account, bootstrapped

IN_AN_ACCOUNT = {"bed", "shared_bed", "standing", "life"}
HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what plays in an emulated account: each builds one, which is minutes in all, and no part of the core."""
    for item in items:
        if HERE in item.path.parents and IN_AN_ACCOUNT & set(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.account)


@pytest.fixture
def bed() -> Iterator[TestBed]:
    """An empty account."""
    with running_testbed() as running:
        yield running


@pytest.fixture(scope="module")
def shared_bed() -> Iterator[TestBed]:
    """One account for a whole module: of it only the lock, the secrets and the snapshots are used."""
    with running_testbed() as running:
        yield running


@pytest.fixture(scope="module")
def clients(shared_bed: TestBed) -> dict[str, Any]:
    """Its clients: making one takes a while, and these are for many clusters."""
    return {name: shared_bed.client(name) for name in ("secretsmanager", "ssm", "sts", "ecr", "ec2")}


@pytest.fixture
def account(bed: TestBed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Account:
    """An account after bootstrap, and its operator."""
    return bootstrapped(bed, tmp_path, monkeypatch.setenv)
