"""Access tokens and the webhooks' secret are renewed, as in Mercado Pago's panel."""

from pathlib import Path
from typing import Any

import aiohttp
import pytest

from comanda_sandbox.running import RunningSandbox, running_sandbox
from comanda_sandbox.signature import sign
from tests.sandbox.caller import Answer, Caller
from tests.sandbox.receiver import Receiver


async def renew(caller: Caller, what: str, body: Any = None, method: str = "POST") -> Answer:
    """Renew, without a token."""
    return await caller.call(method, f"/_sandbox/{what}", body=body, headers={"Authorization": ""})


async def taken(caller: Caller, token: str) -> bool:
    answer = await caller.call("GET", "/v1/payments/search", token=token)
    assert answer.status in {200, 401}
    return answer.status == 200


async def test_an_old_token_is_taken_until_it_is_ended(sandbox: RunningSandbox, caller: Caller) -> None:
    old = sandbox.token
    answer = await renew(caller, "tokens")
    new = answer.json["token"]
    assert (answer.status, new.startswith("TEST-"), new == old, sandbox.token) == (201, True, False, new)
    assert [await taken(caller, each) for each in (old, new)] == [True, True]
    assert (await renew(caller, "tokens", method="DELETE")).json == {"ended": 1}
    assert [await taken(caller, each) for each in (old, new)] == [False, True]
    refused = await caller.call("GET", "/v1/payments/search", token=old)
    assert refused.json["message"] == "invalid access token"
    assert (await renew(caller, "tokens", method="DELETE")).json == {"ended": 0}


async def test_an_old_token_is_taken_for_as_long_as_was_said(sandbox: RunningSandbox, caller: Caller) -> None:
    old = sandbox.token
    answer = await renew(caller, "tokens", {"token": "TEST-chosen", "old_valid_seconds": 60})
    assert answer.json == {"token": "TEST-chosen", "old_valid_seconds": 60}
    await sandbox.advance(seconds=50)
    assert [await taken(caller, each) for each in (old, "TEST-chosen")] == [True, True]
    # One more in between does not let the first live longer.
    newest = sandbox.renew_token(old_valid_seconds=3600)
    await sandbox.advance(seconds=11)
    assert [await taken(caller, each) for each in (old, "TEST-chosen", newest)] == [False, True, True]


async def test_what_one_token_made_another_of_the_account_sees_and_cancels(
    sandbox: RunningSandbox, caller: Caller
) -> None:
    created = await caller.create(key="k" * 32)
    caller.token = sandbox.renew_token()
    payment_id = int(created.json["id"])
    assert int((await caller.create(key="k" * 32)).json["id"]) == payment_id, "keys are the account's"
    assert (await caller.cancel(payment_id)).status == 200


async def test_it_says_whose_a_token_is(sandbox: RunningSandbox, caller: Caller) -> None:
    mine = await caller.call("GET", "/users/me")
    assert (mine.status, type(mine.json["id"])) == (200, int)
    renewed = await caller.call("GET", "/users/me", token=sandbox.renew_token())
    assert renewed.json["id"] == mine.json["id"]
    assert (await caller.call("GET", "/users/me", token="TEST-another")).status == 401


async def test_webhooks_are_signed_with_the_newest_secret(
    sandbox: RunningSandbox, caller: Caller, receiver: Receiver
) -> None:
    old = sandbox.webhook_secret
    await caller.created()
    await sandbox.settled()
    answer = await renew(caller, "webhook-secrets", {"webhook_secret": "a-secret-of-my-own"})
    assert (answer.status, answer.json) == (201, {"webhook_secret": "a-secret-of-my-own"})
    await caller.created()
    await sandbox.settled()
    assert (await renew(caller, "webhook-secrets")).json["webhook_secret"] == sandbox.webhook_secret
    await caller.created()
    await sandbox.settled()
    assert len({old, "a-secret-of-my-own", sandbox.webhook_secret}) == 3
    for request, secret in zip(receiver.requests, (old, "a-secret-of-my-own", sandbox.webhook_secret), strict=True):
        ts, _, v1 = request.headers["x-signature"].partition(",v1=")
        signed = sign(
            secret=secret,
            data_id=request.query["data.id"],
            request_id=request.headers["x-request-id"],
            ts=ts.removeprefix("ts="),
        )
        assert v1 == signed


async def test_what_was_renewed_outlives_the_sandbox(tmp_path: Path, session: aiohttp.ClientSession) -> None:
    ledger = tmp_path / "ledger.sqlite"
    async with running_sandbox(ledger=ledger) as first:
        old, new, secret = first.token, first.renew_token(), first.renew_webhook_secret()
    async with running_sandbox(ledger=ledger) as second:
        caller = Caller(session, second.url, second.token)
        assert (second.token, second.webhook_secret) == (new, secret)
        assert [await taken(caller, each) for each in (old, new)] == [True, True]
        second.end_old_tokens()
    async with running_sandbox(ledger=ledger) as third:
        assert [await taken(Caller(session, third.url, new), each) for each in (old, new)] == [False, True]
    # Who starts it with others means others.
    async with running_sandbox(ledger=ledger, token="TEST-other", webhook_secret="another") as fourth:
        assert (fourth.token, fourth.webhook_secret) == ("TEST-other", "another")


@pytest.mark.parametrize(
    ("what", "body", "status"),
    [
        ("tokens", {"token": "APP_USR-1"}, 409),
        ("tokens", {"token": "TEST-1234567890-sandbox"}, 409),
        ("tokens", {"token": ""}, 400),
        ("tokens", {"token": 1}, 400),
        ("tokens", {"old_valid_seconds": -1}, 400),
        ("tokens", {"old_valid_seconds": True}, 400),
        ("tokens", {"old_valid_seconds": "60"}, 400),
        ("tokens", {"other": 1}, 400),
        ("webhook-secrets", {"webhook_secret": "ção"}, 400),
        ("webhook-secrets", {"webhook_secret": None}, 400),
        ("webhook-secrets", {"other": 1}, 400),
    ],
)
async def test_what_cannot_be_renewed_changes_nothing(
    sandbox: RunningSandbox, caller: Caller, what: str, body: Any, status: int
) -> None:
    before = (sandbox.token, sandbox.webhook_secret)
    answer = await renew(caller, what, body)
    assert answer.status == status
    assert (sandbox.token, sandbox.webhook_secret) == before
    assert all(secret not in answer.body.decode() for secret in before)
