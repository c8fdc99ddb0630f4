"""A rehearsal: a whole deployment in an emulated account, as an operator sees it, from bootstrap to the last inventory.

Every command is the real one, and its exit code is held to what it must be: CI runs this too.
"""

import os
import subprocess
import sys
import time
from pathlib import Path

from comanda_testbed.bed import TestBed, running_testbed
from comanda_testbed.drift import DRIFT

SETTINGS = """# What differs from infra/settings.toml in this rehearsal.
[cluster]
endpoint_cidrs = ["203.0.113.7/32"]
[destroy]
keep = []
"""


def demo() -> int:
    """Run it, and answer the exit code: 0 if all went as it must."""
    began = time.monotonic()
    with running_testbed() as bed:
        rehearsal = Rehearsal(bed)
        try:
            rehearsal.go()
        except Unexpected as error:
            print(f"\nThe rehearsal failed: {error}", file=sys.stderr)
            return 1
    print(f"\nThe whole life of an account, in {time.monotonic() - began:.0f} s. No account was touched.")
    return 0


class Unexpected(Exception):
    """A command ended otherwise than it must."""


class Rehearsal:
    """One rehearsal.

    Args:
        bed: the account it is held in.
    """

    def __init__(self, bed: TestBed) -> None:
        """Prepare the operator's settings, in a folder that goes with the account."""
        self._bed = bed
        settings = bed.folder / "rehearsal.toml"
        settings.write_text(SETTINGS, encoding="utf-8")
        self._environment = {
            **{name: os.environ[name] for name in ("LANG", "LC_ALL", "TERM") if name in os.environ},
            **bed.environment,
            "HOME": str(bed.folder),
            "COMANDA_SETTINGS": str(settings),
            "PYTHONPATH": str(Path(__file__).parents[1]),
            # Where a person would be asked without echo.
            "MERCADO_PAGO_ACCESS_TOKEN": "TEST-of-the-rehearsal",
            "MERCADO_PAGO_WEBHOOK_SECRET": "of-the-rehearsal-alone",
            "PAYER_EMAIL": "payer@example.com",
        }

    def go(self) -> None:
        """Go through it all.

        Raises:
            Unexpected: something did not go as it must.
        """
        _say("An empty account. An administrator makes the operator's user, the roles and their policies, once.")
        self._run("bootstrap", "--yes")
        self._become_the_operator()
        _say("The operator looks at what would be made. Exit code 2: there is something to do.")
        self._run("plan", expected=2)
        _say("And makes it. AWS takes half an hour for it; this account is quicker.")
        self._run("apply", "--yes")
        _say("A second look finds nothing to do.")
        self._run("plan")
        self._run("status")
        _say("Somebody changes things by hand, in the console:")
        for words, meddle in DRIFT:
            meddle(self._bed)
            print(f"  - {words}")
        _say("The plan shows each of them.")
        self._run("plan", expected=2)
        _say("And apply puts them back.")
        self._run("apply", "--yes")
        self._run("plan")
        _say("The diner closes. Everything is taken down, and the account is searched for what is left.")
        self._run("destroy", "--yes")
        self._become_the_administrator()
        self._run("bootstrap", "--remove", "--yes")

    def _run(self, *arguments: str, expected: int = 0) -> None:
        print(f"\n$ comanda-deploy {' '.join(arguments)}", flush=True)
        command = [sys.executable, "-m", "comanda_deploy", *arguments]
        answer = subprocess.run(  # noqa: S603 - our own command
            command, env=self._environment, stdin=subprocess.DEVNULL, stderr=subprocess.STDOUT, check=False
        )
        if answer.returncode != expected:
            raise Unexpected(
                f"comanda-deploy {' '.join(arguments)} ended with {answer.returncode}, expected was {expected}"
            )

    def _become_the_operator(self) -> None:
        key = self._bed.client("iam").create_access_key(UserName="comanda-operator")["AccessKey"]
        self._environment["AWS_ACCESS_KEY_ID"] = key["AccessKeyId"]
        self._environment["AWS_SECRET_ACCESS_KEY"] = key["SecretAccessKey"]

    def _become_the_administrator(self) -> None:
        self._environment.update(self._bed.environment)


def _say(words: str) -> None:
    print(f"\n== {words}", flush=True)
