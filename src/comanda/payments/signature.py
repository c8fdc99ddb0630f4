"""Was this webhook sent by Mercado Pago? The check of its `x-signature` header, as its documentation says it.

The signature covers the payment's id *in the query string*, the request id and a time; nothing of the body.
A genuine signature says that something happened to that payment, no more: the body must name the same id, and
the payment is read back from the provider. Retries come signed anew: a replay window costs no honest webhook.
"""

import hmac
import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from enum import StrEnum

Secret = bytes | str

_TIME = re.compile(r"[0-9]{10}|[0-9]{13}")
_DIGEST = re.compile(r"[0-9a-f]{64}")
# The manifest's own `;` must not come from outside: `id:1;request-id:x;` could else be told in two ways.
_DATA_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
_REQUEST_ID = re.compile(r"[!-:<-~]{1,256}")


class Rejection(StrEnum):
    """Why a webhook is not believed; fit for a metric's label."""

    MISSING = "missing"
    MALFORMED = "malformed"
    FORGED = "forged"
    STALE = "stale"


class SignatureRejected(Exception):
    """The webhook is not believed. `reason` says why; the message holds nothing of request or secret."""

    def __init__(self, reason: Rejection) -> None:
        super().__init__(f"webhook signature {reason}")
        self.reason = reason


def verify(
    secret: Secret | Sequence[Secret],
    *,
    header: str | None,
    request_id: str | None,
    data_id: str | None,
    now: datetime,
    tolerance: timedelta,
) -> int:
    """Return if the signature is Mercado Pago's and fresh; raise if not.

    The manifest is `id:<data.id>;request-id:<x-request-id>;ts:<ts>;`, a pair that is absent (or empty) left
    out; the digest is HMAC-SHA256 in lower-case hex. Parts of the header that are not known are ignored.

    Args:
        secret: the application's secret, used as its bytes; or several that are good at once, while one
            replaces another.
        header: `x-signature`, `ts=…,v1=…`; ts is milliseconds (13 digits) or seconds (10).
        request_id: `x-request-id`.
        data_id: `data.id` of the query string. One with letters may be signed as it stands or in lower case.
        now: the present moment, aware.
        tolerance: how far the signed time may lie from now, to either side.

    Returns:
        Which of the secrets it was signed with: its place, 0 for the first.

    Raises:
        SignatureRejected: missing, malformed, forged, or genuine but stale.
        ValueError: no secret, or an empty one: anybody can sign with it.
    """
    keys = _keys(secret)
    if not header or not header.strip():
        raise SignatureRejected(Rejection.MISSING)
    ts, digest = _parts(header)
    if data_id and not _DATA_ID.fullmatch(data_id):
        raise SignatureRejected(Rejection.MALFORMED)
    if request_id and not _REQUEST_ID.fullmatch(request_id):
        raise SignatureRejected(Rejection.MALFORMED)
    manifests = {_manifest(id_as_signed, request_id, ts) for id_as_signed in _spellings(data_id)}
    # Every key is tried with every manifest, whichever fits: the time that it takes says nothing.
    matches = [
        (place, hmac.compare_digest(hmac.digest(key, manifest, "sha256").hex(), digest))
        for place, key in enumerate(keys)
        for manifest in manifests
    ]
    fitting = [place for place, fits in matches if fits]
    if not fitting:
        raise SignatureRejected(Rejection.FORGED)
    if abs(now - _moment(ts)) > tolerance:
        raise SignatureRejected(Rejection.STALE)
    return fitting[0]


def _keys(secret: Secret | Sequence[Secret]) -> list[bytes]:
    secrets: Sequence[Secret] = [secret] if isinstance(secret, bytes | str) else secret
    keys = [one.encode() if isinstance(one, str) else one for one in secrets]
    if not keys or not all(keys):
        raise ValueError("a webhook secret is empty")
    return keys


def _parts(header: str) -> tuple[str, str]:
    """Take ts and v1 out of the header, each exactly once."""
    found: dict[str, str] = {}
    for part in header.split(","):
        name, separator, value = part.partition("=")
        name = name.strip()
        if name not in {"ts", "v1"}:
            continue
        if not separator or name in found:
            raise SignatureRejected(Rejection.MALFORMED)
        found[name] = value.strip()
    ts, digest = found.get("ts", ""), found.get("v1", "")
    if not _TIME.fullmatch(ts) or not _DIGEST.fullmatch(digest):
        raise SignatureRejected(Rejection.MALFORMED)
    return ts, digest


def _spellings(data_id: str | None) -> tuple[str | None, ...]:
    return (data_id, data_id.lower()) if data_id else (None,)


def _manifest(data_id: str | None, request_id: str | None, ts: str) -> bytes:
    pairs = (("id", data_id), ("request-id", request_id), ("ts", ts))
    return "".join(f"{name}:{value};" for name, value in pairs if value).encode()


def _moment(ts: str) -> datetime:
    seconds, milliseconds = divmod(int(ts), 1000) if len(ts) == 13 else (int(ts), 0)
    return datetime.fromtimestamp(seconds, UTC) + timedelta(milliseconds=milliseconds)
