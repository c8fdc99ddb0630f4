"""What the tests of the backups may ask for."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.backups.scene import Scene


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    """A cluster with a database and no backup."""
    opened = Scene(tmp_path)
    yield opened
    opened.server.close()
