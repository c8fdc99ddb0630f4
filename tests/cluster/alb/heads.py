"""Head fields on their way through: what an ALB drops, keeps, adds and refuses."""

import re
import secrets
from collections.abc import Iterable

from aiohttp import web
from multidict import CIMultiDict, CIMultiDictProxy

from tests.cluster.alb.model import Listener

MOST_ADDRESSES = 30
LONGEST_REQUEST_HEAD = 64 * 1024
LONGEST_LINE = 16 * 1024
MOST_FIELDS = 1000

HOP_BY_HOP = {
    "connection",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
}
_VALID_NAME = re.compile(r"[-A-Za-z0-9]+")
"""What routing.http.drop_invalid_header_fields.enabled leaves (API reference, LoadBalancerAttribute)."""


def refusal(request: web.Request) -> int:
    """Answer the status with which the load balancer itself refuses a request, 0 if it does not."""
    size = len(request.method) + len(request.raw_path) + 12 + field_bytes(request.raw_headers)
    if size > LONGEST_REQUEST_HEAD or not path_and_query(request).startswith("/"):
        return 400
    if request.method == "TRACE":
        return 405
    if len(_forwarded_for(request)) > MOST_ADDRESSES:
        return 463
    return 0


def path_and_query(request: web.Request) -> str:
    """Answer both as they were sent; of an absolute URL, what follows its host."""
    return request.raw_path if request.raw_path.startswith("/") else request.path_qs


def field_bytes(fields: Iterable[tuple[bytes, bytes]]) -> int:
    """Answer how many bytes head fields take on the wire."""
    return sum(len(name) + len(value) + 4 for name, value in fields)


def to_target(request: web.Request, listener: Listener, trace: str) -> CIMultiDict[str]:
    """Answer the fields that a target gets."""
    fields = _passed_on(request.headers, {"expect", "x-amzn-trace-id", "x-forwarded-proto", "x-forwarded-port"})
    if listener.settings.drop_invalid_fields:
        for name in {name for name in fields if not _VALID_NAME.fullmatch(name)}:
            fields.popall(name)
    if listener.settings.forwarded_for == "append":
        fields.popall("X-Forwarded-For", None)
        fields["X-Forwarded-For"] = ", ".join([*_forwarded_for(request), client(request)[0]])
    elif listener.settings.forwarded_for == "remove":
        fields.popall("X-Forwarded-For", None)
    fields["X-Forwarded-Proto"] = listener.protocol.lower()
    fields["X-Forwarded-Port"] = str(listener.port)
    fields["X-Amzn-Trace-Id"] = trace
    return fields


def to_client(fields: CIMultiDictProxy[str]) -> CIMultiDict[str]:
    """Answer the fields of a target's answer that its client gets."""
    return _passed_on(fields, set())


def trace(request: web.BaseRequest, now: float) -> str:
    """Answer X-Amzn-Trace-Id: a root of ours, or a self beside the root that came.

    Args:
        now: seconds since 1970.
    """
    own = f"1-{int(now):08x}-{secrets.token_hex(12)}"
    parts = [part.strip() for part in request.headers.get("X-Amzn-Trace-Id", "").split(";") if part.strip()]
    kept = [part for part in parts if not part.startswith("Self=")]
    if any(part.startswith("Root=") for part in kept):
        return ";".join([f"Self={own}", *kept])
    return ";".join([f"Root={own}", *kept])


def client(request: web.BaseRequest) -> tuple[str, int]:
    """Answer the address and port of who holds the connection."""
    peer = request.transport.get_extra_info("peername") if request.transport else None
    return (str(peer[0]), int(peer[1])) if peer else ("-", 0)


def _forwarded_for(request: web.BaseRequest) -> list[str]:
    lines = request.headers.getall("X-Forwarded-For", [])
    return [part.strip() for line in lines for part in line.split(",") if part.strip()]


def _passed_on(fields: CIMultiDictProxy[str], without: set[str]) -> CIMultiDict[str]:
    named = {part.strip().lower() for line in fields.getall("Connection", []) for part in line.split(",")}
    dropped = HOP_BY_HOP | named | without
    return CIMultiDict((name, value) for name, value in fields.items() if name.lower() not in dropped)
