"""What the command lines of `comanda-deploy` and of the runbook's scripts have in common."""

import argparse
import os
import sys
from pathlib import Path
from typing import NoReturn

from comanda_deploy.errors import DeployError


class Parser(argparse.ArgumentParser):
    """Says what is wrong in one line instead of three."""

    def error(self, message: str) -> NoReturn:
        """End with the one line, exit code 2."""
        print(f"{self.prog}: {message}: see {self.prog} --help", file=sys.stderr)
        raise SystemExit(2)


def add_settings(parser: Parser) -> Parser:
    """Add --settings."""
    parser.add_argument(
        "--settings",
        type=Path,
        default=os.environ.get("COMANDA_SETTINGS") or None,
        metavar="FILE",
        help="what differs here from infra/settings.toml (or COMANDA_SETTINGS)",
    )
    return parser


def add_yes(parser: Parser) -> Parser:
    """Add --yes."""
    parser.add_argument("--yes", "-y", action="store_true", help="do not ask before anything is changed")
    return parser


def add_json(parser: Parser) -> Parser:
    """Add --json."""
    parser.add_argument("--json", action="store_true", help="for scripts")
    return parser


def confirm(options: argparse.Namespace, question: str, answer: str | None = None) -> None:
    """Ask, unless --yes was given.

    Raises:
        DeployError: the answer is no, or nobody is there to answer.
    """
    if options.yes:
        return
    if not sys.stdin.isatty():
        raise DeployError("nobody is there to be asked: say --yes")
    try:
        said = input(question).strip()
    except EOFError:
        said = ""
    if said != answer if answer else said.lower() not in {"y", "yes", "s", "sim"}:
        raise DeployError("nothing was touched")
