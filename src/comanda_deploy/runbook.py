"""The runbook: every step, in order. `docs/runbook.md` has a heading for each."""

from typing import Any

from comanda_deploy.step import Step

STEPS: tuple[Step[Any], ...] = ()
