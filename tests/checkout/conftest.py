"""What every test of the money paths also asks."""

from collections.abc import Iterator

import pytest

from comanda.worker import HANDLED


def failures() -> float:
    """Answer how many items a loop has ever failed at in this process."""
    return sum(
        sample.value
        for metric in HANDLED.collect()
        for sample in metric.samples
        if sample.name.endswith("_total") and sample.labels["outcome"] == "failed"
    )


@pytest.fixture(autouse=True)
def no_item_failed_unseen() -> Iterator[None]:
    """A loop counts what it fails at and goes on; here that is a bug."""
    before = failures()
    yield
    assert failures() == before
