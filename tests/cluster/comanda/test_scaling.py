"""As many API pods as guests need: soon more when they come, fewer in good time when they are gone, and no flapping."""

import re
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import pytest

from tests.cluster.comanda.guests import ordering
from tests.cluster.comanda.house import House
from tests.cluster.infrastructure import FIRST
from tests.cluster.layout import layout
from tests.cluster.machine import within
from tests.cluster.suite.kube import until

pytestmark = [pytest.mark.alone, pytest.mark.takes(960)]

FEWEST = 2
GROWS_WITHIN_SECONDS = 240

REST_SECONDS = 300
"""How long it looks back before it takes a pod away (4-api-hpa.yaml); after that one a minute."""

SETTLED_SECONDS = 75
"""As long without a change: as many as are needed. It looks every 15 s, at figures that are 15 s old at most."""

CROWD = """
-- Each connection rests between its requests, as guests do: the load is theirs, not what the machine can give. Now and
-- then it is made anew, so that pods that came later get their share.
local asked = 0
local last = wrk.format("GET", nil, {["Connection"] = "close"})
local other = wrk.format("GET")
function delay() return %d end
function request()
   asked = asked + 1
   return asked %% 50 == 0 and last or other
end
"""


@dataclass
class Watch:
    """How many pods the autoscaler wanted, and since when, in seconds of the clock that never goes back."""

    seen: list[tuple[float, int]] = field(default_factory=list)
    changed: threading.Condition = field(default_factory=threading.Condition)

    def now(self) -> int:
        """Answer how many it wants now."""
        return self.seen[-1][1]

    def steady(self, seconds: float) -> bool:
        """Answer whether it has wanted as many for so long."""
        return time.monotonic() - self.seen[-1][0] >= seconds

    def since(self, moment: float) -> list[tuple[float, int]]:
        """Answer what it wanted at a moment and after it, with when that began."""
        before = [each for each in self.seen if each[0] <= moment]
        return [*before[-1:], *(each for each in self.seen if each[0] > moment)]


@contextmanager
def watching(house: House) -> Iterator[Watch]:
    """Note what the autoscaler wants, as it says it."""
    watch = Watch()
    kube = house.kube
    command = [str(kube.command), f"--kubeconfig={kube.kubeconfig}", "--namespace=comanda", "get", "hpa", "comanda-api"]
    template = "--output=jsonpath={.status.desiredReplicas}{'\\n'}"
    with subprocess.Popen([*command, "--watch", template], stdout=subprocess.PIPE, text=True) as process:

        def read() -> None:
            for line in process.stdout or ():
                if line.strip() and (not watch.seen or watch.now() != int(line)):
                    watch.seen.append((time.monotonic(), int(line)))

        reader = threading.Thread(target=read)
        reader.start()
        try:
            until("the autoscaler says what it wants", lambda: watch.seen, 30)
            yield watch
        finally:
            process.terminate()
            reader.join()


@contextmanager
def crowd(house: House, tmp_path: Path, *, connections: int = 200, rest_ms: int = 60) -> Iterator[None]:
    """Let guests look at the menu, from inside the cluster, until the block ends."""
    script = tmp_path / "crowd.lua"
    script.write_text(CROWD % rest_ms, encoding="utf-8")
    address = house.kube.get("--namespace=comanda", "service", "comanda-api")["spec"]["clusterIP"]
    wrk = ("wrk", "--threads=1", f"--connections={connections}", "--duration=3600s", f"--script={script}")
    command = within(layout().namespace(FIRST), [*wrk, f"http://{address}:8000/v1/menu"])
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        try:
            yield
            assert process.poll() is None, process.communicate()[0]
        finally:
            process.send_signal(signal.SIGINT)  # it sums up
            said = process.communicate()[0]
    print(said)
    assert "Requests/sec" in said
    assert "Non-2xx" not in said, said


def test_pods_come_with_the_guests_and_go_after_them(house: House, tmp_path: Path) -> None:
    with watching(house) as watch, ordering(house, guests=1) as guests:
        until("at rest", lambda: watch.now() == FEWEST, 900)
        began = time.monotonic()
        with crowd(house, tmp_path):
            until("more pods", lambda: watch.now() > FEWEST, GROWS_WITHIN_SECONDS)
            until("as many as are needed", lambda: watch.steady(SETTLED_SECONDS), 600)
            house.rolled_out("deployment/comanda-api")
            # Longer than it looks back: whoever flaps would have by then.
            settled = time.monotonic()
            until("it had time to flap", lambda: time.monotonic() - settled > REST_SECONDS + 45, 400)
            peak = watch.now()
        ended = time.monotonic()
        until("as few as before", lambda: watch.now() == FEWEST, REST_SECONDS + (peak - FEWEST + 3) * 75)
        up = [count for moment, count in watch.since(began) if moment <= ended]
        down = watch.since(ended)
    print("pods wanted:", re.sub(r"[\[\]]", "", str([(round(at - began), count) for at, count in watch.seen])))
    # It may take back what was one too many, once; up and down and up again is what nobody wants.
    steps = [after - before for before, after in pairwise(up)]
    assert sum(before * after < 0 for before, after in pairwise(steps)) <= 1, f"it flaps: {up}"
    counts = [count for _, count in down]
    assert counts == list(range(peak, FEWEST - 1, -1)), "not one by one"
    assert down[1][0] - ended >= REST_SECONDS - 60, "too soon"
    assert peak >= 2 * FEWEST
    guests.were_all_served()
