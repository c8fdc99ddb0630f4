"""`grafana-psw` and `grafana-connect`: the admin's password, and the way to Grafana from the operator's browser."""

import json
import sys
from argparse import Namespace

from comanda_deploy import commands, forwarding
from comanda_deploy.arguments import Parser, add_json
from comanda_deploy.context import Context
from comanda_deploy.errors import DeployError
from comanda_deploy.forwarding import VERB, Place
from comanda_deploy.names import GRAFANA_SECRET, MONITORING_NAMESPACE
from comanda_deploy.steps.secrets import values_of

ADMIN = "admin"
KEY = "ADMIN_PASSWORD"
GRAFANA = Place("Grafana", "grafana", 3000, MONITORING_NAMESPACE, "deploy-monitoring")


def add_password_options(parser: Parser) -> None:
    """Add what grafana-psw takes beside --yes."""
    add_json(parser)


def add_connect_options(parser: Parser) -> None:
    """Add what grafana-connect takes beside --yes."""
    forwarding.add_options(parser, GRAFANA)


def show_password(options: Namespace) -> int:
    """Print the password of Grafana's admin, alone on the standard output.

    Raises:
        DeployError: there is none yet; which verb makes one.
    """
    password = password_of(commands.context_of(options))
    print(json.dumps({"user": ADMIN, "password": password}) if options.json else password, flush=True)
    print(f"The password of Grafana's user {ADMIN}. Next: {VERB} grafana-connect", file=sys.stderr)
    return 0


def connect(options: Namespace) -> int:
    """Print Grafana's address on this machine, and keep it open until Ctrl-C.

    Raises:
        DeployError: it cannot be reached.
    """
    return forwarding.connect(options, GRAFANA, f" Sign in as {ADMIN}; {VERB} grafana-psw prints the password.")


def password_of(context: Context) -> str:
    """Answer the password of Grafana's admin, as Secrets Manager has it.

    Raises:
        DeployError: there is none yet; which verb makes one.
    """
    password = values_of(context, GRAFANA_SECRET).get(KEY)
    if not password:
        mend = "run infra/scripts/eks-cluster-deploy.sh create-secrets"
        raise DeployError(f"there is no {KEY} in secret {GRAFANA_SECRET} yet: {mend}")
    return str(password)
