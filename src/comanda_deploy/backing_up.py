"""`db-backup` and `db-drill`: a backup of the database, and the proof that it restores, now.

Both verbs have the cluster do now what it does by itself every quarter of an hour, and every week
(infra/deployment/db/6-db-backup.yaml): so what they prove is what runs at night.
"""

import json
from argparse import Namespace
from typing import Any

from comanda_deploy import backups, commands, jobs, kubectl
from comanda_deploy.arguments import Parser, add_json
from comanda_deploy.errors import DeployError
from comanda_deploy.names import DATABASE_NAMESPACE

DRILL_SECONDS = 1800


def add_options(parser: Parser) -> None:
    """Add what db-backup and db-drill take beside --yes."""
    add_json(parser)


def back_up(options: Namespace) -> int:
    """Have a backup taken now, and wait until it can be restored.

    Raises:
        DeployError: it was not, and why.
    """
    context = commands.context_of(options)
    kubectl.reach(context)
    jobs.run(context, DATABASE_NAMESPACE, backups.JOB, seconds=backups.TAKES_SECONDS)
    newest = max(backups.in_cluster(context), key=lambda each: each.taken, default=None)
    if newest is None:
        raise DeployError("the job ended well and there is no backup: look at its log, then at docs/backups.md")
    if options.json:
        print(json.dumps(backups.as_json(newest)))
    else:
        print(f"{newest.name} of {newest.taken:%Y-%m-%d %H:%M:%S} UTC, {newest.handle}")
        print("Next: eks-cluster-mng.sh db-drill proves that it can be restored")
    return 0


def drill(options: Namespace) -> int:
    """Have the newest backup restored beside the database and compared with it, now.

    Raises:
        DeployError: the drill is red, and why.
    """
    context = commands.context_of(options)
    kubectl.reach(context)
    began = context.clock()
    said = jobs.run(context, DATABASE_NAMESPACE, "database-drill", seconds=DRILL_SECONDS)
    seconds = round((context.clock() - began).total_seconds())
    last = said.strip().splitlines()[-1] if said.strip() else ""
    if options.json:
        print(json.dumps({"outcome": "green", "seconds": seconds, "said": _or_text(last)}))
    else:
        print(last)
        print(f"Green, after {seconds} s. Next: nothing; it comes by itself every week (docs/backups.md)")
    return 0


def _or_text(line: str) -> Any:
    try:
        return json.loads(line)
    except ValueError:
        return line
