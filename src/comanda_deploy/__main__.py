"""`comanda-deploy`: an AWS account planned, built, checked and taken down.

Exit codes: 0 done, or nothing to do; 1 it failed, the last line says what and how to go on; 2 `plan` found something
to do, or the command line was wrong; 130 interrupted.
"""

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn

from comanda_deploy.errors import DeployError

MISSING = "comanda-deploy needs the extra `deploy` ({}): run make deploy-tools, or pip install 'comanda[deploy]'"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and answer the exit code."""
    options = _parser().parse_args(arguments)
    try:
        # boto3 is an extra: without it there is one line, and `--help` works all the same.
        import boto3  # noqa: F401
        import yaml  # noqa: F401
    except ModuleNotFoundError as error:
        return _fail(MISSING.format(f"{error.name} is missing"))
    from comanda_deploy import commands

    command: Callable[[argparse.Namespace], int] = getattr(commands, options.command.replace("-", "_"))
    try:
        return command(options)
    except DeployError as error:
        return _fail(str(error))
    except KeyboardInterrupt:
        print("comanda-deploy: stopped. What AWS has begun goes on by itself; run it again to go on.", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # `plan | head`: who reads has seen enough. Python would say so again at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Exception as error:
        from comanda_deploy.aws_errors import explain

        if os.environ.get("COMANDA_TRACEBACK"):
            raise
        return _fail(explain(error))


def _fail(reason: str) -> int:
    print(f"comanda-deploy: {reason}", file=sys.stderr)
    return 1


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        print(f"{self.prog}: {message}: see {self.prog} --help", file=sys.stderr)
        raise SystemExit(2)


def _parser() -> _Parser:
    settings = _Parser(add_help=False)
    settings.add_argument(
        "--settings",
        type=Path,
        default=os.environ.get("COMANDA_SETTINGS") or None,
        metavar="FILE",
        help="what differs here from infra/settings.toml (or COMANDA_SETTINGS)",
    )
    settings.add_argument("--as", dest="verb", metavar="VERB", help=argparse.SUPPRESS)
    asks = _Parser(add_help=False)
    asks.add_argument("--yes", "-y", action="store_true", help="do not ask before anything is changed")
    as_json = _Parser(add_help=False)
    as_json.add_argument("--json", action="store_true", help="for scripts")

    parser = _Parser(
        prog="comanda-deploy",
        description="An AWS account planned, built, checked and taken down.",
        epilog="The settings are in infra/settings.toml, the runbook in docs/runbook.md.",
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def command(name: str, about: str, *parents: _Parser) -> _Parser:
        return commands.add_parser(name, help=about, description=about, parents=[settings, *parents])

    bootstrap = command(
        "bootstrap", "Once, with administrator rights: the operator's user, and every role", asks, as_json
    )
    bootstrap.add_argument("--print", dest="only_print", action="store_true", help="say how to do it in the console")
    bootstrap.add_argument("--remove", action="store_true", help="take user, roles and policies away again")
    command("plan", "Say what apply would do; touch nothing (exit code 2: there is something to do)", as_json)
    command("apply", "Make it so: everything that plan says, in order; run again at any time", asks)
    command("status", "Health, drift, versions and the days until their end", as_json)
    destroy = command("destroy", "Take everything down in reverse order, and prove that nothing is left", asks)
    destroy.add_argument(
        "--keep",
        metavar="KINDS",
        help="what stays, as volumes,snapshots,images,secrets,logs, or none (destroy.keep in the settings)",
    )
    step = command("step", "One step of the runbook, or several, in the order given", asks, as_json)
    step.add_argument("names", nargs="+", metavar="NAME", help="as in plan and in docs/runbook.md")
    step.add_argument("--plan", dest="only_plan", action="store_true", help="only say what it would do")
    lock = command("lock", "Keep other operators from changing anything until unlock")
    lock.add_argument("--why", required=True, help="what for: others read it")
    command("unlock", "Take the lock away, whoever holds it", asks)
    command("env", "Print the environment of the scripts, for a shell to read")
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
