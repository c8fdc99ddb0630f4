"""Which metrics a query reads, and of which jobs: found in its text, without a parser of PromQL.

Whether a query parses is promtool's to say; what is found here holds for the plain queries of dashboards and rules.
"""

import re

STRINGS = re.compile(r'"(?:[^"\\]|\\.)*"')
MATCHERS = r"""\{((?:"(?:[^"\\]|\\.)*"|[^{}"])*)\}"""
SELECTOR = re.compile(rf"\b([a-zA-Z_:][a-zA-Z0-9_:]*)\s*{MATCHERS}")
CLAUSES = re.compile(r"\b(?:by|without|on|ignoring|group_left|group_right)\s*\([^()]*\)")
RANGES = re.compile(r"\[[^\]]*\]")
NAMES = re.compile(r"\b([a-zA-Z_:][a-zA-Z0-9_:]*)\b(?!\s*\()")
JOB = re.compile(r'\bjob\s*(=~?)\s*"([^"]*)"')
WORDS = {"and", "or", "unless", "bool", "offset", "inf", "nan", "by", "without", "on", "ignoring"}
WORDS |= {"group_left", "group_right"}


def metrics(expr: str) -> set[str]:
    """Answer the names of all metrics that a query reads."""
    text = STRINGS.sub('""', expr)
    text = re.sub(r"\{[^{}]*\}", " ", text)
    text = RANGES.sub(" ", CLAUSES.sub(" ", text))
    return {name for name in NAMES.findall(text) if name.lower() not in WORDS}


def asked_of(expr: str) -> set[tuple[str, str]]:
    """Answer each metric of a query with each job that it is asked of; "" where a selector names none."""
    found: set[tuple[str, str]] = set()
    selected = set()
    for name, matchers in SELECTOR.findall(expr):
        selected.add(name)
        job = JOB.search(matchers)
        found |= {(name, each) for each in (job[2].split("|") if job else [""])}
    return found | {(name, "") for name in metrics(expr) - selected}
