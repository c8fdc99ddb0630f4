"""What `comanda-deploy plan` takes over all steps, against the test bed: the operator's wait before each decision."""

import statistics
import subprocess
import sys
import time

from comanda_testbed.bed import TestBed, running_testbed

PLAN_SECONDS = 5.0
"""What it must stay under. AWS itself answers more slowly than the test bed."""
TIMES = 3
SETTINGS = '[cluster]\nendpoint_cidrs = ["203.0.113.7/32"]\n'


def seconds() -> dict[str, float]:
    """Answer the median seconds of a plan of an empty account, and of one that is built."""
    with running_testbed() as bed:
        settings = bed.folder / "settings.toml"
        settings.write_text(SETTINGS, encoding="utf-8")
        environment = {
            **bed.environment,
            "HOME": str(bed.folder),
            "COMANDA_SETTINGS": str(settings),
            "MERCADO_PAGO_ACCESS_TOKEN": "TEST-of-the-bench",
            "MERCADO_PAGO_WEBHOOK_SECRET": "of-the-bench-alone",
            "PAYER_EMAIL": "payer@example.com",
        }
        _run(environment, "bootstrap", "--yes")
        _become_the_operator(bed, environment)
        empty = _median(environment, expected=2)
        _run(environment, "apply", "--yes")
        return {"plan of an empty account": empty, "plan of a built account": _median(environment, expected=0)}


def _become_the_operator(bed: TestBed, environment: dict[str, str]) -> None:
    key = bed.client("iam").create_access_key(UserName="comanda-operator")["AccessKey"]
    environment.update(AWS_ACCESS_KEY_ID=key["AccessKeyId"], AWS_SECRET_ACCESS_KEY=key["SecretAccessKey"])


def _median(environment: dict[str, str], *, expected: int) -> float:
    taken = []
    for _ in range(TIMES):
        began = time.monotonic()
        _run(environment, "plan", expected=expected)
        taken.append(time.monotonic() - began)
    return statistics.median(taken)


def _run(environment: dict[str, str], *arguments: str, expected: int = 0) -> None:
    answer = subprocess.run(
        [sys.executable, "-m", "comanda_deploy", *arguments],
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    assert answer.returncode == expected, answer.stderr
