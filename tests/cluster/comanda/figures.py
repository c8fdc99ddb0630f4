"""What the proofs of day two measured, a line of JSON each in build/operations.jsonl: for docs/operations.md.

.venv/bin/python -m tests.cluster.comanda.figures       # prints the table, of the newest two runs of each proof
"""

import json
from datetime import UTC, datetime
from typing import Any

from tests.cluster.comanda.guests import Guests
from tests.cluster.layout import CLONE
from tests.cluster.machine import run

FILE = CLONE / "build" / "operations.jsonl"
KEPT = 2
"""How many runs of a proof the table shows."""

OF_GUESTS = ("served", "requests", "failed", "worst_seconds")
NOT_SECONDS = {"what", "commit", "at", *OF_GUESTS}


def note(what: str, guests: Guests | None = None, **seconds: float) -> None:
    """Write down and print what one proof measured.

    Args:
        what: was done to Comanda. guests: who ordered meanwhile. seconds: how long what took.
    """
    figures: dict[str, object] = {"what": what, **{name: round(value, 1) for name, value in seconds.items()}}
    if guests is not None:
        figures |= {
            "served": len(guests.served),
            "requests": sum(guests.answers.values()),
            "failed": dict(guests.failures),
            "worst_seconds": round(guests.worst, 1),
        }
    commit = run("git", "-C", str(CLONE), "rev-parse", "--short", "HEAD").strip()
    at = datetime.now(UTC).isoformat(timespec="seconds")
    FILE.parent.mkdir(exist_ok=True)
    with FILE.open("a", encoding="utf-8") as file:
        file.write(json.dumps({**figures, "commit": commit, "at": at}) + "\n")
    print("figures:", json.dumps(figures))


def table(lines: list[dict[str, Any]]) -> str:
    """Answer the newest runs of each proof, in the order in which they were first run, as Markdown."""
    rows = ["| done to it | took, s | orders | requests | failed, by cause | failing for, s | commit |"]
    rows.append("|---|---|---|---|---|---|---|")
    for what in dict.fromkeys(line["what"] for line in lines):
        for line in [each for each in lines if each["what"] == what][-KEPT:]:
            took = ", ".join(f"{name.replace('_', ' ')} {line[name]}" for name in line if name not in NOT_SECONDS)
            failed = "; ".join(f"{cause}: {count} times" for cause, count in line.get("failed", {}).items()) or "none"
            rows.append(
                f"| {what} | {took} | {line.get('served', '')} | {line.get('requests', '')} | {failed} "
                f"| {line.get('worst_seconds', '')} | {line['commit']} |"
            )
    return "\n".join(rows)


if __name__ == "__main__":
    print(table([json.loads(line) for line in FILE.read_text(encoding="utf-8").splitlines()]))
