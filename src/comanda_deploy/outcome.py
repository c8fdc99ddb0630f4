"""How `deploy-api` and `rollback-api` end: in words for a person, as one JSON document, as an exit code."""

import sys
from argparse import Namespace
from collections.abc import Callable
from contextlib import nullcontext, redirect_stdout
from enum import StrEnum

import msgspec

from comanda_deploy import commands
from comanda_deploy.aws_errors import explain
from comanda_deploy.context import Context
from comanda_deploy.errors import DeployError

INTERRUPTED_CODE = 130


class Outcome(StrEnum):
    """What became of it."""

    DEPLOYED = "deployed"
    UNCHANGED = "unchanged"
    WRITTEN = "written"
    """Into the manifests; nothing was rolled out."""
    ROLLED_BACK = "rolled_back"
    """The new version did not come up, and the one before serves, whole."""
    NOT_ROLLED_BACK = "not_rolled_back"
    """It did not come up, and the one before is not, or not surely, as it was."""
    LEFT = "left"
    """It did not come up, and there is none before: it is left as it is."""
    FAILED = "failed"
    """Nothing was changed."""
    UNWATCHED = "unwatched"
    """The cluster does not answer any more: what becomes of it is not known."""
    INTERRUPTED = "interrupted"

    @property
    def is_well(self) -> bool:
        """Whether what was asked for is so."""
        return self in {Outcome.DEPLOYED, Outcome.UNCHANGED, Outcome.WRITTEN}


class Failed(msgspec.Struct, frozen=True):
    """What did not come up.

    Args:
        pod: "" where there is not even one.
    """

    deployment: str
    pod: str
    reason: str


class Result(msgspec.Struct, frozen=True):
    """The end of it.

    Args:
        said: what a person is told. next: what comes next, in one line.
        image: which was to be rolled out. previous: which served before. serves: which serves now, "" if unknown.
        seconds: how long it took. failed: the pods. stays: objects that are new and stay.
    """

    outcome: Outcome
    said: str
    next: str
    image: str = ""
    previous: str = ""
    serves: str = ""
    seconds: int = 0
    failed: list[Failed] = []
    stays: list[str] = []


def ended(options: Namespace, run: Callable[[Context], Result]) -> int:
    """Do it, say how it ended, and answer the exit code.

    With --json stdout has the one document, and all that a person would read goes to stderr.

    Raises:
        DeployError: it did not end well.
    """
    context = commands.context_of(options)
    began = context.clock()
    result, fault = Result(Outcome.FAILED, "", ""), None
    with redirect_stdout(sys.stderr) if options.json else nullcontext():
        try:
            result = run(context)
        except Exception as error:
            reason = str(error) if isinstance(error, DeployError) else explain(error)
            result, fault = Result(Outcome.FAILED, reason, f"mend it, then {options.goes_on_with}"), error
    if options.json:
        seconds = int((context.clock() - began).total_seconds())
        document = msgspec.structs.replace(result, seconds=seconds)
        print(msgspec.json.format(msgspec.json.encode(document), indent=2).decode())
    if fault:
        raise fault
    program = options.goes_on_with.partition(" ")[0]
    if result.outcome is Outcome.INTERRUPTED:
        print(f"{program}: {result.said}\nNext: {result.next}", file=sys.stderr)
        return INTERRUPTED_CODE
    if not result.outcome.is_well:
        raise DeployError(f"{result.said}\nNext: {result.next}")
    print(f"{result.said} Next: {result.next}", file=sys.stderr if options.json else sys.stdout)
    return 0
