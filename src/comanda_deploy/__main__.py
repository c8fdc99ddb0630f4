"""`comanda-deploy`: an AWS account planned, built, checked and taken down.

Exit codes: 0 done, or nothing to do; 1 it failed, the last line says what and how to go on, or `status` found
something that is not well, the first line says what; 2 `plan` found something to do, or the command line was wrong;
130 interrupted.
"""

import io
import os
import sys
from collections.abc import Sequence

from comanda_deploy.arguments import Parser, add_json, add_settings, add_yes
from comanda_deploy.errors import DeployError

MISSING = "comanda-deploy needs the extra `deploy` ({}): run make deploy-tools, or pip install 'comanda[deploy]'"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command, or a verb of the runbook's scripts (`verb SCRIPT VERB ...`), and answer the exit code."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        # Into a file or a pipe too, a plan comes before the progress that goes to stderr.
        sys.stdout.reconfigure(line_buffering=True)
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    script = arguments[1] if arguments[:1] == ["verb"] and len(arguments) > 1 else None
    options = None if script else _parser().parse_args(arguments)
    program = script or "comanda-deploy"
    try:
        # boto3 is an extra: without it there is one line, and `--help` works all the same.
        import boto3  # noqa: F401
        import yaml  # noqa: F401
    except ModuleNotFoundError as error:
        return _fail("comanda-deploy", MISSING.format(f"{error.name} is missing"))
    from comanda_deploy import commands, verbs

    try:
        if options is None:
            return verbs.run(program, arguments[2:])
        return commands.run(options)
    except DeployError as error:
        return _fail(program, str(error))
    except KeyboardInterrupt:
        print(f"{program}: stopped. What AWS has begun goes on by itself; run it again to go on.", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # `plan | head`: who reads has seen enough. Python would say so again at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Exception as error:
        from comanda_deploy.aws_errors import explain

        if os.environ.get("COMANDA_TRACEBACK"):
            raise
        return _fail(program, explain(error))


def _fail(program: str, reason: str) -> int:
    print(f"{program}: {reason}", file=sys.stderr)
    return 1


def _parser() -> Parser:
    settings = add_settings(Parser(add_help=False))
    asks = add_yes(Parser(add_help=False))
    as_json = add_json(Parser(add_help=False))

    parser = Parser(
        prog="comanda-deploy",
        description="An AWS account planned, built, checked and taken down.",
        epilog="The settings are in infra/settings.toml, the runbook in docs/runbook.md.",
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def command(name: str, about: str, *parents: Parser) -> Parser:
        return commands.add_parser(name, help=about, description=about, parents=[settings, *parents])

    bootstrap = command(
        "bootstrap", "Once, with administrator rights: the operator's user, and every role", asks, as_json
    )
    bootstrap.add_argument("--print", dest="only_print", action="store_true", help="say how to do it in the console")
    bootstrap.add_argument("--remove", action="store_true", help="take user, roles and policies away again")
    command("plan", "Say what apply would do; touch nothing (exit code 2: there is something to do)", as_json)
    command("apply", "Make it so: everything that plan says, in order; run again at any time", asks)
    command("status", "Health, drift, versions and the days until their end (exit code 1: not well)", as_json)
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
