"""The engine: plan, apply and take back the steps of the runbook.

There is no state but AWS itself. A step is observed and decided; the first of its changes is made; then it is observed
anew. So a change may rest on what the facts held, a run that is killed anywhere is resumed by running again, and what
AWS shows only seconds after it was made is waited for in one place: here.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Protocol, TypeVar

from botocore.exceptions import ClientError

from comanda_deploy.aws_errors import code_of, explain, is_lost, is_throttled
from comanda_deploy.context import Context
from comanda_deploy.errors import DeployError, PassingError
from comanda_deploy.step import Change, Kind, Step

PASSES = 20
"""How often all steps are gone through: an upgrade over several minors needs a few passes for each."""
SEEN_WITHIN = timedelta(seconds=90)
"""How long AWS may take to show what it has done: eventual consistency is a matter of seconds."""
HEARD_WITHIN = timedelta(seconds=45)
"""How long a change is tried again whose ground AWS has not heard of yet, or whose answer was lost or is passing."""
LOST = 5.0
"""Seconds until the look after a lost answer: what was made all the same must be seen, or it is made twice."""
LONGEST_WAIT = timedelta(minutes=15)
"""The least patience with anything that AWS is at; otherwise three times what it usually takes."""

NOT_SEEN_YET = ("NotFound", "NotFoundException", "NoSuchEntity", "DependencyViolation", "ResourceInUseException")
"""How AWS's codes end when one part of it has not heard yet of what another has just done."""
THERE_ALREADY = ("AlreadyExists", "AlreadyExistsException", "ResourceExistsException", "Duplicate")
"""How they end when a thing was made that the last look did not show."""


Seen = TypeVar("Seen")


class Progress(Protocol):
    """Where the engine says what it does."""

    def step(self, step: Step[Any]) -> None:
        """A step begins."""

    def began(self, change: Change) -> None:
        """A change is about to be made."""

    def waiting(self, change: Change, waited: timedelta) -> None:
        """AWS is still at it."""

    def noted(self, change: Change) -> None:
        """Something worth knowing."""


@dataclass(frozen=True)
class StepPlan:
    """What one step has to do."""

    step: Step[Any]
    changes: list[Change]

    @property
    def to_do(self) -> list[Change]:
        """The changes without the notes."""
        return [change for change in self.changes if change.to_do]

    @property
    def expected_seconds(self) -> int:
        """How long AWS usually takes for all of them."""
        each = [change.expected_seconds for change in self.to_do]
        return max(each, default=0) if self.step.side_by_side else sum(each)


class Failure(DeployError):
    """A change failed: which one, and what was done before it."""

    def __init__(self, step: Step[Any], change: Change | None, reason: str, done: Sequence[Change] = ()) -> None:
        """Keep what the report needs."""
        what = f"{change.kind} {change.what}" if change else "looking at what is there"
        super().__init__(f"step {step.name}, {what}: {reason}")
        self.step = step
        self.change = change
        self.done = list(done)


def plan(context: Context, steps: Sequence[Step[Any]], *, removal: bool = False) -> list[StepPlan]:
    """Answer what every step would do, in the order in which it would; nothing is touched.

    Raises:
        Failure: a step could not be observed.
    """
    order = list(reversed(steps)) if removal else steps
    return [StepPlan(step, _look(context, step, removal=removal, done=[])) for step in order]


def apply(context: Context, steps: Sequence[Step[Any]], progress: Progress, *, removal: bool = False) -> list[Change]:
    """Make every change of every step, and answer those that were made.

    Raises:
        Failure: one failed, or is refused; what was made before stays, and the next run goes on from there.
    """
    done: list[Change] = []
    plans = plan(context, steps, removal=removal)
    for each in plans:
        _refuse(each.step, each.changes, done)
    if not removal:
        for each in plans:
            # What is missing is asked for now, not a quarter of an hour later.
            each.step.ask(context, each.to_do)
    order = list(reversed(steps)) if removal else steps
    for _ in range(PASSES):
        before = len(done)
        left = [(step, change) for step in order for change in _run(context, step, progress, done, removal=removal)]
        if not left:
            return done
        if len(done) == before:
            step, change = left[0]
            raise Failure(step, change, f"nothing goes on: {change.detail}", done)
    raise Failure(steps[0], None, f"not done after {PASSES} passes over all steps: run plan and look", done)


