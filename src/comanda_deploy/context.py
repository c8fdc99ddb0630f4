"""What a step works with: the settings, AWS's clients, the commands beside them."""

import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import boto3
from botocore.config import Config

from comanda_deploy.errors import DeployError, NotFromHereError
from comanda_deploy.settings import Settings

CLIENT_CONFIG = Config(connect_timeout=5, read_timeout=30, user_agent_extra="comanda-deploy")
# AWS's own advice for throttling: back off with jitter, and let a token bucket stop a storm of retries.
READING = CLIENT_CONFIG.merge(Config(retries={"mode": "standard", "total_max_attempts": 5}))
CHANGING = CLIENT_CONFIG.merge(Config(retries={"mode": "standard", "total_max_attempts": 1}))

AWS_HOSTS = (".amazonaws.com", ".amazonaws.com.cn", ".api.aws")
"""Where AWS itself answers, VPC endpoints included."""

PRIVATE = {"MERCADO_PAGO_ACCESS_TOKEN", "MERCADO_PAGO_WEBHOOK_SECRET"}
"""What of the environment is no other command's business."""


def utc_now() -> datetime:
    """Answer the time, aware, in UTC."""
    return datetime.now(UTC)


@dataclass
class Context:
    """One command's view of the account.

    Args:
        settings: as read from the operator's file.
        environment: of the commands that are run; os.environ if not given.
    """

    settings: Settings
    session: boto3.Session
    clock: Callable[[], datetime] = utc_now
    environment: Mapping[str, str] = field(default_factory=lambda: dict(os.environ))
    sleep: Callable[[float], None] = time.sleep
    """Waits for a number of seconds while AWS is at work."""
    ask: Callable[[str], str] | None = None
    """Asks the operator for a secret without echo; None where nobody can be asked."""
    answers: dict[str, str] = field(default_factory=dict)
    """What the operator answered, by the name of what was asked for."""
    _clients: dict[tuple[str, bool], Any] = field(default_factory=dict)
    _catalogue: dict[str, list[Any]] = field(default_factory=dict)
    _once: bool = False

    @property
    def region(self) -> str:
        """The region, as set in the settings."""
        return self.settings.aws.region

    @cached_property
    def caller(self) -> dict[str, str]:
        """Who runs this, as STS says: Account, Arn, UserId."""
        answer: dict[str, str] = self.client("sts").get_caller_identity()
        return answer

    @property
    def account_id(self) -> str:
        """The account's twelve digits."""
        return self.caller["Account"]

    @property
    def in_aws(self) -> bool:
        """Whether it is AWS that answers, and not an account that is emulated elsewhere (AWS_ENDPOINT_URL)."""
        host = urlsplit(self.client("ecr").meta.endpoint_url).hostname or ""
        return host.endswith(AWS_HOSTS)

    def client(self, service: str) -> Any:
        """Answer boto3's client of a service; the same one each time, since making one reads megabytes."""
        key = (service, self._once)
        if key not in self._clients:
            make: Any = self.session.client  # its stubs know each service by name only
            config = CHANGING if self._once else READING
            self._clients[key] = make(service, region_name=self.region, config=config)
        return self._clients[key]

    @contextmanager
    def sending_once(self) -> Iterator[None]:
        """Let the block's calls be sent once, and not again by boto3 when no answer comes."""
        before, self._once = self._once, True
        try:
            yield
        finally:
            self._once = before

    def pages(self, service: str, operation: str, key: str, **arguments: Any) -> list[Any]:
        """Answer all pages of a listing: of `operation` ("describe_subnets"), what stands under `key` ("Subnets")."""
        paginator = self.client(service).get_paginator(operation)
        return [item for page in paginator.paginate(**arguments) for item in page.get(key, [])]

    def catalogue(self, service: str, operation: str, key: str, **arguments: Any) -> list[Any]:
        """Answer the same of what AWS has on offer: asked for once, since it does not change while a command runs."""
        asked = f"{service} {operation} {key} {sorted(arguments.items())}"
        if asked not in self._catalogue:
            self._catalogue[asked] = self.pages(service, operation, key, **arguments)
        return self._catalogue[asked]

    def which(self, command: str) -> Path | None:
        """Answer where a command is, if it is installed."""
        found = shutil.which(command, path=self.environment.get("PATH"))
        return Path(found) if found else None

    def run(
        self, command: Sequence[str], *, standard_input: str | None = None, timeout: float = 120
    ) -> subprocess.CompletedProcess[str]:
        """Run a command and answer what it said, whatever its exit code.

        Raises:
            NotFromHereError: it is not installed.
            DeployError: it took longer than `timeout` seconds.
        """
        try:
            return subprocess.run(  # noqa: S603 - our own commands, never through a shell
                self._located(command),
                input=standard_input,
                stdin=subprocess.DEVNULL if standard_input is None else None,
                capture_output=True,
                text=True,
                timeout=timeout,
                check=False,
                env=self._for_commands(),
            )
        except subprocess.TimeoutExpired as error:
            raise DeployError(
                f"{command[0]} {command[1]} did not end within {timeout:.0f} s: run it by hand"
            ) from error

    def start(self, command: Sequence[str], **streams: Any) -> subprocess.Popen[bytes]:
        """Start a command and answer it, at work.

        Args:
            streams: `stdin`, `stdout` and `stderr` as Popen takes them; those not given are this process's own.

        Raises:
            NotFromHereError: it is not installed.
        """
        return subprocess.Popen(self._located(command), env=self._for_commands(), **streams)  # noqa: S603 - as above

    def _located(self, command: Sequence[str]) -> list[str]:
        where = self.which(command[0])
        if where is None:
            mend = "run infra/scripts/eks-cluster-deploy.sh setup-env"
            raise NotFromHereError(f"{command[0]} is not installed: {mend}")
        return [str(where), *command[1:]]

    def _for_commands(self) -> dict[str, str]:
        return {name: value for name, value in self.environment.items() if name not in PRIVATE}
