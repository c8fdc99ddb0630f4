"""The Prometheus that runs beside Comanda on the cluster, asked through the API server, as kubectl does."""

import json
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from tests.cluster.comanda.house import House
from tests.cluster.objects import Json
from tests.cluster.suite.kube import until

API = "/api/v1/namespaces/monitoring/services/prometheus:9090/proxy"


@dataclass(frozen=True)
class Prometheus:
    """What it says.

    Args:
        house: whose it is.
    """

    house: House

    def ask(self, path: str, **parameters: str) -> Any:
        """Answer the `data` of one of its answers (Prometheus: HTTP API).

        Raises:
            Failed: it does not answer, or says no.
        """
        answer = json.loads(self.house.kube("get", f"--raw={API}/api/v1/{path}?{urlencode(parameters)}"))
        assert answer["status"] == "success", answer
        return answer["data"]

    def query(self, expression: str) -> list[Json]:
        """Answer the samples of a query that gives a vector, now."""
        data = self.ask("query", query=expression)
        found: list[Json] = data["result"] if data["resultType"] != "scalar" else [{"value": data["result"]}]
        return found

    def value(self, expression: str) -> float | None:
        """Answer the one sample of a query, None if there is none."""
        found = self.query(expression)
        assert len(found) < 2, f"{expression}: {len(found)} samples"
        return float(found[0]["value"][1]) if found else None

    def health(self) -> dict[str, list[str]]:
        """Answer, by job, each target's health; of one that is down with what is wrong."""
        found: dict[str, list[str]] = {}
        for each in self.ask("targets", state="active")["activeTargets"]:
            said = each["health"] if each["health"] == "up" else f"{each['health']}: {each['lastError']}"
            found.setdefault(each["labels"]["job"], []).append(said)
        return found

    def rules(self, kind: str) -> list[Json]:
        """Answer the rules that are loaded: `alert` or `record`."""
        groups = self.ask("rules", type=kind)["groups"]
        return [{**rule, "group": group["name"]} for group in groups for rule in group["rules"]]

    def state(self, alert: str) -> str:
        """Answer how an alert stands: "inactive", "pending" or "firing"."""
        [found] = [rule for rule in self.rules("alert") if rule["name"] == alert]
        return str(found["state"])

    def serves(self) -> bool:
        """Answer whether it is ready."""
        return "Ready" in self.house.kube("get", f"--raw={API}/-/ready", check=False)

    def until_noticed(self, alert: str, seconds: float) -> None:
        """Wait until an alert is pending, or fires already.

        Raises:
            AssertionError: it is not, in time.
        """
        until(f"{alert} is pending", lambda: self.state(alert) in {"pending", "firing"}, seconds)

    def until_gone(self, alert: str, seconds: float) -> None:
        """Wait until nothing is left of an alert.

        Raises:
            AssertionError: something is, after that time.
        """
        until(f"{alert} is gone", lambda: self.state(alert) == "inactive", seconds)
