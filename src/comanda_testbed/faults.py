"""What AWS does to its callers, on demand: throttles, fails, is slow, has expired credentials."""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass
class Fault:
    """A fault that waits for its call.

    Args:
        action: "ec2:CreateVpc", or "*" for every call.
        code: AWS's error code; status: the HTTP status that goes with it.
        skip: how many such calls go well before; times: how many then fail.
        done_first: whether the call is carried out before its answer is lost.
        hook: called instead of answering a fault, before the call is carried out; it may raise in the test's own way.
    """

    action: str
    code: str = "ThrottlingException"
    status: int = 400
    skip: int = 0
    times: int = 1
    done_first: bool = False
    hook: Callable[[], None] | None = None


@dataclass
class Faults:
    """The faults that are armed, and the calls that came."""

    armed: list[Fault] = field(default_factory=list)
    calls: list[str] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def arm(self, fault: Fault) -> None:
        """Let a fault wait for its call."""
        with self._lock:
            self.armed.append(fault)

    def meet(self, action: str) -> Fault | None:
        """Note a call; answer the fault that it meets, if any."""
        with self._lock:
            self.calls.append(action)
            for fault in self.armed:
                if fault.action not in {action, "*"} or fault.times == 0:
                    continue
                if fault.skip:
                    fault.skip -= 1
                    continue
                fault.times -= 1
                return fault
        return None
