"""What is kept: everything of a day, then a day's first, always the newest; nothing else, and nobody else's."""

import random
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta

import pytest

from comanda.backups.retention import Rule, Verdict, judge, read_rule
from comanda.backups.snapshots import Backup
from comanda.settings import SettingsError

NOW = datetime(2026, 11, 26, 12, 7, 30, tzinfo=UTC)
RULE = Rule(timedelta(hours=24), timedelta(days=14))
QUARTER = timedelta(minutes=15)


def backup(age: timedelta, **fields: object) -> Backup:
    taken = NOW - age
    known: dict[str, object] = {"content": f"snapcontent-{taken:%Y%m%d%H%M%S%f}", "disk": "vol-1"}
    return Backup(f"database-{taken:%Y%m%d-%H%M%S}", taken, **{**known, **fields})  # type: ignore[arg-type]


def kept(backups: list[Backup], rule: Rule = RULE) -> list[Backup]:
    return [each.backup for each in judge(backups, NOW, rule) if each.keep]


def why(backups: list[Backup], of: Backup) -> Verdict:
    [found] = [each for each in judge(backups, NOW, RULE) if each.backup == of]
    return found


def test_of_twenty_days_of_quarters_a_day_is_kept_whole_and_of_thirteen_more_the_first() -> None:
    backups = [backup(QUARTER * number) for number in range(20 * 96)]
    left = kept(backups)
    young = [each for each in left if NOW - each.taken < RULE.everything]
    assert len(young) == 96
    assert len(left) == 96 + 13
    assert all((each.taken.hour, each.taken.minute // 15) == (0, 0) for each in left if each not in young)
    assert len({each.taken.date() for each in left}) == 14


@pytest.mark.parametrize(
    ("age", "keep"),
    [
        (timedelta(hours=24) - timedelta(seconds=1), True),
        (timedelta(hours=24), False),
        (timedelta(seconds=-30), True),  # the clock of who made it was ahead
    ],
)
def test_the_day_of_everything_ends_to_the_second(age: timedelta, keep: bool) -> None:
    one = backup(age)
    others = [backup(timedelta(minutes=1)), backup(age + timedelta(minutes=1))]
    assert why([one, *others], one).keep is keep


def test_the_first_of_a_day_is_kept_for_two_weeks_to_the_second() -> None:
    newest = backup(timedelta())
    inside, outside = backup(RULE.daily - timedelta(seconds=1)), backup(RULE.daily)
    assert why([newest, inside], inside).why == "the first of its day"
    assert not why([newest, outside], outside).keep


def test_the_newest_usable_stays_however_old_it_is() -> None:
    old, older = backup(timedelta(days=100)), backup(timedelta(days=101))
    failed = backup(timedelta(days=2), usable=False)
    assert kept([old, older, failed]) == [old]


def test_what_never_became_usable_goes_after_a_day_and_does_not_stand_for_its_day() -> None:
    newest = backup(timedelta())
    failed = backup(timedelta(hours=60), usable=False)
    usable = backup(timedelta(hours=59))
    assert failed.taken.date() == usable.taken.date()
    assert kept([newest, failed, usable]) == [usable, newest]
    assert why([newest, failed], failed).why == "never became usable"
    young = backup(timedelta(hours=23), usable=False)
    assert kept([newest, young]) == [young, newest]


def test_contents_whose_snapshot_is_gone_go_by_the_same_rule_and_never_stand_for_the_newest() -> None:
    named = backup(timedelta(days=30))
    orphans = [backup(timedelta(days=days, minutes=days), alone=True) for days in range(20)]
    left = kept([named, *orphans])
    assert named in left, "it is the newest that can be restored by its name"
    assert set(left) - {named} == set(orphans[:14])
    assert kept(orphans[18:]) == [orphans[18]], "where there is no other it is the newest"


def test_the_last_of_a_disk_that_was_lost_stays_as_long_as_a_day_s_first() -> None:
    lost = [backup(timedelta(days=3) + QUARTER * number, disk="vol-lost") for number in range(4)]
    new = [backup(timedelta(days=3) - QUARTER * number, disk="vol-new") for number in range(1, 4)]
    left = kept([*lost, *new])
    assert lost[0] in left
    assert why([*lost, *new], lost[0]).why == "the last of its disk"
    much_later = [backup(timedelta(days=20) + QUARTER * number, disk="vol-lost") for number in range(4)]
    assert kept([*much_later, *new]) == kept(new)


def test_nothing_to_judge_is_no_fault() -> None:
    assert judge([], NOW, RULE) == []


def test_whatever_there_is_what_is_kept_is_what_the_rule_says_and_no_more(chance: random.Random) -> None:
    """Against the rule said another way: by sets, for each backup alone."""
    for _ in range(200):
        rule = Rule(timedelta(hours=chance.randint(1, 48)), timedelta(days=chance.randint(1, 20)))
        backups = [
            backup(
                timedelta(seconds=chance.randint(-60, 25 * 86_400)),
                usable=chance.random() < 0.8,
                alone=chance.random() < 0.2,
                disk=chance.choice(["", "vol-1", "vol-2"]),
                content=f"content-{number}",
            )
            for number in range(chance.randint(0, 60))
        ]
        assert set(kept(backups, rule)) == expected(backups, rule)
        # Judged again, and later, what was kept is judged the same: pruning in parts or twice comes to the same.
        left = kept(backups, rule)
        assert kept(left, rule) == left


def expected(backups: list[Backup], rule: Rule) -> set[Backup]:
    def order(each: Backup) -> tuple[datetime, str]:
        return each.taken, each.name

    usable = sorted((each for each in backups if each.usable), key=order)
    by_day: dict[date, list[Backup]] = {}
    by_disk: dict[str, list[Backup]] = {}
    for each in usable:
        by_day.setdefault(each.taken.date(), []).append(each)
        by_disk.setdefault(each.disk, []).append(each)
    by_disk.pop("", None)
    daily = {found[0] for found in by_day.values()} | {found[-1] for found in by_disk.values()}
    named = [each for each in usable if not each.alone]
    return (
        {each for each in backups if NOW - each.taken < rule.everything}
        | {each for each in daily if NOW - each.taken < rule.daily}
        | {*(named or usable)[-1:]}
    )


@pytest.mark.parametrize(
    ("environment", "rule"),
    [
        ({}, RULE),
        ({"KEEP_ALL_HOURS": " ", "KEEP_DAILY_DAYS": ""}, RULE),
        ({"KEEP_ALL_HOURS": "1", "KEEP_DAILY_DAYS": "3650"}, Rule(timedelta(hours=1), timedelta(days=3650))),
    ],
)
def test_the_rule_is_read(environment: Mapping[str, str], rule: Rule) -> None:
    assert read_rule(environment) == rule


@pytest.mark.parametrize("value", ["0", "-1", "1.5", "a day", "3651000", "٣"])
@pytest.mark.parametrize("name", ["KEEP_ALL_HOURS", "KEEP_DAILY_DAYS"])
def test_a_rule_that_is_none_is_refused_by_its_name(name: str, value: str) -> None:
    with pytest.raises(SettingsError, match=rf"{name} is not valid: give a whole number"):
        read_rule({name: value})
