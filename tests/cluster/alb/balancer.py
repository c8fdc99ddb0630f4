"""The load balancer as it stands: what the model says, and the target groups with their targets."""

from collections.abc import Callable
from typing import Any

from tests.cluster.alb.clock import Clock
from tests.cluster.alb.model import Model
from tests.cluster.alb.rules import GroupKey
from tests.cluster.alb.targets import Check, Lags, State, TargetGroup


class Balancer:
    """Holds the groups.

    Args:
        changed: called after each change of a target's state.
    """

    def __init__(self, clock: Clock, lags: Lags, check: Check, changed: Callable[[], None]) -> None:
        self.model = Model()
        self.groups: dict[GroupKey, TargetGroup] = {}
        self._clock = clock
        self._lags = lags
        self._check = check
        self._changed = changed

    @property
    def name(self) -> str:
        """The resource id of the load balancer, as its log has it."""
        for hostname in self.model.hostnames.values():
            label = hostname.partition(".")[0].removeprefix("internal-").rpartition("-")[0]
            return f"app/{label}/{label[-10:]:0>16}"
        return "app/none/0"

    async def apply(self, model: Model) -> None:
        """Become as a model says."""
        before, self.model = self.groups, model
        self.groups = {}
        for key, spec in model.groups.items():
            group = before.get(key)
            # A service made anew has a target group of its own, though its name is the same.
            if group is None or group.spec.name != spec.name:
                group = TargetGroup(spec, self._clock, self._lags, self._check, self._changed)
            group.spec = spec
            self.groups[key] = group
        for key, group in before.items():
            if self.groups.get(key) is not group:
                await group.close()

    def count(self, state: State, namespace: str, service: str) -> int:
        """Answer how many targets of a service are in a state."""
        return sum(
            each.state is state
            for key, group in self.groups.items()
            if (key.namespace, key.service) == (namespace, service)
            for each in group.everyone()
        )

    def shown(self) -> dict[str, Any]:
        """Answer all of it for the state page."""
        return {
            "balancer": self.name,
            "listeners": {
                protocol: {
                    "port": each.port,
                    "rules": [repr(rule) for rule in each.rules],
                    "default": repr(each.default),
                }
                for protocol, each in self.model.listeners.items()
            },
            "hostnames": {"/".join(key): hostname for key, hostname in self.model.hostnames.items()},
            "problems": self.model.problems,
            "groups": [group.shown() for group in self.groups.values()],
        }

    async def close(self) -> None:
        """Let go of everything."""
        await self.apply(Model())
