"""What the tests of the charts may ask for: helm, and the charts as their publishers have them."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.charts import real_helm


@pytest.fixture(scope="session")
def helm() -> Path:
    """The real helm. That it cannot be had is said in one line."""
    try:
        return real_helm.helm()
    except real_helm.CannotBeHad as error:
        pytest.fail(str(error), pytrace=False)


@pytest.fixture(scope="session")
def charts(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Path]:
    """The folder of each chart that can be had, by the name of our release of it."""
    try:
        return {name: real_helm.chart(name, tmp_path_factory.mktemp("charts")) for name in real_helm.CHARTS}
    except real_helm.CannotBeHad as error:
        pytest.fail(str(error), pytrace=False)
