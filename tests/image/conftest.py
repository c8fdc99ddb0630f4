"""The one build that all tests of the image look at."""

from collections.abc import Iterator

import pytest

from tests.image.building import Updated, updated_in


@pytest.fixture(scope="session")
def updated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Updated]:
    """Answer what became of two updates in a clone."""
    with updated_in(tmp_path_factory.mktemp("image")) as found:
        yield found
