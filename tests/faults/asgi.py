"""Asks a pod's application as its server does, in the asker's own task, without a socket."""

import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from tests.running_diner import Answer


async def ask(app: Any, method: str, target: str, *, body: bytes = b"", headers: Mapping[str, str]) -> Answer:
    """Send one request and answer what came.

    Args:
        target: path and query, as in the request's first line.
    """
    parts = urlsplit(target)
    scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": parts.path,
        "raw_path": parts.path.encode(),
        "query_string": parts.query.encode(),
        "root_path": "",
        "headers": [(name.lower().encode(), value.encode()) for name, value in headers.items()]
        + [(b"host", b"comanda.test"), (b"content-length", str(len(body)).encode())],
        "client": ("127.0.0.1", 40000),
        "server": ("127.0.0.1", 8000),
    }
    came: list[Any] = []
    sent = False

    async def receive() -> dict[str, Any]:
        nonlocal sent
        if sent:
            return {"type": "http.disconnect"}
        sent = True
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Any) -> None:
        came.append(message)

    await app(scope, receive, send)
    start = next(message for message in came if message["type"] == "http.response.start")
    text = b"".join(message.get("body", b"") for message in came if message["type"] == "http.response.body")
    found = {name.decode().lower(): value.decode() for name, value in start["headers"]}
    decoded = json.loads(text) if text and "json" in found.get("content-type", "") else text or None
    return Answer(start["status"], found, decoded)
