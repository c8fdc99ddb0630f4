"""`prometheus-connect`: the way to Prometheus from the operator's browser."""

from argparse import Namespace

from comanda_deploy import forwarding
from comanda_deploy.arguments import Parser
from comanda_deploy.forwarding import Place
from comanda_deploy.names import MONITORING_NAMESPACE

PROMETHEUS = Place("Prometheus", "prometheus", 9090, MONITORING_NAMESPACE, "deploy-monitoring")


def add_options(parser: Parser) -> None:
    """Add what prometheus-connect takes beside --yes."""
    forwarding.add_options(parser, PROMETHEUS)


def connect(options: Namespace) -> int:
    """Print Prometheus' address on this machine, and keep it open until Ctrl-C.

    Raises:
        DeployError: it cannot be reached.
    """
    return forwarding.connect(options, PROMETHEUS)
