"""`db-connect`: psql in the database's own pod, read-only unless it is told otherwise.

What keeps a reader from writing keeps mistakes off, not people: whoever may exec into the pod may do anything there.
"""

import os
import signal
import subprocess
import sys
from argparse import Namespace
from contextlib import nullcontext

from comanda_deploy import commands, kubectl
from comanda_deploy import lock as locks
from comanda_deploy.arguments import Parser, add_json, confirm
from comanda_deploy.context import Context
from comanda_deploy.errors import DeployError
from comanda_deploy.kubectl import KUBECTL
from comanda_deploy.names import DATABASE_NAMESPACE

APP, CONTAINER, DATABASE = "database", "postgresql", "comanda"
VERB = "infra/scripts/eks-cluster-mng.sh"
WRONGLY_CALLED = 2
READER, OWNER = "comanda_app", "comanda_owner"
"""The role of API and worker sees every table; the owner may change what they are."""
CAREFULLY = {"lock_timeout": "10s", "idle_in_transaction_session_timeout": "10min"}
"""Guests do not wait for whoever has gone for a coffee with a lock in hand."""
READING = {"default_transaction_read_only": "on", "statement_timeout": "5min", **CAREFULLY}
GONE = "broken pipe"


def add_options(parser: Parser) -> None:
    """Add what db-connect takes beside --yes."""
    parser.add_argument("--command", "-c", metavar="SQL", help="one statement, and then the end")
    parser.add_argument("--write", action="store_true", help="as the owner, who may change everything; asks before")
    parser.add_argument("--csv", action="store_true", help="what it answers as CSV")
    add_json(parser)


def connect(options: Namespace) -> int:
    """Open psql at a terminal; else run one statement, or those that come by standard input.

    Raises:
        DeployError: there is no database to be asked, or it refused a statement.
    """
    if options.json and options.command is None:
        print("db-connect: --json goes with -c SQL alone: see db-connect --help", file=sys.stderr)
        return WRONGLY_CALLED
    if options.json and options.csv:
        print("db-connect: either --json or --csv: see db-connect --help", file=sys.stderr)
        return WRONGLY_CALLED
    context = commands.context_of(options)
    kubectl.reach(context)
    pod = ready_pod(context)
    if options.write:
        print("As the owner of the living database: what is changed is changed for guests, at once.", file=sys.stderr)
        if not options.yes:
            print("Go on? [y/N] ", end="", file=sys.stderr, flush=True)
        confirm(options, "")
    with locks.locked(context, options.goes_on_with) if options.write else nullcontext():
        if options.command is None and sys.stdin.isatty():
            return _at_a_terminal(context, pod, options)
        _run(context, pod, options)
    return 0


def ready_pod(context: Context) -> str:
    """Answer the pod of the database that serves.

    Raises:
        DeployError: there is none; which verb makes one, or looks at it.
    """
    try:
        return kubectl.ready_pod(context, APP, namespace=DATABASE_NAMESPACE)
    except DeployError as error:
        if kubectl.one(context, "statefulset.apps", APP, namespace=DATABASE_NAMESPACE) is None:
            raise DeployError(f"the database is not deployed yet: run {VERB} deploy-database") from error
        raise


def psql(options: Namespace) -> list[str]:
    """Answer the command in the pod: as the superuser by the socket, who at once is another with less rights."""
    rights = {"role": OWNER, **CAREFULLY} if options.write else {"role": READER, **READING}
    given = " ".join(f"-c {name}={value}" for name, value in rights.items())
    environment = [f"PGOPTIONS={given}", f"TERM={os.environ.get('TERM', 'dumb')}"]
    flags = ["--no-psqlrc", "--set=ON_ERROR_STOP=1", "--set=HISTFILE=/dev/null", "--pset=pager=off"]
    return ["env", *environment, "psql", *flags, "--username=postgres", f"--dbname={DATABASE}"]


def _at_a_terminal(context: Context, pod: str, options: Namespace) -> int:
    how = "as its owner: what you change is changed" if options.write else f"read-only, as {READER}; --write to change"
    print(f"The database of Comanda, {how}. Leave with \\q.", file=sys.stderr)
    prompt = f"{DATABASE}{' WRITING' if options.write else ' read-only'}=> "
    # At a terminal a mistake is no reason to be thrown out.
    inside = [*psql(options), "--set=ON_ERROR_STOP=0", f"--set=PROMPT1={prompt}"]
    process = context.start([*_exec(pod, "--stdin", "--tty"), *inside])
    while True:
        try:
            code = process.wait()
            break
        except KeyboardInterrupt:
            continue  # psql's: it ends a statement, and not this
    if code:
        raise DeployError(f"psql ended with exit code {code}: {VERB} db-connect once more, or look at the pod {pod}")
    print("Next: comanda-deploy status", file=sys.stderr)
    return 0


def _run(context: Context, pod: str, options: Namespace) -> None:
    """Run what was asked for, its answers straight to the standard output: they may be long."""
    flags = ["--quiet", "--file=-"]
    statement = options.command
    if options.csv:
        flags.append("--csv")
    if options.json:
        flags += ["--tuples-only", "--no-align"]
        # As a part of a query, so that what changes something and says what is taken too.
        statement = f"WITH answer AS (\n{statement.strip().rstrip(';')}\n) SELECT row_to_json(answer) FROM answer;"
    elif statement is None and options.write:
        # All of a script, or nothing of it.
        flags.append("--single-transaction")
    process = context.start(
        [*_exec(pod, "--stdin"), *psql(options), *flags],
        # On no command line: a statement may say what is nobody else's business.
        stdin=None if statement is None else subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    sys.stdout.flush()
    _, said = process.communicate(None if statement is None else f"{statement}\n;\n".encode())
    text = said.decode("utf-8", "replace")
    # `| head` has seen enough: kubectl ends by that signal, or says so.
    has_seen_enough = process.returncode == -signal.SIGPIPE or GONE in text.lower()
    if process.returncode and not has_seen_enough:
        lines = [line.removeprefix("psql:<stdin>:") for line in text.splitlines() if "terminated with exit" not in line]
        raise DeployError(f"the database refused it: {' '.join(' '.join(lines).split())[:600]}")
    print(text, end="", file=sys.stderr)
    print(f"Next: {VERB} db-connect opens psql", file=sys.stderr)


def _exec(pod: str, *flags: str) -> list[str]:
    return [*KUBECTL, "exec", pod, "--namespace", DATABASE_NAMESPACE, "--container", CONTAINER, *flags, "--"]
