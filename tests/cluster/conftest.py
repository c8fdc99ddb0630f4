"""Which of the tests on the cluster run here: those whose parts are built. The others are named and counted."""

from typing import Any

import pytest

from tests.cluster.cache import missing
from tests.cluster.parts import named

NOT_RUN = pytest.StashKey[dict[str, list[str]]]()


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what needs a part that is not built, as where time was too short to build all of them.

    What the cluster does not start without is not left out: its tests fail then.
    """
    left: dict[str, list[str]] = {}
    run: list[pytest.Item] = []
    for item in items:
        parts = [name for marker in item.iter_markers("needs") for name in marker.args]
        if lacking := missing(map(named, parts)):
            left.setdefault(", ".join(part.name for part in lacking), []).append(item.nodeid)
        else:
            run.append(item)
    if left:
        config.hook.pytest_deselected(items=[item for item in items if item not in run])
        items[:] = run
    config.stash[NOT_RUN] = left
    if hasattr(config, "workeroutput"):  # of pytest-xdist: who collects is not who sums up
        config.workeroutput["not run"] = left


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Take over what a test process has left out; each of them leaves out the same."""
    if hasattr(node, "workeroutput"):  # one that was killed has none
        node.config.stash[NOT_RUN] = node.workeroutput.get("not run", {})


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Name them."""
    left = config.stash.get(NOT_RUN, {})
    if not left:
        return
    count = sum(len(tests) for tests in left.values())
    terminalreporter.section(f"{count} tests not run: their parts of the cluster are not built")
    for parts, tests in left.items():
        terminalreporter.line(f"{parts}: {len(tests)} tests")
        for test in tests:
            terminalreporter.line(f"  {test}")
