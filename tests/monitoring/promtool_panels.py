"""What promtool is given of the panels that the tests' cluster has no data for: `promtool test rules` says the rest.

Each query is asked an hour in, with the series of `dashboard_metrics.toml` and no others, and must answer something.
"""

import tomllib
from pathlib import Path
from typing import Any

from comanda_dashboards import filled

KNOWN: dict[str, Any] = tomllib.loads(
    Path(__file__).with_name("dashboard_metrics.toml").read_text(encoding="utf-8"),
)
BESIDE = (
    'up{job="kube-state-metrics"}: 1+0x240',
    'container_cpu_usage_seconds_total{job="cadvisor",namespace="comanda",pod="api-1",container="api"}: 0+1x240',
)
"""What a query of theirs reads beside them, of jobs that are there."""


def document() -> dict[str, Any]:
    """Answer promtool's test file; it is YAML, and so is JSON."""
    resting = {name for names in KNOWN["rests_on"].values() for name in names}
    asked = [each for each in filled.queries() if f"{each.dashboard}/{each.panel}" in resting]
    return {
        "rule_files": [],
        "evaluation_interval": "15s",
        "tests": [
            {
                "interval": "15s",
                "name": "panels that rest on what the tests' cluster has not got",
                "input_series": [{"series": name, "values": values} for name, values in series()],
                "promql_expr_test": [
                    {
                        "expr": f"count({each.expr}) > bool 0",
                        "eval_time": "1h",
                        "exp_samples": [{"labels": "{}", "value": 1}],
                    }
                    for each in asked
                ],
            }
        ],
    }


def series() -> list[tuple[str, str]]:
    """Answer each series, under its job, and its values."""
    found = []
    for job, lines in KNOWN["not_on_the_tests_cluster"].items():
        for line in lines:
            name, _, values = line.rpartition(": ")
            metric, _, labels = name.rstrip("}").partition("{")
            found.append((f'{metric}{{job="{job}"{"," if labels else ""}{labels}}}', values))
    found += [(name, values) for name, _, values in (line.rpartition(": ") for line in BESIDE)]
    return found


def rules() -> dict[str, Any]:
    """Answer every query of every panel as a recording rule: `promtool check rules` says whether each parses."""
    named = [
        {"record": "comanda:panel:value", "expr": each.expr, "labels": {"panel": str(number)}}
        for number, each in enumerate(filled.queries())
    ]
    return {"groups": [{"name": "panels", "rules": named}]}
