"""The registry: what is decided of it, as data."""

import json
from dataclasses import replace
from typing import Any

import pytest

from comanda_deploy.steps.ecr import LIFECYCLE, Ecr, EcrFacts
from tests.deployment.account import USUAL, as_said, changed

WHAT = "repository comanda-api"
BUILT = EcrFacts(
    arn="arn:aws:ecr:sa-east-1:123456789012:repository/comanda-api",
    lifecycle=json.dumps(LIFECYCLE, sort_keys=True),
    images=12,
)


def said(facts: EcrFacts) -> list[str]:
    return as_said(Ecr().decide(USUAL, facts))


def test_as_it_should_be_there_is_nothing_to_do() -> None:
    assert said(BUILT) == []


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        (
            EcrFacts(),
            [f"create {WHAT}: immutable tags, scanned on push, encrypted", f"change {WHAT}: keep the newest 50 images"],
        ),
        (replace(BUILT, immutable=False), [f"change {WHAT}: immutable tags"]),
        (replace(BUILT, scanned=False), [f"change {WHAT}: scanned on push"]),
        (replace(BUILT, tagged=False), [f"change {WHAT}: tag Project"]),
        (replace(BUILT, lifecycle=""), [f"change {WHAT}: keep the newest 50 images"]),
        (replace(BUILT, lifecycle='{"rules": []}'), [f"change {WHAT}: keep the newest 50 images"]),
        (
            replace(BUILT, immutable=False, scanned=False, tagged=False),
            [f"change {WHAT}: immutable tags", f"change {WHAT}: scanned on push", f"change {WHAT}: tag Project"],
        ),
    ],
)
def test_what_is_decided(facts: EcrFacts, expected: list[str]) -> None:
    assert said(facts) == expected


def test_of_rules_for_tagged_images_the_one_that_takes_any_comes_last_as_ecr_wants_it() -> None:
    """ECR refuses a policy in which a rule for any image has not the highest number."""
    rules: list[dict[str, Any]] = LIFECYCLE["rules"]
    assert max(rules, key=lambda rule: rule["rulePriority"])["selection"]["tagStatus"] == "any"


@pytest.mark.parametrize(
    ("facts", "keep", "expected"),
    [
        (BUILT, (), [f"delete {WHAT}: and its 12 images"]),
        (BUILT, ("volumes", "images"), [f"note {WHAT}: kept"]),
        (EcrFacts(), (), []),
        (EcrFacts(), ("images",), []),
    ],
)
def test_it_goes_with_its_images_unless_they_are_kept(
    facts: EcrFacts, keep: tuple[str, ...], expected: list[str]
) -> None:
    assert as_said(Ecr().decide_removal(changed(USUAL, destroy={"keep": keep}), facts)) == expected
