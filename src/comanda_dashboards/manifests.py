"""The manifests of the dashboards: a ConfigMap each, which `kubectl apply` takes."""

import json
from pathlib import Path

from comanda_dashboards.every import DASHBOARDS
from comanda_dashboards.parts import Dashboard

FOLDER = Path(__file__).parents[2] / "infra" / "deployment" / "monitoring" / "grafana"
HEAD = """\
# Grafana's dashboard "{title}". Made by `make dashboards` of src/comanda_dashboards/{module}.py: change it there.
apiVersion: v1
kind: ConfigMap
metadata:
  name: dashboard-{slug}
  namespace: monitoring
  labels:
    app.kubernetes.io/name: grafana
    app.kubernetes.io/part-of: comanda
data:
  {slug}.json: |
"""


def manifests() -> dict[Path, str]:
    """Answer each file, and what stands in it."""
    return {FOLDER / f"1-grafana-dashboard-{each.slug}.yaml": manifest(each) for each in DASHBOARDS}


def manifest(dashboard: Dashboard) -> str:
    """Answer the manifest of a dashboard."""
    # The name of a module is the slug's: a reader finds the one by the other.
    head = HEAD.format(title=dashboard.title, slug=dashboard.slug, module=dashboard.slug)
    text = json.dumps(dashboard.json(), ensure_ascii=False, indent=1)
    return head + "".join(f"    {line}\n" for line in text.splitlines())
