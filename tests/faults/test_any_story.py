"""Stories that hypothesis makes up, over HTTP; of one that does not hold it looks for the shortest.

make test ARGS='-k any_story' STORIES=500 STEPS=60
"""

import asyncio
import logging
import os
from collections import Counter

import hypothesis
import pytest
from hypothesis import HealthCheck, Phase
from hypothesis.stateful import run_state_machine_as_test

from comanda.payments.mercado_pago import MercadoPago
from tests.conftest import seed
from tests.faults.story import Story
from tests.faults.test_runs import with_a_key_of_its_own
from tests.faults.world import Stage

STORIES = int(os.environ.get("STORIES", "15"))
STEPS = int(os.environ.get("STEPS", "25"))


def tell(owner_url: str, database_url: str, *, number: int, steps: int, dice: int, shrink: bool = True) -> Counter[str]:
    """Tell so many stories, and answer what happened in them.

    Raises:
        AssertionError: one does not hold; its notes say the steps of the shortest one found.
    """
    seen: Counter[str] = Counter()
    phases = (Phase.generate, Phase.shrink) if shrink else (Phase.generate,)
    settings = hypothesis.settings(
        max_examples=number,
        stateful_step_count=steps,
        deadline=None,
        database=None,
        phases=phases,
        report_multiple_bugs=False,
        suppress_health_check=list(HealthCheck),
    )
    # One item a round: which of two a fault strikes would else be the machine's choice, and not the story's.
    stage = Stage(owner_url, database_url, WORKER_CONCURRENCY=1)
    logging.disable(logging.CRITICAL)
    with asyncio.Runner() as runner:
        runner.run(stage.__aenter__())

        @hypothesis.seed(dice)
        def story() -> Story:
            return Story(runner, stage, str(dice), seen)

        try:
            run_state_machine_as_test(story, settings=settings)  # type: ignore[arg-type]
        finally:
            logging.disable(logging.NOTSET)
            runner.run(stage.__aexit__())
    return seen


def test_in_any_story_every_real_is_accounted_for(owner_url: str, database_url: str) -> None:
    try:
        seen = tell(owner_url, database_url, number=STORIES, steps=STEPS, dice=seed())
    except BaseException as error:
        error.add_note(f"again: make test SEED={seed()} STORIES={STORIES} STEPS={STEPS} ARGS='-k any_story'")
        raise
    print(dict(sorted(seen.items())))


def test_it_finds_a_charge_that_is_made_twice(
    owner_url: str, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(MercadoPago, "create_pix", with_a_key_of_its_own)
    with pytest.raises(AssertionError, match="was charged for 2 times"):
        tell(owner_url, database_url, number=100, steps=STEPS, dice=9, shrink=False)
