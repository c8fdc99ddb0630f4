"""The sandbox as a process: its start, its stop and its death."""

import asyncio
import os
import re
import signal
import socket
import sqlite3
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest

from comanda_sandbox.__main__ import main
from tests.sandbox.caller import Caller
from tests.sandbox.receiver import receiving

TOKEN = "TEST-process"
ENVIRONMENT = {"PATH": os.environ["PATH"], "SANDBOX_TOKEN": TOKEN, "SANDBOX_WEBHOOK_SECRET": "secret"}


async def start(*arguments: str, environment: dict[str, str] | None = None) -> asyncio.subprocess.Process:
    """A sandbox process with its output in pipes."""
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "comanda_sandbox", *arguments),
        env=ENVIRONMENT if environment is None else environment,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )


async def outcome(*arguments: str, environment: dict[str, str] | None = None) -> tuple[int | None, str, str]:
    """Exit status, output and errors of a process that ends by itself."""
    process = await start(*arguments, environment=environment)
    async with asyncio.timeout(10):
        out, err = await process.communicate()
    return process.returncode, out.decode(), err.decode()


@asynccontextmanager
async def listening(*arguments: str) -> AsyncIterator[tuple[asyncio.subprocess.Process, str]]:
    """A process that listens, and its URL."""
    process = await start("--port", "0", *arguments)
    try:
        assert process.stdout is not None
        async with asyncio.timeout(10):
            line = (await process.stdout.readline()).decode()
        match = re.fullmatch(r"Pix sandbox listening at (http://127\.0\.0\.1:\d+)\n", line)
        assert match, line
        yield process, match[1]
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def stopped(process: asyncio.subprocess.Process, number: signal.Signals) -> tuple[int | None, bytes, bytes]:
    """How it ends after a signal."""
    process.send_signal(number)
    async with asyncio.timeout(10):
        out, err = await process.communicate()
    return process.returncode, out, err


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """The same without a process, for what never gets to listen."""

    def run_main(*arguments: str, environment: dict[str, str] = ENVIRONMENT) -> tuple[int, str, str]:
        for name in ENVIRONMENT:
            monkeypatch.delenv(name)
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr(sys, "argv", ["comanda_sandbox", *arguments])
        try:
            status = main()
        except SystemExit as end:
            status = int(end.code or 0)
        return status, *capfd.readouterr()

    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    return run_main


@pytest.mark.parametrize("missing", ["SANDBOX_TOKEN", "SANDBOX_WEBHOOK_SECRET"])
@pytest.mark.parametrize("value", [None, "", " "])
def test_a_missing_secret_is_one_line(
    run: Callable[..., tuple[int, str, str]], missing: str, value: str | None
) -> None:
    environment = {name: text for name, text in ENVIRONMENT.items() if name != missing}
    if value is not None:
        environment[missing] = value
    expected = f"comanda_sandbox: {missing} is missing or empty: set it in the environment\n"
    assert run(environment=environment) == (2, "", expected)


def test_a_full_port_is_one_line(run: Callable[..., tuple[int, str, str]]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        status, _, err = run("--port", str(taken.getsockname()[1]))
    assert status == 1
    assert re.fullmatch(r"comanda_sandbox: cannot listen at 127\.0\.0\.1:\d+: .*in use.*\n", err)


def test_an_unusable_ledger_is_one_line(run: Callable[..., tuple[int, str, str]], tmp_path: Path) -> None:
    text, other, newer = tmp_path / "notes.txt", tmp_path / "other", tmp_path / "newer"
    text.write_text("not a ledger\n" * 100)
    for path, statement in ((other, "create table t (x)"), (newer, "pragma user_version = 7")):
        database = sqlite3.connect(path)
        database.execute(statement)
        database.close()
    for path in (text, other, newer, tmp_path / "missing" / "ledger", tmp_path):
        status, out, err = run("--port", "0", "--ledger", str(path))
        assert (status, out) == (1, "")
        assert str(path) in err
        assert err.count("\n") == 1
    assert text.read_text().startswith("not a ledger")


@pytest.mark.parametrize(
    "arguments",
    [("--port", "70000"), ("--port", "x"), ("--webhook-url", "hook"), ("--webhook-time-scale", "0")],
)
def test_wrong_arguments(run: Callable[..., tuple[int, str, str]], arguments: tuple[str, str]) -> None:
    status, _, err = run(*arguments)
    assert status == 2
    assert arguments[0] in err


def test_help_tells_of_the_scale(run: Callable[..., tuple[int, str, str]]) -> None:
    status, out, _ = run("--help", environment={})
    assert status == 0
    assert "0.9 s" in out
    assert "SANDBOX_TOKEN" in out


async def test_a_start_that_fails_ends_the_process() -> None:
    status, out, err = await outcome(environment={})
    assert (status, out) == (2, "")
    assert "SANDBOX_TOKEN" in err


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_clean_stop(tmp_path: Path, number: signal.Signals) -> None:
    async with listening("--ledger", str(tmp_path / "ledger")) as (process, _):
        assert await stopped(process, number) == (0, b"", b"")


async def test_one_ledger_has_one_sandbox(tmp_path: Path) -> None:
    ledger = str(tmp_path / "ledger")
    async with listening("--ledger", ledger):
        status, _, err = await outcome("--port", "0", "--ledger", ledger)
        assert status == 1
        assert "in use by another sandbox" in err


async def test_kill_9_loses_nothing(tmp_path: Path, session: aiohttp.ClientSession) -> None:
    ledger = str(tmp_path / "ledger")
    async with receiving() as gone:
        hook = gone.url
    arguments = ("--ledger", ledger, "--webhook-url", hook, "--webhook-time-scale", "1")
    async with listening(*arguments) as (process, url):
        caller = Caller(session, url, TOKEN)
        made = [(await caller.create(key=f"k{number}")).json for number in range(5)]
        paid = made[0]["id"]
        assert (await caller.call("POST", f"/_sandbox/payments/{paid}/pay")).status == 200
        refund = (await caller.refund(paid, 1, key="r")).json
        await caller.call("POST", "/_sandbox/clock", body={"advance_seconds": 60})
        before = (await caller.call("GET", "/_sandbox/ledger")).json
        process.kill()
        await process.wait()
    port = int(hook.split(":")[2].split("/")[0])
    async with receiving(port=port) as back, listening(*arguments) as (process, url):
        caller = Caller(session, url, TOKEN)
        after = (await caller.call("GET", "/_sandbox/ledger")).json
        for name in ("payments", "refunds", "keys"):
            assert after[name] == before[name]
        assert [one["id"] for one in after["deliveries"]] == [one["id"] for one in before["deliveries"]]
        # The same keys still lead to the same results, and new ids come after the old ones.
        assert (await caller.create(key="k4")).json["id"] == made[4]["id"]
        assert (await caller.refund(paid, 1, key="r")).status == 200
        assert (await caller.refund(paid, 1, key="s")).json["id"] > refund["id"]
        assert await caller.created() > made[4]["id"]
        await caller.call("POST", "/_sandbox/clock", body={"advance_seconds": 960})
        await back.wait_for(9)
        assert {one.query["data.id"] for one in back.requests} >= {str(one["id"]) for one in made}
        assert await stopped(process, signal.SIGTERM) == (0, b"", b"")
