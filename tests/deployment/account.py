"""An emulated account, bootstrapped, and its operator at work in it: by the engine, or by the command itself."""

import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import boto3
import msgspec

from comanda_deploy import engine
from comanda_deploy.context import Context
from comanda_deploy.runbook import BOOTSTRAP, REMOVAL, STEPS
from comanda_deploy.settings import Settings, read_settings
from comanda_deploy.step import Change, Step
from comanda_testbed.bed import TestBed, session_of

MERCADO_PAGO = {
    "MERCADO_PAGO_ACCESS_TOKEN": "TEST-of-the-test-bed",
    "MERCADO_PAGO_WEBHOOK_SECRET": "whsec-of-the-test-bed",
    "PAYER_EMAIL": "payer@example.com",
}


class Time:
    """A clock that only sleeping moves on."""

    def __init__(self) -> None:
        self.now = datetime(2026, 11, 23, 3, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now

    def sleep(self, seconds: float) -> None:
        assert seconds > 0
        self.now += timedelta(seconds=seconds)


@dataclass
class Silent:
    """Progress that is kept instead of printed."""

    said: list[tuple[str, str]] = field(default_factory=list)

    def step(self, step: Step[Any]) -> None:
        self.said.append(("step", step.name))

    def began(self, change: Change) -> None:
        self.said.append(("began", change.what))

    def waiting(self, change: Change, waited: timedelta) -> None:
        self.said.append(("waiting", change.what))

    def noted(self, change: Change) -> None:
        self.said.append(("noted", change.what))


def changed(settings: Settings, **sections: dict[str, Any]) -> Settings:
    """Answer settings with some of them changed: `changed(settings, cluster={"log_days": 7})`."""
    for section, values in sections.items():
        new = msgspec.structs.replace(getattr(settings, section), **values)
        settings = msgspec.structs.replace(settings, **{section: new})
    return settings


USUAL = changed(read_settings(), cluster={"endpoint_cidrs": ("203.0.113.7/32",)}, destroy={"keep": ()})
"""The published settings, with an operator's address in them, and nothing to be kept."""


@dataclass
class Account:
    """A bootstrapped account.

    Args:
        home: the operator's folder; nothing outside it is read or written.
        environment: of the operator's commands.
    """

    bed: TestBed
    home: Path
    environment: dict[str, str]
    session: boto3.Session
    settings: Settings = USUAL
    time: Time = field(default_factory=Time)
    clients: dict[tuple[str, bool], Any] = field(default_factory=dict)

    def context(self, **sections: dict[str, Any]) -> Context:
        """Answer what a new run of the tool would have: nothing is known from before."""
        return Context(
            settings=changed(self.settings, **sections),
            session=self.session,
            clock=self.time,
            sleep=self.time.sleep,
            environment=self.environment,
            _clients=self.clients,
        )

    def apply(self, steps: Sequence[Step[Any]] = STEPS, **sections: dict[str, Any]) -> list[str]:
        """Carry steps out, and answer what was changed."""
        return as_said(engine.apply(self.context(**sections), steps, Silent()))

    def plan(self, steps: Sequence[Step[Any]] = STEPS, **sections: dict[str, Any]) -> list[str]:
        """Answer what there is to do."""
        return as_said(change for each in engine.plan(self.context(**sections), steps) for change in each.to_do)

    def destroy(self, steps: Sequence[Step[Any]] = REMOVAL, **sections: dict[str, Any]) -> list[str]:
        """Take steps back, and answer what was changed."""
        return as_said(engine.apply(self.context(**sections), steps, Silent(), removal=True))

    def command(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run `comanda-deploy` as the operator would."""
        return subprocess.run(
            [sys.executable, "-m", "comanda_deploy", *arguments],
            env={**self.environment, **environment},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )


def as_said(changes: Any) -> list[str]:
    """Answer changes as people read them."""
    return [f"{change.kind} {change.what}" + (f": {change.detail}" if change.detail else "") for change in changes]


def assert_made_once(account: Account) -> None:
    """See that of what has no token of AWS's against it nothing was made twice."""
    ec2 = account.bed.client("ec2")
    ours = [{"Name": "tag:Project", "Values": ["comanda"]}]
    assert len(ec2.describe_vpcs(Filters=ours)["Vpcs"]) == 1
    assert len(ec2.describe_subnets(Filters=ours)["Subnets"]) == 4
    assert len(ec2.describe_route_tables(Filters=ours)["RouteTables"]) == 3
    assert len(ec2.describe_internet_gateways(Filters=ours)["InternetGateways"]) == 1


def pushed(account: Account, tag: str) -> str:
    """Push an image, as far as ECR's tables go, and answer its digest."""
    text = '{"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json", "layers": [], "of": "%s"}'
    answer = account.bed.client("ecr").put_image(repositoryName="comanda-api", imageManifest=text % tag, imageTag=tag)
    digest: str = answer["image"]["imageId"]["imageDigest"]
    return digest


def bootstrapped(bed: TestBed, home: Path, setenv: Callable[[str, str], None]) -> Account:
    """Answer an account after bootstrap.

    Args:
        setenv: of monkeypatch; boto3 finds the bed by the environment, as the tool does.
    """
    for name, value in bed.environment.items():
        setenv(name, value)
    settings = home / "settings.toml"
    settings.write_text('[cluster]\nendpoint_cidrs = ["203.0.113.7/32"]\n[destroy]\nkeep = []\n', encoding="utf-8")
    environment = {
        **bed.environment,
        **MERCADO_PAGO,
        "HOME": str(home),
        "COMANDA_SETTINGS": str(settings),
        "KUBECONFIG": str(home / "kubeconfig"),
    }
    account = Account(bed, home, environment, bed.session())
    account.apply(BOOTSTRAP)
    key = bed.client("iam").create_access_key(UserName="comanda-operator")["AccessKey"]
    environment["AWS_ACCESS_KEY_ID"] = key["AccessKeyId"]
    environment["AWS_SECRET_ACCESS_KEY"] = key["SecretAccessKey"]
    account.session = session_of(key["AccessKeyId"], key["SecretAccessKey"])
    account.clients = {}
    return account
