"""Lines of the product's logs: read as kubectl gives them, chosen by what they name, shown to people and scripts.

The product writes a line of JSON for each thing (src/comanda/http/logs.py). What a dying process or a library writes
beside that is kept as it is.
"""

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, BinaryIO

LONGEST = 1_048_576
"""Bytes of a line; what is longer is cut into several."""
BAD = {"ERROR", "CRITICAL"}
SHOWN_APART = ("at", "level", "logger", "message", "method", "route", "status", "milliseconds", "exception")
PAYMENT = ("payment", "provider_payment_id")
"""Under which names a line has a payment's id at the provider."""


@dataclass(frozen=True)
class Source:
    """A container that writes.

    Args:
        previous: whether it is the one before, of the same pod.
    """

    pod: str
    container: str
    previous: bool = False

    def __str__(self) -> str:
        """Answer what people call it."""
        return f"{self.pod} (before its restart)" if self.previous else self.pod


@dataclass(frozen=True)
class Line:
    """One line.

    Args:
        at: when the node took it, aware, in UTC. fields: of its JSON, {} if it is none.
    """

    at: datetime
    source: Source
    text: str
    fields: dict[str, Any] = field(compare=False, repr=False)

    @property
    def is_bad(self) -> bool:
        """Whether it tells of a fault: an error, an answer of 5xx, or what is written by what cannot write JSON."""
        status = self.fields.get("status")
        return not self.fields or self.fields.get("level") in BAD or (isinstance(status, int) and status >= 500)


def read(source: Source, file: BinaryIO) -> Iterator[Line]:
    """Answer the lines of `kubectl logs --timestamps`, in the order of their times."""
    latest = datetime.min.replace(tzinfo=UTC)
    while raw := file.readline(LONGEST):
        line = parse(source, raw, latest)
        # A clock that was set back: what was written later still comes later.
        latest = max(latest, line.at)
        yield Line(latest, line.source, line.text, line.fields)


def parse(source: Source, raw: bytes, before: datetime) -> Line:
    """Read a line of `kubectl logs --timestamps`.

    Args:
        before: the time of the line before, for one that has none.
    """
    whole = raw.decode("utf-8", "replace").rstrip("\r\n")
    stamp, _, text = whole.partition(" ")
    try:
        at = datetime.fromisoformat(stamp).astimezone(UTC)
    except ValueError:
        at, text = before, whole
    try:
        fields = json.loads(text)
    except (ValueError, RecursionError):
        fields = None
    return Line(at, source, text, fields if isinstance(fields, dict) else {})


@dataclass
class Names:
    """What a line must name one of.

    Args:
        asked: the id that was asked for. related: request ids and payments that belong to it.
    """

    asked: str
    related: set[str] = field(default_factory=set)

    def take(self, line: Line) -> bool:
        """Answer whether a line belongs to it; what it names beside is looked for from now on."""
        if not self.names(line, self.asked):
            return any(line.fields.get(name) in self.related for name in ("request_id", *PAYMENT))
        # The request in which an order is placed, and that by which its payment came in.
        found = [line.fields.get("request_id")]
        if line.fields.get("order_id") == self.asked:
            found += [line.fields.get(name) for name in PAYMENT]
        self.related |= {each for each in found if isinstance(each, str) and each}
        return True

    def follow(self, lines: Iterable[Line]) -> None:
        """Find what else belongs to it: a payment that an order's line names leads to the webhooks of it."""
        for line in lines:
            if self.take(line) and isinstance(request := line.fields.get("request_id"), str):
                self.related.add(request)

    @staticmethod
    def names(line: Line, wanted: str) -> bool:
        """Answer whether a line has an id in one of its texts, as a word of its own."""
        if wanted not in line.text:
            return False
        texts = [each for each in line.fields.values() if isinstance(each, str)] or [line.text]
        word = re.compile(rf"(?<![\w-]){re.escape(wanted)}(?![\w-])")
        return any(word.search(each) for each in texts)


def for_scripts(line: Line) -> str:
    """Answer a line of JSON: what was written, and by whom."""
    by = {"pod": line.source.pod, "previous": line.source.previous}
    if line.fields:
        return json.dumps({**by, **line.fields}, ensure_ascii=False)
    return json.dumps({**by, "at": line.at.isoformat(), "message": line.text}, ensure_ascii=False)


def for_people(line: Line) -> str:
    """Answer a line for people, its time in UTC; the lines of an exception stand below it."""
    has = line.fields
    when = f"{line.at:%Y-%m-%d %H:%M:%S}.{line.at.microsecond // 1000:03}"
    if not has:
        return f"{when} {line.source}  {_printable(line.text)}"
    what = has.get("message", "")
    if "route" in has:
        what = f"{has.get('method')} {has['route']} {has.get('status')} in {has.get('milliseconds')} ms"
    more = "".join(f"  {name}={has[name]}" for name in has if name not in SHOWN_APART)
    text = _printable(f"{when} {line.source}  {has.get('level', '')} {what}{more}")
    return "\n    | ".join([text, *map(_printable, str(has.get("exception", "")).splitlines())])


def _printable(line: str) -> str:
    """Answer a line that does nothing to the terminal that it is shown on."""
    return "".join(each if each.isprintable() or each == "\t" else "?" for each in line)
