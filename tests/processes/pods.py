"""`python -m comanda serve` and `worker` as processes of their own, watched from outside as Kubernetes watches them."""

import asyncio
import json
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Self

import aiohttp

from comanda_local.ports import free_port
from comanda_sandbox.running import RunningSandbox
from tests.running_diner import Answer

SECRETS = ("TEST-", "sandbox-webhook-secret", "hidden-password")


def environment(database_url: str, sandbox: RunningSandbox | None = None, **overrides: object) -> dict[str, str]:
    """Build what a pod is started with: quick where pods are slow to spare the provider; every port a free one."""
    given: dict[str, object] = {
        "PATH": os.environ["PATH"],
        "DATABASE_URL": database_url,
        "MERCADO_PAGO_ACCESS_TOKEN": sandbox.token if sandbox else "TEST-nobody",
        "MERCADO_PAGO_WEBHOOK_SECRET": sandbox.webhook_secret if sandbox else "sandbox-webhook-secret",
        "MERCADO_PAGO_BASE_URL": sandbox.url if sandbox else "http://127.0.0.1:9",
        "PAYER_EMAIL": "guest@comanda.example.com",
        "HOST": "127.0.0.1",
        "PORT": free_port(),
        "OPS_HOST": "127.0.0.1",
        "OPS_PORT": free_port(),
        "RATE_LIMIT_EXEMPT": "127.0.0.0/8",
        "DRAIN_SECONDS": 0,
        "PROVIDER_TIMEOUT_MS": 1000,
        "WORKER_LEASE": 4,
        "WORKER_POLL_MS": 200,
        "CHECK_FIRST": 1,
        "CHECK_UNWATCHED": 2,
        "RETRY_FIRST": 1,
        **overrides,
    }
    return {name: str(value) for name, value in given.items()}


@dataclass
class Pod:
    """A running process: its log lines as they come, its ports, its end."""

    verb: str
    settings: Mapping[str, str]
    process: asyncio.subprocess.Process
    lines: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    _heard: asyncio.Condition = field(default_factory=asyncio.Condition)
    _readers: list["asyncio.Task[None]"] = field(default_factory=list)

    @classmethod
    async def start(cls, verb: str, settings: Mapping[str, str]) -> Self:
        """Start `python -m comanda VERB`; returns before it is ready."""
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "comanda", verb),
            env=settings,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            limit=2**20,
        )
        pod = cls(verb, settings, process)
        pod._readers = [
            asyncio.create_task(pod._read(process.stdout, pod.lines)),
            asyncio.create_task(pod._read(process.stderr, pod.errors)),
        ]
        return pod

    @property
    def url(self) -> str:
        """Where the API listens."""
        return f"http://127.0.0.1:{self.settings['PORT']}"

    @property
    def ops(self) -> str:
        """Where the ops port is."""
        return f"http://127.0.0.1:{self.settings['OPS_PORT']}"

    async def hears(self, text: str, seconds: float = 60) -> str:
        """Wait until a line of the log contains `text`; answer that line."""
        found: list[str] = []

        def said() -> bool:
            found[:] = [line for line in self.lines if text in line]
            return bool(found) or all(reader.done() for reader in self._readers)

        try:
            async with asyncio.timeout(seconds), self._heard:
                await self._heard.wait_for(said)
        except TimeoutError:
            raise AssertionError(f"it did not say {text!r}: {self.lines} {self.errors}") from None
        assert found, f"it ended without saying {text!r}: {self.lines} {self.errors}"
        return found[0]

    async def ready(self) -> Self:
        """Wait until it is ready."""
        await self.hears('"message":"ready"')
        return self

    def send(self, number: signal.Signals) -> None:
        """Send a signal."""
        self.process.send_signal(number)

    async def ends(self, seconds: float = 60) -> int:
        """Wait for the end; answer the exit status. No secret may have been written, nothing asyncio complains of."""
        async with asyncio.timeout(seconds):
            status = await self.process.wait()
            await asyncio.gather(*self._readers)
        said = "\n".join([*self.lines, *self.errors])
        assert not [secret for secret in SECRETS if secret in said], said
        assert "never retrieved" not in said, said
        assert "was destroyed" not in said, said
        assert "Traceback" not in said, said
        return status

    async def kill(self) -> None:
        """End it without a warning, as a node that is lost does."""
        self.process.kill()
        await self.process.wait()

    async def metric(self, name: str) -> float:
        """Answer the sum of a metric's values, by the beginning of its lines."""
        async with aiohttp.ClientSession() as session, session.get(f"{self.ops}/metrics") as response:
            text = await response.text()
        return sum(float(line.rpartition(" ")[2]) for line in text.splitlines() if line.startswith(name))

    async def _read(self, stream: asyncio.StreamReader | None, lines: list[str]) -> None:
        assert stream is not None
        async for line in stream:
            async with self._heard:
                lines.append(line.decode().rstrip("\n"))
                self._heard.notify_all()
        async with self._heard:
            self._heard.notify_all()

    async def clean_up(self) -> None:
        """Leave nothing behind, however the test ended."""
        if self.process.returncode is None:
            self.process.kill()
        await self.process.wait()
        await asyncio.gather(*self._readers)


@asynccontextmanager
async def pods() -> AsyncIterator[Callable[..., Awaitable[Pod]]]:
    """Hand out a way to start pods; all of them end with the block."""
    started: list[Pod] = []

    async def start(verb: str, settings: Mapping[str, str]) -> Pod:
        started.append(pod := await Pod.start(verb, settings))
        return pod

    try:
        yield start
    finally:
        for pod in started:
            await pod.clean_up()


async def call(
    session: aiohttp.ClientSession,
    method: str,
    url: str,
    body: object = None,
    *,
    key: str | None = None,
    headers: Mapping[str, str] | None = None,
) -> Answer:
    """Send a request and answer what came, whatever its status."""
    sent = dict(headers or {}) | ({"Authorization": f"Bearer {key}"} if key else {})
    async with session.request(method, url, json=body, headers=sent) as response:
        text = await response.text()
        decoded: Any = json.loads(text) if "json" in response.headers.get("content-type", "") and text else text
        return Answer(response.status, {name.lower(): value for name, value in response.headers.items()}, decoded)


async def eventually(condition: Callable[[], Awaitable[object]], what: str, seconds: float = 60) -> None:
    """Wait until a condition holds: for what other processes do without telling us."""
    deadline = time.monotonic() + seconds
    while not await condition():
        assert time.monotonic() < deadline, f"not in time: {what}"
        await asyncio.sleep(0.02)
