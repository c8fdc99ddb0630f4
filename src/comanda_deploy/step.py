"""A step of the runbook: what is there, what should change, and how each change is made.

Facts are read, decisions are pure, changes are made one at a time: `engine` observes anew after each.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Generic, TypeVar

from comanda_deploy.context import Context
from comanda_deploy.settings import Settings


class Kind(StrEnum):
    """What becomes of a thing."""

    CREATE = "create"
    CHANGE = "change"
    DELETE = "delete"
    WAIT = "wait"
    """AWS is at it already: watched until it is done."""
    REFUSED = "refused"
    """It would replace a thing, or cannot be done: `mend` says what to do by hand."""
    LATER = "later"
    """Something else goes first; another pass over the steps comes to it."""
    NOTE = "note"
    """Worth knowing; nothing to do."""


@dataclass(frozen=True)
class Change:
    """One thing that `apply` would do.

    Args:
        what: the thing, as AWS's console names it: "subnet comanda-public-a".
        detail: what of it, in a few words: "10.20.0.0/20 in sa-east-1a".
        expected_seconds: how long AWS usually takes, for what is waited for.
        mend: for what is refused, or may be made or waited for in vain: the steps by hand, one a line.
        do: makes the change; it may use what the facts held that it was decided on. None for what is not ours to do.
    """

    kind: Kind
    what: str
    detail: str = ""
    expected_seconds: int = 0
    mend: tuple[str, ...] = ()
    do: Callable[[Context], None] | None = field(default=None, compare=False, repr=False)

    @property
    def to_do(self) -> bool:
        """Whether there is anything to do: a note is only said."""
        return self.kind is not Kind.NOTE


Facts = TypeVar("Facts")


class Step(ABC, Generic[Facts]):
    """One heading of the runbook.

    Attributes:
        name: as in `comanda-deploy step NAME` and in `docs/runbook.md`.
        about: what it makes, for people, one line.
        side_by_side: whether AWS is at all of its things at once: then the longest counts.
        in_one_go: whether no change of it rests on what those before it bring about: all are made before the next
            look, as IAM's dozens of small ones.
    """

    name: str
    about: str
    side_by_side = False
    in_one_go = False

    @abstractmethod
    def observe(self, context: Context) -> Facts:
        """Read what is there, changing nothing.

        Raises:
            DeployError: it cannot be read, with the mend.
        """

    def observe_removal(self, context: Context) -> Facts:
        """Read what `decide_removal` goes by, where that is less than all.

        Raises:
            DeployError: it cannot be read, with the mend.
        """
        return self.observe(context)

    @abstractmethod
    def decide(self, settings: Settings, facts: Facts) -> list[Change]:
        """Answer what is to be done, in order; empty when all is as it should be. Pure."""

    def ask(self, context: Context, changes: list[Change]) -> None:
        """Ask the operator for what only they know, before anything is made, where `changes` will need it.

        Raises:
            DeployError: nobody is there to be asked, or the answer is not what it must be.
        """

    def decide_removal(self, settings: Settings, facts: Facts) -> list[Change]:  # noqa: ARG002 - for those who remove
        """Answer what is to be removed, in order; empty when nothing is left. Pure."""
        return []
