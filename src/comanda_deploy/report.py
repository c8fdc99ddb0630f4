"""Plans and progress, as a person reads them and as a script does."""

import json
import sys
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, TextIO

from comanda_deploy.context import Context
from comanda_deploy.engine import StepPlan
from comanda_deploy.step import Change, Kind, Step

SIGNS = {
    Kind.CREATE: "+",
    Kind.CHANGE: "~",
    Kind.DELETE: "-",
    Kind.WAIT: "…",
    Kind.REFUSED: "!",
    Kind.LATER: ">",
    Kind.NOTE: " ",
}


def counts(plans: Sequence[StepPlan]) -> dict[str, int]:
    """Answer how many changes there are of each kind, and how many steps have none."""
    changes = [change for each in plans for change in each.changes]
    of_kind = {str(kind): sum(change.kind is kind for change in changes) for kind in Kind}
    return {**of_kind, "unchanged_steps": sum(not each.to_do for each in plans)}


def as_text(plans: Sequence[StepPlan]) -> str:
    """Answer a plan as a person reads it."""
    lines: list[str] = []
    for each in plans:
        lines.append(f"{each.step.name}: {each.step.about}" if each.to_do else f"{each.step.name}: unchanged")
        for change in each.changes:
            lines.append(f"  {SIGNS[change.kind]} {change.kind:7} {described(change)}")
            if change.do is None:  # what is made says its mend only where it does not come about
                lines += [f"              {mend}" for mend in change.mend]
    total = counts(plans)
    lines.append("")
    lines.append(
        f"Plan: {total['create']} to create, {total['change']} to change, {total['delete']} to delete, "
        f"{total['unchanged_steps']} of {len(plans)} steps unchanged."
    )
    if total["wait"]:
        lines.append(f"AWS is still at {total['wait']} of them.")
    if total["later"]:
        lines.append(f"{total['later']} follow once what goes before them is done; apply comes to them by itself.")
    if seconds := sum(each.expected_seconds for each in plans):
        lines.append(f"AWS usually takes some {duration(timedelta(seconds=seconds))} for it.")
    return "\n".join(lines)


def as_json(plans: Sequence[StepPlan]) -> str:
    """Answer a plan for scripts: the changes in order, and how many of each kind."""
    changes = [
        {
            "step": each.step.name,
            "kind": str(change.kind),
            "what": change.what,
            "detail": change.detail,
            "expected_seconds": change.expected_seconds,
            "mend": list(change.mend),
        }
        for each in plans
        for change in each.changes
    ]
    return json.dumps({"changes": changes, "counts": counts(plans)}, indent=2, ensure_ascii=False)


def described(change: Change) -> str:
    """Answer a change in one line."""
    return f"{change.what}: {change.detail}" if change.detail else change.what


def duration(length: timedelta) -> str:
    """Answer a length of time, as "12 min 5 s"."""
    minutes, seconds = divmod(int(length.total_seconds()), 60)
    if not minutes:
        return f"{seconds} s"
    return f"{minutes} min {seconds} s" if seconds else f"{minutes} min"


def _expected(change: Change) -> str:
    return duration(timedelta(seconds=change.expected_seconds))


class Terminal:
    """What apply says while it works: one line a change, and a line now and then of what AWS is still at.

    Args:
        context: whose clock is read.
        out: where it goes.
    """

    def __init__(self, context: Context, out: TextIO = sys.stderr) -> None:
        """Start counting the time."""
        self._context = context
        self._out = out
        self._start = context.clock()
        self._step = ""
        self._said: tuple[str, datetime] | None = None
        self._notes: set[Change] = set()

    def step(self, step: Step[Any]) -> None:
        """A step begins; it is named once something happens in it."""
        self._step = step.name
        self._said = None

    def began(self, change: Change) -> None:
        """A change is about to be made."""
        usually = (
            f" (usually {duration(timedelta(seconds=change.expected_seconds))})" if change.expected_seconds else ""
        )
        self.say(f"{SIGNS[change.kind]} {described(change)}{usually}")

    def waiting(self, change: Change, waited: timedelta) -> None:
        """AWS is still at it: said at once, and then every half minute."""
        now = self._context.clock()
        if self._said and self._said[0] == change.what and now - self._said[1] < timedelta(seconds=30):
            return
        self._said = (change.what, now)
        usually = (
            f" of usually {duration(timedelta(seconds=change.expected_seconds))}" if change.expected_seconds else ""
        )
        self.say(f"… {described(change)}, {duration(waited)}{usually}")

    def noted(self, change: Change) -> None:
        """Say a note, once."""
        if change not in self._notes:
            self._notes.add(change)
            self.say(f"  {described(change)}")

    def say(self, text: str) -> None:
        """Say a line, with the time since the beginning and the step."""
        minutes, seconds = divmod(int((self._context.clock() - self._start).total_seconds()), 60)
        print(f"{minutes:3}:{seconds:02}  {self._step:24} {text}", file=self._out, flush=True)
