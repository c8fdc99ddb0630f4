"""What Prometheus is told to watch: rules, alerts, their pages, and promtool's own tests of them."""
