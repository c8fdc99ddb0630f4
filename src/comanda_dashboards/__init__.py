"""Grafana's dashboards of Comanda, as code: `python -m comanda_dashboards` writes them into their manifests."""
