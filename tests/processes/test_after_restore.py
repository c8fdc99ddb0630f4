"""`comanda settle-restored`, as the operator's script runs it in a pod: one document out, logs beside it, a status."""

import asyncio
import json
import sys
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import aiohttp
import pytest

from comanda_sandbox.running import RunningSandbox
from tests.processes.pods import SECRETS, environment


async def run(settings: dict[str, str], *words: str) -> tuple[int, str, str]:
    """Run the command to its end; answer its status, output and errors."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "comanda", "settle-restored", *words),
        env=settings,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()
    assert process.returncode is not None
    assert not [secret for secret in SECRETS if secret in (out + err).decode()]
    return process.returncode, out.decode(), err.decode()


def ago(**by: float) -> str:
    """Answer a moment of the past, by `timedelta`'s arguments, as an operator writes it."""
    return (datetime.now(UTC) - timedelta(**by)).isoformat().replace("+00:00", "Z")


async def lost(session: aiohttp.ClientSession, sandbox: RunningSandbox) -> tuple[str, int]:
    """Have a guest pay for an order that the database does not know; answer it and the payment."""
    order = str(uuid4())
    body = {
        "transaction_amount": 25.9,
        "payment_method_id": "pix",
        "payer": {"email": "guest@comanda.example.com"},
        "external_reference": order,
    }
    headers = {"Authorization": f"Bearer {sandbox.token}", "X-Idempotency-Key": order}
    async with session.post(f"{sandbox.url}/v1/payments", json=body, headers=headers) as answer:
        payment = (await answer.json())["id"]
    sandbox.act(payment, "pay")
    return order, payment


async def test_it_prints_one_document_and_the_refund_is_then_the_workers(
    database_url: str, sandbox: RunningSandbox, session: aiohttp.ClientSession, rows: Any
) -> None:
    order, payment = await lost(session, sandbox)
    settings = environment(database_url, sandbox)
    window = ("--since", ago(minutes=10), "--until", ago(minutes=2))
    status, out, err = await run(settings, *window, "--dry-run")
    assert (status, json.loads(out)["would"]) == (0, [{"payment": payment, "order": order, "outcome": "recreated"}])
    assert await rows.fetchval("SELECT count(*) FROM orders") == 0

    status, out, err = await run(settings, *window)
    report = json.loads(out)
    assert status == 0, err
    counts = {name: report[name] for name in ("payments", "settled", "recreated", "cancelled", "kept", "not_ours")}
    assert counts == {"payments": 1, "settled": 0, "recreated": 1, "cancelled": 0, "kept": 0, "not_ours": []}
    assert (report["refunds_owed_cents"], report["open"], "would" in report) == (2590, [], False)
    assert datetime.fromisoformat(report["since"]).tzinfo is not None
    lines = [json.loads(line) for line in err.splitlines()]
    assert any(line.get("outcome") == "recreated" and line.get("order_id") == order for line in lines)
    found = await rows.fetchrow("SELECT status, amount_cents, reason FROM refunds")
    assert tuple(found) == ("requested", 2590, "paid_after_the_end")


async def test_what_is_left_open_is_a_failure_that_names_the_way_on(
    database_url: str, sandbox: RunningSandbox, session: aiohttp.ClientSession
) -> None:
    _, payment = await lost(session, sandbox)
    sandbox.arm("server_error", times=None, match={"operation": "get_payment"})
    window = ("--since", ago(minutes=10), "--until", ago(minutes=2), "--patience", "0", "--lost", "keep")
    status, out, err = await run(environment(database_url, sandbox), *window)
    assert status == 1
    assert [left["payment"] for left in json.loads(out)["open"]] == [payment]
    last = err.splitlines()[-1]
    assert last.startswith("comanda: 1 left open, see the output; go on with: comanda settle-restored --since 20")
    assert last.endswith("--lost keep")


async def test_a_refused_token_is_said_at_once(database_url: str, sandbox: RunningSandbox) -> None:
    settings = environment(database_url, sandbox, MERCADO_PAGO_ACCESS_TOKEN="TEST-of-somebody-else")
    status, out, err = await run(settings, "--since", ago(minutes=10))
    assert (status, out) == (1, "")
    assert "correct MERCADO_PAGO_ACCESS_TOKEN, then run this again" in err.splitlines()[-1]


async def test_a_database_that_is_not_there_or_not_migrated_is_said(
    sandbox: RunningSandbox, empty_database: str
) -> None:
    nobody = environment("postgresql://app:hidden-password@127.0.0.1:9/comanda", sandbox)
    status, out, err = await run(nobody, "--since", ago(minutes=10))
    assert (status, out) == (1, "")
    assert "the database does not answer" in err.splitlines()[-1]
    status, out, err = await run(environment(empty_database, sandbox), "--since", ago(minutes=10))
    assert (status, out) == (1, "")
    assert "comanda migrate" in err.splitlines()[-1]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ([], "--since"),
        (["--since", "yesterday"], "with an offset, such as"),
        (["--since", "2026-11-26T12:00:00"], "with an offset, such as"),
        (["--since", "2999-01-01T00:00:00Z"], "nor either of them in the future"),
        (["--since", "2026-01-02T00:00:00Z", "--until", "2026-01-01T00:00:00Z"], "must not be after --until"),
        (["--since", "2026-01-02T00:00:00Z", "--patience", "-1"], "seconds from 0 to 86400"),
        (["--since", "2026-01-02T00:00:00Z", "--lost", "forget"], "refund"),
    ],
)
async def test_wrongly_called_it_ends_with_2(words: list[str], says: str) -> None:
    settings = environment("postgresql://app:hidden-password@127.0.0.1:9/comanda")
    status, out, err = await run(settings, *words)
    assert (status, out) == (2, "")
    assert says in err.splitlines()[-1]
