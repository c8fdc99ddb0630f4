"""All dashboards, in the order in which they are listed."""

from comanda_dashboards import backups, cluster, nodes, orders, postgresql, service
from comanda_dashboards.parts import Dashboard

DASHBOARDS: tuple[Dashboard, ...] = (
    orders.DASHBOARD,
    service.DASHBOARD,
    postgresql.DASHBOARD,
    nodes.DASHBOARD,
    cluster.DASHBOARD,
    backups.DASHBOARD,
)