def steadily(context: Context, look: Callable[[], Seen]) -> Seen:
    """Answer what a look at AWS finds; it looks again where a thing went between being listed and being described."""
    for tries in range(3):
        try:
            return look()
        except ClientError as error:
            if not (code_of(error).endswith(NOT_SEEN_YET) or is_throttled(error)):
                raise
            context.sleep(1 + 2 * tries)
    return look()


def _look(context: Context, step: Step[Any], *, removal: bool, done: list[Change]) -> list[Change]:
    observe = step.observe_removal if removal else step.observe
    try:
        facts = steadily(context, lambda: observe(context))
    except Exception as error:
        raise Failure(step, None, explain(error), done) from error
    decide = step.decide_removal if removal else step.decide
    return decide(context.settings, facts)


def _refuse(step: Step[Any], changes: list[Change], done: list[Change]) -> None:
    for change in changes:
        if change.kind is Kind.REFUSED:
            raise Failure(step, change, "; ".join([change.detail, *change.mend]), done)


def _run(context: Context, step: Step[Any], progress: Progress, done: list[Change], *, removal: bool) -> list[Change]:
    """Do what a step has to do now; answer what it leaves for a later pass."""
    progress.step(step)
    first: Change | None = None
    made: set[Change] = set()
    since, tries = context.clock(), 0
    while True:
        changes = _look(context, step, removal=removal, done=done)
        _refuse(step, changes, done)
        now = [change for change in changes if change.to_do and change.kind is not Kind.LATER]
        if not now:
            for note in (change for change in changes if change.kind is Kind.NOTE):
                progress.noted(note)
            return [change for change in changes if change.kind is Kind.LATER]
        change = now[0]
        if first is None or not _same(change, first):
            since, tries = context.clock(), 0
        first = change
        waited = context.clock() - since
        if waited > _patience(change):
            raise Failure(step, change, _in_vain(change, waited), done)
        if change.kind is Kind.WAIT:
            progress.waiting(change, waited)
        elif change not in made:
            for each in now if step.in_one_go else now[:1]:
                if each in made or each.kind is Kind.WAIT:
                    break
                if not tries:
                    progress.began(each)
                if not _make(context, step, each, done, waited):
                    break
                # What was deleted may be made once more, and the other way round.
                made = {one for one in made if one.what != each.what or one.kind is each.kind} | {each}
            if change in made:
                continue
        tries += 1
        context.sleep(min(10, 0.2 * 1.5**tries))


def _same(one: Change, other: Change) -> bool:
    """What a wait says of itself may move on; another change of the same thing is another change."""
    return one == other or (one.kind is Kind.WAIT and (one.kind, one.what) == (other.kind, other.what))


def _patience(change: Change) -> timedelta:
    if change.kind is Kind.WAIT:
        return max(LONGEST_WAIT, timedelta(seconds=3 * change.expected_seconds))
    return SEEN_WITHIN


def _in_vain(change: Change, waited: timedelta) -> str:
    """Answer what is said of a change that does not come to an end: what it last said of itself, and where to look."""
    why = f": {change.detail}" if change.kind is Kind.WAIT and change.detail else ""
    where = "; ".join(change.mend) or "look at it in AWS's console"
    return f"is not done after {waited.seconds} s{why}: {where}"


def _is_in_vain(change: Change, done: list[Change]) -> bool:
    """Answer whether the same thing was deleted and made anew before."""
    kinds = [each.kind for each in done if each.what == change.what]
    return change.kind is Kind.DELETE and Kind.DELETE in kinds and Kind.CREATE in kinds[kinds.index(Kind.DELETE) :]


def _make(context: Context, step: Step[Any], change: Change, done: list[Change], waited: timedelta) -> bool:
    """Make a change; answer False if it is to be looked at again, and then tried again if it is still to be done."""
    if change.do is None:
        raise Failure(step, change, "is not ours to do: see the plan", done)
    if _is_in_vain(change, done):
        # It would go on like that for ever. What is there is left, to be looked at.
        detail = change.detail or "it is there again"
        raise Failure(step, change, f"{detail}; that was tried once already: look at it in AWS's console", done)
    try:
        # Sent once: boto3 would send it again without a look, and many of AWS's calls then make a second thing.
        with context.sending_once():
            change.do(context)
    except Exception as error:
        code = code_of(error) if isinstance(error, ClientError) else ""
        lost = is_lost(error) or isinstance(error, PassingError)
        if waited > HEARD_WITHIN or not (lost or code.endswith(NOT_SEEN_YET + THERE_ALREADY)):
            raise Failure(step, change, explain(error), done) from error
        if lost:
            context.sleep(LOST)
        return False
    done.append(change)
    return True
