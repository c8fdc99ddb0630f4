"""Whose a token is: asked of Mercado Pago's look-alike, and of what is none. The token goes nowhere else."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from comanda_deploy.rotating_mercado_pago import Told, whose
from comanda_local.ports import free_port
from comanda_sandbox.rendering import COLLECTOR_ID
from comanda_sandbox.running import running_sandbox


async def test_a_token_that_is_taken_says_its_account_and_another_is_refused() -> None:
    async with running_sandbox() as sandbox:
        for token in (sandbox.token, sandbox.renew_token()):
            assert await asyncio.to_thread(whose, f"{sandbox.url}/", token) == Told(str(COLLECTOR_ID))
        told = await asyncio.to_thread(whose, sandbox.url, "TEST-another-one")
        assert (told.account, told.refused) == ("", True)
        old = sandbox.token
        sandbox.renew_token()
        sandbox.end_old_tokens()
        assert (await asyncio.to_thread(whose, sandbox.url, old)).refused


@contextmanager
def answering(status: int, body: bytes, location: str = "") -> Iterator[tuple[str, list[str]]]:
    """Somebody who answers always the same; answer where, and the tokens that came."""
    came: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            came.append(self.headers.get("Authorization", ""))
            self.send_response(status)
            if location:
                self.send_header("Location", location)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", came
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.mark.parametrize(
    ("status", "body", "refused", "why"),
    [
        (403, b"{}", True, "answers 403"),
        (404, b"{}", False, "answers 404"),
        (500, b"{}", False, "answers 500"),
        (200, b"<html>", False, "cannot be asked (JSONDecodeError)"),
        (200, b"[]", False, "does not say whose it is"),
        (200, b"{}", False, "does not say whose it is"),
    ],
)
def test_an_answer_that_says_nothing_is_none(status: int, body: bytes, refused: bool, why: str) -> None:
    with answering(status, body) as (url, _):
        told = whose(url, "TEST-the-token")
    assert (told.account, told.refused) == ("", refused)
    assert why in told.why
    assert "TEST-the-token" not in str(told)


def test_the_token_is_not_taken_along_to_where_somebody_redirects() -> None:
    with (
        answering(200, b'{"id": 7}') as (elsewhere, came),
        answering(302, b"", f"{elsewhere}/users/me") as (url, first),
    ):
        told = whose(url, "TEST-the-token")
    assert first == ["Bearer TEST-the-token"]
    assert came == []
    assert (told.account, told.refused) == ("", False)


def test_nobody_there_is_no_refusal() -> None:
    told = whose(f"http://127.0.0.1:{free_port()}", "TEST-the-token")
    assert (told.account, told.refused) == ("", False)
    assert "cannot be asked (URLError)" in told.why


@pytest.mark.parametrize("base", ["http://sandbox:8001", "http://api.mercadopago.com", "ftp://127.0.0.2x"])
def test_in_the_clear_the_token_goes_to_this_machine_alone(base: str) -> None:
    assert "within the cluster" in whose(base, "TEST-the-token").why
