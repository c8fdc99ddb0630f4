"""The engine: one change at a time, observed anew after each, whatever AWS does in between."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta

import boto3
import pytest
from botocore.exceptions import ClientError

from comanda_deploy import engine
from comanda_deploy.context import Context
from comanda_deploy.errors import DeployError
from comanda_deploy.settings import Settings, read_settings
from comanda_deploy.step import Change, Kind, Step
from tests.deployment.account import Silent, Time


@dataclass
class Shelf(Step[frozenset[str]]):
    """A step whose world is a set: it wants `wanted` on the shelf, and sees it `seen_after` looks later."""

    wanted: tuple[str, ...]
    name: str = "shelf"
    about: str = "things on a shelf"
    there: set[str] = field(default_factory=set)
    seen_after: int = 0
    looks: int = 0
    put_at: dict[str, int] = field(default_factory=dict)
    calls: list[str] = field(default_factory=list)
    before: Callable[[str], None] = lambda _: None
    after: Callable[[str], None] = lambda _: None
    besides: Callable[["Shelf"], list[Change]] = lambda _: []

    def observe(self, context: Context) -> frozenset[str]:
        self.looks += 1
        return frozenset(each for each in self.there if self.looks - self.put_at.get(each, 0) > self.seen_after)

    def decide(self, settings: Settings, facts: frozenset[str]) -> list[Change]:
        puts = [
            Change(Kind.CREATE, each, do=lambda _, each=each: self.put(each))  # type: ignore[misc]
            for each in self.wanted
            if each not in facts
        ]
        return [*self.besides(self), *puts]

    def decide_removal(self, settings: Settings, facts: frozenset[str]) -> list[Change]:
        return [
            Change(Kind.DELETE, each, do=lambda _, each=each: self.there.discard(each))  # type: ignore[misc]
            for each in sorted(facts)
        ]

    def put(self, each: str) -> None:
        self.calls.append(each)
        self.before(each)
        self.there.add(each)
        self.put_at[each] = self.looks
        self.after(each)


@pytest.fixture
def context() -> Context:
    time = Time()
    return Context(read_settings(), boto3.Session(region_name="sa-east-1"), clock=time, sleep=time.sleep)


def not_found(code: str = "InvalidVpcID.NotFound") -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": "no such thing"}}, "CreateSubnet")


def test_a_plan_touches_nothing_and_names_everything(context: Context) -> None:
    shelf = Shelf(("a", "b"))
    (planned,) = engine.plan(context, [shelf])
    assert [change.what for change in planned.to_do] == ["a", "b"]
    assert shelf.calls == []


def test_apply_makes_all_of_it_and_the_second_time_nothing(context: Context) -> None:
    shelf, progress = Shelf(("a", "b", "c")), Silent()
    done = engine.apply(context, [shelf], progress)
    assert [change.what for change in done] == ["a", "b", "c"] == shelf.calls
    assert engine.apply(context, [shelf], progress) == []
    assert shelf.calls == ["a", "b", "c"]


@pytest.mark.parametrize("looks", [1, 2, 5])
def test_what_is_seen_late_is_not_made_twice(context: Context, looks: int) -> None:
    shelf = Shelf(("a", "b"), seen_after=looks)
    engine.apply(context, [shelf], Silent())
    assert shelf.calls == ["a", "b"]


def test_what_is_never_seen_is_said(context: Context) -> None:
    shelf = Shelf(("a",), seen_after=10**6)
    with pytest.raises(engine.Failure, match=r"step shelf, create a: is not done after \d+ s"):
        engine.apply(context, [shelf], Silent())
    assert shelf.calls == ["a"]


@pytest.mark.parametrize("at", ["a", "b", "c"])
@pytest.mark.parametrize("when", ["before", "after"])
def test_killed_at_any_change_it_goes_on_from_there(context: Context, at: str, when: str) -> None:
    killed: list[str] = []

    def kill(each: str) -> None:
        if each == at and not killed:
            killed.append(each)
            raise KeyboardInterrupt

    shelf = Shelf(("a", "b", "c"))
    setattr(shelf, when, kill)
    with pytest.raises(KeyboardInterrupt):
        engine.apply(context, [shelf], Silent())
    engine.apply(context, [shelf], Silent())
    assert shelf.there == {"a", "b", "c"}
    twice = [at] if when == "before" else []
    assert sorted(shelf.calls) == sorted([*"abc", *twice])


def test_what_aws_has_not_heard_of_yet_is_tried_again(context: Context) -> None:
    answers = [not_found(), not_found("ResourceNotFoundException")]

    def deaf(each: str) -> None:
        if each == "b" and answers:
            raise answers.pop()

    shelf, progress = Shelf(("a", "b"), before=deaf), Silent()
    engine.apply(context, [shelf], progress)
    assert shelf.calls == ["a", "b", "b", "b"]
    assert progress.said.count(("began", "b")) == 1, "a person is told once"


def test_what_stays_unheard_of_fails_with_what_was_done(context: Context) -> None:
    def deaf(each: str) -> None:
        if each == "b":
            raise not_found()

    with pytest.raises(engine.Failure, match=r"AWS refuses CreateSubnet: InvalidVpcID\.NotFound") as raised:
        engine.apply(context, [Shelf(("a", "b"), before=deaf)], Silent())
    assert [change.what for change in raised.value.done] == ["a"]


def test_another_refusal_of_aws_is_not_tried_again(context: Context) -> None:
    def refuse(each: str) -> None:
        raise ClientError({"Error": {"Code": "VpcLimitExceeded", "Message": "too many"}}, "CreateVpc")

    shelf = Shelf(("a",), before=refuse)
    with pytest.raises(engine.Failure, match="VpcLimitExceeded: too many"):
        engine.apply(context, [shelf], Silent())
    assert shelf.calls == ["a"]


def test_aws_at_work_is_waited_for_and_said(context: Context) -> None:
    def at_work(shelf: Shelf) -> list[Change]:
        return [Change(Kind.WAIT, "cluster", f"look {shelf.looks}")] if 1 < shelf.looks < 6 else []

    shelf, progress = Shelf(("a",), besides=at_work), Silent()
    engine.apply(context, [shelf], progress)
    assert ("waiting", "cluster") in progress.said
    assert shelf.there == {"a"}


def test_patience_ends_at_three_times_the_usual(context: Context) -> None:
    shelf = Shelf((), besides=lambda _: [Change(Kind.WAIT, "cluster", expected_seconds=1200)])
    began = context.clock()
    with pytest.raises(engine.Failure, match="wait cluster: is not done"):
        engine.apply(context, [shelf], Silent())
    assert timedelta(seconds=3600) < context.clock() - began < timedelta(seconds=3700)


def test_what_was_made_anew_once_and_came_to_the_same_is_given_up_and_left_to_be_looked_at(context: Context) -> None:
    def failed(shelf: Shelf) -> list[Change]:
        why = "could not be made (no room): to be made anew"
        delete = Change(Kind.DELETE, "a", why, do=lambda _: shelf.there.discard("a"))
        return [delete] if "a" in shelf.there else []

    shelf = Shelf(("a",), besides=failed)
    with pytest.raises(engine.Failure, match=r"delete a: could not be made \(no room\).*; that was tried once already"):
        engine.apply(context, [shelf], Silent())
    assert shelf.calls == ["a", "a"]
    assert shelf.there == {"a"}


def test_what_is_refused_stops_apply_before_anything_is_touched(context: Context) -> None:
    first = Shelf(("a",))
    refused = Change(Kind.REFUSED, "subnet", "would be replaced", mend=("delete it by hand",))
    second = Shelf((), name="second", besides=lambda _: [refused])
    with pytest.raises(engine.Failure, match="step second, refused subnet: would be replaced; delete it by hand"):
        engine.apply(context, [first, second], Silent())
    assert first.calls == []


def test_what_comes_later_is_come_to_in_another_pass(context: Context) -> None:
    """As an upgrade goes: the control plane, then what runs on it, then the control plane again."""
    second = Shelf(("b",), name="second")

    def after_second(_: Shelf) -> list[Change]:
        if "b" in second.there:
            return [] if "late" in first.there else [Change(Kind.CREATE, "late", do=lambda _: first.put("late"))]
        return [Change(Kind.LATER, "late", "after b")]

    first = Shelf(("a",), besides=after_second)
    done = engine.apply(context, [first, second], Silent())
    assert [change.what for change in done] == ["a", "b", "late"]


def test_what_never_comes_up_is_said(context: Context) -> None:
    shelf = Shelf((), besides=lambda _: [Change(Kind.LATER, "late", "after what never comes")])
    with pytest.raises(engine.Failure, match="nothing goes on: after what never comes"):
        engine.apply(context, [shelf], Silent())


def test_a_note_is_said_and_is_nothing_to_do(context: Context) -> None:
    shelf, progress = Shelf((), besides=lambda _: [Change(Kind.NOTE, "plain HTTP")]), Silent()
    (planned,) = engine.plan(context, [shelf])
    assert not planned.to_do
    assert engine.apply(context, [shelf], progress) == []
    assert ("noted", "plain HTTP") in progress.said


def test_destroy_goes_from_the_last_step_to_the_first(context: Context) -> None:
    first, second = Shelf((), there={"a"}), Shelf((), name="second", there={"b", "c"})
    done = engine.apply(context, [first, second], Silent(), removal=True)
    assert [change.what for change in done] == ["b", "c", "a"]


def test_a_fault_of_ours_is_one_line_that_asks_for_a_report(context: Context) -> None:
    def wrong(_: str) -> None:
        raise KeyError("Vpcs")

    with pytest.raises(DeployError, match=r"KeyError: 'Vpcs': this is a fault of comanda-deploy, please report it"):
        engine.apply(context, [Shelf(("a",), before=wrong)], Silent())
