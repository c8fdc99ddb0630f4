"""Pictures of the dashboards for the docs, drawn from what a Prometheus answers: `make pictures`.

Grafana cannot be had where Comanda is built, so these are our drawings of what its dashboards ask, at the places and
in the units that they say. They show that the queries find something and what; how Grafana draws it they do not show.
"""
