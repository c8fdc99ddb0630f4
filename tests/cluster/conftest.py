"""Which of the tests on the cluster run here: those whose parts are built. The others are named and counted."""

import os
import subprocess
import time
from typing import Any

import pytest

from tests.cluster.cache import missing
from tests.cluster.layout import CLONE
from tests.cluster.parts import named

NOT_RUN = pytest.StashKey[dict[str, list[str]]]()


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what needs a part that is not built, as where time was too short to build all of them.

    What the cluster does not start without is not left out: its tests fail then.
    """
    # What takes long goes last, so that where time is short as many as can be have run. What runs alone goes first of
    # the rest: others are beside it, and wait for nothing.
    items.sort(key=lambda item: (_seconds(item), item.get_closest_marker("alone") is None))
    left: dict[str, list[str]] = {}
    run: list[pytest.Item] = []
    for item in items:
        parts = [name for marker in item.iter_markers("needs") for name in marker.args]
        lacking = [part.name for part in missing(map(named, parts))]
        lacking += [name for marker in item.iter_markers("commit") for name in marker.args if not _has_commit(name)]
        if lacking:
            left.setdefault(", ".join(lacking), []).append(item.nodeid)
        else:
            run.append(item)
    if left:
        config.hook.pytest_deselected(items=[item for item in items if item not in run])
        items[:] = run
    config.stash[NOT_RUN] = left
    if hasattr(config, "workeroutput"):  # of pytest-xdist: who collects is not who sums up
        config.workeroutput["not run"] = left


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> bool | None:
    """Leave out what would not be over by COMANDA_TESTS_UNTIL, as CI sets it: seconds since 1970."""
    until = os.environ.get("COMANDA_TESTS_UNTIL")
    if not until or not _seconds(item) or time.time() + _seconds(item) < int(until):
        return None
    item.config.stash[NOT_RUN].setdefault("no time was left", []).append(item.nodeid)
    return True


def _seconds(item: pytest.Item) -> int:
    """Answer how long a test says that it takes; 0 for one that takes no time worth telling."""
    marker = item.get_closest_marker("takes")
    return int(marker.args[0]) if marker else 0


def _has_commit(name: str) -> bool:
    """Answer whether this clone reaches back to a commit; one that was made shallow may not."""
    command = ["git", "-C", str(CLONE), "cat-file", "-e", f"{name}^{{commit}}"]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


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
    terminalreporter.section(
        f"{count} tests not run: their parts of the cluster are not built, or a commit is not in this clone"
    )
    for parts, tests in left.items():
        terminalreporter.line(f"{parts}: {len(tests)} tests")
        for test in tests:
            terminalreporter.line(f"  {test}")
