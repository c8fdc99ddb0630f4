"""Which backups are kept, and which are pruned: a matter of their ages alone."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from comanda.backups.snapshots import Backup
from comanda.settings import SettingsError

LONGEST = 10 * 365
"""Days. Who wants to keep longer wants something else than snapshots of a disk."""


@dataclass(frozen=True)
class Rule:
    """How long backups are kept.

    Args:
        everything: as long as that, all of them. daily: as long as that, the first of each day, in UTC.
    """

    everything: timedelta
    daily: timedelta


@dataclass(frozen=True)
class Verdict:
    """What becomes of a backup, and why."""

    backup: Backup
    keep: bool
    why: str


def read_rule(environment: Mapping[str, str]) -> Rule:
    """Read the rule: KEEP_ALL_HOURS (24) and KEEP_DAILY_DAYS (14).

    Raises:
        SettingsError: one is not valid; one line that names it.
    """
    hours = _whole(environment, "KEEP_ALL_HOURS", 24, LONGEST * 24)
    days = _whole(environment, "KEEP_DAILY_DAYS", 14, LONGEST)
    return Rule(timedelta(hours=hours), timedelta(days=days))


def judge(backups: Sequence[Backup], now: datetime, rule: Rule) -> list[Verdict]:
    """Answer what becomes of each backup, the oldest first.

    Beside those that the rule keeps, the newest that can be restored stays however old it is. And as long as the first
    of each day stays, so does the last one of a disk that was given up: of a database that was lost and begun anew it
    is the one that is wanted.

    Args:
        now: aware.
    """
    in_order = sorted(backups, key=lambda each: (each.taken, each.name))
    usable = [each for each in in_order if each.usable]
    # The later ones take the earlier one's place: so the first of each day, and the last of each disk.
    first = {each.taken.astimezone(UTC).date(): each for each in reversed(usable)}
    last = {each.disk: each for each in usable if each.disk}
    newest = next((each for each in reversed(usable) if not each.alone), usable[-1] if usable else None)

    def verdict(each: Backup) -> Verdict:
        age = now - each.taken
        if age < rule.everything:
            return Verdict(each, True, "younger than all are kept")
        if not each.usable:
            return Verdict(each, False, "never became usable")
        if each is newest:
            return Verdict(each, True, "the newest")
        if age < rule.daily and each is first[each.taken.astimezone(UTC).date()]:
            return Verdict(each, True, "the first of its day")
        if age < rule.daily and each is last.get(each.disk):
            return Verdict(each, True, "the last of its disk")
        return Verdict(each, False, "old enough")

    return [verdict(each) for each in in_order]


def _whole(environment: Mapping[str, str], name: str, default: int, most: int) -> int:
    text = environment.get(name, "").strip()
    if not text:
        return default
    if not text.isascii() or not text.isdecimal() or not 1 <= int(text) <= most:
        raise SettingsError(f"{name} is not valid: give a whole number from 1 to {most}")
    return int(text)
