"""Killed at any call, before or after AWS has carried it out, the tool is run again and goes on: nothing is lost."""

import os
import random
import signal
import subprocess
import sys
from dataclasses import dataclass, field
from typing import Any

import boto3
import pytest

from comanda_deploy import engine, inventory, lock
from comanda_deploy.runbook import BOOTSTRAP, REMOVAL, STEPS
from comanda_deploy.step import Step
from comanda_testbed.faults import Fault
from tests.deployment.account import Account, Silent, assert_made_once
from tests.deployment.leftovers import leave_behind

READING = ("Describe", "List", "Get", "Simulate")


class Killed(BaseException):
    """As a signal would: nothing in the tool catches it."""


@dataclass
class Killer:
    """Kills at each call once before it is sent, and once after it was carried out.

    Args:
        chance: dice for the calls that only read, of which one in sixty is hit.
    """

    chance: random.Random
    spared: set[str] = field(default_factory=set)
    kills: int = 0

    def watch(self, session: boto3.Session) -> None:
        """Hear of every call of a session."""
        session.events.register_first("before-call.*", self._before)
        session.events.register_last("after-call.*", self._after)

    def _before(self, model: Any, **_: Any) -> None:
        if model.name.startswith(READING):
            if self.chance.random() < 1 / 60:
                self._kill()
        elif model.name in self.spared:
            self.spared.remove(model.name)
        else:
            # The next of its kind is let through, or none would ever be made.
            self.spared.add(model.name)
            self._kill()

    def _after(self, model: Any, parsed: Any, **_: Any) -> None:
        if not model.name.startswith(READING) and "Error" not in parsed:
            self._kill()

    def _kill(self) -> None:
        self.kills += 1
        raise Killed


def carry_out(account: Account, step: Step[Any], *, removal: bool = False) -> None:
    """Run one step, again and again, until it is not killed any more."""
    for _ in range(500):
        try:
            engine.apply(account.context(), [step], Silent(), removal=removal)
        except Killed:
            continue
        return
    raise AssertionError(f"{step.name} never ends")


@pytest.fixture
def killer(account: Account, chance: random.Random) -> Killer:
    killer = Killer(chance)
    killer.watch(account.session)
    return killer


def test_each_step_is_killed_at_each_of_its_calls_and_resumed(account: Account, killer: Killer) -> None:
    for step in STEPS:
        carry_out(account, step)
    assert killer.kills > 100
    killer.chance = random.Random(0)
    built = Account(account.bed, account.home, account.environment, account.bed.session())
    assert [each for each in built.plan() if "user/moto" not in each] == []
    assert_made_once(account)

    leave_behind(account)
    before = killer.kills
    for step in reversed(REMOVAL):
        carry_out(account, step, removal=True)
    assert killer.kills - before > 60
    assert inventory.take(built.context()) == []


def test_bootstrap_is_killed_at_each_of_its_calls_and_resumed(account: Account, chance: random.Random) -> None:
    account.session, account.clients = account.bed.session(), {}
    account.destroy(BOOTSTRAP)
    for role in account.bed.client("iam").list_roles()["Roles"]:
        account.bed.client("iam").delete_role(RoleName=role["RoleName"])
    killer = Killer(chance)
    account.session, account.clients = account.bed.session(), {}
    killer.watch(account.session)
    carry_out(account, BOOTSTRAP[0])
    assert killer.kills > 60
    carry_out(account, BOOTSTRAP[0], removal=True)
    assert not account.bed.client("iam").list_users()["Users"]
    assert not account.bed.client("iam").list_policies(Scope="Local")["Policies"]


def test_a_killed_process_leaves_a_lock_that_the_next_run_takes_over(account: Account) -> None:
    running = subprocess.Popen(
        [sys.executable, "-m", "comanda_deploy", "apply", "--yes"],
        env=account.environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    account.bed.faults.arm(
        Fault("eks:CreateCluster", hook=lambda: os.kill(running.pid, signal.SIGKILL), done_first=False)
    )
    with running:
        assert running.wait(60) == -signal.SIGKILL
    assert lock.holder_of(account.context()) is not None
    again = account.command("apply", "--yes")
    assert again.returncode == 0, again.stderr
    assert lock.holder_of(account.context()) is None
    assert account.plan() == []
